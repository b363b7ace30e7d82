//! `alerts list|show|close`: findings as people and scripts ask for them, and as the store keeps them.
//!
//! In: queries, numbers, changes of findings. Out: alerts, the open ones as detection has them now and the rest from the
//! store. Here the typed finding becomes text.

use anyhow::Result;
use jiff::Timestamp;

use super::command::{Alert, AlertQuery, AlertState};
use super::effect::Told;
use super::facts::Facts;
use super::names::Names;
use super::watch::Watch;
use crate::store::{Storage, StoredFinding};
use api::{Code, Error};
use detection::finding::{About, Finding, Party, Severity};
use detection::ledger::{ChangeKind, FindingChange};

/// Findings that a list reads at most.
const MOST: usize = 10_000;

type Found = Result<Vec<Alert>, Error>;

/// Findings that match, newest first.
pub fn list(facts: &Facts<'_>, watch: &Watch, store: &dyn Storage, query: &AlertQuery) -> Found {
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
    let mut alerts = all(facts, watch, store, since)?;
    alerts.retain(wanted);
    alerts.truncate(limit);
    Ok(alerts)
}

/// One finding by its number.
pub fn show(facts: &Facts<'_>, watch: &Watch, store: &dyn Storage, number: u64) -> Result<Alert, Error> {
    let alerts = all(facts, watch, store, Timestamp::MIN)?;
    alerts.into_iter().find(|alert| alert.id == number).ok_or_else(|| {
        Error::new(Code::NotFound, format!("there is no finding {number}"))
            .next("`sluice alerts list` shows them")
    })
}

/// What became of findings: into the store and the log, and as values for the sinks.
pub fn keep(
    changes: &[(u64, FindingChange)],
    lowest: Severity,
    names: &Names<'_>,
    store: &mut dyn Storage,
    now: Timestamp,
) -> (Vec<Told>, Result<()>) {
    let mut rows = Vec::with_capacity(changes.len());
    let mut told = Vec::with_capacity(changes.len());
    for (id, change) in changes {
        let kind = change.kind;
        let alert = Alert {
            id: *id,
            state: match kind {
                ChangeKind::Opened | ChangeKind::Updated | ChangeKind::Escalated => AlertState::Open,
                ChangeKind::Closed => AlertState::Closed,
                ChangeKind::Retracted => AlertState::Retracted,
            },
            updated: now,
            quiet: !change.notify,
            finding: rendered(&change.about, &change.finding, names),
        };
        log(&alert, kind);
        rows.extend(stored(&alert));
        let post = !alert.quiet && kind != ChangeKind::Updated && alert.finding.severity >= lowest;
        told.push(Told { alert, kind, post });
    }
    (told, store.keep_findings(&rows))
}

/// A finding for people: interfaces by their names.
fn rendered(about: &About, finding: &Finding, names: &Names<'_>) -> Finding {
    let mut finding = finding.clone();
    if let Party::Interface(slot) = about.subject {
        finding.subject = names.interface(slot);
    }
    if let Some(Party::Interface(slot)) = about.target {
        finding.target = Some(names.interface(slot));
    }
    finding
}

/// Newest first.
fn all(facts: &Facts<'_>, watch: &Watch, store: &dyn Storage, since: Timestamp) -> Found {
    let kept = store.findings(since, MOST).map_err(|error| Error::failed(&error))?;
    let mut alerts: Vec<_> = kept.iter().filter_map(alert).collect();
    let names = facts.names();
    for (id, about, finding) in watch.open() {
        if let Some(known) = alerts.iter_mut().find(|alert| alert.id == id) {
            let (first_seen, raised_at) = (known.finding.first_seen, known.finding.raised_at);
            known.finding = Finding { first_seen, raised_at, ..rendered(&about, finding, &names) };
        }
    }
    Ok(alerts)
}

/// As the store keeps it; `None` only for a finding that cannot be written as JSON.
fn stored(alert: &Alert) -> Option<StoredFinding> {
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

/// Findings that the last process left open, and the number from which new ones count.
pub fn left_open(store: &dyn Storage, now: Timestamp) -> Result<(u64, Vec<Alert>)> {
    let kept = store.findings(Timestamp::MIN, usize::MAX)?;
    let highest = kept.iter().filter_map(|finding| finding.id.parse::<u64>().ok()).max();
    let open = kept.iter().filter(|finding| finding.closed.is_none()).filter_map(alert).collect();
    // A store in memory does not know the numbers that were given before.
    let unknown = store.volatile().is_some() && highest.is_none();
    let base = if unknown { number_of_the_moment(now) } else { highest.map_or(1, |highest| highest + 1) };
    Ok((base, open))
}

/// Closes findings that only the store knows.
pub fn end(numbers: &[u64], store: &mut dyn Storage, now: Timestamp) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let kept = store.findings(Timestamp::MIN, usize::MAX)?;
    let ended: Vec<_> = kept
        .iter()
        .filter_map(alert)
        .filter(|alert| numbers.contains(&alert.id))
        .filter_map(|alert| stored(&Alert { state: AlertState::Closed, updated: now, ..alert }))
        .collect();
    store.keep_findings(&ended)
}

/// A number that no earlier process gave: they count from 1, one a finding.
pub fn number_of_the_moment(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(1)
}

/// One line of the daemon's log.
fn log(alert: &Alert, kind: ChangeKind) {
    let Alert { id, quiet, finding, .. } = alert;
    let Finding { detector, severity, subject, target, measured, threshold, unit, containment, .. } = finding;
    let target = target.as_deref().unwrap_or("-");
    let severity = severity.label();
    if *quiet {
        tracing::debug!(id, %detector, severity, subject, target, "finding (quiet): {kind:?}");
        return;
    }
    match kind {
        ChangeKind::Opened | ChangeKind::Escalated => tracing::warn!(
            id, %detector, severity, subject, target, measured, threshold, unit, containment, "finding {}",
            if kind == ChangeKind::Opened { "raised" } else { "escalated" }
        ),
        ChangeKind::Updated => tracing::debug!(id, %detector, subject, target, measured, "finding goes on"),
        ChangeKind::Closed | ChangeKind::Retracted => {
            tracing::info!(id, %detector, subject, target, "finding is {}", if kind == ChangeKind::Closed { "closed" } else { "retracted" });
        }
    }
}
