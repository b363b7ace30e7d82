//! The capture's times in, the kernel's clock out: it starts well above zero, never runs backwards and never leaps.
//!
//! The kernel's clock wraps every 36 years, and a bucket that was never used says 0. So the clock counts from the first
//! packet, holds still for a little disorder, goes on where it was when a capture jumps back, and takes a jump of years for
//! a month: all that can be idle is idle by then.

use monitor_common::bucket::UNITS_PER_NS;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
/// Where it starts.
const START: u64 = DAY;
/// A step back below this is disorder between processors, not another time.
const DISORDER: u64 = SECOND;
/// A step forward counts at most this much.
const LONGEST_STEP: u64 = 30 * DAY;

/// The kernel's clock along a capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Added to the capture's time; differences of it wrap.
    offset: u64,
    /// The latest time of the capture as it counts at present.
    latest: Option<u64>,
}

impl Clock {
    /// Whether the time `at_ns` continues the times before, so that [`Clock::time_of`] speaks of the same times after it.
    pub fn continues(&self, at_ns: u64) -> bool {
        self.latest.is_some_and(|latest| {
            if at_ns < latest { latest - at_ns <= DISORDER } else { at_ns - latest <= LONGEST_STEP }
        })
    }

    /// Moves on to the capture's time `at_ns`; the answer is in nanoseconds.
    pub fn advance(&mut self, at_ns: u64) -> u64 {
        let Some(latest) = self.latest else {
            (self.offset, self.latest) = (START.wrapping_sub(at_ns), Some(at_ns));
            return START;
        };
        let now = latest.wrapping_add(self.offset);
        if self.continues(at_ns) {
            let at = at_ns.max(latest);
            self.latest = Some(at);
            return at.wrapping_add(self.offset);
        }
        let now = if at_ns < latest { now } else { now.wrapping_add(LONGEST_STEP) };
        (self.offset, self.latest) = (now.wrapping_sub(at_ns), Some(at_ns));
        now
    }

    /// The capture's time of a moment since the last that did not continue the ones before, in units of the kernel's clock.
    pub fn time_of(&self, units: u64) -> u64 {
        let latest = self.latest.unwrap_or_default();
        let age = units_of(latest.wrapping_add(self.offset)).wrapping_sub(units).cast_signed() / 16;
        latest.saturating_add_signed(-age)
    }
}

const _: () = assert!(UNITS_PER_NS == 16);

/// Nanoseconds as units of the kernel's clock.
pub const fn units_of(nanoseconds: u64) -> u64 {
    nanoseconds.wrapping_mul(UNITS_PER_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * DAY;

    /// Times of a capture in seconds, and how far the clock is from its start after each.
    fn check(times: &[(u64, u64)]) {
        let mut clock = Clock::default();
        for (at, wanted) in times {
            let now = clock.advance(at * SECOND);
            assert_eq!((now - START) / SECOND, *wanted, "at {at} of {times:?}");
            assert_eq!(clock.time_of(units_of(now)), at * SECOND, "at {at} of {times:?}");
        }
    }

    #[test]
    fn it_counts_from_the_first_packet() {
        check(&[(1_790_000_000, 0), (1_790_000_001, 1), (1_790_000_009, 9)]);
        check(&[(0, 0), (0, 0), (7, 7)]);
    }

    #[test]
    fn it_goes_on_where_it_was_when_a_capture_jumps_back() {
        check(&[(100, 0), (150, 50), (3, 50), (13, 60)]);
    }

    #[test]
    fn years_count_as_a_month() {
        let month = LONGEST_STEP / SECOND;
        check(&[(0, 0), (10 * YEAR / SECOND, month), (10 * YEAR / SECOND + 1, month + 1)]);
        check(&[(u64::MAX / SECOND, 0), (0, 0), (u64::MAX / SECOND, month)]);
    }

    #[test]
    fn a_little_disorder_holds_it() {
        let mut clock = Clock::default();
        clock.advance(10 * SECOND);
        assert_eq!(clock.advance(10 * SECOND - 5), START);
        assert_eq!(clock.advance(10 * SECOND + 5), START + 5);
        assert_eq!(clock.time_of(units_of(START)), 10 * SECOND);
        assert_eq!(clock.time_of(units_of(START - 7)), 10 * SECOND - 7);
    }
}
