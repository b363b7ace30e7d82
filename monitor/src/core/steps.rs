//! Steps of the wall clock, so that durations do not depend on the wall clock.
//!
//! In: moments on both clocks. Out: by how much the wall clock was set, beside the boot clock. Ends are written in wall time,
//! for people, and are moved along with it. Across a reboot there is nothing but the wall clock, so it is believed once and
//! within bounds: no time passes backwards, and at most [`LONGEST_AWAY`] passes at all.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::ports::Turn;
use crate::store::Moment;

/// Smaller steps are those of a clock that is kept right.
const LEAST: SignedDuration = SignedDuration::from_secs(1);
/// How often the wall time is kept, for the next boot.
const EVERY: std::time::Duration = std::time::Duration::from_mins(10);
/// A machine that was off for longer has a wrong clock, or its ends do not matter any more.
const LONGEST_AWAY: SignedDuration = SignedDuration::from_hours(366 * 24);

/// The clock by which ends are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    boot_id: String,
    /// The wall clock when the boot clock was at zero, in milliseconds since 1970.
    zero_ms: i64,
    /// When it was looked at last.
    seen: Timestamp,
}

/// The clock, and what the store does not know of it yet.
#[derive(Debug)]
pub struct Steps {
    written: Written,
    owed: SignedDuration,
    kept_at: std::time::Duration,
}

impl Written {
    fn at(now: &Moment) -> Self {
        let since_boot_ms = i64::try_from(now.since_boot.as_millis()).unwrap_or(i64::MAX);
        let zero_ms = now.wall.as_millisecond().saturating_sub(since_boot_ms);
        Self { boot_id: now.boot_id.clone(), zero_ms, seen: now.wall }
    }

    /// How far ends have to be moved that were written by `self`, to mean the same by `now`.
    fn moved(&self, now: &Self) -> SignedDuration {
        if self.boot_id == now.boot_id {
            let by = SignedDuration::from_millis(now.zero_ms.saturating_sub(self.zero_ms));
            return if by.abs() < LEAST { SignedDuration::ZERO } else { by };
        }
        let away = now.seen.duration_since(self.seen);
        if away.is_negative() { away } else { (away - LONGEST_AWAY).max(SignedDuration::ZERO) }
    }
}

impl Steps {
    /// Before anything of the store is read: its ends are moved if the clock was set while no daemon ran.
    pub fn begin(turn: &mut Turn<'_>) -> Self {
        let written = Written::at(&turn.now);
        let read = turn.store.clock();
        let before = turn.problems.report("clock", read).flatten();
        let before = before.and_then(|bytes| serde_json::from_slice::<Written>(&bytes).ok());
        let owed = before.map_or(SignedDuration::ZERO, |before| before.moved(&written));
        if !owed.is_zero() {
            tracing::warn!("the clock was set by {owed:#} since the last daemon: ends move along");
        }
        let mut steps = Self { written, owed, kept_at: turn.now.since_boot };
        steps.keep(turn);
        steps
    }

    /// By how much the clock was set since the last look; `None` when it was not.
    pub fn look(&mut self, now: &Moment) -> Option<SignedDuration> {
        let current = Written::at(now);
        let by = self.written.moved(&current);
        // The machine does not boot under a running process.
        if by.is_zero() || current.boot_id != self.written.boot_id {
            return None;
        }
        self.written = current;
        self.owed += by;
        tracing::warn!(
            "the clock was set by {by:#}: ends of exemptions, denials, bans and silences move along"
        );
        Some(by)
    }

    /// Now and then, and as long as the store could not take a step.
    pub fn keep_when_due(&mut self, turn: &mut Turn<'_>) {
        if !self.owed.is_zero() || turn.now.since_boot.saturating_sub(self.kept_at) >= EVERY {
            self.keep(turn);
        }
    }

    pub fn keep(&mut self, turn: &mut Turn<'_>) {
        self.written.seen = turn.now.wall;
        let kept = serde_json::to_vec(&self.written).map_err(anyhow::Error::from);
        let kept = kept.and_then(|bytes| turn.store.move_ends(self.owed, &bytes, turn.now.wall));
        if turn.problems.report("clock", kept).is_some() {
            self.owed = SignedDuration::ZERO;
            self.kept_at = turn.now.since_boot;
        }
    }
}

/// An end, moved along. One beyond the ends of time stays.
pub fn move_end(end: &mut Timestamp, by: SignedDuration) {
    *end = end.checked_add(by).unwrap_or(*end);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(boot_id: &str, wall: &str, since_boot_s: u64) -> Written {
        let (wall, since_boot) = (wall.parse().unwrap(), Duration::from_secs(since_boot_s));
        Written::at(&Moment { wall, since_boot, boot_id: boot_id.to_owned() })
    }

    #[test]
    fn a_step_is_what_the_wall_clock_moved_beside_the_boot_clock() {
        let before = written("a", "2026-11-27T06:00:00Z", 1000);
        let check = |after: Written, hours: i64| {
            assert_eq!(before.moved(&after), SignedDuration::from_hours(hours), "{after:?}");
        };
        check(written("a", "2026-11-27T07:00:00Z", 4600), 0);
        check(written("a", "2026-11-28T06:00:00Z", 1000), 24);
        check(written("a", "2026-11-26T07:00:00Z", 4600), -24);
        check(written("a", "2026-11-27T06:00:00.9Z", 1000), 0);
    }

    #[test]
    fn a_reboot_believes_the_wall_clock_within_bounds() {
        let before = written("a", "2026-11-27T06:00:00Z", 1000);
        let check = |wall: &str, hours: i64| {
            assert_eq!(before.moved(&written("b", wall, 9)), SignedDuration::from_hours(hours), "{wall}");
        };
        check("2026-11-27T08:00:00Z", 0);
        check("2026-11-26T06:00:00Z", -24);
        check("2027-11-28T06:00:00Z", 0);
        check("2027-11-29T06:00:00Z", 24);
    }
}
