//! Containment: the limit of one source's or one workload's own.

use core::ops::ControlFlow;

use monitor_common::{
    bucket::level,
    flow::BanKey,
    rule::{BYTES, PACKETS, mode},
    verdict::{Reason, Verdict},
};

use crate::{
    atomic::{self, Judgement},
    context::{PacketContext, fresh},
    maps,
};

/// Charges the containment of `key`, if there is one; breaks when the packet is over it and the mode enforces.
///
/// Not inlined: rare, and on its own it has its own stack.
#[inline(never)]
pub fn judge(key: BanKey, packet: &mut PacketContext) -> ControlFlow<Verdict> {
    if exceeds(&key, packet) {
        return ControlFlow::Break(Reason::Contained.into());
    }
    ControlFlow::Continue(())
}

#[inline(always)]
fn exceeds(key: &BanKey, packet: &mut PacketContext) -> bool {
    let Some(found) = maps::CONTAINED.get_ptr_mut(key) else {
        return false;
    };
    let now = packet.now;
    let (packets, bytes) = (u64::from(fresh(&packet.units[PACKETS])), u64::from(fresh(&packet.units[BYTES])));
    // SAFETY: the pointer is to a map value, which stays valid for the whole run of the program; its counters and buckets
    // are changed by atomic instructions only.
    unsafe {
        if level((*found).until, now) == 0 && (*found).until != u64::MAX {
            return false;
        }
        if (*found).spares_answers != 0 && fresh(&packet.answer) != 0 {
            return false;
        }
        atomic::add(&raw mut (*found).judged.packets, packets);
        atomic::add(&raw mut (*found).judged.bytes, bytes);
        let over = (*found).cut_off != 0
            || atomic::charge(&raw mut (*found).buckets, &(*found).rates, &packet.units, now)
                != Judgement::WITHIN;
        if !over {
            return false;
        }
        atomic::add(&raw mut (*found).over.packets, packets);
        atomic::add(&raw mut (*found).over.bytes, bytes);
        if (*found).mode == mode::ENFORCE && fresh(&packet.enforce) != 0 {
            return true;
        }
    }
    packet.note_would_drop(Reason::Contained.into());
    false
}
