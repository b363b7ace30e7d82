//! The driver of the core on a live host: waits, feeds what happened, performs what comes of it.
//!
//! In: commands over a channel, the kernel's tables and rings, netlink, time. Out: answers, and a snapshot a second. It
//! runs on a thread of its own, because reading maps and writing the store block; no caller ever waits for a tick. It
//! decides nothing.

mod alert_log;
pub mod cookies;
mod delivery;
mod fetch;
pub mod handle;
mod host;
pub mod last_good;
mod line_file;
pub mod links;
mod load;
pub mod operators;
pub mod panic_file;
mod parts;
mod regular;
mod routes;
mod run;
mod sinks;
pub mod start;
mod surroundings;
#[cfg(test)]
mod tests;
mod trust;
mod webhook;
mod workloads;

pub use crate::core::effect::Ended;
pub use crate::core::{command, delta};
pub use crate::store::audit::{Auditor, NewEntry};
pub use crate::store::backup::Copier;
pub use handle::Handle;
pub use host::{configuration_path, read_configuration};
pub use parts::Parts;
pub use run::{Engine, Pulse};
pub use sinks::{Sink, Sinks};
pub use start::Start;
