//! Where findings go beside the store: each sink implements [`Sink`] and has a line in [`Sinks::open`].
//!
//! In: moments of findings. Out: whatever the sink does with one; a failure is a problem in the snapshot.

mod alertmanager;
mod journald;
mod jsonl;
mod syslog;
pub mod wording;

use std::fmt;

use anyhow::{Result, anyhow};

use super::alert_log::{self, AlertLog};
use super::delivery::{Message, Queue};
use super::webhook::Webhook;
use crate::core::Told;
use crate::snapshot::SinkState;
use crate::store::Store;
use detection::ledger::ChangeKind;
use policy::config::{AlertSink, Alerts, SinkKind};

/// Takes moments of findings, never blocking for long.
pub trait Sink: Send {
    /// What a failure concerns, for the list of problems.
    fn concern(&self) -> &'static str;
    /// `line` is the finding as one line of JSON.
    fn take(&mut self, told: &Told, line: &str) -> Result<()>;
    /// How delivery goes, for sinks with a receiver of their own.
    fn state(&self) -> Option<SinkState> {
        None
    }
    /// What waits to be delivered, as a sentence.
    fn waiting(&self) -> Option<String> {
        let SinkState { name, waiting, failing, .. } = self.state()?;
        let why = failing?;
        Some(format!("sink {name}: {waiting} findings wait, and it is tried again: {why}"))
    }
    /// The file may have been moved away, or the state directory can be used now.
    fn reopen(&mut self, _store: &Store) {}
}

/// A receiver of `[[alerts.sink]]`: what is for it goes through its queue.
struct Queued {
    queue: Queue,
    sink: AlertSink,
}

impl Sink for Queued {
    fn concern(&self) -> &'static str {
        "sinks"
    }

    fn take(&mut self, told: &Told, line: &str) -> Result<()> {
        let finding = &told.alert.finding;
        // Growth that nobody has to hear of is for those that keep a state.
        let is_news = told.kind != ChangeKind::Updated || self.sink.kind == SinkKind::Alertmanager;
        if is_news && !told.alert.quiet && self.sink.wants(finding.detector, finding.severity) {
            self.queue.send(Message { told: told.clone(), line: line.to_owned() });
        }
        Ok(())
    }

    fn state(&self) -> Option<SinkState> {
        Some(self.queue.state())
    }

    fn reopen(&mut self, _store: &Store) {
        self.queue.reopen();
    }
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
        let mut failures = Vec::new();
        for sink in &config.sinks {
            let queue = match sink.kind {
                SinkKind::Jsonl => jsonl::open(sink),
                SinkKind::Journald => journald::open(sink),
                SinkKind::Syslog => syslog::open(sink),
                SinkKind::Alertmanager => alertmanager::open(sink, store),
            };
            match queue {
                Ok(queue) => sinks.push(Box::new(Queued { queue, sink: sink.clone() })),
                Err(error) => failures.push(format!("{}: {error:#}", sink.name())),
            }
        }
        let failed = failures.join("; ");
        outcomes.push(("open sinks", if failures.is_empty() { Ok(()) } else { Err(anyhow!(failed)) }));
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

    pub fn states(&self) -> Vec<SinkState> {
        self.0.iter().filter_map(|sink| sink.state()).collect()
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|sink| sink.concern())).finish()
    }
}
