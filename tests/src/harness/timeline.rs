//! Timed frames: conversations as hosts have them, written with the packet builder, for tests that need hours of traffic.
//!
//! Addresses, times and sizes in, frames out. Everything is made from a seed, so two runs see the same packets.

use super::packet::{Packet, flag, packet};

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1000 * MS;
/// When made-up traffic begins, in nanoseconds since the epoch.
pub const EPOCH: u64 = 1_700_000_000 * S;

/// One frame and when it was seen, in nanoseconds since the epoch.
pub type Timed = (u64, Vec<u8>);

/// Frames in any order; [`Traffic::sorted`] puts them in that of time.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pub frames: Vec<Timed>,
}

/// How a connection is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
    /// It goes on after the capture.
    Open,
}

/// What is said in one turn: after a pause, so many bytes up and down.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub pause: u64,
    pub up: usize,
    pub down: usize,
}

pub const fn turn(pause: u64, up: usize, down: usize) -> Turn {
    Turn { pause, up, down }
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % if limit == 0 { 1 } else { limit }
    }

    /// Something between `from` and `to`.
    pub const fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True `percent` times out of a hundred.
    pub const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// `value`, off by up to `percent` of it on either side.
    pub const fn about(&mut self, value: u64, percent: u64) -> u64 {
        let off = value / 100 * percent;
        value - off + self.below(2 * off + 1)
    }

    pub const fn port(&mut self) -> u16 {
        #[expect(clippy::cast_possible_truncation, reason = "below 61000")]
        {
            self.between(32_768, 60_999) as u16
        }
    }
}

const TRIP: u64 = 12 * MS;
const SEGMENT: usize = 1400;

/// Ports on which conversations begin with TLS.
const SEALED: [u16; 10] = [443, 465, 636, 853, 993, 995, 5223, 5228, 8443, 8883];
const HELLO: [u8; 11] = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
const ANSWER: [u8; 11] = [0x16, 3, 3, 0, 76, 2, 0, 0, 72, 3, 3];

/// How the data of this turn begins on this port: from the client, from the server.
const fn sealed(port: u16, turn: usize) -> (&'static [u8], &'static [u8]) {
    let mut known = 0;
    while turn == 0 && known < SEALED.len() {
        if SEALED[known] == port {
            return (&HELLO, &ANSWER);
        }
        known += 1;
    }
    (&[], &[])
}

impl Traffic {
    pub fn put(&mut self, at: u64, frame: &Packet) {
        self.frames.push((at, frame.build()));
    }

