//! HTTP and JSON over a Unix socket: how people and programs read and steer the daemon (docs/reference/control-api.md).
//!
//! In: requests of peers whose role follows from kernel-attested credentials. Out: the engine's answers and snapshots.
//! [`server`] bounds what peers use up, [`router`] makes a route of every command of the crate `api`, which has the shapes and
//! the client, and [`request`] reads what was asked. Nothing here decides anything about traffic.

pub mod document;
pub mod listen;
pub mod patience;
pub mod peer;
pub mod reference;
mod refusal;
pub mod request;
pub mod router;
pub mod server;

#[cfg(test)]
pub(crate) mod served;

#[cfg(test)]
mod tests;
