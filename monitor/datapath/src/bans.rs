//! The tables of bans and of containments, and the filter that stands before both.
//!
//! In: sources, workloads and ends. Out: bans, containments. The kernel adds bans of its own, with their bits; neither side
//! waits for the other, so after every write the filter is checked against both tables, until no bit is missing.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use monitor_common::containment::Containment;
use monitor_common::flow::BanKey;
use monitor_common::names::{capacity::BAN_FILTER_WORDS, map};
use monitor_common::own_flow::Contact;
use monitor_common::record::{Ban, Count, origin, scope};
use monitor_common::sketch;

use super::object::Loaded;
use super::table::{Array, Hash, TableFull};

/// How often a filter that others write too is mended before we give up.
const ATTEMPTS: usize = 8;

/// The tables of bans and of containments with their filter.
#[derive(Debug)]
pub struct Bans {
    map: Hash<BanKey, Ban>,
    contained: Hash<BanKey, Containment>,
    filter: Array<u64>,
    contacted: Array<u64>,
}

/// What a sweep of the bans did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweptBans {
    /// Bans that are over and whose strikes are forgotten.
    pub forgotten: Vec<(BanKey, Ban)>,
    /// Bans in the table, those that are over but remembered included.
    pub left: usize,
}

impl Bans {
    pub fn new(loaded: &Loaded) -> Result<Self> {
        Ok(Self {
            map: Hash::new(loaded.map(map::BANS)?)?,
            contained: Hash::new(loaded.map(map::CONTAINED)?)?,
            filter: Array::new(loaded.map(map::BAN_FILTER)?)?,
            contacted: Array::new(loaded.map(map::CONTACTED)?)?,
        })
    }

    pub fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// Every entry, those that are over but remembered included.
    pub fn list(&self) -> Result<Vec<(BanKey, Ban)>> {
        let mut bans = Vec::new();
        self.map.read_all(|key, ban| bans.push((key, ban)))?;
        Ok(bans)
    }

    pub fn get(&self, key: &BanKey) -> Result<Option<Ban>> {
        self.map.get(key)
    }

    /// Bans a source until `until` (clock units, `u64::MAX` for ever) or changes the end of its ban.
    /// [`super::TableFull`] when there is no room.
    pub fn add(&self, key: BanKey, until: u64, now: u64, hash_key: [u64; 2]) -> Result<Ban> {
        let before = self.map.get(&key)?;
        let ban = Ban {
            until,
            since: now,
            owned: before.map_or(Count::default(), |ban| ban.dropped()),
            others: Count::default(),
            strikes: before.map_or(0, |ban| ban.strikes).max(1),
            origin: origin::OPERATOR,
            scope: scope::EVERYTHING,
            service: 0,
            owner: 0,
        };
        self.restore(&[(key, ban)], hash_key)?;
        Ok(ban)
    }

    /// Writes bans as they stand: those of a store, after a restart.
    pub fn restore(&self, bans: &[(BanKey, Ban)], hash_key: [u64; 2]) -> Result<()> {
        let (keys, values): (Vec<BanKey>, Vec<Ban>) = bans.iter().copied().unzip();
        while let Err(error) = self.map.set_all(&keys, &values) {
            if !error.is::<TableFull>() || !self.make_room()? {
                return Err(error);
            }
        }
        self.mend(hash_key)
    }

    /// Takes the kernel's ban that ends first out, so that there is always room for an operator's; false when there is none.
    fn make_room(&self) -> Result<bool> {
        match first_to_end(&self.list()?) {
            Some(key) => self.map.remove(&key),
            None => Ok(false),
        }
    }

    /// Lifts a ban and forgets its strikes. False when there was none.
    pub fn remove(&self, key: &BanKey, hash_key: [u64; 2]) -> Result<bool> {
        let removed = self.map.remove(key)?;
        self.rebuild(hash_key)?;
        Ok(removed)
    }

