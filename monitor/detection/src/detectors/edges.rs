//! `new_edge` and `off_hours`: who uses which service, and in which hours of the week.
//!
//! In: conversations that succeeded. Out: `info` signals for an edge first seen after the learning period, and for the use
//! of a known edge in an hour in which it is hardly ever used. Edges of flagged sources are not learned.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{real, rounded},
};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
const WEEK_HOURS: usize = 168;

/// `[detection.edges]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Observed time before a new edge is worth a word.
    pub learning_days: u64,
    /// Bits of a source's address that make an edge.
    pub v4_bits: u8,
    pub v6_bits: u8,
    /// Observed time before hours are judged,
    pub hours_learning_days: u64,
    /// the probability below which an hour is odd,
    pub least_probability: f64,
    /// and the uses of the edge that are needed to say so.
    pub least_uses: u32,
    pub edges: usize,
    /// Edges whose hours are followed.
    pub profiles: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            learning_days: 7,
            v4_bits: 24,
            v6_bits: 64,
            hours_learning_days: 14,
            least_probability: 0.01,
            least_uses: 100,
            edges: 65_536,
            profiles: 4096,
        }
    }
}

/// A source's network and the service that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    pub source: IpNet,
    pub destination: IpAddr,
    pub protocol: u8,
    pub port: u16,
}

/// Uses by hour of the week (UTC, Thursday 00:00 first, as the epoch).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub uses: Vec<u32>,
}

/// What is kept of edges between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    pub edges: Vec<Edge>,
    pub profiles: Vec<(Edge, Profile)>,
}

#[derive(Debug)]
pub struct Edges {
    parameters: Parameters,
    /// The edge and when it was last used.
    known: Bounded<Edge, u64>,
    profiles: Bounded<Edge, Profile>,
}

impl Edges {
    pub fn new(parameters: &Parameters, learned: &Learned, now: u64) -> Self {
        let mut edges = Bounded::new("edges", parameters.edges);
        for edge in &learned.edges {
            edges.entry(*edge, true, now, |_| true, || now);
        }
        let mut profiles = Bounded::new("profiles", parameters.profiles);
        for (edge, profile) in learned.profiles.iter().filter(|(_, profile)| profile.uses.len() == WEEK_HOURS)
        {
            profiles.entry(*edge, true, now, |_| true, || profile.clone());
        }
        Self { parameters: parameters.clone(), known: edges, profiles }
    }

    fn hours(
        &mut self,
        contact: &Contact<'_>,
        edge: Edge,
        observed: u64,
        flagged: bool,
        signals: &mut Signals,
    ) {
        let new = || Profile { uses: vec![0; WEEK_HOURS] };
        let parameters = &self.parameters;
        let Some(profile) = self.profiles.entry(edge, contact.source_inside, contact.now, |_| true, new)
        else {
            return;
        };
        let Ok(hour) = usize::try_from(contact.at / HOUR % WEEK_HOURS as u64) else { return };
        let total: u64 = profile.uses.iter().map(|uses| u64::from(*uses)).sum();
        let near: u64 = [hour + WEEK_HOURS - 1, hour, hour + 1]
            .iter()
            .map(|hour| u64::from(profile.uses[hour % WEEK_HOURS]))
            .sum();
        let probability = (real(near) + 0.5) / (real(total) + real(WEEK_HOURS as u64) / 6.0);
        let is_learned =
            observed >= parameters.hours_learning_days * DAY && total >= u64::from(parameters.least_uses);
        if is_learned && probability < parameters.least_probability && contact.source_inside {
            signals.push(signal(
                Detector::OffHours,
                contact,
                (rounded(probability), parameters.least_probability, "probability"),
                json!({ "hour_of_week": hour, "uses": total, "uses_near_this_hour": near }),
            ));
        } else if !flagged {
            profile.uses[hour] = profile.uses[hour].saturating_add(1);
        }
    }
}

impl Detect for Edges {
    fn learned(&self, learned: &mut crate::Learned) {
        let mut edges: Vec<Edge> = self.known.iter().map(|(edge, _)| *edge).collect();
        edges.sort();
        let mut profiles: Vec<_> =
            self.profiles.iter().map(|(edge, profile)| (*edge, profile.clone())).collect();
        profiles.sort_by_key(|(edge, _)| *edge);
        learned.edges = Learned { edges, profiles };
    }

    fn contact(&mut self, contact: &Contact<'_>, scope: &Scope<'_>, signals: &mut Signals) {
        let Scope { observed, flagged, .. } = *scope;
        let inside = contact.source_inside || contact.destination_inside;
        if !contact.delta.completed || !inside || contact.is_icmp() || is_group(contact.destination) {
            return;
        }
        let bits = if contact.source.is_ipv4() { self.parameters.v4_bits } else { self.parameters.v6_bits };
        let Ok(source) = IpNet::new(contact.source, bits) else { return };
        let edge = Edge {
            source: source.trunc(),
            destination: contact.destination,
            protocol: contact.protocol,
            port: contact.port,
        };
        // A client's own port is no service.
        if contact.port >= 32_768 && contact.record.initiator_port < 32_768 {
            return;
        }
        let now = contact.now;
        if let Some(used) = self.known.get_mut(&edge) {
            *used = now;
        } else {
            let is_learned = observed >= self.parameters.learning_days * DAY;
            if is_learned && contact.source_inside {
                signals.push(signal(
                    Detector::NewEdge,
                    contact,
                    (1.0, 0.0, "edges"),
                    json!({ "source": edge.source, "learned_edges": self.known.len() }),
                ));
            }
            if !flagged {
                let keep = |used: &u64| now - used < 60 * DAY;
                self.known.entry(edge, contact.source_inside, now, keep, || now);
            }
            return;
        }
        self.hours(contact, edge, observed, flagged, signals);
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.known.size(), self.profiles.size()]
    }
}

fn signal(
    detector: Detector,
    contact: &Contact<'_>,
    (measured, threshold, unit): (f64, f64, &'static str),
    facts: serde_json::Value,
) -> Signal {
    Signal {
        detector,
        severity: Severity::Info,
        subject: Party::Address(contact.source),
        target: Some(Party::Address(contact.destination)),
        service: Some(Service::new(contact.protocol, contact.port)),
        first_seen: contact.began_at(),
        measured,
        threshold,
        unit,
        window_s: 0,
        confidence: 0.5,
        evidence: evidence(facts),
        workload: contact.workload.map(str::to_owned),
    }
}
