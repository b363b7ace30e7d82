//! The thread that writes the chain.
//!
//! In: entries over a bounded queue. Out: lines on the disk, acknowledgements, and the state of the audit. What cannot be
//! written waits here, in bounded memory; what finds no room is counted, and told in the chain once it can be written.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use anyhow::Result;
use api::Origin;
use api::audit::{AuditKind, AuditMissing};
use jiff::Timestamp;
use tokio::sync::watch;

use super::chain::{Chain, gap};
use super::line::NewEntry;
use super::quota::Quota;
use super::{AuditState, LARGEST, Refusals};

/// How often what waits is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Entries that may wait for the disk.
const WAITING: usize = 1000;
/// Entries that are written before anybody hears of them.
const BATCH: usize = 64;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Job {
    /// An entry, and who waits for it: true once it is on the disk.
    Entry(Box<NewEntry>, SyncSender<bool>),
    Refused(Box<NewEntry>),
    Bound(u64),
    /// Look whether it is the end.
    End,
}

/// An entry that is not on the disk yet.
#[derive(Debug)]
struct Waits {
    entry: NewEntry,
    acknowledge: Option<SyncSender<bool>>,
}

#[derive(Debug)]
pub(super) struct Writer {
    /// `None`: entries stay in memory.
    directory: Option<PathBuf>,
    largest: u64,
    chain: Option<Chain>,
    waiting: VecDeque<Waits>,
    /// What those who wait are told after this turn.
    answers: Vec<(SyncSender<bool>, bool)>,
    /// Entries that found no room since the last line of the chain, and since when.
    lost: Option<(u64, Timestamp)>,
    tried_at: Option<Instant>,
    quota: Quota,
    unlisted: u64,
    refusals: Arc<Refusals>,
    state: AuditState,
    publish: watch::Sender<AuditState>,
}

