//! A kernel record in; out comes a [`Contact`]: who began, with whom, on what, what was added since the last record of
//! the same conversation. Every detector reads contacts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use monitor_common::{
    bucket::UNITS_PER_NS,
    conversation::{Direction, Record, note, outcome, record_kind, tracking::since},
    flow::{Address, protocol, tcp, v4_of},
};

use super::bounded::{Bounded, StateSize};

const SECOND: u64 = 1_000_000_000;
/// Far above what a record can truly add.
const MOST: u64 = 1 << 44;
const HOUR: u64 = 3600 * SECOND;
/// The first port that stacks give to clients (Linux; others begin higher).
const EPHEMERAL: u16 = 32_768;

/// One record in the terms of detection.
#[derive(Clone, Copy, Debug)]
pub struct Contact<'a> {
    pub record: &'a Record,
    /// Detection's clock, which only moves forward.
    pub now: u64,
    /// The recorded time, nanoseconds since the epoch.
    pub at: u64,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_inside: bool,
    pub destination_inside: bool,
    pub protocol: u8,
    /// The responder's port; 0 for ICMP.
    pub port: u16,
    /// What was added since the last record.
    pub delta: Delta,
    pub workload: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub forward: Direction,
    pub backward: Direction,
    /// SYN packets.
    pub opens: u32,
    pub bursts: u32,
    /// The conversation was completed or answered, and that is news.
    pub completed: bool,
    /// Time between the last record and the last packet of this one, in nanoseconds.
    pub span: u64,
}

impl Contact<'_> {
    /// What was added, as a rate: records of lasting conversations cover several seconds.
    pub const fn per_second(&self, added: u64) -> u64 {
        if self.delta.span <= SECOND {
            added
        } else {
            added.saturating_mul(1000) / (self.delta.span / 1_000_000)
        }
    }

    pub const fn started(&self) -> bool {
        self.record.kind == record_kind::STARTED
    }

    pub const fn ended(&self) -> bool {
        self.record.kind == record_kind::ENDED
    }

    /// The note of a single packet; `None` for conversations.
    pub const fn observed(&self) -> Option<u32> {
        if self.record.kind == record_kind::OBSERVED { Some(self.record.note) } else { None }
    }

    pub const fn is_tcp(&self) -> bool {
        self.protocol == protocol::TCP
    }

    pub const fn is_udp(&self) -> bool {
        self.protocol == protocol::UDP
    }

    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }

    pub const fn began_with_syn(&self) -> bool {
        self.record.forward_flags & tcp::SYN as u32 != 0
    }

    /// Both ends have spoken, or the initiator acknowledged what went another way.
    pub const fn succeeded(&self) -> bool {
        let record = self.record;
        match record.outcome {
            outcome::ESTABLISHED if self.is_tcp() => record.forward_flags & tcp::ACK as u32 != 0,
            outcome::ESTABLISHED | outcome::MIDSTREAM => {
                record.forward.packets > 0 && record.backward.packets > 0
            }
            _ => false,
        }
    }

    /// How long the conversation has lasted, in nanoseconds.
    pub const fn duration(&self) -> u64 {
        since(self.record.last_seen, self.record.first_seen) / UNITS_PER_NS
    }

    /// How long nothing was heard of it when the record was made, in nanoseconds.
    pub const fn silence(&self) -> u64 {
        since(self.record.at, self.record.last_seen) / UNITS_PER_NS
    }

    /// When the conversation began, nanoseconds since the epoch.
    pub const fn began_at(&self) -> u64 {
        self.at.saturating_sub(since(self.record.at, self.record.first_seen) / UNITS_PER_NS)
    }

    /// A conversation whose start was not seen may have been entered by a packet of its server: the same the other way
    /// round when addresses or ports say so.
    #[must_use]
    pub fn oriented(self, services: &[u16]) -> Self {
        if self.record.outcome != outcome::MIDSTREAM || self.observed().is_some() {
            return self;
        }
        let (from, to) = (self.record.initiator_port, self.port);
        let serves = |port: u16| port < 1024 || services.contains(&port);
        let turned = if self.source_inside == self.destination_inside {
            serves(from) && !serves(to)
        } else {
            // Ports of clients are high (RFC 6335): a low one of the insider against a high one is its own service.
            self.destination_inside && !serves(to) && !(to < EPHEMERAL && from >= EPHEMERAL)
        };
        if !turned {
            return self;
        }
        let delta = Delta { forward: self.delta.backward, backward: self.delta.forward, ..self.delta };
        Self {
            source: self.destination,
            destination: self.source,
            source_inside: self.destination_inside,
            destination_inside: self.source_inside,
            port: from,
            delta,
            ..self
        }
    }

    pub const fn to_group(&self) -> bool {
        is_group(self.destination)
    }
}

/// Whether an address stands for many or for nobody: multicast, broadcast, unspecified.
pub const fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unspecified(),
    }
}

