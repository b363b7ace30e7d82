//! `syn_flood`, `udp_flood`, `icmp_flood`, `fragment_flood`, `reflection`: packets per second toward one victim.
//!
//! In: contacts. Out: one signal per victim and kind. Its subject is the victim, unless one source sends nearly all of it
//! and is not a crowd of forged ones: then the source, with the victim as target. Connections that are completed and
//! datagrams that are answered do not count, and a crowd that was served before is a service that went down: `info`.

mod blow;
mod carpet;

use std::net::IpAddr;

use monitor_common::conversation::note;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::{
    blow::Blow,
    carpet::{Carpet, Fall},
};
use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Moment, Scope},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::real,
    window::{Crowd, Rolling},
};

const SECOND: u64 = 1_000_000_000;
const SLOT: u64 = SECOND / 10;
/// How long answers may take before a burst is judged.
const PATIENCE: u64 = SECOND / 2;

/// `[detection.flood]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// SYNs per second to one address that are not completed.
    pub syns_per_second: u64,
    /// Unanswered datagrams per second to one address from many sources,
    pub datagrams_per_second: u64,
    /// or from few.
    pub datagrams_per_second_few_sources: u64,
    /// From this many on sources are many.
    pub many_sources: u64,
    pub icmp_per_second: u64,
    pub fragments_per_second: u64,
    /// The same from many sources: what amplifiers send is cut into pieces.
    pub fragments_per_second_many: u64,
    /// Large answers per second of amplifiers that were not asked for, from many sources,
    pub amplified_per_second: u64,
    /// or from few,
    pub amplified_per_second_few_sources: u64,
    /// and what makes them large.
    pub amplified_bytes: f64,
    /// Echo requests per second to a group, in the name of one address: everybody answers it.
    pub group_echoes_per_second: u64,
    /// Broadcast datagrams per second: requests for leases, storms.
    pub broadcasts_per_second: u64,
    /// SYNs per second to a network, spread over this many of its addresses.
    pub carpet_syns_per_second: u64,
    pub carpet_targets: u64,
    /// Answers per second that were not asked for, from many sources.
    pub answers_per_second: u64,
    /// UDP source ports of services that amplify.
    pub amplifiers: Vec<u16>,
    /// Share of completed connections or answered datagrams up to which it is a flood.
    pub completed_share: f64,
    /// A source with this share of the packets is the subject.
    pub leader_share: f64,
    /// Share of the packets from sources that this victim served before, from which it is an outage: `info`.
    pub served_share: f64,
    /// Victims that are followed.
    pub victims: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            syns_per_second: 80,
            datagrams_per_second: 1000,
            datagrams_per_second_few_sources: 10_000,
            many_sources: 20,
            icmp_per_second: 1000,
            fragments_per_second: 1000,
            fragments_per_second_many: 100,
            amplified_per_second: 50,
            amplified_per_second_few_sources: 300,
            amplified_bytes: 400.0,
            group_echoes_per_second: 100,
            broadcasts_per_second: 300,
            carpet_syns_per_second: 500,
            carpet_targets: 16,
            answers_per_second: 200,
            amplifiers: vec![
                17, 19, 53, 69, 111, 123, 137, 161, 389, 427, 520, 623, 1434, 1900, 3283, 3702, 5060, 5093,
                5353, 5683, 6881, 10001, 11211, 17185, 27015, 27960, 30718, 32414, 33848, 37810, 47808,
            ],
            completed_share: 0.4,
            leader_share: 0.8,
            served_share: 0.7,
            victims: 8192,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Syn,
    Datagram,
    Icmp,
    Fragment,
    Answer,
    /// Echo requests to a group; the victim is in whose name they are sent.
    GroupEcho,
    Broadcast,
}

/// Packets, of them from amplifiers; completed or answered.
const PACKETS: usize = 0;
const AMPLIFIED: usize = 1;
const COMPLETED: usize = 2;
const BYTES: usize = 3;

