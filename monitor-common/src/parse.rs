//! Bytes of a frame -> [`Frame`], ARP, something that is not IP, or [`Malformed`]. The same code judges in the kernel,
//! in replay, in tests and in the fuzzers.
//!
//! Ethernet II, VLAN tags (802.1Q, 802.1ad), PPPoE and MPLS below IP ([`link`]), IPv4 with options (RFC 791), IPv6 with at
//! most [`MAX_EXTENSIONS`] extension headers (RFC 8200), TCP, UDP, ICMP (both) and SCTP. Lengths are held to what the IP
//! header says, so padding is never read as a header. A fragment that is not the first has no ports, and none are read.
//!
//! A frame whose addresses were read is never given up without them: what is wrong behind them makes it *defective*, and
//! the rules for its source hold all the same.

mod ip;
mod link;
mod malformed;
mod plain_frame;
mod transport;

use core::ops::ControlFlow;

use crate::{flow::protocol, packet::Packet};

pub use ip::MAX_EXTENSIONS;
pub use link::{MAX_TAGS, MAX_TAGS_WALKED};
pub use malformed::{Malformed, Treatment};

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
    /// VLAN identifiers other than 0, outermost first; 0 where there is no tag.
    pub vlans: [u16; MAX_TAGS],
    /// Bytes of the whole frame.
    pub length: u32,
    /// Where the IP header begins.
    pub network_offset: u32,
    /// Where the upper header begins.
    pub transport_offset: u32,
    /// Bytes behind the upper header, by the IP header's length.
    pub payload: u32,
    /// How many VLAN identifiers other than 0 there were, and bits for what else stood below IP.
    pub layers: u32,
    /// Of a fragment: the identification of its datagram.
    pub fragment_id: u32,
    /// Of TCP: the number of its first byte, and the one it acknowledges.
    pub sequence: u32,
    pub acknowledged: u32,
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Ip(Frame),
    /// ARP, and where it begins.
    Arp(u32),
    /// Another EtherType, or an 802.3 length.
    NonIp(u16),
    /// IP of which the addresses were read, and what is wrong behind them.
    Defective(Frame, Malformed),
    /// Without an IP header that could be read.
    Malformed(Malformed),
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
    /// IP, of which the addresses were read; the detail is the number of the [`super::Malformed`] behind them.
    pub const DEFECTIVE: u32 = 4;
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

/// What is wrong behind the addresses of an IP packet.
#[inline(always)]
fn defective<T>(kind: Malformed) -> Step<T> {
    ControlFlow::Break(End { kind: end::DEFECTIVE, detail: kind as u32 })
}

#[inline(always)]
fn or_defective<T>(value: Option<T>, kind: Malformed) -> Step<T> {
    match value {
        Some(value) => ControlFlow::Continue(value),
        None => defective(kind),
    }
}

/// Parses the frame in `packet`.
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Parsed {
    let mut frame = Frame::EMPTY;
    let end = parse_into(packet, &mut frame);
    match end.kind {
        end::IP => Parsed::Ip(frame),
        end::ARP => Parsed::Arp(end.detail),
        end::MALFORMED => Parsed::Malformed(kind_of(end)),
        end::DEFECTIVE => Parsed::Defective(frame, kind_of(end)),
        _ => Parsed::NonIp(u16::try_from(end.detail).unwrap_or(u16::MAX)),
    }
}

const fn kind_of(end: End) -> Malformed {
    Malformed::ALL[end.detail as usize % Malformed::COUNT]
}

/// Parses the frame in `packet` into `frame`, which is complete when the end is [`end::IP`]. What `frame` held before does not
/// matter.
#[inline(always)]
pub fn parse_into<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> End {
    if plain_frame::read(packet, frame) {
        return End { kind: end::IP, detail: 0 };
    }
    frame.clear();
    match walk(packet, frame) {
        ControlFlow::Continue(()) => End { kind: end::IP, detail: 0 },
        ControlFlow::Break(end) => end,
    }
}

#[inline(always)]
fn walk<P: Packet + ?Sized>(packet: &P, frame: &mut Frame) -> Step<()> {
    frame.length = packet.length();
    let ethertype = link::link(packet, frame)?;
    // Bytes behind the IP header and its extensions, by the IP header's own account.
    let rest = match ethertype {
        link::IPV4 => ip::v4(packet, frame)?,
        link::IPV6 => ip::v6(packet, frame)?,
        link::ARP => return link::other(frame, End { kind: end::ARP, detail: frame.network_offset }),
        other => return link::other(frame, End { kind: end::NON_IP, detail: u32::from(other) }),
    };
    frame.payload = rest;
    if !matches!(frame.fragment, Fragment::Later) {
        transport::transport(packet, frame, rest)?;
    }
    link::defect(frame)
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
        layers: 0,
        fragment_id: 0,
        sequence: 0,
        acknowledged: 0,
    };

    /// Forgets what the walk does not write for every frame.
    ///
    /// One store a field: put together, they would become a call of `memset`, which costs more than all of the parser.
    #[inline(always)]
    fn clear(&mut self) {
        // SAFETY: references are valid to write; volatile keeps the stores apart.
        unsafe {
            (&raw mut self.vlans[0]).write_volatile(0);
            (&raw mut self.vlans[1]).write_volatile(0);
            (&raw mut self.source_port).write_volatile(0);
            (&raw mut self.destination_port).write_volatile(0);
            (&raw mut self.tcp_flags).write_volatile(0);
            (&raw mut self.protocol).write_volatile(0);
            (&raw mut self.fragment).write_volatile(Fragment::Whole);
            (&raw mut self.transport_offset).write_volatile(0);
            (&raw mut self.payload).write_volatile(0);
            (&raw mut self.layers).write_volatile(0);
        }
    }

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
