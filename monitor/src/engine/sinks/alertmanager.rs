//! Open findings as alerts of Prometheus' Alertmanager (API v2), told again before they would end by themselves.
//!
//! In: moments of findings, and those that the store says are open. Out: `POST /api/v2/alerts` with all that is open or has
//! just ended, whenever something changes and once a minute. What is sent is a state, so a time without an Alertmanager loses
//! nothing. An alert is known by its labels: graver, it is another one, and the one before ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::wording::{fields, host, sentence};
use crate::core::Told;
use crate::engine::command::Alert;
use crate::engine::delivery::{Errand, Message, Patience, Progress, Queue};
use crate::engine::trust;
use crate::store::Store;
use detection::ledger::ChangeKind;
use policy::config::AlertSink;

/// Told again this often, and over without another word after that long.
const REFRESH: Duration = Duration::from_mins(1);
const LASTS: SignedDuration = SignedDuration::from_mins(5);
const PATIENCE: Duration = Duration::from_secs(5);
/// Findings that are held; the ledger holds no more open.
const MOST: usize = 4096;

pub fn open(sink: &AlertSink, store: &Store) -> Result<Queue> {
    let Some(address) = &sink.address else { bail!("it has no address") };
    let mut held = Held::default();
    for alert in open_findings(store) {
        if sink.wants(alert.finding.detector, alert.finding.severity) && !alert.quiet {
            held.take(&alert, ChangeKind::Opened);
        }
    }
    let receiver = Manager {
        url: format!("{}/api/v2/alerts", address.trim_end_matches('/')),
        authorization: sink.authorization_file.clone(),
        agent: trust::client(None, PATIENCE)?.build().into(),
    };
    Queue::run(sink.name(), move |errands, progress| keep_told(&receiver, held, &errands, &progress))
}

fn open_findings(store: &Store) -> Vec<Alert> {
    let kept = store.findings(Timestamp::MIN, usize::MAX).unwrap_or_default();
    let open = kept.into_iter().filter(|finding| finding.closed.is_none());
    open.filter_map(|finding| serde_json::from_value(finding.body).ok()).collect()
}

struct Manager {
    url: String,
    authorization: Option<PathBuf>,
    agent: ureq::Agent,
}

impl Manager {
    fn post(&self, alerts: &[Posted]) -> Result<()> {
        let body = serde_json::to_vec(alerts).context("write alerts as JSON")?;
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(file) = &self.authorization {
            let secret = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            request = request.header("authorization", secret.trim());
        }
        request.send(&body[..]).with_context(|| format!("post to {}", self.url))?;
        Ok(())
    }
}

/// An alert as the API takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
}

/// What is open, and what has ended and was not told yet.
#[derive(Debug, Default)]
struct Held {
    open: BTreeMap<u64, Posted>,
    ended: Vec<Posted>,
}

impl Held {
    fn take(&mut self, alert: &Alert, kind: ChangeKind) {
        let posted = posted(alert, kind);
        let before = self.open.remove(&alert.id);
        if let Some(before) = before.filter(|before| before.labels != posted.labels) {
            self.end(Posted { ends_at: alert.updated, ..before });
        }
        if matches!(kind, ChangeKind::Closed | ChangeKind::Retracted) {
            self.end(Posted { ends_at: alert.updated, ..posted });
        } else if self.open.len() < MOST {
            self.open.insert(alert.id, posted);
        }
    }

    fn end(&mut self, posted: Posted) {
        if self.ended.len() < MOST {
            self.ended.push(posted);
        }
    }

    fn all(&self, now: Timestamp) -> Vec<Posted> {
        let until = now.saturating_add(LASTS).unwrap_or(now);
        let open = self.open.values().cloned().map(|posted| Posted { ends_at: until, ..posted });
        self.ended.iter().cloned().chain(open).collect()
    }
}

fn posted(alert: &Alert, kind: ChangeKind) -> Posted {
    let found = &alert.finding;
    let mut labels = BTreeMap::from([("alertname", "SluiceFinding".to_owned()), ("instance", host())]);
    let mut annotations = BTreeMap::from([("summary", sentence(alert, kind))]);
    for (name, value) in fields(alert, kind) {
        match name {
            "detector" | "severity" | "subject" | "target" | "service" => {
                labels.insert(name, value);
            }
            "event" | "first_seen" | "window_s" => {}
            _ => {
                annotations.insert(name, value);
            }
        }
    }
    let (starts_at, ends_at) = (found.raised_at.min(alert.updated), alert.updated);
    Posted { labels, annotations, starts_at, ends_at }
}

/// Until the queue's other end is gone.
fn keep_told(receiver: &Manager, mut held: Held, errands: &Receiver<Errand>, progress: &Progress) {
    let Patience { first, longest, .. } = Patience::USUAL;
    let (mut pause, mut due) = (first, Instant::now());
    let mut unheard = 0;
    loop {
        let is_over = match errands.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Errand::Deliver(message, _)) => {
                let Message { told: Told { alert, kind, .. }, .. } = *message;
                held.take(&alert, kind);
                unheard += 1;
                // While it fails, the pause holds.
                if progress.failing().is_none() {
                    due = Instant::now();
                }
                take_what_waits(errands, &mut held, &mut unheard);
                false
            }
            Ok(Errand::Reopen) | Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if is_over || Instant::now() >= due {
            let alerts = held.all(Timestamp::now());
            let outcome = if alerts.is_empty() { Ok(()) } else { receiver.post(&alerts) };
            match outcome {
                Ok(()) => {
                    held.ended.clear();
                    (0..unheard).for_each(|_| {
                        progress.works();
                        progress.taken();
                    });
                    if unheard == 0 && !alerts.is_empty() {
                        progress.works();
                    }
                    (unheard, pause, due) = (0, first, Instant::now() + REFRESH);
                }
                Err(why) => {
                    progress.fails(format!("{why:#}"));
                    due = Instant::now() + pause;
                    pause = (pause * 2).min(longest);
                }
            }
        }
        if is_over {
            return;
        }
    }
}

/// Takes all that waits, so that it goes in one request.
fn take_what_waits(errands: &Receiver<Errand>, held: &mut Held, unheard: &mut u64) {
    while let Ok(errand) = errands.try_recv() {
        if let Errand::Deliver(message, _) = errand {
            held.take(&message.told.alert, message.told.kind);
            *unheard += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wording::tests::message;
    use super::*;
    use detection::finding::Severity;

    #[test]
    fn a_graver_finding_is_another_alert_and_the_one_before_ends() {
        let mut held = Held::default();
        let mut alert = message(ChangeKind::Opened).told.alert;
        alert.finding.severity = Severity::Warning;
        held.take(&alert, ChangeKind::Opened);
        let labels = |held: &Held| {
            held.all(Timestamp::now()).iter().map(|one| one.labels["severity"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(labels(&held), ["warning"]);
        alert.finding.measured += 1.0;
        held.take(&alert, ChangeKind::Updated);
        assert_eq!(labels(&held), ["warning"]);
        alert.finding.severity = Severity::Critical;
        held.take(&alert, ChangeKind::Escalated);
        assert_eq!(labels(&held), ["warning", "critical"]);
        held.ended.clear();
        held.take(&alert, ChangeKind::Closed);
        let all = held.all(Timestamp::now());
        assert_eq!((all.len(), all[0].ends_at), (1, alert.updated));
        assert!(held.open.is_empty());
    }
}
