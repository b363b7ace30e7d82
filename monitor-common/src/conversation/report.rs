//! A conversation, or a packet that belongs to none, in; a [`Record`] out, written in place (ring-buffer memory).

use super::{Conversation, ConversationKey, Direction, Record, note, record_kind, state};
use crate::{
    flow::{from_halves, mapped, protocol},
    packet::Packet,
    parse::Frame,
    plain::Plain,
};

/// Writes the record of a conversation. Every field is written.
#[inline(always)]
pub fn conversation(record: &mut Record, key: &ConversationKey, value: &Conversation, kind: u32, now: u64) {
    let lower = (from_halves(key.lower[0], key.lower[1]), key.lower_port);
    let higher = (from_halves(key.higher[0], key.higher[1]), key.higher_port);
    let (initiator, responder) =
        if value.state & state::INITIATOR_IS_HIGHER != 0 { (higher, lower) } else { (lower, higher) };
    record.initiator = initiator.0;
    record.responder = responder.0;
    record.at = now;
    record.first_seen = value.first_seen;
    record.last_seen = value.last_seen;
    record.forward = value.forward;
    record.backward = value.backward;
    record.bursts = value.bursts;
    record.cgroup = if value.state & state::RESPONDER_IS_LOCAL == 0 { value.cgroup } else { 0 };
    record.mac = value.mac;
    record.kind = kind;
    record.note = 0;
    record.outcome = value.outcome;
    record.weight = 1;
    record.forward_flags = value.forward_flags;
    record.backward_flags = value.backward_flags;
    record.recognised = value.recognised;
    record.interface = value.interface;
    record.protocol = key.protocol;
    record.initiator_port = initiator.1;
    record.responder_port = if key.protocol == u32::from(protocol::ICMP) {
        8 << 8
    } else if key.protocol == u32::from(protocol::ICMPV6) {
        128 << 8
    } else {
        responder.1
    };
    record.vlan = value.vlan;
    record.opens = value.opens;
    record.number = value.records;
}

/// Writes the record of one packet outside conversations, which stands for `weight`. Every field is written.
#[inline(always)]
pub fn observation<P: Packet + ?Sized>(
    record: &mut Record,
    packet: &P,
    frame: &Frame,
    note: u32,
    weight: u32,
    interface: u16,
    now: u64,
) {
    *record = Record::zeroed();
    record.initiator = from_halves(frame.source[0], frame.source[1]);
    record.responder = from_halves(frame.destination[0], frame.destination[1]);
    if note == note::SOLICITATION
        && let Some(target) = packet.read::<16>(frame.transport_offset + 8)
    {
        record.responder = target;
    }
    record.forward = Direction {
        packets: 1,
        bytes: u64::from(frame.length),
        payload: u64::from(frame.payload),
        payload_squares: u64::from(frame.payload) * u64::from(frame.payload),
    };
    record.mac = source_mac(packet);
    record.forward_flags = u32::from(frame.tcp_flags);
    record.protocol = u32::from(frame.protocol);
    record.initiator_port = frame.source_port;
    record.responder_port = frame.destination_port;
    record.vlan = frame.vlans[0];
    observed(record, note, weight, interface, now);
}

/// Writes the record of the ARP request at `offset`; false (and nothing written) for every other ARP packet and for an
/// announcement of the sender's own address.
#[inline(always)]
pub fn arp_request<P: Packet + ?Sized>(
    record: &mut Record,
    packet: &P,
    offset: u32,
    weight: u32,
    interface: u16,
    now: u64,
) -> bool {
    // Hardware type 1, protocol IPv4, lengths 6 and 4, operation 1 (RFC 826).
    let Some(arp) = packet.read::<28>(offset) else { return false };
    if [arp[0], arp[1], arp[2], arp[3], arp[4], arp[5], arp[6], arp[7]] != [0, 1, 8, 0, 6, 4, 0, 1] {
        return false;
    }
    let sender = [arp[14], arp[15], arp[16], arp[17]];
    let target = [arp[24], arp[25], arp[26], arp[27]];
    if sender == target {
        return false;
    }
    *record = Record::zeroed();
    record.initiator = mapped(sender);
    record.responder = mapped(target);
    record.forward =
        Direction { packets: 1, bytes: u64::from(packet.length()), payload: 0, payload_squares: 0 };
    record.mac = mac([arp[8], arp[9], arp[10], arp[11], arp[12], arp[13]]);
    observed(record, note::ARP_REQUEST, weight, interface, now);
    true
}

/// The frame's source MAC as a number; 0 when there is none.
#[inline(always)]
pub fn source_mac<P: Packet + ?Sized>(packet: &P) -> u64 {
    match packet.read::<6>(6) {
        Some(bytes) => mac(bytes),
        None => 0,
    }
}

#[inline(always)]
const fn mac(bytes: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]])
}

#[inline(always)]
const fn observed(record: &mut Record, note: u32, weight: u32, interface: u16, now: u64) {
    record.at = now;
    record.first_seen = now;
    record.last_seen = now;
    record.kind = record_kind::OBSERVED;
    record.note = note;
    record.weight = weight;
    record.interface = interface;
}
