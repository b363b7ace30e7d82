//! Totals by reason, incidents and events: what leaves a trace of every packet.

use monitor_common::{
    record::{Count, Event, EventKind, Incident, judged},
    verdict::{CANDIDATE, REASONS, Verdict},
};

use crate::{
    case::{Case, fresh},
    clock, maps,
};

/// The one exit: counts the packet by interface, service and reason.
#[inline(always)]
pub fn count(case: &Case, verdict: Verdict) {
    let Some(totals) = maps::TOTALS.get_ptr_mut(case.interface * maps::services() + case.service) else {
        return;
    };
    let bytes = case.frame.length;
    // SAFETY: the pointer is to this CPU's map value, and every place is bounded by `add`.
    unsafe {
        add(&raw mut (*totals).ended, verdict.number(), bytes);
        if let Some(reason) = case.would_drop() {
            add(&raw mut (*totals).would_drop, reason, bytes);
        }
        if fresh(&case.candidate) != 0 {
            add(&raw mut (*totals).would_drop, CANDIDATE as u32, bytes);
        }
    }
}

/// Tells a replay what became of the packet; on a guarded interface this is no code at all.
#[inline(always)]
pub fn tell(case: &Case, verdict: Verdict) {
    if !clock::is_simulated() {
        return;
    }
    let Some(reading) = maps::CLOCK.get_ptr_mut(0) else {
        return;
    };
    let mut word = u64::from(verdict.number()) | u64::from(fresh(&case.service)) << judged::SERVICE_SHIFT;
    if let Some(reason) = case.would_drop() {
        word |= u64::from(reason + 1) << judged::WOULD_DROP_SHIFT;
    }
    if fresh(&case.candidate) != 0 {
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

/// Reports a notable moment; a full ring is counted, never waited for.
#[inline(never)]
pub fn event(event: &Event) {
    if maps::EVENTS.output::<Event>(event, 0).is_err() {
        incident(Incident::EventLost);
    }
}

/// An event of `kind` about nobody yet.
#[inline(always)]
pub fn about(kind: EventKind, interface: u32, at: u64) -> Event {
    Event { kind: kind as u32, interface, at, high: 0, low: 0, service: 0, reason: 0, value: 0 }
}
