//! The exact table: one entry per source and service, written by the kernel, read and swept here.
//!
//! In: keys, ages. Out: entries. The handle is cheap to clone and may be used on another thread; the kernel goes on
//! writing while it is read. Before the table stands a filter that the kernel asks in a flood; see [`Entered`].

use anyhow::Result;
use monitor_common::flow::{Address, SourceKey, halves};
use monitor_common::names::map;
use monitor_common::record::SourceEntry;
use monitor_common::sketch;

use super::conversations::is_idle;
use super::filter::Filter;
use super::object::Loaded;
use super::table::{Cursor, Hash, Map};

/// A handle of the exact table.
#[derive(Clone, Debug)]
pub struct Sources {
    map: Hash<SourceKey, SourceEntry>,
}

/// What one step of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub looked_at: usize,
    pub removed: usize,
    /// The sweep went once round.
    pub round: bool,
}

impl Sources {
    pub fn new(map: &Map) -> Result<Self> {
        Ok(Self { map: Hash::new(map)? })
    }

    pub fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// Every entry. Ends however much comes and goes meanwhile.
    pub fn read_all(&self) -> Result<Vec<(SourceKey, SourceEntry)>> {
        let mut entries = Vec::new();
        self.map.read_all(|key, entry| entries.push((key, entry)))?;
        Ok(entries)
    }

    /// Calls `each` for every entry.
    pub fn for_each(&self, each: impl FnMut(SourceKey, SourceEntry)) -> Result<()> {
        self.map.read_all(each)
    }

    /// The entries of one source (already aggregated) at services 0..`services`.
    pub fn of(&self, source: &Address, services: u32) -> Result<Vec<(SourceKey, SourceEntry)>> {
        let (high, low) = halves(source);
        let mut entries = Vec::new();
        for service in 0..services {
            let key = SourceKey::new(high, low, service);
            if let Some(entry) = self.map.get(&key)? {
                entries.push((key, entry));
            }
        }
        Ok(entries)
    }

    /// Forgets one entry: the source starts anew. False when there was none.
    pub fn remove(&self, key: &SourceKey) -> Result<bool> {
        self.map.remove(key)
    }

    /// Looks at about `at_most` entries and removes those not seen for `idle` clock units; goes on at `cursor`.
    ///
    /// `idle` must be longer than any burst lasts, so that a bucket that is forgotten was full again anyway.
    pub fn sweep(&self, cursor: &mut Cursor, now: u64, idle: u64, at_most: u32) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut old = Vec::new();
        self.map.read(cursor, at_most, |key, entry| {
            swept.looked_at += 1;
            if is_idle(entry.last_seen, now, idle) {
                old.push(key);
            }
        })?;
        swept.removed = self.map.remove_all(&old)?;
        swept.round = cursor.at_end();
        Ok(swept)
    }
}

/// Keeps the filter before the exact table without stale bits.
#[derive(Debug)]
pub struct Entered {
    filter: Filter,
    hash_key: [u64; 2],
}

impl Entered {
    pub(super) fn new(loaded: &Loaded, hash_key: [u64; 2]) -> Result<Self> {
        Ok(Self { filter: Filter::new(loaded.map(map::ENTERED)?)?, hash_key })
    }

    /// Follows a step of a sweep of the table.
    pub fn swept(&mut self, sources: &Sources, step: Swept) -> Result<()> {
        self.filter.removed(step.removed);
        if step.round && self.filter.is_stale(sources.capacity()) { self.renew(sources) } else { Ok(()) }
    }

    /// Makes the filter anew, as for a table that was filled by somebody else.
    pub fn renew(&mut self, sources: &Sources) -> Result<()> {
        let key = self.hash_key;
        self.filter.renew(|set| {
            sources.for_each(|source, _| {
                set(sketch::entered(sketch::hash(key, source.high, source.low, source.service)));
            })
        })
    }
}
