//! `spoofed_source`: addresses that cannot come from where they come from.
//!
//! In: contacts. Out: one signal per interface. Sources that nobody can have (multicast, broadcast, loopback on a wire),
//! this host's own addresses and inside addresses on an interface that leads outside, and an address whose MAC changes
//! to and fro (`info`: routers in pairs and bonded links do that by design).

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use monitor_common::conversation::note;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::Contact,
    detect::{Detect, Misplaced, Moment, Scope},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::real,
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.spoofed_source]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Packets from impossible sources from which it is a `warning`; one is an `info`.
    pub warning_packets: u64,
    /// Interfaces on which no inside address may be a source, by the numbers that `sluice status -o json` calls `slot`.
    pub outside_interfaces: Vec<u32>,
    /// This host's addresses: as sources they come only from here.
    pub own_addresses: Vec<IpAddr>,
    /// Changes of an address's MAC within ten minutes that are worth an `info`.
    pub mac_changes: u32,
    pub bindings: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            warning_packets: 100,
            outside_interfaces: Vec::new(),
            own_addresses: Vec::new(),
            mac_changes: 6,
            bindings: 8192,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    mac: u64,
    changes: u32,
    since: u64,
}

#[derive(Debug, Default)]
struct Interface {
    packets: u64,
    sources: HashSet<IpAddr>,
    first_at: u64,
    touched: u64,
    quiet_until: u64,
    /// The last packet, if it was not reported yet.
    last: Option<Last>,
    /// Until then the kernel's own count is the better one.
    counted_until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    why: &'static str,
    source: IpAddr,
    /// Absent where the kernel counted.
    destination: Option<IpAddr>,
    mac: u64,
}

#[derive(Debug)]
pub struct Spoofed {
    parameters: Parameters,
    bindings: Bounded<(IpAddr, u32), Binding>,
    interfaces: Bounded<u32, Interface>,
    /// Interfaces with packets that were not reported yet.
    unreported: BTreeSet<u32>,
}

