//! `syn_flood` by connections that are completed: one source opens more of them than a service can serve, or holds them
//! open and says next to nothing (slow HTTP).
//!
//! In: contacts. Out: one signal per source and victim. Answers do not matter here, so pools, proxies and crowds behind one
//! address must be told apart: what they open carries something.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Moment, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{real, rounded},
    window::Rolling,
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.crowding]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Completed connections in ten seconds of one outside source to one service.
    pub connections: u64,
    /// Connections that one source keeps open to one service and hardly uses,
    pub open: u64,
    /// and of an inside source: pools are filled at once.
    pub open_inside: u64,
    /// Payload of such a connection either way, at most.
    pub idle_bytes: f64,
    /// How long they must stay open.
    pub hold_s: u64,
    pub pairs: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { connections: 1000, open: 120, open_inside: 400, idle_bytes: 1200.0, hold_s: 10, pairs: 4096 }
    }
}

/// Bytes with which a service welcomes a client at least.
const WELCOME: u64 = 2;

type Pair = (IpAddr, IpAddr, u16);

#[derive(Debug)]
struct Held {
    completed: Rolling<1, 10>,
    open: u64,
    total: u64,
    sent: u64,
    received: u64,
    first_at: u64,
    /// Since when so many are open.
    over_since: Option<u64>,
    inside: bool,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct Crowding {
    parameters: Parameters,
    pairs: Bounded<Pair, Held>,
    /// Pairs over the number of open connections.
    over: Vec<Pair>,
}

impl Crowding {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            pairs: Bounded::new("crowding", parameters.pairs),
            over: Vec::new(),
        }
    }
}

impl Held {
    /// Connections that must be open. Pools inside are filled at once, and each of their connections is welcomed.
    fn least_open(&self, p: &Parameters) -> u64 {
        let is_ignored = self.sent > 0 && self.received < WELCOME * self.total;
        if self.inside && !is_ignored { p.open_inside } else { p.open }
    }
}

fn signal(pair: &Pair, held: &Held, measured: u64, threshold: u64, unit: &'static str) -> Signal {
    let (source, victim, port) = *pair;
    Signal {
        detector: Detector::SynFlood,
        severity: Severity::Warning,
        subject: Party::Address(source),
        target: Some(Party::Address(victim)),
        service: Some(Service::new(monitor_common::flow::protocol::TCP, port)),
        first_seen: held.first_at,
        measured: real(measured),
        threshold: real(threshold),
        unit,
        window_s: 10,
        confidence: 0.8,
        evidence: evidence(json!({
            "open": held.open,
            "connections": held.total,
            "mean_sent_bytes": rounded(real(held.sent) / real(held.total).max(1.0)),
            "mean_received_bytes": rounded(real(held.received) / real(held.total).max(1.0)),
        })),
        workload: None,
    }
}

impl Detect for Crowding {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        if contact.observed().is_some() || !contact.is_tcp() || is_group(contact.destination) {
            return;
        }
        let now = contact.now;
        let pair = (contact.source, contact.destination, contact.port);
        if !contact.delta.completed && self.pairs.get(&pair).is_none() {
            return;
        }
        let keep = |held: &Held| held.open > 0 || now - held.touched < 60 * SECOND;
        let new = || Held {
            completed: Rolling::new(SECOND),
            open: 0,
            total: 0,
            sent: 0,
            received: 0,
            first_at: contact.began_at(),
            over_since: None,
            inside: contact.source_inside,
            touched: now,
            quiet_until: 0,
        };
        let Some(held) = self.pairs.entry(pair, contact.source_inside, now, keep, new) else { return };
        if now - held.touched > 600 * SECOND {
            *held = new();
        }
        held.touched = now;
        held.sent += contact.delta.forward.payload;
        held.received += contact.delta.backward.payload;
        if contact.delta.completed {
            held.open += 1;
            held.total += 1;
            held.completed.add(now, [1]);
        }
        if contact.ended() && contact.succeeded() {
            held.open = held.open.saturating_sub(1);
        }
        let p = &self.parameters;
        let least = held.least_open(p);
        if held.open < least {
            held.over_since = None;
        } else if held.over_since.is_none() {
            held.over_since = Some(now);
            self.over.push(pair);
        }
        let [completed] = held.completed.sums(now);
        // Programs of one network open as many, and are answered.
        let may_be_ours = held.inside && (held.received > 0 || held.open * 2 > held.total);
        if !may_be_ours && completed >= p.connections && now >= held.quiet_until {
            held.quiet_until = now + SECOND;
            signals.push(signal(&pair, held, completed, p.connections, "connections in 10 s"));
        }
    }

    fn tick(&mut self, moment: Moment, signals: &mut Signals) {
        let (p, pairs, now) = (&self.parameters, &mut self.pairs, moment.now);
        self.over.retain(|pair| {
            let Some(held) = pairs.get_mut(pair) else { return false };
            let Some(since) = held.over_since else { return false };
            if now < since + p.hold_s * SECOND || now < held.quiet_until {
                return true;
            }
            let each = |bytes: u64| real(bytes) / real(held.total).max(1.0);
            if each(held.sent).max(each(held.received)) <= p.idle_bytes {
                held.quiet_until = now + 5 * SECOND;
                let least = held.least_open(p);
                signals.push(signal(pair, held, held.open, least, "open connections"));
            }
            true
        });
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.pairs.size()]
    }
}
