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

/// Ticks per second that kernels are built with.
const KNOWN_RATES: [u64; 12] = [24, 48, 64, 100, 128, 200, 250, 256, 300, 512, 1000, 1024];
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
    /// Finds out how long a tick is; takes a few ticks (at most a tenth of a second).
    pub fn calibrate(program: OwnedFd, readings: Array<ClockReading>) -> Result<Self> {
        let (tick_ns, edge) = measure_tick(|| read(&program, &readings))?;
        let start_ns = start(&edge, tick_ns);
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

    /// Clock units per tick, as [`monitor_common::rule::Settings::tick`] wants it.
    pub fn tick_units(&self) -> u64 {
        self.tick_ns * UNITS_PER_NS
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

/// Watches the counter turn over several times and takes the known rate that fits best; also returns the last turn.
fn measure_tick(mut read: impl FnMut() -> Result<ClockReading>) -> Result<(u64, ClockReading)> {
    const TURNS: u64 = 4;
    let started = Instant::now();
    let mut edge = |from: u64| -> Result<ClockReading> {
        loop {
            let reading = read()?;
            if reading.jiffies != from {
                return Ok(reading);
            }
            ensure!(started.elapsed() < Duration::from_secs(2), "the kernel's tick counter stands still");
        }
    };
    let first = edge(u64::MAX)?;
    let first = edge(first.jiffies)?;
    let mut last = first;
    while last.jiffies - first.jiffies < TURNS {
        last = edge(last.jiffies)?;
    }
    let per_tick = (last.ktime_ns - first.ktime_ns) / (last.jiffies - first.jiffies);
    Ok((nearest_tick(per_tick), last))
}

/// The tick length of the known rate nearest to what was measured.
fn nearest_tick(measured_ns: u64) -> u64 {
    let ticks = KNOWN_RATES.map(|rate| 1_000_000_000 / rate);
    ticks.into_iter().min_by_key(|tick| tick.abs_diff(measured_ns)).unwrap_or(measured_ns)
}

#[cfg(test)]
mod tests {
    use super::nearest_tick;

    #[test]
    fn a_measured_tick_is_rounded_to_a_rate_that_kernels_have() {
        for (measured, tick) in
            [(4_012_345, 4_000_000), (999_000, 1_000_000), (9_900_000, 10_000_000), (3_340_000, 3_333_333)]
        {
            assert_eq!(nearest_tick(measured), tick);
        }
    }
}
