//! Record times in, a clock that only moves forward out. Captures run backwards, jump by years, or were merged; windows
//! are kept on this clock, reports carry the times as they were recorded.

const SECOND: u64 = 1_000_000_000;
/// A step back below this is disorder between processors, not another time.
const DISORDER: u64 = SECOND;
/// Where the clock starts, so that windows reach back without underflow.
const START: u64 = 30 * 24 * 3600 * SECOND;
/// A step forward counts at most this much as observed time.
const OBSERVED_STEP: u64 = 600 * SECOND;

#[derive(Clone, Debug)]
pub struct Clock {
    last: Option<u64>,
    now: u64,
    observed: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { last: None, now: START, observed: 0 }
    }
}

impl Clock {
    /// Moves to the recorded time `at` (nanoseconds since the epoch) and returns the clock's own time.
    pub fn advance(&mut self, at: u64) -> u64 {
        let last = *self.last.get_or_insert(at);
        if at >= last {
            self.now += at - last;
            self.observed += (at - last).min(OBSERVED_STEP);
            self.last = Some(at);
        } else if last - at > DISORDER {
            // Another time begins: what follows is measured from here, what came before has just happened.
            self.last = Some(at);
        }
        self.now
    }

    /// Lets time pass that nothing was recorded in.
    pub const fn pass(&mut self, nanoseconds: u64) -> u64 {
        self.now += nanoseconds;
        self.now
    }

    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Time during which anything could be observed: jumps do not count as learning.
    pub const fn observed(&self) -> u64 {
        self.observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(times: &[u64], passed: u64) {
        let mut clock = Clock::default();
        let first = clock.advance(times[0] * SECOND);
        let last = times.iter().map(|time| clock.advance(time * SECOND)).last().unwrap();
        assert_eq!((last - first) / SECOND, passed, "{times:?}");
    }

    #[test]
    fn time_only_moves_forward() {
        check(&[100, 101, 105], 5);
        check(&[100, 50, 53], 3);
        check(&[100, 100, 100], 0);
        check(&[1, 400_000_000], 399_999_999);
    }

    #[test]
    fn a_small_disorder_moves_nothing() {
        let mut clock = Clock::default();
        let first = clock.advance(10 * SECOND);
        clock.advance(10 * SECOND - 1000);
        assert_eq!(clock.advance(10 * SECOND + 5), first + 5);
    }

    #[test]
    fn a_jump_is_not_learned_from() {
        let mut clock = Clock::default();
        clock.advance(0);
        clock.advance(400_000_000 * SECOND);
        assert_eq!(clock.observed(), OBSERVED_STEP);
    }
}
