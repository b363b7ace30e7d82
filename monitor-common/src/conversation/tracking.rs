//! Frames in; out comes which conversation they belong to, whether they may begin one, what they change in it, and
//! whether a record is due. Values only: the table, the clock and the question who is inside are the caller's.

use super::{Conversation, ConversationKey, Direction, note, outcome, record_kind, state};
use crate::{
    bucket::UNITS_PER_NS,
    flow::{protocol, tcp},
    parse::{Fragment, Frame},
    plain::Plain,
};

/// Clock units per millisecond and per second.
pub const MILLISECOND: u64 = UNITS_PER_NS * 1_000_000;
pub const SECOND: u64 = MILLISECOND * 1000;
/// Silence after which data begins a new burst.
pub const BURST_GAP: u64 = SECOND;
/// Payload from which a packet carries data; below it is a keep-alive.
pub const DATA_BYTES: u32 = 2;

/// In [`Conversation::forward_flags`], above the eight flags of TCP: the initiator acknowledged something.
pub const HANDSHAKE_REPORTED: u32 = 1 << 8;

const ECHO_V4: u16 = 8 << 8;
const ECHO_V6: u16 = 128 << 8;
const ECHO_REPLY_V4: u16 = 0;
const ECHO_REPLY_V6: u16 = 129 << 8;

/// Where a frame runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The sender is inside; always true on egress.
    pub source_inside: bool,
    pub destination_inside: bool,
    /// Conversations without an inside end are followed too ([`crate::rule::setting::TRACK_ALL`]).
    pub track_all: bool,
}

/// What a frame is on the wire. A host hands a large segment to its network card as one frame, and the card cuts it (GSO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnWire {
    /// At least 1.
    pub packets: u32,
    /// Of whole frames, each with its headers.
    pub bytes: u32,
}

impl OnWire {
    /// A frame that goes over the wire as it is.
    #[inline(always)]
    pub const fn whole(frame: &Frame) -> Self {
        Self { packets: 1, bytes: frame.length }
    }

    /// A frame that is cut into `segments` (0: its maker left that open) of at most `size` bytes of payload (0: it is
    /// not cut). Every segment repeats the headers.
    #[inline(always)]
    pub const fn cut(frame: &Frame, segments: u32, size: u32) -> Self {
        let packets = if segments != 0 {
            segments
        } else if size != 0 {
            frame.payload.div_ceil(size)
        } else {
            1
        };
        if packets <= 1 {
            return Self::whole(frame);
        }
        let headers = frame.length.saturating_sub(frame.payload);
        Self { packets, bytes: frame.length.wrapping_add(headers.wrapping_mul(packets - 1)) }
    }
}

/// What to do with a frame whose conversation is not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entering {
    /// Make an entry; the sender is the initiator.
    BySource,
    /// Make an entry; the sender answers, so the destination is the initiator.
    ByDestination,
    /// Make no entry; report the packet under the budget, as this [`note`].
    Observe(u32),
}

/// Time from `then` to `now`; nothing when the clock ran backwards.
#[inline(always)]
pub const fn since(now: u64, then: u64) -> u64 {
    let passed = now.wrapping_sub(then);
    if passed >> 63 == 0 { passed } else { 0 }
}

/// The conversation that `frame` belongs to, and whether its sender is the key's higher end; `None` for what is no
/// conversation (later fragments, ICMP other than echo).
#[inline(always)]
pub fn key_of(frame: &Frame) -> Option<(ConversationKey, bool)> {
    if matches!(frame.fragment, Fragment::Later) {
        return None;
    }
    let (source_port, destination_port) = match frame.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => (frame.source_port, frame.destination_port),
        protocol::ICMP if matches!(frame.destination_port, ECHO_V4 | ECHO_REPLY_V4) => (0, 0),
        protocol::ICMPV6 if matches!(frame.destination_port, ECHO_V6 | ECHO_REPLY_V6) => (0, 0),
        protocol::ICMP | protocol::ICMPV6 => return None,
        _ => (0, 0),
    };
    Some(canonical(frame.source, frame.destination, source_port, destination_port, frame.protocol))
}

