//! The store as the core sees it: a trait, so that the core itself names no database.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use api::audit::AuditKind;
use api::snapshot::StoreState;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use policy::LimitOverride;
use policy::config::State;
use serde_json::Value;

use super::audit::{AuditState, NewEntry};
use super::{
    AccessRule, AccessRuleKind, ChangeRecord, ChangeState, Moment, NewChange, Pending, Store, StoredFinding,
};

/// Writes and reads of what must last; each write is one transaction. The methods are those of [`Store`].
pub trait Storage: Send {
    fn record(&mut self, change: &NewChange) -> Result<u64>;
    fn begin(
        &mut self,
        change: &NewChange,
        restore: Value,
        within: Duration,
        now: &Moment,
    ) -> Result<Pending>;
    fn settle(&mut self, change: u64, state: ChangeState) -> Result<()>;
    fn mark(&mut self, number: u64, state: ChangeState, reverted_by: Option<u64>) -> Result<()>;
    fn pending(&self) -> Result<Option<Pending>>;
    fn change(&self, number: u64) -> Result<Option<ChangeRecord>>;
    fn history(&self, limit: usize, before: Option<u64>) -> Result<Vec<ChangeRecord>>;

    /// Saved limits as they were written; a row that is nonsense is the reader's to leave out.
    fn overrides(&self) -> Result<BTreeMap<String, Value>>;
    fn set_override(&mut self, key: &str, value: &LimitOverride, made_by: &str, at: Timestamp) -> Result<()>;
    fn unset_override(&mut self, key: &str) -> Result<bool>;
    fn access(&self, now: Timestamp) -> Result<Vec<AccessRule>>;
    fn set_access(&mut self, rule: &AccessRule) -> Result<()>;
    fn unset_access(&mut self, kind: AccessRuleKind, prefix: IpNet) -> Result<bool>;

    fn learned(&self, area: &str) -> Result<Vec<(String, Vec<u8>)>>;
    fn learned_one(&self, area: &str, key: &str) -> Result<Option<Vec<u8>>>;
    fn learn(&mut self, area: &str, blobs: &[(&str, &[u8])], at: Timestamp) -> Result<()>;
    fn forget(&mut self, area: &str, prefix: &str) -> Result<usize>;

    /// Writes an entry of the audit; an error means that it waits in memory.
    fn audit(&mut self, entry: NewEntry) -> Result<()>;
    /// What the audit says of itself, and how many calls were refused, listed or not.
    fn audit_state(&self) -> (AuditState, u64, u64);

    /// Moves every stored end, and keeps the clock that they are written by.
    fn move_ends(&mut self, by: SignedDuration, clock: &[u8], at: Timestamp) -> Result<()>;
    /// The clock that the stored ends are written by.
    fn clock(&self) -> Result<Option<Vec<u8>>>;

    fn findings(&self, since: Timestamp, limit: usize) -> Result<Vec<StoredFinding>>;
    fn keep_findings(&mut self, findings: &[StoredFinding]) -> Result<()>;
    /// Writes the findings that wait for a disk.
    fn write_findings(&mut self) -> Result<()>;
    /// How many findings wait for a disk, and how many were given up.
    fn unwritten(&self) -> (usize, u64);
    fn prune(&mut self, now: Timestamp, findings_before: Timestamp, changes: u64) -> Result<()>;
    /// What the store and the files of the audit may grow to.
    fn bound(&mut self, bounds: &State);
    fn size(&self) -> StoreState;
    /// The checked copy beside the file.
    fn copy(&mut self) -> Result<()>;
    /// Tries again to use the state directory; notes of what was put right, once it is used.
    fn mend(&mut self, now: Timestamp) -> Option<Vec<String>>;
    /// Why nothing outlives this process, if that is so.
    fn volatile(&self) -> Option<&str>;
    /// The state directory.
    fn directory(&self) -> &Path;
}

impl Storage for Store {
    fn record(&mut self, change: &NewChange) -> Result<u64> {
        Self::record(self, change)
    }

    fn begin(
        &mut self,
        change: &NewChange,
        restore: Value,
        within: Duration,
        now: &Moment,
    ) -> Result<Pending> {
        Self::begin(self, change, restore, within, now)
    }

