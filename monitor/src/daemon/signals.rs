//! Signals, from the first moment of the process: one that comes while the daemon starts waits for its turn.
//!
//! In: a runtime. Out: what was asked for. A signal without a handler would end the process.

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Reload,
    /// By the signal of this name; tokio does not say who sent it.
    Stop(&'static str),
}

#[derive(Debug)]
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen(runtime: &Runtime) -> Result<Self> {
        let _within = runtime.enter();
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
        }
    }
}
