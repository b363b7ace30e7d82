//! A frame, described layer by layer -> its bytes. Right by default (lengths and checksums), wrong where asked to be.
//!
//! It shares nothing with the parser under test: what it writes follows the RFCs, read anew.

mod write;

use std::net::IpAddr;

/// Numbers of upper protocols that the fixtures name (IANA).
pub mod number {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const OSPF: u8 = 89;
    pub const PIM: u8 = 103;
    pub const VRRP: u8 = 112;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const UDP_LITE: u8 = 136;
}

/// TCP flag bits (RFC 9293, 3.1).
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// A field that is to hold something else than the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The IP version nibble.
    Version(u8),
    /// IPv4 header length in words.
    HeaderWords(u8),
    /// IPv4 total length.
    TotalLength(u16),
    /// IPv6 payload length.
    PayloadLength(u16),
    UdpLength(u16),
    /// TCP data offset in words.
    TcpWords(u8),
    /// Length field (in its own units) of the last extension header.
    ExtensionLength(u8),
}

/// An IPv6 extension header: its number and all its bytes but the first (the next header).
#[derive(Clone, Debug)]
struct Extension {
    number: u8,
    rest: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Network {
    Ip { source: IpAddr, destination: IpAddr },
    Arp { operation: u16, sender: [u8; 4], target: [u8; 4] },
    Raw { ethertype: u16 },
}

#[derive(Clone, Debug)]
enum Upper {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
        options: Vec<u8>,
    },
    Udp {
        source: u16,
        destination: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
    },
    Sctp {
        source: u16,
        destination: u16,
        chunk: u8,
    },
    /// No header of its own: the payload follows directly.
    Other {
        number: u8,
    },
}

/// A fragment's place: offset in bytes (a multiple of eight) and whether more follow.
#[derive(Clone, Copy, Debug)]
struct Piece {
    offset: u16,
    more: bool,
}

/// A frame under construction; see [`packet`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Packet {
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    /// Tag protocol and tag control, outermost first.
    tags: Vec<(u16, u16)>,
    ethertype: Option<u16>,
    network: Network,
    options: Vec<u8>,
    extensions: Vec<Extension>,
    piece: Option<Piece>,
    dont_fragment: bool,
    upper: Upper,
    payload: Vec<u8>,
    wrong: Vec<Wrong>,
    padding: Vec<u8>,
    cut: Option<usize>,
}

/// An Ethernet frame from 10.1.0.1 to 10.2.0.1, without an upper header until one is named.
pub fn packet() -> Packet {
    Packet {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        tags: Vec::new(),
        ethertype: None,
        network: Network::Ip {
            source: IpAddr::from([10, 1, 0, 1]),
            destination: IpAddr::from([10, 2, 0, 1]),
        },
        options: Vec::new(),
        extensions: Vec::new(),
        piece: None,
        dont_fragment: false,
        upper: Upper::Other { number: 253 },
        payload: Vec::new(),
        wrong: Vec::new(),
        padding: Vec::new(),
        cut: None,
    }
}

/// The same over IPv6, from `fd00:1::1` to `fd00:2::1`.
pub fn packet6() -> Packet {
    packet().between("fd00:1::1", "fd00:2::1")
}

