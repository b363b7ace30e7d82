//! `dns_tunnel` and `icmp_tunnel`: data hidden in queries or echoes, told from sizes, counts and their ratio.
//!
//! In: contacts with a resolver (port 53) and echo conversations. Out: one signal per pair. Payload is not read, so a
//! tunnel of short queries is not seen. A constant ping and a resolver under load stay quiet: the first does not vary and
//! is mirrored, the second asks short questions. How long questions are does not depend on how many there are, so a slow
//! tunnel of long ones has longer to show itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{real, rounded},
    window::Rolling,
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.tunnel]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Queries to one resolver within a minute below which nothing is said; for long ones, within ten minutes.
    pub dns_queries: u64,
    /// Long queries within ten minutes that are enough when they are longer than any name that people made,
    pub dns_long_queries: u64,
    pub dns_long_query_bytes: f64,
    /// or shorter, and all of other lengths by this much (standard deviation).
    pub dns_long_query_spread: f64,
    /// Mean payload of queries that no list of names reaches.
    pub dns_query_bytes: f64,
    /// Mean payload that is suspicious together with a spread of sizes
    pub dns_query_bytes_varied: f64,
    /// (standard deviation) of this much.
    pub dns_query_spread: f64,
    /// Mean payload of answers that is suspicious together with queries of at least 75 bytes.
    pub dns_answer_bytes: f64,
    /// Queries within one conversation, from one port, that are worth an `info`.
    pub dns_queries_of_one_port: u64,
    /// Echo packets within five minutes below which nothing is said.
    pub echoes: u64,
    /// Standard deviation of echo payloads over their mean.
    pub echo_spread: f64,
    /// Difference of mean payloads between requests and replies, in bytes; a reply mirrors its request (RFC 792).
    pub echo_mirror_bytes: f64,
    /// Echo payload bytes within five minutes, if it is not only variety that betrays them.
    pub echo_bytes: u64,
    pub pairs: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            dns_queries: 30,
            dns_long_queries: 10,
            dns_long_query_bytes: 150.0,
            dns_long_query_spread: 8.0,
            dns_query_bytes: 100.0,
            dns_query_bytes_varied: 60.0,
            dns_query_spread: 35.0,
            dns_answer_bytes: 300.0,
            dns_queries_of_one_port: 100,
            echoes: 20,
            echo_spread: 0.25,
            echo_mirror_bytes: 8.0,
            echo_bytes: 4_000_000,
            pairs: 8192,
        }
    }
}

/// Packets, payload and its squares, forward and backward.
const FORWARD: usize = 0;
const BACKWARD: usize = 3;

#[derive(Debug)]
struct Dns {
    sums: Rolling<6, 6>,
    /// Over ten minutes.
    slow: Rolling<6, 10>,
    /// Of that, what was long by itself.
    long: Rolling<6, 10>,
    first_at: u64,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug)]
