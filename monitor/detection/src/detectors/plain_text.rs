//! `plaintext_service`, `cleartext_credentials`, `weak_tls`, `protocol_mismatch`: what conversations speak against what they
//! ought to.
//!
//! In: contacts with what the kernel recognised of them. Out: a signal per pair and service. What is still in clear may go
//! over to TLS, so a conversation in clear is judged once nothing more is looked at, once it carried much, or at its end.

use std::net::IpAddr;

use monitor_common::{
    application::{Recognition, encryption, flag, protocol, version},
    conversation::outcome,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    bounded::{Bounded, StateSize},
    contact::Contact,
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::real,
};

const SECOND: u64 = 1_000_000_000;
/// How long conversations of one pair are counted together.
const WINDOW: u64 = 3600 * SECOND;
/// Payload of both ends after which nobody goes over to TLS any more.
const MUCH: u64 = 16_384;
/// Time after which a signal is repeated while it lasts.
const AGAIN: u64 = 60 * SECOND;

/// `[detection.plain_text]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// TCP ports whose service is TLS from the first byte.
    pub tls_ports: Vec<u16>,
    /// Conversations in clear of one pair, on such a port, within an hour.
    pub connections: u64,
    /// Ports of web servers and resolvers, on which another protocol is a tunnel of an insider.
    pub watched_ports: Vec<u16>,
    pub pairs: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            tls_ports: vec![443, 465, 636, 853, 989, 990, 993, 995, 5061, 5671, 6697, 8443, 8883],
            connections: 3,
            watched_ports: vec![53, 80, 443, 8080, 8443],
            pairs: 8192,
        }
    }
}

type Key = (Detector, IpAddr, IpAddr, u16);

#[derive(Clone, Copy, Debug)]
struct Pair {
    first: u64,
    first_at: u64,
    /// The last conversation that was counted.
    last: (u16, u64),
    conversations: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct PlainText {
    parameters: Parameters,
    pairs: Bounded<Key, Pair>,
}

/// What is wrong with one conversation.
struct Wrong {
    detector: Detector,
    severity: Severity,
    threshold: u64,
    confidence: f64,
    facts: Value,
}

impl PlainText {
    pub fn new(parameters: &Parameters) -> Self {
        Self { parameters: parameters.clone(), pairs: Bounded::new("plain_text", parameters.pairs) }
    }

    fn wrong(&self, contact: &Contact<'_>) -> Vec<Wrong> {
        let known = Recognition(contact.record.recognised);
        let spoken = protocol::label(known.protocol());
        let mut wrong = Vec::new();
        if known.has(flag::CREDENTIALS) {
            wrong.push(Wrong {
                detector: Detector::CleartextCredentials,
                // Within a network it is a matter of order; on the way out, anybody may read it.
                severity: if contact.source_inside && !contact.destination_inside {
                    Severity::Warning
                } else {
                    Severity::Info
                },
                threshold: 1,
                confidence: 1.0,
                facts: json!({ "application": spoken }),
            });
        }
        if matches!(known.version(), version::SSL3..=version::TLS11) {
            wrong.push(Wrong {
                detector: Detector::WeakTls,
                severity: Severity::Info,
                threshold: 1,
                confidence: 1.0,
                facts: json!({ "tls_version": version::label(known.version()) }),
            });
        }
        if let Some(severity) = self.mismatch(contact, known) {
            wrong.push(Wrong {
                detector: Detector::ProtocolMismatch,
                severity,
                threshold: 1,
                confidence: if known.is_named() { 0.9 } else { 0.4 },
                facts: json!({ "application": spoken, "encryption": encryption::label(known.encryption()) }),
            });
        } else if self.parameters.tls_ports.contains(&contact.port)
            && contact.is_tcp()
            && known.encryption() == encryption::CLEAR
            // Data that nobody knows may be sealed in a way of its own.
            && known.is_named()
            && is_over(contact, known)
            && contact.record.backward.payload > 0
        {
            wrong.push(Wrong {
                detector: Detector::PlaintextService,
                // Scanners speak plain HTTP to any port: what comes from outside says nothing of the service.
                severity: if contact.source_inside && contact.destination_inside {
                    Severity::Warning
                } else {
                    Severity::Info
                },
                threshold: self.parameters.connections,
                confidence: 0.9,
                facts: json!({ "application": spoken, "because": "the port is one of TLS" }),
            });
        }
        wrong
    }

