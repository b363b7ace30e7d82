//! HTTP and JSON over a Unix socket: how people and programs read and steer the daemon (docs/reference/control-api.md).
//!
//! In: requests of peers whose role follows from kernel-attested credentials. Out: the engine's answers and snapshots.
//! [`server`] bounds what peers use up, [`router`] is the list of endpoints, [`routes`] holds a file per noun,
//! [`protocol`] the shapes, [`client`] the other side. Nothing here decides anything about traffic.

pub mod client;
pub mod document;
pub mod endpoint;
pub mod escape;
pub mod listen;
pub mod patience;
pub mod peer;
pub mod problem;
pub mod protocol;
pub mod reference;
pub mod request;
pub mod router;
pub mod routes;
pub mod server;

#[cfg(test)]
pub mod scripted;

#[cfg(test)]
mod tests;
