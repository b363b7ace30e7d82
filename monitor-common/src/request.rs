//! Requests and handshakes: what a packet to a service begins, from its first bytes and one word a connection.
//!
//! In: a packet, its [`Frame`] and the connection's [`Word`]. Out: what it counts as, and the word after it. No byte of the
//! payload leaves this module. The kernel, the tests and the fuzzer run the same code.
//!
//! In clear, a segment that begins with a method is a request (HTTP/1), and so is each HEADERS frame of a client's stream
//! (HTTP/2, RFC 9113). Anything else over TCP, TLS included, is counted by *exchanges*: data that acknowledges more than the
//! last counted data did, or less. A UDP datagram is a request, unless it is of QUIC (RFC 9000), whose Initials are handshakes.

#![expect(clippy::cast_possible_truncation, reason = "words hold parts of numbers, each at its place")]

use crate::{
    flow::{protocol, tcp},
    packet::Packet,
    parse::{Fragment, Frame},
    plain, sketch,
};

mod http2;
pub use http2::{MOST_FRAMES, step};

/// The first of the eight words of a cache line that may hold the word of a connection with this hash; `words` is a power of two.
#[inline(always)]
pub const fn line(hash: u64, words: u32) -> u32 {
    hash as u32 & (words / sketch::CELLS_PER_LINE - 1)
}

/// What is counted, the index of rates and buckets.
pub const REQUESTS: usize = 0;
pub const HANDSHAKES: usize = 1;
/// How many there are.
pub const COUNTED: usize = 2;

/// What kind of connection a [`Word`] is of.
pub mod kind {
    pub const NONE: u32 = 0;
    /// The number is half of where the last counted request began, and half of what it acknowledged.
    pub const HTTP1: u32 = 1;
    /// The number is where the next frame begins.
    pub const HTTP2: u32 = 2;
    /// The number is what the last counted data acknowledged; so for the next.
    pub const TLS: u32 = 3;
    pub const OTHER: u32 = 4;
    pub const QUIC: u32 = 5;
}

/// Of one connection: the number of its kind in the lower half, above it the kind, whether its last request was refused (then
/// the number is where that begins), when it was last used, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

const KIND_SHIFT: u32 = 32;
const REFUSED: u64 = 1 << 35;
const TIME_SHIFT: u32 = 36;
const TIME: u64 = 0xff;
const TAG: u64 = 0xf_ffff << 44;
/// Times are kept in units of 2^36 clock units, 4.3 seconds.
const COARSE: u32 = 36;
/// A word that was not used for as many units may be replaced. Nothing is lost with it: a connection that comes back after so
/// long begins a request.
const HOLDS: u64 = 3;

impl Word {
    pub const NONE: Self = Self(0);

    #[inline(always)]
    const fn new(kind: u32, number: u32) -> Self {
        Self((kind as u64) << KIND_SHIFT | number as u64)
    }

    /// The word of the connection with this hash, used now.
    #[inline(always)]
    #[must_use]
    pub const fn stamped(self, hash: u64, now: u64) -> Self {
        const OWN: u64 = (1 << TIME_SHIFT) - 1;
        Self(self.0 & OWN | (now >> COARSE & TIME) << TIME_SHIFT | hash & TAG)
    }

    /// Whether it is of the connection with this hash.
    #[inline(always)]
    pub const fn is_of(self, hash: u64) -> bool {
        self.kind() != kind::NONE && (self.0 ^ hash) & TAG == 0
    }

    /// Whether another connection may take its place.
    #[inline(always)]
    pub const fn is_free(self, now: u64) -> bool {
        self.kind() == kind::NONE || (now >> COARSE).wrapping_sub(self.0 >> TIME_SHIFT) & TIME >= HOLDS
    }

    #[inline(always)]
    const fn kind(self) -> u32 {
        (self.0 >> KIND_SHIFT) as u32 & 7
    }

