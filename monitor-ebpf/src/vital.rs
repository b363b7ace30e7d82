//! What the host cannot be without passes within a safe rate, where a limit would drop it.

use monitor_common::{names::capacity, rule::Settings, verdict::Reason, vital};

use crate::{case::Case, fragments};

/// Lets a packet that a limit drops pass, if it is vital and within the safe rates.
///
/// Not inlined: only what is dropped comes here.
#[inline(never)]
pub fn spare(settings: &Settings, case: &mut Case) {
    let kind = vital::kind(&case.frame);
    if kind >= vital::KINDS {
        return;
    }
    let source = capacity::STRAYS + 1 + vital::KINDS + ((case.hash >> 40) as u32 & (capacity::VITALS - 1));
    if fragments::charge(source, &settings.vital, case.now)
        && fragments::charge(capacity::STRAYS + 1 + kind, &settings.vitals, case.now)
    {
        case.verdict = Reason::Vital as u32;
    }
}
