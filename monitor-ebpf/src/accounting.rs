//! What a source's entry or its ban counts, and what it owes: plain stores by the CPU that owns it, locked instructions
//! by all others.
//!
//! The rules are in [`SourceEntry`]. A locked instruction costs five nanoseconds and lets nothing overtake it, so the
//! cache misses of one packet could not overlap those of the next; an owner needs none.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use monitor_common::{
    bucket::{Rate, excess, larger, level},
    record::{Ban, OWNED, SETTLED, SHARED, SourceEntry},
    rule::{BYTES, CONNECTIONS, DIMENSIONS, FRAGMENTS},
};

use crate::{
    atomic::{self, Judgement},
    context::{PacketContext, fresh},
};

/// The CPU that runs the program.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_smp_processor_id() }
}

/// Counts the packet; whether this CPU owns the entry alone, for [`charge`].
///
/// # Safety
/// `found` points to a map value that is valid for the whole run of the program; so for the next.
#[inline(always)]
pub unsafe fn count(found: *mut SourceEntry, packet: &PacketContext) -> bool {
    // SAFETY: by contract. Only the owner comes to the plain additions; the moment last seen may be anybody's.
    unsafe {
        (*found).last_seen = packet.now;
        if (&raw const (*found).owner).read_volatile() != cpu() {
            count_shared(found, packet);
            // It may have taken the entry over.
            (&raw const (*found).owner).read_volatile() == cpu()
        } else {
            count_owned(found, packet);
            true
        }
    }
}

#[inline(always)]
unsafe fn count_owned(found: *mut SourceEntry, packet: &PacketContext) {
    // SAFETY: as for the callers: the words are written by this CPU alone.
    unsafe {
        (*found).packets += 1;
        (*found).bytes += u64::from(packet.units[BYTES]);
        (*found).connections += u64::from(fresh(&packet.units[CONNECTIONS]));
    }
}

/// Not inlined, being the rare way.
#[inline(never)]
fn count_shared(found: *mut SourceEntry, packet: &PacketContext) {
    let cpu = cpu();
    // SAFETY: the only caller passes a map value; the words of others are changed by atomic instructions.
    unsafe {
        let owner = (&raw const (*found).owner).read_volatile();
        if owner & !SHARED == cpu {
            count_owned(found, packet);
        } else {
            atomic::add(&raw mut (*found).others.packets, 1);
            atomic::add(&raw mut (*found).others.bytes, u64::from(packet.units[BYTES]));
            if packet.units[CONNECTIONS] != 0 {
                atomic::add(&raw mut (*found).others.connections, 1);
            }
        }
        // Before the buckets are looked at: the owner's next packet finds the entry shared.
        if owner & SHARED == 0 {
            atomic::replace_half(&raw mut (*found).owner, owner, owner | SHARED);
        }
        // Sixteen bits of the number are enough: what differs makes the visitor wait, no more.
        if (*found).visitor != cpu as u16 || owner & SHARED == 0 {
            (*found).visitor = cpu as u16;
            (*found).alone_since = packet.now;
        } else if level(packet.now, (*found).alone_since) > SETTLED {
            take_over(found, owner, cpu, packet.now);
        }
    }
}

/// Makes this CPU the owner, with all that is owed.
#[inline(always)]
unsafe fn take_over(found: *mut SourceEntry, owner: u32, cpu: u32, now: u64) {
    // SAFETY: the caller's pointer is to a map value; the former owner has not come for long.
    unsafe {
        let mut dimension = 0;
        while dimension < OWNED {
            let owed = larger(level((*found).owned[dimension], now), level((*found).force[dimension], now));
            (*found).owned[dimension] = now.wrapping_add(owed);
            dimension += 1;
        }
        atomic::replace_half(&raw mut (*found).owner, owner, cpu);
    }
}