    pub fn add(&mut self, other: Self) -> &mut Self {
        self.frames.extend(other.frames);
        self
    }

    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.frames.sort_by_key(|(at, _)| *at);
        self
    }

    /// One TCP segment.
    pub fn segment(&mut self, at: u64, from: (&str, u16), to: (&str, u16), flags: u8, bytes: usize) {
        let frame = packet().between(from.0, to.0).tcp(from.1, to.1, flags).payload_bytes(bytes);
        self.put(at, &frame);
    }

    /// One TCP segment that says this.
    pub fn said(&mut self, at: u64, from: (&str, u16), to: (&str, u16), bytes: &[u8]) {
        let frame = packet().between(from.0, to.0).tcp(from.1, to.1, flag::PSH | flag::ACK).payload(bytes);
        self.put(at, &frame);
    }

    /// A connection from its handshake on; the answer is when it was over.
    pub fn tcp(
        &mut self,
        at: u64,
        client: (&str, u16),
        server: (&str, u16),
        turns: &[Turn],
        end: End,
    ) -> u64 {
        self.segment(at, client, server, flag::SYN, 0);
        self.segment(at + TRIP, server, client, flag::SYN | flag::ACK, 0);
        self.segment(at + TRIP + MS, client, server, flag::ACK, 0);
        let mut now = at + TRIP + 2 * MS;
        for (number, turn) in turns.iter().enumerate() {
            let (hello, answer) = sealed(server.1, number);
            now = self.stream(now + turn.pause, client, server, turn.up, hello);
            now = self.stream(now + if turn.up > 0 { TRIP } else { 0 }, server, client, turn.down, answer);
        }
        match end {
            End::Fin => {
                self.segment(now, client, server, flag::FIN | flag::ACK, 0);
                self.segment(now + TRIP, server, client, flag::FIN | flag::ACK, 0);
                self.segment(now + TRIP + MS, client, server, flag::ACK, 0);
            }
            End::Reset => self.segment(now, client, server, flag::RST | flag::ACK, 0),
            End::Open => {}
        }
        now + 2 * TRIP
    }

    /// Turns of an open connection.
    pub fn talk(&mut self, at: u64, client: (&str, u16), server: (&str, u16), turns: &[Turn]) -> u64 {
        let mut now = at;
        for turn in turns {
            now += turn.pause;
            now = self.stream(now, client, server, turn.up, &[]);
            now = self.stream(now + if turn.up > 0 { TRIP } else { 0 }, server, client, turn.down, &[]);
        }
        now
    }

    /// So many bytes, of which the first say what they are.
    fn stream(
        &mut self,
        at: u64,
        from: (&str, u16),
        to: (&str, u16),
        bytes: usize,
        starts: &'static [u8],
    ) -> u64 {
        let (mut now, mut left, mut sent) = (at, bytes, 0);
        while left > 0 {
            let piece = left.min(SEGMENT);
            let mut data = vec![0x5a; piece];
            if sent == 0 && starts.len() < piece {
                data[..starts.len()].copy_from_slice(starts);
            }
            self.said(now, from, to, &data);
            left -= piece;
            sent += 1;
            if sent % 2 == 0 || left == 0 {
                self.segment(now + MS, to, from, flag::ACK, 0);
            }
            now += MS / 4;
        }
        now
    }

    pub fn refused(&mut self, at: u64, client: (&str, u16), server: (&str, u16)) {
        self.segment(at, client, server, flag::SYN, 0);
        self.segment(at + TRIP, server, client, flag::RST | flag::ACK, 0);
    }

    /// SYNs that nobody answers, with this many retries.
    pub fn unanswered(&mut self, at: u64, client: (&str, u16), server: (&str, u16), retries: u32) {
        for retry in 0..=retries {
            self.segment(at + ((1 << retry) - 1) * S, client, server, flag::SYN, 0);
        }
    }

    /// A datagram, and its answer's bytes when there is one.
    pub fn datagram(&mut self, at: u64, from: (&str, u16), to: (&str, u16), up: usize, down: Option<usize>) {
        self.put(at, &packet().between(from.0, to.0).udp(from.1, to.1).payload_bytes(up));
        if let Some(down) = down {
            self.put(at + TRIP, &packet().between(to.0, from.0).udp(to.1, from.1).payload_bytes(down));
        }
    }

    pub fn ping(&mut self, at: u64, from: &str, to: &str, bytes: usize, answered: bool) {
        let (ask, answer) = if from.contains(':') { (128, 129) } else { (8, 0) };
        self.put(at, &packet().between(from, to).icmp(ask, 0).payload_bytes(bytes));
        if answered {
            self.put(at + TRIP, &packet().between(to, from).icmp(answer, 0).payload_bytes(bytes));
        }
    }

    /// An ICMP "unreachable" (port, unless `code` says otherwise) of `router` about a datagram.
    pub fn unreachable(&mut self, at: u64, router: &str, code: u8, quoted: &Packet, back_to: &str) {
        let (kind, code) =
            if router.contains(':') { (1, if code == 3 { 4 } else { code }) } else { (3, code) };
        self.put(at, &packet().between(router, back_to).icmp(kind, code).embed(quoted));
    }

    pub fn arp(&mut self, at: u64, mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) {
        self.put(at, &packet().macs(mac, [0xff; 6]).arp(1, sender, target));
    }

    /// A neighbour solicitation (RFC 4861) for `target`.
    pub fn solicitation(&mut self, at: u64, from: &str, target: std::net::Ipv6Addr) {
        let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
        group[13..].copy_from_slice(&target.octets()[13..]);
        let group = std::net::Ipv6Addr::from(group).to_string();
        self.put(at, &packet().between(from, &group).icmp(135, 0).payload(&target.octets()));
    }
}
