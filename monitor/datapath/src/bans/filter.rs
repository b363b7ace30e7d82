//! The filter that stands before bans and containments: a bit for each hash of a source, and a word that says whether there is
//! any.
//!
//! In: keys that are in a table. Out: their bits. The kernel sets bits as well, so both sides use atomic operations on the same
//! memory and no write undoes another.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use monitor_common::flow::BanKey;
use monitor_common::names::capacity::BAN_FILTER_WORDS;
use monitor_common::sketch;

use crate::mapped::Mapped;
use crate::table::Map;

const WORDS: usize = BAN_FILTER_WORDS as usize;

/// The filter as memory that both sides see.
#[derive(Debug)]
pub struct Filter(Mapped);

/// The bits that the entries of the tables need.
#[derive(Debug)]
pub struct Needed {
    words: Vec<u64>,
    any: bool,
}

impl Needed {
    pub fn nothing() -> Self {
        Self { words: vec![0; WORDS], any: false }
    }

    pub fn add(&mut self, hash_key: [u64; 2], key: BanKey) {
        let (word, bit) = place(hash_key, key);
        self.words[word] |= bit;
        self.any = true;
    }
}

impl Filter {
    pub fn new(map: &Map) -> Result<Self> {
        let words = Mapped::new(map)?;
        ensure!(words.words().len() > WORDS, "map {} is shorter than its filter: build both again", map.name);
        Ok(Self(words))
    }

    /// Lets the kernel look for this source.
    pub fn mark(&self, hash_key: [u64; 2], key: BanKey) {
        let (word, bit) = place(hash_key, key);
        set(&self.0.words()[word], bit);
        set(&self.0.words()[WORDS], 1);
    }

    /// Clears the bits that no entry needs. An entry that the kernel made meanwhile may lose its bit, so the caller marks every
    /// entry again.
    pub fn keep_only(&self, needed: &Needed) {
        for (word, bits) in self.0.words().iter().zip(&needed.words) {
            if word.load(Ordering::Relaxed) & !bits != 0 {
                word.fetch_and(*bits, Ordering::Relaxed);
            }
        }
        if !needed.any {
            self.0.words()[WORDS].store(0, Ordering::Relaxed);
        }
    }
}

/// Sets bits where they are not set; a line that is right already stays shared between CPUs.
fn set(word: &AtomicU64, bits: u64) {
    if word.load(Ordering::Relaxed) & bits != bits {
        word.fetch_or(bits, Ordering::Relaxed);
    }
}

/// The word and the bit of a source.
fn place(hash_key: [u64; 2], key: BanKey) -> (usize, u64) {
    let (word, bit) = sketch::banned(sketch::source(hash_key, key.high, key.low));
    (word as usize, bit)
}

#[cfg(test)]
mod tests {
    use super::{WORDS, place};
    use monitor_common::flow::BanKey;

    #[test]
    fn a_place_lies_within_the_filter() {
        for low in 0..1000 {
            let (word, bit) = place([1, 2], BanKey { high: 0, low });
            assert!(word < WORDS && bit.is_power_of_two());
        }
    }
}
