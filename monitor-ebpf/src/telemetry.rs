//! Totals by reason, incidents and events: what leaves a trace of every packet.

use monitor_common::{
    names::capacity,
    parse::Malformed,
    record::{Event, EventKind, Incident, Totals},
    verdict::{CANDIDATE, REASONS, Reason},
};

use crate::maps;

/// What is to be counted for one packet, filled in along its way.
pub struct Tally {
    pub interface: u32,
    pub service: u32,
    /// The reason an observing limit would have given.
    pub would_drop: Option<Reason>,
    /// The limit on trial would have dropped.
    pub candidate: bool,
}

impl Tally {
    #[inline(always)]
    pub fn new(interface: u32) -> Self {
        Self { interface, service: 0, would_drop: None, candidate: false }
    }
}

/// The one exit: counts the packet by interface, service and reason.
#[inline(always)]
pub fn count(tally: &Tally, reason: Reason, bytes: u32) {
    let index = (tally.interface & (capacity::INTERFACES - 1)) * maps::services() + tally.service;
    let Some(totals) = maps::TOTALS.get_ptr_mut(index) else {
        return;
    };
    add(totals, reason as usize, false, bytes);
    if let Some(reason) = tally.would_drop {
        add(totals, reason as usize, true, bytes);
    }
    if tally.candidate {
        add(totals, CANDIDATE, true, bytes);
    }
}

#[inline(always)]
fn add(totals: *mut Totals, place: usize, would_drop: bool, bytes: u32) {
    if place >= REASONS {
        return;
    }
    // SAFETY: the pointer is to this CPU's map value, and `place` was just bounded.
    unsafe {
        let count =
            if would_drop { &raw mut (*totals).would_drop[place] } else { &raw mut (*totals).ended[place] };
        (*count).packets += 1;
        (*count).bytes += u64::from(bytes);
    }
}

/// Counts a malformed frame by kind.
#[inline(always)]
pub fn malformed(kind: Malformed) {
    bump(maps::MALFORMED.get_ptr_mut(kind as u32));
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
