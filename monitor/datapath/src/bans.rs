//! The tables of bans and of containments, and the filter that stands before both.
//!
//! In: sources, workloads and ends. Out: bans, containments. The kernel adds bans of its own, with their bits; neither side
//! waits for the other. A write costs the same however many bans there are; what has to see all of them is done a part at a
//! time ([`Bans::visit`]) or seldom ([`Bans::tighten_when_due`]).

mod filter;
mod walk;

use std::time::{Duration, Instant};

use anyhow::Result;
use monitor_common::bucket::UNITS_PER_NS;
use monitor_common::containment::Containment;
use monitor_common::flow::BanKey;
use monitor_common::names::map;
use monitor_common::own_flow::Contact;
use monitor_common::record::{Ban, Count, origin, scope};
use monitor_common::sketch;

use super::object::Loaded;
use super::table::{Array, Hash, TableFull};
use filter::{Filter, Needed};

use walk::Walk;

pub use walk::Banned;

/// A full table gives this part of its places at once, so that the next operator's bans find room without another search.
const GIVEN: u32 = 256;

/// Bans that one visit sees: half of the default table, and a few milliseconds' work.
const VISITED: u32 = 8192;
/// The filter is tightened for at most so small a part of the time.
const TIGHTENING: u32 = 200;
/// How long a ban that is over is remembered, so that the next one is longer.
const STRIKES_KEPT: Duration = Duration::from_hours(24);

/// What the visits of the table come to.
#[derive(Debug, Default)]
pub struct Upkeep {
    walk: Walk,
    /// Something left the tables since the filter was tightened.
    is_loose: bool,
    /// When that was, and how long it took.
    tightened: Option<(Instant, Duration)>,
}

impl Upkeep {
    /// By the last whole walk through the table.
    pub fn banned(&self) -> Banned {
        self.walk.banned()
    }
}

/// The tables of bans and of containments with their filter.
#[derive(Debug)]
pub struct Bans {
    map: Hash<BanKey, Ban>,
    contained: Hash<BanKey, Containment>,
    filter: Filter,
    contacted: Array<u64>,
}

