//! A map that cannot grow past its capacity: the memory of every detector.
//!
//! Policy when full, looked at once a second at most (every ten seconds when nothing could go): entries that have expired
//! go, then those that were not touched for an hour, a quarter of that, and so on down to fifteen seconds, until an
//! eighth is free. After that a new key is refused and counted. Keys that an outsider can invent fill three quarters at
//! most, and never push out an insider's.

use std::{collections::HashMap, hash::Hash};

use serde::Serialize;

const SECOND: u64 = 1_000_000_000;
/// Entries that were not touched for so long go first.
const OLD: u64 = 3600 * SECOND;
/// Entries that were touched this recently are never dropped.
const FRESH: u64 = 15 * SECOND;

/// How full a memory is, for metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateSize {
    pub name: &'static str,
    pub entries: usize,
    pub capacity: usize,
    /// Entries that were still of use and made room for others.
    pub evicted: u64,
    /// New keys that found no room.
    pub refused: u64,
}

#[derive(Clone, Debug)]
struct Slot<V> {
    value: V,
    touched: u64,
    inside: bool,
}

#[derive(Clone, Debug)]
pub struct Bounded<K, V> {
    name: &'static str,
    map: HashMap<K, Slot<V>>,
    capacity: usize,
    evicted: u64,
    refused: u64,
    /// No look before this time, for outsiders and for insiders,
    prune_after: [u64; 2],
    /// and at what age the last one ended.
    age: u64,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    pub fn new(name: &'static str, capacity: usize) -> Self {
        Self {
            name,
            map: HashMap::new(),
            capacity: capacity.max(4),
            evicted: 0,
            refused: 0,
            prune_after: [0; 2],
            age: OLD,
        }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|slot| &slot.value)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key).map(|slot| &mut slot.value)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|slot| slot.value)
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
        let room = if inside { self.capacity } else { self.capacity / 4 * 3 };
        if self.map.len() >= room && !self.map.contains_key(&key) {
            if now >= self.prune_after[usize::from(inside)] {
                self.make_room(room, inside, now, keep);
                // Looking again soon is for nothing when all that is there is fresh.
                let wait = if self.map.len() > room / 8 * 7 { 10 * SECOND } else { SECOND };
                self.prune_after[usize::from(inside)] = now + wait;
            }
            if self.map.len() >= room {
                self.refused += 1;
                return None;
            }
        }
        let slot = self.map.entry(key).or_insert_with(|| Slot { value: new(), touched: now, inside });
        slot.touched = now;
        Some(&mut slot.value)
    }

    fn make_room(&mut self, room: usize, inside: bool, now: u64, keep: impl Fn(&V) -> bool) {
        self.map.retain(|_, slot| keep(&slot.value));
        let mut age = (self.age * 4).min(OLD);
        while self.map.len() > room / 8 * 7 && age >= FRESH {
            let before = self.map.len();
            self.map.retain(|_, slot| (slot.inside && !inside) || now.saturating_sub(slot.touched) <= age);
            self.evicted += (before - self.map.len()) as u64;
            self.age = age;
            age /= 4;
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.map.retain(|key, slot| keep(key, &mut slot.value));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter().map(|(key, slot)| (key, &slot.value))
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn size(&self) -> StateSize {
        StateSize {
            name: self.name,
            entries: self.map.len(),
            capacity: self.capacity,
            evicted: self.evicted,
            refused: self.refused,
        }
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

    #[test]
    fn the_longest_untouched_make_room_and_outsiders_never_push_out_insiders() {
        let mut map = Bounded::new("test", 16);
        for key in 0..8 {
            map.entry(key, true, 10 * SECOND, |_| true, || key);
        }
        for key in 8..12 {
            map.entry(key, false, 200 * SECOND, |_| true, || key);
        }
        assert!(map.entry(99, false, 4000 * SECOND, |_| true, || 0).is_some());
        assert_eq!((map.len(), map.size().evicted), (9, 4));
        for key in 100..110 {
            map.entry(key, true, 4001 * SECOND, |_| true, || key);
        }
        assert!(map.get(&99).is_some() && map.get(&0).is_none());
    }
}
