//! A filter of bits before a table: two banks, of which the kernel asks one and sets bits in both.
//!
//! In: how many entries left the table, and the places of those that are in it. Out: a filter without stale bits. A stale
//! bit costs the kernel a lookup; a missing one would deny an entry, so none is ever missing.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};

use super::mapped::Mapped;
use super::table::Map;

/// The filter is made anew when this part of the table's capacity was removed.
const STALE: usize = 8;

/// The filter, with what left its table since it was made.
#[derive(Debug)]
pub struct Filter {
    words: Mapped,
    removed: usize,
}

impl Filter {
    /// The map holds two banks, and a last word that says which one is asked.
    pub fn new(map: &Map) -> Result<Self> {
        let words = Mapped::new(map)?;
        ensure!(words.words().len() % 2 == 1, "map {} is not two banks and a choice", map.name);
        Ok(Self { words, removed: 0 })
    }

    /// Notes that so many entries left the table.
    pub fn removed(&mut self, count: usize) {
        self.removed += count;
    }

    /// Whether many bits are stale, for a table of this capacity.
    pub fn is_stale(&self, capacity: u32) -> bool {
        self.removed * STALE > capacity as usize
    }

    /// Makes the bank that is not asked anew, and turns to it. `fill` walks the table and gives word and bit of each entry.
    /// The kernel sets its bits after an entry stands in the table, so none is missing whenever it enters.
    pub fn renew(&mut self, fill: impl FnOnce(&mut dyn FnMut((u32, u64))) -> Result<()>) -> Result<()> {
        let words = self.words.words();
        let (choice, bank) = (words.len() - 1, words.len() / 2);
        let idle = 1 - (words[choice].load(Ordering::Acquire) & 1);
        let bank = if idle == 0 { &words[..bank] } else { &words[bank..choice] };
        for word in bank {
            word.store(0, Ordering::Release);
        }
        fill(&mut |(word, bit)| {
            bank[word as usize].fetch_or(bit, Ordering::AcqRel);
        })?;
        words[choice].store(idle, Ordering::Release);
        self.removed = 0;
        Ok(())
    }
}
