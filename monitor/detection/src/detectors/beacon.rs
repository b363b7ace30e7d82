//! `beacon`: a program that calls home. Regular starts of connections of one pair, or regular bursts of data within one
//! long conversation; or calls again and again to an address that nobody resolved.
//!
//! In: contacts. Out: one signal per source and destination. It reads times and sizes only. A poll, a heartbeat or a health
//! check is as regular as an implant, so [`suspicion`] weighs what else is known, and the rest is for `[[expected]]`.

mod answers;
mod bursts;
mod parameters;
mod peers;
mod report;
mod rhythm;
mod servers;
mod speech;
mod suspicion;
mod unnamed;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use monitor_common::conversation::outcome;

pub use self::parameters::Parameters;
use self::{peers::Met, rhythm::Beat, servers::Unnamed, speech::is_thanked};
use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Scope},
    finding::Signals,
    lookups::{Lookups, Named, Naming},
    statistics::{real, regularity},
};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 24 * 3600 * SECOND;

const RING: usize = 64;
/// Connections that are opened within this time are one beat.
const TOGETHER: u64 = SECOND * 3 / 4;
/// From here on a destination counts as regular for its source, long before it is flagged.
const CANDIDATE_BEATS: usize = 5;
const CANDIDATE_SCORE: f64 = 0.7;
/// Login services that people reach outside at their own pace, and no program on a timer.
const OUTWARD_LOGINS: [u16; 6] = [139, 445, 3389, 5900, 5901, 5985];
/// Share of bursts that each end alone must have sent to be one that speaks by its own timer.
const OWN_TIMERS: f64 = 0.12;
/// Fast beats that are few must be this regular to be worth an `info`.
const FAST_SCORE: f64 = 0.9;

#[derive(Debug, Default)]
struct Pair {
    /// Starts, on detection's clock.
    starts: VecDeque<u64>,
    sent: VecDeque<f64>,
    received: VecDeque<f64>,
    first_at: u64,
    reached: bool,
    named: Named,
    total: u64,
    /// Starts soon after another one, and not together with it.
    hurried: u64,
    quiet_until: u64,
}

#[derive(Debug, Default)]
struct Bursts {
    gaps: VecDeque<f64>,
    count: u32,
    first_at: u64,
    touched: u64,
    /// Payload per burst.
    sent: VecDeque<f64>,
    received: VecDeque<f64>,
    /// Bursts in which only the initiator spoke, only the responder, both.
    alone: [u32; 3],
    quiet_until: u64,
}

impl Bursts {
    /// Both ends speak unasked: bursts of the initiator alone and of the responder alone are both common.
    fn own_timers(&self) -> bool {
        let [up, down, _] = self.alone.map(f64::from);
        let all: f64 = self.alone.iter().copied().map(f64::from).sum();
        up.min(down) >= OWN_TIMERS * all.max(1.0)
    }

    /// Nearly all bursts are of the initiator alone.
    fn unanswered(&self) -> bool {
        let [up, down, both] = self.alone;
        up >= 10 && (down + both) * 10 <= up
    }
}

/// Since when, until when, and how, a destination looked regular.
#[derive(Clone, Copy, Debug)]
struct Regular {
    first: u64,
    last: u64,
    port: u16,
    period: f64,
    /// How many times in a row it weighed enough for a warning.
    suspected: u8,
}

impl Pair {
    /// Whether names led to the calls so far.
    fn naming(&self, now: u64, names_last_s: u64) -> Naming {
        let span = self.starts.front().map_or(0, |first| now - first);
        match self.named.settled(5) {
            Naming::Unnamed if span < names_last_s * SECOND => Naming::Unknown,
            naming => naming,
        }
    }
}

impl Regular {
    fn is_like(&self, other: &Self) -> bool {
        // Real requests between the checks shorten the period that is seen.
        self.port == other.port && (0.5..=2.0).contains(&(self.period / other.period))
    }
}

type PairKey = (IpAddr, IpAddr, u8, u16);

