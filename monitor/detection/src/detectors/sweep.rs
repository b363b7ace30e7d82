//! `icmp_sweep`, `nd_sweep` and `arp_sweep`: one source asks for many addresses in a short time.
//!
//! In: first echo requests and what became of them, neighbour solicitations and what was advertised, ARP requests. Out:
//! one signal per source (ARP: per MAC). An address counts once in hours. Whoever asks for hosts that are there knows
//! them: a sweep is a warning when enough of what it asks for is not there. A MAC that carries many addresses is a
//! router's: it asks on behalf of others, so that is `info`.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use monitor_common::conversation::note;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    attempts::{Attempt, Verdict},
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::count,
};

const SECOND: u64 = 1_000_000_000;
const MEMORY: u64 = 3600 * SECOND;
/// An address that is asked for again this much later counts again.
const AGAIN: u64 = 600 * SECOND;
/// `ICMPv6` type of a neighbour advertisement (RFC 4861, 4.4).
const ADVERTISEMENT: u16 = 136;

/// `[detection.sweep]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Addresses that did not answer an echo request,
    pub unanswered_echoes: usize,
    /// and their least share of those that were asked. Below it, monitoring looks the same.
    pub unanswered_share: f64,
    /// Addresses that were sent an echo request, answered or not: `info`.
    pub echoes: usize,
    /// Addresses solicited (IPv6) that did not answer.
    pub solicitations: usize,
    /// Addresses asked for over ARP: `info` from here,
    pub arp_requests: usize,
    /// and `warning` from here.
    pub arp_requests_warning: usize,
    pub window_s: u64,
    /// Source addresses behind one MAC that make it a router's.
    pub router_addresses: usize,
    pub sources: usize,
    /// Addresses remembered per source.
    pub targets: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            unanswered_echoes: 10,
            unanswered_share: 0.25,
            echoes: 25,
            solicitations: 25,
            arp_requests: 25,
            arp_requests_warning: 100,
            window_s: 60,
            router_addresses: 12,
            sources: 2048,
            targets: 256,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Echo,
    Solicitation,
    Arp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    subject: Party,
}

#[derive(Debug, Default)]
struct Sweeper {
    /// Addresses asked for, and when first.
    known: HashMap<IpAddr, u64>,
    /// New addresses in the window, with the recorded time.
    recent: VecDeque<(u64, u64, IpAddr)>,
    /// Those of them that failed.
    failed: VecDeque<u64>,
    total: u64,
    touched: u64,
    quiet_until: u64,
    said: Option<Severity>,
}

#[derive(Debug)]
struct Carried {
    since: u64,
    addresses: Vec<IpAddr>,
}

#[derive(Debug)]
pub struct Sweep {
    parameters: Parameters,
    sweepers: Bounded<Key, Sweeper>,
    /// Source addresses behind a MAC within an hour, up to `router_addresses`.
    carried: Bounded<u64, Carried>,
}

impl Sweep {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            sweepers: Bounded::new("sweep", parameters.sources),
            carried: Bounded::new("sweep_macs", parameters.sources),
        }
    }

    /// Remembers whose addresses a MAC carries.
    fn carry(&mut self, contact: &Contact<'_>) {
        let mac = contact.record.mac;
        let is_arp = contact.observed() == Some(note::ARP_REQUEST);
        if mac == 0
            || is_arp
            || is_group(contact.source)
            || !(contact.started() || contact.observed().is_some())
        {
            return;
        }
        let (now, most) = (contact.now, self.parameters.router_addresses);
        let keep = |carried: &Carried| now - carried.since < MEMORY;
        let new = || Carried { since: now, addresses: Vec::new() };
        let Some(carried) = self.carried.entry(mac, contact.source_inside, now, keep, new) else { return };
        if now - carried.since > MEMORY && carried.addresses.len() < most {
            *carried = new();
        }
        if carried.addresses.len() < most && !carried.addresses.contains(&contact.source) {
            carried.addresses.push(contact.source);
        }
    }

    fn is_router(&self, mac: u64) -> bool {
        let most = self.parameters.router_addresses;
        self.carried.get(&mac).is_some_and(|carried| carried.addresses.len() >= most)
    }

    fn sweeper(&mut self, key: &Key, inside: bool, now: u64) -> Option<&mut Sweeper> {
        let keep = |sweeper: &Sweeper| now - sweeper.touched < MEMORY;
        let sweeper = self.sweepers.entry(key.clone(), inside, now, keep, Sweeper::default)?;
        sweeper.touched = now;
        Some(sweeper)
    }

    fn judge(&mut self, key: &Key, now: u64, contact: Option<&Contact<'_>>, signals: &mut Signals) {
        let is_router = contact.is_some_and(|contact| self.is_router(contact.record.mac));
        let parameters = &self.parameters;
        let Some(sweeper) = self.sweepers.get_mut(key) else { return };
        sweeper.expire(now, parameters.window_s * SECOND);
        let (asked, failed) = (sweeper.recent.len(), sweeper.failed.len());
        let share = count(failed) / count(asked.max(failed)).max(1.0);
        let (detector, measured, threshold, severity) = match key.kind {
            Kind::Echo if failed >= parameters.unanswered_echoes && share >= parameters.unanswered_share => {
                (Detector::IcmpSweep, failed, parameters.unanswered_echoes, Severity::Warning)
            }
            Kind::Echo => (Detector::IcmpSweep, asked, parameters.echoes, Severity::Info),
            Kind::Solicitation => (Detector::NdSweep, asked, parameters.solicitations, Severity::Warning),
            Kind::Arp if asked >= parameters.arp_requests_warning => {
                (Detector::ArpSweep, asked, parameters.arp_requests, Severity::Warning)
            }
            Kind::Arp => (Detector::ArpSweep, asked, parameters.arp_requests, Severity::Info),
        };
        let severity = if is_router { Severity::Info } else { severity };
        // What is graver than what was just said is said at once.
        if measured < threshold || (now < sweeper.quiet_until && Some(severity) <= sweeper.said) {
            return;
        }
        (sweeper.quiet_until, sweeper.said) = (now + SECOND / 10, Some(severity));
        let first = sweeper.recent.front().map_or(0, |(_, at, _)| *at);
        let mut facts = evidence(json!({
            "asked": asked,
            "unanswered": failed,
            "router": is_router,
            "total": sweeper.total,
            "targets": sweeper.recent.iter().take(8).map(|(_, _, target)| target).collect::<Vec<_>>(),
        }));
        if let Some(contact) = contact {
            facts.insert("address".into(), json!(contact.source));
            facts.insert("mac".into(), json!(Party::Mac(contact.record.mac).to_string()));
        }
        signals.push(Signal {
            detector,
            severity,
            subject: key.subject.clone(),
            target: None,
            service: None,
            first_seen: first,
            measured: f64::from(u32::try_from(measured).unwrap_or(u32::MAX)),
            threshold: f64::from(u32::try_from(threshold).unwrap_or(u32::MAX)),
            unit: "addresses",
            window_s: parameters.window_s,
            confidence: 0.9,
            evidence: facts,
            workload: None,
        });
    }
}