impl Packet {
    pub const fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        self.source_mac = source;
        self.destination_mac = destination;
        self
    }

    /// One more 802.1Q tag, inside those named before.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// One more 802.1ad tag.
    pub fn provider(self, id: u16) -> Self {
        self.tag(0x88a8, id)
    }

    /// One more tag with any protocol and control field (priority bits included).
    pub fn tag(mut self, protocol: u16, control: u16) -> Self {
        self.tags.push((protocol, control));
        self
    }

    /// The `EtherType` (or 802.3 length), whatever follows.
    pub const fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// Source and destination, which also choose the family.
    ///
    /// # Panics
    /// When either is not an address.
    pub fn between(mut self, source: &str, destination: &str) -> Self {
        let source = source.parse().expect("a source address");
        let destination = destination.parse().expect("a destination address");
        self.network = Network::Ip { source, destination };
        self
    }

    /// Another source of the same family.
    ///
    /// # Panics
    /// When it is not an address, or the frame is not IP.
    pub fn source(mut self, address: &str) -> Self {
        let Network::Ip { source, .. } = &mut self.network else { panic!("not an IP frame") };
        *source = address.parse().expect("a source address");
        self
    }

    /// Another destination of the same family.
    ///
    /// # Panics
    /// When it is not an address, or the frame is not IP.
    pub fn destination(mut self, address: &str) -> Self {
        let Network::Ip { destination, .. } = &mut self.network else { panic!("not an IP frame") };
        *destination = address.parse().expect("a destination address");
        self
    }

    /// An ARP packet instead of IP: 1 asks, 2 answers.
    pub const fn arp(mut self, operation: u16, sender: [u8; 4], target: [u8; 4]) -> Self {
        self.network = Network::Arp { operation, sender, target };
        self
    }

    /// Payload directly behind an `EtherType` (or 802.3 length).
    pub const fn raw(mut self, ethertype: u16) -> Self {
        self.network = Network::Raw { ethertype };
        self
    }

    /// IPv4 options, padded to whole words.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// An IPv6 extension header of `units` times eight bytes.
    pub fn extension(self, number: u8, units: u8) -> Self {
        let mut rest = vec![units - 1];
        rest.resize(usize::from(units) * 8 - 1, 0);
        self.extension_bytes(number, rest)
    }

    /// An IPv6 authentication header (RFC 4302) of `words` times four bytes.
    pub fn authentication(self, words: u8) -> Self {
        let mut rest = vec![words - 2];
        rest.resize(usize::from(words) * 4 - 1, 0);
        self.extension_bytes(number::AUTHENTICATION, rest)
    }

    fn extension_bytes(mut self, number: u8, rest: Vec<u8>) -> Self {
        self.extensions.push(Extension { number, rest });
        self
    }

    /// Makes it a fragment at `offset` bytes: in the IPv4 header, or by a fragment header at this place of the chain.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        assert!(offset.is_multiple_of(8), "offsets count in eights");
        if self.is_v6() {
            let field = (offset | u16::from(more)).to_be_bytes();
            return self.extension_bytes(number::FRAGMENT, vec![0, field[0], field[1], 0, 0, 0, 77]);
        }
        self.piece = Some(Piece { offset, more });
        self
    }

    pub const fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        self.upper = Upper::Udp { source, destination };
        self
    }

    pub fn tcp(mut self, source: u16, destination: u16, flags: u8) -> Self {
        self.upper = Upper::Tcp { source, destination, flags, options: Vec::new() };
        self
    }

    /// TCP options, padded to whole words; after [`Packet::tcp`].
    ///
    /// # Panics
    /// When the packet is not TCP.
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        let Upper::Tcp { options, .. } = &mut self.upper else { panic!("not TCP") };
        *options = bytes.to_vec();
        options.resize(bytes.len().next_multiple_of(4), 0);
        self
    }

    /// ICMP over IPv4, `ICMPv6` over IPv6.
    pub fn icmp(mut self, kind: u8, code: u8) -> Self {
        self.upper = Upper::Icmp { kind, code };
        self
    }

    pub fn sctp(mut self, source: u16, destination: u16, chunk: u8) -> Self {
        self.upper = Upper::Sctp { source, destination, chunk };
        self
    }

    /// Any upper protocol by number, without a header of its own.
    pub fn protocol(mut self, number: u8) -> Self {
        self.upper = Upper::Other { number };
        self
    }

    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    pub fn payload_bytes(mut self, count: usize) -> Self {
        self.payload = vec![0x5a; count];
        self
    }

    /// The network layer of another packet as payload: tunnels and ICMP errors.
    pub fn embed(self, inner: &Packet) -> Self {
        let bytes = inner.network_bytes();
        self.payload(&bytes)
    }

    pub fn wrong(mut self, wrong: Wrong) -> Self {
        self.wrong.push(wrong);
        self
    }

    /// Bytes behind the IP packet, as Ethernet pads short frames.
    pub fn padding(mut self, count: usize) -> Self {
        self.padding = vec![0xee; count];
        self
    }

    /// Keeps the first `count` bytes of the frame only.
    pub const fn cut(mut self, count: usize) -> Self {
        self.cut = Some(count);
        self
    }

    const fn is_v6(&self) -> bool {
        matches!(self.network, Network::Ip { source: IpAddr::V6(_), .. })
    }
}
