//! The exact table: one entry per source and service, written by the kernel, read and swept here.
//!
//! In: keys, ages. Out: entries. The table is memory that both sides see; the kernel goes on writing while it is read. The
//! handle is cheap to clone and may be used on another thread. How a slot changes hands is said at [`state`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use monitor_common::bucket::UNITS_PER_NS;
use monitor_common::flow::SourceKey;
use monitor_common::names::map;
use monitor_common::plain::Plain as _;
use monitor_common::record::{SourceEntry, entry};
use monitor_common::rule::DIMENSIONS;
use monitor_common::sketch;
use monitor_common::table::{self, FREE, Slot, Tags, WAYS, state};

use super::conversations::is_idle;
use super::mapped::Mapped;
use super::object::Loaded;
use super::syscall;
use super::table::Map;
use policy::Image;

/// Words of a slot; the third holds the service and, above it, the state.
const WORDS: usize = size_of::<Slot>() / 8;
const STATE_WORD: usize = 2;
const STATE_SHIFT: u32 = 32;

/// At the earliest, an entry is forgotten after five minutes, and that of a stranger of a flood after a second.
const LEAST_IDLE: u64 = 300 * LEAST_FROM_FLOOD;
const LEAST_FROM_FLOOD: u64 = 1_000_000_000 * UNITS_PER_NS;

/// A handle of the exact table.
#[derive(Clone, Debug)]
pub struct Sources {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    slots: Mapped,
    tags: Mapped,
    hash_key: [u64; 2],
    /// Held while slots are retired and freed: two at once would free a slot that is taken again in between.
    retiring: Mutex<()>,
}

/// How long entries stay after their source was last seen, in clock units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Longer than any burst lasts, so that a bucket that is forgotten was full again anyway.
    pub idle: u64,
    /// The same for whom a flood brought, if it owes nothing and has nothing against it: when it comes back, it begins
    /// anew even if its entry stands. So floods that come again and again do not fill the table.
    pub from_flood: u64,
}

impl Kept {
    /// Under these rules.
    pub fn under(image: &Image) -> Self {
        let slots = image.limits.iter().flat_map(|limit| [&limit.force, &limit.candidate]);
        let longest = slots.flat_map(|slot| slot.rates.iter().map(|rate| rate.capacity)).max().unwrap_or(0);
        let idle = longest.saturating_mul(2).max(LEAST_IDLE);
        Self { idle, from_flood: image.settings.known_after.clamp(LEAST_FROM_FLOOD, idle) }
    }

    fn is_over(&self, entry: &SourceEntry, now: u64) -> bool {
        let nothing_known = entry.flags == entry::FROM_FLOOD && entry.violations == 0;
        let owes_nothing = || (0..DIMENSIONS).all(|dimension| entry.owed(dimension, now) == 0);
        let brief = nothing_known && owes_nothing();
        is_idle(entry.last_seen, now, if brief { self.from_flood } else { self.idle })
    }
}

/// Where a sweep goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptTo(usize);

impl Sources {
    pub(super) fn new(loaded: &Loaded, hash_key: [u64; 2]) -> Result<Self> {
        let (slots, tags) = (loaded.map(map::SOURCES)?, loaded.map(map::SOURCE_TAGS)?);
        let table = Table {
            slots: Mapped::new(slots)?,
            tags: Mapped::new(tags)?,
            hash_key,
            retiring: Mutex::new(()),
        };
        ensure!(
            table.slots.words().len() == table.sets() as usize * WAYS as usize * WORDS,
            "maps {} and {} do not belong together: run `sluice detach` once, then start again",
            slots.name,
            tags.name
        );
        Ok(Self { table: Arc::new(table) })
    }

    pub fn capacity(&self) -> u32 {
        self.table.sets() * WAYS
    }

    /// Every entry.
    pub fn read_all(&self) -> Vec<(SourceKey, SourceEntry)> {
        let mut entries = Vec::new();
        self.for_each(|key, entry| entries.push((key, entry)));
        entries
    }

    /// Calls `each` for every entry.
    pub fn for_each(&self, mut each: impl FnMut(SourceKey, SourceEntry)) {
        // A slot is taken by its tag first, so what has none holds nothing, and is not touched.
        for number in (0..self.table.sets() as usize).flat_map(|set| self.table.taken(set)) {
            if let Some(slot) = self.table.live(number) {
                each(slot.key(), slot.entry);
            }
        }
    }

    /// Forgets entries: these sources start anew. How many there were.
    pub fn remove(&self, keys: &[SourceKey]) -> usize {
        let _retiring = self.table.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        let found = keys.iter().filter_map(|key| self.table.find(key));
        let retired: Vec<usize> = found.filter(|number| self.table.retire(*number)).collect();
        self.table.free(&retired);
        retired.len()
    }

    /// Looks at so many slots and removes the entries whose time is over; goes on at `cursor`. How many it removed.
    pub fn sweep(&self, cursor: &mut SweptTo, now: u64, kept: Kept, at_most: u32) -> usize {
        let _retiring = self.table.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut removed = 0;
        let (capacity, mut retired) = (self.capacity() as usize, Vec::new());
        for _ in 0..(at_most as usize).min(capacity) {
            let number = cursor.0 % capacity;
            cursor.0 = number + 1;
            if self.table.tag_of(number) == FREE {
                continue;
            }
            match self.table.state(number) {
                state::LIVE => {
                    let is_over = |slot: Slot| kept.is_over(&slot.entry, now);
                    if self.table.live(number).is_some_and(is_over) && self.table.retire(number) {
                        removed += 1;
                        retired.push(number);
                    }
                }
                // Given way to another CPU that entered the same source, or left by a daemon that was killed.
                state::RETIRED => retired.push(number),
                _ => {}
            }
        }
        self.table.free(&retired);
        removed
    }

