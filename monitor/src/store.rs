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
mod steps;
mod storage;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

pub use access::{AccessRule, AccessRuleKind};
pub use findings::StoredFinding;
pub use history::{Author, ChangeRecord, ChangeState, NewChange};
pub use mend::Mended;
pub use open::{OpenError, Opened, SetAside, ensure_unused};
pub use pending::{Moment, Pending};
pub use storage::Storage;

/// Name of the file in the state directory.
pub const FILE: &str = "sluice.db";

/// What the file may grow to; then the older half of the history and of closed findings goes.
const LARGEST: i64 = 256 << 20;

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

    /// For whoever wants the store as a file.
    pub fn copier(&self) -> backup::Copier {
        backup::Copier::new(self.worker.entrance(), &self.directory)
    }

    /// What the files of the audit may grow to together.
    pub fn bound_audit(&self, bytes: u64) {
        self.audit.bound(bytes);
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
    /// `changes` lines of the history, and the older half of both when the file is too large. Meant for once an hour.
    pub fn prune(&mut self, now: Timestamp, findings_before: Timestamp, changes: u64) -> anyhow::Result<()> {
        self.worker.call(move |connection| {
            let transaction = connection.transaction()?;
            access::prune(&transaction, now)?;
            findings::prune(&transaction, findings_before)?;
            history::prune(&transaction, changes)?;
            if size(&transaction)? > LARGEST {
                findings::halve(&transaction)?;
                history::halve(&transaction)?;
            }
            Ok(transaction.commit()?)
        })
    }
}

/// Bytes of the pages that are in use.
fn size(connection: &Connection) -> rusqlite::Result<i64> {
    let figure = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    Ok((figure("page_count")? - figure("freelist_count")?) * figure("page_size")?)
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
