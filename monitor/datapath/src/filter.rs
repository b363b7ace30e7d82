//! A filter of bits before a table: two banks, both of which the kernel sets and asks.
//!
//! In: how many entries left the table, and the places of those that are in it. Out: a filter without stale bits. A stale
//! bit costs the kernel a lookup; a missing one would deny an entry, so none is ever missing.

use std::sync::atomic::Ordering;

use anyhow::Result;

use super::mapped::Mapped;
use super::table::Map;

const BANKS: usize = 2;
/// The filter is made anew when this part of the table's capacity was removed.
const STALE: usize = 8;

/// The filter, with what left its table since it was made.
#[derive(Debug)]
pub struct Filter {
    words: Mapped,
    removed: usize,
}

impl Filter {
    /// Each value of the map is the same word of both banks.
    pub fn new(map: &Map) -> Result<Self> {
        Ok(Self { words: Mapped::new(map)?, removed: 0 })
    }

    /// Notes that so many entries left the table.
    pub fn removed(&mut self, count: usize) {
        self.removed += count;
    }

    /// Whether many bits are stale, for a table of this capacity.
    pub fn is_stale(&self, capacity: u32) -> bool {
        self.removed * STALE > capacity as usize
    }

    /// Makes one bank after the other anew. `fill` walks the table and gives word and bit of each entry. The kernel sets its
    /// bits in both banks after an entry stands in the table, and asks both, so none is missing whenever it enters.
    pub fn renew(&mut self, mut fill: impl FnMut(&mut dyn FnMut((u32, u64))) -> Result<()>) -> Result<()> {
        let words = self.words.words();
        for bank in 0..BANKS {
            for word in words.iter().skip(bank).step_by(BANKS) {
                word.store(0, Ordering::Release);
            }
            fill(&mut |(word, bit)| {
                words[BANKS * word as usize + bank].fetch_or(bit, Ordering::AcqRel);
            })?;
        }
        self.removed = 0;
        Ok(())
    }
}
