//! `port_scan` by protocol: one source sends packets of many IP protocols to one host, to see which it speaks.
//!
//! In: contacts of protocols other than TCP, UDP and ICMP. Out: one signal per source and host. Honest hosts speak one or
//! two of them (tunnels, routing) with a peer, and not one after the other.

use std::{collections::BTreeMap, net::IpAddr};

use monitor_common::{conversation::note, flow::protocol};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Scope},
    detectors::scan::Parameters,
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::count,
};

const SECOND: u64 = 1_000_000_000;

#[derive(Debug, Default)]
struct Tried {
    /// Protocol numbers and when they were last sent.
    protocols: BTreeMap<u8, u64>,
    first_at: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct ProtocolScan {
    parameters: Parameters,
    tried: Bounded<(IpAddr, IpAddr), Tried>,
}

impl ProtocolScan {
    pub fn new(parameters: &Parameters) -> Self {
        let capacity = parameters.sources / 4;
        Self { parameters: parameters.clone(), tried: Bounded::new("protocol_scan", capacity) }
    }
}

impl Detect for ProtocolScan {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        let is_usual = matches!(
            contact.protocol,
            0 | protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6 | protocol::SCTP
        );
        let is_first = contact.started() || contact.observed() == Some(note::OTHER);
        if is_usual || !is_first || is_group(contact.destination) || contact.delta.completed {
            return;
        }
        let (now, window) = (contact.now, self.parameters.window_s * SECOND);
        let keep = |tried: &Tried| tried.protocols.values().any(|at| now - at < window);
        let key = (contact.source, contact.destination);
        let Some(tried) = self.tried.entry(key, contact.source_inside, now, keep, Tried::default) else {
            return;
        };
        tried.protocols.retain(|_, at| now - *at < window);
        if tried.protocols.is_empty() {
            tried.first_at = contact.at;
        }
        let is_new = tried.protocols.insert(contact.protocol, now).is_none();
        let number = tried.protocols.len();
        if !is_new || number < self.parameters.protocols || now < tried.quiet_until {
            return;
        }
        tried.quiet_until = now + SECOND / 10;
        signals.push(Signal {
            detector: Detector::PortScan,
            severity: Severity::Warning,
            subject: Party::Address(contact.source),
            target: Some(Party::Address(contact.destination)),
            service: None,
            first_seen: tried.first_at,
            measured: count(number),
            threshold: count(self.parameters.protocols),
            unit: "protocols",
            window_s: self.parameters.window_s,
            confidence: 0.95,
            evidence: evidence(json!({ "protocols": tried.protocols.keys().take(16).collect::<Vec<_>>() })),
            workload: contact.workload.map(str::to_owned),
        });
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.tried.size()]
    }
}
