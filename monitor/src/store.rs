//! What must outlive the process: overrides, access rules, bans, the audit history, the change that waits for its
//! confirmation, learned state and findings.
//!
//! In: small typed writes of the engine, one transaction each. Out: what was written, after any restart or kill. One
//! `SQLite` file in the state directory, one process at a time, and a checked copy beside it. A thread of its own does
//! the work, so that a disk delays nobody. It decides nothing and reads no clock.

mod access;
pub mod audit;
pub mod backup;
mod copy;
mod examine;
mod findings;
mod history;
mod learned;
mod mend;
mod open;
mod overrides;
pub mod pending;
pub mod restore;
mod schema;
mod size;
mod steps;
mod storage;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use policy::config;

pub use access::{AccessRule, AccessRuleKind};
use api::snapshot::StoreState;
pub use findings::StoredFinding;
pub use history::{Author, ChangeRecord, ChangeState, NewChange};
pub use mend::Mended;
pub use open::{OpenError, Opened, SetAside, ensure_unused};
pub use pending::{Moment, Pending};
pub use storage::Storage;

/// Name of the file in the state directory.
pub const FILE: &str = "sluice.db";

/// The open store. It belongs to the engine; dropping it releases the state directory.
#[derive(Debug)]
pub struct Store {
    worker: worker::Worker,
    directory: PathBuf,
    path: PathBuf,
    /// Findings that could not be written yet, by id, and how many were given up.
    unwritten: BTreeMap<String, StoredFinding>,
    shed: u64,
    /// Why it lives in memory, as long as it does.
    volatile: Option<String>,
    mending: mend::Mending,
    size: size::Size,
    audit: audit::Audit,
    /// Held for as long as the store is open: the mark that keeps a second daemon out.
    lock: Option<File>,
}

impl Store {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Refused calls, pages and verdicts of the audit.
    pub fn auditor(&self) -> audit::Auditor {
        self.audit.auditor()
    }

    /// For those who need the store as a file.
    pub fn copier(&self) -> backup::Copier {
        backup::Copier::new(self.worker.entrance(), &self.directory)
    }

    /// What the store and the files of the audit may grow to.
    pub fn bound(&mut self, bounds: &config::State) {
        self.audit.bound(bounds.audit_size.0);
        self.size.bound(bounds.store_size.0);
        // Its size is known from now on.
        let size = self.size.clone();
        let measured = self.worker.send(move |connection| size.make_room(connection, 0));
        measured.unwrap_or_else(|error| tracing::debug!("{error:#}"));
    }

    pub fn size(&self) -> StoreState {
        self.size.state()
    }

    /// Writes an entry of the audit; an error means that it waits in memory.
    pub fn audit(&mut self, entry: audit::NewEntry) -> anyhow::Result<()> {
        self.audit.write(entry)
    }

    /// The engine runs: from now on a slow disk is a problem, not something to wait for.
    pub fn hurry(&mut self) {
        self.worker.hurry();
    }

    /// Why nothing outlives this process, if that is so: the state directory cannot be used.
    pub fn volatile(&self) -> Option<&str> {
        self.volatile.as_deref()
    }

    /// Forgets what is over: access rules that ended, findings closed before `findings_before`, all but the newest
    /// `changes` lines of the history. Meant for once an hour.
    pub fn prune(&mut self, now: Timestamp, findings_before: Timestamp, changes: u64) -> anyhow::Result<()> {
        let size = self.size.clone();
        self.worker.call(move |connection| {
            let transaction = connection.transaction()?;
            access::prune(&transaction, now)?;
            findings::prune(&transaction, findings_before)?;
            history::prune(&transaction, changes)?;
            transaction.commit()?;
            size.make_room(connection, 0);
            Ok(size.shrink(connection)?)
        })
    }
}

/// How times are stored: milliseconds since 1970.
fn stored(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// The time that [`stored`] wrote; one out of range reads as the nearest that can be said.
fn restored(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