    /// Puts an entry where a program will find it; false when both sets of its source are full. Only for a table that no
    /// program uses yet.
    pub(super) fn insert(&self, key: &SourceKey, entry: SourceEntry) -> bool {
        self.table.insert(key, entry)
    }
}

/// Every entry of a table of which only the slots are left.
pub(super) fn read_slots(slots: &Map) -> Result<Vec<(SourceKey, SourceEntry)>> {
    let slots = Mapped::new(slots)?;
    let live = slots.words().chunks_exact(WORDS).filter_map(live);
    Ok(live.map(|slot| (slot.key(), slot.entry)).collect())
}

fn state_of(words: &[AtomicU64]) -> u32 {
    let word = words[STATE_WORD].load(Ordering::Acquire);
    u32::try_from(word >> STATE_SHIFT).unwrap_or(state::FREE)
}

/// What a slot holds, if it is live.
fn live(words: &[AtomicU64]) -> Option<Slot> {
    if state_of(words) != state::LIVE {
        return None;
    }
    let mut bytes = [0; size_of::<Slot>()];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    Slot::from_bytes(&bytes)
}

/// The tag of one slot among those of its set.
const fn tag_in(tags: Tags, way: u32) -> u64 {
    let (word, shift) = table::place(way);
    tags[word] >> shift & 0xffff
}

impl Table {
    fn sets(&self) -> u32 {
        u32::try_from(self.tags.words().len() / 2).unwrap_or(u32::MAX)
    }

    fn words(&self, number: usize) -> &[AtomicU64] {
        &self.slots.words()[number * WORDS..(number + 1) * WORDS]
    }

    fn hash(&self, key: &SourceKey) -> u64 {
        sketch::hash(self.hash_key, key.high, key.low, key.service)
    }

    fn state(&self, number: usize) -> u32 {
        state_of(self.words(number))
    }

    fn live(&self, number: usize) -> Option<Slot> {
        live(self.words(number))
    }

    /// The numbers of the slots that a source may stand in.
    fn places(&self, key: &SourceKey) -> impl Iterator<Item = usize> + use<> {
        let sets = table::sets(self.hash(key), self.sets());
        sets.into_iter().flat_map(|set| set * WAYS..(set + 1) * WAYS).map(|number| number as usize)
    }

    /// The number of the live slot of a source.
    fn find(&self, key: &SourceKey) -> Option<usize> {
        self.places(key).find(|number| self.live(*number).is_some_and(|slot| slot.key() == *key))
    }

    /// Takes an entry out of judgement. From here on no further packet finds it; false when it was not live.
    fn retire(&self, number: usize) -> bool {
        let word = &self.words(number)[STATE_WORD];
        let live = u64::from(state::LIVE) << STATE_SHIFT;
        let old = word.load(Ordering::Acquire);
        let service = old & u64::from(u32::MAX);
        let retired = service | u64::from(state::RETIRED) << STATE_SHIFT;
        old == service | live
            && word.compare_exchange(old, retired, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Empties retired slots, once every packet that may have found them is through, and gives them away.
    fn free(&self, retired: &[usize]) {
        if retired.is_empty() {
            return;
        }
        syscall::wait_for_packets_under_way();
        for number in retired {
            for word in self.words(*number) {
                word.store(0, Ordering::Release);
            }
            self.tag(*number, FREE);
        }
    }

    /// The slots of a set that somebody holds.
    fn taken(&self, set: usize) -> impl Iterator<Item = usize> {
        let words = &self.tags.words()[2 * set..2 * set + 2];
        let tags = [words[0].load(Ordering::Acquire), words[1].load(Ordering::Acquire)];
        let ways = if tags == [FREE; 2] { 0..0 } else { 0..WAYS };
        ways.filter(move |way| tag_in(tags, *way) != FREE).map(move |way| set * WAYS as usize + way as usize)
    }

    fn tag_of(&self, number: usize) -> u64 {
        let set = number / WAYS as usize;
        let words = &self.tags.words()[2 * set..2 * set + 2];
        let tags = [words[0].load(Ordering::Acquire), words[1].load(Ordering::Acquire)];
        tag_in(tags, u32::try_from(number % WAYS as usize).unwrap_or(0))
    }

    /// Writes the tag of a slot; its neighbours' may change meanwhile.
    fn tag(&self, number: usize, tag: u64) {
        let set = number / WAYS as usize;
        let (which, shift) = table::place(u32::try_from(number % WAYS as usize).unwrap_or(0));
        let word = &self.tags.words()[2 * set + which];
        let with = |old: u64| Some(old & !(0xffff << shift) | tag << shift);
        // It always gives a new value, so it always succeeds.
        let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, with);
    }

    fn insert(&self, key: &SourceKey, entry: SourceEntry) -> bool {
        let hash = self.hash(key);
        let sets = table::sets(hash, self.sets());
        let first = |set: u32| (set * WAYS..(set + 1) * WAYS).map(|number| number as usize);
        let is_free = |number: &usize| self.state(*number) == state::FREE;
        let free = sets.map(|set| u32::try_from(first(set).filter(is_free).count()).unwrap_or(0));
        let set = sets[usize::from(table::enters_second(free))];
        let Some(number) = first(set).find(is_free) else { return false };
        let slot = Slot { high: key.high, low: key.low, service: key.service, state: state::LIVE, entry };
        for (word, bytes) in self.words(number).iter().zip(slot.as_bytes().chunks_exact(8)) {
            let bytes = <[u8; 8]>::try_from(bytes).unwrap_or_default();
            word.store(u64::from_ne_bytes(bytes), Ordering::Release);
        }
        self.tag(number, table::tag(hash));
        true
    }
}
