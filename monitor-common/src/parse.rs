//! Bytes of a frame -> [`Frame`], ARP, something that is not IP, or [`Malformed`]. The same code judges in the kernel,
//! in replay, in tests and in the fuzzers.
//!
//! Ethernet II, up to two VLAN tags (802.1Q, 802.1ad), IPv4 with options (RFC 791), IPv6 with at most
//! [`MAX_EXTENSIONS`] extension headers (RFC 8200), TCP, UDP, ICMP (both) and SCTP. Lengths are held to what the IP
//! header says, so padding is never read as a header. A fragment that is not the first has no ports, and none are read.

use core::ops::ControlFlow;

use crate::{
    flow::{mapped_halves, protocol},
    packet::Packet,
};

/// Extension headers that are walked before an IPv6 packet counts as malformed.
pub const MAX_EXTENSIONS: u32 = 8;
/// VLAN tags that are taken off; a third makes the frame non-IP.
pub const MAX_TAGS: usize = 2;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_PROVIDER: u16 = 0x88a8;
const ETHERNET_BYTES: u32 = 14;

/// Whether a packet is a fragment, and which.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    Whole = 0,
    First = 1,
    Later = 2,
}

/// What is known of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Addresses as big-endian halves; IPv4 is mapped to `::ffff:0:0/96`.
    pub source: [u64; 2],
    pub destination: [u64; 2],
    pub is_v4: bool,
    /// The upper protocol, behind the extension headers.
    pub protocol: u8,
    pub fragment: Fragment,
    /// TCP flags; 0 for everything else.
    pub tcp_flags: u8,
    /// Ports of TCP, UDP and SCTP. For ICMP of both families: `source_port` 0, `destination_port` type * 256 + code.
    pub source_port: u16,
    pub destination_port: u16,
    /// VLAN identifiers, outermost first; 0 where there is no tag.
    pub vlans: [u16; MAX_TAGS],
    /// Bytes of the whole frame.
    pub length: u32,
    /// Where the IP header begins.
    pub network_offset: u32,
    /// Where the upper header begins.
    pub transport_offset: u32,
    /// Bytes behind the upper header, by the IP header's length.
    pub payload: u32,
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Ip(Frame),
    /// ARP, and where it begins.
    Arp(u32),
    /// Another EtherType, or an 802.3 length.
    NonIp(u16),
    Malformed(Malformed),
}

/// Ways to be malformed; the number is the index of the count.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    EthernetTruncated = 0,
    VlanTruncated = 1,
    Ipv4Truncated = 2,
    Ipv4Version = 3,
    Ipv4HeaderLength = 4,
    Ipv4TotalLength = 5,
    Ipv6Truncated = 6,
    Ipv6Version = 7,
    Ipv6PayloadLength = 8,
    ExtensionTruncated = 9,
    TooManyExtensions = 10,
    TcpTruncated = 11,
    TcpHeaderLength = 12,
    UdpTruncated = 13,
    UdpLength = 14,
    IcmpTruncated = 15,
    SctpTruncated = 16,
}

impl Malformed {
    pub const ALL: [Self; 17] = [
        Self::EthernetTruncated,
        Self::VlanTruncated,
        Self::Ipv4Truncated,
        Self::Ipv4Version,
        Self::Ipv4HeaderLength,
        Self::Ipv4TotalLength,
        Self::Ipv6Truncated,
        Self::Ipv6Version,
        Self::Ipv6PayloadLength,
        Self::ExtensionTruncated,
        Self::TooManyExtensions,
        Self::TcpTruncated,
        Self::TcpHeaderLength,
        Self::UdpTruncated,
        Self::UdpLength,
        Self::IcmpTruncated,
        Self::SctpTruncated,
    ];

    /// The value of the metric's `kind` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::EthernetTruncated => "ethernet_truncated",
            Self::VlanTruncated => "vlan_truncated",
            Self::Ipv4Truncated => "ipv4_truncated",
            Self::Ipv4Version => "ipv4_version",
            Self::Ipv4HeaderLength => "ipv4_header_length",
            Self::Ipv4TotalLength => "ipv4_total_length",
            Self::Ipv6Truncated => "ipv6_truncated",
            Self::Ipv6Version => "ipv6_version",
            Self::Ipv6PayloadLength => "ipv6_payload_length",
            Self::ExtensionTruncated => "extension_truncated",
            Self::TooManyExtensions => "too_many_extensions",
            Self::TcpTruncated => "tcp_truncated",
            Self::TcpHeaderLength => "tcp_header_length",
            Self::UdpTruncated => "udp_truncated",
            Self::UdpLength => "udp_length",
            Self::IcmpTruncated => "icmp_truncated",
            Self::SctpTruncated => "sctp_truncated",
        }
    }
}

/// How the walk over a frame ended. Two plain numbers, so that no field is ever left undefined in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// A constant of [`end`].
    pub kind: u32,
    /// Offset of ARP, the EtherType, or the number of the [`Malformed`].
    pub detail: u32,
}

