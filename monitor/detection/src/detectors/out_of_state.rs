//! `out_of_state_scan`: segments that belong to no connection, sent to many ports or hosts (ACK, FIN, NULL, XMAS).
//!
//! In: verdicts about stray segments. Out: one signal per source. A refusal (RST) proves a stray; one without an answer
//! counts only after a warm-up, because connections that were open before the watch began look the same at first. So do
//! those that a host had before it slept: each has a port of its own and goes to one port of its host, where a scanner
//! sends from one port to many. SYN-ACK and RST are never counted: they are backscatter.

use std::{collections::VecDeque, net::IpAddr};

use monitor_common::flow::tcp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    attempts::{Attempt, Verdict},
    bounded::{Bounded, StateSize},
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::count,
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.out_of_state_scan]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Distinct host and port pairs.
    pub targets: usize,
    pub window_s: u64,
    /// Unanswered ACK segments count only after this much time was observed.
    pub warm_up_s: u64,
    /// Within the warm-up, unanswered ACK segments to this many ports of one host are a scan all the same.
    pub ports_in_warm_up: usize,
    pub sources: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { targets: 25, window_s: 60, warm_up_s: 120, ports_in_warm_up: 100, sources: 2048 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Stray {
    now: u64,
    at: u64,
    host: IpAddr,
    port: u16,
    source_port: u16,
    flags: u8,
    counts: bool,
}

#[derive(Debug, Default)]
struct Source {
    strays: VecDeque<Stray>,
    touched: u64,
    quiet_until: u64,
    total: u64,
}

impl Source {
    /// What may be left of a connection: it carries an ACK, and neither its port sent others nor its host got others.
    fn is_leftover(&self, stray: &Stray) -> bool {
        let like = |same: &dyn Fn(&Stray) -> bool| self.strays.iter().filter(|other| same(other)).count();
        stray.flags & tcp::ACK != 0
            && like(&|other| other.source_port == stray.source_port) < 3
            && like(&|other| other.host == stray.host) < 5
    }
}

#[derive(Debug)]
pub struct OutOfState {
    parameters: Parameters,
    sources: Bounded<IpAddr, Source>,
}

impl OutOfState {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            sources: Bounded::new("out_of_state_scan", parameters.sources),
        }
    }
}

impl Detect for OutOfState {
    fn attempt(&mut self, attempt: &Attempt, scope: &Scope<'_>, signals: &mut Signals) {
        let observed = scope.observed;
        if !attempt.what.stray || !matches!(attempt.verdict, Verdict::Refused | Verdict::Unanswered) {
            return;
        }
        let now = attempt.now;
        let window = self.parameters.window_s * SECOND;
        let keep = |source: &Source| now - source.touched < window;
        let source =
            self.sources.entry(attempt.what.source, attempt.source_inside, now, keep, Source::default);
        let Some(source) = source else { return };
        let forged = attempt.flags & tcp::ACK == 0;
        let counts =
            forged || attempt.verdict == Verdict::Refused || observed >= self.parameters.warm_up_s * SECOND;
        source.touched = now;
        source.total += 1;
        source.strays.push_back(Stray {
            now,
            at: attempt.began_at,
            host: attempt.what.destination,
            port: attempt.what.port,
            source_port: attempt.source_port,
            flags: attempt.flags,
            counts,
        });
        while source.strays.len() > 160 || source.strays.front().is_some_and(|stray| now - stray.now > window)
        {
            source.strays.pop_front();
        }
        let same_host = source.strays.iter().filter(|stray| stray.host == attempt.what.destination).count();
        let most = source.strays.iter().filter(|stray| stray.counts).count();
        let (targets, ports) = (self.parameters.targets, self.parameters.ports_in_warm_up);
        if now < source.quiet_until || (most < targets && same_host < ports) {
            return;
        }
        // Looked at closely ten times a second at most.
        source.quiet_until = now + SECOND / 10;
        let counted = source.strays.iter().filter(|stray| stray.counts && !source.is_leftover(stray)).count();
        if counted < targets && same_host < ports {
            return;
        }
        source.quiet_until = now + SECOND;
        let first = source.strays.iter().map(|stray| stray.at).min().unwrap_or(attempt.began_at);
        let measured = counted.max(same_host);
        let one_host = same_host == source.strays.len();
        signals.push(Signal {
            detector: Detector::OutOfStateScan,
            severity: Severity::Warning,
            subject: Party::Address(attempt.what.source),
            target: one_host.then_some(Party::Address(attempt.what.destination)),
            service: None,
            first_seen: first,
            measured: count(measured),
            threshold: count(self.parameters.targets),
            unit: "targets",
            window_s: self.parameters.window_s,
            confidence: 0.9,
            evidence: evidence(json!({
                "flags": flags(attempt.flags),
                "refused": source.strays.iter().filter(|stray| stray.counts).count(),
                "total": source.total,
                "ports": source.strays.iter().rev().take(8).map(|stray| stray.port).collect::<Vec<_>>(),
                "without_ack": source.strays.iter().filter(|stray| stray.flags & tcp::ACK == 0).count(),
            })),
            workload: None,
        });
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.sources.size()]
    }
}

/// What people call a segment with these flags.
const fn flags(flags: u8) -> &'static str {
    match flags & 0x3f {
        0 => "null",
        tcp::FIN => "fin",
        tcp::ACK => "ack",
        0x29 => "xmas",
        _ => "mixed",
    }
}
