//! What `sluice capture` and the programs agree on: which frames are taken, and what is said of each.
//!
//! The maps are not pinned; they live as long as the programs.

use crate::{bucket::Rate, plain};

/// Longest part of a frame that fits a record of the ring, with room for what is said of it.
pub const LONGEST_SNAP: u32 = 60_000;

/// For [`Filter::service`] and [`Filter::interface`]: any.
pub const ANY: u32 = u32::MAX;

/// For [`Head::would_drop`]: nothing would have dropped it.
pub const NOTHING: u32 = u32::MAX;

/// Bits of [`Filter::what`].
pub mod what {
    pub const DROPPED: u32 = 1;
    pub const WOULD_DROP: u32 = 1 << 1;
}

/// Which frames are taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The source's network as big-endian halves, and the bits that count.
    pub source: [u64; 2],
    pub mask: [u64; 2],
    /// A bit for each reason.
    pub reasons: u64,
    /// Frames per second.
    pub rate: Rate,
    /// [`what`].
    pub what: u32,
    /// Of all frames, one in so many is taken as well; 0: none.
    pub one_in: u32,
    /// Its number, or [`ANY`].
    pub service: u32,
    /// Its slot, or [`ANY`].
    pub interface: u32,
    /// Bytes that are taken of a frame.
    pub snap: u32,
    /// 0: nothing is captured, whatever the rest says.
    pub is_on: u32,
}
plain!(
    Filter {
        source: [u64; 2],
        mask: [u64; 2],
        reasons: u64,
        rate: Rate,
        what: u32,
        one_in: u32,
        service: u32,
        interface: u32,
        snap: u32,
        is_on: u32,
    } = 80
);

/// What is known of a frame when its verdict is there.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// `None` where no IP header was read.
    pub source: Option<[u64; 2]>,
    pub reason: u32,
    pub drops: bool,
    /// The reason that an observing limit would have given, or [`NOTHING`].
    pub would_drop: u32,
    /// A limit on trial would have dropped it.
    pub candidate: bool,
    pub service: u32,
    pub interface: u32,
    /// A random number.
    pub random: u32,
}

impl Filter {
    /// Takes nothing.
    pub const OFF: Self = Self {
        source: [0; 2],
        mask: [0; 2],
        reasons: 0,
        rate: Rate { unit_cost: 0, capacity: 0 },
        what: 0,
        one_in: 0,
        service: ANY,
        interface: ANY,
        snap: 0,
        is_on: 0,
    };

    /// Whether the frame is taken, as far as the rate permits.
    #[inline(always)]
    pub fn selects(&self, seen: &Seen) -> bool {
        let would_drop = seen.would_drop != NOTHING || seen.candidate;
        let is_wanted = (self.what & what::DROPPED != 0 && seen.drops)
            || (self.what & what::WOULD_DROP != 0 && would_drop)
            || (self.one_in != 0 && seen.random.is_multiple_of(self.one_in));
        if !is_wanted || !is(self.service, seen.service) || !is(self.interface, seen.interface) {
            return false;
        }
        let mut reasons = bit(seen.reason);
        if seen.would_drop != NOTHING {
            reasons |= bit(seen.would_drop);
        }
        if self.reasons & reasons == 0 {
            return false;
        }
        match seen.source {
            Some([high, low]) => {
                high & self.mask[0] == self.source[0] && low & self.mask[1] == self.source[1]
            }
            None => self.mask[0] | self.mask[1] == 0,
        }
    }
}

#[inline(always)]
const fn is(wanted: u32, found: u32) -> bool {
    wanted == ANY || wanted == found
}

#[inline(always)]
const fn bit(reason: u32) -> u64 {
    1 << (reason & 63)
}

/// What the programs count, all CPUs together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The word of the rate's bucket.
    pub bucket: u64,
    /// Frames that the filter selected.
    pub selected: u64,
    /// Those of them that the rate did not permit.
    pub over_rate: u64,
    /// Those of them that found the ring full.
    pub lost: u64,
}
plain!(Progress { bucket: u64, selected: u64, over_rate: u64, lost: u64 } = 32);

