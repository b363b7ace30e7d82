//! sluice's daemon and client. Read along the way of the data:
//!
//! [`datapath`] loads, attaches and reads the kernel side -> [`snapshot`] is what it knew at one instant -> [`metrics`],
//! [`control`] and [`detection`] and [`tuning`] read it -> findings and proposals become [`policy`] -> whose changes go
//! back into the maps. [`core`] decides all that can change and [`engine`] drives it; [`config`] says what is wanted, [`store`] remembers it,
//! [`daemon`] wires the parts and [`cli`] is what people type. [`replay`] goes the same way with a [`capture`] and without a
//! daemon.

pub mod cli;

pub mod control;
pub mod core;
pub mod daemon;
pub mod engine;
pub mod metrics;

pub mod replay;
pub use api::snapshot;
pub mod store;
