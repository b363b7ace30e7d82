//! The engine from outside: a cheap handle that asks and that sees the latest snapshot.
//!
//! In: commands of many callers. Out: their answers, and `Arc<Snapshot>` without a lock. It never waits for a tick.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::command::{Caller, ChangeOptions, Perform, Reply, Request};
use crate::snapshot::Snapshot;
use crate::store::audit::Auditor;
use crate::store::backup::Copier;
use api::{Code, Endpoint, Error};

/// Commands that may wait for the engine; more are refused, so that a flood of callers cannot fill memory.
pub const QUEUE: usize = 64;

/// Clone it freely.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    auditor: Auditor,
    copier: Copier,
}

impl Handle {
    pub fn new(
        requests: mpsc::Sender<Request>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        auditor: Auditor,
        copier: Copier,
    ) -> Self {
        Self { requests, snapshots, auditor, copier }
    }

    /// For refused calls, and to read the audit.
    pub const fn auditor(&self) -> &Auditor {
        &self.auditor
    }

    /// For the store as a file.
    pub const fn copier(&self) -> &Copier {
        &self.copier
    }

    /// What was known at the last tick.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// To wait for the next snapshot (`changed().await`).
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Asks and waits for the answer.
    pub async fn ask<C: Perform>(
        &self,
        caller: Caller,
        options: ChangeOptions,
        command: C,
    ) -> Result<C::Answer, Error> {
        let Endpoint { name, role, .. } = C::ENDPOINT;
        if caller.role < role {
            return Err(Error::new(Code::NotPermitted, format!("`{name}` needs the role {}", role.label()))
                .next(format!("you are {}: ask an administrator, or run it as root", caller.role.label())));
        }
        let (sender, answer) = oneshot::channel();
        // A caller that went away does not undo what it asked for, so a failed send means nothing.
        let reply = Reply::new(move |answer| drop(sender.send(answer)));
        let request = Request::new(caller, options, command, reply);
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(Code::Unavailable, "too many commands wait for the daemon").next("try again")
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

fn stopping() -> Error {
    Error::new(Code::Unavailable, "the daemon is stopping").next("try again when it runs")
}