/// [`End::kind`].
pub mod end {
    pub const IP: u32 = 0;
    pub const ARP: u32 = 1;
    pub const NON_IP: u32 = 2;
    pub const MALFORMED: u32 = 3;
}

type Step<T> = ControlFlow<End, T>;

#[inline(always)]
fn or_malformed<T>(value: Option<T>, kind: Malformed) -> Step<T> {
    match value {
        Some(value) => ControlFlow::Continue(value),
        None => malformed(kind),
    }
}

#[inline(always)]
fn malformed<T>(kind: Malformed) -> Step<T> {
    ControlFlow::Break(End { kind: end::MALFORMED, detail: kind as u32 })
}

/// Parses the frame in `packet`.
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Parsed {
    let mut frame = Frame::EMPTY;
    let end = parse_into(packet, &mut frame);
    match end.kind {
        end::IP => Parsed::Ip(frame),
        end::ARP => Parsed::Arp(end.detail),
        end::MALFORMED => Parsed::Malformed(Malformed::ALL[end.detail as usize % Malformed::ALL.len()]),
        _ => Parsed::NonIp(u16::try_from(end.detail).unwrap_or(u16::MAX)),
    }
}

/// Parses the frame in `packet` into `frame`, which is complete when the end is [`end::IP`].
#[inline(always)]
pub fn parse_into<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> End {
    match walk(packet, frame) {
        ControlFlow::Continue(()) => End { kind: end::IP, detail: 0 },
        ControlFlow::Break(end) => end,
    }
}

#[inline(always)]
fn walk<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<()> {
    frame.length = packet.length();
    let ethertype = link(packet, frame)?;
    // Bytes behind the IP header and its extensions, by the IP header's own account.
    let rest = match ethertype {
        ETHERTYPE_IPV4 => ipv4(packet, frame)?,
        ETHERTYPE_IPV6 => ipv6(packet, frame)?,
        ETHERTYPE_ARP => return ControlFlow::Break(End { kind: end::ARP, detail: frame.network_offset }),
        other => return ControlFlow::Break(End { kind: end::NON_IP, detail: u32::from(other) }),
    };
    frame.payload = rest;
    if !matches!(frame.fragment, Fragment::Later) {
        transport(packet, frame, rest)?;
    }
    ControlFlow::Continue(())
}

/// The EtherType; where its payload begins and the VLAN identifiers on the way go into `frame`.
#[inline(always)]
fn link<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<u16> {
    let ethernet = or_malformed(packet.read::<14>(0), Malformed::EthernetTruncated)?;
    let mut ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    let mut offset = ETHERNET_BYTES;
    if is_tag(ethertype) {
        (frame.vlans[0], ethertype) = tag(packet, offset)?;
        offset += 4;
        if is_tag(ethertype) {
            (frame.vlans[1], ethertype) = tag(packet, offset)?;
            offset += 4;
        }
    }
    frame.network_offset = offset;
    ControlFlow::Continue(ethertype)
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_PROVIDER
}

#[inline(always)]
fn tag<P: Packet + ?Sized>(packet: &P, offset: u32) -> Step<(u16, u16)> {
    let tag = or_malformed(packet.read::<4>(offset), Malformed::VlanTruncated)?;
    ControlFlow::Continue((
        u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff,
        u16::from_be_bytes([tag[2], tag[3]]),
    ))
}

