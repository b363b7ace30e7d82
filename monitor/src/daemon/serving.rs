//! The daemon's two doors: the control socket and the metrics page.
//!
//! In: the configuration, before privileges are dropped. Out: tasks that serve until they are told to stop. A page that
//! cannot be served is an error at the start, never a silent absence.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::exposition;
use crate::control::peer::Roles;
use crate::control::server::{self, Limits};
use crate::control::{listen, router};
use crate::engine::Handle;
use policy::config::Config;

/// Requests that still run at the end get this long.
const DRAIN: Duration = Duration::from_secs(5);

/// Bound and not yet served.
pub(super) struct Doors {
    control: UnixListener,
    roles: Roles,
    metrics: Option<TcpListener>,
}

impl Doors {
    pub async fn open(config: &Config) -> Result<Self> {
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let roles = Roles::of(&config.control, rustix::process::geteuid().as_raw(), &groups)?;
        let metrics = if config.metrics.enabled {
            let address = config.metrics.listen;
            let bound = TcpListener::bind(address).await;
            Some(bound.with_context(|| {
                format!("serve metrics at {address}: choose another metrics.listen, or set metrics.enabled = false")
            })?)
        } else {
            None
        };
        let control = listen::bind(&config.control.socket, roles.door_group())?;
        Ok(Self { control, roles, metrics })
    }

    pub fn serve(self, handle: &Handle, stopping: &watch::Receiver<bool>) -> JoinSet<Result<()>> {
        let mut served = JoinSet::new();
        let mut stop = stopping.clone();
        let router = router::router(handle.clone());
        served.spawn(async move {
            // An error means that the sender is gone, which is a stop as well.
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            server::serve(self.control, router, self.roles, Limits::default(), stopped).await;
            Ok(())
        });
        if let Some(listener) = self.metrics {
            served.spawn(exposition::serve(listener, handle.clone(), stopping.clone()));
        }
        served
    }
}

/// Lets running requests finish within the deadline.
pub(super) async fn drain(mut served: JoinSet<Result<()>>) {
    let all = async {
        while let Some(done) = served.join_next().await {
            if let Ok(Err(error)) = done {
                tracing::error!("{error:#}");
            }
        }
    };
    if timeout(DRAIN, all).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}
