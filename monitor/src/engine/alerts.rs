//! `alerts list|show|close|silence`: findings as people and scripts ask for them.
//!
//! In: queries and numbers. Out: alerts, the open ones as detection has them now and the rest from the store.

use anyhow::Result;
use jiff::Timestamp;

use super::Engine;
use super::answer::Asking;
use super::command::{Alert, AlertQuery, AlertState, Applied};
use super::detect::SILENCES;
use super::refusal::{Code, Refusal};
use crate::store::{Store, StoredFinding};
use detection::finding::Finding;
use detection::parameters::Silence;

/// Findings that a list reads at most.
const MOST: usize = 10_000;

impl Engine {
    pub(super) fn list_alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, Refusal> {
        let limit = if query.limit == 0 { 100 } else { query.limit.min(MOST) };
        let since = query.since.unwrap_or(Timestamp::MIN);
        let within = |finding: &Finding| {
            query.subject.is_none_or(|prefix| {
                finding.subject.parse().is_ok_and(|subject: std::net::IpAddr| prefix.contains(&subject))
            })
        };
        let wanted = |alert: &Alert| {
            (!query.open || alert.state == AlertState::Open)
                && query.detector.is_none_or(|detector| alert.finding.detector == detector)
                && query.severity.is_none_or(|severity| alert.finding.severity >= severity)
                && within(&alert.finding)
        };
        let mut alerts = self.alerts(since).map_err(|error| Refusal::failed(&error))?;
        alerts.retain(wanted);
        alerts.truncate(limit);
        Ok(alerts)
    }

    pub(super) fn show_alert(&self, number: u64) -> Result<Alert, Refusal> {
        let alerts = self.alerts(Timestamp::MIN).map_err(|error| Refusal::failed(&error))?;
        alerts.into_iter().find(|alert| alert.id == number).ok_or_else(|| no_alert(number))
    }

    pub(super) fn close_alert(&mut self, number: u64) -> Result<Alert, Refusal> {
        let known = self.show_alert(number)?;
        if known.state != AlertState::Open || !self.end_alert(number) {
            return Err(Refusal::new(Code::Conflict, format!("finding {number} is not open")));
        }
        self.show_alert(number)
    }

    pub(super) fn silence_alerts(&mut self, asking: &Asking, silence: Silence) -> Result<Applied, Refusal> {
        if silence.detector.is_none() && silence.subject.is_none() {
            return Err(Refusal::new(Code::Invalid, "that would silence everything")
                .next("name a detector or a subject"));
        }
        let detector = silence.detector.map_or("every detector", |detector| detector.label());
        let subject = silence.subject.map_or_else(|| "everybody".to_owned(), |subject| subject.to_string());
        let told = format!("+ silence {detector} about {subject}: {}", silence.reason);
        let mut saved = false;
        if asking.options.save {
            let key = serde_json::to_string(&(silence.detector, silence.subject)).unwrap_or_default();
            let value = serde_json::to_vec(&silence).unwrap_or_default();
            self.store
                .learn(SILENCES, [(key.as_str(), value.as_slice())], Timestamp::now())
                .map_err(|error| Refusal::failed(&error))?;
            saved = true;
        }
        self.quieten(silence);
        tracing::info!("{told} (by {})", asking.made_by());
        Ok(Applied { summary: vec![told], saved, ..Applied::default() })
    }

    /// Newest first.
    fn alerts(&self, since: Timestamp) -> Result<Vec<Alert>> {
        let mut alerts: Vec<_> = self.store.findings(since, MOST)?.iter().filter_map(alert).collect();
        for (id, finding) in self.open_alerts() {
            if let Some(known) = alerts.iter_mut().find(|alert| alert.id == id) {
                known.finding = finding.clone();
            }
        }
        Ok(alerts)
    }
}

fn no_alert(number: u64) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no finding {number}"))
        .next("`sluice alerts list` shows them")
}

/// As the store keeps it; `None` only for a finding that cannot be written as JSON.
pub(super) fn stored(alert: &Alert) -> Option<StoredFinding> {
    Some(StoredFinding {
        id: alert.id.to_string(),
        opened: alert.finding.raised_at,
        updated: alert.updated,
        closed: (alert.state != AlertState::Open).then_some(alert.updated),
        body: serde_json::to_value(alert).ok()?,
    })
}

fn alert(stored: &StoredFinding) -> Option<Alert> {
    serde_json::from_value(stored.body.clone()).ok()
}

/// Silences that were saved.
pub(super) fn stored_silences(store: &Store) -> Result<Vec<Silence>> {
    let stored = store.learned(SILENCES)?;
    Ok(stored.iter().filter_map(|(_, value)| serde_json::from_slice(value).ok()).collect())
}

/// Findings of an earlier process are nobody's any more. Returns the number from which new ones count.
pub(super) fn close_old_alerts(store: &mut Store) -> Result<u64> {
    let kept = store.findings(Timestamp::MIN, usize::MAX)?;
    let highest = kept.iter().filter_map(|finding| finding.id.parse::<u64>().ok()).max();
    let orphans: Vec<_> = kept
        .into_iter()
        .filter(|finding| finding.closed.is_none())
        .filter_map(|finding| {
            let alert = Alert { state: AlertState::Closed, ..alert(&finding)? };
            stored(&alert)
        })
        .collect();
    // What cannot be written now is written later.
    if let Err(error) = store.keep_findings(&orphans) {
        tracing::warn!("the findings of the last run are not closed yet: {error:#}");
    }
    // A store in memory does not know the numbers that were given before.
    let unknown = store.volatile().is_some() && highest.is_none();
    Ok(if unknown { number_of_the_moment() } else { highest.map_or(1, |highest| highest + 1) })
}

/// A number that no earlier process gave: they count from 1, one a finding.
pub(super) fn number_of_the_moment() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(1)
}