    fn settle(&mut self, change: u64, state: ChangeState) -> Result<()> {
        Self::settle(self, change, state)
    }

    fn mark(&mut self, number: u64, state: ChangeState, reverted_by: Option<u64>) -> Result<()> {
        Self::mark(self, number, state, reverted_by)
    }

    fn pending(&self) -> Result<Option<Pending>> {
        Self::pending(self)
    }

    fn change(&self, number: u64) -> Result<Option<ChangeRecord>> {
        Self::change(self, number)
    }

    fn history(&self, limit: usize, before: Option<u64>) -> Result<Vec<ChangeRecord>> {
        Self::history(self, limit, before)
    }

    fn overrides(&self) -> Result<BTreeMap<String, Value>> {
        Self::overrides(self)
    }

    fn set_override(&mut self, key: &str, value: &LimitOverride, made_by: &str, at: Timestamp) -> Result<()> {
        Self::set_override(self, key, value, made_by, at)
    }

    fn unset_override(&mut self, key: &str) -> Result<bool> {
        Self::unset_override(self, key)
    }

    fn access(&self, now: Timestamp) -> Result<Vec<AccessRule>> {
        Self::access(self, now)
    }

    fn set_access(&mut self, rule: &AccessRule) -> Result<()> {
        Self::set_access(self, rule)
    }

    fn unset_access(&mut self, kind: AccessRuleKind, prefix: IpNet) -> Result<bool> {
        Self::unset_access(self, kind, prefix)
    }

    fn learned(&self, area: &str) -> Result<Vec<(String, Vec<u8>)>> {
        Self::learned(self, area)
    }

    fn learned_one(&self, area: &str, key: &str) -> Result<Option<Vec<u8>>> {
        Self::learned_one(self, area, key)
    }

    fn learn(&mut self, area: &str, blobs: &[(&str, &[u8])], at: Timestamp) -> Result<()> {
        Self::learn(self, area, blobs.iter().copied(), at)
    }

    fn forget(&mut self, area: &str, prefix: &str) -> Result<usize> {
        Self::forget(self, area, prefix)
    }

    fn audit(&mut self, entry: NewEntry) -> Result<()> {
        if entry.kind == AuditKind::Refused {
            // It has its quota, and nobody waits for it.
            self.auditor().refused(entry);
            return Ok(());
        }
        Self::audit(self, entry)
    }

    fn audit_state(&self) -> (AuditState, u64, u64) {
        let (all, unlisted) = self.auditor().refusals();
        (self.auditor().state(), all, unlisted)
    }

    fn move_ends(&mut self, by: SignedDuration, clock: &[u8], at: Timestamp) -> Result<()> {
        Self::move_ends(self, by, clock, at)
    }

    fn clock(&self) -> Result<Option<Vec<u8>>> {
        Self::clock(self)
    }

    fn findings(&self, since: Timestamp, limit: usize) -> Result<Vec<StoredFinding>> {
        Self::findings(self, since, limit)
    }

    fn keep_findings(&mut self, findings: &[StoredFinding]) -> Result<()> {
        Self::keep_findings(self, findings)
    }

    fn write_findings(&mut self) -> Result<()> {
        Self::write_findings(self)
    }

    fn unwritten(&self) -> (usize, u64) {
        Self::unwritten(self)
    }

    fn bound(&mut self, bounds: &State) {
        Self::bound(self, bounds);
    }

    fn size(&self) -> StoreState {
        Self::size(self)
    }

    fn copy(&mut self) -> Result<()> {
        Self::copy(self)
    }

    fn mend(&mut self, now: Timestamp) -> Option<Vec<String>> {
        Self::mend(self, now).map(|mended| mended.notes)
    }

    fn volatile(&self) -> Option<&str> {
        Self::volatile(self)
    }

    fn directory(&self) -> &Path {
        Self::directory(self)
    }

    fn prune(&mut self, now: Timestamp, findings_before: Timestamp, changes: u64) -> Result<()> {
        Self::prune(self, now, findings_before, changes)
    }
}
