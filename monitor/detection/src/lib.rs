//! Conversation records in, findings out. Pure: the clock is passed in, nothing is read or written, and two runs over the
//! same records say the same.
//!
//! A [`contact::Contact`] is a record in the terms of detection, [`attempts`] says what became of first contacts, each
//! detector turns both into signals, and the [`ledger`] makes findings of signals. Memory is bounded everywhere
//! ([`bounded`]); how full it is, is a metric.

pub mod attempts;
pub mod bounded;
pub mod clock;
pub mod contact;
pub mod detect;
pub mod detectors;
pub mod fallback;
pub mod finding;
pub mod incident;
pub mod ledger;
pub mod lookups;
pub mod parameters;
pub mod spoken;
pub mod statistics;
pub mod window;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use monitor_common::conversation::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::{
    attempts::{Attempt, Attempts},
    bounded::{Bounded, StateSize},
    clock::Clock,
    contact::{Contact, Inside, Progress, ip_of},
    detect::{Detect, Misplaced, Moment, Scope, ServiceRate},
    detectors::{edges, exfiltration, rate_shift, registry},
    finding::{About, Detector, Finding, Signals},
    ledger::{DetectorCount, Dropped, FindingChange, Ledger, Summary},
    lookups::Lookups,
    parameters::Silence,
};

pub use self::detectors::Parameters;

const SECOND: u64 = 1_000_000_000;

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    /// How long anything was observed, in nanoseconds.
    pub observed_ns: u64,
    pub edges: edges::Learned,
    pub baselines: Vec<(IpAddr, exfiltration::Baseline)>,
    pub services: Vec<(String, [rate_shift::Habit; 3])>,
}

/// How far learning has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Learning {
    pub observed_s: u64,
    /// Seconds until new edges, and odd hours, are judged; 0 when they are.
    pub edges_in_s: u64,
    pub hours_in_s: u64,
}

/// All detectors and their memory.
#[derive(Debug)]
pub struct Detection {
    parameters: Parameters,
    inside: Inside,
    clock: Clock,
    observed_before: u64,
    last_at: u64,
    records: u64,
    progress: Progress,
    attempts: Attempts,
    workloads: Bounded<IpAddr, String>,
    lookups: Lookups,
    detectors: Vec<Box<dyn Detect>>,
    ledger: Ledger,
    signals: Signals,
    verdicts: Vec<Attempt>,
}

impl Detection {
    /// `inside` are the networks within the trust boundary ([`contact::default_inside`] unless configured).
    pub fn new(parameters: &Parameters, inside: Vec<IpNet>, learned: &Learned) -> Self {
        let p = parameters;
        let clock = Clock::default();
        Self {
            inside: Inside(inside),
            observed_before: learned.observed_ns,
            last_at: 0,
            records: 0,
            progress: Progress::new(p.memory.conversations),
            attempts: Attempts::new(p.memory.attempts),
            workloads: Bounded::new("workloads", p.memory.workloads),
            lookups: Lookups::new(p.memory.workloads),
            detectors: registry(p, learned, clock.now()),
            ledger: Ledger::new(&p.findings, &p.expected, &p.silences),
            signals: Signals::new(),
            verdicts: Vec::new(),
            parameters: parameters.clone(),
            clock,
        }
    }

    /// Takes a record that was made at `at_ns` (nanoseconds since the epoch); `workload` names its local sender.
    pub fn observe(&mut self, record: &Record, at_ns: u64, workload: Option<&str>) {
        let now = self.clock.advance(at_ns);
        self.last_at = at_ns;
        self.records += 1;
        self.ripen(now);
        let source = ip_of(&record.initiator);
        let destination = ip_of(&record.responder);
        let source_inside = self.inside.contains(source);
        let protocol = u8::try_from(record.protocol).unwrap_or(u8::MAX);
        let contact = Contact {
            record,
            now,
            at: at_ns,
            source,
            destination,
            source_inside,
            destination_inside: self.inside.contains(destination),
            protocol,
            port: if matches!(protocol, 1 | 58) { 0 } else { record.responder_port },
            delta: self.progress.delta(record, source_inside, now),
            workload,
        };
        if let Some(name) = workload
            && let Some(known) = self.workloads.entry(source, source_inside, now, |_| true, String::new)
            && known != name
        {
            name.clone_into(known);
        }
        self.lookups.contact(&contact);
        self.attempts.contact(&contact, &mut self.verdicts);
        self.judge_attempts();
        let flagged = self.ledger.is_flagged(source) || self.ledger.is_flagged(destination);
        let scope = Scope { observed: self.observed(), flagged, lookups: &self.lookups };
        for detector in &mut self.detectors {
            detector.contact(&contact, &scope, &mut self.signals);
        }
        spoken::note(&contact, &mut self.signals);
        self.settle();
    }

    /// Moves time on without a record: what waits for an answer is judged, what is over is closed.
    pub fn tick(&mut self, now_ns: u64) {
        let now = self.clock.advance(now_ns);
        self.last_at = now_ns;
        self.ripen(now);
        self.settle();
    }

    /// The end of a capture: whatever is still waited for will not come. Times stay within the capture.
    pub fn finish(&mut self) {
        let now = self.clock.pass(10 * SECOND);
        self.ripen(now);
        self.settle();
    }

