//! Rates of sources come in, proposed limits go out, with the evidence for each.
//!
//! Pure: the clock is passed in, nothing is read, written or changed here. What was dropped or flagged, and what was
//! offered during a flood or an open alert, never enters.

mod parameters;

pub use parameters::{Auto, Bounds, Defence, Mode, Parameters, Rung, ServiceParameters};
