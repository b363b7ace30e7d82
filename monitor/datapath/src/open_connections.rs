//! Connections that the kernel counts, of services that have them followed.
//!
//! In: the time. Out: how many a source and a service hold. A sweep ends what fell silent and takes down counts that nothing stands
//! for. The kernel goes on counting meanwhile; both sides change words by compare-and-exchange only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use monitor_common::connection::{Holder, State, Word};
use monitor_common::flow::SourceKey;
use monitor_common::names::map;
use monitor_common::sketch;

use super::mapped::Mapped;
use super::object::Loaded;

/// Words of a cell, of a holder, and of a service's totals.
const CELL: usize = 2;
const HOLDER: usize = 2;
const TOTALS: usize = 3;

/// A handle of the tables.
#[derive(Debug)]
pub struct OpenConnections {
    cells: Mapped,
    holders: Mapped,
    totals: Mapped,
    hash_key: [u64; 2],
    /// By place, how many connections too many its holder had at the last sweep.
    excess: BTreeMap<usize, u32>,
}

impl OpenConnections {
    pub(super) fn new(loaded: &Loaded, hash_key: [u64; 2]) -> Result<Self> {
        Ok(Self {
            cells: Mapped::new(loaded.map(map::OPEN_CONNECTIONS)?)?,
            holders: Mapped::new(loaded.map(map::HOLDERS)?)?,
            totals: Mapped::new(loaded.map(map::OPEN_TOTALS)?)?,
            hash_key,
            excess: BTreeMap::new(),
        })
    }

    /// How many connections a source holds at a service.
    pub fn held(&self, source: &SourceKey) -> u32 {
        let key = sketch::hash(self.hash_key, source.high, source.low, source.service) | 1;
        let places = u32::try_from(self.holders.words().len() / HOLDER).unwrap_or(0);
        let first = Holder::first(key, places) as usize;
        let its = self.holders().skip(first).take(Holder::WAYS as usize).filter(|one| load(&one[0]) == key);
        its.map(|one| Holder::count(load(&one[1]))).sum()
    }

    /// Ends what fell silent. A count that was too high by the same number at two sweeps, as after a crash between two
    /// words, is taken down.
    pub fn sweep(&mut self, now: u64) {
        let before: Vec<u32> = self.holders().map(|one| Holder::count(load(&one[1]))).collect();
        let mut found = vec![0_u32; before.len()];
        for cell in self.cells.words().chunks_exact(CELL) {
            let word = load(&cell[0]);
            if word != 0 && State(load(&cell[1])).is_idle(now) && self.end(&cell[0], word) {
                continue;
            }
            if Word(word).has(Word::COUNTED)
                && let Some(count) = found.get_mut(Word(word).place() as usize)
            {
                *count += 1;
            }
        }
        let mut excess = BTreeMap::new();
        for (place, (one, (before, found))) in self.holders().zip(before.into_iter().zip(found)).enumerate() {
            let held = before.min(Holder::count(load(&one[1])));
            if held <= found {
                continue;
            }
            if self.excess.get(&place) == Some(&(held - found)) {
                self.take_off(place, held - found);
            } else {
                excess.insert(place, held - found);
            }
        }
        self.excess = excess;
    }

    /// Ends the connections of these services.
    pub fn forget_services(&self, services: &[u32]) {
        let places: Vec<u32> = self.holders().map(|one| Holder::service(load(&one[1]))).collect();
        for cell in self.cells.words().chunks_exact(CELL) {
            let word = load(&cell[0]);
            let service = places.get(Word(word).place() as usize);
            if Word(word).has(Word::COUNTED) && service.is_some_and(|service| services.contains(service)) {
                self.end(&cell[0], word);
            }
        }
    }

    /// Takes the connection away, unless the kernel changed it meanwhile.
    fn end(&self, cell: &AtomicU64, word: u64) -> bool {
        let ended = cell.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if ended && Word(word).has(Word::COUNTED) {
            self.take_off(Word(word).place() as usize, 1);
        }
        ended
    }

    fn take_off(&self, place: usize, count: u32) {
        let Some(holder) = self.holders().nth(place) else { return };
        let service = Holder::service(load(&holder[1]));
        let lower = |word: u64| Some(word - u64::from(Holder::count(word).min(count)));
        let _ = holder[1].fetch_update(Ordering::AcqRel, Ordering::Relaxed, lower);
        if let Some(totals) = self.totals.words().chunks_exact(TOTALS).nth(service as usize) {
            let lower = |word: u64| Some(word.saturating_sub(u64::from(count)));
            let _ = totals[0].fetch_update(Ordering::AcqRel, Ordering::Relaxed, lower);
        }
    }

    /// Key and count of each place.
    fn holders(&self) -> std::slice::ChunksExact<'_, AtomicU64> {
        self.holders.words().chunks_exact(HOLDER)
    }
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}