    /// Whether this host contacted the source not long ago.
    pub fn is_contacted(&self, key: BanKey, now: u64, hash_key: [u64; 2]) -> Result<bool> {
        let hash = sketch::source(hash_key, key.high, key.low);
        Ok(Contact(self.contacted.get(Contact::place(hash))?).is_of(hash, now))
    }

    /// Every containment.
    pub fn contained(&self) -> Result<Vec<(BanKey, Containment)>> {
        let mut all = Vec::new();
        self.contained.read_all(|key, containment| all.push((key, containment)))?;
        Ok(all)
    }

    /// Contains a source or a workload from now on; what was counted so far begins anew.
    pub fn contain(&self, key: BanKey, containment: Containment, hash_key: [u64; 2]) -> Result<()> {
        self.contained.set_all(&[key], &[containment])?;
        self.mend(hash_key)
    }

    /// False when there was no such containment.
    pub fn release(&self, key: &BanKey, hash_key: [u64; 2]) -> Result<bool> {
        let removed = self.contained.remove(key)?;
        self.rebuild(hash_key)?;
        Ok(removed)
    }

    /// Forgets bans that have been over for `remembered` clock units and tightens the filter. Those that are over at all make
    /// room at once where more than half of the table is taken.
    pub fn sweep(&self, now: u64, remembered: u64, hash_key: [u64; 2]) -> Result<SweptBans> {
        let mut swept = SweptBans::default();
        let half = self.capacity() as usize / 2;
        (swept.forgotten, swept.left) = forgotten(self.list()?, half, now, remembered);
        if swept.forgotten.is_empty() {
            self.mend(hash_key)?;
        } else {
            let keys: Vec<BanKey> = swept.forgotten.iter().map(|(key, _)| *key).collect();
            self.map.remove_all(&keys)?;
            self.rebuild(hash_key)?;
        }
        Ok(swept)
    }

    /// Makes the filter anew from both tables, after something left one of them.
    pub fn rebuild(&self, hash_key: [u64; 2]) -> Result<()> {
        let there = self.filter.get_all(0, BAN_FILTER_WORDS + 1)?;
        let wanted = self.wanted(hash_key)?;
        for (index, old) in (0..).zip(there) {
            let new = wanted.get(&index).copied().unwrap_or(0);
            if old != new {
                self.filter.set(index, &new)?;
            }
        }
        self.mend(hash_key)
    }

    /// Sets every bit that a ban or a containment needs.
    fn mend(&self, hash_key: [u64; 2]) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let wanted = self.wanted(hash_key)?;
            let mut missing = false;
            for (index, bits) in wanted {
                let there = self.filter.get(index)?;
                if there & bits != bits {
                    self.filter.set(index, &(there | bits))?;
                    missing = true;
                }
            }
            if !missing {
                return Ok(());
            }
        }
        bail!("the ban filter changed under every attempt to mend it: try again")
    }

    /// The filter's words that are not zero, the last of which says whether there is any ban or containment.
    fn wanted(&self, hash_key: [u64; 2]) -> Result<BTreeMap<u32, u64>> {
        let mut words = BTreeMap::new();
        let mut want = |key| {
            let (index, bit) = place(hash_key, key);
            *words.entry(index).or_default() |= bit;
            words.insert(BAN_FILTER_WORDS, 1);
        };
        self.map.read_all(|key, _| want(key))?;
        self.contained.read_all(|key, _| want(key))?;
        Ok(words)
    }
}

/// The word and the bit of a source in the filter.
fn place(hash_key: [u64; 2], key: BanKey) -> (u32, u64) {
    sketch::banned(sketch::source(hash_key, key.high, key.low))
}

/// The bans to forget, and how many are left: what is over for long enough, and beyond `half` what is over, the longest first.
fn forgotten(
    bans: Vec<(BanKey, Ban)>,
    half: usize,
    now: u64,
    remembered: u64,
) -> (Vec<(BanKey, Ban)>, usize) {
    let (mut gone, kept): (Vec<_>, Vec<_>) =
        bans.into_iter().partition(|(_, ban)| is_forgotten(ban, now, remembered));
    let mut over: Vec<_> = kept.iter().filter(|(_, ban)| is_forgotten(ban, now, 0)).copied().collect();
    over.sort_by_key(|(_, ban)| std::cmp::Reverse(now.wrapping_sub(ban.until)));
    over.truncate(kept.len().saturating_sub(half));
    let left = kept.len() - over.len();
    gone.extend(over);
    (gone, left)
}

