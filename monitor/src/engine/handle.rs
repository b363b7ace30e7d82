//! The engine from outside: a cheap handle that asks and that sees the latest snapshot.
//!
//! In: commands of many callers. Out: their answers, and `Arc<Snapshot>` without a lock. It never waits for a tick.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::command::{Caller, ChangeOptions, Command, Reply, Request};
use super::refusal::{Code, Refusal};
use crate::snapshot::Snapshot;

/// Commands that may wait for the engine; more are refused, so that a flood of callers cannot fill memory.
pub const QUEUE: usize = 64;

/// Clone it freely.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Handle {
    pub fn new(requests: mpsc::Sender<Request>, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { requests, snapshots }
    }

    /// What was known at the last tick.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// To wait for the next snapshot (`changed().await`).
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Asks and waits for the answer: `handle.ask(caller, options, |reply| Command::LimitList(reply)).await`.
    pub async fn ask<T: Send + 'static>(
        &self,
        caller: Caller,
        options: ChangeOptions,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (sender, answer) = oneshot::channel();
        // A caller that went away does not undo what it asked for, so a failed send means nothing.
        let command = make(Reply::new(move |answer| drop(sender.send(answer))));
        if caller.role < command.role() {
            return Err(Refusal::new(
                Code::NotPermitted,
                format!("`{}` wants the role {}", command.name(), command.role().label()),
            )
            .next(format!("you are {}: ask an administrator, or run it as root", caller.role.label())));
        }
        self.requests.try_send(Request { caller, options, command }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Refusal::new(Code::Unavailable, "too many commands wait for the daemon").next("try again")
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

fn stopping() -> Refusal {
    Refusal::new(Code::Unavailable, "the daemon is stopping").next("try again when it runs")
}