#[derive(Debug)]
struct Victim {
    rates: Rolling<4, 10>,
    sources: [Crowd; 2],
    /// Ports of a victim, or addresses behind an interface.
    targets: [Crowd; 2],
    /// Sources that were served; and of the packets since the rate was over, those from them.
    served: Crowd,
    crowds_since: u64,
    first_at: u64,
    touched: u64,
    /// When the rate first was over the threshold, what it was at most, and what was completed before.
    over: Option<Over>,
    quiet_until: u64,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Over {
    peak: u64,
    amplified: u64,
    bytes: u64,
    packets: u64,
    completed: u64,
    from_served: u64,
    seen: u64,
}

#[derive(Debug)]
pub struct Flood {
    parameters: Parameters,
    victims: Bounded<(Party, Kind), Victim>,
    carpet: Carpet,
    /// Pairs that exchange datagrams: their fragments are parts of large ones.
    talking: Bounded<(IpAddr, IpAddr), ()>,
    /// Bursts whose answers are waited for.
    waiting: Vec<(u64, Party, Kind)>,
}

impl Flood {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            victims: Bounded::new("flood", parameters.victims),
            carpet: Carpet::new(parameters.victims / 4),
            talking: Bounded::new("flood_talking", parameters.victims),
            waiting: Vec::new(),
        }
    }

    /// An echo reply of somebody who is being asked by its receiver.
    fn is_echoed(&self, contact: &Contact<'_>) -> bool {
        contact.observed() == Some(note::ICMP_OTHER)
            && matches!(contact.record.responder_port >> 8, 0 | 129)
            && self
                .victims
                .get(&(Party::Address(contact.source), Kind::Icmp))
                .is_some_and(|asked| asked.sources[0].leader(0.5) == Some(contact.destination))
    }

    fn hit(&mut self, party: &Party, blow: &Blow, contact: &Contact<'_>) {
        let now = contact.now;
        let keep = |victim: &Victim| now - victim.touched < 10 * SECOND;
        let new = || Victim {
            rates: Rolling::new(SLOT),
            sources: [Crowd::default(); 2],
            targets: [Crowd::default(); 2],
            served: Crowd::default(),
            crowds_since: now,
            first_at: contact.at,
            touched: now,
            over: None,
            quiet_until: 0,
            total: 0,
        };
        let key = (party.clone(), blow.kind);
        let Some(victim) = self.victims.entry(key, blow.victim_inside, now, keep, new) else { return };
        if now - victim.touched > 10 * SECOND {
            victim.first_at = contact.at;
            victim.total = 0;
            victim.over = None;
        }
        victim.touched = now;
        victim.total += blow.values[PACKETS];
        victim.rates.add(now, blow.values);
        let crowded = matches!(party, Party::Interface(_)) && victim.sources[0].weight() >= 400;
        if now - victim.crowds_since > 2 * SECOND || crowded {
            victim.sources = [Crowd::default(), victim.sources[0]];
            victim.targets = [Crowd::default(), victim.targets[0]];
            victim.crowds_since = now;
        }
        if blow.values[PACKETS] > 0 {
            victim.sources[0].add(&blow.source, blow.values[PACKETS]);
            match party {
                Party::Interface(_) => victim.targets[0].add(&blow.victim, blow.values[PACKETS]),
                _ => victim.targets[0].add(&IpAddr::from(u128::from(blow.port).to_be_bytes()), 1),
            }
        }
        if blow.values[COMPLETED] > 0 {
            victim.served.add(&blow.source, 1);
        }
        let is_served = victim.served.weight() > 0 && victim.served.may_contain(&blow.source);
        let from_served = if is_served { blow.values[PACKETS] } else { 0 };
        let sums = victim.rates.sums(now);
        if let Some(over) = &mut victim.over {
            over.peak = over.peak.max(sums[PACKETS]);
            over.packets += blow.values[PACKETS];
            over.amplified += blow.values[AMPLIFIED];
            over.bytes += blow.values[BYTES];
            over.completed += blow.values[COMPLETED];
            over.from_served += from_served;
            over.seen += blow.values[PACKETS];
        } else if sums[PACKETS] >= self.parameters.least(blow.kind) && now >= victim.quiet_until {
            victim.over = Some(Over {
                peak: sums[PACKETS],
                amplified: sums[AMPLIFIED],
                bytes: sums[BYTES],
                packets: sums[PACKETS],
                completed: sums[COMPLETED],
                from_served: 0,
                seen: 0,
            });
            let wait = if matches!(blow.kind, Kind::Syn | Kind::Datagram) { PATIENCE } else { 0 };
            self.waiting.push((now + wait, party.clone(), blow.kind));
        }
    }
}

