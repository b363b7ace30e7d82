//! The same traffic as others might have recorded it: other addresses, IPv6 instead of IPv4, losses, packets seen twice,
//! one direction, a late start, jitter, another speed, other traffic beside it.
//!
//! Frames in, frames out. Checksums are not written anew: nothing under test reads them.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::timeline::{Dice, Timed, Traffic};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

/// A new name for every address, made up when it is first seen and never given twice.
#[derive(Debug)]
pub struct Names {
    dice: Dice,
    known: HashMap<IpAddr, IpAddr>,
    taken: HashSet<IpAddr>,
    /// Inside addresses become outside ones and the reverse.
    pub turned: bool,
}

impl Names {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), known: HashMap::new(), taken: HashSet::new(), turned: false }
    }

    pub fn of(&mut self, address: IpAddr) -> IpAddr {
        if keeps_its_name(address) {
            return address;
        }
        if let Some(name) = self.known.get(&address) {
            return *name;
        }
        let inside = is_private(address) != self.turned;
        let name = loop {
            let word = self.dice.next().to_be_bytes();
            let name = match address {
                IpAddr::V4(old) => {
                    // Whether it may be a broadcast shows in the last byte: that is kept apart.
                    let last = if old.octets()[3] == 255 { 255 } else { word[3] % 254 + 1 };
                    let first = if inside { 10 } else { 20 + word[0] % 80 };
                    IpAddr::from([first, word[1], word[2], last])
                }
                IpAddr::V6(old) => {
                    let mut octets = old.octets();
                    octets[8..].copy_from_slice(&word);
                    let (first, second) = if inside { (0xfd, word[1] % 4) } else { (0x20, 0x01) };
                    (octets[0], octets[1]) = (first, second);
                    octets[2..8].copy_from_slice(&[0, 0, 0, 0, 0, word[0] % 8]);
                    IpAddr::from(octets)
                }
            };
            if self.taken.insert(name) {
                break name;
            }
        };
        self.known.insert(address, name);
        name
    }
}

fn keeps_its_name(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_multicast() || v6.is_unspecified() || v6.is_loopback() || v6.octets()[0] == 0xfe
        }
    }
}

pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.octets()[0] & 0xfe == 0xfc || v6.octets()[0] == 0xfe,
    }
}

/// Where the network header stands, and its `EtherType`.
fn network(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        at += 2;
        match kind {
            0x8100 | 0x88a8 => at += 2,
            _ => return Some((at, kind)),
        }
    }
}

fn address<const BYTES: usize>(frame: &[u8], at: usize) -> Option<IpAddr>
where
    [u8; BYTES]: Into<IpAddr>,
{
    Some(<[u8; BYTES]>::try_from(frame.get(at..at + BYTES)?).ok()?.into())
}

fn rename_at(frame: &mut [u8], at: usize, wide: bool, names: &mut Names) {
    let old = if wide { address::<16>(frame, at) } else { address::<4>(frame, at) };
    match old.map(|old| names.of(old)) {
        Some(IpAddr::V4(name)) => frame[at..at + 4].copy_from_slice(&name.octets()),
        Some(IpAddr::V6(name)) => frame[at..at + 16].copy_from_slice(&name.octets()),
        None => {}
    }
}

fn rename_packet(frame: &mut [u8], at: usize, kind: u16, names: &mut Names) {
    let Some(first) = frame.get(at).copied() else { return };
    match kind {
        IPV4 => {
            rename_at(frame, at + 12, false, names);
            rename_at(frame, at + 16, false, names);
            let upper = at + usize::from(first & 0x0f) * 4;
            let is_error = matches!(frame.get(upper), Some(3 | 4 | 5 | 11 | 12));
            if frame.get(at + 9) == Some(&1) && is_error {
                rename_packet(frame, upper + 8, IPV4, names);
            }
        }
        IPV6 => {
            rename_at(frame, at + 8, true, names);
            rename_at(frame, at + 24, true, names);
            if frame.get(at + 6) == Some(&58) {
                match frame.get(at + 40) {
                    Some(1..=4) => rename_packet(frame, at + 48, IPV6, names),
                    Some(135 | 136) => rename_at(frame, at + 48, true, names),
                    _ => {}
                }
            }
        }
        ARP => {
            rename_at(frame, at + 14, false, names);
            rename_at(frame, at + 24, false, names);
        }
        _ => {}
    }
}

impl Traffic {
    #[must_use]
    pub fn renamed(mut self, names: &mut Names) -> Self {
        for (_, frame) in &mut self.frames {
            if let Some((at, kind)) = network(frame) {
                rename_packet(frame, at, kind, names);
            }
        }
        self
    }

    /// Moved so that the first frame is at `begins`, and slower by `percent` of its own speed.
    #[must_use]
    pub fn moved(mut self, begins: u64, percent: u64) -> Self {
        let first = self.frames.iter().map(|(at, _)| *at).min().unwrap_or(0);
        for (at, _) in &mut self.frames {
            *at = begins + (*at - first) / 100 * percent;
        }
        self
    }

