//! Wires the parts: signals, service manager, drain with a deadline.