impl Detect for Flood {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        if contact.is_udp() && contact.delta.completed {
            for pair in [(contact.source, contact.destination), (contact.destination, contact.source)] {
                self.talking.entry(pair, contact.source_inside, contact.now, |()| true, || ());
            }
        }
        let Some(blow) = self.blow(contact) else { return };
        if blow.kind == Kind::Fragment && self.talking.get(&(blow.source, blow.victim)).is_some() {
            return;
        }
        // What a conversation that was swept for silence still adds is not of now.
        if self.is_echoed(contact) || contact.silence() > SECOND {
            return;
        }
        if blow.kind == Kind::Syn {
            // Forged sources may be aimed at everybody: the interface as a whole is a victim too.
            self.hit(&Party::Interface(contact.record.interface.into()), &blow, contact);
        }
        if blow.kind == Kind::Broadcast {
            self.hit(&Party::Interface(contact.record.interface.into()), &blow, contact);
        } else if !is_group(blow.victim) {
            let is_syn = blow.kind == Kind::Syn;
            if is_syn || blow.kind == Kind::Datagram {
                let values = [blow.values[PACKETS], blow.values[AMPLIFIED], blow.values[COMPLETED]];
                let Blow { victim, victim_inside, source, .. } = blow;
                let (now, at) = (contact.now, contact.at);
                let fall = Fall { victim, victim_inside, source, is_syn, values, now, at };
                self.carpet.fall(&fall, &self.parameters, signals);
            }
            self.hit(&Party::Address(blow.victim), &blow, contact);
        }
        self.tick(Moment { now: contact.now, at: contact.at }, signals);
    }

    /// Judges the bursts whose answers had their time.
    fn tick(&mut self, moment: Moment, signals: &mut Signals) {
        let now = moment.now;
        if self.waiting.iter().all(|(due, ..)| *due > now) {
            return;
        }
        let mut due = Vec::new();
        self.waiting.retain(|entry| {
            let over = entry.0 <= now;
            if over {
                due.push(entry.clone());
            }
            !over
        });
        for (_, party, kind) in due {
            let Some(victim) = self.victims.get_mut(&(party.clone(), kind)) else { continue };
            let Some(over) = victim.over.take() else { continue };
            if let Some(signal) = self.parameters.judge(&party, kind, victim, &over) {
                victim.quiet_until = now + SECOND / 2;
                signals.push(signal);
            }
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.victims.size(), self.carpet.size(), self.talking.size()]
    }
}

impl Parameters {
    fn amplifies(&self, port: u16) -> bool {
        self.amplifiers.contains(&port)
    }