#[derive(Debug)]
pub struct Beacon {
    parameters: Parameters,
    pairs: Bounded<PairKey, Pair>,
    bursts: Bounded<(PairKey, u16), Bursts>,
    /// Who talks to a service: up to `prevalent` of them.
    prevalence: Bounded<(IpAddr, u16), Vec<IpAddr>>,
    /// Destinations that look regular, per source.
    regular: Bounded<IpAddr, HashMap<IpAddr, Regular>>,
    /// Calls to addresses that nobody resolved, per source and address.
    unnamed: Bounded<IpAddr, Unnamed>,
    /// Whom a source meets on ports of nobody.
    peers: Bounded<IpAddr, Met>,
    /// The pair that a source's `info` of the day is about, and when.
    noted: Bounded<IpAddr, (IpAddr, u64)>,
}

impl Beacon {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            pairs: Bounded::new("beacon_pairs", parameters.pairs),
            bursts: Bounded::new("beacon_bursts", parameters.conversations),
            prevalence: Bounded::new("beacon_prevalence", parameters.pairs),
            regular: Bounded::new("beacon_regular", parameters.pairs / 4),
            unnamed: Bounded::new("beacon_unnamed", parameters.pairs / 4),
            peers: Bounded::new("beacon_peers", parameters.pairs / 4),
            noted: Bounded::new("beacon_noted", parameters.pairs / 4),
        }
    }

    fn meet(&mut self, contact: &Contact<'_>) {
        let most = self.parameters.prevalent;
        let service = (contact.destination, contact.port);
        let inside = contact.source_inside;
        if let Some(sources) = self.prevalence.entry(service, inside, contact.now, |_| true, Vec::new)
            && sources.len() < most
            && !sources.contains(&contact.source)
        {
            sources.push(contact.source);
        }
    }

    /// Starts of connections.
    fn connection(&mut self, key: PairKey, contact: &Contact<'_>, lookups: &Lookups, signals: &mut Signals) {
        let now = contact.now;
        let keep = |pair: &Pair| pair.starts.back().is_some_and(|last| now - last < DAY);
        let Some(pair) = self.pairs.entry(key, contact.source_inside, now, keep, Pair::default) else {
            return;
        };
        // A source without answers receives no orders: it reports to a collector.
        pair.reached |= contact.succeeded();
        if contact.ended() {
            push(&mut pair.sent, real(contact.record.forward.payload));
            push(&mut pair.received, real(contact.record.backward.payload));
        }
        if contact.ended()
            && contact.is_tcp()
            && let Some((call, target)) = self.listed_call(contact)
        {
            self.judge(call, &Contact { destination: target, ..*contact }, signals);
        }
        let Some(pair) = self.pairs.get_mut(&key).filter(|_| contact.started()) else { return };
        if pair.starts.is_empty() {
            pair.first_at = contact.at;
        }
        // Connections that are opened together are one beat.
        let gap = pair.starts.back().map_or(SECOND, |last| now - last);
        if gap >= TOGETHER {
            pair.total += 1;
            push(&mut pair.starts, now);
            let naming = lookups.naming(contact.source, now);
            pair.named.add(naming, lookups.chance(contact.source, now));
            self.count_naming(contact, naming);
        } else if gap > TOGETHER / 6 {
            pair.hurried += 1;
        }
        let Some(pair) = self.pairs.get(&key) else { return };
        if pair.starts.len() < CANDIDATE_BEATS || now < pair.quiet_until {
            return;
        }
        let Some(call) = self.call(pair, contact).or_else(|| self.unnamed_call(pair, contact)) else {
            return;
        };
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.quiet_until = now + SECOND;
        }
        self.judge(call, contact, signals);
    }

    /// Calls so far, if their rhythm is one.
    fn call(&self, pair: &Pair, contact: &Contact<'_>) -> Option<Call> {
        let p = &self.parameters;
        let starts = pair.starts.iter().zip(pair.starts.iter().skip(1));
        let gaps: Vec<f64> = starts.map(|(one, next)| real(next - one) / 1e9).collect();
        let beat = Beat::of(&gaps)?;
        let ((sent, sent_spread), (received, received_spread)) =
            (rhythm::sizes(&pair.sent), rhythm::sizes(&pair.received));
        let sizes = if pair.sent.len() < 3 {
            1.0
        } else {
            regularity(&pair.sent.iter().copied().collect::<Vec<_>>())
        };
        let mut score = 0.5 * beat.regularity + 0.3 * beat.steadiness + 0.2 * sizes;
        if beat.is_jittered_timer() {
            score = score.max(0.5 + 0.4 * beat.bounded);
        }
        let is_fast = beat.period < p.fast_period_s;
        // Gaps that are cut off at what is one beat look alike, whatever they were.
        if is_fast && pair.hurried * 5 > pair.total {
            return None;
        }
        if score < CANDIDATE_SCORE || beat.period < p.least_period_s {
            return None;
        }
        let is_outward = contact.source_inside && !contact.destination_inside;
        let naming = pair.naming(contact.now, p.names_last_s);
        let enough = !is_fast || pair.starts.len() >= p.fast_beats;
        let least = if enough { p.score } else { p.score.max(FAST_SCORE) };
        let (most_sent, most_received) = p.check_bytes;
        let is_check = contact.port == 80 && (1.0..most_sent).contains(&sent) && received < most_received;
        let usual = received > p.bulk_bytes
            || is_check
            || !pair.reached
            || !enough
            || (p.login_ports.contains(&contact.port)
                && !(is_outward && OUTWARD_LOGINS.contains(&contact.port)));
        Some(Call {
            score,
            beats: if score < least { 0 } else { pair.starts.len() },
            sizes,
            total: pair.total,
            first_at: pair.first_at,
            unit: "connections",
            usual,
            odd_port: !p.usual_ports.contains(&contact.port),
            size_spread: if pair.sent.len() < 3 { 0.0 } else { sent_spread.max(received_spread) },
            naming,
            uploads: pair.sent.iter().any(|bytes| *bytes >= p.upload_bytes && *bytes >= 4.0 * sent),
            thanked: is_thanked(sent, received, pair.received.len()),
            ..Call::new(beat)
        })
    }
}