impl Spoofed {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            bindings: Bounded::new("spoofed_bindings", parameters.bindings),
            interfaces: Bounded::new("spoofed_interfaces", 256),
            unreported: BTreeSet::new(),
        }
    }

    fn impossible(&self, contact: &Contact<'_>) -> Option<&'static str> {
        let source = contact.source;
        let nobody = match source {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        if nobody {
            return Some("group address");
        }
        if source.is_loopback() && !contact.destination.is_loopback() {
            return Some("loopback address");
        }
        // What this host itself sends is a conversation; only packets that arrived are observed as strangers.
        let arrived = contact.observed().is_some() && contact.record.cgroup == 0;
        if arrived && self.parameters.own_addresses.contains(&source) && !contact.destination_inside {
            return None;
        }
        if arrived
            && self.parameters.outside_interfaces.contains(&contact.record.interface.into())
            && contact.source_inside
        {
            let own = self.parameters.own_addresses.contains(&source);
            return Some(if own { "own address from outside" } else { "inside address from outside" });
        }
        None
    }

    fn count(&mut self, contact: &Contact<'_>, why: &'static str, signals: &mut Signals) {
        let last = Last {
            why,
            source: contact.source,
            destination: Some(contact.destination),
            mac: contact.record.mac,
        };
        let moment = Moment { now: contact.now, at: contact.at };
        let index = u32::from(contact.record.interface);
        let counted = self.interfaces.get_mut(&index).is_some_and(|known| contact.now < known.counted_until);
        if !counted {
            self.add(index, u64::from(contact.record.weight.max(1)), last, moment, signals);
        }
    }

    fn add(&mut self, index: u32, packets: u64, last: Last, moment: Moment, signals: &mut Signals) {
        let now = moment.now;
        let keep = |interface: &Interface| now - interface.touched < 3600 * SECOND;
        let Some(interface) = self.interfaces.entry(index, true, now, keep, Interface::default) else {
            return;
        };
        if interface.packets == 0 || now - interface.touched > 3600 * SECOND {
            *interface = Interface { first_at: moment.at, ..Interface::default() };
        }
        interface.touched = now;
        interface.packets += packets;
        if interface.sources.len() < 64 {
            interface.sources.insert(last.source);
        }
        interface.last = Some(last);
        if now < interface.quiet_until {
            self.unreported.insert(index);
        } else {
            self.report(index, now, signals);
        }
    }

    fn report(&mut self, index: u32, now: u64, signals: &mut Signals) {
        let Some(interface) = self.interfaces.get_mut(&index) else { return };
        let Some(last) = interface.last.take() else { return };
        interface.quiet_until = now + SECOND;
        let warning = interface.packets >= self.parameters.warning_packets;
        signals.push(Signal {
            detector: Detector::SpoofedSource,
            severity: if warning { Severity::Warning } else { Severity::Info },
            subject: Party::Interface(index),
            target: None,
            service: None,
            first_seen: interface.first_at,
            measured: real(interface.packets),
            threshold: 1.0,
            unit: "packets",
            window_s: 3600,
            confidence: 0.8,
            evidence: evidence(json!({
                "why": last.why,
                "last_source": last.source,
                "last_destination": last.destination,
                "mac": Party::Mac(last.mac).to_string(),
                "sources": interface.sources.len(),
            })),
            workload: None,
        });
    }

    fn bind(&mut self, contact: &Contact<'_>, signals: &mut Signals) {
        let (now, mac) = (contact.now, contact.record.mac);
        let keep = |binding: &Binding| now - binding.since < 3600 * SECOND;
        let new = || Binding { mac, changes: 0, since: now };
        let key = (contact.source, u32::from(contact.record.vlan));
        let Some(binding) = self.bindings.entry(key, true, now, keep, new) else { return };
        if binding.mac == mac {
            return;
        }
        if now - binding.since > 600 * SECOND {
            *binding = Binding { mac, changes: 0, since: now };
        }
        binding.mac = mac;
        binding.changes += 1;
        if binding.changes == self.parameters.mac_changes {
            signals.push(Signal {
                detector: Detector::SpoofedSource,
                severity: Severity::Info,
                subject: Party::Interface(contact.record.interface.into()),
                target: Some(Party::Address(contact.source)),
                service: None,
                first_seen: contact.at,
                measured: f64::from(binding.changes),
                threshold: f64::from(self.parameters.mac_changes),
                unit: "MAC changes",
                window_s: 600,
                confidence: 0.4,
                evidence: evidence(
                    json!({ "why": "address and MAC part", "mac": Party::Mac(mac).to_string() }),
                ),
                workload: None,
            });
        }
    }
}

impl Detect for Spoofed {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        let kind = contact.observed();
        if kind == Some(note::ARP_REQUEST) || !(contact.started() || kind.is_some()) {
            return;
        }
        if let Some(why) = self.impossible(contact) {
            self.count(contact, why, signals);
        } else if contact.source_inside && contact.record.mac != 0 {
            self.bind(contact, signals);
        }
    }

    fn misplaced(&mut self, misplaced: &Misplaced, moment: Moment, signals: &mut Signals) {
        let why = "no route to it leads out of this interface";
        let last = Last { why, source: misplaced.source, destination: None, mac: 0 };
        self.add(misplaced.interface, misplaced.packets, last, moment, signals);
        if let Some(interface) = self.interfaces.get_mut(&misplaced.interface) {
            interface.counted_until = moment.now + 10 * SECOND;
        }
    }

    fn tick(&mut self, moment: Moment, signals: &mut Signals) {
        let is_due = |index: &u32| {
            self.interfaces.get(index).is_none_or(|interface| moment.now >= interface.quiet_until)
        };
        let due: Vec<u32> = self.unreported.iter().copied().filter(is_due).collect();
        for index in due {
            self.unreported.remove(&index);
            self.report(index, moment.now, signals);
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.bindings.size(), self.interfaces.size()]
    }
}
