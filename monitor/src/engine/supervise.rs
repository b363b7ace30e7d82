//! What must be tried again: a store that cannot be used, findings that could not be written, lists that were not there,
//! the record of the last good configuration.
//!
//! In: the time that passes. Out: the same parts, once they work; until then problems. Nothing here ends the engine.

use anyhow::Result;
use jiff::Timestamp;

use super::{Engine, start};

impl Engine {
    /// Once a tick.
    pub(super) fn supervise(&mut self, now: Timestamp) {
        self.fallible("keep the findings", |engine| engine.store.write_findings());
        if self.pending.is_none()
            && let Some(mended) = self.store.mend(now)
        {
            tracing::info!("the store is on the disk from now on");
            self.remember_notes(&mended.notes);
            self.fallible("read the store", |engine| engine.take_up_saved(now));
            self.watch.follow_store(&self.store);
            self.kept = super::last_good::Kept::default();
            self.keep_last_good();
        }
    }

    /// Now and then.
    pub(super) fn retry(&mut self) {
        self.retry_lists();
        if self.problems.contains_key("last good configuration") {
            self.keep_last_good();
        }
    }

    /// What was put right in the store stays a problem until the next start: somebody should know.
    pub(super) fn remember_notes(&mut self, notes: &[String]) {
        if !notes.is_empty() {
            let told = format!("store: {}", notes.join("; "));
            tracing::error!("{told}");
            self.problems.insert("store", told);
        }
    }

    /// Saved limits and access rules of a store that could not be read at the start.
    fn take_up_saved(&mut self, now: Timestamp) -> Result<()> {
        let config = self.standing.rules.config.clone();
        let mut troubles = Vec::new();
        let saved = start::standing(&self.store, self.kernel.as_ref(), &config, now, &mut troubles);
        let mut next = self.standing.clone();
        for (name, value) in saved.rules.limits {
            next.rules.limits.entry(name).or_insert(value);
        }
        for entry in saved.rules.access {
            if !next
                .rules
                .access
                .iter()
                .any(|old| (old.prefix, old.permission) == (entry.prefix, entry.permission))
            {
                next.rules.access.push(entry);
            }
        }
        for (source, ban) in saved.bans {
            next.bans.entry(source).or_insert(ban);
        }
        for (subject, containment) in saved.containments {
            next.containments.entry(subject).or_insert(containment);
        }
        if next != self.standing {
            self.install(next)?;
        }
        anyhow::ensure!(troubles.is_empty(), "{}", troubles.join("; "));
        Ok(())
    }

    /// The configuration in force is what a start with a broken file guards with.
    pub(super) fn keep_last_good(&mut self) {
        if self.problems.contains_key("configuration") {
            return;
        }
        self.fallible("last good configuration", |engine| {
            let directory = engine.store.directory().to_owned();
            anyhow::ensure!(engine.store.volatile().is_none(), "the state directory cannot be used");
            engine.kept.keep(&directory, &engine.config, &engine.standing.rules.lists)
        });
    }

    /// Problems of what works beside the engine.
    pub(super) fn beside(&self) -> Vec<String> {
        let mut told = self.parts.problems();
        if let Some(why) = self.store.volatile() {
            told.push(format!("store: nothing outlives this process, as {why}; it is tried again"));
        }
        let (waiting, shed) = self.store.unwritten();
        if waiting > 0 {
            told.push(format!("store: {waiting} findings wait for a disk that can be written"));
        }
        if shed > 0 {
            told.push(format!("store: {shed} findings were given up, as too many waited for the disk"));
        }
        told.extend(self.watch.unlogged());
        told
    }
}