impl Detect for Beacon {
    fn contact(&mut self, contact: &Contact<'_>, scope: &Scope<'_>, signals: &mut Signals) {
        if contact.observed().is_some() || contact.is_icmp() || is_group(contact.destination) {
            return;
        }
        let ports = [contact.port, contact.record.initiator_port];
        if contact.is_udp() && ports.iter().any(|port| self.parameters.ignored_ports.contains(port)) {
            return;
        }
        self.meet_peer(contact);
        let key = (contact.source, contact.destination, contact.protocol, contact.port);
        // Only who was served tells how usual a service is; else a scan's ports would crowd the services out.
        if contact.delta.completed || (contact.started() && !contact.is_tcp()) {
            self.meet(contact);
        }
        if contact.record.outcome != outcome::MIDSTREAM && contact.record.forward.packets > 0 {
            self.connection(key, contact, scope.lookups, signals);
        }
        let contact = &contact.oriented(&self.parameters.heartbeat_ports);
        let key = (contact.source, contact.destination, contact.protocol, contact.port);
        self.conversation(key, contact, signals);
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![
            self.pairs.size(),
            self.bursts.size(),
            self.prevalence.size(),
            self.regular.size(),
            self.unnamed.size(),
            self.peers.size(),
            self.noted.size(),
        ]
    }
}

struct Context {
    sources: usize,
    destinations: usize,
    alike: usize,
    is_echo: bool,
}

/// A rhythm of one pair, before it is weighed.
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
#[derive(Clone, Copy, Debug)]
struct Call {
    beat: Beat,
    score: f64,
    /// 0 while the score is below the least.
    beats: usize,
    sizes: f64,
    total: u64,
    first_at: u64,
    unit: &'static str,
    /// Something else explains it, whatever the weights.
    usual: bool,
    unnamed: bool,
    odd_port: bool,
    size_spread: f64,
    naming: Naming,
    keeps_alive: bool,
    own_timers: bool,
    unanswered: bool,
    uploads: bool,
    thanked: bool,
    in_clear: bool,
    unresolved: bool,
}

impl Call {
    /// A rhythm of which nothing else is known.
    const fn new(beat: Beat) -> Self {
        Self {
            beat,
            score: 0.0,
            beats: 0,
            sizes: 0.0,
            total: 0,
            first_at: 0,
            unit: "calls",
            usual: false,
            unnamed: false,
            odd_port: false,
            size_spread: 0.0,
            naming: Naming::Unnamed,
            keeps_alive: false,
            own_timers: false,
            unanswered: false,
            uploads: false,
            thanked: false,
            in_clear: false,
            unresolved: false,
        }
    }
}

fn push<T>(ring: &mut VecDeque<T>, value: T) {
    if ring.len() >= RING {
        ring.pop_front();
    }
    ring.push_back(value);
}