/// The key of two ends, and whether `source` is its higher one.
#[inline(always)]
pub fn canonical(
    source: [u64; 2],
    destination: [u64; 2],
    source_port: u16,
    destination_port: u16,
    protocol: u8,
) -> (ConversationKey, bool) {
    let protocol = u32::from(protocol);
    if is_higher(source, source_port, destination, destination_port) {
        (
            ConversationKey {
                lower: destination,
                higher: source,
                lower_port: destination_port,
                higher_port: source_port,
                protocol,
            },
            true,
        )
    } else {
        (
            ConversationKey {
                lower: source,
                higher: destination,
                lower_port: source_port,
                higher_port: destination_port,
                protocol,
            },
            false,
        )
    }
}

#[inline(always)]
const fn is_higher(one: [u64; 2], one_port: u16, other: [u64; 2], other_port: u16) -> bool {
    if one[0] != other[0] {
        one[0] > other[0]
    } else if one[1] != other[1] {
        one[1] > other[1]
    } else {
        one_port > other_port
    }
}

/// Whether a frame without an entry makes one, and who began.
///
/// A packet from outside to inside can be forged, so it never makes an entry; neither do answers to such packets that
/// the stack gives by itself (SYN-ACK, RST, echo reply, ICMP errors).
#[inline(always)]
pub fn entering(frame: &Frame, sight: Sight) -> Entering {
    if matches!(frame.fragment, Fragment::Later) {
        return Entering::Observe(note::FRAGMENT);
    }
    let may_enter = sight.source_inside || (sight.track_all && !sight.destination_inside);
    let (who, note) = match frame.protocol {
        protocol::TCP => tcp_entering(frame),
        protocol::UDP => {
            let answers = frame.source_port < 1024 && frame.destination_port >= 1024;
            (if answers { Some(Entering::ByDestination) } else { Some(Entering::BySource) }, note::UDP)
        }
        protocol::ICMP => icmp_entering(frame.destination_port >> 8),
        protocol::ICMPV6 => icmpv6_entering(frame.destination_port >> 8),
        _ => (Some(Entering::BySource), note::OTHER),
    };
    match who {
        Some(who) if may_enter => who,
        _ => Entering::Observe(note),
    }
}

#[inline(always)]
fn tcp_entering(frame: &Frame) -> (Option<Entering>, u32) {
    match frame.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) {
        tcp::SYN => (Some(Entering::BySource), note::SYN),
        flags if flags == tcp::SYN | tcp::ACK => (None, note::SYN_ACK),
        tcp::ACK => {
            // Its start was not seen from here, so it was the other end's, unless the ports say that this is the client.
            let client = frame.destination_port < frame.source_port
                && (frame.destination_port < 1024
                    || (frame.destination_port < 32_768 && frame.source_port >= 32_768));
            (Some(if client { Entering::BySource } else { Entering::ByDestination }), note::STRAY)
        }
        flags if flags & (tcp::RST | tcp::SYN) == tcp::RST => (None, note::RESET),
        _ => (None, note::STRAY),
    }
}

#[inline(always)]
const fn icmp_entering(kind: u16) -> (Option<Entering>, u32) {
    match kind {
        8 => (Some(Entering::BySource), note::ECHO),
        3 | 4 | 5 | 11 | 12 => (None, note::ICMP_ERROR),
        _ => (None, note::ICMP_OTHER),
    }
}

#[inline(always)]
const fn icmpv6_entering(kind: u16) -> (Option<Entering>, u32) {
    match kind {
        128 => (Some(Entering::BySource), note::ECHO),
        1..=4 => (None, note::ICMP_ERROR),
        135 => (None, note::SOLICITATION),
        _ => (None, note::ICMP_OTHER),
    }
}

impl Conversation {
    /// Begins a conversation with `frame`; the [`record_kind::STARTED`] record is due. Every field is written.
    ///
    /// `sender_is_higher` is [`key_of`]'s answer, `by_source` whether [`entering`] said [`Entering::BySource`].
    #[inline(always)]
    pub fn begin(&mut self, frame: &Frame, wire: OnWire, sender_is_higher: bool, by_source: bool, now: u64) {
        *self = Self::zeroed();
        self.first_seen = now;
        self.last_seen = now;
        self.reported = now;
        self.records = 1;
        if sender_is_higher == by_source {
            self.state = state::INITIATOR_IS_HIGHER;
        }
        self.outcome = if frame.protocol == protocol::TCP && !frame.opens_connection() {
            outcome::MIDSTREAM
        } else if by_source {
            outcome::UNANSWERED
        } else {
            outcome::ESTABLISHED
        };
        self.count(frame, wire, by_source, now);
    }

