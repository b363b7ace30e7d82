//! `brute_force`: many short, similar connections of one source to one login service, or to one login port of many hosts
//! (spraying).
//!
//! In: ends of connections. Out: one signal per source and service, or per source. It reads sizes and times only, so a
//! client that opens many short sessions of equal size (a script, a health check) looks the same: declare those.

mod kind;
mod messages;

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
    net::IpAddr,
};

use monitor_common::{
    conversation::outcome,
    flow::{protocol, tcp},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::kind::Kind;
use crate::{
    bounded::{Bounded, StateSize},
    contact::Contact,
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{count, median, median_deviation, real, regularity, rounded},
};

const SECOND: u64 = 1_000_000_000;

/// Sessions remembered per pair.
const REMEMBERED: usize = 256;
/// Names and passwords differ by this many bytes, however short the rest is.
const PASSWORD_OFF: f64 = 6.0;
/// Sizes of requests that a poll does not have, on whatever timer: one try after the other is one as well.
const MANY_SIZES: usize = 6;
/// Regularity of beginnings from which sessions are on a timer.
const TIMED: f64 = 0.85;

/// `[detection.brute_force]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Services where people log in, and where few connections are usual.
    pub login_ports: Vec<u16>,
    /// Services where programs log in for every task.
    pub program_ports: Vec<u16>,
    /// Short connections that raise a finding on a login service,
    pub login_attempts: usize,
    /// on a service of programs,
    pub program_attempts: usize,
    /// and, within a minute, on any other service (`info`).
    pub other_attempts_per_minute: usize,
    /// The same within the window, where connections and answers are alike to this relative deviation (`info`).
    pub alike_attempts: usize,
    pub alike: f64,
    /// Alike connections to any service that are guesses: what is asked differs by the length of a name or a password,
    /// what is answered is the same refusal. A warning.
    pub guesses: usize,
    /// Sizes of requests that differ at least,
    pub guessed_sizes: usize,
    /// or answers so small that they say no more than yes or no.
    pub refusal_bytes: f64,
    /// Messages over UDP of one conversation within five minutes, answered one by one and alike.
    pub messages: u64,
    /// UDP services where people log in with single messages.
    pub message_ports: Vec<u16>,
    /// Attempts on a login service within `slow_window_s`, for guessing that takes its time.
    pub slow_attempts: usize,
    pub slow_window_s: u64,
    /// Attempts on a login service within ten minutes that are worth an `info`.
    pub noted_attempts: usize,
    /// Hosts among which attempts on one login port are spraying: a warning when it crosses the border, `info` inside,
    /// where programs of administration do the same.
    pub sprayed_hosts: usize,
    /// Attempts on each of fewer hosts that are the same guesses again.
    pub repeated_attempts: usize,
    /// Payload that somebody sends at least who tries to log in; looking for a banner takes less.
    pub login_bytes: u64,
    pub window_s: u64,
    /// A connection is short below this many bytes of payload both ways
    pub short_bytes: u64,
    /// and this duration.
    pub short_s: u64,
    /// Share of a pair's connections that must be short.
    pub short_share: f64,
    /// Median absolute deviation of the answers' sizes over their median, at most.
    pub similarity: f64,
    pub pairs: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            login_ports: vec![21, 22, 23, 139, 445, 2222, 3389, 5900, 5901, 5985],
            program_ports: vec![
                88, 110, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 1883, 3306, 5432, 6379, 8883, 27017,
            ],
            login_attempts: 30,
            program_attempts: 200,
            other_attempts_per_minute: 240,
            alike_attempts: 60,
            alike: 0.05,
            guesses: 100,
            guessed_sizes: 4,
            refusal_bytes: 64.0,
            messages: 200,
            message_ports: vec![88, 5060, 5061],
            slow_attempts: 60,
            slow_window_s: 6 * 3600,
            noted_attempts: 6,
            sprayed_hosts: 10,
            repeated_attempts: 5,
            login_bytes: 300,
            window_s: 1800,
            short_bytes: 12_000,
            short_s: 120,
            short_share: 0.7,
            similarity: 0.35,
            pairs: 4096,
        }
    }
}

type Pair = (IpAddr, IpAddr, u16);