    #[inline(always)]
    const fn number(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn is_refused(self) -> bool {
        self.0 & REFUSED != 0
    }

    #[inline(always)]
    const fn refused(kind: u32, number: u32) -> Self {
        Self(Self::new(kind, number).0 | REFUSED)
    }
}

/// What a packet counts as. In the kernel it stands in a map, and each step reads back what the one before it wrote: so the
/// verifier follows every step once.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The connection's word when the packet passes; 0: as it was.
    pub passed: u64,
    /// The same when it is refused.
    pub refused: u64,
    /// Requests or handshakes that it begins.
    pub units: u32,
    /// [`REQUESTS`] or [`HANDSHAKES`].
    pub what: u32,
    /// 1: it follows a refused request of its connection, whose server could not read it.
    pub follows: u32,
    /// 1 while there may be more frames of HTTP/2 to be walked, by [`step`].
    pub walks: u32,
    /// Where in the frame the payload begins, and where in the payload the next frame does.
    pub start: u32,
    pub at: u32,
}
plain!(
    Counted {
        passed: u64,
        refused: u64,
        units: u32,
        what: u32,
        follows: u32,
        walks: u32,
        start: u32,
        at: u32,
    } = 40
);

impl Counted {
    /// Begins nothing.
    pub const NOTHING: Self =
        Self { passed: 0, refused: 0, units: 0, what: 0, follows: 0, walks: 0, start: 0, at: 0 };

    /// The same where there is no room for the connection's word: of what only an exchange tells, segments that end a message
    /// count, so that nobody is charged for each part of a long one.
    #[inline(always)]
    #[must_use]
    pub const fn untracked(self, frame: &Frame) -> Self {
        let kind = Word(self.passed).kind();
        let is_part = frame.tcp_flags & tcp::PSH == 0 && (kind == kind::TLS || kind == kind::OTHER);
        if is_part && self.what == REQUESTS as u32 { Self::NOTHING } else { self }
    }

    #[inline(always)]
    const fn keeping(passed: Word) -> Self {
        Self { passed: passed.0, ..Self::NOTHING }
    }

    #[inline(always)]
    const fn of(what: usize, units: u32, passed: Word, refused: Word) -> Self {
        Self { passed: passed.0, refused: refused.0, units, what: what as u32, ..Self::NOTHING }
    }
}

/// Whether a packet can begin anything: asked before its connection is looked up.
#[inline(always)]
pub const fn may_count(frame: &Frame) -> bool {
    if !matches!(frame.fragment, Fragment::Whole) || frame.payload == 0 {
        return false;
    }
    match frame.protocol {
        protocol::TCP => frame.tcp_flags & (tcp::SYN | tcp::RST | tcp::ACK) == tcp::ACK,
        protocol::UDP => true,
        _ => false,
    }
}

/// Whether a packet begins a connection, whose word is then of another one.
#[inline(always)]
pub const fn opens(frame: &Frame) -> bool {
    matches!(frame.fragment, Fragment::Whole)
        && frame.protocol == protocol::TCP
        && frame.tcp_flags & tcp::SYN != 0
}

/// Whether a packet has to do with requests at all: asked of every packet of a service that counts them.
#[inline(always)]
pub const fn concerns(frame: &Frame) -> bool {
    may_count(frame) || opens(frame)
}

/// The hash of a packet's connection, from that of its source under the hash key.
#[inline(always)]
pub const fn hash(key: [u64; 2], frame: &Frame) -> u64 {
    let ports = (frame.source_port as u64) << 16 | frame.destination_port as u64;
    let far = sketch::source(key, frame.source[0], frame.source[1]);
    let near = frame.destination[0].rotate_left(17) ^ frame.destination[1];
    sketch::mix(far ^ near.wrapping_add(ports << 32 | frame.protocol as u64))
}

/// What the packet counts as. Only of one that [`may_count`]; `word` is [`Word::NONE`] where nothing is known.
pub fn count<P: Packet + ?Sized>(packet: &P, frame: &Frame, word: Word) -> Counted {
    let mut counted = begin(packet, frame, word);
    let mut steps = 0;
    while counted.walks != 0 && steps < MOST_FRAMES {
        step(packet, frame, &mut counted);
        steps += 1;
    }
    counted
}