    /// Adds a packet; the answer is the [`record_kind`] that is due now, or 0.
    #[inline(always)]
    pub fn update(
        &mut self,
        frame: &Frame,
        wire: OnWire,
        sender_is_higher: bool,
        now: u64,
        active_timeout: u64,
    ) -> u32 {
        if self.state & state::CLOSED != 0 {
            return self.after_the_end(frame, wire, sender_is_higher, now);
        }
        let forward = sender_is_higher == (self.state & state::INITIATOR_IS_HIGHER != 0);
        let before = if forward { self.forward.packets } else { self.backward.packets };
        self.count(frame, wire, forward, now);
        let (ended, turned) = if frame.protocol == protocol::TCP {
            self.follow_tcp(frame, forward, before == 0)
        } else {
            if !forward {
                self.outcome = outcome::ESTABLISHED;
            }
            (false, before == 0)
        };
        let due = if ended {
            self.state |= state::CLOSED;
            record_kind::ENDED
        } else if turned
            || (forward && has_grown(before, self.forward.packets))
            || since(now, self.reported) >= active_timeout
        {
            record_kind::ACTIVE
        } else {
            return 0;
        };
        self.reported = now;
        self.records = self.records.wrapping_add(1);
        due
    }

    /// The local sender of a packet is this cgroup; `sender_is_higher` as in [`Self::begin`].
    #[inline(always)]
    pub fn sent_by(&mut self, cgroup: u64, sender_is_higher: bool) {
        let initiator = sender_is_higher == (self.state & state::INITIATOR_IS_HIGHER != 0);
        // The initiator's is kept when both ends live on this host.
        if initiator {
            self.state &= !state::RESPONDER_IS_LOCAL;
        } else if self.cgroup == 0 {
            self.state |= state::RESPONDER_IS_LOCAL;
        } else {
            return;
        }
        self.cgroup = cgroup;
    }

    /// A new SYN begins anew; everything else are the last segments of what was already reported.
    #[inline(always)]
    fn after_the_end(&mut self, frame: &Frame, wire: OnWire, sender_is_higher: bool, now: u64) -> u32 {
        if frame.protocol == protocol::TCP && !frame.opens_connection() {
            return 0;
        }
        let (interface, cgroup, mac) = (self.interface, self.cgroup, self.mac);
        self.begin(frame, wire, sender_is_higher, true, now);
        (self.interface, self.cgroup, self.mac) = (interface, cgroup, mac);
        record_kind::STARTED
    }

    /// The first packet was refused or lost on the way, says an ICMP error ([`super::embedded`]); `verdict` is the
    /// [`outcome`]. The answer is the record kind that is due, or 0 when the conversation had been answered.
    #[inline(always)]
    pub fn fail(&mut self, verdict: u32, now: u64) -> u32 {
        if self.outcome != outcome::UNANSWERED || self.state & state::CLOSED != 0 {
            return 0;
        }
        self.outcome = verdict;
        self.reported = now;
        self.records = self.records.wrapping_add(1);
        // Not closed: a UDP socket may be served later, and an echo session goes on.
        record_kind::ACTIVE
    }

    /// Silence after which the entry may be swept, in clock units.
    pub fn idle_after(&self, upper: u32) -> u64 {
        if self.state & state::CLOSED != 0 {
            10 * SECOND
        } else if matches!(self.outcome, outcome::UNANSWERED | outcome::REFUSED | outcome::EXPIRED) {
            60 * SECOND
        } else if upper == u32::from(protocol::TCP) {
            3600 * SECOND
        } else {
            180 * SECOND
        }
    }

    #[inline(always)]
    fn count(&mut self, frame: &Frame, wire: OnWire, forward: bool, now: u64) {
        if since(now, self.last_seen) > 0 {
            self.last_seen = now;
        }
        self.vlan = frame.vlans[0];
        if forward {
            add(&mut self.forward, frame, wire);
            self.forward_flags |= u32::from(frame.tcp_flags);
            if frame.opens_connection() {
                self.opens = self.opens.wrapping_add(1);
            }
        } else {
            add(&mut self.backward, frame, wire);
            self.backward_flags |= u32::from(frame.tcp_flags);
        }
        if frame.payload >= DATA_BYTES {
            self.data(now);
        }
    }

