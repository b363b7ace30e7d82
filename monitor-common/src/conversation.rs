//! Who talks to whom: the conversation table's key and value, and the records that leave for the detectors.
//!
//! A conversation is keyed by its two ends in canonical order, so both directions meet in one entry. Times are in clock
//! units (sixteenths of a nanosecond). [`tracking`] decides what enters and what a packet changes, [`embedded`] to whom an
//! ICMP error belongs, [`presence`] which packets need no look into the table, [`recognised`] which ones say what it speaks, [`report`] what a
//! record says.

pub mod embedded;
pub mod presence;
pub mod recognised;
pub mod report;
pub mod tracking;

#[cfg(test)]
mod tests;

use crate::plain;

/// The two ends in canonical order: the smaller (address, port) first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationKey {
    /// Halves of the lower end's address, then of the higher end's.
    pub lower: [u64; 2],
    pub higher: [u64; 2],
    pub lower_port: u16,
    pub higher_port: u16,
    /// Upper protocol number.
    pub protocol: u32,
}

plain!(
    ConversationKey { lower: [u64; 2], higher: [u64; 2], lower_port: u16, higher_port: u16, protocol: u32 } =
        40
);

/// Why a [`Record`] was sent.
pub mod record_kind {
    /// A conversation entered the table.
    pub const STARTED: u32 = 1;
    /// A lasting conversation reports (active timeout).
    pub const ACTIVE: u32 = 2;
    /// A conversation ended (FIN both ways, RST, refusal) or was swept for idleness.
    pub const ENDED: u32 = 3;
    /// A packet that belongs to no conversation (an outside first contact, a stray segment, ARP): see [`Record::note`].
    /// `weight` says for how many packets it stands.
    pub const OBSERVED: u32 = 4;
}

/// What became of a conversation.
pub mod outcome {
    /// Nothing has come back (yet).
    pub const UNANSWERED: u32 = 0;
    /// The other end answered: SYN-ACK, or any packet back for other protocols.
    pub const ESTABLISHED: u32 = 1;
    /// RST as the first answer, or an ICMP error about it.
    pub const REFUSED: u32 = 2;
    /// Its start was not seen, or came from outside (first tracked packet neither SYN nor of a connectionless protocol).
    pub const MIDSTREAM: u32 = 3;
    /// A router says that the first packet's time to live ran out on the way (what traceroute provokes).
    pub const EXPIRED: u32 = 4;
}

/// Bits of [`Conversation::state`].
pub mod state {
    /// The higher end of the key is the initiator; otherwise the lower.
    pub const INITIATOR_IS_HIGHER: u32 = 1 << 0;
    /// It ended and was reported so. The entry stays for its last stray segments until it is swept.
    pub const CLOSED: u32 = 1 << 1;
    /// [`super::Conversation::cgroup`] is the responder's.
    pub const RESPONDER_IS_LOCAL: u32 = 1 << 2;
}

/// What an [`record_kind::OBSERVED`] packet was; 0 in every other record.
pub mod note {
    /// TCP SYN without conversation.
    pub const SYN: u32 = 1;
    /// TCP SYN+ACK without conversation (answer to a contact from outside, or backscatter).
    pub const SYN_ACK: u32 = 2;
    /// TCP RST without conversation.
    pub const RESET: u32 = 3;
    /// Another TCP segment without conversation (ACK, FIN, NULL, XMAS: see `forward_flags`).
    pub const STRAY: u32 = 4;
    pub const UDP: u32 = 5;
    /// ICMP or `ICMPv6` echo request.
    pub const ECHO: u32 = 6;
    /// ICMP or `ICMPv6` error; the embedded packet's ends are not the sender's traffic.
    pub const ICMP_ERROR: u32 = 7;
    /// Other ICMP or `ICMPv6` (echo replies included).
    pub const ICMP_OTHER: u32 = 8;
    /// IPv6 neighbour solicitation; `responder` is the target.
    pub const SOLICITATION: u32 = 9;
    /// ARP request; `initiator` is the sender's mapped address (0.0.0.0 for a probe), `mac` its MAC, `responder` the
    /// mapped target.
    pub const ARP_REQUEST: u32 = 10;
    /// A later fragment.
    pub const FRAGMENT: u32 = 11;
    /// Any other IP protocol.
    pub const OTHER: u32 = 12;
}

