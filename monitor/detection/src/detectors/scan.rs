//! `port_scan`, `host_scan` and `udp_scan`: failed first contacts of one source, by host and by port, in a window.
//!
//! In: verdicts about attempts. Out: one signal per source and host (ports of one host) or source (hosts on one port).
//! It never counts contacts that were answered: browsers, proxies and peer-to-peer programs make thousands.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
};

use monitor_common::flow::protocol;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    attempts::{Attempt, Verdict},
    bounded::{Bounded, StateSize},
    detect::{Detect, Moment, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.scan]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Failed TCP ports of one host that make a `port_scan`.
    pub ports: u32,
    /// Hosts that failed on one TCP port and make a `host_scan`.
    pub hosts: u32,
    /// Failed UDP ports of one host, or hosts on one UDP port, that make a `udp_scan`.
    pub udp_targets: u32,
    /// IP protocols tried on one host that make a `port_scan`.
    pub protocols: usize,
    /// Ports on which clients look for servers outside. Who reaches none of them, and tries each again as hosts do, has no
    /// way out: `info`.
    pub client_ports: Vec<u16>,
    /// Failures count for this long.
    pub window_s: u64,
    /// Of a source's first contacts with hosts on one port, at least this share must have failed.
    pub failed_share: f64,
    /// A source whose failed hosts are spread over ports (peer-to-peer) is only `info`: the port's least share of them.
    pub concentration: f64,
    /// Sources that are followed.
    pub sources: usize,
    /// Failures remembered per source,
    pub failures_per_source: usize,
    /// and over all sources (about 200 bytes each): when they are used up, a source forgets one for each new one.
    pub failures: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            ports: 15,
            hosts: 25,
            udp_targets: 25,
            protocols: 8,
            client_ports: CLIENT_PORTS.to_vec(),
            window_s: 300,
            failed_share: 0.7,
            concentration: 0.5,
            sources: 8192,
            failures_per_source: 512,
            failures: 65_536,
        }
    }
}

/// What failures are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Group {
    /// Ports of one host.
    Host(u8, IpAddr),
    /// Hosts on one port.
    Port(u8, u16),
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    now: u64,
    host: IpAddr,
    protocol: u8,
    port: u16,
    half_open: bool,
    /// An insider looked for an outside server and tried again.
    looked_for: bool,
}

