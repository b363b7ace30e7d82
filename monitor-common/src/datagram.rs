//! A fragmented datagram: where its first fragment leaves word for the others, and what it says.

use crate::{names::capacity::DATAGRAMS, parse::Frame, sketch};

/// What a first fragment said: bits 0..16 the destination port, bit 16 it was dropped, bits 17..32 when, bit 32 it was an
/// answer, and the datagram's tag above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

const DROPPED: u64 = 1 << 16;
const TIME_SHIFT: u32 = 17;
const TIME_MASK: u64 = 0x7fff;
const ANSWER: u64 = 1 << 32;
const TAG: u64 = 0x7fff_ffff << 33;
/// A clock unit is a sixteenth of a nanosecond: times are kept in quarters of a second.
const COARSE: u32 = 32;
/// How long a word holds: Linux gives up a datagram of IPv4 after 30 seconds, of IPv6 after 60.
const HOLDS: u64 = 224;

/// The hash of a fragment's datagram under the hash key: addresses, protocol of the fragment and identification.
///
/// The protocol of an IPv6 datagram's later fragments may be that of an extension header, so it is left out there.
#[inline(always)]
pub const fn hash(key: [u64; 2], frame: &Frame) -> u64 {
    let source = sketch::source(key, frame.source[0], frame.source[1]);
    let protocol = if frame.is_v4 { frame.protocol as u64 } else { 0xff };
    let ends = sketch::source([source, key[1]], frame.destination[0], frame.destination[1]);
    sketch::source([ends, key[0]], 1, protocol << 32 | frame.fragment_id as u64)
}

/// The word of a datagram with this hash.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
pub const fn place(hash: u64) -> u32 {
    hash as u32 & (DATAGRAMS - 1)
}

impl Word {
    #[inline(always)]
    pub const fn new(hash: u64, now: u64, port: u16, dropped: bool, answer: bool) -> Self {
        let time = (now >> COARSE & TIME_MASK) << TIME_SHIFT;
        Self((hash & TAG) | time | (answer as u64 * ANSWER) | (dropped as u64 * DROPPED) | port as u64)
    }

    /// Whether it is about the datagram with this hash, and still holds.
    #[inline(always)]
    pub const fn is_of(self, hash: u64, now: u64) -> bool {
        let age = ((now >> COARSE).wrapping_sub(self.0 >> TIME_SHIFT)) & TIME_MASK;
        self.0 != 0 && (self.0 ^ hash) & TAG == 0 && age < HOLDS
    }

    #[inline(always)]
    pub const fn is_dropped(self) -> bool {
        self.0 & DROPPED != 0
    }

    /// Whether it answered a flow that this host began.
    #[inline(always)]
    pub const fn is_answer(self) -> bool {
        self.0 & ANSWER != 0
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest sixteen bits")]
    pub const fn port(self) -> u16 {
        self.0 as u16
    }
}

#[cfg(test)]
mod tests {
    use super::{Word, hash, place};
    use crate::{names::capacity::DATAGRAMS, parse::Frame};

    const SECOND: u64 = 16_000_000_000;

    fn frame(source: u64, id: u32) -> Frame {
        Frame { is_v4: true, source: [0, source], fragment_id: id, protocol: 17, ..Frame::EMPTY }
    }

    #[test]
    fn a_word_says_what_was_put_in_and_holds_for_its_time_only() {
        let of = hash([3, 5], &frame(1, 7));
        for now in [0, 1 << 40, u64::MAX - SECOND] {
            for (port, dropped) in [(0, true), (53, false), (u16::MAX, true)] {
                let word = Word::new(of, now, port, dropped, !dropped);
                assert_eq!((word.port(), word.is_dropped(), word.is_answer()), (port, dropped, !dropped));
                assert!(word.is_of(of, now) && word.is_of(of, now.wrapping_add(59 * SECOND)));
                assert!(!word.is_of(of, now.wrapping_add(62 * SECOND)));
                assert!(!word.is_of(hash([3, 5], &frame(1, 8)), now));
                assert!(!word.is_of(hash([3, 5], &frame(2, 7)), now));
            }
        }
        assert!(!Word(0).is_of(0, 0));
    }

    #[test]
    fn a_later_ipv6_fragment_is_found_whatever_header_its_first_one_begins_with() {
        let first = Frame { is_v4: false, protocol: 60, ..frame(1, 7) };
        let later = Frame { protocol: 17, ..first };
        assert_eq!(hash([3, 5], &first), hash([3, 5], &later));
        assert!((0..1000).all(|id| place(hash([3, 5], &frame(1, id))) < DATAGRAMS));
    }
}
