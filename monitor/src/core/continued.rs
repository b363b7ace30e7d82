//! Open findings that outlive the detection that raised them: over a restart, and over a change of parameters.
//!
//! In: what was open, and what detection finds from now on. Out: public numbers. What is found again goes on under its
//! old number and is not told as new; what is not found again within the hold is over.

use std::collections::HashMap;
use std::time::Duration;

use api::alerts::Alert;
use detection::finding::{Detector, Finding, Severity};
use detection::ledger::{ChangeKind, FindingChange};
use jiff::Timestamp;

/// A finding that waits to be found again.
#[derive(Clone, Debug)]
struct Waiting {
    number: u64,
    detector: Detector,
    subject: String,
    target: Option<String>,
    severity: Severity,
    first_seen: Timestamp,
    raised_at: Timestamp,
}

/// Findings of an earlier detection.
#[derive(Debug, Default)]
pub struct Continued {
    waiting: Vec<Waiting>,
    /// Public numbers of what was found again, by detection's own.
    numbers: HashMap<u64, u64>,
    until: Duration,
}

impl Continued {
    /// What was open when the last process ended. They wait until `until`, since boot.
    pub fn restored(open: &[Alert], until: Duration) -> Self {
        let mut continued = Self { until, ..Self::default() };
        continued.waiting = open.iter().map(|alert| waiting(alert.id, &alert.finding)).collect();
        continued
    }

    /// Another detection follows: what is open waits, and what waits already goes on waiting.
    pub fn hand_over<'a>(&mut self, open: impl Iterator<Item = (u64, &'a Finding)>, until: Duration) {
        self.waiting.extend(open.map(|(number, finding)| waiting(number, finding)));
        self.numbers.clear();
        self.until = until;
    }

    /// The public number of a finding; `base` is what detection's own numbers count from.
    pub fn number(&self, base: u64, id: u64) -> u64 {
        self.numbers.get(&id).copied().unwrap_or(base + id)
    }

    /// Detection's own number of a public one.
    pub fn own_number(&self, base: u64, number: u64) -> Option<u64> {
        let again = self.numbers.iter().find(|(_, known)| **known == number).map(|(id, _)| *id);
        again.or_else(|| number.checked_sub(base))
    }

    /// Numbers a change; one that opens what waits goes on with it.
    pub fn adopt(&mut self, base: u64, mut change: FindingChange) -> (u64, FindingChange) {
        if change.kind == ChangeKind::Opened {
            let finding = &mut change.finding;
            let known = self.waiting.iter().position(|old| {
                old.detector == finding.detector
                    && old.subject == finding.subject
                    && old.target == finding.target
            });
            if let Some(place) = known {
                let old = self.waiting.swap_remove(place);
                self.numbers.insert(change.id, old.number);
                finding.first_seen = old.first_seen;
                finding.raised_at = old.raised_at;
                let is_graver = finding.severity > old.severity;
                change.kind = if is_graver { ChangeKind::Escalated } else { ChangeKind::Updated };
            }
        }
        let number = self.number(base, change.id);
        if matches!(change.kind, ChangeKind::Closed | ChangeKind::Retracted) {
            self.numbers.remove(&change.id);
        }
        (number, change)
    }

    /// Takes out one that waits, because somebody closes it.
    pub fn remove(&mut self, number: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|old| old.number != number);
        self.waiting.len() != before
    }

    /// What was not found again in time: over by now.
    pub fn ended(&mut self, since_boot: Duration) -> Vec<u64> {
        if self.waiting.is_empty() || since_boot < self.until {
            return Vec::new();
        }
        std::mem::take(&mut self.waiting).into_iter().map(|old| old.number).collect()
    }

    pub const fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

fn waiting(number: u64, finding: &Finding) -> Waiting {
    Waiting {
        number,
        detector: finding.detector,
        subject: finding.subject.clone(),
        target: finding.target.clone(),
        severity: finding.severity,
        first_seen: finding.first_seen,
        raised_at: finding.raised_at,
    }
}
