//! What is permitted, as the kernel stores it: settings, prefixes, services, limits and aggregates.
//!
//! All of it is kept twice (two generations); [`Active`] says which one judges. Userspace writes the idle generation and
//! then flips the one word, so no packet is ever judged by a mixture.

use crate::{
    bucket::Rate,
    plain,
    request::{self, COUNTED},
};

/// Dimensions of a limit, the index into every `[_; DIMENSIONS]`.
pub const DIMENSIONS: usize = 4;
pub const PACKETS: usize = 0;
pub const BYTES: usize = 1;
pub const CONNECTIONS: usize = 2;
pub const FRAGMENTS: usize = 3;

/// Dimensions that are counted in what packets carry, see [`crate::request`]. They have rates and buckets of their own, so that
/// a packet that none of them is for touches neither.
pub const REQUESTS: usize = DIMENSIONS + request::REQUESTS;
pub const HANDSHAKES: usize = DIMENSIONS + request::HANDSHAKES;
/// All of them, as bits of [`Slot::dimensions`].
pub const EVERY_DIMENSION: usize = DIMENSIONS + COUNTED;
/// Open connections, which have neither a rate nor a bucket: the bit of [`Slot::dimensions`] that says that they are limited.
pub const CONCURRENT: usize = EVERY_DIMENSION;
/// In [`Slot::dimensions`] of the limit in force, of a service whose connections are followed: because they are limited, or because
/// of their encryption.
pub const FOLLOWS_CONNECTIONS: u32 = 1 << 30;
/// Where in it the [`mode`] stands in which unencrypted connections are refused: two bits.
pub const ENCRYPTION_SHIFT: u32 = 28;
/// In [`Slot::dimensions`] of the limit in force: it, the one on trial or the service's aggregate counts requests or handshakes.
pub const COUNTS_REQUESTS: u32 = 1 << 31;

/// Classes of sources, 0 (`outside`) and 1 (`inside`) included.
pub const CLASSES: usize = 16;
/// The class of a source that no prefix names.
pub const OUTSIDE: u32 = 0;
/// The class of the machines and workloads within the trust boundary.
pub const INSIDE: u32 = 1;

/// The service of what the rules name no other one for.
pub const DEFAULT_SERVICE: u32 = 0;

/// How a limit acts ([`Slot::mode`], [`Aggregate::mode`]).
pub mod mode {
    pub const OFF: u32 = 0;
    /// Judge, count as would-drop, let pass.
    pub const OBSERVE: u32 = 1;
    pub const ENFORCE: u32 = 2;
}

/// Which generation judges: the one word that flips.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// 0 or 1.
    pub generation: u32,
    /// How many flips there were; only for people.
    pub flips: u32,
}
plain!(Active { generation: u32, flips: u32 } = 8);

/// Switches of [`Settings::flags`].
pub mod setting {
    /// Drop malformed frames that Linux refuses itself.
    pub const DROP_MALFORMED: u32 = 1 << 0;
    /// The daemon is silent for longer than [`super::Settings::heartbeat_timeout`]: only observe.
    pub const OBSERVE_WHEN_STALE: u32 = 1 << 1;
    /// Follow conversations and report records.
    pub const TRACK: u32 = 1 << 2;
    /// Follow conversations without an inside end as well (replay, mirror ports).
    pub const TRACK_ALL: u32 = 1 << 3;
    /// Judge and count, drop nothing whatever the limits say (watch-only).
    pub const WATCH_ONLY: u32 = 1 << 4;
    /// Drop IPv6 with more extension headers than are walked.
    pub const DROP_EXTENSIONS: u32 = 1 << 5;
    /// Drop first fragments without their whole transport header, and later ones within it.
    pub const DROP_TINY_FRAGMENTS: u32 = 1 << 6;
    /// Drop frames with more VLAN tags than are taken off.
    pub const DROP_TAGS: u32 = 1 << 7;
    /// Drop PPPoE sessions and MPLS.
    pub const DROP_ENCAPSULATED: u32 = 1 << 8;
    /// Drop later fragments without a first one that are too many; without this, they only count.
    pub const DROP_STRAYS: u32 = 1 << 9;
    /// What leaves is seen, so a TCP source can prove its address, and only one that did is known.
    pub const PROVES: u32 = 1 << 10;
    /// Drop UDP from ports that reflectors answer from, where nothing was asked.
    pub const DROP_REFLECTED: u32 = 1 << 11;
    /// Count it.
    pub const WATCH_REFLECTED: u32 = 1 << 12;
    /// Drop sources from an interface that they cannot come through.
    pub const DROP_SPOOFED: u32 = 1 << 13;
    /// Listeners here take SYN cookies at any time, and what leaves is seen: services that challenge may.
    pub const COOKIES: u32 = 1 << 14;
    /// Timestamps have no offset of the peer's, so that options can stand in them; so for the next two.
    pub const COOKIE_STAMPS: u32 = 1 << 15;
    /// Selective acknowledgements are on.
    pub const COOKIE_SACK: u32 = 1 << 16;
    /// Window scaling is on.
    pub const COOKIE_WINDOWS: u32 = 1 << 17;
    /// As [`WATCH_ONLY`], switched by an operator in both generations. No rules carry it, and new rules leave it as it is.
    pub const PANIC: u32 = 1 << 18;
    /// Either of both: nothing is dropped.
    pub const PASSES_ALL: u32 = WATCH_ONLY | PANIC;
}

