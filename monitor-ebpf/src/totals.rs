//! Totals by reason, incidents, and the verdict that a replay reads: what leaves a trace of every packet.

use monitor_common::{
    record::{Count, Incident, judged},
    verdict::{CANDIDATE, REASONS, Verdict},
};

use crate::{
    clock,
    context::{PacketContext, fresh},
    maps,
};

/// The one exit: counts the packet by interface, service and reason.
#[inline(always)]
pub fn count(packet: &PacketContext, verdict: Verdict) {
    let Some(totals) = maps::TOTALS.get_ptr_mut(packet.interface * maps::services() + packet.service) else {
        return;
    };
    let bytes = packet.frame.length;
    // SAFETY: the pointer is to this CPU's map value, and every place is bounded by `add`.
    unsafe {
        add(&raw mut (*totals).ended, verdict.number(), bytes);
        if let Some(reason) = packet.would_drop() {
            add(&raw mut (*totals).would_drop, reason, bytes);
        }
        if fresh(&packet.candidate) != 0 {
            add(&raw mut (*totals).would_drop, CANDIDATE as u32, bytes);
        }
    }
}

/// Tells a replay what became of the packet; on a guarded interface this is no code at all.
#[inline(always)]
pub fn tell(packet: &PacketContext, verdict: Verdict) {
    if !clock::is_simulated() {
        return;
    }
    let Some(reading) = maps::CLOCK.get_ptr_mut(0) else {
        return;
    };
    let mut word = u64::from(verdict.number()) | u64::from(fresh(&packet.service)) << judged::SERVICE_SHIFT;
    if let Some(reason) = packet.would_drop() {
        word |= u64::from(reason + 1) << judged::WOULD_DROP_SHIFT;
    }
    if fresh(&packet.candidate) != 0 {
        word |= judged::CANDIDATE;
    }
    // SAFETY: the pointer is to the map's only value, and a replay runs one frame at a time.
    unsafe { (*reading).judged = word };
}

#[inline(always)]
unsafe fn add(counts: *mut [Count; REASONS], place: u32, bytes: u32) {
    let place = place as usize;
    if place < REASONS {
        // SAFETY: the caller's pointer is to this CPU's map value, and `place` was just bounded.
        unsafe {
            let count = &raw mut (*counts)[place];
            (*count).packets += 1;
            (*count).bytes += u64::from(bytes);
        }
    }
}

/// Counts a malformed frame by the number of its kind.
#[inline(always)]
pub fn malformed(kind: u32) {
    bump(maps::MALFORMED.get_ptr_mut(kind));
}

/// Counts something rare.
#[inline(always)]
pub fn incident(incident: Incident) {
    bump(maps::INCIDENTS.get_ptr_mut(incident as u32));
}

#[inline(always)]
fn bump(count: Option<*mut u64>) {
    if let Some(count) = count {
        // SAFETY: the pointer is to this CPU's map value.
        unsafe { *count += 1 };
    }
}
