//! The audit: a chain of entries in files of its own beside the database, each with the SHA-256 of the one before.
//!
//! In: entries of the core, and refused calls of the control socket. Out: lines that survive a kill once they are
//! acknowledged; pages and verdicts. A thread of its own writes, so that a disk delays nobody; what cannot be written waits
//! in bounded memory, and what does not fit is counted and told in the chain. The reasons are in ADR 0023.

mod chain;
mod line;
mod quota;
mod read;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::{Result, bail};
use api::audit::{AuditHead, AuditPage, AuditQuery, AuditVerdict};
use tokio::sync::watch;

pub use line::NewEntry;
pub use read::verify;
use writer::{Job, Writer};

/// Names of the files in the state directory: the one that is written, and the one before it.
pub const FILES: [&str; 2] = ["audit.log", "audit.log.1"];
/// What both files may grow to, unless the configuration says otherwise.
const LARGEST: u64 = 32 << 20;
/// Entries that may be on their way to the thread, and refused calls among them.
const QUEUE: usize = 256;
const REFUSED: u64 = 64;
/// How long a caller waits for its entry.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the end of a process waits for the thread.
const FAREWELL: Duration = Duration::from_secs(3);

/// What the thread says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditState {
    /// The newest entry on the disk, and its SHA-256.
    pub number: u64,
    pub sha256: String,
    pub bytes: u64,
    /// Entries that this process wrote.
    pub written: u64,
    /// Entries that wait for the disk.
    pub waiting: u64,
    /// Entries that found no room while they waited.
    pub lost: u64,
    /// Why nothing can be written.
    pub failing: Option<String>,
}

/// What is told past the queue: counts of what is on its way and of what never came there, and two words for the thread.
#[derive(Debug, Default)]
struct Refusals {
    /// On their way to the thread.
    queued: AtomicU64,
    all: AtomicU64,
    /// Those that were left out for their number.
    unlisted: AtomicU64,
    /// Entries of others that found no room on their way.
    dropped: AtomicU64,
    /// The directory can be written.
    usable: AtomicBool,
    /// The thread is to end. A queue may be full, so no job says it alone.
    ends: AtomicBool,
}

/// The writing end. It belongs to the store.
#[derive(Debug)]
pub(super) struct Audit {
    auditor: Auditor,
    jobs: Option<SyncSender<Job>>,
    /// An acknowledgement that was not there in time: until it is, nobody waits again.
    late: Option<Receiver<bool>>,
    ended: Receiver<()>,
}

/// The end for everybody else: refused calls in, pages and verdicts out. Clone it freely.
#[derive(Clone, Debug)]
pub struct Auditor {
    directory: Option<PathBuf>,
    jobs: SyncSender<Job>,
    refusals: Arc<Refusals>,
    state: watch::Receiver<AuditState>,
}

impl Audit {
    /// Begins the thread. Without a directory, entries stay in memory; `usable` says that the directory may be written now.
    pub fn start(directory: Option<&Path>, usable: bool) -> Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let (publish, state) = watch::channel(AuditState::default());
        let (end, ended) = sync_channel(1);
        let refusals = Arc::new(Refusals { usable: AtomicBool::new(usable), ..Refusals::default() });
        let writer = Writer::new(directory.map(Path::to_owned), publish, Arc::clone(&refusals));
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            writer.run(&waiting);
            // Nobody listens after the farewell is over.
            let _ = end.send(());
        })?;
        let directory = directory.map(Path::to_owned);
        let auditor = Auditor { directory, jobs: jobs.clone(), refusals, state };
        Ok(Self { auditor, jobs: Some(jobs), late: None, ended })
    }

    pub fn auditor(&self) -> Auditor {
        self.auditor.clone()
    }

    /// The directory can be written from now on.
    pub fn use_disk(&self) {
        self.auditor.refusals.usable.store(true, Ordering::Relaxed);
    }

    /// What both files may grow to.
    pub fn bound(&self, bytes: u64) {
        // A full queue has other worries; the next reload says it again.
        let _ = self.jobs.as_ref().map(|jobs| jobs.try_send(Job::Bound(bytes)));
    }

    /// Writes an entry and waits until it is on the disk, but not for long. An error means that it waits in memory.
    pub fn write(&mut self, entry: NewEntry) -> Result<()> {
        let Some(jobs) = &self.jobs else { bail!("the audit's thread has ended") };
        let (acknowledge, acknowledged) = sync_channel(1);
        let failing = self.auditor.state.borrow().failing.clone();
        // Before it is queued: what waits has a bounded size.
        let entry = entry.bounded();
        if jobs.try_send(Job::Entry(Box::new(entry), acknowledge)).is_err() {
            self.auditor.refusals.dropped.fetch_add(1, Ordering::Relaxed);
            bail!("its queue is full: this entry is lost");
        }
        if let Some(why) = failing {
            bail!("{why}");
        }
        if let Some(late) = &self.late
            && late.try_recv() == Err(TryRecvError::Empty)
        {
            bail!("the disk does not answer");
        }
        self.late = None;
        match acknowledged.recv_timeout(PATIENCE) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let why = self.auditor.state.borrow().failing.clone();
                bail!("{}", why.unwrap_or_else(|| "it could not be written".to_owned()))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.late = Some(acknowledged);
                bail!("the disk does not answer")
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the audit's thread has ended"),
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // Others may still hold an `Auditor`, so the end is said. A disk that hangs must not keep the process from ending.
        self.auditor.refusals.ends.store(true, Ordering::Relaxed);
        let _ = self.jobs.take().map(|jobs| jobs.try_send(Job::End));
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

impl Auditor {
    /// A call was refused. Nobody waits for its entry, and there is none when there are too many.
    pub fn refused(&self, entry: NewEntry) {
        let Refusals { queued, all, unlisted, .. } = &*self.refusals;
        all.fetch_add(1, Ordering::Relaxed);
        let has_room = queued.fetch_add(1, Ordering::Relaxed) < REFUSED;
        if !has_room || self.jobs.try_send(Job::Refused(Box::new(entry.bounded()))).is_err() {
            queued.fetch_sub(1, Ordering::Relaxed);
            unlisted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call that the core never hears of was answered. Nobody waits for its entry.
    pub fn answered(&self, entry: NewEntry) {
        let (acknowledge, _) = sync_channel(1);
        if self.jobs.try_send(Job::Entry(Box::new(entry.bounded()), acknowledge)).is_err() {
            self.refusals.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn state(&self) -> AuditState {
        self.state.borrow().clone()
    }

    /// Calls that were refused, and those of them that have no entry of their own.
    pub fn refusals(&self) -> (u64, u64) {
        (self.refusals.all.load(Ordering::Relaxed), self.refusals.unlisted.load(Ordering::Relaxed))
    }

    /// A page of entries, read from the files; it takes as long as their size asks for.
    pub fn page(&self, query: &AuditQuery) -> Result<AuditPage> {
        self.directory.as_deref().map_or_else(|| Ok(AuditPage::default()), |from| read::page(from, query))
    }

    /// Whether the files are the chain that this process wrote, with this entry in it.
    pub fn verdict(&self, named: Option<AuditHead>) -> Result<AuditVerdict> {
        let Some(directory) = &self.directory else { return Ok(AuditVerdict::default()) };
        let AuditState { number, sha256, .. } = self.state();
        let own = (number > 0).then_some(AuditHead { number, sha256 });
        let heads: Vec<_> = own.into_iter().chain(named).collect();
        read::verify(directory, &heads, true)
    }
}

#[cfg(test)]
mod tests;