#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<u32> {
    let header = or_malformed(packet.read::<20>(frame.network_offset), Malformed::Ipv4Truncated)?;
    if header[0] >> 4 != 4 {
        return malformed(Malformed::Ipv4Version);
    }
    let header_bytes = u32::from(header[0] & 0x0f) * 4;
    if header_bytes < 20 {
        return malformed(Malformed::Ipv4HeaderLength);
    }
    let available = frame.length - frame.network_offset;
    // A zero total length is what segmentation offload leaves in a captured frame: the frame itself is the length then.
    let total = match u32::from(u16::from_be_bytes([header[2], header[3]])) {
        0 => available,
        total => total,
    };
    if total < header_bytes {
        return malformed(Malformed::Ipv4TotalLength);
    }
    if total > available {
        return malformed(Malformed::Ipv4Truncated);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    frame.fragment = fragment_of(fragment & 0x1fff != 0, fragment & 0x2000 != 0);
    frame.is_v4 = true;
    frame.protocol = header[9];
    frame.source = mapped_halves([header[12], header[13], header[14], header[15]]);
    frame.destination = mapped_halves([header[16], header[17], header[18], header[19]]);
    frame.transport_offset = frame.network_offset + header_bytes;
    ControlFlow::Continue(total - header_bytes)
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
fn ipv6<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<u32> {
    let header = or_malformed(packet.read::<40>(frame.network_offset), Malformed::Ipv6Truncated)?;
    if header[0] >> 4 != 6 {
        return malformed(Malformed::Ipv6Version);
    }
    let available = frame.length - frame.network_offset - 40;
    let mut next = header[6];
    let payload = match u32::from(u16::from_be_bytes([header[4], header[5]])) {
        // A jumbogram (RFC 2675) or a segmentation offload frame: the frame itself is the length then.
        0 if next == protocol::HOP_BY_HOP || next == protocol::TCP => available,
        payload => payload,
    };
    if payload > available {
        return malformed(Malformed::Ipv6PayloadLength);
    }
    frame.is_v4 = false;
    frame.source = [half(&header, 8), half(&header, 16)];
    frame.destination = [half(&header, 24), half(&header, 32)];
    let mut offset = frame.network_offset + 40;
    let end = offset + payload;
    let mut walked = 0;
    // Offset and more-fragments bits of the fragment header, if there was one.
    let mut fragment = 0;
    // The common packet has no extension; asking first keeps the loop's states away from it in the kernel's verifier.
    while EXTENSIONS[next as usize] != 0 {
        if walked == MAX_EXTENSIONS {
            return malformed(Malformed::TooManyExtensions);
        }
        walked += 1;
        if end - offset < 8 {
            return malformed(Malformed::ExtensionTruncated);
        }
        let extension = or_malformed(packet.read::<4>(offset), Malformed::ExtensionTruncated)?;
        let shape = u32::from(EXTENSIONS[next as usize]);
        let is_fragment = shape >> 7;
        let counted = u32::from(extension[1]) * (1 - is_fragment);
        let bytes = (counted + ((shape >> 4) & 3)) << (shape & 7);
        if bytes > end - offset {
            return malformed(Malformed::ExtensionTruncated);
        }
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
    ControlFlow::Continue(end - offset)
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

/// Ports, flags or type of the upper header, which has `rest` bytes.
#[inline(always)]
fn transport<P: Packet + ?Sized>(packet: &P, frame: &mut Frame, rest: u32) -> Step<()> {
    let offset = frame.transport_offset;
    match frame.protocol {
        protocol::TCP => {
            if rest < 20 {
                return malformed(Malformed::TcpTruncated);
            }
            let header = or_malformed(packet.read::<14>(offset), Malformed::TcpTruncated)?;
            let header_bytes = u32::from(header[12] >> 4) * 4;
            // The options of a first fragment may stand in the next one.
            let whole = matches!(frame.fragment, Fragment::Whole);
            if header_bytes < 20 || (whole && header_bytes > rest) {
                return malformed(Malformed::TcpHeaderLength);
            }
            frame.source_port = u16::from_be_bytes([header[0], header[1]]);
            frame.destination_port = u16::from_be_bytes([header[2], header[3]]);
            frame.tcp_flags = header[13];
            frame.payload = rest.saturating_sub(header_bytes);
        }
        protocol::UDP => {
            if rest < 8 {
                return malformed(Malformed::UdpTruncated);
            }
            let header = or_malformed(packet.read::<6>(offset), Malformed::UdpTruncated)?;
            let length = u32::from(u16::from_be_bytes([header[4], header[5]]));
            let whole = matches!(frame.fragment, Fragment::Whole);
            // Zero: a jumbogram or an offloaded frame. A first fragment may announce more than it holds.
            if length != 0 && (length < 8 || (whole && length > rest)) {
                return malformed(Malformed::UdpLength);
            }
            frame.source_port = u16::from_be_bytes([header[0], header[1]]);
            frame.destination_port = u16::from_be_bytes([header[2], header[3]]);
            frame.payload = rest - 8;
        }
        protocol::ICMP | protocol::ICMPV6 => {
            if rest < 4 {
                return malformed(Malformed::IcmpTruncated);
            }
            let header = or_malformed(packet.read::<2>(offset), Malformed::IcmpTruncated)?;
            frame.destination_port = u16::from_be_bytes(header);
            frame.payload = rest.saturating_sub(8);
        }
        protocol::SCTP => {
            if rest < 12 {
                return malformed(Malformed::SctpTruncated);
            }
            let header = or_malformed(packet.read::<4>(offset), Malformed::SctpTruncated)?;
            frame.source_port = u16::from_be_bytes([header[0], header[1]]);
            frame.destination_port = u16::from_be_bytes([header[2], header[3]]);
            frame.payload = rest - 12;
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

impl Frame {
    /// A frame of which nothing is known.
    pub const EMPTY: Self = Self {
        source: [0; 2],
        destination: [0; 2],
        is_v4: false,
        protocol: 0,
        fragment: Fragment::Whole,
        tcp_flags: 0,
        source_port: 0,
        destination_port: 0,
        vlans: [0; MAX_TAGS],
        length: 0,
        network_offset: 0,
        transport_offset: 0,
        payload: 0,
    };

    /// Whether the packet opens a TCP connection: SYN without ACK, whatever else is set.
    #[inline(always)]
    pub const fn opens_connection(&self) -> bool {
        self.protocol == protocol::TCP && self.tcp_flags & 0x12 == 0x02
    }

    /// Whether the packet is any fragment.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        !matches!(self.fragment, Fragment::Whole)
    }

    /// Whether ports (or an ICMP type) were read.
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        !matches!(self.fragment, Fragment::Later)
            && matches!(
                self.protocol,
                protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP | protocol::ICMPV6
            )
    }
}