/// The first part of [`count`]; the others are at most [`MOST_FRAMES`] of [`step`].
#[inline(always)]
pub fn begin<P: Packet + ?Sized>(packet: &P, frame: &Frame, word: Word) -> Counted {
    if frame.protocol == protocol::UDP { datagram(packet, frame, word) } else { segment(packet, frame, word) }
}

#[inline(always)]
fn segment<P: Packet + ?Sized>(packet: &P, frame: &Frame, word: Word) -> Counted {
    let (begins, number) = (frame.sequence, word.number());
    if word.is_refused() {
        if is_after(begins, number) {
            return Counted { follows: 1, ..Counted::keeping(word) };
        }
        if !is_after(begins.wrapping_add(frame.payload), number) {
            return Counted::keeping(word);
        }
    }
    let start = frame.transport_offset + header_length(packet, frame);
    let first = first_bytes(packet, start, frame.payload);
    match word.kind() {
        kind::HTTP1 => http1(frame, first, word),
        kind::HTTP2 => http2::walk(packet, frame, start, word),
        kind::TLS => exchange(frame, first, word, kind::TLS),
        kind::OTHER => exchange(frame, first, word, kind::OTHER),
        _ => unknown(packet, frame, start, first),
    }
}

/// The first data of a connection of which nothing is known.
#[inline(always)]
fn unknown<P: Packet + ?Sized>(packet: &P, frame: &Frame, start: u32, first: u64) -> Counted {
    if first == PREFACE {
        let begun = Word::new(kind::HTTP2, frame.sequence.wrapping_add(http2::PREFACE));
        return http2::walk(packet, frame, start, begun);
    }
    if is_method(first) {
        return http1(frame, first, Word::NONE);
    }
    if is_client_hello(first) {
        let acknowledged = Word::new(kind::TLS, frame.acknowledged);
        return Counted::of(HANDSHAKES, 1, acknowledged, Word::refused(kind::TLS, frame.sequence));
    }
    if http2::begins_stream(packet, start) {
        return http2::walk(packet, frame, start, Word::new(kind::HTTP2, frame.sequence));
    }
    let is_tls = is_record(first);
    exchange(frame, first, Word::NONE, if is_tls { kind::TLS } else { kind::OTHER })
}

#[inline(always)]
fn http1(frame: &Frame, first: u64, word: Word) -> Counted {
    // Half of each number is enough, since only whether they are the same is asked.
    let both = frame.sequence << 16 | frame.acknowledged & 0xffff;
    let differs = both ^ word.number();
    let is_known = word.kind() != kind::NONE && !word.is_refused();
    let is_again = is_known && differs >> 16 == 0;
    let is_exchange = !is_known || differs & 0xffff != 0;
    if is_again || !(is_exchange || is_method(first)) {
        return Counted::keeping(word);
    }
    Counted::of(REQUESTS, 1, Word::new(kind::HTTP1, both), Word::refused(kind::HTTP1, frame.sequence))
}

#[inline(always)]
fn exchange(frame: &Frame, first: u64, word: Word, kind: u32) -> Counted {
    let passed = Word::new(kind, frame.acknowledged);
    let refused = Word::refused(kind, frame.sequence);
    if kind == kind::TLS && word.is_refused() && is_client_hello(first) {
        return Counted::of(HANDSHAKES, 1, passed, refused);
    }
    let is_known = word.kind() != kind::NONE && !word.is_refused();
    if (is_known && frame.acknowledged == word.number()) || (kind == kind::TLS && is_not_data(first)) {
        return Counted::keeping(if word.kind() == kind::NONE { passed } else { word });
    }
    Counted::of(REQUESTS, 1, passed, refused)
}