/// What holds for every packet, one per generation. All times are in clock units (sixteenths of a nanosecond).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Random at every load.
    pub hash_key: [u64; 2],
    /// Clock units per kernel tick (jiffy).
    pub tick: u64,
    /// New sources that may enter the exact table, per interface and CPU, before flood mode begins.
    pub new_sources: Rate,
    /// Heavy sources that may enter the exact table in flood mode, per interface and CPU.
    pub heavy_sources: Rate,
    /// How long flood mode lasts after the last new source over the budget.
    pub flood_hold: u64,
    /// How long before a flood a source must have been seen to count as known.
    pub known_after: u64,
    /// Silence of the daemon after which [`setting::OBSERVE_WHEN_STALE`] holds.
    pub heartbeat_timeout: u64,
    /// Conversation records: time between two records of a lasting conversation.
    pub active_timeout: u64,
    /// Observations of packets outside conversations that may be reported, per CPU.
    pub observations: Rate,
    /// Later fragments whose first one was not seen: of one source, and of all. A cost of 0 is no limit.
    pub stray: Rate,
    pub strays: Rate,
    /// Vital packets that pass whatever the limits say: of one source, and of a kind.
    pub vital: Rate,
    pub vitals: Rate,
    /// Bits of an IPv4 address that make a source, 0..=32.
    pub v4_bits: u32,
    /// Bits of an IPv6 address that make a source, 0..=128.
    pub v6_bits: u32,
    pub flags: u32,
    /// Class of sources that no prefix names.
    pub default_class: u32,
    /// The lowest port that the host takes for connections of its own.
    pub ephemeral: u32,
    /// Ports of services whose connections are followed, by [`followed_port`].
    pub followed_ports: u32,
}
plain!(
    Settings {
        hash_key: [u64; 2],
        tick: u64,
        new_sources: Rate,
        heavy_sources: Rate,
        flood_hold: u64,
        known_after: u64,
        heartbeat_timeout: u64,
        active_timeout: u64,
        observations: Rate,
        stray: Rate,
        strays: Rate,
        vital: Rate,
        vitals: Rate,
        v4_bits: u32,
        v6_bits: u32,
        flags: u32,
        default_class: u32,
        ephemeral: u32,
        followed_ports: u32,
    } = 192
);

/// The bit of a port in [`Settings::followed_ports`]: asked of all that leaves, so that few others are looked up.
#[inline(always)]
pub const fn followed_port(port: u16) -> u32 {
    1 << (port & 31)
}

/// A node of the prefix tree: sixteen children, one per value of the next four bits of the address.
///
/// The first [`ROOT_NODES`] nodes of a family are indexed by the address's first twelve bits; from there on a child is
/// either a leaf or the number of a further node. One array holds both generations and both families.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixNode {
    pub children: [u32; 16],
}
plain!(PrefixNode { children: [u32; 16] } = 64);

/// Root nodes per family.
pub const ROOT_NODES: u32 = 4096;
/// Root nodes of both families: where further nodes of a generation begin (relative to the generation's base).
pub const FIRST_INNER_NODE: u32 = 2 * ROOT_NODES;

/// Words of a generation's filter before the tree: a bit for each first sixteen bits of an address, of both families.
pub const PREFIX_FILTER_WORDS: u32 = 2 * ROOT_NODES / FILTERED_NODES;
/// Root nodes whose children a word of the filter stands for.
pub const FILTERED_NODES: u32 = 4;

