//! The kernel's tick clock and the clocks of userspace, and the way between them.
//!
//! In: the calibration program, run without a packet. Out: moments in clock units (sixteenths of a nanosecond of the tick
//! counter) to and from wall time, and how long a tick is. It sets no clock.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use monitor_common::bucket::UNITS_PER_NS;
use monitor_common::record::ClockReading;

use super::syscall::TestRun;
use super::table::Array;

/// An Ethernet header: the shortest frame that a test run takes.
const NO_FRAME: [u8; 14] = [0; 14];

/// Reads the tick clock and converts.
#[derive(Debug)]
pub struct Clock {
    program: OwnedFd,
    readings: Array<ClockReading>,
    tick_ns: u64,
    /// `CLOCK_MONOTONIC` at tick 0, as nanoseconds that wrap. Both clocks are driven by the same timekeeper, so this stands.
    start_ns: u64,
    anchor: Anchor,
}

/// The same moment on two clocks.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    monotonic_ns: u64,
    wall: Timestamp,
}

impl Anchor {
    fn now() -> Self {
        Self { monotonic_ns: monotonic_ns(), wall: Timestamp::now() }
    }
}

impl Clock {
    /// Asks how long a tick is and watches the counter turn over; takes a few ticks (at most a tenth of a second).
    pub fn calibrate(program: OwnedFd, readings: Array<ClockReading>) -> Result<Self> {
        let tick_ns = tick_ns()?;
        let start_ns = earliest_start(tick_ns, || read(&program, &readings))?;
        Ok(Self { program, readings, tick_ns, start_ns, anchor: Anchor::now() })
    }

    /// Follows a wall clock that was set, and a tick counter that was held up (a suspended guest).
    pub fn refresh(&mut self) -> Result<()> {
        let start_ns = start(&read(&self.program, &self.readings)?, self.tick_ns);
        // A reading is late by what passed since its tick began, so the earliest start is the truest, unless it is too far off.
        let later = start_ns.wrapping_sub(self.start_ns).cast_signed();
        if later < 0 || later.cast_unsigned() > 4 * self.tick_ns {
            self.start_ns = start_ns;
        }
        self.anchor = Anchor::now();
        Ok(())
    }

    /// Length of a kernel tick.
    pub fn tick_ns(&self) -> u64 {
        self.tick_ns
    }

    /// Now in clock units; the kernel's own reading is at most one tick behind.
    pub fn now(&self) -> u64 {
        self.at(monotonic_ns())
    }

    /// The wall time of a moment in clock units. Moments out of reach are cut off at the ends of time.
    pub fn wall(&self, units: u64) -> Timestamp {
        let offset_ns =
            units.wrapping_sub(self.at(self.anchor.monotonic_ns)).cast_signed() / UNITS_PER_NS.cast_signed();
        let offset = jiff::SignedDuration::from_nanos(offset_ns);
        let cut = if offset_ns < 0 { Timestamp::MIN } else { Timestamp::MAX };
        self.anchor.wall.checked_add(offset).unwrap_or(cut)
    }

    /// A moment of wall time in clock units. Beyond the clock's reach (18 years) it is cut off.
    pub fn units(&self, wall: Timestamp) -> u64 {
        let offset_ns = wall.as_nanosecond() - self.anchor.wall.as_nanosecond();
        let most = i128::from(i64::MAX) / i128::from(UNITS_PER_NS);
        let offset = offset_ns.clamp(-most, most) * i128::from(UNITS_PER_NS);
        #[expect(clippy::cast_possible_truncation, reason = "was just clamped")]
        self.at(self.anchor.monotonic_ns).wrapping_add_signed(offset as i64)
    }

    fn at(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.wrapping_sub(self.start_ns).wrapping_mul(UNITS_PER_NS)
    }

    /// A span of time in clock units.
    pub fn span(&self, duration: Duration) -> u64 {
        let units = duration.as_nanos().saturating_mul(u128::from(UNITS_PER_NS));
        u64::try_from(units).unwrap_or(u64::MAX).min(1 << 62)
    }
}

fn read(program: &OwnedFd, readings: &Array<ClockReading>) -> Result<ClockReading> {
    TestRun::new(program.as_fd()).run(&NO_FRAME).context("read the kernel's tick clock")?;
    readings.get(0)
}

/// `CLOCK_MONOTONIC` at tick 0, if the reading was taken as its tick began.
fn start(reading: &ClockReading, tick_ns: u64) -> u64 {
    reading.ktime_ns.wrapping_sub(reading.jiffies.wrapping_mul(tick_ns))
}

fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// The length of a tick, exact. Measuring it would not do: every moment that the maps hold is ticks times this length, and
/// after a restart on a busy machine a length that is off by a thousandth would move all of them by hours.
fn tick_ns() -> Result<u64> {
    // What the coarse clocks resolve is the kernel's own constant (TICK_NSEC).
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    let tick_ns = u64::try_from(resolution.tv_nsec).unwrap_or_default();
    ensure!(
        resolution.tv_sec == 0 && tick_ns >= 100_000,
        "the kernel says that its tick lasts {} s {} ns, which cannot be",
        resolution.tv_sec,
        resolution.tv_nsec
    );
    Ok(tick_ns)
}

/// Watches the counter turn over several times and takes the reading that was least late.
fn earliest_start(tick_ns: u64, mut read: impl FnMut() -> Result<ClockReading>) -> Result<u64> {
    const TURNS: usize = 4;
    let started = Instant::now();
    let mut last = read()?;
    let mut earliest: Option<u64> = None;
    for _ in 0..TURNS {
        let turned = loop {
            let reading = read()?;
            if reading.jiffies != last.jiffies {
                break reading;
            }
            ensure!(started.elapsed() < Duration::from_secs(2), "the kernel's tick counter stands still");
        };
        let found = start(&turned, tick_ns);
        // They wrap, so the earlier one is that from which the other is a small step.
        earliest =
            Some(earliest.map_or(found, |old| if found.wrapping_sub(old) >> 63 == 0 { old } else { found }));
        last = turned;
    }
    earliest.context("the kernel's tick counter was not read")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::Result;
    use monitor_common::{plain::Plain as _, record::ClockReading};

    use super::{earliest_start, tick_ns};

    #[test]
    fn the_tick_is_one_that_kernels_are_built_with() {
        let rate = 1_000_000_000 / tick_ns().unwrap();
        assert!((24..=10_000).contains(&rate), "{rate} ticks a second");
    }

    #[test]
    fn a_late_reading_does_not_move_the_start() {
        // The counter turns every 4 ms, and what reads it is held up for ever longer.
        let step = Cell::new(0u64);
        let read = || -> Result<ClockReading> {
            step.set(step.get() + 1);
            let jiffies = 4_294_900_000 + step.get();
            let late = [900, 3_000_000, 0, 1_700_000, 20][(step.get() % 5) as usize];
            Ok(ClockReading {
                jiffies,
                ktime_ns: 5_000 + step.get() * 4_000_000 + late,
                ..ClockReading::zeroed()
            })
        };
        let start = earliest_start(4_000_000, read).unwrap();
        assert_eq!(start.wrapping_add(4_294_900_000u64 * 4_000_000), 5_000);
    }
}
