//! IPv4 and IPv6: addresses, lengths, fragments, and the walk over extension headers.

use core::ops::ControlFlow;

use super::{Fragment, Frame, Malformed, Step, defective, malformed, or_defective, or_malformed};
use crate::{
    flow::{is_mapped, mapped_halves, protocol},
    packet::Packet,
};

/// Extension headers that are walked; an IPv6 packet with more is malformed.
pub const MAX_EXTENSIONS: u32 = 8;

#[inline(always)]
pub fn v4<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<u32> {
    let header = or_malformed(packet.read::<20>(frame.network_offset), Malformed::Ipv4Truncated)?;
    if header[0] >> 4 != 4 {
        return malformed(Malformed::Ipv4Version);
    }
    frame.is_v4 = true;
    frame.source = mapped_halves([header[12], header[13], header[14], header[15]]);
    frame.destination = mapped_halves([header[16], header[17], header[18], header[19]]);
    frame.protocol = header[9];
    let header_bytes = u32::from(header[0] & 0x0f) * 4;
    if header_bytes < 20 {
        return defective(Malformed::Ipv4HeaderLength);
    }
    let available = frame.length - frame.network_offset;
    // A zero total length is what segmentation offload leaves in a captured frame: the frame itself is the length then.
    let total = match u32::from(u16::from_be_bytes([header[2], header[3]])) {
        0 => available,
        total => total,
    };
    if total < header_bytes {
        return defective(Malformed::Ipv4TotalLength);
    }
    if total > available {
        return defective(Malformed::Ipv4Truncated);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    frame.fragment = fragment_of(fragment & 0x1fff != 0, fragment & 0x2000 != 0);
    frame.transport_offset = frame.network_offset + header_bytes;
    if fragment & 0x3fff != 0 {
        frame.fragment_id = u32::from(u16::from_be_bytes([header[4], header[5]]));
        outside_header(frame.protocol, u32::from(fragment & 0x1fff))?;
    }
    ControlFlow::Continue(total - header_bytes)
}

/// A later fragment that begins within the transport header overwrites what was read of the first (RFC 1858, RFC 3128). Since
/// a first fragment has the whole header and counts in eights, none that belongs to it begins there.
#[inline(always)]
fn outside_header(protocol: u8, eights: u32) -> Step<()> {
    let least = if protocol == protocol::TCP {
        3
    } else if protocol == protocol::SCTP {
        2
    } else {
        1
    };
    if eights != 0 && eights < least {
        defective(Malformed::FragmentInHeader)
    } else {
        ControlFlow::Continue(())
    }
}

#[inline(always)]
const fn fragment_of(has_offset: bool, more: bool) -> Fragment {
    if has_offset {
        Fragment::Later
    } else if more {
        Fragment::First
    } else {
        Fragment::Whole
    }
}

#[inline(always)]
pub fn v6<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<u32> {
    let header = or_malformed(packet.read::<40>(frame.network_offset), Malformed::Ipv6Truncated)?;
    if header[0] >> 4 != 6 {
        return malformed(Malformed::Ipv6Version);
    }
    frame.is_v4 = false;
    frame.source = [half(&header, 8), half(&header, 16)];
    frame.destination = [half(&header, 24), half(&header, 32)];
    // Linux delivers it to a socket of both families as if it came from that IPv4 address, and the rules take it for that.
    if is_mapped(frame.source[0], frame.source[1]) {
        return defective(Malformed::MappedSource);
    }
    let available = frame.length - frame.network_offset - 40;
    let mut next = header[6];
    let payload = match u32::from(u16::from_be_bytes([header[4], header[5]])) {
        // A jumbogram (RFC 2675) or a segmentation offload frame: the frame itself is the length then.
        0 if next == protocol::HOP_BY_HOP || next == protocol::TCP => available,
        payload => payload,
    };
    if payload > available {
        return defective(Malformed::Ipv6PayloadLength);
    }
    let mut offset = frame.network_offset + 40;
    let end = offset + payload;
    let mut walked = 0;
    // Offset and more-fragments bits of the fragment header, if there was one.
    let mut fragment = 0;
    let mut identification = 0;
    // The common packet has no extension; asking first keeps the loop's states away from it in the kernel's verifier.
    while EXTENSIONS[next as usize] != 0 {
        if walked == MAX_EXTENSIONS {
            return defective(Malformed::TooManyExtensions);
        }
        walked += 1;
        if end - offset < 8 {
            return cut_short(fragment);
        }
        let extension = or_defective(packet.read::<8>(offset), Malformed::ExtensionTruncated)?;
        let shape = u32::from(EXTENSIONS[next as usize]);
        let is_fragment = shape >> 7;
        let counted = u32::from(extension[1]) * (1 - is_fragment);
        let bytes = (counted + ((shape >> 4) & 3)) << (shape & 7);
        if bytes > end - offset {
            return cut_short(fragment);
        }
        let word = u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]);
        identification |= word * is_fragment;
        fragment |= u32::from(u16::from_be_bytes([extension[2], extension[3]])) * is_fragment;
        offset += bytes;
        next = extension[0];
        if fragment & 0xfff8 != 0 {
            break;
        }
    }
    frame.fragment = fragment_of(fragment & 0xfff8 != 0, fragment & 1 != 0);
    frame.protocol = next;
    frame.transport_offset = offset;
    if fragment & 0xfff9 != 0 {
        frame.fragment_id = identification;
        outside_header(next, fragment >> 3)?;
    }
    ControlFlow::Continue(end - offset)
}

/// An extension header that the packet does not hold; in a first fragment, one that it has to (RFC 7112).
#[inline(always)]
fn cut_short(fragment: u32) -> Step<u32> {
    if fragment & 1 != 0 {
        defective(Malformed::ShortFirstFragment)
    } else {
        defective(Malformed::ExtensionTruncated)
    }
}

#[inline(always)]
const fn half(header: &[u8; 40], at: usize) -> u64 {
    u64::from_be_bytes([
        header[at],
        header[at + 1],
        header[at + 2],
        header[at + 3],
        header[at + 4],
        header[at + 5],
        header[at + 6],
        header[at + 7],
    ])
}

/// How the length of each extension header is counted, by protocol number: 0 is none; bits 0..3 the shift of a unit,
/// bits 4..6 the units that are not counted, bit 7 the fragment header, whose length is fixed (RFC 8200, 4; RFC 4302).
///
/// A table and arithmetic instead of a `match`: each branch in the loop would multiply what the verifier has to follow.
static EXTENSIONS: [u8; 256] = {
    const OCTETS_OF_8: u8 = 0x10 | 3;
    let mut table = [0; 256];
    table[protocol::HOP_BY_HOP as usize] = OCTETS_OF_8;
    table[protocol::ROUTING as usize] = OCTETS_OF_8;
    table[protocol::DESTINATION_OPTIONS as usize] = OCTETS_OF_8;
    table[protocol::MOBILITY as usize] = OCTETS_OF_8;
    table[protocol::AUTHENTICATION as usize] = 0x20 | 2;
    table[protocol::FRAGMENT as usize] = 0x80 | OCTETS_OF_8;
    table
};