    /// Packets per second from which a burst is looked at.
    fn least(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Syn => self.syns_per_second,
            Kind::Datagram => {
                self.datagrams_per_second.min(self.answers_per_second).min(self.amplified_per_second)
            }
            Kind::Icmp => self.icmp_per_second,
            Kind::Fragment => self.fragments_per_second.min(self.fragments_per_second_many),
            Kind::Answer => self.answers_per_second,
            Kind::GroupEcho => self.group_echoes_per_second,
            Kind::Broadcast => self.broadcasts_per_second,
        }
    }

    fn judge(&self, party: &Party, kind: Kind, victim: &Victim, over: &Over) -> Option<Signal> {
        if real(over.completed) > self.completed_share * real(over.packets) {
            return None;
        }
        let sources = victim.sources.iter().map(Crowd::distinct).max().unwrap_or(0);
        // What is forged and aimed at everybody has no leader: who leads on an interface is only the busiest.
        let leader = victim.sources[0]
            .leader(self.leader_share)
            .or_else(|| victim.sources[1].leader(self.leader_share))
            .filter(|_| !matches!(party, Party::Interface(_)) && kind != Kind::GroupEcho);
        if matches!(party, Party::Interface(_)) && kind == Kind::Syn {
            // Nearly every packet from another source, and no single victim: forged, and nobody else is told of it.
            let fuller =
                if victim.sources[0].weight() >= 60 { &victim.sources[0] } else { &victim.sources[1] };
            // Half of it and a little less, because a mirror port may show every packet twice.
            let forged = real(fuller.distinct()) >= 0.4 * real(fuller.weight());
            if !forged
                || victim.targets[0].leader(0.3).is_some()
                || victim.targets[0].distinct() < self.many_sources
            {
                return None;
            }
        } else if (leader.is_some() || sources < self.many_sources)
            && kind == Kind::Syn
            && over.peak < self.syns_per_second.saturating_mul(10)
        {
            // Few sources that try port after port are scanners (or decoys of one), and each is named so.
            let [present, before] = &victim.targets;
            let fuller = if present.weight() >= before.weight() { present } else { before };
            let ports = fuller.distinct();
            let probes = ports.saturating_mul(if leader.is_some() { 1 } else { sources });
            // Half of it and a little less, as above.
            if ports >= 5 && real(probes) >= 0.4 * real(fuller.weight()).min(1000.0) {
                return None;
            }
        }
        let many = sources >= self.many_sources && leader.is_none();
        let mostly_amplified = over.amplified * 2 >= over.packets;
        let is_large = real(over.bytes) >= self.amplified_bytes * real(over.packets);
        let (detector, threshold) = match kind {
            Kind::Syn => (Detector::SynFlood, self.syns_per_second),
            Kind::Icmp => (Detector::IcmpFlood, self.icmp_per_second),
            Kind::Fragment if many => (Detector::FragmentFlood, self.fragments_per_second_many),
            Kind::Fragment => (Detector::FragmentFlood, self.fragments_per_second),
            Kind::GroupEcho => (Detector::IcmpFlood, self.group_echoes_per_second),
            Kind::Broadcast => (Detector::UdpFlood, self.broadcasts_per_second),
            Kind::Answer if many => (Detector::Reflection, self.answers_per_second),
            Kind::Answer => return None,
            Kind::Datagram if many && mostly_amplified && is_large => {
                (Detector::Reflection, self.amplified_per_second)
            }
            Kind::Datagram if many && mostly_amplified => (Detector::Reflection, self.answers_per_second),
            Kind::Datagram if many => (Detector::UdpFlood, self.datagrams_per_second),
            // Nobody asked them: what was asked for is a conversation.
            Kind::Datagram if mostly_amplified && is_large => {
                (Detector::Reflection, self.amplified_per_second_few_sources)
            }
            Kind::Datagram => (Detector::UdpFlood, self.datagrams_per_second_few_sources),
        };
        if over.peak < threshold {
            return None;
        }
        // A filter that is nearly full knows everybody and nobody; what it knows by chance is taken off.
        let chance = victim.served.fullness();
        let known = real(over.from_served) / real(over.seen).max(1.0);
        let is_outage = kind == Kind::Syn
            && chance <= 0.7
            && over.seen > 0
            && known - chance >= self.served_share * (1.0 - chance);
        let severity = if is_outage {
            Severity::Info
        } else if over.peak >= threshold.saturating_mul(10) {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let (subject, target) = match leader {
            Some(source) => (Party::Address(source), Some(party.clone())),
            None => (party.clone(), None),
        };
        Some(Signal {
            detector,
            severity,
            subject,
            target,
            service: None,
            first_seen: victim.first_at,
            measured: real(over.peak),
            threshold: real(threshold),
            unit: "packets/s",
            window_s: 1,
            confidence: 0.9,
            evidence: evidence(json!({
                "sources": sources,
                "packets": victim.total,
                "completed": over.completed,
                "from_sources_served_before": over.from_served,
                "from_amplifiers": over.amplified,
                "bytes": over.bytes,
                "forged_sources_likely": many && kind == Kind::Syn,
            })),
            workload: None,
        })
    }
}
