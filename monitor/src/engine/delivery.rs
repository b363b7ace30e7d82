//! Findings on their way to a receiver that may be slow, full or gone: a queue with an end and a thread that tries again.
//!
//! In: messages. Out: calls of a [`Courier`], with growing pauses after a failure. What the queue cannot hold, and what nobody
//! took in time, is counted as lost. It never blocks who sends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::core::Told;
use crate::snapshot::SinkState;

/// Findings that may wait.
const QUEUE: usize = 1024;

/// How long is waited between two attempts, and for how long there are any.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub first: Duration,
    pub longest: Duration,
    pub oldest: Duration,
}

impl Patience {
    /// Of receivers in the network.
    pub const USUAL: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_mins(1),
        oldest: Duration::from_mins(15),
    };
    /// Of files and sockets of this host: what they cannot take now is worth waiting for.
    pub const LONG: Self = Self { oldest: Duration::from_hours(24), ..Self::USUAL };
}

/// One moment of a finding.
#[derive(Clone, Debug)]
pub struct Message {
    pub told: Told,
    /// It as one line of JSON.
    pub line: String,
}

/// Why a message was not taken.
#[derive(Debug)]
pub enum Refused {
    Later(anyhow::Error),
    /// The same message would be refused again.
    Never(anyhow::Error),
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Later(error)
    }
}

/// Brings one message to its receiver.
pub trait Courier: Send + 'static {
    fn deliver(&mut self, message: &Message) -> Result<(), Refused>;
    /// Files may have been moved away.
    fn reopen(&mut self) {}
}

/// What the thread says of itself.
#[derive(Debug, Default)]
pub struct Progress {
    waiting: AtomicU64,
    delivered: AtomicU64,
    failures: AtomicU64,
    lost: AtomicU64,
    /// Why the last attempt failed; `None` after one that did not.
    failing: Mutex<Option<String>>,
}

impl Progress {
    pub fn works(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.now_failing(None);
    }

    pub fn fails(&self, why: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.now_failing(Some(why));
    }

    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn now_failing(&self, why: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What travels to the thread.
#[derive(Debug)]
pub enum Errand {
    Deliver(Box<Message>, Instant),
    Reopen,
}

/// The thread that delivers, as long as this is held and what waits is not settled.
#[derive(Debug)]
pub struct Queue {
    name: String,
    errands: SyncSender<Errand>,
    progress: Arc<Progress>,
}

impl Queue {
    /// A thread that delivers one message after the other.
    pub fn start(name: &str, courier: impl Courier, patience: Patience) -> Result<Self> {
        Self::run(name, move |errands, progress| deliver_all(courier, patience, &errands, &progress))
    }

    /// A thread of another kind.
    pub fn run(
        name: &str,
        work: impl FnOnce(Receiver<Errand>, Arc<Progress>) + Send + 'static,
    ) -> Result<Self> {
        let (errands, waiting) = sync_channel(QUEUE);
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        std::thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || work(waiting, shared))
            .with_context(|| format!("start the thread of sink {name}"))?;
        Ok(Self { name: name.to_owned(), errands, progress })
    }

    pub fn send(&self, message: Message) {
        self.progress.waiting.fetch_add(1, Ordering::Relaxed);
        if self.errands.try_send(Errand::Deliver(Box::new(message), Instant::now())).is_err() {
            self.progress.taken();
            self.progress.lose();
        }
    }

    pub fn reopen(&self) {
        // A full queue is one whose file is opened again and again anyway.
        drop(self.errands.try_send(Errand::Reopen));
    }

    pub fn state(&self) -> SinkState {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SinkState {
            name: self.name.clone(),
            waiting: read(&self.progress.waiting),
            delivered: read(&self.progress.delivered),
            failures: read(&self.progress.failures),
            lost: read(&self.progress.lost),
            failing: self.progress.failing(),
        }
    }
}

/// Until the queue's other end is gone and what waits is delivered or lost.
fn deliver_all(
    mut courier: impl Courier,
    patience: Patience,
    errands: &Receiver<Errand>,
    progress: &Progress,
) {
    while let Ok(errand) = errands.recv() {
        let Errand::Deliver(message, since) = errand else {
            courier.reopen();
            continue;
        };
        let mut pause = patience.first;
        loop {
            let (why, is_final) = match courier.deliver(&message) {
                Ok(()) => {
                    progress.works();
                    break;
                }
                Err(Refused::Later(why)) => (why, since.elapsed() + pause > patience.oldest),
                Err(Refused::Never(why)) => (why, true),
            };
            progress.fails(format!("{why:#}"));
            if is_final {
                progress.lose();
                tracing::warn!("a finding could not be delivered: {why:#}");
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(patience.longest);
        }
        progress.taken();
    }
}