#[derive(Clone, Copy, Debug)]
struct Session {
    now: u64,
    at: u64,
    /// Payload, as far as 32 bits go: there are many of these.
    sent_bytes: u32,
    answered_bytes: u32,
    /// The destination, or what is left of a long one.
    destination: u32,
    short: bool,
}

#[derive(Debug, Default)]
struct Sessions {
    recent: VecDeque<Session>,
    total: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct BruteForce {
    parameters: Parameters,
    /// On ports where people or programs log in: other services must not crowd these out.
    logins: Bounded<Pair, Sessions>,
    others: Bounded<Pair, Sessions>,
    /// By source and login port.
    sprayed: Bounded<(IpAddr, u16), Sessions>,
    messages: Bounded<Pair, messages::Messages>,
}

impl BruteForce {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            logins: Bounded::new("brute_force", parameters.pairs),
            others: Bounded::new("brute_force_others", parameters.pairs / 2),
            sprayed: Bounded::new("brute_force_sprayed", parameters.pairs / 4),
            messages: Bounded::new("brute_force_messages", parameters.pairs / 4),
        }
    }
}

impl Detect for BruteForce {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        if contact.is_udp() {
            self.message(contact, signals);
            return;
        }
        if !contact.is_tcp() || !contact.ended() || !contact.succeeded() || contact.protocol != protocol::TCP
        {
            return;
        }
        let record = contact.record;
        let parameters = &self.parameters;
        // Port 0 cannot be a service; a connection without any payload logs nobody in.
        if record.forward.payload == 0 && record.backward.payload == 0 {
            return;
        }
        // Who guesses leaves; what is merely over with the capture, or forgotten, may be a pool.
        let flags = record.forward_flags | record.backward_flags;
        let is_left = flags & u32::from(tcp::FIN | tcp::RST) != 0 || contact.duration() <= 10 * SECOND;
        if !is_left {
            return;
        }
        let short = record.forward.payload.saturating_add(record.backward.payload) <= parameters.short_bytes
            && contact.duration() <= parameters.short_s * SECOND;
        let session = Session {
            now: contact.now,
            at: contact.began_at(),
            sent_bytes: u32::try_from(record.forward.payload).unwrap_or(u32::MAX),
            answered_bytes: u32::try_from(record.backward.payload).unwrap_or(u32::MAX),
            destination: folded(contact.destination),
            short,
        };
        let kind = parameters.kind_of(contact);
        let is_login = kind == Kind::Login;
        let logs_in = kind != Kind::Other;
        let pairs = if logs_in { &mut self.logins } else { &mut self.others };
        let pair = (contact.source, contact.destination, contact.port);
        if let Some(sessions) = sessions(pairs, pair, contact, parameters) {
            sessions.add(session, parameters);
            signals.extend(parameters.judge_pair(sessions, contact));
        }
        // What an outsider sent first was seen before his conversation stood.
        let enough = record.forward.payload >= parameters.login_bytes
            || (record.outcome == outcome::MIDSTREAM
                && record.backward.payload >= 4 * parameters.login_bytes);
        if is_login && enough {
            let key = (contact.source, contact.port);
            if let Some(sessions) = sessions(&mut self.sprayed, key, contact, parameters) {
                sessions.add(session, parameters);
                signals.extend(parameters.judge_spraying(sessions, contact));
            }
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.logins.size(), self.others.size(), self.sprayed.size(), self.messages.size()]
    }
}

/// An address in 32 bits, enough to tell a few hundred apart.
fn folded(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => v6.octets().chunks_exact(4).fold(0, |sum: u32, part| {
            part.iter().fold(sum.rotate_left(5), |sum, byte| sum.rotate_left(8) ^ u32::from(*byte))
        }),
    }
}

/// The sessions under `key`, if there is room.
fn sessions<'a, K: Hash + Eq>(
    all: &'a mut Bounded<K, Sessions>,
    key: K,
    contact: &Contact<'_>,
    parameters: &Parameters,
) -> Option<&'a mut Sessions> {
    let (now, window) = (contact.now, parameters.slow_window_s * SECOND);
    let keep = |sessions: &Sessions| sessions.recent.back().is_some_and(|last| now - last.now < window);
    all.entry(key, contact.source_inside, now, keep, Sessions::default)
}