    /// How grave it is that an insider speaks this on this port.
    fn mismatch(&self, contact: &Contact<'_>, known: Recognition) -> Option<Severity> {
        let (port, spoken) = (contact.port, known.protocol());
        if !contact.source_inside || !self.parameters.watched_ports.contains(&port) || !contact.succeeded() {
            return None;
        }
        let is_tls = spoken == protocol::TLS || spoken == protocol::DTLS;
        let is_web = is_tls || matches!(spoken, protocol::HTTP | protocol::HTTP2 | protocol::QUIC);
        let fits = if port == 53 { spoken == protocol::DNS } else { is_web };
        if fits {
            return None;
        }
        if known.is_named() {
            return Some(Severity::Warning);
        }
        // Data that fits nothing: only where its beginning was seen, and enough of it.
        let whole = contact.record.outcome == outcome::ESTABLISHED && is_over(contact, known);
        let bulk = contact.record.forward.packets + contact.record.backward.packets >= 20;
        let odd = match spoken {
            protocol::BINARY => bulk,
            protocol::TEXT => bulk && port == 53,
            _ => false,
        };
        (whole && odd && contact.is_tcp()).then_some(Severity::Info)
    }

    /// Counts the conversation; the pair when a signal is due.
    fn count(&mut self, contact: &Contact<'_>, detector: Detector, threshold: u64) -> Option<Pair> {
        let now = contact.now;
        let key = (detector, contact.source, contact.destination, contact.port);
        let conversation =
            (contact.record.initiator_port ^ contact.record.responder_port, contact.record.first_seen);
        let new = || Pair {
            first: now,
            first_at: contact.began_at(),
            last: (0, 0),
            conversations: 0,
            quiet_until: 0,
        };
        let keep = |pair: &Pair| now - pair.first < WINDOW || now < pair.quiet_until + WINDOW;
        let pair = self.pairs.entry(key, contact.source_inside, now, keep, new)?;
        if now - pair.first > WINDOW && now > pair.quiet_until + WINDOW {
            *pair = new();
        }
        let another = pair.last != conversation;
        if another {
            pair.last = conversation;
            pair.conversations += 1;
        }
        let due = pair.conversations >= threshold && now >= pair.quiet_until;
        if !due || !(another || contact.ended()) {
            return None;
        }
        pair.quiet_until = now + AGAIN;
        Some(*pair)
    }
}

/// Whether what was recognised will not change any more.
fn is_over(contact: &Contact<'_>, known: Recognition) -> bool {
    let carried = contact.record.forward.payload + contact.record.backward.payload;
    known.is_settled() || contact.ended() || carried > MUCH
}

impl Detect for PlainText {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        let unknown = Recognition(contact.record.recognised).protocol() == protocol::NONE;
        if unknown || contact.observed().is_some() || contact.to_group() {
            return;
        }
        let contact = contact.oriented(&self.parameters.watched_ports);
        for wrong in self.wrong(&contact) {
            let Some(pair) = self.count(&contact, wrong.detector, wrong.threshold) else { continue };
            signals.push(Signal {
                detector: wrong.detector,
                severity: wrong.severity,
                subject: Party::Address(contact.source),
                target: Some(Party::Address(contact.destination)),
                service: Some(Service::new(contact.protocol, contact.port)),
                first_seen: pair.first_at,
                measured: real(pair.conversations),
                threshold: real(wrong.threshold),
                unit: "conversations",
                window_s: WINDOW / SECOND,
                confidence: wrong.confidence,
                evidence: evidence(wrong.facts),
                workload: contact.workload.map(str::to_owned),
            });
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.pairs.size()]
    }
}
