//! `udp_flood`, `syn_flood` and `reflection` of a whole network: packets spread over the addresses of a prefix, so that each
//! receives too few to be a victim of its own.
//!
//! In: what [`super::flood`] counts as blows. Out: one signal per prefix. A scan of the same prefix comes from one source
//! (or few); a carpet comes from many, or goes on at a rate at which nobody waits for answers.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::Parameters;
use crate::{
    bounded::{Bounded, StateSize},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::real,
    window::{Crowd, Rolling},
};

const SECOND: u64 = 1_000_000_000;

/// What falls on an address of a prefix.
#[derive(Clone, Copy, Debug)]
pub struct Fall {
    pub victim: IpAddr,
    pub victim_inside: bool,
    pub source: IpAddr,
    pub is_syn: bool,
    /// Packets, of them from amplifiers; completed or answered.
    pub values: [u64; 3],
    pub now: u64,
    pub at: u64,
}

#[derive(Debug)]
struct Ground {
    rates: Rolling<3, 10>,
    sources: Crowd,
    targets: Crowd,
    since: u64,
    first_at: u64,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct Carpet {
    grounds: Bounded<(IpNet, bool), Ground>,
}

impl Carpet {
    pub fn new(capacity: usize) -> Self {
        Self { grounds: Bounded::new("carpet", capacity) }
    }

    pub fn size(&self) -> StateSize {
        self.grounds.size()
    }

    pub fn fall(&mut self, fall: &Fall, p: &Parameters, signals: &mut Signals) {
        let bits = if fall.victim.is_ipv4() { 24 } else { 64 };
        let Ok(prefix) = IpNet::new(fall.victim, bits) else { return };
        let (now, prefix) = (fall.now, prefix.trunc());
        let keep = |ground: &Ground| now - ground.touched < 10 * SECOND;
        let new = || Ground {
            rates: Rolling::new(SECOND / 10),
            sources: Crowd::default(),
            targets: Crowd::default(),
            since: now,
            first_at: fall.at,
            touched: now,
            quiet_until: 0,
        };
        let key = (prefix, fall.is_syn);
        let Some(ground) = self.grounds.entry(key, fall.victim_inside, now, keep, new) else { return };
        if now - ground.touched > 10 * SECOND {
            *ground = new();
        }
        ground.touched = now;
        if now - ground.since > 2 * SECOND {
            (ground.sources, ground.targets, ground.since) = (Crowd::default(), Crowd::default(), now);
        }
        ground.rates.add(now, fall.values);
        ground.sources.add(&fall.source, fall.values[0]);
        ground.targets.add(&fall.victim, fall.values[0]);
        let [packets, amplified, completed] = ground.rates.sums(now);
        let least = if fall.is_syn { p.carpet_syns_per_second } else { p.datagrams_per_second };
        // Answers must have had their time.
        if packets < least || now < ground.quiet_until || now - ground.since < SECOND / 2 {
            return;
        }
        let (sources, targets) = (ground.sources.distinct(), ground.targets.distinct());
        let is_spread = targets >= p.carpet_targets && ground.targets.leader(0.4).is_none();
        let is_crowd = sources >= p.many_sources && ground.sources.leader(p.leader_share).is_none();
        if !is_spread || !is_crowd || real(completed) > p.completed_share * real(packets) {
            return;
        }
        ground.quiet_until = now + SECOND / 2;
        let detector = match fall.is_syn {
            true => Detector::SynFlood,
            false if amplified * 2 >= packets => Detector::Reflection,
            false => Detector::UdpFlood,
        };
        signals.push(Signal {
            detector,
            severity: if packets >= least.saturating_mul(10) {
                Severity::Critical
            } else {
                Severity::Warning
            },
            subject: Party::Network(prefix),
            target: None,
            service: None,
            first_seen: ground.first_at,
            measured: real(packets),
            threshold: real(least),
            unit: "packets/s",
            window_s: 1,
            confidence: 0.9,
            evidence: evidence(json!({
                "addresses": targets,
                "sources": sources,
                "from_amplifiers": amplified,
            })),
            workload: None,
        });
    }
}
