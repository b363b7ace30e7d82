//! Guesses that are single messages over UDP: registrations, requests for tickets. Each is answered, all alike.

use serde_json::json;

use super::{BruteForce, SECOND};
use crate::{
    contact::Contact,
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{real, rounded},
    window::Rolling,
};

/// Messages of one conversation, both ways: packets, payload and its squares.
#[derive(Debug)]
pub struct Messages {
    sums: Rolling<6, 10>,
    first_at: u64,
    touched: u64,
    quiet_until: u64,
}

impl BruteForce {
    /// Single messages that are answered one by one, all alike: registrations with another password each.
    pub(super) fn message(&mut self, contact: &Contact<'_>, signals: &mut Signals) {
        let p = &self.parameters;
        let record = contact.record;
        let asks = p.message_ports.contains(&contact.port);
        // An outsider's conversation begins with our answer.
        let answers = !asks && p.message_ports.contains(&record.initiator_port);
        if !(asks || answers) || contact.observed().is_some() {
            return;
        }
        let (source, destination, port, source_inside) = if asks {
            (contact.source, contact.destination, contact.port, contact.source_inside)
        } else {
            (contact.destination, contact.source, record.initiator_port, contact.destination_inside)
        };
        let now = contact.now;
        let new = || Messages {
            sums: Rolling::new(30 * SECOND),
            first_at: contact.at,
            touched: now,
            quiet_until: 0,
        };
        let keep = |one: &Messages| now - one.touched < 300 * SECOND;
        let pair = (source, destination, port);
        let Some(messages) = self.messages.entry(pair, source_inside, now, keep, new) else { return };
        if now - messages.touched > 300 * SECOND {
            *messages = new();
        }
        messages.touched = now;
        let (mut forward, mut backward) = (&contact.delta.forward, &contact.delta.backward);
        if answers {
            (forward, backward) = (backward, forward);
        }
        messages.sums.add(
            now,
            [
                forward.packets,
                forward.payload,
                forward.payload_squares,
                backward.packets,
                backward.payload,
                backward.payload_squares,
            ],
        );
        let sums = messages.sums.sums(now);
        // What an outsider asks from ever new ports is only seen by its answers.
        let is_unseen = sums[0] * 4 < sums[3];
        let measured = if is_unseen { sums[3] } else { sums[0] };
        if measured < p.messages || now < messages.quiet_until {
            return;
        }
        messages.quiet_until = now + SECOND;
        let spread = |at: usize| {
            let (packets, total, squares) = (real(sums[at]).max(1.0), real(sums[at + 1]), real(sums[at + 2]));
            let mean = total / packets;
            ((squares / packets - mean * mean).max(0.0).sqrt() / mean.max(1.0), mean)
        };
        let ((sent_spread, _), (answer_spread, answer)) = (spread(0), spread(3));
        let answered = real(sums[3]) / real(sums[0]).max(1.0);
        // A registration that is refused is sent again with the password: two sizes.
        let asks_alike = is_unseen || ((0.5..=1.5).contains(&answered) && sent_spread <= 6.0 * p.alike);
        if !asks_alike || answer_spread > 4.0 * p.alike || answer == 0.0 {
            return;
        }
        signals.push(Signal {
            detector: Detector::BruteForce,
            severity: Severity::Warning,
            subject: Party::Address(source),
            target: Some(Party::Address(destination)),
            service: Some(Service::new(contact.protocol, port)),
            first_seen: messages.first_at,
            measured: real(measured),
            threshold: real(p.messages),
            unit: "messages",
            window_s: 300,
            confidence: 0.8,
            evidence: evidence(json!({
                "answered_share": rounded(answered),
                "spread": rounded(answer_spread),
                "mean_answer_bytes": rounded(answer),
            })),
            workload: contact.workload.map(str::to_owned),
        });
    }
}