/// Where the filter has the bit of an address that begins with `bits` (sixteen): which word, and which bit of it.
#[inline(always)]
pub const fn filter_place(bits: u32, is_v4: bool) -> (u32, u64) {
    let base = if is_v4 { 0 } else { PREFIX_FILTER_WORDS / 2 };
    (base + (bits >> 6), 1 << (bits & 63))
}

/// A word of the filter, from the root nodes that it stands for: a bit for each child that says anything.
pub fn filter_word(nodes: &[PrefixNode]) -> u64 {
    let children = nodes.iter().flat_map(|node| node.children);
    children.enumerate().fold(0, |word, (place, child)| word | u64::from(child != 0) << place)
}

/// What a child of a [`PrefixNode`] says.
///
/// Bit 31: the rest is the number of a node, relative to the generation's base. Otherwise a leaf: bit 30 exempt, bit 29
/// denied, bit 28 the class in bits 20..25 is set, bit 27 inside, bit 26 a lifeline, bit 25 bound to interfaces, bits 0..20 the
/// number of the denial. Of a bound leaf that is not denied, bits 0..16 say for each slot whether it may come in there.
pub mod leaf {
    pub const NODE: u32 = 1 << 31;
    pub const EXEMPT: u32 = 1 << 30;
    pub const DENIED: u32 = 1 << 29;
    pub const CLASSED: u32 = 1 << 28;
    /// Within the trust boundary, whatever the class: its conversations are followed.
    pub const INSIDE: u32 = 1 << 27;
    pub const CLASS_SHIFT: u32 = 20;
    pub const CLASS_MASK: u32 = 0x1f;
    /// The host depends on it: never banned without an operator's word.
    pub const LIFELINE: u32 = 1 << 26;
    pub const BOUND: u32 = 1 << 25;

    /// Whether a source with this leaf cannot come in through the interface in `slot`.
    #[inline(always)]
    pub const fn is_misplaced(leaf: u32, slot: u32) -> bool {
        leaf & (BOUND | DENIED) == BOUND && (leaf >> (slot & 15)) & 1 == 0
    }
    pub const DENIAL_MASK: u32 = (1 << 20) - 1;

    /// The class a leaf gives, or `default`.
    #[inline(always)]
    pub const fn class(leaf: u32, default: u32) -> u32 {
        if leaf & CLASSED == 0 { default } else { (leaf >> CLASS_SHIFT) & CLASS_MASK }
    }
}

/// The leaf for an address, as the kernel finds it: `node` gives a node by its number. Halves as in [`crate::flow`].
///
/// `None` when the tree refers to a node that does not exist, or goes on below the last bit.
pub fn lookup(node: impl Fn(u32) -> Option<PrefixNode>, high: u64, low: u64, is_v4: bool) -> Option<u32> {
    // The address from the top of a word, and where the family's root begins.
    let (mut bits, width, base) = if is_v4 {
        (u128::from(low) << 96, 32, 0)
    } else {
        (u128::from(high) << 64 | u128::from(low), 128, ROOT_NODES)
    };
    let mut child = leaf::NODE | (base + take(&mut bits, 12));
    let mut used = 12;
    while child & leaf::NODE != 0 {
        if used >= width {
            return None;
        }
        child = node(child & !leaf::NODE)?.children[take(&mut bits, 4) as usize];
        used += 4;
    }
    Some(child)
}

/// Takes the first `count` bits off.
#[expect(clippy::cast_possible_truncation, reason = "at most twelve bits")]
fn take(bits: &mut u128, count: u32) -> u32 {
    let taken = (*bits >> (128 - count)) as u32;
    *bits <<= count;
    taken
}

/// A denied prefix's end and its count. Its number is stable over generations.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Clock units; `u64::MAX` for ever.
    pub until: u64,
    pub packets: u64,
    pub bytes: u64,
    pub last_seen: u64,
}
plain!(Denial { until: u64, packets: u64, bytes: u64, last_seen: u64 } = 32);

/// Ports that one block of the service table covers.
pub const PORTS_PER_BLOCK: u32 = 256;
/// Blocks per generation: 256 each for TCP, UDP and SCTP, and one for all protocols by number.
pub const BLOCKS: u32 = 3 * 256 + 1;
/// The block that is indexed by protocol number.
pub const PROTOCOL_BLOCK: u32 = 3 * 256;

