//! Findings about one subject as one incident: a score, and the story in the order of its beginnings.
//!
//! In: findings as `alerts list` has them. Out: incidents. Nothing is kept: the same findings make the same incidents.

use std::collections::BTreeMap;

use detection::finding::{Detector, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alerts::{Alert, AlertState};

/// Findings further apart than this are two incidents, in seconds.
const APART_S: i64 = 6 * 3600;

/// What several findings about one subject tell together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    pub subject: String,
    /// The gravest of its findings.
    pub severity: Severity,
    /// 0 to 100: what its findings weigh, by severity and confidence, the same detector once.
    pub score: u8,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Techniques of MITRE ATT&CK, in the order of the story.
    pub techniques: Vec<String>,
    pub story: Vec<Chapter>,
    /// Numbers of its findings.
    pub alerts: Vec<u64>,
}

/// One step of a story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chapter {
    pub at: Timestamp,
    pub detector: Detector,
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub technique: Option<String>,
    /// Targets, the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Findings of this detector.
    pub findings: usize,
}

/// Share of a doubt that a finding takes away.
const fn weight(severity: Severity) -> f64 {
    match severity {
        Severity::Info => 0.2,
        Severity::Warning => 0.6,
        Severity::Critical => 0.9,
    }
}

/// Incidents of subjects with findings of several detectors.
pub fn of(alerts: &[Alert]) -> Vec<Incident> {
    let mut by_subject: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert.state != AlertState::Retracted) {
        by_subject.entry(&alert.finding.subject).or_default().push(alert);
    }
    let mut incidents = Vec::new();
    for mut all in by_subject.into_values() {
        all.sort_by_key(|alert| (alert.finding.first_seen, alert.id));
        let mut part: Vec<&Alert> = Vec::new();
        for alert in all {
            let ends = part.iter().map(|one| one.finding.last_seen).max();
            let apart = |end: Timestamp| alert.finding.first_seen.duration_since(end).as_secs() > APART_S;
            if ends.is_some_and(apart) {
                incidents.extend(joined(&part));
                part.clear();
            }
            part.push(alert);
        }
        incidents.extend(joined(&part));
    }
    incidents.sort_by(|one, other| {
        (other.severity, other.score, &one.subject).cmp(&(one.severity, one.score, &other.subject))
    });
    incidents
}

/// Findings in the order of their beginnings, if several detectors made them.
fn joined(alerts: &[&Alert]) -> Option<Incident> {
    let mut story: Vec<Chapter> = Vec::new();
    let mut doubts: BTreeMap<Detector, f64> = BTreeMap::new();
    for alert in alerts {
        let finding = &alert.finding;
        let doubt = 1.0 - weight(finding.severity) * finding.confidence.clamp(0.0, 1.0);
        let least = doubts.entry(finding.detector).or_insert(1.0);
        *least = least.min(doubt);
        if let Some(chapter) = story.iter_mut().find(|one| one.detector == finding.detector) {
            chapter.findings += 1;
            chapter.severity = chapter.severity.max(finding.severity);
            continue;
        }
        story.push(Chapter {
            at: finding.first_seen,
            detector: finding.detector,
            severity: finding.severity,
            technique: finding.detector.technique().map(str::to_owned),
            target: finding.target.clone(),
            findings: 1,
        });
    }
    if story.len() < 2 {
        return None;
    }
    let mut techniques: Vec<String> = Vec::new();
    for technique in story.iter().filter_map(|chapter| chapter.technique.clone()) {
        if !techniques.contains(&technique) {
            techniques.push(technique);
        }
    }
    let doubt: f64 = doubts.values().product();
    Some(Incident {
        subject: alerts.first()?.finding.subject.clone(),
        severity: story.iter().map(|chapter| chapter.severity).max()?,
        score: percent(1.0 - doubt),
        first_seen: alerts.iter().map(|alert| alert.finding.first_seen).min()?,
        last_seen: alerts.iter().map(|alert| alert.finding.last_seen).max()?,
        techniques,
        story,
        alerts: alerts.iter().map(|alert| alert.id).collect(),
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
fn percent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u8
}

#[cfg(test)]
mod tests {
    use detection::finding::Finding;
    use serde_json::Map;

    use super::*;

    fn alert(id: u64, detector: Detector, subject: &str, severity: Severity, at_s: i64) -> Alert {
        let at = Timestamp::from_second(1_700_000_000 + at_s).expect("a time");
        let finding = Finding {
            detector,
            severity,
            subject: subject.to_owned(),
            target: Some("10.0.0.9".to_owned()),
            service: None,
            first_seen: at,
            raised_at: at,
            last_seen: at,
            measured: 1.0,
            threshold: 1.0,
            unit: "things".to_owned(),
            window_s: 60,
            confidence: 1.0,
            evidence: Map::new(),
            containment: String::new(),
        };
        Alert { id, state: AlertState::Open, updated: at, quiet: false, finding }
    }

    #[test]
    fn findings_about_one_subject_are_a_story_in_its_order() {
        let alerts = [
            alert(4, Detector::Beacon, "10.0.0.5", Severity::Warning, 900),
            alert(1, Detector::PortScan, "10.0.0.5", Severity::Warning, 0),
            alert(2, Detector::PortScan, "10.0.0.5", Severity::Info, 50),
            alert(3, Detector::BruteForce, "10.0.0.5", Severity::Info, 300),
            alert(5, Detector::Beacon, "10.0.0.6", Severity::Warning, 0),
        ];
        let [incident] = &of(&alerts)[..] else { panic!("one incident") };
        assert_eq!(incident.techniques, ["T1046", "T1110", "T1071"]);
        assert_eq!(incident.alerts, [1, 2, 3, 4]);
        assert_eq!(incident.story[0].findings, 2);
        // 1 - 0.4 * 0.8 * 0.4
        assert_eq!((incident.score, incident.severity), (87, Severity::Warning));
    }

    #[test]
    fn what_lies_apart_or_was_taken_back_is_not_joined() {
        let mut alerts = [
            alert(1, Detector::PortScan, "10.0.0.5", Severity::Warning, 0),
            alert(2, Detector::Beacon, "10.0.0.5", Severity::Warning, 7 * 3600),
        ];
        assert!(of(&alerts).is_empty());
        alerts[1] = alert(2, Detector::Beacon, "10.0.0.5", Severity::Warning, 3600);
        assert_eq!(of(&alerts).len(), 1);
        alerts[1].state = AlertState::Retracted;
        assert!(of(&alerts).is_empty());
    }
}