struct Echo {
    sums: Rolling<6, 10>,
    first_at: u64,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct Tunnel {
    parameters: Parameters,
    dns: Bounded<(IpAddr, IpAddr), Dns>,
    echo: Bounded<(IpAddr, IpAddr), Echo>,
}

impl Tunnel {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            dns: Bounded::new("dns_tunnel", parameters.pairs),
            echo: Bounded::new("icmp_tunnel", parameters.pairs),
        }
    }

    fn dns(&mut self, contact: &Contact<'_>, signals: &mut Signals) {
        let now = contact.now;
        let new = || Dns {
            sums: Rolling::new(10 * SECOND),
            slow: Rolling::new(60 * SECOND),
            long: Rolling::new(60 * SECOND),
            first_at: contact.at,
            touched: now,
            quiet_until: 0,
        };
        let keep = |pair: &Dns| now - pair.touched < 600 * SECOND;
        let key = (contact.source, contact.destination);
        let Some(pair) = self.dns.entry(key, contact.source_inside, now, keep, new) else { return };
        if now - pair.touched > 600 * SECOND {
            pair.first_at = contact.at;
        }
        pair.touched = now;
        pair.sums.add(now, added(contact));
        pair.slow.add(now, added(contact));
        let asked = &contact.delta.forward;
        if real(asked.payload) >= self.parameters.dns_query_bytes * real(asked.packets).max(1.0) {
            pair.long.add(now, added(contact));
        }
        if now < pair.quiet_until {
            return;
        }
        let p = &self.parameters;
        let mut window_s = 60;
        let mut sums = pair.sums.sums(now);
        if sums[FORWARD] < p.dns_queries {
            window_s = 600;
            sums = pair.slow.sums(now);
        }
        let mut queries = Sizes::of(&sums, FORWARD);
        let mut threshold = p.dns_queries;
        // A few that are long are not hidden by many that are short.
        let long_ones = pair.long.sums(now);
        let few = Sizes::of(&long_ones, FORWARD);
        let is_exfiltration = few.packets >= real(p.dns_long_queries)
            && (few.mean >= p.dns_long_query_bytes
                || (few.mean >= 1.2 * p.dns_query_bytes && few.deviation >= p.dns_long_query_spread));
        if is_exfiltration {
            (window_s, sums, queries, threshold) = (600, long_ones, few, p.dns_long_queries);
        }
        let answers = Sizes::of(&sums, BACKWARD);
        if queries.packets < real(threshold) {
            return;
        }
        let long = is_exfiltration || queries.mean >= p.dns_query_bytes;
        if window_s > 60 && !long {
            return;
        }
        let varied = queries.mean >= p.dns_query_bytes_varied && queries.deviation >= p.dns_query_spread;
        let heavy = queries.mean >= 75.0 && answers.mean >= p.dns_answer_bytes;
        // A program asks alike again and again and is answered differently, or asks all from one port, as no resolver
        // does since RFC 5452.
        let alike = queries.deviation <= 4.0 && answers.deviation >= 60.0;
        let one_port = contact.record.forward.packets >= p.dns_queries_of_one_port;
        let odd = queries.packets >= 2.0 * real(p.dns_queries) && (alike || one_port);
        let severity = if long || varied || heavy {
            Severity::Warning
        } else if odd {
            Severity::Info
        } else {
            return;
        };
        pair.quiet_until = now + SECOND;
        signals.push(Signal {
            detector: Detector::DnsTunnel,
            severity,
            subject: Party::Address(contact.source),
            target: Some(Party::Address(contact.destination)),
            service: Some(Service::new(contact.protocol, contact.port)),
            first_seen: pair.first_at,
            measured: queries.packets,
            threshold: real(threshold),
            unit: "queries",
            window_s,
            confidence: match severity {
                Severity::Info => 0.4,
                _ if long && varied => 0.95,
                _ => 0.8,
            },
            evidence: evidence(json!({
                "mean_query_bytes": rounded(queries.mean),
                "query_deviation": rounded(queries.deviation),
                "mean_answer_bytes": rounded(answers.mean),
                "answer_deviation": rounded(answers.deviation),
                "queries_of_one_port": contact.record.forward.packets,
                "answers": sums[BACKWARD],
            })),
            workload: contact.workload.map(str::to_owned),
        });
    }

    fn echo(&mut self, contact: &Contact<'_>, signals: &mut Signals) {
        let now = contact.now;
        let new =
            || Echo { sums: Rolling::new(30 * SECOND), first_at: contact.at, touched: now, quiet_until: 0 };
        let keep = |pair: &Echo| now - pair.touched < 300 * SECOND;
        let key = (contact.source, contact.destination);
        let Some(pair) = self.echo.entry(key, contact.source_inside, now, keep, new) else { return };
        pair.touched = now;
        pair.sums.add(now, added(contact));
        if now < pair.quiet_until {
            return;
        }
        let sums = pair.sums.sums(now);
        let (requests, replies) = (Sizes::of(&sums, FORWARD), Sizes::of(&sums, BACKWARD));
        let p = &self.parameters;
        if requests.packets + replies.packets < real(p.echoes) {
            return;
        }
        let spread = [&requests, &replies]
            .iter()
            .map(|sizes| if sizes.mean > 0.0 { sizes.deviation / sizes.mean } else { 0.0 })
            .fold(0.0, f64::max);
        // Losses change counts, not means, unless large ones do not get through: a reply carries what its request
        // carried.
        let both = requests.packets >= 5.0 && replies.packets >= 5.0;
        let unmirrored = both
            && (requests.mean - replies.mean).abs() >= p.echo_mirror_bytes
            && !requests.is_lost_from(&replies);
        // Small ones differ by less. Where nothing is lost, mirrors agree to the byte, but for those under way.
        let disagrees = requests.packets.min(replies.packets) >= real(p.echoes)
            && (requests.packets - replies.packets).abs() <= 2.0
            && requests.disagrees(&replies);
        let large = requests.mean.max(replies.mean) >= 64.0;
        let bytes = requests.total + replies.total;
        let varied = spread >= p.echo_spread && large;
        // More answers than questions, and others than were asked for.
        let surplus = requests.packets >= real(p.echoes)
            && replies.packets >= 1.5 * requests.packets
            && (requests.mean - replies.mean).abs() >= p.echo_mirror_bytes;
        let betrayed = surplus
            || varied && (unmirrored || requests.packets >= 50.0)
            || spread >= p.echo_spread && disagrees;
        if !betrayed && bytes < real(p.echo_bytes) {
            return;
        }
        pair.quiet_until = now + SECOND;
        signals.push(Signal {
            detector: Detector::IcmpTunnel,
            severity: Severity::Warning,
            subject: Party::Address(contact.source),
            target: Some(Party::Address(contact.destination)),
            service: None,
            first_seen: pair.first_at,
            measured: requests.packets + replies.packets,
            threshold: real(p.echoes),
            unit: "echoes",
            window_s: 300,
            confidence: if varied && unmirrored { 0.95 } else { 0.75 },
            evidence: evidence(json!({
                "mean_request_bytes": rounded(requests.mean),
                "mean_reply_bytes": rounded(replies.mean),
                "spread": rounded(spread),
                "bytes": sums[FORWARD + 1] + sums[BACKWARD + 1],
            })),
            workload: contact.workload.map(str::to_owned),
        });
    }
}

