//! `beacon`: a program that calls home. Regular starts of connections of one pair, or regular bursts of data within one
//! long conversation.
//!
//! In: contacts. Out: one signal per source and destination. It reads times and sizes only: a poll, a heartbeat or a
//! health check is as regular as an implant, so prevalence, bulk and well-known heartbeats lower it to `info`, and the
//! rest is for `[[expected]]`.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use monitor_common::conversation::outcome;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_broadcast_like},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{count, median, quantile, real, regularity, rounded},
};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 24 * 3600 * SECOND;

/// `[detection.beacon]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Score from which a pair is flagged.
    pub score: f64,
    /// Starts or bursts below which nothing is said.
    pub least_beats: usize,
    /// Beats faster than this need `fast_beats` of them to be more than `info`.
    pub fast_period_s: f64,
    pub fast_beats: usize,
    /// Beats faster than this are not beacons.
    pub least_period_s: f64,
    /// The same within one conversation.
    pub least_burst_period_s: f64,
    /// A service that this many inside hosts talk to is `info`.
    pub prevalent: usize,
    /// Regularity of bursts within one conversation from which they are more than `info`: people and processes that react
    /// to each other are regular too, programs on a timer are more so.
    pub burst_regularity: f64,
    /// A source with this many regular destinations at once (peers, monitoring) is `info`.
    pub regular_destinations: usize,
    /// So is one with this many destinations of the same port and rhythm; inside, two are enough: health checks.
    pub alike_destinations: usize,
    /// Answers larger than this (median) are streaming or polling of content: `info`.
    pub bulk_bytes: f64,
    /// The same for bursts within one conversation.
    pub burst_bulk_bytes: f64,
    /// Bursts that send no more than this (median) keep a conversation open and say nothing: `info`.
    pub keep_alive_bytes: f64,
    /// Calls over plain HTTP that send and receive less than this are connectivity checks: `info`.
    pub check_bytes: (f64, f64),
    /// Ports whose conversations never beacon: they are regular by design.
    pub ignored_ports: Vec<u16>,
    /// Ports where people log in, where regular connections are guessing before they are a beacon, and where mail is
    /// polled: `info`.
    pub login_ports: Vec<u16>,
    /// Ports where programs keep a conversation open with heartbeats: bursts there are `info`.
    pub heartbeat_ports: Vec<u16>,
    pub pairs: usize,
    /// Conversations whose bursts are followed.
    pub conversations: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            score: 0.8,
            least_beats: 10,
            fast_period_s: 5.0,
            fast_beats: 30,
            least_period_s: 1.0,
            least_burst_period_s: 3.0,
            prevalent: 3,
            burst_regularity: 0.95,
            regular_destinations: 4,
            alike_destinations: 3,
            bulk_bytes: 65_536.0,
            burst_bulk_bytes: 8192.0,
            keep_alive_bytes: 128.0,
            check_bytes: (130.0, 350.0),
            ignored_ports: vec![53, 67, 68, 111, 123, 137, 138, 161, 514, 546, 547, 853, 1900, 5353, 5355],
            login_ports: vec![
                21, 22, 23, 25, 110, 139, 143, 445, 465, 587, 993, 995, 2222, 3389, 5900, 5901, 5985,
            ],
            heartbeat_ports: vec![
                22, 88, 135, 139, 143, 179, 389, 443, 445, 500, 636, 993, 1194, 1433, 1883, 3268, 3306, 3389,
                3478, 3479, 3480, 3481, 3544, 4500, 5060, 5061, 5222, 5223, 5228, 5432, 5671, 5672, 6379,
                8883, 9092, 27017, 51820,
            ],
            pairs: 16_384,
            conversations: 16_384,
        }
    }
}

const RING: usize = 64;
/// Connections that are opened within this time are one beat.
const TOGETHER: u64 = SECOND * 3 / 4;
/// From here on a destination counts as regular for its source, long before it is flagged.
const CANDIDATE_BEATS: usize = 5;
const CANDIDATE_SCORE: f64 = 0.7;
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
    quiet_until: u64,
}

/// Since when, until when, and how, a destination looked regular.
#[derive(Clone, Copy, Debug)]
struct Regular {
    first: u64,
    last: u64,
    port: u16,
    period: f64,
    inside: bool,
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
}