pub fn ip_of(address: &Address) -> IpAddr {
    match v4_of(address) {
        Some(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
        None => IpAddr::V6(Ipv6Addr::from(*address)),
    }
}

/// The networks within the trust boundary.
#[derive(Clone, Debug, Default)]
pub struct Inside(pub Vec<IpNet>);

impl Inside {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|prefix| prefix.contains(&address))
    }
}

/// Private and unique local ranges, link-local, loopback: inside unless the configuration says otherwise.
pub fn default_inside() -> Vec<IpNet> {
    [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    ]
    .iter()
    .filter_map(|prefix| prefix.parse().ok())
    .collect()
}

/// The last counters of every conversation, so that a record's totals become what was added.
#[derive(Debug)]
pub struct Progress {
    last: Bounded<Tuple, Last>,
}

type Tuple = ([u8; 16], [u8; 16], u16, u16, u8);

#[derive(Clone, Copy, Debug)]
struct Last {
    forward: Direction,
    backward: Direction,
    opens: u32,
    bursts: u32,
    completed: bool,
    first_seen: u64,
    reported: u64,
    touched: u64,
}

impl Progress {
    pub fn new(capacity: usize) -> Self {
        Self { last: Bounded::new("conversations", capacity) }
    }

    /// What `record` adds; no counter is larger than any sum of them can bear.
    pub fn delta(&mut self, record: &Record, inside: bool, now: u64) -> Delta {
        let mut delta = self.added(record, inside, now);
        for direction in [&mut delta.forward, &mut delta.backward] {
            direction.packets = direction.packets.min(MOST);
            direction.bytes = direction.bytes.min(MOST);
            direction.payload = direction.payload.min(MOST);
            direction.payload_squares = direction.payload_squares.min(MOST << 8);
        }
        delta
    }

    #[expect(clippy::cast_possible_truncation, reason = "an IP protocol number is a byte")]
    fn added(&mut self, record: &Record, inside: bool, now: u64) -> Delta {
        if record.kind == record_kind::OBSERVED {
            let weight = u64::from(record.weight.max(1));
            let mut forward = record.forward;
            forward.packets = forward.packets.saturating_mul(weight);
            forward.bytes = forward.bytes.saturating_mul(weight);
            forward.payload = forward.payload.saturating_mul(weight);
            forward.payload_squares = forward.payload_squares.wrapping_mul(weight);
            let opens = if record.note == note::SYN { record.weight.max(1) } else { 0 };
            return Delta { forward, opens, ..Delta::default() };
        }
        let key = (
            record.initiator,
            record.responder,
            record.initiator_port,
            record.responder_port,
            record.protocol as u8,
        );
        let both = record.forward.packets > 0 && record.backward.packets > 0;
        let completed = match record.outcome {
            outcome::MIDSTREAM => true,
            outcome::ESTABLISHED if record.protocol == u32::from(protocol::TCP) => {
                record.forward_flags & u32::from(tcp::ACK) != 0
            }
            outcome::ESTABLISHED => both,
            _ => false,
        };
        let total = Delta {
            forward: record.forward,
            backward: record.backward,
            opens: record.opens,
            bursts: record.bursts.count,
            completed,
            span: since(record.last_seen, record.first_seen) / UNITS_PER_NS,
        };
        let seen = self.last.get(&key).copied().filter(|seen| seen.first_seen == record.first_seen);
        if record.kind == record_kind::ENDED {
            self.last.remove(&key);
        } else {
            let next = Last {
                forward: total.forward,
                backward: total.backward,
                opens: total.opens,
                bursts: total.bursts,
                completed,
                first_seen: record.first_seen,
                reported: record.at,
                touched: now,
            };
            if let Some(slot) = self.last.entry(key, inside, now, |seen| now - seen.touched < HOUR, || next) {
                *slot = next;
            }
        }
        match seen {
            // What is not known to be new is not counted: the entry may have been refused for lack of room.
            None if record.number > 2 => Delta::default(),
            None => total,
            Some(seen) => Delta {
                forward: less(total.forward, seen.forward),
                backward: less(total.backward, seen.backward),
                opens: total.opens.saturating_sub(seen.opens),
                bursts: total.bursts.saturating_sub(seen.bursts),
                completed: completed && !seen.completed,
                span: since(record.last_seen, seen.reported) / UNITS_PER_NS,
            },
        }
    }

    pub fn size(&self) -> StateSize {
        self.last.size()
    }
}

const fn less(total: Direction, seen: Direction) -> Direction {
    Direction {
        packets: total.packets.saturating_sub(seen.packets),
        bytes: total.bytes.saturating_sub(seen.bytes),
        payload: total.payload.saturating_sub(seen.payload),
        payload_squares: total.payload_squares.saturating_sub(seen.payload_squares),
    }
}
