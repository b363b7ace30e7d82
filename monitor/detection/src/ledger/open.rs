//! An open finding: what it is kept under, how a signal makes it, and how later signals change it.

use jiff::Timestamp;
use serde_json::json;

use super::{ChangeKind, SECOND};
use crate::{
    contact::Inside,
    finding::{About, Detector, Finding, Party, Signal},
    parameters::Hygiene,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub detector: Detector,
    pub subject: Party,
    pub target: Option<Party>,
}

#[derive(Debug)]
pub struct Open {
    pub id: u64,
    pub finding: Finding,
    pub workload: Option<String>,
    pub silenced: bool,
    /// Its beginning was a notification, so its end is one.
    pub notified: bool,
    pub outside: bool,
    pub seen: u64,
    pub updated: u64,
    pub told: f64,
}

impl Key {
    pub fn about(&self, workload: Option<String>) -> About {
        About { subject: self.subject.clone(), target: self.target.clone(), workload }
    }
}

impl Open {
    /// Takes another signal into the finding; how it changed, when that is worth a notification.
    pub fn update(&mut self, signal: Signal, now: u64, at: u64, hygiene: &Hygiene) -> Option<ChangeKind> {
        let finding = &mut self.finding;
        let graver = signal.severity > finding.severity;
        finding.severity = finding.severity.max(signal.severity);
        // A capture may run backwards.
        finding.last_seen = timestamp(at).max(finding.last_seen);
        let service = finding.service.take();
        finding.service = if service == signal.service { service } else { signal.service };
        if signal.measured >= finding.measured || signal.unit != finding.unit {
            finding.measured = signal.measured;
            finding.unit = signal.unit.to_owned();
            finding.threshold = signal.threshold;
            finding.window_s = signal.window_s;
        }
        finding.confidence = finding.confidence.max(signal.confidence);
        self.workload = signal.workload.or(self.workload.take());
        let incident = finding.evidence.remove("incident");
        finding.evidence = signal.evidence;
        if let Some(workload) = &self.workload {
            finding.evidence.insert("workload".into(), json!(workload));
        }
        if let Some(incident) = incident {
            finding.evidence.entry("incident").or_insert(incident);
        }
        if graver || finding.measured >= self.told * 10.0 {
            self.told = finding.measured;
            self.updated = now;
            return Some(ChangeKind::Escalated);
        }
        if now >= self.updated + hygiene.update_s * SECOND {
            self.updated = now;
            return Some(ChangeKind::Updated);
        }
        None
    }
}

/// The finding that a signal opens.
pub fn finding_of(signal: Signal, at: u64, inside: &Inside) -> Finding {
    let containment = containment(&signal, inside);
    let mut evidence = signal.evidence;
    if let Some(workload) = signal.workload {
        evidence.insert("workload".into(), json!(workload));
    }
    Finding {
        detector: signal.detector,
        severity: signal.severity,
        subject: signal.subject.to_string(),
        target: signal.target.map(|target| target.to_string()),
        service: signal.service,
        first_seen: timestamp(signal.first_seen.min(at)),
        raised_at: timestamp(at),
        last_seen: timestamp(at),
        measured: signal.measured,
        threshold: signal.threshold,
        unit: signal.unit.to_owned(),
        window_s: signal.window_s,
        confidence: signal.confidence,
        evidence,
        containment,
    }
}

/// The command that would contain the subject.
fn containment(signal: &Signal, inside: &Inside) -> String {
    match &signal.subject {
        Party::Address(address) if is_victim(signal) => format!("sluice explain {address}"),
        Party::Address(address) if inside.contains(*address) => format!("sluice contain {address} --for 1h"),
        Party::Address(address) => format!("sluice access ban {address} --for 1h"),
        Party::Mac(_) | Party::Interface(_) | Party::Network(_) => "sluice flows".to_owned(),
        Party::Outsiders => "sluice sources".to_owned(),
        Party::Service(name) => format!("sluice tune {name}"),
    }
}

/// A flood without a target is about its victim.
pub fn is_victim(signal: &Signal) -> bool {
    signal.target.is_none()
        && matches!(
            signal.detector,
            Detector::SynFlood
                | Detector::UdpFlood
                | Detector::IcmpFlood
                | Detector::FragmentFlood
                | Detector::Reflection
        )
}

/// Nanoseconds since the epoch as a time.
fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::MAX)
}
