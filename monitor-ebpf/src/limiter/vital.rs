//! What the host cannot be without passes within a safe rate, where a limit would drop it.

use monitor_common::{names::capacity, rule::Settings, verdict::Reason, vital};

use super::fragments;
use crate::context::PacketContext;

/// Lets a packet that a limit drops pass, if it is vital and within the safe rates.
///
/// Not inlined: only what is dropped comes here.
#[inline(never)]
pub fn spare(settings: &Settings, packet: &mut PacketContext) {
    let kind = vital::kind(&packet.frame);
    if kind >= vital::KINDS {
        return;
    }
    let source = capacity::STRAYS + 1 + vital::KINDS + ((packet.hash >> 40) as u32 & (capacity::VITALS - 1));
    if fragments::charge(source, &settings.vital, packet.now)
        && fragments::charge(capacity::STRAYS + 1 + kind, &settings.vitals, packet.now)
    {
        packet.verdict = Reason::Vital as u32;
    }
}