/// A block of the service table: the number of the first [`ServiceRule`] to try for each port. 0 is the default service's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlock {
    /// Two rule numbers a word, the even port in the low half.
    pub rules: [u32; 128],
}
plain!(PortBlock { rules: [u32; 128] } = 512);

/// How many service rules may be tried for one packet (same port, different destination prefixes).
pub const MAX_RULE_CHAIN: u32 = 8;

/// One way to match a service, and what then applies. Rule 0 is the default service and matches everything.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRule {
    /// Destination prefix as halves with the host bits cleared; masks of zero match every destination.
    pub destination: [u64; 2],
    pub mask: [u64; 2],
    /// The service's number: part of the source's key, index of its totals and aggregate. Stable over generations.
    pub service: u32,
    /// The rule to try when the destination does not match; 0 ends at the default service.
    pub next: u32,
    /// Number of the limit for each class.
    pub limits: [u32; CLASSES],
    /// 1 when the service has an aggregate limit that is not off, so that the others need not ask.
    pub has_aggregate: u32,
    /// 1 when unproven sources that a limit refuses are challenged.
    pub challenges: u32,
}
plain!(
    ServiceRule {
        destination: [u64; 2],
        mask: [u64; 2],
        service: u32,
        next: u32,
        limits: [u32; CLASSES],
        has_aggregate: u32,
        challenges: u32,
    } = 112
);

/// One set of rates of a limit, with its mode.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub mode: u32,
    /// Bit `d` is set when `rates[d]` is in use.
    pub dimensions: u32,
    pub rates: [Rate; DIMENSIONS],
}
plain!(Slot { mode: u32, dimensions: u32, rates: [Rate; DIMENSIONS] } = 72);

/// The limit of one class of sources at one service. Limit 0 is "no limit".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub force: Slot,
    /// A limit on trial beside it: never enforces.
    pub candidate: Slot,
    /// Debt in the sketch above which a source gets an entry of its own: half the smallest capacity of `force`.
    pub heavy: u64,
    /// Violations (packets over the limit) within `ban_within` that earn a ban; 0: no bans.
    pub ban_after: u32,
    /// Each ban is this many times as long as the one before.
    pub ban_growth: u16,
    /// 1: sources that did not prove their address are banned as well.
    pub ban_unproven: u8,
    /// What a ban refuses, a constant of [`crate::record::scope`].
    pub ban_scope: u8,
    /// Open connections of a source: in force, and on trial. 0: no limit.
    pub concurrent: u32,
    pub candidate_concurrent: u32,
    /// Clock units.
    pub ban_within: u64,
    pub ban_first: u64,
    pub ban_longest: u64,
    /// Rates of requests and handshakes: in force, and on trial.
    pub requests: [Rate; COUNTED],
    pub candidate_requests: [Rate; COUNTED],
}
plain!(
    Limit {
        force: Slot,
        candidate: Slot,
        heavy: u64,
        ban_after: u32,
        ban_growth: u16,
        ban_unproven: u8,
        ban_scope: u8,
        concurrent: u32,
        candidate_concurrent: u32,
        ban_within: u64,
        ban_first: u64,
        ban_longest: u64,
        requests: [Rate; COUNTED],
        candidate_requests: [Rate; COUNTED],
    } = 256
);

/// The limit of a service over all its sources.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    pub mode: u32,
    pub dimensions: u32,
    /// What everybody together may take.
    pub total: [Rate; DIMENSIONS],
    /// What sources may take that were not known before: the total less the share reserved for known ones.
    pub strangers: [Rate; DIMENSIONS],
    /// The same of requests and handshakes.
    pub total_requests: [Rate; COUNTED],
    pub strangers_requests: [Rate; COUNTED],
    /// Open connections of all sources, and as of which sources that were not known before open no more. 0: no limit.
    pub concurrent: u32,
    pub strangers_concurrent: u32,
}
plain!(
    Aggregate {
        mode: u32,
        dimensions: u32,
        total: [Rate; DIMENSIONS],
        strangers: [Rate; DIMENSIONS],
        total_requests: [Rate; COUNTED],
        strangers_requests: [Rate; COUNTED],
        concurrent: u32,
        strangers_concurrent: u32,
    } = 208
);