    /// Moves the bursts on: data at `now`.
    #[inline(always)]
    fn data(&mut self, now: u64) {
        let bursts = &mut self.bursts;
        if bursts.count != 0 && since(now, bursts.last_data) < BURST_GAP {
            // A clock that ran backwards leaves the later time standing.
            if since(now, bursts.last_data) > 0 {
                bursts.last_data = now;
            }
            return;
        }
        if bursts.count != 0 {
            let gap = since(now, bursts.began) / MILLISECOND;
            let gap = if gap > u64::from(u32::MAX) { u64::from(u32::MAX) } else { gap };
            bursts.gap_sum_ms = bursts.gap_sum_ms.wrapping_add(gap);
            bursts.gap_square_sum = bursts.gap_square_sum.wrapping_add(gap.wrapping_mul(gap));
            if bursts.count > 1 {
                let last = u64::from(bursts.last_gap_ms);
                let jitter = gap.abs_diff(last);
                bursts.jitter_sum_ms = bursts.jitter_sum_ms.wrapping_add(jitter);
            }
            #[expect(clippy::cast_possible_truncation, reason = "bounded to u32 above")]
            {
                bursts.last_gap_ms = gap as u32;
            }
        }
        bursts.count = bursts.count.wrapping_add(1);
        bursts.began = now;
        bursts.last_data = now;
    }

    /// Moves the outcome on; whether the connection is over, and whether there is news to report.
    ///
    /// The news of a handshake is its completion by the initiator, not the SYN-ACK: forged SYNs are answered too. The
    /// initiator's acknowledgement alone tells of an answer that went another way. `first` is whether this is the first
    /// frame in its direction.
    #[inline(always)]
    fn follow_tcp(&mut self, frame: &Frame, forward: bool, first: bool) -> (bool, bool) {
        let flags = frame.tcp_flags;
        let midstream = self.outcome == outcome::MIDSTREAM;
        if flags & tcp::RST != 0 {
            if !forward && self.outcome != outcome::ESTABLISHED && first {
                self.outcome = outcome::REFUSED;
            }
            return (true, true);
        }
        let acknowledges = flags & (tcp::SYN | tcp::ACK) == tcp::ACK;
        let news = if midstream {
            first
        } else if forward {
            acknowledges && self.forward_flags & HANDSHAKE_REPORTED == 0
        } else {
            false
        };
        if forward && acknowledges {
            self.forward_flags |= HANDSHAKE_REPORTED;
        }
        let accepts =
            !forward && (flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK || frame.payload != 0);
        if !midstream && (accepts || (forward && acknowledges)) {
            self.outcome = outcome::ESTABLISHED;
        }
        (self.forward_flags & self.backward_flags & u32::from(tcp::FIN) != 0, news)
    }
}

/// Whether the frame just counted brought the initiator's 1024th, 4096th, 16384th... packet: a flood within one
/// conversation must not wait for the active timeout. A large segment may bring several at once, so it is asked whether
/// the highest bit moved on, to an even place.
#[inline(always)]
const fn has_grown(before: u64, packets: u64) -> bool {
    packets >= 1 << 10
        && before ^ packets > before
        && packets & 0x5555_5555_5555_5555 > packets & 0xaaaa_aaaa_aaaa_aaaa
}

#[inline(always)]
fn add(direction: &mut Direction, frame: &Frame, wire: OnWire) {
    let payload = u64::from(frame.payload);
    let squares = payload.wrapping_mul(payload);
    // Segments are of one size, but for the last.
    let squares = if wire.packets > 1 { squares / u64::from(wire.packets) } else { squares };
    direction.packets = direction.packets.wrapping_add(u64::from(wire.packets));
    direction.bytes = direction.bytes.wrapping_add(u64::from(wire.bytes));
    direction.payload = direction.payload.wrapping_add(payload);
    direction.payload_squares = direction.payload_squares.wrapping_add(squares);
}
