//! Traffic with known attackers in; out come who was found, how late, who was missed and who is falsely blamed.

use std::{collections::BTreeMap, net::IpAddr};

use detection::{
    Parameters,
    finding::{Finding, Severity},
};
use ipnet::IpNet;

use super::{timeline::Traffic, tracker::Tracker};

/// Most seconds between the moment at which a threshold can be reached and the finding.
const LATEST_S: f64 = 30.0;

/// Somebody who must be named.
#[derive(Clone, Debug)]
pub struct Attack {
    /// An address, `VICTIM:address`, `MAC` or `source->target`.
    pub who: String,
    /// Detectors that name it rightly.
    pub as_one_of: Vec<&'static str>,
    /// When the attack began, and when what is documented as threshold could be reached (nanoseconds since the epoch).
    pub begins: u64,
    pub reachable: u64,
    /// Being missed is no failure: below the documented thresholds, or `info`.
    pub optional: bool,
}

/// Traffic and the truth about it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub traffic: Traffic,
    pub attacks: Vec<Attack>,
    /// Findings about others that are tolerated.
    pub tolerated: usize,
    /// Addresses about which findings are right as well (the far end of a tunnel, say).
    pub also: Vec<String>,
}

/// What came of one case.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub found: usize,
    pub missed: Vec<String>,
    /// Raised before the attack or later than allowed.
    pub untimely: Vec<String>,
    pub falsely: Vec<String>,
    pub worst_delay_s: f64,
    pub named_as: Vec<String>,
    pub findings: Vec<Finding>,
}

impl Outcome {
    pub fn is_good(&self, tolerated: usize) -> bool {
        self.missed.is_empty() && self.untimely.is_empty() && self.falsely.len() <= tolerated
    }
}

impl Attack {
    pub fn new(who: &str, as_one_of: &[&'static str], begins: u64, reachable: u64) -> Self {
        Self { who: who.to_owned(), as_one_of: as_one_of.to_vec(), begins, reachable, optional: false }
    }

    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Whether the finding is about this attacker, whatever it says.
    pub fn is_about(&self, finding: &Finding) -> bool {
        is_about(finding, &self.who)
    }

    /// How late the finding is in seconds after the threshold was reachable.
    fn delay_s(&self, finding: &Finding) -> f64 {
        let late = i128::from(nanoseconds(finding)) - i128::from(self.reachable);
        f64::from(i32::try_from(late / 1_000_000).unwrap_or(if late < 0 { i32::MIN } else { i32::MAX })) / 1e3
    }
}

/// Whether the finding is about `who` (or its victim), who is named as in [`Attack::who`].
pub fn is_about(finding: &Finding, who: &str) -> bool {
    if who == "MAC" {
        return finding.subject.contains(':') && finding.subject.parse::<IpAddr>().is_err();
    }
    if let Some(victim) = who.strip_prefix("VICTIM") {
        let victim = victim.trim_start_matches(':');
        return finding.target.is_none() && (victim.is_empty() || finding.subject == victim);
    }
    if let Some((source, rest)) = who.split_once("->") {
        return finding.subject == source
            && finding.target.as_deref().is_some_and(|target| rest.starts_with(target));
    }
    finding.subject == who
}

fn nanoseconds(finding: &Finding) -> u64 {
    u64::try_from(finding.raised_at.as_nanosecond()).unwrap_or(0)
}

impl Case {
    pub fn new(name: &str, traffic: Traffic, attacks: Vec<Attack>) -> Self {
        Self { name: name.to_owned(), traffic: traffic.sorted(), attacks, tolerated: 0, also: Vec::new() }
    }

    pub fn judge(&self, inside: &[IpNet]) -> Outcome {
        let mut tracker = Tracker::new(&Parameters::default(), inside.to_vec());
        for (at, frame) in &self.traffic.frames {
            tracker.frame(frame, *at);
        }
        self.compare(tracker.finish())
    }

    fn compare(&self, findings: Vec<Finding>) -> Outcome {
        let mut outcome = Outcome::default();
        for attack in &self.attacks {
            let mine = findings.iter().filter(|finding| {
                attack.is_about(finding) && attack.as_one_of.contains(&finding.detector.label())
            });
            let delays: BTreeMap<u64, &Finding> =
                mine.map(|finding| (nanoseconds(finding), finding)).collect();
            let best = delays
                .values()
                .find(|finding| nanoseconds(finding) >= attack.begins)
                .or_else(|| delays.values().next());
            match best {
                None if attack.optional => {}
                None => outcome.missed.push(attack.who.clone()),
                Some(finding) => {
                    let delay = attack.delay_s(finding);
                    outcome.found += 1;
                    outcome.named_as.push(format!("{}/{}", finding.detector, finding.severity.label()));
                    outcome.worst_delay_s = outcome.worst_delay_s.max(delay);
                    if delay > LATEST_S || nanoseconds(finding) < attack.begins {
                        outcome.untimely.push(format!("{} {delay:+.1} s", attack.who));
                    }
                }
            }
        }
        for finding in &findings {
            let right = self.attacks.iter().any(|attack| attack.is_about(finding))
                || self.also.contains(&finding.subject);
            if finding.severity >= Severity::Warning && !right {
                outcome.falsely.push(format!(
                    "{} {} {}",
                    finding.detector,
                    finding.subject,
                    finding.target.as_deref().unwrap_or("")
                ));
            }
        }
        outcome.findings = findings;
        outcome
    }
}
