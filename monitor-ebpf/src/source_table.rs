//! The exact table: finding a source's entry, and making one. Where entries stand is said in [`monitor_common::table`].

use core::intrinsics::{AtomicOrdering, atomic_xchg};

use monitor_common::{
    record::{OWNED, SourceEntry},
    rule::DIMENSIONS,
    table::{self, FREE, Slot, Tags, WAYS, state},
};

use crate::{accounting, atomic, context::PacketContext, maps};

/// Attempts to take a free slot that other CPUs want too.
const ATTEMPTS: u32 = 4;
/// No slot.
const NONE: u32 = u32::MAX;

/// How entering ended.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entering {
    Entered = 0,
    /// Another CPU has entered it meanwhile.
    Present = 1,
    /// Another CPU enters it right now, or took every slot that was free: nobody's fault, and over with the next packet.
    Contended = 2,
    /// Both sets of the source are full.
    Full = 3,
}

/// The entry of the source at the service.
#[inline(always)]
pub fn find(packet: &PacketContext) -> Option<*mut SourceEntry> {
    let sets = table::sets(packet.hash, maps::source_sets());
    let tag = table::tag(packet.hash);
    let in_home = table::matching(tags(sets[0])?, tag);
    if in_home != 0
        && let Some(found) = judging(sets[0] * WAYS + table::first(in_home), packet)
    {
        return Some(found);
    }
    let in_other = table::matching(tags(sets[1])?, tag);
    if in_other != 0
        && let Some(found) = judging(sets[1] * WAYS + table::first(in_other), packet)
    {
        return Some(found);
    }
    if in_home | in_other == 0 {
        return None;
    }
    // Another source of the same tag stands in the way.
    let number = search(packet, NONE);
    if number & ENTERING != 0 {
        return None;
    }
    // SAFETY: the pointer is to a map value.
    maps::SOURCES.get_ptr_mut(number).map(|slot| unsafe { &raw mut (*slot).entry })
}

/// The entry in a slot, if it is live and this source's.
#[inline(always)]
fn judging(number: u32, packet: &PacketContext) -> Option<*mut SourceEntry> {
    let slot = maps::SOURCES.get_ptr_mut(number)?;
    // SAFETY: the pointer is to a map value, which stays valid for the whole run of the program.
    unsafe {
        if (*slot).judges(packet.high, packet.low, packet.service) {
            Some(&raw mut (*slot).entry)
        } else {
            None
        }
    }
}

/// In the answer of [`search`]: not live, but about to be; all bits: none.
const ENTERING: u32 = 1 << 31;

/// Looks at every slot of the source's sets that has its tag, but for one.
#[inline(always)]
fn search(packet: &PacketContext, but: u32) -> u32 {
    let sets = table::sets(packet.hash, maps::source_sets());
    let number = search_set(packet, sets[0], but);
    if number & ENTERING == 0 {
        return number;
    }
    // Who is about to enter in the first set gives way to who is live in the second.
    let other = search_set(packet, sets[1], but);
    if other == NONE { number } else { other }
}

/// Not inlined: rare, and long to verify.
#[inline(never)]
fn search_set(packet: &PacketContext, set: u32, but: u32) -> u32 {
    let Some(tags) = tags(set) else {
        return NONE;
    };
    let mut matching = table::matching(tags, table::tag(packet.hash));
    let mut looks = 0;
    let mut entering = NONE;
    while matching != 0 && looks < WAYS {
        let number = set * WAYS + table::first(matching);
        matching &= matching - 1;
        looks += 1;
        let Some(slot) = maps::SOURCES.get_ptr_mut(number) else {
            return NONE;
        };
        // SAFETY: the pointer is to a map value.
        let (same, state) = unsafe {
            (
                (*slot).is_of(packet.high, packet.low, packet.service),
                (&raw const (*slot).state).read_volatile(),
            )
        };
        if same && number != but {
            if state == state::LIVE {
                return number;
            }
            if state == state::ENTERING {
                entering = number | ENTERING;
            }
        }
    }
    entering
}

#[inline(always)]
fn tags(set: u32) -> Option<Tags> {
    let tags = maps::SOURCE_TAGS.get_ptr_mut(set)?;
    // SAFETY: the pointer is to a map value.
    Some(unsafe { [atomic::load(&raw const (*tags)[0]), atomic::load(&raw const (*tags)[1])] })
}

/// Makes an entry that owes `debt`. The protocol is that of [`state`].
///
/// Not inlined: rare, and on its own it has its own stack.
#[inline(never)]
pub fn enter(packet: &PacketContext, debt: u64, flags: u16) -> Entering {
    let number = take(packet);
    if number >= CONTENDED {
        return if number == CONTENDED { Entering::Contended } else { Entering::Full };
    }
    let Some(slot) = maps::SOURCES.get_ptr_mut(number) else {
        return Entering::Full;
    };
    let tat = packet.now.wrapping_add(debt);
    // SAFETY: the pointer is to a map value; until it is live, the slot is this CPU's alone. A free slot is all zero.
    unsafe {
        (*slot).high = packet.high;
        (*slot).low = packet.low;
        (*slot).service = packet.service;
        let entry = &raw mut (*slot).entry;
        (*entry).owner = accounting::cpu();
        (*entry).owned = [tat; OWNED];
        (*entry).force = [tat; DIMENSIONS];
        (*entry).candidate = [packet.now; DIMENSIONS];
        (*entry).last_seen = packet.now;
        (*entry).first_seen = packet.now;
        (*entry).flags = flags;
        (*entry).class = packet.class as u16;
        (*entry).interface = packet.interface as u16;
        become_state(slot, state::ENTERING);
    }
    let other = search(packet, number);
    // SAFETY: as above.
    unsafe { become_state(slot, if other == NONE { state::LIVE } else { state::RETIRED }) };
    if other == NONE {
        Entering::Entered
    } else if other & ENTERING == 0 {
        Entering::Present
    } else {
        Entering::Contended
    }
}

/// Exchanged and not stored: what was written before is seen before, and what is read after is read after.
#[inline(always)]
unsafe fn become_state(slot: *mut Slot, state: u32) {
    // SAFETY: the caller's pointer is to a map value.
    unsafe { atomic_xchg::<u32, { AtomicOrdering::SeqCst }>(&raw mut (*slot).state, state) };
}

/// In the answers of [`take`]: no slot.
const CONTENDED: u32 = NONE - 1;

/// Takes a free slot by writing the source's tag.
#[inline(always)]
fn take(packet: &PacketContext) -> u32 {
    let sets = table::sets(packet.hash, maps::source_sets());
    let tag = table::tag(packet.hash);
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let (Some(home), Some(other)) = (tags(sets[0]), tags(sets[1])) else {
            return NONE;
        };
        let free = [table::free(home), table::free(other)];
        let second = table::enters_second(free);
        let (set, tags) = if second { (sets[1], other) } else { (sets[0], home) };
        let found = table::matching(tags, FREE);
        if found == 0 {
            return NONE;
        }
        let slot = table::first(found);
        if let Some(there) = maps::SOURCE_TAGS.get_ptr_mut(set) {
            let (which, shift) = table::place(slot);
            let (old, new) = (tags[which], tags[which] | tag << shift);
            // SAFETY: the pointer is to a map value, and the word one of its two.
            if unsafe { atomic::replace(there.cast::<u64>().add(which), old, new) } {
                return set * WAYS + slot;
            }
        }
        attempt += 1;
    }
    CONTENDED
}