impl Beacon {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            pairs: Bounded::new("beacon_pairs", parameters.pairs),
            bursts: Bounded::new("beacon_bursts", parameters.conversations),
            prevalence: Bounded::new("beacon_prevalence", parameters.pairs),
            regular: Bounded::new("beacon_regular", parameters.pairs / 4),
        }
    }

    pub fn sizes(&self) -> [StateSize; 4] {
        [self.pairs.size(), self.bursts.size(), self.prevalence.size(), self.regular.size()]
    }

    pub fn contact(&mut self, contact: &Contact<'_>, signals: &mut Signals) {
        if contact.observed().is_some() || contact.is_icmp() || is_broadcast_like(contact.destination) {
            return;
        }
        let ports = [contact.port, contact.record.initiator_port];
        if ports.iter().any(|port| self.parameters.ignored_ports.contains(port)) {
            return;
        }
        let key = (contact.source, contact.destination, contact.protocol, contact.port);
        // Only who was served tells how usual a service is; else a scan's ports would crowd the services out.
        if contact.delta.completed || (contact.started() && !contact.is_tcp()) {
            self.meet(contact);
        }
        if contact.record.outcome != outcome::MIDSTREAM && contact.record.forward.packets > 0 {
            self.connection(key, contact, signals);
        }
        self.conversation(key, contact, signals);
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
    fn connection(&mut self, key: PairKey, contact: &Contact<'_>, signals: &mut Signals) {
        let now = contact.now;
        let keep = |pair: &Pair| pair.starts.back().is_some_and(|last| now - last < DAY);
        let Some(pair) = self.pairs.entry(key, contact.source_inside, now, keep, Pair::default) else {
            return;
        };
        // Who is never answered is told nothing: reports to a collector, not calls home.
        pair.reached |= contact.succeeded();
        if contact.ended() {
            push(&mut pair.sent, real(contact.record.forward.payload));
            push(&mut pair.received, real(contact.record.backward.payload));
        }
        if !contact.started() {
            return;
        }
        if pair.starts.is_empty() {
            pair.first_at = contact.at;
        }
        // Connections that are opened together are one beat.
        let gap = pair.starts.back().map_or(SECOND, |last| now - last);
        if gap >= TOGETHER {
            pair.total += 1;
            push(&mut pair.starts, now);
        } else if gap > TOGETHER / 6 {
            pair.hurried += 1;
        }
        if pair.starts.len() < CANDIDATE_BEATS || now < pair.quiet_until {
            return;
        }
        let gaps: Vec<f64> = pair
            .starts
            .iter()
            .zip(pair.starts.iter().skip(1))
            .map(|(one, next)| real(next - one) / 1e9)
            .collect();
        let Some(beat) = Beat::of(&gaps) else { return };
        let sent: Vec<f64> = pair.sent.iter().copied().collect();
        let sizes = if sent.len() < 3 { 1.0 } else { regularity(&sent) };
        let score = 0.5 * beat.regularity + 0.3 * beat.steadiness + 0.2 * sizes;
        let mut received: Vec<f64> = pair.received.iter().copied().collect();
        let typical_received = median(&mut received);
        let typical_sent = median(&mut sent.clone());
        let bulk = typical_received > self.parameters.bulk_bytes;
        let is_fast = beat.period < self.parameters.fast_period_s;
        let enough = !is_fast || pair.starts.len() >= self.parameters.fast_beats;
        // Gaps that are cut off at what is one beat look alike, whatever they were.
        if is_fast && pair.hurried * 5 > pair.total {
            return;
        }
        if score < CANDIDATE_SCORE || beat.period < self.parameters.least_period_s {
            return;
        }
        let beats = pair.starts.len();
        pair.quiet_until = now + SECOND;
        let (total, first_at, reached) = (pair.total, pair.first_at, pair.reached);
        let context = self.context(contact, beat.period);
        let least = if enough { self.parameters.score } else { self.parameters.score.max(FAST_SCORE) };
        if score < least || beats < self.parameters.least_beats {
            return;
        }
        let (most_sent, most_received) = self.parameters.check_bytes;
        let is_check = contact.port == 80
            && (1.0..most_sent).contains(&typical_sent)
            && typical_received < most_received;
        let irregular = beat.regularity < 0.8 || beat.steadiness < 0.7;
        let usual = bulk
            || is_check
            || irregular
            || !reached
            || !enough
            || self.parameters.login_ports.contains(&contact.port);
        let severity =
            if usual || context.is_common(&self.parameters) { Severity::Info } else { Severity::Warning };
        signals.push(self.signal(
            contact,
            &beat,
            "connections",
            total,
            score,
            severity,
            first_at,
            &context,
            sizes,
        ));
    }

    /// Bursts within a conversation.
    fn conversation(&mut self, key: PairKey, contact: &Contact<'_>, signals: &mut Signals) {
        let record = contact.record;
        let reported = record.bursts;
        if reported.count < 2 || contact.delta.bursts == 0 {
            return;
        }
        let now = contact.now;
        let keep = |bursts: &Bursts| now - bursts.touched < DAY / 24;
        let place = (key, record.initiator_port);
        let inside = contact.source_inside;
        let Some(bursts) = self.bursts.entry(place, inside, now, keep, Bursts::default) else { return };
        if reported.count <= bursts.count || bursts.count == 0 {
            *bursts = Bursts { first_at: contact.began_at(), ..Bursts::default() };
        }
        // Several bursts since the last record: only their last gap is known, and their mean.
        let news = reported.count - bursts.count;
        bursts.count = reported.count;
        bursts.touched = now;
        push(&mut bursts.sent, real(contact.delta.forward.payload) / f64::from(news));
        push(&mut bursts.received, real(contact.delta.backward.payload) / f64::from(news));
        let gap = f64::from(reported.last_gap_ms) / 1000.0;
        for _ in 0..news.min(if bursts.gaps.is_empty() { 1 } else { 3 }) {
            push(&mut bursts.gaps, gap);
        }
        if bursts.gaps.len() < CANDIDATE_BEATS || now < bursts.quiet_until {
            return;
        }
        let gaps: Vec<f64> = bursts.gaps.iter().copied().collect();
        let Some(beat) = Beat::of(&gaps) else { return };
        let score = 0.6 * beat.regularity + 0.4 * beat.steadiness;
        if score < CANDIDATE_SCORE || beat.period < self.parameters.least_burst_period_s {
            return;
        }
        bursts.quiet_until = now + SECOND;
        let beats = bursts.gaps.len();
        let typical = |sizes: &VecDeque<f64>| median(&mut sizes.iter().copied().collect::<Vec<_>>());
        let bulk = typical(&bursts.received) > self.parameters.burst_bulk_bytes;
        let keeps_alive = typical(&bursts.sent) <= self.parameters.keep_alive_bytes;
        // Who is never answered is told nothing: reports to a collector, not calls home.
        let is_report = !contact.is_tcp() && bursts.received.iter().all(|bytes| *bytes < 1.0);
        let (total, first_at) = (u64::from(bursts.count), bursts.first_at);
        let context = self.context(contact, beat.period);
        if score < self.parameters.score || beats < self.parameters.least_beats {
            return;
        }
        let usual = self.parameters.heartbeat_ports.contains(&contact.port)
            || bulk
            || keeps_alive
            || is_report
            || beat.regularity < self.parameters.burst_regularity;
        let severity =
            if usual || context.is_common(&self.parameters) { Severity::Info } else { Severity::Warning };
        signals.push(self.signal(contact, &beat, "bursts", total, score, severity, first_at, &context, 1.0));
    }

    /// How usual the destination is, and how many regular destinations the source has, and how many like this one.
    fn context(&mut self, contact: &Contact<'_>, period: f64) -> Context {
        let now = contact.now;
        let known = self.prevalence.get(&(contact.destination, contact.port)).map_or(1, Vec::len);
        let inside = contact.source_inside;
        let keep = |all: &HashMap<IpAddr, Regular>| all.values().any(|one| now - one.last < DAY / 12);
        let regular = Regular {
            first: now,
            last: now,
            port: contact.port,
            period,
            inside: contact.source_inside && contact.destination_inside,
        };
        let (mut destinations, mut alike) = (1, 1);
        if let Some(all) = self.regular.entry(contact.source, inside, now, keep, HashMap::new) {
            if all.len() < 64 || all.contains_key(&contact.destination) {
                let first = all.get(&contact.destination).map_or(now, |one| one.first);
                all.insert(contact.destination, Regular { first, ..regular });
            }
            all.retain(|_, one| now - one.last < DAY / 12);
            destinations = all.len();
            alike = all.values().filter(|one| one.is_like(&regular)).count();
            if regular.inside && alike >= 2 && all.values().all(|one| one.inside || !one.is_like(&regular)) {
                alike = alike.max(self.parameters.alike_destinations);
            }
        }
        // Answers that come as connections of their own are the other end's rhythm.
        let echoes =
            self.regular.get(&contact.destination).is_some_and(|all| all.contains_key(&contact.source));
        let earlier = destinations_first(&self.regular, contact);
        Context { sources: known, destinations, alike, is_echo: echoes && earlier }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one signal, gathered by two callers")]
    fn signal(
        &self,
        contact: &Contact<'_>,
        beat: &Beat,
        unit: &'static str,
        total: u64,
        score: f64,
        severity: Severity,
        first_at: u64,
        context: &Context,
        sizes: f64,
    ) -> Signal {
        Signal {
            detector: Detector::Beacon,
            severity,
            subject: Party::Address(contact.source),
            target: Some(Party::Address(contact.destination)),
            service: Some(Service::new(contact.protocol, contact.port)),
            first_seen: first_at,
            measured: real(total),
            threshold: count(if severity > Severity::Info && beat.period < self.parameters.fast_period_s {
                self.parameters.fast_beats
            } else {
                self.parameters.least_beats
            }),
            unit,
            window_s: 0,
            confidence: rounded(score).min(0.99),
            evidence: evidence(json!({
                "score": rounded(score),
                "period_s": rounded(beat.period),
                "time_regularity": rounded(beat.regularity),
                "steadiness": rounded(beat.steadiness),
                "size_regularity": rounded(sizes),
                "sources_of_this_service": context.sources,
                "regular_destinations_of_this_source": context.destinations,
                "destinations_of_this_rhythm": context.alike,
            })),
            workload: contact.workload.map(str::to_owned),
        }
    }
}

/// Whether the other end was regular before this one.
fn destinations_first(regular: &Bounded<IpAddr, HashMap<IpAddr, Regular>>, contact: &Contact<'_>) -> bool {
    let since =
        |one: IpAddr, other: IpAddr| regular.get(&one).and_then(|all| all.get(&other)).map(|one| one.first);
    match (since(contact.destination, contact.source), since(contact.source, contact.destination)) {
        (Some(theirs), Some(ours)) => theirs < ours,
        (theirs, _) => theirs.is_some(),
    }
}

struct Context {
    sources: usize,
    destinations: usize,
    alike: usize,
    is_echo: bool,
}

impl Context {
    fn is_common(&self, parameters: &Parameters) -> bool {
        self.is_echo
            || self.sources >= parameters.prevalent
            || self.destinations >= parameters.regular_destinations
            || self.alike >= parameters.alike_destinations
    }
}

/// What gaps between beats say.
struct Beat {
    period: f64,
    regularity: f64,
    /// Share of gaps within half of the period around it; missed beats count half.
    steadiness: f64,
}

impl Beat {
    fn of(gaps: &[f64]) -> Option<Self> {
        let mut sorted = gaps.to_vec();
        sorted.sort_by(f64::total_cmp);
        let period = quantile(&sorted, 0.5);
        if period <= 0.0 {
            return None;
        }
        let near: f64 = gaps
            .iter()
            .map(|gap| match gap / period {
                ratio if (0.5..=1.5).contains(&ratio) => 1.0,
                ratio if (1.8..=2.2).contains(&ratio) => 0.5,
                _ => 0.0,
            })
            .sum();
        Some(Self { period, regularity: regularity(gaps), steadiness: near / count(gaps.len()) })
    }
}

fn push<T>(ring: &mut VecDeque<T>, value: T) {
    if ring.len() >= RING {
        ring.pop_front();
    }
    ring.push_back(value);
}
