//! HTTP and JSON over a Unix socket: how people and programs read and steer the daemon (docs/control-api.md).
//!
//! In: requests of peers whose role follows from kernel-attested credentials. Out: the engine's answers and snapshots.
//! [`server`] bounds what peers use up, [`router`] is the list of endpoints, [`routes`] holds a file per noun,
//! [`protocol`] the shapes, [`client`] the other side. Nothing here decides anything about traffic.

pub mod client;
pub mod document;
pub mod endpoint;
pub mod listen;
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

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::net::UnixListener;

use crate::config;
use crate::engine::Handle;

/// The bound socket, before anybody is served.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    roles: peer::Roles,
    path: PathBuf,
}

/// Binds the socket and resolves the groups; while this process may still do so.
///
/// # Errors
/// When a group does not exist, another daemon answers at the socket, or the file system refuses.
pub fn open(control: &config::Control) -> Result<Door> {
    let groups = std::fs::read_to_string("/etc/group").context("read /etc/group")?;
    let roles = peer::Roles::of(control, rustix::process::geteuid().as_raw(), &groups)?;
    let listener = listen::bind(&control.socket, roles.door_group())?;
    Ok(Door { listener, roles, path: control.socket.clone() })
}

impl Door {
    /// Serves until `shutdown` resolves and running requests are drained, then takes the socket away.
    pub async fn serve(self, engine: Handle, shutdown: impl Future<Output = ()>) {
        let Self { listener, roles, path } = self;
        server::serve(listener, router::router(engine), roles, server::Limits::default(), shutdown).await;
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "the control socket stays behind");
        }
    }
}

#[cfg(test)]
mod tests;
