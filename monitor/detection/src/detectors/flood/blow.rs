//! A contact -> what it adds to which victim, if anything.

use std::net::IpAddr;

use monitor_common::{
    conversation::{note, outcome},
    flow::protocol,
};

use super::{Flood, Kind};
use crate::contact::{Contact, is_group};

/// One addition to one victim.
pub struct Blow {
    pub kind: Kind,
    pub victim: IpAddr,
    pub victim_inside: bool,
    pub source: IpAddr,
    pub port: u16,
    pub values: [u64; 4],
}

impl Flood {
    pub(super) fn blow(&self, contact: &Contact<'_>) -> Option<Blow> {
        let (record, delta) = (contact.record, &contact.delta);
        let toward = |kind, values| Blow {
            kind,
            victim: contact.destination,
            victim_inside: contact.destination_inside,
            source: contact.source,
            port: contact.port,
            values,
        };
        let packets = contact.per_second(delta.forward.packets);
        let bytes = contact.per_second(delta.forward.bytes);
        if is_group(contact.destination) {
            let asks = match contact.observed() {
                Some(kind) => kind == note::ECHO,
                None => contact.is_icmp() && matches!(record.responder_port >> 8, 8 | 128),
            };
            if asks {
                let blow = toward(Kind::GroupEcho, [packets, 0, 0, bytes]);
                return Some(Blow {
                    victim: contact.source,
                    victim_inside: contact.source_inside,
                    source: contact.destination,
                    ..blow
                });
            }
            let is_broadcast = is_for_everybody(contact.destination) && contact.protocol != protocol::TCP;
            return is_broadcast.then(|| toward(Kind::Broadcast, [packets, 0, 0, bytes]));
        }
        if let Some(kind) = contact.observed() {
            return Some(match kind {
                note::SYN => toward(Kind::Syn, [u64::from(delta.opens), 0, 0, bytes]),
                note::UDP => {
                    let amplified =
                        if self.parameters.amplifies(record.initiator_port) { packets } else { 0 };
                    toward(Kind::Datagram, [packets, amplified, 0, bytes])
                }
                note::ECHO | note::ICMP_ERROR | note::ICMP_OTHER | note::SOLICITATION => {
                    toward(Kind::Icmp, [packets, 0, 0, bytes])
                }
                note::FRAGMENT => toward(Kind::Fragment, [packets, 0, 0, bytes]),
                note::SYN_ACK | note::RESET => toward(Kind::Answer, [packets, 0, 0, bytes]),
                _ => return None,
            });
        }
        let completed = u64::from(delta.completed);
        if contact.is_tcp() {
            let opens = contact.per_second(u64::from(delta.opens));
            return (opens + completed > 0).then(|| toward(Kind::Syn, [opens, 0, completed, bytes]));
        }
        if contact.is_icmp() {
            return Some(toward(Kind::Icmp, [packets, 0, 0, bytes]));
        }
        if record.outcome == outcome::ESTABLISHED && record.forward.packets == 0 {
            // Only answers were seen, so the initiator is their victim.
            let packets = contact.per_second(delta.backward.packets);
            return Some(Blow {
                kind: Kind::Datagram,
                victim: contact.source,
                victim_inside: contact.source_inside,
                source: contact.destination,
                port: record.initiator_port,
                values: [packets, packets, 0, contact.per_second(delta.backward.bytes)],
            });
        }
        if !contact.is_udp() {
            return None;
        }
        let unanswered = if record.backward.packets == 0 { packets } else { 0 };
        let amplified = if self.parameters.amplifies(record.initiator_port) { unanswered } else { 0 };
        (unanswered + completed > 0)
            .then(|| toward(Kind::Datagram, [unanswered, amplified, completed, bytes]))
    }
}

/// All hosts of a link, or all that lend addresses: not the groups that streams are sent to.
fn is_for_everybody(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets() == [224, 0, 0, 1],
        IpAddr::V6(v6) => {
            matches!(v6.segments(), [0xff02, 0, 0, 0, 0, 0, 0, 1] | [0xff02, 0, 0, 0, 0, 0, 1, 2])
        }
    }
}