/// What stands before a frame in the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// Bytes of the whole frame, and how many of them follow.
    pub length: u32,
    pub captured: u32,
    pub reason: u32,
    pub would_drop: u32,
    pub service: u32,
    pub interface: u32,
    /// [`flag`].
    pub flags: u32,
    pub reserved: u32,
}
plain!(
    Head {
        at_ns: u64,
        length: u32,
        captured: u32,
        reason: u32,
        would_drop: u32,
        service: u32,
        interface: u32,
        flags: u32,
        reserved: u32,
    } = 40
);

/// Bits of [`Head::flags`].
pub mod flag {
    /// A limit on trial would have dropped it.
    pub const CANDIDATE: u32 = 1;
    /// It was on its way out.
    pub const EGRESS: u32 = 1 << 1;
}

#[cfg(test)]
mod tests {
    use super::{Filter, NOTHING, Seen, what};
    use crate::flow::mapped_halves;
    use crate::verdict::Reason;

    const FILTER: Filter =
        Filter { reasons: u64::MAX, what: what::DROPPED | what::WOULD_DROP, ..Filter::OFF };

    fn seen(reason: Reason) -> Seen {
        Seen {
            source: Some(mapped_halves([192, 0, 2, 7])),
            reason: reason as u32,
            drops: !matches!(reason.action(), crate::verdict::Action::Pass),
            would_drop: NOTHING,
            candidate: false,
            service: 3,
            interface: 1,
            random: 1,
        }
    }

    #[test]
    fn what_is_dropped_or_would_be_is_taken_and_nothing_else() {
        let would = Seen { would_drop: Reason::ByteRate as u32, ..seen(Reason::Accepted) };
        let on_trial = Seen { candidate: true, ..seen(Reason::Accepted) };
        for (of, dropped, would_drop) in [
            (seen(Reason::PacketRate), true, false),
            (seen(Reason::Accepted), false, false),
            (would, false, true),
            (on_trial, false, true),
        ] {
            assert_eq!(Filter { what: what::DROPPED, ..FILTER }.selects(&of), dropped, "{of:?}");
            assert_eq!(Filter { what: what::WOULD_DROP, ..FILTER }.selects(&of), would_drop, "{of:?}");
            assert_eq!(FILTER.selects(&of), dropped || would_drop, "{of:?}");
        }
    }

    #[test]
    fn a_sample_is_of_all_frames() {
        let filter = Filter { what: 0, one_in: 4, ..FILTER };
        let taken =
            (0..8).filter(|random| filter.selects(&Seen { random: *random, ..seen(Reason::Accepted) }));
        assert_eq!(taken.collect::<Vec<_>>(), [0, 4]);
    }

    #[test]
    fn every_condition_holds_at_once() {
        let dropped = seen(Reason::PacketRate);
        let [high, low] = mapped_halves([192, 0, 2, 0]);
        let network = Filter { source: [high, low], mask: [u64::MAX, !0xff], ..FILTER };
        assert!(network.selects(&dropped));
        assert!(!network.selects(&Seen { source: Some(mapped_halves([192, 0, 3, 7])), ..dropped }));
        assert!(!network.selects(&Seen { source: None, ..dropped }), "what has no source has no known one");
        assert!(FILTER.selects(&Seen { source: None, ..dropped }));
        let reason = Filter { reasons: 1 << Reason::ByteRate as u32, ..FILTER };
        assert!(!reason.selects(&dropped));
        assert!(reason.selects(&Seen { would_drop: Reason::ByteRate as u32, ..seen(Reason::Accepted) }));
        assert!(Filter { service: 3, interface: 1, ..FILTER }.selects(&dropped));
        assert!(!Filter { service: 2, ..FILTER }.selects(&dropped));
        assert!(!Filter { interface: 2, ..FILTER }.selects(&dropped));
    }
}
