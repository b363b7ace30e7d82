//! `exfiltration`: an inside source sends more out than it ever did, or more than the floor to one peer, and mostly sends.
//!
//! In: contacts between an inside and an outside end. Out: one signal per source and peer (volume) or per source
//! (departure from its own baseline, CUSUM). It needs two hours of baseline per source for the second; uploads by people
//! look the same until they are declared.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{real, rounded},
    window::Rolling,
};

const SECOND: u64 = 1_000_000_000;
/// Length of a step of the baseline.
const STEP: u64 = 300 * SECOND;

/// `[detection.exfiltration]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Bytes sent to one outside peer within an hour.
    pub bytes_per_hour: u64,
    /// Producer share: (sent - received) / (sent + received), at least.
    pub producer_ratio: f64,
    /// Allowance and decision interval of the CUSUM, in standard deviations.
    pub cusum_k: f64,
    pub cusum_h: f64,
    /// Bytes in five minutes below which the baseline is not asked.
    pub floor_bytes: u64,
    /// Steps of five minutes before the baseline counts.
    pub learning_steps: u32,
    pub pairs: usize,
    pub sources: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            bytes_per_hour: 500_000_000,
            producer_ratio: 0.6,
            cusum_k: 0.5,
            cusum_h: 5.0,
            floor_bytes: 50_000_000,
            learning_steps: 24,
            pairs: 8192,
            sources: 8192,
        }
    }
}

#[derive(Debug)]
struct Pair {
    /// Sent and received.
    bytes: Rolling<2, 12>,
    first_at: u64,
    touched: u64,
    quiet_until: u64,
}

/// What a source usually sends in five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub mean: f64,
    pub variance: f64,
    pub steps: u32,
    #[serde(skip)]
    step: u64,
    #[serde(skip)]
    sent: u64,
    #[serde(skip)]
    received: u64,
    #[serde(skip)]
    sum: f64,
    #[serde(skip)]
    first_at: u64,
}

#[derive(Debug)]
pub struct Exfiltration {
    parameters: Parameters,
    pairs: Bounded<(IpAddr, IpAddr), Pair>,
    baselines: Bounded<IpAddr, Baseline>,
}

impl Exfiltration {
    pub fn new(parameters: &Parameters, learned: &[(IpAddr, Baseline)]) -> Self {
        let mut baselines = Bounded::new("exfiltration_baselines", parameters.sources);
        for (source, baseline) in learned {
            baselines.entry(*source, true, 0, |_| true, || *baseline);
        }
        Self {
            parameters: parameters.clone(),
            pairs: Bounded::new("exfiltration", parameters.pairs),
            baselines,
        }
    }

    fn volume(
        &mut self,
        contact: &Contact<'_>,
        source: IpAddr,
        peer: IpAddr,
        sent: u64,
        received: u64,
        signals: &mut Signals,
    ) {
        let now = contact.now;
        let new =
            || Pair { bytes: Rolling::new(STEP), first_at: contact.began_at(), touched: now, quiet_until: 0 };
        let keep = |pair: &Pair| now - pair.touched < 3600 * SECOND;
        let Some(pair) = self.pairs.entry((source, peer), contact.source_inside, now, keep, new) else {
            return;
        };
        pair.touched = now;
        pair.bytes.add(now, [sent, received]);
        let [sent, received] = pair.bytes.sums(now);
        let ratio = producer_ratio(sent, received);
        if sent < self.parameters.bytes_per_hour
            || ratio < self.parameters.producer_ratio
            || now < pair.quiet_until
        {
            return;
        }
        pair.quiet_until = now + 5 * SECOND;
        signals.push(Signal {
            detector: Detector::Exfiltration,
            severity: Severity::Warning,
            subject: Party::Address(source),
            target: Some(Party::Address(peer)),
            service: Some(Service::new(contact.protocol, contact.port)),
            first_seen: pair.first_at,
            measured: real(sent),
            threshold: real(self.parameters.bytes_per_hour),
            unit: "bytes",
            window_s: 3600,
            confidence: 0.7,
            evidence: evidence(json!({ "received": received, "producer_ratio": rounded(ratio) })),
            workload: contact.workload.map(str::to_owned),
        });
    }

