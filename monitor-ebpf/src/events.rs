//! What leaves through the event ring. A full ring is counted, never waited for.

use monitor_common::record::{Event, EventKind, Incident};

use crate::{maps, totals::incident};

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