impl Detect for Tunnel {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        if contact.observed().is_some() || is_group(contact.destination) {
            return;
        }
        if contact.is_icmp() {
            self.echo(contact, signals);
        } else if contact.port == 53 {
            self.dns(contact, signals);
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.dns.size(), self.echo.size()]
    }
}

fn added(contact: &Contact<'_>) -> [u64; 6] {
    let (forward, backward) = (&contact.delta.forward, &contact.delta.backward);
    [
        forward.packets,
        forward.payload,
        forward.payload_squares,
        backward.packets,
        backward.payload,
        backward.payload_squares,
    ]
}

struct Sizes {
    packets: f64,
    total: f64,
    squares: f64,
    mean: f64,
    deviation: f64,
}

impl Sizes {
    fn of(sums: &[u64; 6], at: usize) -> Self {
        let (packets, total, squares) = (real(sums[at]), real(sums[at + 1]), real(sums[at + 2]));
        let mean = if packets > 0.0 { total / packets } else { 0.0 };
        let variance = if packets > 0.0 { (squares / packets - mean * mean).max(0.0) } else { 0.0 };
        Self { packets, total, squares, mean, deviation: variance.sqrt() }
    }

    /// Whether the difference is what the packets that are missing on one side may have carried.
    fn is_lost_from(&self, other: &Self) -> bool {
        let missing = self.packets - other.packets;
        let bytes = self.total - other.total;
        let largest = (self.mean + 3.0 * self.deviation).max(other.mean + 3.0 * other.deviation);
        missing * bytes > 0.0 && bytes.abs() <= missing.abs() * largest
    }

    /// Whether as many packets carried something else: more than four of the largest would explain.
    fn disagrees(&self, other: &Self) -> bool {
        let largest = (self.mean + 3.0 * self.deviation).max(other.mean + 3.0 * other.deviation);
        (self.total - other.total).abs() > 4.0 * largest
            || (self.squares - other.squares).abs() > 4.0 * largest * largest
    }
}