#[inline(always)]
fn datagram<P: Packet + ?Sized>(packet: &P, frame: &Frame, word: Word) -> Counted {
    const UDP_HEADER: u32 = 8;
    let first = first_bytes(packet, frame.transport_offset + UDP_HEADER, frame.payload);
    let version = (first >> 24) as u32;
    let is_long = first >> 63 == 1 && (version == QUIC_1 || version == QUIC_2);
    if is_long {
        // The type of an Initial is 0 in the first version (RFC 9000, 17.2) and 1 in the second (RFC 9369, 3.2).
        let wanted = if version == QUIC_1 { 0xc } else { 0xd };
        let began = Word::new(kind::QUIC, 0);
        return if first >> 60 == wanted {
            Counted::of(HANDSHAKES, 1, began, Word::NONE)
        } else {
            Counted::keeping(began)
        };
    }
    if word.kind() == kind::QUIC {
        return Counted::keeping(word);
    }
    Counted::of(REQUESTS, 1, Word::NONE, Word::NONE)
}

const QUIC_1: u32 = 1;
const QUIC_2: u32 = 0x6b33_43cf;

/// Whether one number comes after another in TCP's sequence space.
#[inline(always)]
const fn is_after(one: u32, other: u32) -> bool {
    let ahead = one.wrapping_sub(other);
    ahead != 0 && ahead >> 31 == 0
}

#[inline(always)]
pub(crate) fn header_length<P: Packet + ?Sized>(packet: &P, frame: &Frame) -> u32 {
    const DATA_OFFSET: u32 = 12;
    match packet.read::<2>(frame.transport_offset + DATA_OFFSET) {
        Some([offset, _]) => u32::from(offset >> 4) * 4,
        None => 20,
    }
}

/// The first eight bytes of a payload as a number, the first byte highest; what the payload does not have is 0.
#[inline(always)]
pub(crate) fn first_bytes<P: Packet + ?Sized>(packet: &P, start: u32, payload: u32) -> u64 {
    // Of a shorter payload those that end with it: a frame may end there too, and headers stand before.
    let missing = 8u32.saturating_sub(payload);
    match packet.read::<8>(start - missing) {
        Some(bytes) if payload != 0 => u64::from_be_bytes(bytes) << (missing * 8),
        _ => 0,
    }
}

/// `PRI * HT`, with which HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: u64 = u64::from_be_bytes(*b"PRI * HT");

/// Whether the bytes begin with a method of HTTP and a space (RFC 9110, 9.3; RFC 5789).
#[inline(always)]
const fn is_method(first: u64) -> bool {
    const fn begins(first: u64, method: [u8; 8], length: u32) -> bool {
        (first ^ u64::from_be_bytes(method)) >> (64 - 8 * length) == 0
    }
    begins(first, *b"GET \0\0\0\0", 4)
        || begins(first, *b"POST \0\0\0", 5)
        || begins(first, *b"PUT \0\0\0\0", 4)
        || begins(first, *b"HEAD \0\0\0", 5)
        || begins(first, *b"DELETE \0", 7)
        || begins(first, *b"OPTIONS ", 8)
        || begins(first, *b"PATCH \0\0", 6)
        || begins(first, *b"CONNECT ", 8)
        || begins(first, *b"TRACE \0\0", 6)
}

/// Whether the bytes begin with a record of TLS (RFC 8446, 5.1).
#[inline(always)]
const fn is_record(first: u64) -> bool {
    let (kind, major) = ((first >> 56) as u8, (first >> 48) as u8);
    kind >= 0x14 && kind <= 0x17 && major == 3
}

/// A record of a handshake whose message is a `ClientHello`.
#[inline(always)]
const fn is_client_hello(first: u64) -> bool {
    is_record(first) && (first >> 56) as u8 == 0x16 && (first >> 16) as u8 == 1
}

/// A record of TLS that begins no request: anything but application data, and of that the alert that ends a connection, which
/// has the length of no other record (RFC 8446, 5.2 and 6).
#[inline(always)]
const fn is_not_data(first: u64) -> bool {
    const CLOSING_ALERT: u16 = 19;
    const DATA: u8 = 0x17;
    is_record(first) && ((first >> 56) as u8 != DATA || (first >> 24) as u16 == CLOSING_ALERT)
}

#[cfg(test)]
mod tests;