impl Failure {
    fn groups(&self) -> [Group; 2] {
        [Group::Host(self.protocol, self.host), Group::Port(self.protocol, self.port)]
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    failed: u32,
    half_open: u32,
    looked_for: u32,
    /// Failures since the group came to be, also those that left the window.
    total: u32,
    first_at: u64,
    quiet_until: u64,
}

#[derive(Debug, Default)]
struct Source {
    failures: VecDeque<Failure>,
    groups: HashMap<Group, Tally>,
    /// Hosts reached per port, halved in every window.
    reached: HashMap<(u8, u16), Reached>,
    touched: u64,
}

#[derive(Clone, Copy, Debug)]
struct Reached {
    hosts: u32,
    since: u64,
}

/// Groups whose growth waits to be reported.
const MOST_GROWN: usize = 4096;
/// Web, mail, push, names, time: what programs of clients look for.
pub const CLIENT_PORTS: [u16; 14] = [53, 80, 123, 443, 465, 587, 853, 993, 995, 1883, 5222, 5223, 5228, 8883];
/// Ports per source whose successes are remembered.
const REACHED_PORTS: usize = 32;

#[derive(Debug)]
pub struct Scan {
    parameters: Parameters,
    sources: Bounded<IpAddr, Source>,
    /// Failures remembered now, over all sources.
    remembered: usize,
    refused: u64,
    tidied: u64,
    /// Groups that grew since their last signal; reported once a second.
    grown: BTreeSet<(IpAddr, Group)>,
    grown_since: u64,
}

impl Scan {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            sources: Bounded::new("scan", parameters.sources),
            remembered: 0,
            refused: 0,
            tidied: 0,
            grown: BTreeSet::new(),
            grown_since: 0,
        }
    }

    /// Forgets sources that have been quiet for a window, and counts anew what is remembered.
    fn tidy(&mut self, now: u64, window: u64) {
        if now < self.tidied + 10 * SECOND {
            return;
        }
        self.tidied = now;
        self.sources.retain(|_, source| now - source.touched <= window);
        self.remembered = self.sources.iter().map(|(_, source)| source.failures.len()).sum();
    }

    fn reached(&mut self, attempt: &Attempt) {
        let what = &attempt.what;
        let (now, window) = (attempt.now, self.parameters.window_s * SECOND);
        let keep = |source: &Source| now - source.touched < window;
        let entry = self.sources.entry(what.source, attempt.source_inside, now, keep, Source::default);
        let Some(source) = entry else { return };
        source.touched = now;
        if attempt.before.failed() {
            source.failures.retain(|failure| {
                let same = (failure.host, failure.protocol, failure.port)
                    == (what.destination, what.protocol, what.port);
                if same {
                    forget(&mut source.groups, failure);
                }
                !same
            });
        }
        if attempt.verdict == Verdict::Replaced {
            return;
        }
        let port = (what.protocol, what.port);
        if source.reached.len() >= REACHED_PORTS && !source.reached.contains_key(&port) {
            source.reached.retain(|_, reached| now - reached.since < window);
        }
        if source.reached.len() < REACHED_PORTS || source.reached.contains_key(&port) {
            let reached = source.reached.entry(port).or_insert(Reached { hosts: 0, since: now });
            reached.fade(now, window);
            reached.hosts += 1;
        }
    }

    fn failed(&mut self, attempt: &Attempt, signals: &mut Signals) {
        let (now, window) = (attempt.now, self.parameters.window_s * SECOND);
        let what = attempt.what;
        self.tidy(now, window);
        let Some(source) = self.sources.entry(
            what.source,
            attempt.source_inside,
            now,
            |source| now - source.touched < window,
            Source::default,
        ) else {
            return;
        };
        source.touched = now;
        let used_up = self.remembered >= self.parameters.failures;
        if used_up && source.failures.is_empty() {
            self.refused += 1;
            return;
        }
        let most = if used_up { source.failures.len() } else { self.parameters.failures_per_source.max(16) };
        while source.failures.len() >= most
            || source.failures.front().is_some_and(|failure| now - failure.now > window)
        {
            let Some(failure) = source.failures.pop_front() else { break };
            forget(&mut source.groups, &failure);
            self.remembered = self.remembered.saturating_sub(1);
        }
        self.remembered += 1;
        let failure = Failure {
            now,
            host: what.destination,
            protocol: what.protocol,
            port: what.port,
            half_open: attempt.verdict == Verdict::HalfOpen,
            looked_for: attempt.retried && attempt.source_inside && !attempt.destination_inside,
        };
        source.failures.push_back(failure);
        for group in failure.groups() {
            let tally = source.groups.entry(group).or_default();
            if tally.total == 0 {
                tally.first_at = attempt.began_at;
            }
            tally.failed += 1;
            tally.half_open += u32::from(failure.half_open);
            tally.looked_for += u32::from(failure.looked_for);
            tally.total += 1;
            let is_quiet = now < tally.quiet_until;
            let judged = Judged { group, source: what.source, now };
            if is_quiet && self.grown.len() < MOST_GROWN {
                if self.grown.is_empty() {
                    self.grown_since = now;
                }
                self.grown.insert((what.source, group));
            } else if let Some(signal) = judged.signal(source, &self.parameters) {
                self.grown.remove(&(what.source, group));
                signals.push(signal);
            }
        }
    }
}

impl Detect for Scan {
    fn attempt(&mut self, attempt: &Attempt, _scope: &Scope<'_>, signals: &mut Signals) {
        let what = &attempt.what;
        if what.stray || !matches!(what.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
            return;
        }
        match attempt.verdict {
            Verdict::Pending => {}
            Verdict::Reached | Verdict::Replaced => self.reached(attempt),
            Verdict::Refused | Verdict::Unanswered | Verdict::HalfOpen => self.failed(attempt, signals),
        }
    }

