//! An ICMP error in; out comes the conversation whose packet it quotes, and what the error says about it. The quoted
//! header is the receiver's traffic, never the sender's.

use super::{ConversationKey, outcome, tracking::canonical};
use crate::{
    flow::{mapped_halves, protocol},
    packet::Packet,
    parse::{Fragment, Frame},
};

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The conversation that the quoted packet belongs to.
    pub key: ConversationKey,
    /// Whether the quoted packet's sender is the key's higher end. Only an error about the initiator's packet counts.
    pub sender_is_higher: bool,
    /// [`outcome::REFUSED`] or [`outcome::EXPIRED`].
    pub outcome: u32,
}

/// What the error in `packet` says; `None` for everything else, for errors that refuse nothing (packet too big), and
/// for a quoted packet that its receiver did not send.
#[inline(always)]
pub fn failure<P: Packet + ?Sized>(packet: &P, frame: &Frame) -> Option<Failure> {
    if matches!(frame.fragment, Fragment::Later) {
        return None;
    }
    let outcome = match (frame.protocol, frame.destination_port >> 8) {
        // Destination unreachable, except "fragmentation needed".
        (protocol::ICMP, 3) if frame.destination_port & 0xff != 4 => outcome::REFUSED,
        (protocol::ICMPV6, 1) => outcome::REFUSED,
        (protocol::ICMP, 11) | (protocol::ICMPV6, 3) => outcome::EXPIRED,
        _ => return None,
    };
    let quoted = frame.transport_offset + 8;
    let (source, destination, upper, offset) =
        if frame.is_v4 { quoted_v4(packet, quoted)? } else { quoted_v6(packet, quoted)? };
    if source != frame.destination {
        return None;
    }
    let (source_port, destination_port) = match upper {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let ports = packet.read::<4>(offset)?;
            (u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]]))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            // One read for both, and of more than a byte: of a one-byte answer the compiler shifts even what was not read,
            // which the verifier takes for whatever the register held before.
            let [kind, _] = packet.read::<2>(offset)?;
            if kind != if upper == protocol::ICMP { 8 } else { 128 } {
                return None;
            }
            (0, 0)
        }
        _ => (0, 0),
    };
    let (key, sender_is_higher) = canonical(source, destination, source_port, destination_port, upper);
    Some(Failure { key, sender_is_higher, outcome })
}

type Quoted = ([u64; 2], [u64; 2], u8, u32);

#[inline(always)]
fn quoted_v4<P: Packet + ?Sized>(packet: &P, at: u32) -> Option<Quoted> {
    let header = packet.read::<20>(at)?;
    let header_bytes = u32::from(header[0] & 0x0f) * 4;
    let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    if header[0] >> 4 != 4 || header_bytes < 20 || later {
        return None;
    }
    Some((
        mapped_halves([header[12], header[13], header[14], header[15]]),
        mapped_halves([header[16], header[17], header[18], header[19]]),
        header[9],
        at + header_bytes,
    ))
}

#[inline(always)]
fn quoted_v6<P: Packet + ?Sized>(packet: &P, at: u32) -> Option<Quoted> {
    let header = packet.read::<40>(at)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let half = |start: usize| {
        let mut word = 0u64;
        let mut index = 0;
        while index < 8 {
            word = word << 8 | u64::from(header[start + index]);
            index += 1;
        }
        word
    };
    Some(([half(8), half(16)], [half(24), half(32)], header[6], at + 40))
}
