//! Where findings go beside the store: each sink implements [`Sink`] and has a line in [`Sinks::open`].
//!
//! In: moments of findings. Out: whatever the sink does with one; a failure is a problem in the snapshot.

use std::fmt;

use anyhow::Result;

use super::alert_log::{self, AlertLog};
use super::webhook::Webhook;
use crate::core::Told;
use crate::store::Store;
use policy::config::Alerts;

/// Takes moments of findings, never blocking for long.
pub trait Sink: Send {
    /// What a failure concerns, for the list of problems.
    fn concern(&self) -> &'static str;
    /// `line` is the finding as one line of JSON.
    fn take(&mut self, told: &Told, line: &str) -> Result<()>;
    /// Findings that were lost after they were taken, so far.
    fn lost(&self) -> u64 {
        0
    }
    /// What waits to be delivered, as a sentence.
    fn waiting(&self) -> Option<String> {
        None
    }
    /// The file may have been moved away, or the state directory can be used now.
    fn reopen(&mut self, _store: &Store) {}
}

/// All sinks that the configuration names.
pub struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    /// Opens every sink; those that cannot be opened come back as failures.
    pub fn open(config: &Alerts, store: &Store) -> (Self, Vec<(&'static str, Result<()>)>) {
        let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(AlertLog::new(store))];
        let mut outcomes = Vec::new();
        match Webhook::open(config) {
            Ok(webhook) => {
                sinks.extend(webhook.map(|webhook| Box::new(webhook) as Box<dyn Sink>));
                outcomes.push(("webhook", Ok(())));
            }
            Err(error) => outcomes.push(("webhook", Err(error))),
        }
        (Self(sinks), outcomes)
    }

    /// Gives one moment of a finding to every sink.
    pub fn take(&mut self, told: &Told) -> Vec<(&'static str, Result<()>)> {
        let line = match alert_log::line(&told.alert, told.kind) {
            Ok(line) => line,
            Err(error) => return vec![("write a finding", Err(error))],
        };
        self.0.iter_mut().map(|sink| (sink.concern(), sink.take(told, &line))).collect()
    }

    pub fn reopen(&mut self, store: &Store) {
        self.0.iter_mut().for_each(|sink| sink.reopen(store));
    }

    pub fn waiting(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|sink| sink.waiting())
    }

    pub fn lost(&self) -> u64 {
        self.0.iter().map(|sink| sink.lost()).sum()
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|sink| sink.concern())).finish()
    }
}
