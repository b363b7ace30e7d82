//! Wires the parts: signals, service manager, drain with a deadline.

pub mod exposition;
pub mod logging;
pub mod notify;
pub mod privilege;