    fn tick(&mut self, moment: Moment, signals: &mut Signals) {
        if self.grown.is_empty() || moment.now < self.grown_since + SECOND {
            return;
        }
        let grown = std::mem::take(&mut self.grown);
        // After a jump of the clock it is no news.
        if moment.now > self.grown_since + 15 * SECOND {
            return;
        }
        for (address, group) in grown {
            let Some(source) = self.sources.get_mut(&address) else { continue };
            let judged = Judged { group, source: address, now: moment.now };
            signals.extend(judged.signal(source, &self.parameters));
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        let failures = StateSize {
            name: "scan_failures",
            entries: self.remembered,
            capacity: self.parameters.failures,
            evicted: 0,
            refused: self.refused,
        };
        vec![self.sources.size(), failures]
    }
}

impl Reached {
    fn fade(&mut self, now: u64, window: u64) {
        let windows = (now - self.since) / window.max(1);
        if windows > 0 {
            self.hosts = self.hosts.checked_shr(u32::try_from(windows).unwrap_or(32)).unwrap_or(0);
            self.since = now;
        }
    }
}

fn forget(groups: &mut HashMap<Group, Tally>, failure: &Failure) {
    for group in failure.groups() {
        if let Some(tally) = groups.get_mut(&group) {
            tally.failed = tally.failed.saturating_sub(1);
            tally.half_open = tally.half_open.saturating_sub(u32::from(failure.half_open));
            tally.looked_for = tally.looked_for.saturating_sub(u32::from(failure.looked_for));
            if tally.failed == 0 {
                groups.remove(&group);
            }
        }
    }
}

/// A group of one source's failures after the latest.
struct Judged {
    group: Group,
    source: IpAddr,
    now: u64,
}

impl Judged {
    fn signal(&self, source: &mut Source, parameters: &Parameters) -> Option<Signal> {
        let tally = *source.groups.get(&self.group)?;
        // Hosts whose port is open are what a sweep looks for; half-open contacts count against hosts only when bare.
        let (upper, threshold) = match self.group {
            Group::Host(protocol::UDP, _) | Group::Port(protocol::UDP, _) => {
                (protocol::UDP, parameters.udp_targets)
            }
            Group::Host(upper, _) => (upper, parameters.ports),
            Group::Port(upper, _) => (upper, parameters.hosts),
        };
        if tally.failed < threshold || self.now < tally.quiet_until {
            return None;
        }
        let reached = match self.group {
            Group::Port(upper, port) => source.reached.get_mut(&(upper, port)).map_or(0, |reached| {
                reached.fade(self.now, parameters.window_s * SECOND);
                reached.hosts
            }),
            Group::Host(..) => 0,
        };
        let share = f64::from(tally.failed) / f64::from(tally.failed + reached);
        let mut severity = Severity::Warning;
        if let Group::Port(..) = self.group {
            if share < parameters.failed_share {
                return None;
            }
            let all = source.failures.iter().filter(|failure| failure.protocol == upper).count();
            let concentration =
                f64::from(tally.failed) / f64::from(u32::try_from(all).unwrap_or(u32::MAX)).max(1.0);
            // A scan of a few ports on many hosts is as concentrated as its ports are few.
            let ports = source
                .groups
                .keys()
                .filter(|group| matches!(group, Group::Port(other, _) if *other == upper))
                .count();
            if concentration < parameters.concentration && ports > 8 && !is_grid(source, tally.failed) {
                severity = Severity::Info;
            }
            let Group::Port(_, port) = self.group else { return None };
            let has_no_way_out = reached == 0
                && tally.looked_for * 10 >= tally.failed * 7
                && parameters.client_ports.contains(&port);
            if has_no_way_out {
                severity = Severity::Info;
            }
        }
        if let Some(tally) = source.groups.get_mut(&self.group) {
            tally.quiet_until = self.now + SECOND / 10;
        }
        let measured = tally.failed.max(tally.total);
        if measured >= threshold.saturating_mul(100) {
            severity = severity.max(Severity::Critical);
        }
        let mut evidence = evidence(json!({
            "failed_in_window": tally.failed,
            "half_open": tally.half_open,
            "reached": reached,
            "failed_share": (share * 1000.0).round() / 1000.0,
        }));
        let (detector, target, service, unit) = match self.group {
            Group::Host(_, host) => {
                evidence.insert("ports".into(), json!(self.sample(source, |failure| failure.port)));
                let detector = if upper == protocol::UDP { Detector::UdpScan } else { Detector::PortScan };
                (detector, Some(Party::Address(host)), None, "ports")
            }
            Group::Port(_, port) => {
                evidence.insert("hosts".into(), json!(self.sample(source, |failure| failure.host)));
                let detector = if upper == protocol::UDP { Detector::UdpScan } else { Detector::HostScan };
                (detector, None, Some(Service::new(upper, port)), "hosts")
            }
        };
        Some(Signal {
            detector,
            severity,
            subject: Party::Address(self.source),
            target,
            service,
            first_seen: tally.first_at,
            measured: f64::from(measured),
            threshold: f64::from(threshold),
            unit,
            window_s: parameters.window_s,
            confidence: confidence(f64::from(measured), f64::from(threshold), share),
            evidence,
            workload: None,
        })
    }

    fn sample<T: PartialEq>(&self, source: &Source, of: impl Fn(&Failure) -> T) -> Vec<T> {
        let mine = source.failures.iter().filter(|failure| failure.groups().contains(&self.group));
        mine.take(8).map(of).collect()
    }
}

/// Whether several ports failed on as many hosts: one list of ports tried on every host.
fn is_grid(source: &Source, failed: u32) -> bool {
    let similar = source
        .groups
        .iter()
        .filter(|(group, tally)| matches!(group, Group::Port(..)) && tally.failed * 3 >= failed * 2)
        .count();
    similar >= 2
}

fn confidence(measured: f64, threshold: f64, share: f64) -> f64 {
    let excess = (measured / threshold.max(1.0)).ln().clamp(0.0, 2.0) / 2.0;
    ((0.8 + 0.19 * excess) * share.clamp(0.5, 1.0) * 100.0).round() / 100.0
}
