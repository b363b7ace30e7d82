//! A map that cannot grow past its capacity: the memory of every detector.
//!
//! Policy when full: entries that have expired go first (looked for at most once a second); after that a new key is
//! refused and counted. Keys that an outsider can invent may fill three quarters, the rest is kept for insiders.

use std::{collections::HashMap, hash::Hash};

use serde::Serialize;

const SECOND: u64 = 1_000_000_000;

/// How full a memory is, for metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateSize {
    pub name: &'static str,
    pub entries: usize,
    pub capacity: usize,
    /// New keys that found no room.
    pub refused: u64,
}

#[derive(Clone, Debug)]
pub struct Bounded<K, V> {
    name: &'static str,
    map: HashMap<K, V>,
    capacity: usize,
    refused: u64,
    pruned_at: u64,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    pub fn new(name: &'static str, capacity: usize) -> Self {
        Self { name, map: HashMap::new(), capacity: capacity.max(4), refused: 0, pruned_at: 0 }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    /// The value of `key`, made by `new` if there is room. `inside` keys may use all of the capacity. `keep` says which
    /// entries are still needed.
    pub fn entry(
        &mut self,
        key: K,
        inside: bool,
        now: u64,
        keep: impl Fn(&V) -> bool,
        new: impl FnOnce() -> V,
    ) -> Option<&mut V> {
        if !self.map.contains_key(&key) {
            let room = if inside { self.capacity } else { self.capacity / 4 * 3 };
            if self.map.len() >= room && now >= self.pruned_at + SECOND {
                self.pruned_at = now;
                self.map.retain(|_, value| keep(value));
            }
            if self.map.len() >= room {
                self.refused += 1;
                return None;
            }
        }
        Some(self.map.entry(key).or_insert_with(new))
    }

    pub fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.map.retain(keep);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn size(&self) -> StateSize {
        StateSize { name: self.name, entries: self.map.len(), capacity: self.capacity, refused: self.refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_refuses_and_counts_and_keeps_room_for_insiders() {
        let mut map = Bounded::new("test", 8);
        for key in 0..20 {
            map.entry(key, false, 0, |_| true, || key);
        }
        assert_eq!((map.len(), map.size().refused), (6, 14));
        assert!(map.entry(100, true, 0, |_| true, || 100).is_some());
        assert!(map.entry(0, false, 0, |_| true, || 7).is_some(), "what is known is found");
    }

    #[test]
    fn expired_entries_make_room() {
        let mut map = Bounded::new("test", 4);
        for key in 0..4 {
            map.entry(key, true, 5 * SECOND, |_| true, || key);
        }
        assert!(map.entry(9, true, 5 * SECOND + 1, |value| *value > 2, || 9).is_some());
        assert_eq!(map.len(), 2);
    }
}