    fn departure(
        &mut self,
        contact: &Contact<'_>,
        source: IpAddr,
        sent: u64,
        received: u64,
        flagged: bool,
        signals: &mut Signals,
    ) {
        let step = contact.now / STEP;
        let keep = |baseline: &Baseline| step - baseline.step < 12 * 24 * 14;
        let new = || Baseline { step, first_at: contact.at, ..Baseline::default() };
        let Some(baseline) = self.baselines.entry(source, true, contact.now, keep, new) else { return };
        if baseline.step == 0 {
            baseline.step = step;
        }
        if step > baseline.step {
            let finding = baseline.close(&self.parameters, flagged);
            if let Some((z, total)) = finding {
                signals.push(Signal {
                    detector: Detector::Exfiltration,
                    severity: Severity::Warning,
                    subject: Party::Address(source),
                    target: None,
                    service: None,
                    first_seen: baseline.first_at,
                    measured: real(total),
                    threshold: rounded(baseline.mean + self.parameters.cusum_h * baseline.variance.sqrt()),
                    unit: "bytes",
                    window_s: STEP / SECOND,
                    confidence: 0.7,
                    evidence: evidence(json!({
                        "baseline_bytes": rounded(baseline.mean),
                        "deviations": rounded(z),
                        "cusum": rounded(baseline.sum),
                        "received": baseline.received,
                    })),
                    workload: contact.workload.map(str::to_owned),
                });
            }
            // Silent steps count as such, a day of them at most.
            for _ in 0..(step - baseline.step - 1).min(288) {
                baseline.learn(0.0);
            }
            (baseline.step, baseline.sent, baseline.received, baseline.first_at) = (step, 0, 0, contact.at);
        }
        baseline.sent += sent;
        baseline.received += received;
    }
}

impl Detect for Exfiltration {
    fn learned(&self, learned: &mut crate::Learned) {
        let mut all: Vec<_> = self.baselines.iter().map(|(source, baseline)| (*source, *baseline)).collect();
        all.sort_by_key(|(source, _)| *source);
        learned.baselines = all;
    }

    fn contact(&mut self, contact: &Contact<'_>, scope: &Scope<'_>, signals: &mut Signals) {
        let flagged = scope.flagged;
        if contact.observed().is_some()
            || contact.source_inside == contact.destination_inside && contact.source_inside
        {
            return;
        }
        let (forward, backward) = (contact.delta.forward.payload, contact.delta.backward.payload);
        let (source, peer, sent, received) = if contact.destination_inside {
            (contact.destination, contact.source, backward, forward)
        } else {
            (contact.source, contact.destination, forward, backward)
        };
        if is_group(peer) || sent + received == 0 {
            return;
        }
        let inside = contact.source_inside || contact.destination_inside;
        self.volume(contact, source, peer, sent, received, signals);
        if inside {
            self.departure(contact, source, sent, received, flagged, signals);
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.pairs.size(), self.baselines.size()]
    }
}

impl Baseline {
    /// Ends a step: learns from it, or says by how much it departs and what was sent.
    fn close(&mut self, parameters: &Parameters, flagged: bool) -> Option<(f64, u64)> {
        let sent = real(self.sent);
        let deviation = self.variance.sqrt().max(self.mean * 0.1).max(1_000_000.0);
        let z = (sent - self.mean) / deviation;
        if self.steps >= parameters.learning_steps {
            self.sum = (self.sum + z - parameters.cusum_k).clamp(0.0, 1e6);
            let turned = producer_ratio(self.sent, self.received) >= parameters.producer_ratio;
            if self.sum >= parameters.cusum_h && self.sent >= parameters.floor_bytes && turned {
                return Some((z, self.sent));
            }
        }
        if !flagged {
            self.learn(sent);
        }
        None
    }

    fn learn(&mut self, sent: f64) {
        self.steps = self.steps.saturating_add(1);
        let weight = (1.0 / f64::from(self.steps)).max(0.01);
        let difference = sent - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
        if difference <= 0.0 {
            self.sum = (self.sum - 0.5).max(0.0);
        }
    }
}

fn producer_ratio(sent: u64, received: u64) -> f64 {
    let (sent, received) = (real(sent), real(received));
    if sent + received > 0.0 { (sent - received) / (sent + received) } else { 0.0 }
}
