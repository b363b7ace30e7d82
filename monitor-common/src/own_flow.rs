//! Flows that this host began: egress leaves a word under each, and a packet that comes in under that word is an answer.
//!
//! A word is bound to a protocol, both addresses and both ports. It ends with time, with a reset, and after
//! [`MOST_ANSWERS`] packets in a row without one of ours, so a peer cannot use a question of long ago to flood the host. A
//! word that another flow has overwritten is no answer: its packets are limited like any others.

use crate::{
    flow::{protocol, tcp},
    names::capacity::{CONTACTED, OWN_FLOWS},
    parse::{Fragment, Frame},
    sketch::{self, CELLS_PER_LINE},
};

/// Which way a packet goes: the remote end is the source on the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// Of one flow: its tag in the lowest 24 bits, answers since our last packet in the next 16, above them when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

/// Packets that may answer one of ours.
pub const MOST_ANSWERS: u64 = 4096;
/// A program that sends from a lower port is a service (RFC 6335: system ports).
const SYSTEM_PORTS: u16 = 1024;

const TAG: u64 = (1 << 24) - 1;
const COUNT_SHIFT: u32 = 24;
const COUNT: u64 = 0xffff << COUNT_SHIFT;
const TIME_SHIFT: u32 = 40;
const TIME: u64 = (1 << 24) - 1;
/// Times are kept in units of 2^34 clock units, 1.07 seconds.
const COARSE: u32 = 34;
/// How long a word holds after our last packet: half a minute; with TCP beyond the two hours of its keep-alives.
const HOLDS: u64 = 28;
const HOLDS_TCP: u64 = 7000;
/// How long a peer counts as contacted: an hour.
const HOLDS_CONTACT: u64 = 3353;

const fn ports(frame: &Frame, way: Way) -> u64 {
    let (remote, local) = match (frame.protocol, way) {
        // Of an echo the type stands where ports would.
        (protocol::ICMP | protocol::ICMPV6, _) => (0, 0),
        (_, Way::In) => (frame.source_port, frame.destination_port),
        (_, Way::Out) => (frame.destination_port, frame.source_port),
    };
    (frame.protocol as u64) << 32 | (remote as u64) << 16 | local as u64
}

/// The hash of a packet's flow under the hash key, the same for both ways.
///
/// Products with a secret keep colliding flows from being worked out; one finaliser spreads them.
#[inline(always)]
pub const fn hash(key: [u64; 2], frame: &Frame, way: Way) -> u64 {
    match way {
        Way::In => of(key, frame.source, frame.destination, ports(frame, way)),
        Way::Out => of(key, frame.destination, frame.source, ports(frame, way)),
    }
}

/// The hash of a question to a group, and of what may answer it: any remote address.
#[inline(always)]
pub const fn group_hash(key: [u64; 2], frame: &Frame, way: Way) -> u64 {
    match way {
        Way::In => of(key, [0; 2], frame.destination, ports(frame, way)),
        Way::Out => of(key, [0; 2], frame.source, ports(frame, way)),
    }
}

#[inline(always)]
const fn of(key: [u64; 2], remote: [u64; 2], local: [u64; 2], ports: u64) -> u64 {
    let low = remote[1].wrapping_add(key[0]).wrapping_mul(key[1] | 1);
    let high = remote[0].wrapping_add(key[1]).wrapping_mul(key[0] | 1);
    let ends = low.wrapping_add(high.rotate_left(32)).wrapping_add(local[0].rotate_left(17) ^ local[1]);
    sketch::mix(ends.wrapping_add(ports.rotate_left(24)))
}

/// The line of a flow with this hash; its two places in it are those of [`sketch::places`].
#[inline(always)]
pub const fn line(hash: u64) -> u32 {
    (hash >> 48) as u32 & (OWN_FLOWS / CELLS_PER_LINE - 1)
}

/// Whether an incoming packet can answer anything at all. `ephemeral` is the lowest port that the host takes for connections
/// of its own: what goes to a lower one is for something that serves.
#[inline(always)]
pub const fn may_answer(frame: &Frame, ephemeral: u32) -> bool {
    if matches!(frame.fragment, Fragment::Later) {
        return false;
    }
    match frame.protocol {
        protocol::TCP => frame.destination_port as u32 >= ephemeral && !frame.opens_connection(),
        protocol::UDP => frame.destination_port as u32 >= ephemeral,
        protocol::ICMP => frame.destination_port >> 8 == 0,
        protocol::ICMPV6 => frame.destination_port >> 8 == 129,
        _ => false,
    }
}