/// How alike sessions are.
struct Likeness {
    short_share: f64,
    /// Of the answers of short ones: median, and median absolute deviation over it.
    answer: f64,
    answer_spread: f64,
    sent_spread: f64,
    /// Median absolute deviation of what is sent, in bytes.
    sent_off: f64,
}

impl Sessions {
    fn add(&mut self, session: Session, parameters: &Parameters) {
        let window = parameters.slow_window_s * SECOND;
        self.total += 1;
        self.recent.push_back(session);
        while self.recent.len() > REMEMBERED
            || self.recent.front().is_some_and(|first| session.now - first.now > window)
        {
            self.recent.pop_front();
        }
    }

    fn within(&self, now: u64, seconds: u64) -> usize {
        self.recent.iter().filter(|one| now - one.now <= seconds * SECOND).count()
    }

    fn likeness(&self) -> Likeness {
        let short = || self.recent.iter().filter(|one| one.short);
        let spread = |mut sizes: Vec<f64>| {
            let middle = median(&mut sizes);
            (middle, median_deviation(&sizes, middle) / middle.max(1.0))
        };
        let (answer, answer_spread) = spread(short().map(|one| f64::from(one.answered_bytes)).collect());
        let (sent, sent_spread) = spread(short().map(|one| f64::from(one.sent_bytes)).collect());
        let sent_off = sent_spread * sent.max(1.0);
        let short_share = count(short().count()) / count(self.recent.len());
        Likeness { short_share, answer, answer_spread, sent_spread, sent_off }
    }

    /// Whether they begin as on a timer, which is how programs ask for what they know.
    fn is_timed(&self) -> bool {
        let starts = self.recent.iter().zip(self.recent.iter().skip(1));
        let gaps: Vec<f64> = starts.map(|(one, next)| real(next.at.saturating_sub(one.at)) / 1e9).collect();
        regularity(&gaps) >= TIMED
    }
}

impl Parameters {
    fn judge_pair(&self, sessions: &mut Sessions, contact: &Contact<'_>) -> Option<Signal> {
        let now = contact.now;
        let recent = sessions.within(now, self.window_s);
        let is_public = !contact.source_inside && contact.destination_inside;
        let kind = self.kind_of(contact);
        let (measured, threshold, window_s, severity) = if kind == Kind::Login {
            if recent >= self.login_attempts {
                (recent, self.login_attempts, self.window_s, Severity::Warning)
            } else if sessions.recent.len() >= self.slow_attempts && (is_public || !sessions.is_timed()) {
                (sessions.recent.len(), self.slow_attempts, self.slow_window_s, Severity::Warning)
            } else {
                (sessions.within(now, 600), self.noted_attempts, 600, Severity::Info)
            }
        } else if kind == Kind::Program {
            (recent, self.program_attempts, self.window_s, Severity::Warning)
        } else if recent >= self.guesses
            && (recent == self.guesses || now >= sessions.quiet_until)
            && self.are_guesses(sessions, contact)
        {
            (recent, self.guesses, self.window_s, Severity::Warning)
        } else if recent >= self.other_attempts_per_minute {
            (sessions.within(now, 60), self.other_attempts_per_minute, 60, Severity::Info)
        } else {
            (recent, self.alike_attempts, self.window_s, Severity::Info)
        };
        // What is crossed just now is said at once: it may be the last that is seen of it.
        if measured < threshold || (measured > threshold && now < sessions.quiet_until) {
            return None;
        }
        let likeness = sessions.likeness();
        if likeness.short_share < self.short_share || likeness.answer_spread > self.similarity {
            return None;
        }
        if threshold == self.alike_attempts && window_s == self.window_s && severity == Severity::Info {
            // Few and slow: only what is nearly the same each time, asks for something, and is on nobody's timer.
            let alike = likeness.answer_spread <= self.alike && likeness.sent_spread <= 2.0 * self.alike;
            // What an outsider sent first was seen before his conversation stood.
            let asks = contact.record.forward.payload >= self.login_bytes
                || contact.record.outcome == outcome::MIDSTREAM;
            sessions.quiet_until = now + 10 * SECOND;
            if !alike || !asks || !contact.destination_inside || (!is_public && sessions.is_timed()) {
                return None;
            }
        }
        sessions.quiet_until = now + SECOND;
        let confidence = if severity == Severity::Info { 0.5 } else { 0.85 };
        let measure = (measured, threshold, window_s, confidence);
        Some(signal(contact, Some(contact.destination), severity, sessions, measure, &likeness))
    }

