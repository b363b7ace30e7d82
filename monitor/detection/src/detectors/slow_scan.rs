//! `slow_scan`: the sequential test of Jung et al. (threshold random walk) over first contacts, kept for hours.
//!
//! In: verdicts about attempts over TCP. Each failure multiplies the likelihood ratio by four, each success divides it.
//! The walk is per source and port (hosts) and per source and host (ports), so that peers which happen to be away, each
//! on its own port, never add up. Out: one signal per source.

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive};

use monitor_common::flow::protocol;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    attempts::{Attempt, Verdict},
    bounded::{Bounded, StateSize},
    detect::{Detect, Scope},
    detectors::scan::CLIENT_PORTS,
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    lookups::Naming,
};

const SECOND: u64 = 1_000_000_000;
/// Ports that traceroute sends to.
const TRACEROUTE: RangeInclusive<u16> = 33_434..=33_534;

/// `[detection.slow_scan]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Likelihood ratio at which a source is a scanner.
    pub scanner: f64,
    /// Likelihood ratio at which a source is harmless and its walk begins anew.
    pub harmless: f64,
    /// Failed first contacts with hosts on one port below which nothing is said, whatever the ratio.
    pub least_hosts: u32,
    /// The same for ports of one host.
    pub least_ports: u32,
    /// How long a walk is kept after its last step.
    pub memory_s: u64,
    /// Share of the contacts of a walk that must have failed.
    pub failed_share: f64,
    /// Failed ports of a source above which its walks over hosts are peers that are away, only `info`, unless the walk
    /// has ten failures for each of them.
    pub scattered_ports: usize,
    pub sources: usize,
    /// Walks per source.
    pub walks: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            scanner: 99.0,
            harmless: 0.0101,
            least_hosts: 6,
            least_ports: 8,
            memory_s: 6 * 3600,
            failed_share: 0.7,
            scattered_ports: 12,
            sources: 8192,
            walks: 64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    Host(IpAddr),
    Port(u16),
    /// UDP ports of one host.
    Datagrams(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    ratio: f64,
    failed: u32,
    reached: u32,
    /// Outside servers that an insider tried more than once, as hosts do.
    looked_for: u32,
    first_at: u64,
    touched: u64,
}