    /// What a service did since the last call, from the limiter's counters.
    pub fn service_rate(&mut self, service: &str, rate: ServiceRate, now_ns: u64) {
        let now = self.clock.advance(now_ns);
        self.last_at = now_ns;
        let moment = Moment { now, at: now_ns };
        for detector in &mut self.detectors {
            detector.service(service, rate, moment, &mut self.signals);
        }
        self.settle();
    }

    /// The kernel counted packets from sources that cannot come in through this interface.
    pub fn misplaced(&mut self, interface: u32, source: IpAddr, packets: u64, now_ns: u64) {
        let now = self.clock.advance(now_ns);
        self.last_at = now_ns;
        let moment = Moment { now, at: now_ns };
        let misplaced = Misplaced { interface, source, packets };
        for detector in &mut self.detectors {
            detector.misplaced(&misplaced, moment, &mut self.signals);
        }
        self.settle();
    }

    /// The limiter says that an inside source exceeded its limit (at the start and while it lasts).
    pub fn exceeded(&mut self, source: IpAddr, now_ns: u64) {
        let now = self.clock.advance(now_ns);
        self.last_at = now_ns;
        if self.inside.contains(source) {
            let moment = Moment { now, at: now_ns };
            for detector in &mut self.detectors {
                detector.exceeded(source, moment, &mut self.signals);
            }
            self.settle();
        }
    }

    /// What changed since the last call, in order, without what was opened and retracted in between.
    pub fn drain_findings(&mut self) -> Vec<FindingChange> {
        self.ledger.drain()
    }

    /// The highest number of a finding so far; 0 before the first.
    pub const fn last_number(&self) -> u64 {
        self.ledger.last_number()
    }

    /// Notifications that were held back, one summary per minute.
    pub fn drain_summaries(&mut self) -> Vec<Summary> {
        self.ledger.drain_summaries()
    }

    /// Open findings with their numbers.
    pub fn open_findings(&self) -> impl Iterator<Item = (u64, &Finding)> {
        self.ledger.open()
    }

    /// Whom each open finding is about.
    pub fn open_about(&self) -> impl Iterator<Item = (u64, About, &Finding)> {
        self.ledger.open_about()
    }

    pub fn close(&mut self, id: u64) -> bool {
        self.ledger.close(id)
    }

    /// These, and no others, keep findings quiet from now on.
    pub fn silence(&mut self, silences: &[Silence]) {
        self.ledger.silence(silences);
    }

    pub fn counts(&self) -> Vec<DetectorCount> {
        self.ledger.counts()
    }

    pub const fn dropped(&self) -> &Dropped {
        self.ledger.dropped()
    }

    /// Records taken so far.
    pub const fn records(&self) -> u64 {
        self.records
    }

    pub fn learning(&self) -> Learning {
        let observed_s = self.observed() / SECOND;
        let left = |days: u64| (days * 86_400).saturating_sub(observed_s);
        Learning {
            observed_s,
            edges_in_s: left(self.parameters.edges.learning_days),
            hours_in_s: left(self.parameters.edges.hours_learning_days),
        }
    }

    /// What should outlive the process.
    pub fn learned(&self) -> Learned {
        let mut learned = Learned { observed_ns: self.observed(), ..Learned::default() };
        for detector in &self.detectors {
            detector.learned(&mut learned);
        }
        learned
    }

    /// How full every memory is.
    pub fn state_sizes(&self) -> Vec<StateSize> {
        let mut sizes = vec![self.progress.size(), self.workloads.size(), self.lookups.size()];
        sizes.extend([self.ledger.incidents_size()]);
        sizes.extend(self.attempts.sizes());
        sizes.extend(self.detectors.iter().flat_map(|detector| detector.sizes()));
        sizes
    }

    fn observed(&self) -> u64 {
        self.observed_before + self.clock.observed()
    }

    /// Judges what has waited long enough.
    fn ripen(&mut self, now: u64) {
        self.attempts.tick(now, &mut self.verdicts);
        self.judge_attempts();
        let moment = Moment { now, at: self.last_at };
        for detector in &mut self.detectors {
            detector.tick(moment, &mut self.signals);
        }
        self.ledger.tick(now);
    }

    fn judge_attempts(&mut self) {
        let observed = self.observed();
        for attempt in self.verdicts.drain(..) {
            let flagged = self.ledger.is_flagged(attempt.what.source);
            let scope = Scope { observed, flagged, lookups: &self.lookups };
            for detector in &mut self.detectors {
                detector.attempt(&attempt, &scope, &mut self.signals);
            }
        }
    }

    /// Hands the signals of this step to the ledger.
    fn settle(&mut self) {
        let now = self.clock.now();
        for mut signal in std::mem::take(&mut self.signals) {
            if self.is_off(signal.detector) {
                continue;
            }
            if signal.workload.is_none()
                && let Some(address) = signal.subject.address()
            {
                signal.workload = self.workloads.get(&address).cloned();
            }
            self.ledger.take(signal, now, self.last_at, &self.inside);
        }
        self.ledger.tick(now);
    }

    fn is_off(&self, detector: Detector) -> bool {
        self.parameters.off.contains(&detector)
    }
}

/// Facts as a finding carries them.
fn evidence(facts: Value) -> Map<String, Value> {
    match facts {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
