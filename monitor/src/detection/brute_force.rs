//! `brute_force`: many short, similar connections of one source to one login service.
//!
//! In: ends of connections. Out: one signal per source and service. It reads sizes and times only, so a client that opens
//! many short sessions of equal size (a script, a health check) looks the same: declare those.

use std::{collections::VecDeque, net::IpAddr};

use monitor_common::flow::protocol;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    bounded::{Bounded, StateSize},
    contact::Contact,
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{count, median, median_deviation, real, rounded},
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.brute_force]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Services where people log in, and where few connections are usual.
    pub login_ports: Vec<u16>,
    /// Services where programs log in for every task.
    pub program_ports: Vec<u16>,
    /// Short connections that raise a finding on a login service,
    pub login_attempts: usize,
    /// on a service of programs,
    pub program_attempts: usize,
    /// and, within a minute, on any other service (`info`).
    pub other_attempts_per_minute: usize,
    /// Attempts on a login service within ten minutes that are worth an `info`.
    pub noted_attempts: usize,
    pub window_s: u64,
    /// A connection is short below this many bytes of payload both ways
    pub short_bytes: u64,
    /// and this duration.
    pub short_s: u64,
    /// Share of a pair's connections that must be short.
    pub short_share: f64,
    /// Median absolute deviation of the answers' sizes over their median, at most.
    pub similarity: f64,
    pub pairs: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            login_ports: vec![21, 22, 23, 139, 445, 2222, 3389, 5900, 5901, 5985],
            program_ports: vec![110, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 3306, 5432, 6379, 27017],
            login_attempts: 30,
            program_attempts: 200,
            other_attempts_per_minute: 240,
            noted_attempts: 6,
            window_s: 1800,
            short_bytes: 12_000,
            short_s: 120,
            short_share: 0.7,
            similarity: 0.35,
            pairs: 4096,
        }
    }
}

type Pair = (IpAddr, IpAddr, u16);

#[derive(Clone, Copy, Debug)]
struct Session {
    now: u64,
    at: u64,
    answered_bytes: f64,
    short: bool,
}

#[derive(Debug, Default)]
struct Sessions {
    recent: VecDeque<Session>,
    total: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct BruteForce {
    parameters: Parameters,
    /// On ports where people or programs log in: other services must not crowd these out.
    logins: Bounded<Pair, Sessions>,
    others: Bounded<Pair, Sessions>,
}

impl BruteForce {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            logins: Bounded::new("brute_force", parameters.pairs),
            others: Bounded::new("brute_force_others", parameters.pairs / 2),
        }
    }

    pub fn sizes(&self) -> [StateSize; 2] {
        [self.logins.size(), self.others.size()]
    }

    pub fn contact(&mut self, contact: &Contact<'_>, signals: &mut Signals) {
        if !contact.is_tcp() || !contact.ended() || !contact.succeeded() || contact.protocol != protocol::TCP
        {
            return;
        }
        let record = contact.record;
        let parameters = &self.parameters;
        let (now, window) = (contact.now, parameters.window_s * SECOND);
        // Port 0 cannot be a service; a connection without any payload logs nobody in.
        if record.forward.payload == 0 && record.backward.payload == 0 {
            return;
        }
        let keep = |sessions: &Sessions| sessions.recent.back().is_some_and(|last| now - last.now < window);
        let pair = (contact.source, contact.destination, contact.port);
        let logs_in = parameters.login_ports.contains(&contact.port)
            || parameters.program_ports.contains(&contact.port);
        let pairs = if logs_in { &mut self.logins } else { &mut self.others };
        let Some(sessions) = pairs.entry(pair, contact.source_inside, now, keep, Sessions::default) else {
            return;
        };
        let short = record.forward.payload.saturating_add(record.backward.payload) <= parameters.short_bytes
            && contact.duration() <= parameters.short_s * SECOND;
        sessions.total += 1;
        sessions.recent.push_back(Session {
            now,
            at: contact.began_at(),
            answered_bytes: real(record.backward.payload),
            short,
        });
        while sessions.recent.len() > 256
            || sessions.recent.front().is_some_and(|first| now - first.now > window)
        {
            sessions.recent.pop_front();
        }
        let within =
            |seconds: u64| sessions.recent.iter().filter(|one| now - one.now <= seconds * SECOND).count();
        let (measured, threshold, window_s, severity) = if parameters.login_ports.contains(&contact.port) {
            if sessions.recent.len() >= parameters.login_attempts {
                (sessions.recent.len(), parameters.login_attempts, parameters.window_s, Severity::Warning)
            } else {
                (within(600), parameters.noted_attempts, 600, Severity::Info)
            }
        } else if parameters.program_ports.contains(&contact.port) {
            (sessions.recent.len(), parameters.program_attempts, parameters.window_s, Severity::Warning)
        } else {
            (within(60), parameters.other_attempts_per_minute, 60, Severity::Info)
        };
        // What is crossed just now is said at once: it may be the last that is seen of it.
        if measured < threshold || (measured > threshold && now < sessions.quiet_until) {
            return;
        }
        let short = sessions.recent.iter().filter(|one| one.short).count();
        let share = count(short) / count(sessions.recent.len());
        let mut sizes: Vec<f64> =
            sessions.recent.iter().filter(|one| one.short).map(|one| one.answered_bytes).collect();
        let middle = median(&mut sizes);
        let spread = median_deviation(&sizes, middle) / middle.max(1.0);
        if share < parameters.short_share || spread > parameters.similarity {
            return;
        }
        sessions.quiet_until = now + SECOND;
        signals.push(Signal {
            detector: Detector::BruteForce,
            severity,
            subject: Party::Address(contact.source),
            target: Some(Party::Address(contact.destination)),
            service: Some(Service::new(contact.protocol, contact.port)),
            first_seen: sessions.recent.front().map_or(contact.at, |first| first.at),
            measured: count(measured),
            threshold: count(threshold),
            unit: "connections",
            window_s,
            confidence: if severity == Severity::Info { 0.5 } else { 0.85 },
            evidence: evidence(json!({
                "short_share": rounded(share),
                "median_answer_bytes": middle,
                "spread": rounded(spread),
                "total": sessions.total,
            })),
            workload: contact.workload.map(str::to_owned),
        });
    }
}
