//! The daemon's two doors: the control socket and the metrics page.
//!
//! In: the configuration. Out: tasks that serve until they are told to stop. A door that cannot be opened is a problem and
//! tried again, further and further apart: it never keeps the host from being guarded.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::exposition;
use super::web::Guard;
use crate::control::peer::Roles;
use crate::control::server::{self, Limits};
use crate::control::{listen, router};
use crate::engine::{Handle, Parts};
use policy::config::{Config, Metrics};

/// Requests that still run at the end get this long.
const DRAIN: Duration = Duration::from_secs(5);
/// Pauses between tries.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

const CONTROL: &str = "control socket";
const METRICS: &str = "metrics";

/// What is to be served, and what of it is open.
pub(super) struct Doors {
    config: Arc<Config>,
    parts: Parts,
    control: Option<(UnixListener, Roles)>,
    metrics: Option<(TcpListener, Arc<Guard>)>,
}

impl Doors {
    pub fn new(config: &Arc<Config>, parts: Parts) -> Self {
        Self { config: Arc::clone(config), parts, control: None, metrics: None }
    }

    /// The first try, while the process still has its privileges.
    pub fn open(&mut self) {
        self.control = tried(&self.parts, CONTROL, open_control(&self.config));
        if self.config.metrics.enabled {
            self.metrics = tried(&self.parts, METRICS, open_metrics(&self.config.metrics));
        }
    }

    /// Where to ask, and what of it is open.
    pub fn addresses(&self) -> String {
        let state = |is_open: bool| if is_open { "" } else { " (not open yet)" };
        let socket = self.config.control.socket.display();
        let metrics = if self.config.metrics.enabled {
            format!("http://{}/metrics{}", self.config.metrics.listen, state(self.metrics.is_some()))
        } else {
            "off".to_owned()
        };
        format!("control socket: {socket}{}; metrics: {metrics}", state(self.control.is_some()))
    }

    pub fn serve(self, handle: &Handle, stopping: &watch::Receiver<bool>) -> JoinSet<Result<()>> {
        let mut served = JoinSet::new();
        served.spawn(serve_control(
            self.control,
            Arc::clone(&self.config),
            handle.clone(),
            self.parts.clone(),
            stopping.clone(),
        ));
        if self.config.metrics.enabled {
            served.spawn(serve_metrics(
                self.metrics,
                self.config.metrics.clone(),
                handle.clone(),
                self.parts,
                stopping.clone(),
            ));
        }
        served
    }
}

async fn serve_control(
    mut open: Option<(UnixListener, Roles)>,
    config: Arc<Config>,
    handle: Handle,
    parts: Parts,
    stopping: watch::Receiver<bool>,
) -> Result<()> {
    let mut pause = FIRST;
    while !*stopping.borrow() {
        let Some((listener, roles)) = open.take() else {
            if !wait(&mut pause, &stopping).await {
                break;
            }
            open = tried(&parts, CONTROL, open_control(&config));
            continue;
        };
        pause = FIRST;
        let router = router::router(handle.clone());
        let gone = listen::gone(config.control.socket.clone());
        let stopped = stopped(stopping.clone());
        let limits = (Limits::default(), handle.auditor().clone());
        server::serve(listener, router, roles, limits, async {
            tokio::select! { () = gone => {}, () = stopped => {} }
        })
        .await;
        if !*stopping.borrow() {
            parts.fails(CONTROL, "somebody removed it; it is made again");
        }
    }
    Ok(())
}

async fn serve_metrics(
    mut open: Option<(TcpListener, Arc<Guard>)>,
    config: Metrics,
    handle: Handle,
    parts: Parts,
    stopping: watch::Receiver<bool>,
) -> Result<()> {
    let mut pause = FIRST;
    while !*stopping.borrow() {
        let Some((listener, guard)) = open.take() else {
            if !wait(&mut pause, &stopping).await {
                break;
            }
            open = tried(&parts, METRICS, open_metrics(&config));
            continue;
        };
        let refreshed = |outcome| {
            tried(&parts, METRICS, outcome);
        };
        exposition::serve(listener, handle.clone(), &config, &guard, refreshed, stopped(stopping.clone()))
            .await;
    }
    Ok(())
}

/// `false` when the process is to end.
async fn wait(pause: &mut Duration, stopping: &watch::Receiver<bool>) -> bool {
    let over = timeout(*pause, stopped(stopping.clone())).await.is_err();
    *pause = (*pause * 2).min(LONGEST);
    over
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    drop(stopping.wait_for(|stop| *stop).await);
}

fn tried<T>(parts: &Parts, part: &'static str, outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(open) => {
            parts.works(part);
            Some(open)
        }
        Err(error) => {
            parts.fails(part, &format!("{error:#}; it is tried again"));
            None
        }
    }
}

fn open_control(config: &Config) -> Result<(UnixListener, Roles)> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let roles = Roles::of(&config.control, rustix::process::geteuid().as_raw(), &groups)?;
    Ok((listen::bind(&config.control.socket, roles.door_group())?, roles))
}

fn open_metrics(config: &Metrics) -> Result<(TcpListener, Arc<Guard>)> {
    let guard = Arc::new(Guard::open(config)?);
    let address = config.listen;
    let bound = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .and_then(TcpListener::from_std);
    let listener = bound.with_context(|| {
        format!("serve metrics at {address}: choose another metrics.listen, or set metrics.enabled = false")
    })?;
    Ok((listener, guard))
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