impl Detect for Sweep {
    /// Echo requests: attempts without a port.
    fn attempt(&mut self, attempt: &Attempt, _scope: &Scope<'_>, signals: &mut Signals) {
        let what = &attempt.what;
        if !matches!(what.protocol, 1 | 58) {
            return;
        }
        let key = Key { kind: Kind::Echo, subject: Party::Address(what.source) };
        let most = self.parameters.targets;
        let Some(sweeper) = self.sweeper(&key, attempt.source_inside, attempt.now) else { return };
        match attempt.verdict {
            Verdict::Pending => sweeper.ask(what.destination, attempt.now, attempt.began_at, most),
            Verdict::Refused | Verdict::Unanswered | Verdict::HalfOpen => {
                sweeper.failed.push_back(attempt.now);
            }
            Verdict::Reached | Verdict::Replaced => {
                if attempt.before.failed() {
                    sweeper.failed.pop_back();
                }
            }
        }
        self.judge(&key, attempt.now, None, signals);
    }

    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        self.carry(contact);
        if contact.observed() == Some(note::ICMP_OTHER) && contact.record.responder_port >> 8 == ADVERTISEMENT
        {
            let key = Key { kind: Kind::Solicitation, subject: Party::Address(contact.destination) };
            if let Some(sweeper) = self.sweepers.get_mut(&key) {
                sweeper.recent.retain(|(_, _, target)| *target != contact.source);
            }
            return;
        }
        let (kind, subject) = match contact.observed() {
            // A solicitation without a source asks whether the sender may use the address: it is its own.
            Some(note::SOLICITATION) if !is_group(contact.source) => {
                (Kind::Solicitation, Party::Address(contact.source))
            }
            Some(note::ARP_REQUEST) if contact.record.mac != 0 => (Kind::Arp, Party::Mac(contact.record.mac)),
            _ => return,
        };
        let key = Key { kind, subject };
        let most = self.parameters.targets;
        let Some(sweeper) = self.sweeper(&key, true, contact.now) else { return };
        sweeper.ask(contact.destination, contact.now, contact.at, most);
        self.judge(&key, contact.now, Some(contact), signals);
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.sweepers.size(), self.carried.size()]
    }
}

impl Sweeper {
    fn ask(&mut self, target: IpAddr, now: u64, at: u64, most: usize) {
        if self.known.len() >= most.max(16) {
            self.known.retain(|_, since| now - *since < 60 * SECOND);
        }
        if self.known.get(&target).is_some_and(|asked| now - asked < AGAIN) {
            return;
        }
        if self.known.len() >= most.max(16) {
            return;
        }
        self.known.insert(target, now);
        self.total += 1;
        self.recent.push_back((now, at, target));
        if self.recent.len() > most.max(16) {
            self.recent.pop_front();
        }
    }

    fn expire(&mut self, now: u64, window: u64) {
        while self.recent.front().is_some_and(|(when, ..)| now - when > window) {
            self.recent.pop_front();
        }
        while self.failed.len() > 4096 || self.failed.front().is_some_and(|when| now - when > window) {
            self.failed.pop_front();
        }
    }
}
