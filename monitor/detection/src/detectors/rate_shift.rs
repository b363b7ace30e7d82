//! `rate_shift`: a service or a source does far more than it usually does, at once or in a slow ramp.
//!
//! In: rates of services (from the limiter's counters) and contacts of inside sources. Out: one signal per subject.
//! EWMA and standard deviation for jumps (several windows in a row), a slow mean and CUSUM for ramps. Floors keep quiet
//! subjects quiet; it cannot tell success from attack.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::Contact,
    detect::{Detect, Moment, Scope, ServiceRate},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::{real, rounded},
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.rate_shift]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    pub window_s: u64,
    /// Standard deviations above the mean
    pub deviations: f64,
    /// in so many windows in a row.
    pub windows: u32,
    /// Windows before a subject is judged.
    pub learning_windows: u32,
    /// The rate must also be this many times the mean.
    pub factor: f64,
    /// Packets, bytes and new sources per second below which nothing is said.
    pub floor_packets: f64,
    pub floor_bytes: f64,
    pub floor_new_sources: f64,
    /// Decision interval of the CUSUM for slow ramps, in standard deviations.
    pub ramp: f64,
    pub subjects: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            window_s: 10,
            deviations: 3.0,
            windows: 3,
            learning_windows: 60,
            factor: 3.0,
            floor_packets: 1000.0,
            floor_bytes: 1_000_000.0,
            floor_new_sources: 100.0,
            ramp: 30.0,
            subjects: 8192,
        }
    }
}

const MEASURES: [&str; 3] = ["packets/s", "bytes/s", "new sources/s"];

/// The habit of one measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Habit {
    pub mean: f64,
    pub variance: f64,
    /// Learns twenty times slower, so that a ramp cannot take it along.
    pub slow_mean: f64,
    pub windows: u32,
    #[serde(skip)]
    over: u32,
    #[serde(skip)]
    ramp: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Subject {
    window: u64,
    sums: [u64; 3],
    habits: [Habit; 3],
    first_at: u64,
}

#[derive(Debug)]
pub struct RateShift {
    parameters: Parameters,
    subjects: Bounded<Party, Subject>,
}

impl RateShift {
    pub fn new(parameters: &Parameters, learned: &[(String, [Habit; 3])]) -> Self {
        let mut subjects = Bounded::new("rate_shift", parameters.subjects);
        for (name, habits) in learned {
            let subject = Subject { habits: *habits, ..Subject::default() };
            subjects.entry(Party::Service(name.clone()), true, 0, |_| true, || subject);
        }
        Self { parameters: parameters.clone(), subjects }
    }

    fn add(
        &mut self,
        party: &Party,
        sums: [u64; 3],
        now: u64,
        at: u64,
        flagged: bool,
        signals: &mut Signals,
    ) {
        let window = now / (self.parameters.window_s.max(1) * SECOND);
        let keep = |subject: &Subject| window - subject.window < 360;
        let new = || Subject { window, first_at: at, ..Subject::default() };
        let Some(subject) = self.subjects.entry(party.clone(), true, now, keep, new) else { return };
        if subject.window == 0 {
            subject.window = window;
        }
        if window > subject.window {
            let (ended, passed) = (*subject, window - subject.window);
            for measure in 0..MEASURES.len() {
                let rate = real(ended.sums[measure]) / real(self.parameters.window_s.max(1));
                let habit = &mut subject.habits[measure];
                if let Some(z) = habit.judge(rate, measure, &self.parameters) {
                    signals.push(self.parameters.signal(party, measure, rate, z, *habit, ended.first_at));
                }
                if !flagged {
                    habit.learn(rate);
                    for _ in 0..(passed - 1).min(60) {
                        habit.learn(0.0);
                    }
                }
                if passed > 1 {
                    habit.over = 0;
                }
            }
            (subject.window, subject.sums, subject.first_at) = (window, [0; 3], at);
        }
        for (sum, value) in subject.sums.iter_mut().zip(sums) {
            *sum += value;
        }
    }
}

impl Detect for RateShift {
    /// The habits of services; those of sources are learned anew.
    fn learned(&self, learned: &mut crate::Learned) {
        let mut all: Vec<_> = self
            .subjects
            .iter()
            .filter_map(|(party, subject)| match party {
                Party::Service(name) => Some((name.clone(), subject.habits)),
                _ => None,
            })
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        learned.services = all;
    }

    fn contact(&mut self, contact: &Contact<'_>, scope: &Scope<'_>, signals: &mut Signals) {
        let flagged = scope.flagged;
        if contact.observed().is_some() || !contact.source_inside {
            return;
        }
        let sums = [contact.delta.forward.packets, contact.delta.forward.bytes, 0];
        self.add(&Party::Address(contact.source), sums, contact.now, contact.at, flagged, signals);
    }

    fn service(&mut self, name: &str, rate: ServiceRate, moment: Moment, signals: &mut Signals) {
        let sums = [rate.packets, rate.bytes, rate.new_sources];
        self.add(&Party::Service(name.to_owned()), sums, moment.now, moment.at, false, signals);
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.subjects.size()]
    }
}

impl Habit {
    fn judge(&mut self, rate: f64, measure: usize, parameters: &Parameters) -> Option<f64> {
        if self.windows < parameters.learning_windows {
            return None;
        }
        let floor = [parameters.floor_packets, parameters.floor_bytes, parameters.floor_new_sources][measure];
        let deviation = self.variance.sqrt().max(self.mean * 0.1).max(floor * 0.01);
        let z = (rate - self.mean) / deviation;
        let slow = (rate - self.slow_mean * 1.5) / deviation.max(self.slow_mean * 0.1);
        self.ramp = (self.ramp + slow.min(5.0)).clamp(0.0, 10.0 * parameters.ramp);
        let jump = z >= parameters.deviations && rate >= self.mean * parameters.factor && rate >= floor;
        self.over = if jump { self.over + 1 } else { 0 };
        let ramps =
            self.ramp >= parameters.ramp && rate >= self.slow_mean * parameters.factor && rate >= floor;
        (self.over >= parameters.windows || ramps).then_some(z)
    }

    fn learn(&mut self, rate: f64) {
        self.windows = self.windows.saturating_add(1);
        // What is judged a jump is learned from slowly: three windows of it must not become the habit.
        let settle = 1.0 / f64::from(self.windows);
        let weight = if self.over > 0 { 0.005 } else { settle.max(0.02) };
        let difference = rate - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
        self.slow_mean += settle.max(0.001) * (rate - self.slow_mean);
    }
}

impl Parameters {
    fn signal(
        &self,
        party: &Party,
        measure: usize,
        rate: f64,
        z: f64,
        habit: Habit,
        first_at: u64,
    ) -> Signal {
        let of_service = matches!(party, Party::Service(_));
        let grave = of_service && rate >= habit.mean * self.factor * 2.0 && z >= self.deviations * 2.0;
        Signal {
            detector: Detector::RateShift,
            severity: if grave { Severity::Warning } else { Severity::Info },
            subject: party.clone(),
            target: None,
            service: None,
            first_seen: first_at,
            measured: rounded(rate),
            threshold: rounded(habit.mean + self.deviations * habit.variance.sqrt()),
            unit: MEASURES[measure],
            window_s: self.window_s,
            confidence: 0.6,
            evidence: evidence(json!({
                "mean": rounded(habit.mean),
                "deviations": rounded(z),
                "slow_mean": rounded(habit.slow_mean),
                "windows_in_a_row": habit.over,
            })),
            workload: None,
        }
    }
}
