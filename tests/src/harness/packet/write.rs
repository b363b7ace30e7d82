//! The described layers -> bytes, from the inside out, with right lengths and checksums unless told otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Network, Packet, Upper, Wrong, number};

impl Packet {
    /// The frame's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(128);
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        for (protocol, control) in &self.tags {
            frame.extend(protocol.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        let ethertype = self.ethertype.unwrap_or(match self.network {
            Network::Ip { source: IpAddr::V4(_), .. } => 0x0800,
            Network::Ip { source: IpAddr::V6(_), .. } => 0x86dd,
            Network::Arp { .. } => 0x0806,
            Network::Raw { ethertype } => ethertype,
        });
        frame.extend(ethertype.to_be_bytes());
        frame.extend(self.network_bytes());
        frame.extend(&self.padding);
        if let Some(cut) = self.cut {
            frame.truncate(cut);
        }
        frame
    }

    /// All from the network header on, padding aside.
    pub(super) fn network_bytes(&self) -> Vec<u8> {
        match &self.network {
            Network::Ip { source: IpAddr::V4(source), destination: IpAddr::V4(destination) } => {
                self.ipv4(*source, *destination)
            }
            Network::Ip { source: IpAddr::V6(source), destination: IpAddr::V6(destination) } => {
                self.ipv6(*source, *destination)
            }
            Network::Ip { .. } => panic!("source and destination are of different families"),
            Network::Arp { operation, sender, target } => self.arp_bytes(*operation, *sender, *target),
            Network::Raw { .. } => self.payload.clone(),
        }
    }

    fn arp_bytes(&self, operation: u16, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        // Ethernet, IPv4, lengths 6 and 4 (RFC 826).
        let mut arp = vec![0, 1, 8, 0, 6, 4];
        arp.extend(operation.to_be_bytes());
        arp.extend(self.source_mac);
        arp.extend(sender);
        arp.extend([0; 6]);
        arp.extend(target);
        arp
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let words = (20 + self.options.len()) / 4;
        let upper = self.upper_bytes(&[source.octets(), destination.octets()].concat(), false);
        let total = u16_of(words * 4 + upper.len());
        let mut fragment = if self.dont_fragment { 0x4000 } else { 0 };
        if let Some(piece) = self.piece {
            fragment |= (piece.offset / 8) | (u16::from(piece.more) << 13);
        }
        let version = self.found(|wrong| if let Wrong::Version(v) = wrong { Some(v) } else { None });
        let claimed = self.found(|wrong| if let Wrong::HeaderWords(w) = wrong { Some(w) } else { None });
        let length = self.found(|wrong| if let Wrong::TotalLength(l) = wrong { Some(l) } else { None });
        let mut header = vec![version.unwrap_or(4) << 4 | claimed.unwrap_or(byte_of(words)) & 0x0f, 0];
        header.extend(length.unwrap_or(total).to_be_bytes());
        header.extend([0, 77]);
        header.extend(fragment.to_be_bytes());
        header.extend([64, self.upper_number(false), 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(upper);
        header
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let upper = self.upper_bytes(&[source.octets(), destination.octets()].concat(), true);
        let mut chain = Vec::new();
        let mut first = self.upper_number(true);
        if let Some(extension) = self.extensions.first() {
            first = extension.number;
        }
        for (position, extension) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(position + 1).map_or(self.upper_number(true), |next| next.number);
            chain.push(next);
            let start = chain.len();
            chain.extend(&extension.rest);
            let length = self.found(|w| if let Wrong::ExtensionLength(l) = w { Some(l) } else { None });
            if let (Some(length), true) = (length, position + 1 == self.extensions.len()) {
                chain[start] = length;
            }
        }
        chain.extend(upper);
        let version = self.found(|wrong| if let Wrong::Version(v) = wrong { Some(v) } else { None });
        let length = self.found(|wrong| if let Wrong::PayloadLength(l) = wrong { Some(l) } else { None });
        let mut packet = vec![version.unwrap_or(6) << 4, 0, 0, 0];
        packet.extend(length.unwrap_or(u16_of(chain.len())).to_be_bytes());
        packet.extend([first, 64]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(chain);
        packet
    }

    const fn upper_number(&self, v6: bool) -> u8 {
        match self.upper {
            Upper::Tcp { .. } => number::TCP,
            Upper::Udp { .. } => number::UDP,
            Upper::Icmp { .. } if v6 => number::ICMPV6,
            Upper::Icmp { .. } => number::ICMP,
            Upper::Sctp { .. } => number::SCTP,
            Upper::Other { number } => number,
        }
    }

    fn upper_bytes(&self, addresses: &[u8], v6: bool) -> Vec<u8> {
        let (mut bytes, sum_at) = match &self.upper {
            Upper::Tcp { source, destination, flags, options } => {
                let words = self.found(|w| if let Wrong::TcpWords(words) = w { Some(words) } else { None });
                let words = words.unwrap_or(byte_of((20 + options.len()) / 4));
                let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                header.extend([0, 0, 0, 1, 0, 0, 0, 0, words << 4, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                header.extend(options);
                (header, Some(16))
            }
            Upper::Udp { source, destination } => {
                let length = self.found(|w| if let Wrong::UdpLength(l) = w { Some(l) } else { None });
                let length = length.unwrap_or(u16_of(8 + self.payload.len()));
                let fields = [*source, *destination, length, 0];
                (fields.iter().flat_map(|field| field.to_be_bytes()).collect(), Some(6))
            }
            Upper::Icmp { kind, code } => (vec![*kind, *code, 0, 0, 0, 0, 0, 0], Some(2)),
            Upper::Sctp { source, destination, chunk } => {
                let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                header.extend([0, 0, 0, 1, 0, 0, 0, 0]);
                header.extend([*chunk, 0, 0, 4]);
                (header, None)
            }
            Upper::Other { .. } => (Vec::new(), None),
        };
        bytes.extend(&self.payload);
        // ICMP over IPv4 has no pseudo header (RFC 792); all others have (RFC 9293, 3.1; RFC 8200, 8.1).
        if let Some(at) = sum_at {
            let mut covered = Vec::new();
            if v6 || !matches!(self.upper, Upper::Icmp { .. }) {
                covered.extend(addresses);
                covered.extend([0, self.upper_number(v6)]);
                covered.extend(u16_of(bytes.len()).to_be_bytes());
            }
            covered.extend(&bytes);
            bytes[at..at + 2].copy_from_slice(&checksum(&covered).to_be_bytes());
        }
        bytes
    }

    fn found<T>(&self, pick: impl Fn(Wrong) -> Option<T>) -> Option<T> {
        self.wrong.iter().find_map(|wrong| pick(*wrong))
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum::<u32>();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn u16_of(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn byte_of(words: usize) -> u8 {
    u8::try_from(words).unwrap_or(u8::MAX)
}
