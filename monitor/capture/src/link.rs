//! Link types: which ones we read, how others are called, and the Ethernet frame that a packet becomes.
//!
//! Numbers and layouts are those of <https://www.tcpdump.org/linktypes.html>. What a capture left out of a packet is filled
//! up with zeros, so that a frame is as long as it was on the wire.

use super::{Packet, u16_at, u32_at};

/// An Ethernet header.
pub const SHORTEST_FRAME: usize = 14;
/// The longest IP packet behind an Ethernet header. Nothing longer is judged, and nothing is filled up beyond it.
pub const LONGEST_FRAME: usize = SHORTEST_FRAME + 65_535;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Behind a header that names no protocol we know: a frame that is judged as neither IP nor ARP.
const UNKNOWN: u16 = 0xffff;

/// A link type that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    RawIp,
    /// `tcpdump -i any`, and its second version.
    LinuxCooked,
    LinuxCooked2,
    /// BSD loopback: four bytes of address family before the packet.
    Loopback,
    /// Netfilter's log.
    Nflog,
}

impl Link {
    /// The one with this number, if it is read.
    pub const fn of(link_type: u16) -> Option<Self> {
        Some(match link_type {
            1 => Self::Ethernet,
            // 12 and 14 are what some BSDs wrote instead of 101; 228 and 229 are IPv4 and IPv6 alone.
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            0 | 108 => Self::Loopback,
            113 => Self::LinuxCooked,
            276 => Self::LinuxCooked2,
            239 => Self::Nflog,
            _ => return None,
        })
    }

    /// The name in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::RawIp => "raw_ip",
            Self::LinuxCooked => "linux_sll",
            Self::LinuxCooked2 => "linux_sll2",
            Self::Loopback => "bsd_loopback",
            Self::Nflog => "nflog",
        }
    }

    /// Appends the Ethernet frame of `packet` to `frames`; false, and nothing appended, when none can be made of it.
    pub fn append(self, packet: &Packet<'_>, frames: &mut Vec<u8>) -> bool {
        let Some((head, skipped)) = self.head(packet) else { return false };
        let Some(body) = packet.data.get(skipped..) else { return false };
        let synthetic = if self == Self::Ethernet { &[][..] } else { &head[..] };
        let captured = synthetic.len() + body.len();
        let on_the_wire = (packet.length as usize).saturating_sub(skipped).saturating_add(synthetic.len());
        if !(SHORTEST_FRAME..=LONGEST_FRAME).contains(&captured) {
            return false;
        }
        let end = frames.len() + on_the_wire.clamp(captured, LONGEST_FRAME);
        frames.extend_from_slice(synthetic);
        frames.extend_from_slice(body);
        frames.resize(end, 0);
        true
    }

    /// The Ethernet header that stands for the packet's own, and how long that is. (Ethernet keeps its own.)
    fn head(self, packet: &Packet<'_>) -> Option<([u8; SHORTEST_FRAME], usize)> {
        let Packet { data, big_endian, .. } = *packet;
        let of = |protocol, skipped| Some((ethernet([0; 6], protocol), skipped));
        match self {
            Self::Ethernet => of(0, 0),
            Self::RawIp => of(protocol_of(data)?, 0),
            Self::Loopback => of(family(data)?, 4),
            Self::Nflog => {
                let start = nflog_payload(data, big_endian)?;
                of(protocol_of(data.get(start..)?)?, start)
            }
            Self::LinuxCooked => {
                let (length, sender) = (u16_at(data.get(..16)?, 4, true), data.get(6..12)?);
                Some((ethernet(mac(length, sender), u16_at(data, 14, true)), 16))
            }
            Self::LinuxCooked2 => {
                let head = data.get(..20)?;
                let (length, sender) = (u16::from(head[11]), head.get(12..18)?);
                Some((ethernet(mac(length, sender), u16_at(head, 0, true)), 20))
            }
        }
    }
}

/// A header to nobody in particular.
fn ethernet(sender: [u8; 6], protocol: u16) -> [u8; SHORTEST_FRAME] {
    let mut head = [0; SHORTEST_FRAME];
    head[6..12].copy_from_slice(&sender);
    head[12..].copy_from_slice(&protocol.to_be_bytes());
    head
}

/// The sender's address, when it is one of Ethernet.
fn mac(length: u16, address: &[u8]) -> [u8; 6] {
    if length == 6 { super::number(address, 0) } else { [0; 6] }
}

/// By the version of the IP header.
fn protocol_of(packet: &[u8]) -> Option<u16> {
    Some(match packet.first()? >> 4 {
        4 => IPV4,
        6 => IPV6,
        _ => UNKNOWN,
    })
}

/// The address family is in the order of the machine that captured, whatever the file's order is; `AF_INET6` has another
/// number on every system.
fn family(data: &[u8]) -> Option<u16> {
    let data = data.get(..4)?;
    let (big, little) = (u32_at(data, 0, true), u32_at(data, 0, false));
    Some(match big.min(little) {
        2 => IPV4,
        10 | 24 | 28 | 30 => IPV6,
        _ => UNKNOWN,
    })
}

/// Where the packet begins behind netfilter's attributes.
fn nflog_payload(data: &[u8], big_endian: bool) -> Option<usize> {
    const PAYLOAD: u16 = 9;
    let mut at = 4;
    loop {
        let head = data.get(at..at + 4)?;
        let (length, kind) = (u16_at(head, 0, big_endian), u16_at(head, 2, big_endian));
        if kind & 0x7fff == PAYLOAD {
            return Some(at + 4);
        }
        // An attribute counts its own head.
        at += usize::from(length.max(4)).next_multiple_of(4);
    }
}

/// A link type for people: its name where we know one, and its number.
pub fn name_of(link_type: u16) -> String {
    let name = match link_type {
        6 => "token ring",
        9 | 50 => "PPP",
        10 => "FDDI",
        51 => "PPPoE",
        100 => "ATM",
        104 => "Cisco HDLC",
        105 => "IEEE 802.11",
        107 => "frame relay",
        119 | 127 | 163 => "IEEE 802.11 with a radio header",
        187 | 201 => "Bluetooth",
        189 | 220 | 249 => "USB",
        192 => "per-packet information",
        195 | 215 | 230 => "IEEE 802.15.4",
        227 => "CAN",
        253 => "netlink",
        _ => {
            return Link::of(link_type).map_or_else(
                || format!("link type {link_type}"),
                |link| format!("{} (link type {link_type})", link.label()),
            );
        }
    };
    format!("{name} (link type {link_type})")
}