impl Writer {
    pub fn new(
        directory: Option<PathBuf>,
        publish: watch::Sender<AuditState>,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            directory,
            largest: LARGEST,
            chain: None,
            waiting: VecDeque::new(),
            answers: Vec::new(),
            lost: None,
            tried_at: None,
            quota: Quota::new(Instant::now()),
            unlisted: 0,
            refusals,
            state: AuditState::default(),
            publish,
        }
    }

    /// Until it is told to end.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut goes_on = true;
        while goes_on {
            match jobs.recv_timeout(AGAIN) {
                Ok(job) => {
                    self.take(job);
                    jobs.try_iter().take(BATCH).for_each(|job| self.take(job));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => goes_on = false,
            }
            goes_on &= !self.refusals.ends.load(Ordering::Relaxed);
            if !goes_on {
                for job in jobs.try_iter() {
                    self.take(job);
                }
            }
            self.tell_left_out(!goes_on);
            match self.refusals.dropped.swap(0, Ordering::Relaxed) {
                0 => {}
                dropped => self.lose(dropped, Timestamp::now()),
            }
            self.write();
            if *self.publish.borrow() != self.state {
                self.publish.send_replace(self.state.clone());
            }
            self.answer();
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Entry(entry, acknowledge) => self.queue(*entry, Some(acknowledge)),
            Job::Refused(entry) => {
                self.refusals.queued.fetch_sub(1, Ordering::Relaxed);
                let uid = match entry.origin {
                    Origin::Socket { uid, .. } => uid,
                    _ => u32::MAX,
                };
                if self.quota.take(uid, entry.user.as_deref(), Instant::now()) {
                    self.queue(*entry, None);
                } else {
                    self.refusals.unlisted.fetch_add(1, Ordering::Relaxed);
                    self.unlisted += 1;
                }
            }
            Job::Bound(largest) => {
                self.largest = largest;
                self.chain.iter_mut().for_each(|chain| chain.bound(largest));
            }
            Job::End => {}
        }
    }

    fn queue(&mut self, entry: NewEntry, acknowledge: Option<SyncSender<bool>>) {
        if self.waiting.len() >= WAITING {
            self.lose(1, entry.at);
            self.answers.extend(acknowledge.map(|acknowledge| (acknowledge, false)));
            return;
        }
        self.waiting.push_back(Waits { entry, acknowledge });
    }

    fn lose(&mut self, more: u64, at: Timestamp) {
        self.lost.get_or_insert((0, at)).0 += more;
        self.state.lost += more;
    }

    /// Refused calls without an entry of their own are told together.
    fn tell_left_out(&mut self, at_once: bool) {
        let unlisted = self.refusals.unlisted.load(Ordering::Relaxed);
        // Those that were dropped on the way here.
        self.quota.add(unlisted.saturating_sub(self.unlisted));
        self.unlisted = self.unlisted.max(unlisted);
        if let Some((count, whose)) = self.quota.left_out(Instant::now(), at_once) {
            let what = format!("{count} more calls were refused");
            let mut entry = NewEntry::new(Timestamp::now(), AuditKind::Refused, Origin::Timer, what);
            "too_many".clone_into(&mut entry.outcome);
            entry.detail = Some(whose);
            entry.missing = Some(AuditMissing { count: Some(count), last: None, sha256: None });
            self.queue(entry, None);
        }
    }

    /// Writes what waits.
    fn write(&mut self) {
        let Some(directory) = self.directory.clone() else {
            // In memory nothing is to be waited for.
            self.answer_all(true);
            return;
        };
        if !self.refusals.usable.load(Ordering::Relaxed) {
            self.state.failing = Some("the state directory cannot be used".to_owned());
        } else if !self.waiting.is_empty()
            || self.state.failing.is_some()
            || self.lost.is_some()
            || self.chain.is_none()
        {
            self.try_to_write(&directory);
        }
        if self.state.failing.is_some() {
            self.answer_all(false);
        }
        self.state.waiting = self.waiting.len() as u64;
    }

    fn try_to_write(&mut self, directory: &Path) {
        if self.state.failing.is_some() && self.tried_at.is_some_and(|at| at.elapsed() < AGAIN) {
            return;
        }
        self.tried_at = Some(Instant::now());
        let why = self.append_all(directory).err().map(|error| format!("{error:#}"));
        match &why {
            Some(why) => {
                if self.state.failing.as_ref() != Some(why) {
                    tracing::error!("audit: {why}");
                }
                // What is on the disk is found out anew.
                self.chain = None;
            }
            None if self.state.failing.is_some() => tracing::info!("audit: it is written again"),
            None => {}
        }
        self.state.failing = why;
        if let Some(chain) = &self.chain {
            let (number, sha256) = chain.head();
            (self.state.number, self.state.sha256) = (number, sha256.to_owned());
            self.state.bytes = chain.bytes();
        }
    }

    /// Whoever waits for an entry that is still here hears so.
    fn answer_all(&mut self, done: bool) {
        let asked = self.waiting.iter_mut().filter_map(|waits| waits.acknowledge.take());
        self.answers.extend(asked.map(|acknowledge| (acknowledge, done)));
    }

    /// The entries are in the file.
    fn settle(&mut self, written: Vec<Waits>, done: bool) {
        self.state.written += written.len() as u64;
        let asked = written.into_iter().filter_map(|waits| waits.acknowledge);
        self.answers.extend(asked.map(|acknowledge| (acknowledge, done)));
    }

    /// After the state was published, so that whoever hears of a failure finds its reason.
    fn answer(&mut self) {
        for (acknowledge, done) in self.answers.drain(..) {
            // One who went away waits no more.
            let _ = acknowledge.try_send(done);
        }
    }

    fn append_all(&mut self, directory: &Path) -> Result<()> {
        if self.chain.as_ref().is_some_and(|chain| !chain.is_untouched()) {
            self.chain = None;
            let what = "the file was changed, moved or removed by another program";
            self.waiting.push_front(Waits { entry: gap(Timestamp::now(), what), acknowledge: None });
        }
        if self.chain.is_none() {
            let (chain, told) = Chain::open(directory, self.largest, Timestamp::now())?;
            self.chain = Some(chain);
            for entry in told.into_iter().rev() {
                self.waiting.push_front(Waits { entry: entry.bounded(), acknowledge: None });
            }
        }
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let mut written = Vec::new();
        while let Some(waits) = self.waiting.pop_front() {
            if let Err(error) = chain.append(&waits.entry) {
                self.waiting.push_front(waits);
                self.settle(written, true);
                return Err(error);
            }
            written.push(waits);
        }
        if let Some((count, since)) = self.lost {
            let what = format!("{count} entries are lost: too many waited while they could not be written");
            let mut told = gap(Timestamp::now(), what);
            told.detail = Some(format!("since {since:.0}"));
            told.missing = Some(AuditMissing { count: Some(count), last: None, sha256: None });
            if let Err(error) = chain.append(&told) {
                self.settle(written, true);
                return Err(error);
            }
            self.lost = None;
            self.state.written += 1;
        }
        let synced = chain.sync();
        self.settle(written, synced.is_ok());
        synced
    }
}