    /// A program that knows a service does not repeat a slightly different question and receive the same answer each time.
    fn are_guesses(&self, sessions: &Sessions, contact: &Contact<'_>) -> bool {
        let likeness = sessions.likeness();
        let alike = likeness.short_share >= 0.9
            && likeness.answer > 0.0
            && likeness.answer_spread <= self.alike
            && (likeness.sent_spread <= 2.0 * self.alike || likeness.sent_off <= PASSWORD_OFF);
        let is_refusal =
            |one: &&Session| (f64::from(one.answered_bytes) / likeness.answer - 1.0).abs() <= self.alike;
        let refusals = sessions.recent.iter().filter(is_refusal).count();
        if !alike || count(refusals) < 0.9 * count(sessions.recent.len()) {
            return false;
        }
        // Programs that report something on a timer ask alike and are thanked alike, but at their pace.
        let is_fast = sessions.within(contact.now, 60) >= 30;
        let sizes: HashSet<u32> = sessions.recent.iter().map(|one| one.sent_bytes).collect();
        // What an outsider asked may not have been seen.
        let is_unseen = sizes.len() == 1 && sizes.contains(&0);
        let differ = sizes.len() >= self.guessed_sizes || is_unseen || likeness.answer <= self.refusal_bytes;
        differ && (is_fast || sizes.len() >= MANY_SIZES || !sessions.is_timed())
    }

    fn judge_spraying(&self, sessions: &mut Sessions, contact: &Contact<'_>) -> Option<Signal> {
        let (now, measured) = (contact.now, sessions.within(contact.now, self.window_s));
        if measured < self.login_attempts || (measured > self.login_attempts && now < sessions.quiet_until) {
            return None;
        }
        sessions.quiet_until = now + SECOND;
        let recent = sessions.recent.len();
        let hosts: HashSet<u32> = sessions.recent.iter().map(|one| one.destination).collect();
        let likeness = sessions.likeness();
        // The same guesses on each of a few hosts: nobody administers them so, with as much to say each time.
        let is_repeated = hosts.len() >= 2
            && recent >= self.repeated_attempts * hosts.len()
            && likeness.short_share >= 0.9
            && likeness.answer_spread <= self.alike
            && likeness.sent_spread <= 2.0 * self.alike
            && !sessions.is_timed();
        if (hosts.len() < self.sprayed_hosts && !is_repeated)
            || likeness.short_share < self.short_share
            || likeness.answer_spread > self.similarity
        {
            return None;
        }
        // Administration stays inside; what crosses the border in either direction is not ours.
        let is_public = contact.source_inside != contact.destination_inside;
        let is_grave = is_public || is_repeated;
        let severity = if is_grave { Severity::Warning } else { Severity::Info };
        let measure = (measured, self.login_attempts, self.window_s, if is_grave { 0.8 } else { 0.4 });
        let mut signal = signal(contact, None, severity, sessions, measure, &likeness);
        signal.evidence.insert("hosts".into(), json!(hosts.len()));
        Some(signal)
    }
}

fn signal(
    contact: &Contact<'_>,
    target: Option<IpAddr>,
    severity: Severity,
    sessions: &Sessions,
    (measured, threshold, window_s, confidence): (usize, usize, u64, f64),
    likeness: &Likeness,
) -> Signal {
    Signal {
        detector: Detector::BruteForce,
        severity,
        subject: Party::Address(contact.source),
        target: target.map(Party::Address),
        service: Some(Service::new(contact.protocol, contact.port)),
        first_seen: sessions.recent.front().map_or(contact.at, |first| first.at),
        measured: count(measured),
        threshold: count(threshold),
        unit: "connections",
        window_s,
        confidence,
        evidence: evidence(json!({
            "short_share": rounded(likeness.short_share),
            "median_answer_bytes": likeness.answer,
            "spread": rounded(likeness.answer_spread),
            "total": sessions.total,
        })),
        workload: contact.workload.map(str::to_owned),
    }
}