impl Bans {
    pub fn new(loaded: &Loaded) -> Result<Self> {
        Ok(Self {
            map: Hash::new(loaded.map(map::BANS)?)?,
            contained: Hash::new(loaded.map(map::CONTAINED)?)?,
            filter: Filter::new(loaded.map(map::BAN_FILTER)?)?,
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
        for key in keys {
            self.filter.mark(hash_key, key);
        }
        Ok(())
    }

    /// Takes the kernel's bans that end first out, so that there is always room for an operator's; false when there are none.
    fn make_room(&self) -> Result<bool> {
        let given = first_to_end(self.list()?, self.capacity().div_ceil(GIVEN) as usize);
        Ok(self.map.remove_all(&given)? > 0)
    }

    /// Lifts a ban and forgets its strikes. False when there was none.
    pub fn remove(&self, key: &BanKey, upkeep: &mut Upkeep) -> Result<bool> {
        let removed = self.map.remove(key)?;
        upkeep.is_loose |= removed;
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
        self.filter.mark(hash_key, key);
        Ok(())
    }

    /// False when there was no such containment.
    pub fn release(&self, key: &BanKey, upkeep: &mut Upkeep) -> Result<bool> {
        let removed = self.contained.remove(key)?;
        upkeep.is_loose |= removed;
        Ok(removed)
    }

    /// Visits the next part of the bans: counts them, sets bits that are missing, and forgets those that have been over for a day.
    /// Those that are over at all make room at once where more than half of the table is taken.
    pub fn visit(&self, upkeep: &mut Upkeep, now: u64, hash_key: [u64; 2]) -> Result<()> {
        let mut over = Vec::new();
        let walk = &mut upkeep.walk;
        let mut cursor = walk.cursor;
        self.map.read(&mut cursor, VISITED, |key, ban| {
            self.filter.mark(hash_key, key);
            walk.meet(key, ban, now);
            if is_over(&ban, now, 0) {
                over.push((key, ban));
            }
        })?;
        walk.cursor = cursor;
        let half = u64::from(self.capacity() / 2);
        let gone = walk.forgotten(over, half, now, units(STRIKES_KEPT));
        upkeep.is_loose |= self.map.remove_all(&gone)? > 0;
        if walk.cursor.at_end() {
            walk.end();
        }
        Ok(())
    }

    /// Clears the bits of what left the tables, if anything did. It reads both of them twice, so it is done seldom where they are
    /// large; until then a bit too many costs packets of a few sources one look into the table.
    pub fn tighten_when_due(&self, upkeep: &mut Upkeep, hash_key: [u64; 2]) -> Result<()> {
        let is_due = upkeep.tightened.is_none_or(|(at, took)| at.elapsed() >= took * TIGHTENING);
        if !upkeep.is_loose || !is_due {
            return Ok(());
        }
        let began = Instant::now();
        let mut needed = Needed::nothing();
        self.for_each_key(|key| needed.add(hash_key, key))?;
        self.filter.keep_only(&needed);
        // What the kernel banned between the reading and the clearing.
        self.for_each_key(|key| self.filter.mark(hash_key, key))?;
        upkeep.tightened = Some((Instant::now(), began.elapsed()));
        upkeep.is_loose = false;
        Ok(())
    }

    fn for_each_key(&self, mut each: impl FnMut(BanKey)) -> Result<()> {
        self.map.read_all(|key, _| each(key))?;
        self.contained.read_all(|key, _| each(key))
    }
}

/// Of the kernel's bans the `count` that end first; those that are over for longest come before all.
fn first_to_end(mut bans: Vec<(BanKey, Ban)>, count: usize) -> Vec<BanKey> {
    bans.retain(|(_, ban)| ban.origin == origin::KERNEL);
    // Ends are of a clock that wraps, so they are compared by how far they are from one of them.
    let one = bans.iter().map(|(_, ban)| ban.until).find(|until| *until != u64::MAX).unwrap_or(0);
    let end = |(_, ban): &(BanKey, Ban)| match ban.until {
        u64::MAX => i64::MAX,
        until => until.wrapping_sub(one).cast_signed(),
    };
    bans.sort_unstable_by_key(end);
    bans.into_iter().take(count).map(|(key, _)| key).collect()
}

/// Whether a ban has been over for more than `remembered` clock units.
fn is_over(ban: &Ban, now: u64, remembered: u64) -> bool {
    let over = now.wrapping_sub(ban.until).cast_signed();
    ban.until != u64::MAX && over > 0 && over.cast_unsigned() > remembered
}

fn units(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / UNITS_PER_NS).saturating_mul(UNITS_PER_NS)
}

#[cfg(test)]
mod tests {
    use super::{first_to_end, is_over};
    use monitor_common::flow::BanKey;
    use monitor_common::plain::Plain as _;
    use monitor_common::record::{Ban, origin};

    #[test]
    fn a_ban_is_forgotten_only_after_its_end_and_the_time_it_is_remembered() {
        let ban = |until| Ban { until, ..Ban::zeroed() };
        assert!(!is_over(&ban(1000), 900, 0));
        assert!(!is_over(&ban(1000), 1100, 200));
        assert!(is_over(&ban(1000), 1300, 200));
        assert!(!is_over(&ban(u64::MAX), u64::MAX - 1, 0));
    }

    fn ban(low: u64, until: u64, origin: u16) -> (BanKey, Ban) {
        (BanKey { high: 0, low }, Ban { until, origin, ..Ban::zeroed() })
    }

    #[test]
    fn an_operators_ban_takes_the_place_of_the_kernels_that_end_first() {
        let bans = [ban(1, 500, origin::OPERATOR), ban(2, 900, origin::KERNEL), ban(3, 700, origin::KERNEL)];
        let first = |bans: &[_], count| -> Vec<u64> {
            first_to_end(bans.to_vec(), count).iter().map(|key| key.low).collect()
        };
        assert_eq!(first(&bans, 1), [3]);
        assert_eq!(first(&bans, 8), [3, 2], "an operator's ban never makes room");
        assert_eq!(first(&bans[..1], 1), Vec::<u64>::new());
        let lasting = [ban(4, u64::MAX, origin::KERNEL), ban(5, 900, origin::KERNEL)];
        assert_eq!(first(&lasting, 1), [5]);
        let wrapped = [ban(6, 5, origin::KERNEL), ban(7, u64::MAX - 5, origin::KERNEL)];
        assert_eq!(first(&wrapped, 1), [7], "the clock wraps");
    }
}