    /// Without `per_mille` of the frames.
    #[must_use]
    pub fn lossy(mut self, per_mille: u64, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        self.frames.retain(|_| dice.below(1000) >= per_mille);
        self
    }

    /// Every frame is seen again after `later`, as where two ports are mirrored.
    #[must_use]
    pub fn twice(mut self, later: u64) -> Self {
        let again: Vec<Timed> = self.frames.iter().map(|(at, frame)| (at + later, frame.clone())).collect();
        self.frames.extend(again);
        self.sorted()
    }

    /// Every frame is up to `most` late, so that neighbours change places.
    #[must_use]
    pub fn jittered(mut self, most: u64, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        for (at, _) in &mut self.frames {
            *at += dice.below(most);
        }
        self.sorted()
    }

    /// Only what these addresses send.
    #[must_use]
    pub fn only_from(mut self, senders: &[IpAddr]) -> Self {
        self.frames.retain(|(_, frame)| ends(frame).is_some_and(|(source, _)| senders.contains(&source)));
        self
    }

    /// Without the first `percent` of the frames.
    #[must_use]
    pub fn from_the_middle(mut self, percent: usize) -> Self {
        let gone = self.frames.len() * percent / 100;
        self.frames.drain(..gone);
        self
    }

    /// Captured with a snap length: what is behind it is zeros, as a reader would fill it.
    #[must_use]
    pub fn snapped(mut self, length: usize) -> Self {
        for (_, frame) in &mut self.frames {
            if frame.len() > length {
                frame[length..].fill(0);
            }
        }
        self
    }

    /// IPv6 in place of IPv4, with the old address in the new one's end.
    #[must_use]
    pub fn over_ipv6(mut self) -> Self {
        for (_, frame) in &mut self.frames {
            if let Some((at, IPV4)) = network(frame)
                && let Some(packet) = packet_over_ipv6(&frame[at..])
            {
                frame.truncate(at - 2);
                frame.extend(IPV6.to_be_bytes());
                frame.extend(packet);
            }
        }
        self
    }
}

/// Source and destination of a frame.
pub fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (at, kind) = network(frame)?;
    match kind {
        IPV4 => Some((address::<4>(frame, at + 12)?, address::<4>(frame, at + 16)?)),
        IPV6 => Some((address::<16>(frame, at + 8)?, address::<16>(frame, at + 24)?)),
        _ => None,
    }
}

/// The IPv6 name of an IPv4 address: private ones stay inside, groups stay groups.
pub fn wide(address: Ipv4Addr) -> Ipv6Addr {
    let prefix = match IpAddr::V4(address) {
        _ if address.is_multicast() || address.is_broadcast() => 0xff02,
        name if is_private(name) => 0xfd00,
        _ => 0x2001,
    };
    let [a, b, c, d] = address.octets();
    let pair = |one: u8, other: u8| u16::from_be_bytes([one, other]);
    Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, pair(a, b), pair(c, d))
}

fn packet_over_ipv6(v4: &[u8]) -> Option<Vec<u8>> {
    let header = usize::from(v4.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*v4.get(2)?, *v4.get(3)?]));
    let fragment = u16::from_be_bytes([*v4.get(6)?, *v4.get(7)?]);
    if header < 20 || total < header {
        return None;
    }
    let renamed = |at: usize| -> Option<Ipv6Addr> {
        Some(wide(Ipv4Addr::from(<[u8; 4]>::try_from(v4.get(at..at + 4)?).ok()?)))
    };
    let mut upper = v4.get(header..total.min(v4.len()))?.to_vec();
    let mut next = *v4.get(9)?;
    if next == 1 {
        next = 58;
        let offset = fragment << 3;
        if offset == 0 && upper.len() >= 8 {
            let (kind, code) = match (upper[0], upper[1]) {
                (8, _) => (128, 0),
                (0, _) => (129, 0),
                (3, 4) => (2, 0),
                (3, 3) => (1, 4),
                (3, _) => (1, 0),
                (11, code) => (3, code),
                (other, code) => (other | 0x80, code),
            };
            (upper[0], upper[1]) = (kind, code);
            if kind < 5 {
                let quoted = packet_over_ipv6(&upper[8..]).unwrap_or_default();
                upper.truncate(8);
                upper.extend(quoted);
            }
        }
    }
    if fragment & 0x3fff != 0 {
        let field = ((fragment & 0x1fff) << 3 | (fragment >> 13 & 1)).to_be_bytes();
        let mut chain = vec![next, 0, field[0], field[1], 0, 0, v4[4], v4[5]];
        chain.extend(upper);
        (upper, next) = (chain, 44);
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(upper.len()).ok()?.to_be_bytes());
    packet.extend([next, v4[8]]);
    packet.extend(renamed(12)?.octets());
    packet.extend(renamed(16)?.octets());
    packet.extend(upper);
    Some(packet)
}
