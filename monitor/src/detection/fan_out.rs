//! `fan_out`: an inside source meets many inside peers or services it did not use before (lateral movement), answered or
//! not.
//!
//! In: first contacts. Out: one signal per source. Until it has learned what a source usually does, only the total counts;
//! then the threshold follows the source's own habit, within bounds.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    attempts::{Attempt, Verdict},
    bounded::{Bounded, StateSize},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::{count, real, rounded},
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.fan_out]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// New inside peers or services within the window.
    pub contacts: usize,
    pub window_s: u64,
    /// Services of one peer that count.
    pub services_per_peer: u8,
    /// Once a source is learned: this many times its busiest window,
    pub habit_factor: f64,
    /// and never below this.
    pub least_contacts: usize,
    /// Observed time after which a source is learned.
    pub learning_hours: u64,
    pub sources: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            contacts: 100,
            window_s: 300,
            services_per_peer: 3,
            habit_factor: 3.0,
            least_contacts: 30,
            learning_hours: 24,
            sources: 4096,
        }
    }
}

#[derive(Debug, Default)]
struct Source {
    recent: VecDeque<(u64, u64)>,
    /// Services per peer that counted, and when last: a peer with many ports is one peer.
    peers: HashMap<IpAddr, (u8, u64)>,
    /// Most new contacts in a window so far, fading by half in a week.
    habit: f64,
    since: u64,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct FanOut {
    parameters: Parameters,
    sources: Bounded<IpAddr, Source>,
}

impl FanOut {
    pub fn new(parameters: &Parameters) -> Self {
        Self { parameters: parameters.clone(), sources: Bounded::new("fan_out", parameters.sources) }
    }

    pub fn size(&self) -> StateSize {
        self.sources.size()
    }

    pub fn attempt(&mut self, attempt: &Attempt, observed: u64, flagged: bool, signals: &mut Signals) {
        let inside = attempt.source_inside && attempt.destination_inside;
        // Judged once it is known what became of the contact, so that a scan is named a scan first.
        if attempt.verdict == Verdict::Pending
            || attempt.before != Verdict::Pending
            || attempt.what.stray
            || attempt.what.port == 0
            || !inside
        {
            return;
        }
        let now = attempt.now;
        let parameters = &self.parameters;
        let window = parameters.window_s * SECOND;
        let keep = |source: &Source| now - source.touched < 24 * 3600 * SECOND;
        let new = || Source { since: observed, touched: now, ..Source::default() };
        let Some(source) = self.sources.entry(attempt.what.source, true, now, keep, new) else { return };
        let idle = real(now - source.touched) / 1e9;
        source.habit *= 0.5f64.powf(idle / (7.0 * 24.0 * 3600.0));
        source.touched = now;
        if source.peers.len() >= 256 {
            source.peers.retain(|_, (_, last)| now - *last < window);
            if source.peers.len() >= 256 {
                source.peers.clear();
            }
        }
        let (services, last) = source.peers.entry(attempt.what.destination).or_insert((0, now));
        if now - *last > window {
            *services = 0;
        }
        *last = now;
        if *services >= parameters.services_per_peer {
            return;
        }
        *services += 1;
        source.recent.push_back((now, attempt.began_at));
        while source.recent.len() > 256 || source.recent.front().is_some_and(|(when, _)| now - when > window)
        {
            source.recent.pop_front();
        }
        let fresh = source.recent.len();
        let is_learned = observed.saturating_sub(source.since) >= parameters.learning_hours * 3600 * SECOND;
        let threshold = if is_learned {
            (source.habit * parameters.habit_factor)
                .clamp(count(parameters.least_contacts), count(parameters.contacts))
        } else {
            count(parameters.contacts)
        };
        if count(fresh) < threshold {
            if !flagged {
                source.habit = source.habit.max(count(fresh));
            }
            return;
        }
        if now < source.quiet_until {
            return;
        }
        source.quiet_until = now + SECOND;
        signals.push(Signal {
            detector: Detector::FanOut,
            severity: Severity::Warning,
            subject: Party::Address(attempt.what.source),
            target: None,
            service: None,
            first_seen: source.recent.front().map_or(attempt.began_at, |(_, at)| *at),
            measured: count(fresh),
            threshold: threshold.round(),
            unit: "new contacts",
            window_s: parameters.window_s,
            confidence: 0.75,
            evidence: evidence(json!({
                "habit": rounded(source.habit),
                "learned": is_learned,
                "last": format!("{}:{}", attempt.what.destination, attempt.what.port),
            })),
            workload: None,
        });
    }
}
