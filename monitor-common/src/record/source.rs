//! One source: what its entry in the exact table holds, and what its ban does.
//!
//! In: nothing. Out: layouts, and how the words of several CPUs are put together.

use super::Count;
use crate::{bucket::level, plain, rule::DIMENSIONS};

/// Switches of [`SourceEntry::flags`].
pub mod entry {
    /// Entered in flood mode, or was found a stranger by a flood: a stranger until it was there in calm times for long enough.
    pub const FROM_FLOOD: u16 = 1 << 0;
    /// Exceeds its limit at present: the start was reported, the end was not.
    pub const EXCEEDING: u16 = 1 << 1;
    /// The source proved its address here: it acknowledged a number that only it was told.
    pub const PROVEN: u16 = 1 << 2;
    /// One proof: the upper half counts those since the present window of violations began.
    pub const PROOF: u16 = 1 << 8;
    /// Proofs within the window of violations without which violations earn no ban: a source whose address others forge
    /// connects now and then, one that exceeds its limit itself does so at the limit's rate.
    pub const PROOFS_FOR_A_BAN: u16 = 4;
}

/// What the CPUs that do not own an entry counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    pub packets: u64,
    pub bytes: u64,
    pub connections: u64,
}
plain!(Others { packets: u64, bytes: u64, connections: u64 } = 24);

/// Dimensions that an entry's owner charges in words of its own; fragments are rare and always shared.
pub const OWNED: usize = 3;

/// In [`SourceEntry::owner`]: a CPU that does not own the entry has met it.
pub const SHARED: u32 = 1 << 31;

/// How long one CPU alone has to meet a shared entry before it owns it: ten seconds, in clock units.
pub const SETTLED: u64 = 160_000_000_000;

/// One source at one service. What passed is `total().packets - dropped.packets`.
///
/// The CPU that made the entry owns it. Network cards keep a source on one CPU, so as long as no other one meets the
/// entry, the owner counts and charges with plain stores: `packets`, `bytes`, `connections` and `owned` are written by it
/// alone, for ever. The first other CPU sets [`SHARED`]; from then on all charge `force` with locked instructions, and a
/// bucket says the larger of `owned` and `force`, while what others count stands in `others`. So nothing is counted
/// wrongly, and of the charges at most that of the one packet may be missed which the owner judges at that moment. A CPU
/// that has met the entry alone for [`SETTLED`] takes it over.
///
/// The order is for the cache: with the key before it (see [`crate::table::Slot`]) an entry fills four lines, and a packet
/// within its limit touches the first two of them, which are neighbours.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    pub packets: u64,
    pub bytes: u64,
    pub last_seen: u64,
    /// The number of the CPU, and [`SHARED`].
    pub owner: u32,
    pub flags: u16,
    /// Of a shared entry: the CPU that met it last.
    pub visitor: u16,
    /// New connections (SYN without ACK, first packets of other protocols are not counted).
    pub connections: u64,
    /// Buckets of the limit in force, as the owner charges them.
    pub owned: [u64; OWNED],
    /// When it entered; of a stranger of a flood, since when it is there in calm times.
    pub first_seen: u64,
    pub dropped: Count,
    /// Last packet over the limit.
    pub exceeded_at: u64,
    pub violations: u32,
    pub class: u16,
    pub interface: u16,
    /// Buckets of the limit in force, as all charge them.
    pub force: [u64; DIMENSIONS],
    pub others: Others,
    /// Of a shared entry: since when its visitor has met it alone.
    pub alone_since: u64,
    /// Buckets of the limit on trial.
    pub candidate: [u64; DIMENSIONS],
    pub would_drop: Count,
    /// When the present window of violations began.
    pub violation_start: u64,
    /// Would-be drops of the limit on trial.
    pub candidate_would_drop: u64,
}
plain!(
    SourceEntry {
        packets: u64,
        bytes: u64,
        last_seen: u64,
        owner: u32,
        flags: u16,
        visitor: u16,
        connections: u64,
        owned: [u64; OWNED],
        first_seen: u64,
        dropped: Count,
        exceeded_at: u64,
        violations: u32,
        class: u16,
        interface: u16,
        force: [u64; DIMENSIONS],
        others: Others,
        alone_since: u64,
        candidate: [u64; DIMENSIONS],
        would_drop: Count,
        violation_start: u64,
        candidate_would_drop: u64,
    } = 232
);

impl SourceEntry {
    /// What all CPUs counted.
    pub const fn total(&self) -> Count {
        Count {
            packets: self.packets.wrapping_add(self.others.packets),
            bytes: self.bytes.wrapping_add(self.others.bytes),
        }
    }

    /// New connections that all CPUs counted.
    pub const fn opened(&self) -> u64 {
        self.connections.wrapping_add(self.others.connections)
    }

    /// What the bucket of a dimension owes at `now`.
    pub fn owed(&self, dimension: usize, now: u64) -> u64 {
        let owned = self.owned.get(dimension).map_or(0, |tat| level(*tat, now));
        self.force.get(dimension).map_or(0, |tat| level(*tat, now)).max(owned)
    }
}

/// A banned source. Written by the daemon (operator) or by the kernel (violations). As with a [`SourceEntry`], one CPU counts
/// with plain stores: the first that meets the ban.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Clock units; 0 when it is over but remembered, `u64::MAX` for ever.
    pub until: u64,
    pub since: u64,
    /// What the owner dropped, and what other CPUs did.
    pub owned: Count,
    pub others: Count,
    /// Bans of this source so far, for growing durations.
    pub strikes: u32,
    /// 0 the operator, 1 the kernel for violations.
    pub origin: u16,
    /// What is refused, a constant of [`scope`].
    pub scope: u16,
    /// The service where the violations happened (kernel's bans).
    pub service: u32,
    /// The number of the CPU and one; 0 nobody yet.
    pub owner: u32,
}
plain!(
    Ban {
        until: u64,
        since: u64,
        owned: Count,
        others: Count,
        strikes: u32,
        origin: u16,
        scope: u16,
        service: u32,
        owner: u32,
    } = 64
);

impl Ban {
    /// What all CPUs dropped.
    pub const fn dropped(&self) -> Count {
        Count {
            packets: self.owned.packets.wrapping_add(self.others.packets),
            bytes: self.owned.bytes.wrapping_add(self.others.bytes),
        }
    }
}

/// [`Ban::origin`].
pub mod origin {
    pub const OPERATOR: u16 = 0;
    pub const KERNEL: u16 = 1;
}

/// [`Ban::scope`].
pub mod scope {
    pub const EVERYTHING: u16 = 0;
    /// What answers a flow that this host began still passes.
    pub const NEW_CONTACTS: u16 = 1;
}
