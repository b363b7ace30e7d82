//! What must outlive the process: overrides, access rules, bans, the audit history, the change that waits for its
//! confirmation, learned state and findings.
//!
//! In: small typed writes of the engine, one transaction each. Out: what was written, after any restart or kill. One
//! `SQLite` file in the state directory, one process at a time; it decides nothing and reads no clock.

mod access;
mod findings;
mod history;
mod learned;
mod open;
mod overrides;
pub mod pending;
mod schema;
mod storage;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

pub use access::{AccessRule, AccessRuleKind};
pub use findings::StoredFinding;
pub use history::{Author, ChangeRecord, ChangeState, NewChange};
pub use open::{OpenError, Opened, SetAside};
pub use pending::{Moment, Pending};
pub use storage::Storage;

/// Name of the file in the state directory.
pub const FILE: &str = "sluice.db";

/// The open store. It belongs to the engine; dropping it releases the state directory.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Held for as long as the store is open: the mark that keeps a second daemon out.
    _lock: Option<File>,
}

impl Store {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what is over: access rules that ended, findings closed before `findings_before`, all but the newest
    /// `changes` lines of the history. Bounded by what is there; meant for once an hour.
    pub fn prune(&mut self, now: Timestamp, findings_before: Timestamp, changes: u64) -> anyhow::Result<()> {
        let transaction = self.connection.transaction()?;
        access::prune(&transaction, now)?;
        findings::prune(&transaction, findings_before)?;
        history::prune(&transaction, changes)?;
        transaction.commit()?;
        Ok(())
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