#[derive(Debug, Default)]
struct Source {
    walks: HashMap<Group, Walk>,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct SlowScan {
    parameters: Parameters,
    sources: Bounded<IpAddr, Source>,
}

impl SlowScan {
    pub fn new(parameters: &Parameters) -> Self {
        Self { parameters: parameters.clone(), sources: Bounded::new("slow_scan", parameters.sources) }
    }
}

impl Detect for SlowScan {
    fn attempt(&mut self, attempt: &Attempt, scope: &Scope<'_>, signals: &mut Signals) {
        let what = &attempt.what;
        if what.stray || attempt.verdict == Verdict::Pending {
            return;
        }
        // Silence over UDP says little; a refusal does, and traceroute asks for one.
        let is_refused_datagram = what.protocol == protocol::UDP
            && attempt.verdict == Verdict::Refused
            && !TRACEROUTE.contains(&what.port);
        if what.protocol != protocol::TCP && !is_refused_datagram {
            return;
        }
        let goes_out = attempt.source_inside && !attempt.destination_inside;
        // Who asks a resolver first looks for a server that is away; addresses of a scan come from nowhere.
        if goes_out
            && attempt.verdict.failed()
            && scope.lookups.naming(what.source, attempt.began) == Naming::Named
        {
            return;
        }
        if attempt.verdict == Verdict::Replaced && !attempt.before.failed() {
            return;
        }
        if attempt.again && attempt.verdict == Verdict::Reached && !attempt.before.failed() {
            return;
        }
        let memory = self.parameters.memory_s * SECOND;
        let now = attempt.now;
        let failed = attempt.verdict.failed();
        let keep = |source: &Source| now - source.touched < memory;
        let Some(source) = self.sources.entry(what.source, attempt.source_inside, now, keep, Source::default)
        else {
            return;
        };
        source.touched = now;
        let groups = if is_refused_datagram {
            [Some(Group::Datagrams(what.destination)), None]
        } else {
            [Some(Group::Port(what.port)), Some(Group::Host(what.destination))]
        };
        for group in groups.into_iter().flatten() {
            if source.walks.len() >= self.parameters.walks && !source.walks.contains_key(&group) {
                source
                    .walks
                    .retain(|_, walk| now - walk.touched < memory && (walk.failed > 1 || walk.reached > 9));
                if source.walks.len() >= self.parameters.walks {
                    continue;
                }
            }
            // What was reached before counts for the port: an outage must not look like a scan.
            if !failed && !source.walks.contains_key(&group) && matches!(group, Group::Host(_)) {
                continue;
            }
            let walk = source.walks.entry(group).or_insert(Walk {
                ratio: 1.0,
                failed: 0,
                reached: 0,
                looked_for: 0,
                first_at: attempt.began_at,
                touched: now,
            });
            if now - walk.touched >= memory {
                *walk = Walk { ratio: 1.0, failed: 0, reached: 0, looked_for: 0, ..*walk };
                walk.first_at = attempt.began_at;
            }
            let was_counted = attempt.again && walk.failed > 0 && now - walk.touched < memory;
            walk.touched = now;
            if failed {
                // The same target again is the same failure.
                if !was_counted {
                    walk.failed += 1;
                    walk.looked_for += u32::from(goes_out && attempt.retried);
                    walk.ratio = (walk.ratio * 4.0).min(1e12);
                }
            } else if attempt.verdict == Verdict::Replaced {
                walk.ratio /= 4.0;
                walk.failed = walk.failed.saturating_sub(1);
                continue;
            } else {
                walk.reached += 1;
                walk.ratio /= if attempt.before.failed() { 16.0 } else { 4.0 };
                walk.failed = walk.failed.saturating_sub(u32::from(attempt.before.failed()));
                if walk.ratio <= self.parameters.harmless {
                    walk.ratio = 1.0;
                }
                continue;
            }
            let least = match group {
                Group::Port(_) => self.parameters.least_hosts,
                Group::Host(_) | Group::Datagrams(_) => self.parameters.least_ports,
            };
            let share = f64::from(walk.failed) / f64::from(walk.failed + walk.reached).max(1.0);
            let mostly = share >= self.parameters.failed_share;
            if walk.ratio >= self.parameters.scanner && walk.failed >= least && mostly {
                let walk = *walk;
                if now >= source.quiet_until {
                    source.quiet_until = now + SECOND;
                    let ports = source.walks.keys().filter(|group| matches!(group, Group::Port(_))).count();
                    signals.push(signal(&self.parameters, attempt, group, &walk, ports));
                }
            }
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.sources.size()]
    }
}

fn signal(parameters: &Parameters, attempt: &Attempt, group: Group, walk: &Walk, ports: usize) -> Signal {
    let scattered = matches!(group, Group::Port(_))
        && ports > parameters.scattered_ports
        && (walk.failed as usize) < ports * 10;
    let has_no_way_out = matches!(group, Group::Port(port) if CLIENT_PORTS.contains(&port))
        && walk.reached == 0
        && walk.looked_for * 10 >= walk.failed * 7;
    let (target, service, unit, threshold) = match group {
        Group::Host(host) | Group::Datagrams(host) => {
            (Some(Party::Address(host)), None, "ports", parameters.least_ports)
        }
        Group::Port(port) => (None, Some(Service::new(protocol::TCP, port)), "hosts", parameters.least_hosts),
    };
    Signal {
        detector: if matches!(group, Group::Datagrams(_)) { Detector::UdpScan } else { Detector::SlowScan },
        severity: if scattered || has_no_way_out { Severity::Info } else { Severity::Warning },
        subject: Party::Address(attempt.what.source),
        target,
        service,
        first_seen: walk.first_at,
        measured: f64::from(walk.failed),
        threshold: f64::from(threshold),
        unit,
        window_s: parameters.memory_s,
        confidence: (1.0 - 1.0 / (1.0 + walk.ratio)).min(0.99),
        evidence: evidence(json!({
            "likelihood_ratio": walk.ratio.min(1e12),
            "failed": walk.failed,
            "reached": walk.reached,
            "ports_tried": ports,
        })),
        workload: None,
    }
}
