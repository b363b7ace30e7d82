//! The hand of the simulated clock: the `CLOCK` map, mapped into our memory.
//!
//! In: moments. Out: the same, visible to the programs at once, and what they say of the last packet.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use monitor_common::record::ClockReading;

use super::mapped::Mapped;
use super::table::Map;

const NOW: usize = std::mem::offset_of!(ClockReading, now) / 8;
const JUDGED: usize = std::mem::offset_of!(ClockReading, judged) / 8;

/// The mapped words.
#[derive(Debug)]
pub struct Hand(Mapped);

impl Hand {
    pub fn new(map: &Map) -> Result<Self> {
        ensure!(
            map.shape.value_size as usize == size_of::<ClockReading>(),
            "map {} holds no clock: build anew",
            map.name
        );
        Mapped::new(map).map(Self)
    }

    /// Moves the clock.
    pub fn set(&self, now: u64) {
        self.0.words()[NOW].store(now, Ordering::Release);
    }

    /// What became of the last packet ([`monitor_common::record::judged`]).
    pub fn judged(&self) -> u64 {
        self.0.words()[JUDGED].load(Ordering::Acquire)
    }
}
