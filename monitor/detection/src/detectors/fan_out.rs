//! `fan_out`: an inside source meets many inside peers or services it did not use before (lateral movement), answered or
//! not.
//!
//! In: first contacts. Out: one signal per source. While a source is not learned everything it does is new, so its
//! contacts are a warning only when most of them fail, and `info` otherwise; then the threshold follows its own habit,
//! within bounds. Services by which machines are administered count for themselves, and fewer of them are enough:
//! workstations do not administer each other.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use monitor_common::flow::protocol;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    attempts::{Attempt, Verdict},
    bounded::{Bounded, StateSize},
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::{count, real, rounded},
};

const SECOND: u64 = 1_000_000_000;
/// How long administered hosts are counted together.
const ADMINISTRATION: u64 = 600 * SECOND;

/// `[detection.fan_out]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// New inside peers or services within the window.
    pub contacts: usize,
    pub window_s: u64,
    /// New inside peers on services of administration within ten minutes.
    pub administered: usize,
    /// TCP ports of administration: RPC, SMB, RDP, remote management.
    pub administration_ports: Vec<u16>,
    /// Services of one peer that count.
    pub services_per_peer: u8,
    /// Share of contacts that must fail for a warning about a source that is not learned.
    pub failed_share: f64,
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
            administered: 6,
            administration_ports: vec![135, 139, 445, 3389, 5985, 5986],
            services_per_peer: 3,
            failed_share: 0.7,
            habit_factor: 3.0,
            least_contacts: 30,
            learning_hours: 24,
            sources: 4096,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Fresh {
    now: u64,
    at: u64,
    failed: bool,
    /// The peer, if it is the first contact with its administration.
    administered: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Source {
    recent: VecDeque<Fresh>,
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
}

impl Detect for FanOut {
    fn attempt(&mut self, attempt: &Attempt, scope: &Scope<'_>, signals: &mut Signals) {
        let Scope { observed, flagged, .. } = *scope;
        let inside = attempt.source_inside && attempt.destination_inside;
        // Judged once it is known what became of the contact, so that a scan is named a scan first.
        if attempt.verdict == Verdict::Pending
            || attempt.before != Verdict::Pending
            || attempt.what.stray
            || attempt.again
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
        let what = &attempt.what;
        let administers = what.protocol == protocol::TCP
            && parameters.administration_ports.contains(&what.port)
            && source.recent.iter().all(|fresh| fresh.administered != Some(what.destination));
        source.recent.push_back(Fresh {
            now,
            at: attempt.began_at,
            failed: attempt.verdict.failed(),
            administered: administers.then_some(what.destination),
        });
        let memory = window.max(ADMINISTRATION);
        while source.recent.len() > 256 || source.recent.front().is_some_and(|fresh| now - fresh.now > memory)
        {
            source.recent.pop_front();
        }
        let is_learned = observed.saturating_sub(source.since) >= parameters.learning_hours * 3600 * SECOND;
        let is_recent = |fresh: &&Fresh| fresh.administered.is_some() && now - fresh.now <= ADMINISTRATION;
        let administered = source.recent.iter().filter(is_recent).count();
        let recent = || source.recent.iter().filter(|fresh| now - fresh.now <= window);
        let fresh = recent().count();
        let failed = recent().filter(|fresh| fresh.failed).count();
        let threshold = if is_learned {
            (source.habit * parameters.habit_factor)
                .clamp(count(parameters.least_contacts), count(parameters.contacts))
        } else {
            count(parameters.contacts)
        };
        let grave = is_learned || count(failed) >= parameters.failed_share * count(fresh);
        let severity = if grave { Severity::Warning } else { Severity::Info };
        let enough = count(parameters.administered).max(if is_learned { source.habit } else { 0.0 });
        let over = if count(fresh) >= threshold {
            Some((fresh, threshold, "new contacts", parameters.window_s))
        } else if administers && count(administered) >= enough {
            Some((administered, enough, "administered hosts", ADMINISTRATION / SECOND))
        } else {
            None
        };
        if !flagged && (over.is_none() || !is_learned) {
            source.habit = source.habit.max(count(fresh));
        }
        let Some((measured, threshold, unit, window_s)) = over.filter(|_| now >= source.quiet_until) else {
            return;
        };
        source.quiet_until = now + SECOND;
        signals.push(Signal {
            detector: Detector::FanOut,
            severity,
            subject: Party::Address(attempt.what.source),
            target: None,
            service: None,
            first_seen: source.recent.front().map_or(attempt.began_at, |fresh| fresh.at),
            measured: count(measured),
            threshold: threshold.round(),
            unit,
            window_s,
            confidence: 0.75,
            evidence: evidence(json!({
                "habit": rounded(source.habit),
                "learned": is_learned,
                "failed": failed,
                "administered": administered,
                "last": format!("{}:{}", attempt.what.destination, attempt.what.port),
            })),
            workload: None,
        });
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.sources.size()]
    }
}