/// Bursts within a conversation: a data packet of either end after a second without data begins one.
///
/// Segments with at most one byte of payload (keep-alives) are not data.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bursts {
    /// When the present burst began; 0 before the first.
    pub began: u64,
    /// Last data packet.
    pub last_data: u64,
    /// Sum of gaps between burst starts, in milliseconds, and of their squares.
    pub gap_sum_ms: u64,
    pub gap_square_sum: u64,
    /// Sum of absolute differences between successive gaps, in milliseconds.
    pub jitter_sum_ms: u64,
    /// Bursts begun so far.
    pub count: u32,
    /// The gap before the present burst, in milliseconds.
    pub last_gap_ms: u32,
}
plain!(
    Bursts {
        began: u64,
        last_data: u64,
        gap_sum_ms: u64,
        gap_square_sum: u64,
        jitter_sum_ms: u64,
        count: u32,
        last_gap_ms: u32,
    } = 48
);

/// One direction of a conversation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// Bytes behind the upper header.
    pub payload: u64,
    /// Sum of squares of payload sizes (variance of echo and DNS sizes).
    pub payload_squares: u64,
}
plain!(Direction { packets: u64, bytes: u64, payload: u64, payload_squares: u64 } = 32);

/// Value of the conversation table. "Forward" is from the initiator.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub forward: Direction,
    pub backward: Direction,
    pub bursts: Bursts,
    pub first_seen: u64,
    pub last_seen: u64,
    /// When the last record was sent.
    pub reported: u64,
    /// Cgroup of the local end (known from what it sends); 0 unknown. [`state::RESPONDER_IS_LOCAL`] says which end.
    pub cgroup: u64,
    /// Source MAC of the packet that made the entry, if the initiator sent it; 0 unknown.
    pub mac: u64,
    /// TCP flags seen from the initiator (with `tracking::HANDSHAKE_REPORTED`), and from the responder, or-ed.
    pub forward_flags: u32,
    pub backward_flags: u32,
    /// An [`outcome`].
    pub outcome: u32,
    /// Bits of [`state`].
    pub state: u32,
    /// A [`crate::application::Recognition`].
    pub recognised: u32,
    pub interface: u16,
    /// Outer VLAN identifier of the last packet; 0 none.
    pub vlan: u16,
    /// SYN packets of the initiator: retransmissions, or a flood on one pair of ports.
    pub opens: u32,
    /// Records sent so far.
    pub records: u32,
}
plain!(
    Conversation {
        forward: Direction,
        backward: Direction,
        bursts: Bursts,
        first_seen: u64,
        last_seen: u64,
        reported: u64,
        cgroup: u64,
        mac: u64,
        forward_flags: u32,
        backward_flags: u32,
        outcome: u32,
        state: u32,
        recognised: u32,
        interface: u16,
        vlan: u16,
        opens: u32,
        records: u32,
    } = 184
);

/// What leaves through the record ring: a conversation's state so far (counters are totals since its start), or one
/// observed packet. Addresses are in network order, IPv4 mapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub initiator: [u8; 16],
    pub responder: [u8; 16],
    /// When this record was made.
    pub at: u64,
    pub first_seen: u64,
    pub last_seen: u64,
    pub forward: Direction,
    pub backward: Direction,
    pub bursts: Bursts,
    /// Cgroup of the initiator, if it is local; 0 unknown.
    pub cgroup: u64,
    /// The initiator's MAC in the lower 48 bits; 0 unknown.
    pub mac: u64,
    /// A [`record_kind`].
    pub kind: u32,
    /// A [`note`].
    pub note: u32,
    pub outcome: u32,
    /// Packets that this observation stands for (at least 1); 1 for conversations.
    pub weight: u32,
    pub forward_flags: u32,
    pub backward_flags: u32,
    /// A [`crate::application::Recognition`]; 0 for observations.
    pub recognised: u32,
    /// Upper protocol number.
    pub protocol: u32,
    pub initiator_port: u16,
    /// Port, or ICMP type * 256 + code.
    pub responder_port: u16,
    pub interface: u16,
    /// Outer VLAN identifier of the last packet; 0 none.
    pub vlan: u16,
    /// SYN packets of the initiator.
    pub opens: u32,
    /// Which record of its conversation this is, 1 the first; 0 for observations.
    pub number: u32,
}
plain!(
    Record {
        initiator: [u8; 16],
        responder: [u8; 16],
        at: u64,
        first_seen: u64,
        last_seen: u64,
        forward: Direction,
        backward: Direction,
        bursts: Bursts,
        cgroup: u64,
        mac: u64,
        kind: u32,
        note: u32,
        outcome: u32,
        weight: u32,
        forward_flags: u32,
        backward_flags: u32,
        recognised: u32,
        protocol: u32,
        initiator_port: u16,
        responder_port: u16,
        interface: u16,
        vlan: u16,
        opens: u32,
        number: u32,
    } = 232
);