/// Whether a packet that leaves begins a flow of ours, as far as it says so itself; whether a service of ours sent it is
/// for the caller to ask. A UDP packet is a question when its socket is connected to one peer, or when it goes from an
/// ephemeral port to one of those that serve: a service that answers, to a forged address it may be, does neither.
#[inline(always)]
pub const fn begins(frame: &Frame, is_connected: bool, ephemeral: u32) -> bool {
    if matches!(frame.fragment, Fragment::Later) {
        return false;
    }
    match frame.protocol {
        protocol::TCP => frame.opens_connection(),
        protocol::UDP => {
            is_connected || (frame.source_port as u32 >= ephemeral && frame.destination_port < SYSTEM_PORTS)
        }
        protocol::ICMP => frame.destination_port >> 8 == 8,
        protocol::ICMPV6 => frame.destination_port >> 8 == 128,
        _ => false,
    }
}

/// Whether an incoming packet is from a port that reflectors answer from. What comes to the same port is from a peer, as with
/// time servers.
#[inline(always)]
pub const fn may_be_reflected(frame: &Frame) -> bool {
    frame.protocol == protocol::UDP
        && !matches!(frame.fragment, Fragment::Later)
        && frame.source_port != frame.destination_port
        && is_reflector(frame.source_port)
}

/// UDP services that answer a small question of anybody at length (US-CERT TA14-017A, and those seen since).
#[inline(always)]
const fn is_reflector(port: u16) -> bool {
    matches!(
        port,
        17 | 19
            | 53
            | 69
            | 111
            | 123
            | 137
            | 161
            | 389
            | 427
            | 520
            | 1434
            | 1900
            | 3283
            | 3478
            | 3702
            | 5093
            | 5351
            | 5353
            | 5683
            | 10_001
            | 11_211
            | 30_718
            | 37_810
    )
}

/// The question that a packet to a group is: any member may answer it from an address of its own.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half of a mapped address is an IPv4 address")]
pub const fn to_group(frame: &Frame) -> bool {
    let [high, low] = frame.destination;
    if frame.is_v4 { low as u32 >> 28 == 0xe || low as u32 == u32::MAX } else { high >> 56 == 0xff }
}

/// Whether a packet of ours ends its flow at once.
#[inline(always)]
pub const fn ends(frame: &Frame) -> bool {
    frame.protocol == protocol::TCP && frame.tcp_flags & tcp::RST != 0
}

impl Word {
    /// After a packet of ours at `now`.
    #[inline(always)]
    pub const fn sent(hash: u64, now: u64) -> Self {
        Self(((now >> COARSE) & TIME) << TIME_SHIFT | hash & TAG)
    }

    /// Whether it is about the flow with this hash.
    #[inline(always)]
    pub const fn is_of(self, hash: u64) -> bool {
        self.0 != 0 && (self.0 ^ hash) & TAG == 0
    }

    /// Units since our last packet.
    #[inline(always)]
    pub const fn age(self, now: u64) -> u64 {
        ((now >> COARSE).wrapping_sub(self.0 >> TIME_SHIFT)) & TIME
    }

    /// The word after an answer; `None` when the packet is none: too late, or too many in a row.
    #[inline(always)]
    pub const fn answered(self, upper: u8, now: u64) -> Option<Self> {
        let holds = if upper == protocol::TCP { HOLDS_TCP } else { HOLDS };
        if self.age(now) > holds || (self.0 & COUNT) >> COUNT_SHIFT >= MOST_ANSWERS {
            return None;
        }
        Some(Self(self.0 + (1 << COUNT_SHIFT)))
    }
}

/// Of a peer that this host contacted: when, above the tag of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact(pub u64);

impl Contact {
    /// Where the word of a source with this hash ([`sketch::source`]) stands.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
    pub const fn place(source: u64) -> u32 {
        source as u32 & (CONTACTED - 1)
    }

    #[inline(always)]
    pub const fn made(source: u64, now: u64) -> Self {
        Self(((now >> COARSE) & TIME) << TIME_SHIFT | source >> 24)
    }

    /// Whether the source with this hash was contacted within the last hour.
    #[inline(always)]
    pub const fn is_of(self, source: u64, now: u64) -> bool {
        self.0 != 0 && self.0 & (COUNT | TAG) == source >> 24 && Word(self.0).age(now) <= HOLDS_CONTACT
    }
}

#[cfg(test)]
mod tests;
