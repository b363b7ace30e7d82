//! Below IP: Ethernet, VLAN tags, and the shims of providers.
//!
//! Linux takes off any number of tags of VLAN 0 and as many others as it has devices for, so all are walked, up to a bound.
//! Two identifiers are kept; a third one, a PPPoE session and MPLS labels are noted in [`Frame::layers`], and the walk goes
//! on to the IP header, whose source is held to the rules whatever stood before it.

use core::ops::ControlFlow;

use super::{End, Frame, Malformed, Step, end, malformed, or_malformed};
use crate::packet::Packet;

/// VLAN identifiers that are kept; a third one makes the frame malformed. Tags of VLAN 0 do not count.
pub const MAX_TAGS: usize = 2;
#[expect(clippy::cast_possible_truncation, reason = "it is two")]
const MOST_TAGS: u32 = MAX_TAGS as u32;
/// Tags that are taken off altogether.
pub const MAX_TAGS_WALKED: u32 = 16;
/// MPLS labels that are taken off.
const MAX_LABELS: u32 = 8;

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const PROVIDER: u16 = 0x88a8;
const PPPOE_SESSION: u16 = 0x8864;
const MPLS_UNICAST: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const ETHERNET_BYTES: u32 = 14;

/// Bits of [`Frame::layers`] above the number of identifiers.
const PPPOE: u32 = 1 << 8;
const MPLS: u32 = 1 << 9;

/// The EtherType; where its payload begins and what was on the way go into `frame`.
#[inline(always)]
pub fn link<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<u16> {
    let ethernet = or_malformed(packet.read::<14>(0), Malformed::EthernetTruncated)?;
    let ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    frame.network_offset = ETHERNET_BYTES;
    if is_layer(ethertype) { layers(packet, frame, ethertype) } else { ControlFlow::Continue(ethertype) }
}

/// What stands between Ethernet and IP, and is no reason to pass or drop by itself: the kind of malformation, or nothing.
#[inline(always)]
pub fn defect(frame: &Frame) -> Step<()> {
    match excess(frame) {
        Some(kind) => ControlFlow::Break(End { kind: end::DEFECTIVE, detail: kind as u32 }),
        None => ControlFlow::Continue(()),
    }
}

/// How a frame without an IP header ends.
#[inline(always)]
pub fn other<T>(frame: &Frame, ended: End) -> Step<T> {
    match excess(frame) {
        Some(kind) => malformed(kind),
        None => ControlFlow::Break(ended),
    }
}

#[inline(always)]
fn excess(frame: &Frame) -> Option<Malformed> {
    let layers = fresh(&frame.layers);
    if layers <= MOST_TAGS {
        None
    } else if layers & PPPOE != 0 {
        Some(Malformed::Pppoe)
    } else if layers & MPLS != 0 {
        Some(Malformed::Mpls)
    } else {
        Some(Malformed::TooManyTags)
    }
}

#[inline(always)]
const fn is_layer(ethertype: u16) -> bool {
    is_tag(ethertype) || ethertype == PPPOE_SESSION || is_mpls(ethertype)
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == VLAN || ethertype == PROVIDER
}

#[inline(always)]
const fn is_mpls(ethertype: u16) -> bool {
    ethertype == MPLS_UNICAST || ethertype == MPLS_MULTICAST
}

/// Takes off tags and then one shim.
#[inline(always)]
fn layers<P: Packet + ?Sized>(packet: &P, frame: &mut Frame, ethertype: u16) -> Step<u16> {
    let inner = tags(packet, frame, ethertype)?;
    let offset = fresh(&frame.network_offset);
    if inner == PPPOE_SESSION {
        pppoe(packet, frame, offset)
    } else if is_mpls(inner) {
        mpls(packet, frame, offset)
    } else {
        ControlFlow::Continue(inner)
    }
}

/// The loop ends with its test: before "bpf: fix control-flow graph checking in privileged mode" (Linux 6.7) the verifier
/// accepts going back by a jump only, and the compiler made a `while` run on into its head.
#[inline(always)]
fn tags<P: Packet + ?Sized>(packet: &P, frame: &mut Frame, outer: u16) -> Step<u16> {
    if !is_tag(outer) {
        return ControlFlow::Continue(outer);
    }
    let mut offset = ETHERNET_BYTES;
    let mut walked = 0;
    loop {
        if walked == MAX_TAGS_WALKED {
            return malformed(Malformed::TooManyTags);
        }
        walked += 1;
        let tag = or_malformed(packet.read::<4>(offset), Malformed::VlanTruncated)?;
        let identifier = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
        if identifier != 0 {
            let kept = fresh(&frame.layers) as usize;
            if kept < MAX_TAGS {
                frame.vlans[kept] = identifier;
            }
            frame.layers += 1;
        }
        offset += 4;
        frame.network_offset = offset;
        let ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        if !is_tag(ethertype) {
            return ControlFlow::Continue(ethertype);
        }
    }
}

/// A PPPoE session (RFC 2516): six bytes, then the protocol of PPP, which may be cut to one byte (RFC 1661, 6.5).
#[inline(always)]
fn pppoe<P: Packet + ?Sized>(packet: &P, frame: &mut Frame, offset: u32) -> Step<u16> {
    frame.layers |= PPPOE;
    let header = or_malformed(packet.read::<8>(offset), Malformed::Pppoe)?;
    let short = u32::from(header[6] & 1);
    let protocol = u32::from(u16::from_be_bytes([header[6], header[7]])) >> (8 * short);
    frame.network_offset = offset + 8 - short;
    match (header[1], protocol) {
        (0, 0x21) => ControlFlow::Continue(IPV4),
        (0, 0x57) => ControlFlow::Continue(IPV6),
        _ => malformed(Malformed::Pppoe),
    }
}

/// MPLS labels (RFC 3032). What stands behind them is not said anywhere: its first four bits tell IP.
#[inline(always)]
fn mpls<P: Packet + ?Sized>(packet: &P, frame: &mut Frame, outer: u32) -> Step<u16> {
    frame.layers |= MPLS;
    let mut walked = 0;
    let mut offset = outer;
    loop {
        if walked == MAX_LABELS {
            return malformed(Malformed::Mpls);
        }
        walked += 1;
        let label = or_malformed(packet.read::<4>(offset), Malformed::Mpls)?;
        offset += 4;
        frame.network_offset = offset;
        if label[2] & 1 != 0 {
            break;
        }
    }
    let first = or_malformed(packet.read::<2>(fresh(&frame.network_offset)), Malformed::Mpls)?;
    match first[0] >> 4 {
        4 => ControlFlow::Continue(IPV4),
        6 => ControlFlow::Continue(IPV6),
        _ => malformed(Malformed::Mpls),
    }
}

/// Reads a field back: the kernel's verifier then follows one unknown number where the turns of a loop would make it many.
#[inline(always)]
fn fresh(field: &u32) -> u32 {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}
