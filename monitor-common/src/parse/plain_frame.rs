//! The frame that nearly all traffic is made of, read without a walk: no tag, IPv4 without options, whole, with TCP or UDP in
//! it.
//!
//! What it says is what the walk over the same frame says; whatever is unusual is left to the walk. Tests hold the two
//! together.

use super::{Fragment, Frame, MAX_TAGS, link};
use crate::{
    flow::{mapped_halves, protocol},
    packet::Packet,
};

const NETWORK: u32 = 14;
const TRANSPORT: u32 = NETWORK + 20;
const UDP_BYTES: u16 = 8;
/// Up to the end of UDP's header.
const BEGINNING: usize = 42;
/// IPv4, and five words of header.
const FIRST_BYTE: u8 = 0x45;
/// Offset and more-fragments bits of IPv4.
const FRAGMENTED: u16 = 0x3fff;

/// Parses the frame into `frame`; false when it is left to the walk, and `frame` is as it was.
#[inline(always)]
pub fn read<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> bool {
    let length = packet.length();
    let Some(bytes) = packet.read::<BEGINNING>(0) else {
        return false;
    };
    let total = u32::from(word([bytes[16], bytes[17]]));
    let whole = word([bytes[20], bytes[21]]) & FRAGMENTED == 0 && total >= 20 && total <= length - NETWORK;
    if word([bytes[12], bytes[13]]) != link::IPV4 || bytes[14] != FIRST_BYTE || !whole {
        return false;
    }
    let upper = [word([bytes[34], bytes[35]]), word([bytes[36], bytes[37]]), word([bytes[38], bytes[39]])];
    if !transport(packet, frame, (bytes[23], total - 20, upper)) {
        return false;
    }
    frame.is_v4 = true;
    frame.source = mapped_halves([bytes[26], bytes[27], bytes[28], bytes[29]]);
    frame.destination = mapped_halves([bytes[30], bytes[31], bytes[32], bytes[33]]);
    frame.length = length;
    true
}

/// The upper header: its protocol, how many bytes there are from it on, and its first three words. All but the addresses and
/// the frame's length goes into `frame`.
#[inline(always)]
fn transport<P: Packet + ?Sized>(
    packet: &P,
    frame: &mut Frame,
    (protocol, rest, [source_port, destination_port, stated]): (u8, u32, [u16; 3]),
) -> bool {
    if protocol == protocol::UDP {
        if stated < UDP_BYTES || u32::from(stated) > rest {
            return false;
        }
        frame.tcp_flags = 0;
        frame.payload = rest - u32::from(UDP_BYTES);
    } else if protocol == protocol::TCP {
        let Some(header) = packet.read::<14>(TRANSPORT) else {
            return false;
        };
        let header_bytes = u32::from(header[12] >> 4) * 4;
        if header_bytes < 20 || header_bytes > rest {
            return false;
        }
        frame.sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        frame.acknowledged = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        frame.tcp_flags = header[13];
        frame.payload = rest - header_bytes;
    } else {
        return false;
    }
    frame.vlans = [0; MAX_TAGS];
    frame.layers = 0;
    frame.fragment = Fragment::Whole;
    frame.protocol = protocol;
    frame.source_port = source_port;
    frame.destination_port = destination_port;
    frame.network_offset = NETWORK;
    frame.transport_offset = TRANSPORT;
    true
}

#[inline(always)]
const fn word(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use core::ops::ControlFlow;

    use super::*;
    use crate::parse::walk;

    fn datagram() -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&link::IPV4.to_be_bytes());
        frame[14..34]
            .copy_from_slice(&[0x45, 0, 0, 46, 1, 2, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 1, 10, 0, 0, 2]);
        frame[34..42].copy_from_slice(&[0x30, 0x39, 0, 53, 0, 26, 0, 0]);
        frame
    }

    fn segment() -> Vec<u8> {
        let mut frame = datagram();
        frame[23] = protocol::TCP;
        frame[34..54]
            .copy_from_slice(&[0x30, 0x39, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        frame
    }

    /// Holds the frame against the walk over it; whether it was taken for plain.
    fn check(bytes: &[u8]) -> bool {
        let mut plain = Frame { vlans: [9; MAX_TAGS], layers: 9, tcp_flags: 9, ..Frame::EMPTY };
        let before = plain;
        if !read(bytes, &mut plain) {
            assert_eq!(plain, before, "written though left to the walk: {bytes:02x?}");
            return false;
        }
        let mut walked = Frame::EMPTY;
        assert_eq!(walk(bytes, &mut walked), ControlFlow::Continue(()), "{bytes:02x?}");
        assert_eq!(plain, walked, "{bytes:02x?}");
        true
    }

    #[test]
    fn common_frames_are_plain() {
        assert!(check(&datagram()));
        assert!(check(&segment()));
    }

    #[test]
    fn every_value_of_every_header_byte_is_read_as_the_walk_reads_it() {
        for frame in [datagram(), segment()] {
            for at in 12..54 {
                for value in 0..=u8::MAX {
                    let mut changed = frame.clone();
                    changed[at] = value;
                    check(&changed);
                }
            }
        }
    }

    #[test]
    fn every_truncation_is_read_as_the_walk_reads_it() {
        for frame in [datagram(), segment()] {
            for length in 0..frame.len() {
                check(&frame[..length]);
            }
        }
    }

    #[test]
    fn pairs_of_changed_bytes_are_read_as_the_walk_reads_them() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut plain = 0;
        for _ in 0..200_000 {
            let mut frame = if random(2) == 0 { datagram() } else { segment() };
            for _ in 0..2 {
                let at = 12 + random(42);
                // Small values and edges are where lengths meet.
                frame[at] =
                    [0, 1, 5, 6, 17, 20, 26, 46, 0x45, 0x50, 0xff, u8::try_from(random(256)).unwrap()]
                        [random(12)];
            }
            plain += usize::from(check(&frame[..frame.len() - random(8)]));
        }
        assert!(plain > 10_000, "only {plain} frames were plain");
    }
}