/// Charges the buckets of the limit in force, or none.
///
/// # Safety
/// As for [`count`], whose answer `alone` is.
#[inline(always)]
pub unsafe fn charge(
    found: *mut SourceEntry,
    rates: &[Rate; DIMENSIONS],
    packet: &PacketContext,
    alone: bool,
) -> Judgement {
    // SAFETY: by contract.
    unsafe {
        if !alone {
            let (buckets, floors) = (&raw mut (*found).force, &raw const (*found).owned);
            atomic::charge_above(buckets, floors, rates, &packet.units, packet.now)
        } else if fresh(&packet.units[FRAGMENTS]) != 0 {
            charge_fragment(found, rates, packet)
        } else if fresh(&packet.units[CONNECTIONS]) != 0 {
            charge_owned::<OWNED>(found, rates, packet)
        } else {
            charge_owned::<CONNECTIONS>(found, rates, packet)
        }
    }
}

/// Charges the first `N` dimensions of an entry that this CPU owns alone.
#[inline(always)]
unsafe fn charge_owned<const N: usize>(
    found: *mut SourceEntry,
    rates: &[Rate; DIMENSIONS],
    packet: &PacketContext,
) -> Judgement {
    let mut next = [0; N];
    let (mut over, mut beyond) = (0, 0);
    let mut dimension = 0;
    while dimension < N {
        // SAFETY: the caller's pointer is to a map value; the dimension is in range.
        let owed = level(unsafe { (*found).owned[dimension] }, packet.now);
        // A packet is one packet, and who comes here for a connection opens one.
        let rate = &rates[dimension];
        let cost = if dimension == BYTES { rate.cost(packet.units[BYTES]) } else { rate.cost_of_one() };
        over |= excess(owed, cost, rates[dimension].capacity) << dimension;
        beyond |= level(owed, rates[dimension].capacity);
        next[dimension] = packet.now.wrapping_add(owed).wrapping_add(cost);
        dimension += 1;
    }
    if over != 0 {
        if beyond != 0 {
            // SAFETY: as above.
            unsafe { atomic::forgive::<OWNED>((&raw mut (*found).owned).cast(), rates, packet.now) };
        }
        return Judgement::exceeding(over);
    }
    dimension = 0;
    while dimension < N {
        // SAFETY: as above; the words are written by this CPU alone.
        unsafe { (*found).owned[dimension] = next[dimension] };
        dimension += 1;
    }
    Judgement::WITHIN
}

/// A fragment: the bucket that everybody shares is charged by itself, then the others.
#[inline(never)]
fn charge_fragment(found: *mut SourceEntry, rates: &[Rate; DIMENSIONS], packet: &PacketContext) -> Judgement {
    // SAFETY: the only caller passes a map value.
    unsafe {
        let (buckets, owned) = (&raw mut (*found).force, &raw const (*found).owned);
        let shared = atomic::charge_above(buckets, owned, rates, &packet.units, packet.now);
        if shared != Judgement::WITHIN {
            shared
        } else if fresh(&packet.units[CONNECTIONS]) != 0 {
            charge_owned::<OWNED>(found, rates, packet)
        } else {
            charge_owned::<CONNECTIONS>(found, rates, packet)
        }
    }
}

/// Counts a packet of a banned source. The first CPU that comes owns the ban, for ever.
///
/// # Safety
/// `ban` points to a map value that is valid for the whole run of the program.
#[inline(always)]
pub unsafe fn count_ban(ban: *mut Ban, bytes: u32) {
    let cpu = cpu() + 1;
    // SAFETY: by contract; the owner's words are written by it alone.
    unsafe {
        let owner = (&raw const (*ban).owner).read_volatile();
        if owner == cpu || (owner == 0 && atomic::replace_half(&raw mut (*ban).owner, 0, cpu)) {
            (*ban).owned.packets += 1;
            (*ban).owned.bytes += u64::from(bytes);
        } else {
            atomic::add(&raw mut (*ban).others.packets, 1);
            atomic::add(&raw mut (*ban).others.bytes, u64::from(bytes));
        }
    }
}