/// Of the kernel's bans the one that ends first, or is over for longest.
fn first_to_end(bans: &[(BanKey, Ban)]) -> Option<BanKey> {
    let mut kernels = bans.iter().filter(|(_, ban)| ban.origin == origin::KERNEL);
    let first = kernels.next()?;
    let sooner = |one: &(BanKey, Ban), other: &(BanKey, Ban)| {
        let (one, other) = (one.1.until, other.1.until);
        one != u64::MAX && (other == u64::MAX || one.wrapping_sub(other).cast_signed() < 0)
    };
    Some(kernels.fold(first, |first, next| if sooner(next, first) { next } else { first }).0)
}

fn is_forgotten(ban: &Ban, now: u64, remembered: u64) -> bool {
    let over = now.wrapping_sub(ban.until).cast_signed();
    ban.until != u64::MAX && over > 0 && over.cast_unsigned() > remembered
}

#[cfg(test)]
mod tests {
    use super::{first_to_end, forgotten, is_forgotten, place};
    use monitor_common::flow::BanKey;
    use monitor_common::names::capacity::BAN_FILTER_WORDS;
    use monitor_common::plain::Plain as _;
    use monitor_common::record::{Ban, origin};

    #[test]
    fn a_ban_is_forgotten_only_after_its_end_and_the_time_it_is_remembered() {
        let ban = |until| Ban { until, ..Ban::zeroed() };
        assert!(!is_forgotten(&ban(1000), 900, 0));
        assert!(!is_forgotten(&ban(1000), 1100, 200));
        assert!(is_forgotten(&ban(1000), 1300, 200));
        assert!(!is_forgotten(&ban(u64::MAX), u64::MAX - 1, 0));
    }

    fn ban(low: u64, until: u64, origin: u16) -> (BanKey, Ban) {
        (BanKey { high: 0, low }, Ban { until, origin, ..Ban::zeroed() })
    }

    #[test]
    fn bans_that_are_over_make_room_where_the_table_is_half_full() {
        let now = 1_000_000;
        let bans: Vec<_> = (0..8)
            .map(|low| ban(low, if low < 5 { now - 100 + low } else { now + 100 }, origin::KERNEL))
            .collect();
        let keys = |half| {
            let (gone, left) = forgotten(bans.clone(), half, now, 1_000);
            (gone.iter().map(|(key, _)| key.low).collect::<Vec<_>>(), left)
        };
        assert_eq!(keys(8), (vec![], 8));
        assert_eq!(keys(6), (vec![0, 1], 6));
        // Those in force stay, however full it is.
        assert_eq!(keys(0), (vec![0, 1, 2, 3, 4], 3));
        let (gone, left) = forgotten(bans.clone(), 8, now + 2_000, 1_000);
        assert_eq!((gone.len(), left), (8, 0));
    }

    #[test]
    fn an_operators_ban_takes_the_place_of_the_kernels_that_ends_first() {
        let bans = [ban(1, 500, origin::OPERATOR), ban(2, 900, origin::KERNEL), ban(3, 700, origin::KERNEL)];
        assert_eq!(first_to_end(&bans).map(|key| key.low), Some(3));
        assert_eq!(first_to_end(&bans[..1]), None);
        let lasting = [ban(4, u64::MAX, origin::KERNEL), ban(5, 900, origin::KERNEL)];
        assert_eq!(first_to_end(&lasting).map(|key| key.low), Some(5));
    }

    #[test]
    fn a_place_lies_within_the_filter() {
        for low in 0..1000 {
            let (index, bit) = place([1, 2], BanKey { high: 0, low });
            assert!(index < BAN_FILTER_WORDS && bit.is_power_of_two());
        }
    }
}
