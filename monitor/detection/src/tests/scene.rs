//! Builds records as the kernel would make them, and asks what was found.

use std::net::IpAddr;

use monitor_common::{
    application::Recognition,
    bucket::UNITS_PER_NS,
    conversation::{Direction, Record, note, outcome, record_kind, tracking::HANDSHAKE_REPORTED},
    flow::{Address, mapped, protocol, tcp},
    plain::Plain,
};

use crate::{
    Detection, Learned, Parameters,
    contact::default_inside,
    finding::{Detector, Finding, Severity},
    ledger::{ChangeKind, FindingChange},
};

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1000 * MS;
const EPOCH: u64 = 1_700_000_000 * S;

/// How a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// Established; bytes of payload out and in, and how long it lasts.
    Well(u64, u64, u64),
    Refused,
    Unanswered,
}

#[derive(Debug)]
pub struct Scene {
    pub detection: Detection,
    pub changes: Vec<FindingChange>,
    pub now: u64,
    /// What conversations speak.
    pub recognised: Recognition,
    pub ports: u16,
}

impl Default for Scene {
    fn default() -> Self {
        Self::with(&Parameters::default())
    }
}

pub fn address(text: &str) -> Address {
    match text.parse().unwrap() {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl Scene {
    pub fn with(parameters: &Parameters) -> Self {
        Self::learned(parameters, &Learned::default())
    }

    pub fn learned(parameters: &Parameters, learned: &Learned) -> Self {
        let detection = Detection::new(parameters, default_inside(), learned);
        Self { detection, changes: Vec::new(), now: EPOCH, recognised: Recognition::default(), ports: 40_000 }
    }

    pub fn pass(&mut self, time: u64) -> &mut Self {
        self.now += time;
        self.detection.tick(self.now);
        self
    }

    pub fn send(&mut self, record: &Record) {
        self.detection.observe(record, self.now, None);
        self.changes.extend(self.detection.drain_findings());
    }

    pub fn port(&mut self) -> u16 {
        self.ports = if self.ports >= 60_000 { 40_000 } else { self.ports + 1 };
        self.ports
    }

    /// A record as it is at the start of a conversation.
    pub fn record(&mut self, source: &str, destination: &str, upper: u8, port: u16) -> Record {
        let now = self.now.wrapping_mul(UNITS_PER_NS);
        let mut record = Record::zeroed();
        record.initiator = address(source);
        record.responder = address(destination);
        (record.at, record.first_seen, record.last_seen) = (now, now, now);
        record.kind = record_kind::STARTED;
        record.recognised = self.recognised.0;
        record.weight = 1;
        record.number = 1;
        record.protocol = u32::from(upper);
        record.initiator_port = self.port();
        record.responder_port = port;
        record.forward = direction(1, 0);
        if upper == protocol::TCP {
            record.forward_flags = u32::from(tcp::SYN);
            record.opens = 1;
        }
        record
    }

    /// A TCP connection that begins now; its records are sent at once, at their times.
    pub fn connect(&mut self, source: &str, destination: &str, port: u16, goes: Goes) {
        let mut record = self.record(source, destination, protocol::TCP, port);
        self.send(&record);
        let begin = self.now;
        match goes {
            Goes::Unanswered => {}
            Goes::Refused => {
                record.backward = direction(1, 0);
                record.backward_flags = u32::from(tcp::RST | tcp::ACK);
                record.outcome = outcome::REFUSED;
                record.kind = record_kind::ENDED;
                self.again(&mut record, MS);
            }
            Goes::Well(sent, received, lasts) => {
                record.outcome = outcome::ESTABLISHED;
                record.forward_flags |= u32::from(tcp::ACK) | HANDSHAKE_REPORTED;
                record.backward_flags = u32::from(tcp::SYN | tcp::ACK);
                record.forward = direction(2, 0);
                record.backward = direction(1, 0);
                record.kind = record_kind::ACTIVE;
                self.again(&mut record, MS);
                record.forward = direction(4 + sent / 1000, sent);
                record.backward = direction(4 + received / 1000, received);
                record.kind = record_kind::ENDED;
                self.again(&mut record, lasts);
            }
        }
        self.now = begin;
    }

    /// One packet of a protocol without ports, answered or not.
    pub fn datagram_of(&mut self, upper: u8, source: &str, destination: &str, answered: bool) {
        let mut record = self.record(source, destination, upper, 0);
        record.initiator_port = 0;
        self.send(&record);
        if answered {
            record.backward = direction(1, 56);
            record.outcome = outcome::ESTABLISHED;
            record.kind = record_kind::ACTIVE;
            self.again(&mut record, MS);
            self.now -= MS;
        }
    }

    /// A datagram, and its answer when there is one.
    pub fn datagram(&mut self, source: &str, destination: &str, port: u16, sent: u64, answered: Option<u64>) {
        let mut record = self.record(source, destination, protocol::UDP, port);
        record.forward = direction(1, sent);
        self.send(&record);
        if let Some(received) = answered {
            record.backward = direction(1, received);
            record.outcome = outcome::ESTABLISHED;
            record.kind = record_kind::ACTIVE;
            self.again(&mut record, MS);
            self.now -= MS;
        }
    }

    /// One packet outside conversations.
    pub fn observed(&mut self, what: u32, source: &str, destination: &str, ports: (u16, u16), flags: u8) {
        let mut record = self.record(source, destination, 0, ports.1);
        let upper = match what {
            note::SYN | note::SYN_ACK | note::RESET | note::STRAY => protocol::TCP,
            note::UDP => protocol::UDP,
            note::SOLICITATION => protocol::ICMPV6,
            note::ARP_REQUEST => 0,
            _ => protocol::ICMP,
        };
        record.kind = record_kind::OBSERVED;
        record.note = what;
        record.number = 0;
        record.protocol = u32::from(upper);
        record.initiator_port = ports.0;
        record.forward_flags = u32::from(flags);
        record.mac = 0x0200_0000_0001;
        self.send(&record);
    }

    /// The next record of a conversation, `later` after the present time.
    pub fn again(&mut self, record: &mut Record, later: u64) {
        self.now += later;
        record.at = self.now.wrapping_mul(UNITS_PER_NS);
        record.last_seen = record.at;
        record.number += 1;
        self.send(record);
    }

    pub fn findings(&mut self) -> Vec<Finding> {
        self.detection.finish();
        self.changes.extend(self.detection.drain_findings());
        let mut all = std::collections::BTreeMap::new();
        for change in &self.changes {
            if change.kind == ChangeKind::Retracted {
                all.remove(&change.id);
            } else {
                all.insert(change.id, change.finding.clone());
            }
        }
        for (id, finding) in self.detection.open_findings() {
            all.insert(id, finding.clone());
        }
        all.into_values().collect()
    }

    /// Whether the detector named this subject, at least this gravely.
    pub fn found(&mut self, detector: Detector, subject: &str, severity: Severity) -> bool {
        let all = self.findings();
        let found = all.iter().any(|finding| {
            finding.detector == detector && finding.subject == subject && finding.severity >= severity
        });
        if !found {
            println!("{detector} {subject} is not among {all:#?}");
        }
        found
    }

    /// Nothing of warning or above.
    pub fn quiet(&mut self) -> bool {
        let loud: Vec<_> =
            self.findings().into_iter().filter(|finding| finding.severity >= Severity::Warning).collect();
        if !loud.is_empty() {
            println!("{loud:#?}");
        }
        loud.is_empty()
    }

    pub fn silent_about(&mut self, detector: Detector) -> bool {
        !self.findings().iter().any(|finding| finding.detector == detector)
    }
}

pub fn direction(packets: u64, payload: u64) -> Direction {
    let size = payload / packets.max(1);
    Direction {
        packets,
        bytes: payload.wrapping_add(54 * packets),
        payload,
        payload_squares: packets.wrapping_mul(size.wrapping_mul(size)),
    }
}
