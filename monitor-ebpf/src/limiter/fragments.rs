//! Later fragments: each follows the service and the fate of its datagram's first one, or is charged as a stray.
//!
//! A first fragment leaves one word: the datagram's tag, when it came, the destination port, and whether it was dropped. What
//! comes without a first one fills the memory in which the host puts datagrams together, so such fragments have a limit of
//! their own, for each source and for all.

use core::ops::ControlFlow;

use monitor_common::{
    bucket::{Rate, admit},
    datagram::{self, Word},
    names::capacity,
    parse::Fragment,
    rule::{Settings, setting},
    verdict::{Reason, Verdict},
};

use crate::{
    atomic,
    context::{PacketContext, fresh},
    maps,
};

/// Notes what became of a first fragment.
///
/// Not inlined, like all of this file: fragments are rare.
#[inline(never)]
pub fn remember(settings: &Settings, packet: &PacketContext) {
    let hash = datagram::hash(settings.hash_key, &packet.frame);
    if let Some(place) = maps::DATAGRAMS.get_ptr_mut(datagram::place(hash)) {
        let verdict = Verdict::from_number(fresh(&packet.verdict));
        let answer = verdict == Reason::Answer.into();
        // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
        unsafe {
            *place = Word::new(hash, packet.now, packet.frame.destination_port, verdict.drops(), answer).0;
        }
    }
}

/// Gives a later fragment the port of its first one, or charges it as a stray.
#[inline(never)]
pub fn resolve(settings: &Settings, packet: &mut PacketContext) -> ControlFlow<Verdict> {
    let hash = datagram::hash(settings.hash_key, &packet.frame);
    let word = Word(maps::DATAGRAMS.get(datagram::place(hash)).map_or(0, |word| *word));
    if !word.is_of(hash, packet.now) {
        if !is_over(settings, packet) {
            return ControlFlow::Continue(());
        }
    } else if word.is_answer() {
        return ControlFlow::Break(Reason::Answer.into());
    } else if !word.is_dropped() {
        packet.frame.destination_port = word.port();
        packet.piece = Fragment::Whole as u32;
        return ControlFlow::Continue(());
    }
    if fresh(&packet.enforce) != 0 && settings.flags & setting::DROP_STRAYS != 0 {
        return ControlFlow::Break(Reason::StrayFragment.into());
    }
    packet.note_would_drop(Reason::StrayFragment.into());
    ControlFlow::Continue(())
}

/// Charges the buckets of strays; whether there is no room.
#[inline(always)]
fn is_over(settings: &Settings, packet: &PacketContext) -> bool {
    !charge((packet.hash >> 40) as u32 & (capacity::STRAYS - 1), &settings.stray, packet.now)
        || !charge(capacity::STRAYS, &settings.strays, packet.now)
}

/// Charges one bucket; a CPU that loses the race passes its fragment on, which is one too many for each CPU at most.
#[inline(always)]
pub fn charge(place: u32, rate: &Rate, now: u64) -> bool {
    let Some(bucket) = maps::STRAYS.get_ptr_mut(place) else {
        return true;
    };
    // SAFETY: the pointer is to a map value.
    unsafe {
        let tat = atomic::load(bucket);
        match admit(tat, now, rate.cost_of_one(), rate.capacity) {
            Some(next) => {
                atomic::replace(bucket, tat, next);
                true
            }
            None => false,
        }
    }
}
