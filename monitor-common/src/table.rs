//! The exact table of sources: sets of eight slots, found by tags, two sets for every source.
//!
//! In: a source's hash. Out: where it may stand. The tags of a set are sixteen bytes, and those of the whole table stay in a
//! cache, so whether a source has an entry, and in which slot, is known before the entry itself is touched. A slot has
//! one home for ever: nothing is moved, so a pointer to it is good as long as the packet that found it.

use crate::{flow::SourceKey, plain, record::SourceEntry};

/// Slots of a set.
pub const WAYS: u32 = 8;

/// The tags of a set: slot `2k` in bits `16k..` of the first word, slot `2k + 1` of the second.
pub type Tags = [u64; 2];

/// The tag of a slot that nobody holds.
pub const FREE: u64 = 0;

/// One in every sixteen bits, and all but the highest of each.
const ONES: u64 = 0x0001_0001_0001_0001;
const LOWER: u64 = 0x7fff_7fff_7fff_7fff;

/// One place of the table, four cache lines: the key, and all that is known of the source.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub high: u64,
    pub low: u64,
    pub service: u32,
    /// A [`state`].
    pub state: u32,
    pub entry: SourceEntry,
}
plain!(Slot { high: u64, low: u64, service: u32, state: u32, entry: SourceEntry } = 256);

/// [`Slot::state`].
///
/// A CPU takes a free slot by its tag, fills it in, and calls it `ENTERING`. Then it looks whether another CPU enters the
/// same source; who sees another gives way and leaves its slot `RETIRED`, so there are never two. Only a `LIVE` slot
/// judges. The daemon retires what is idle, waits until every packet that may have found it is through, and frees it.
pub mod state {
    pub const FREE: u32 = 0;
    pub const ENTERING: u32 = 1;
    pub const LIVE: u32 = 2;
    pub const RETIRED: u32 = 3;
}

impl Slot {
    /// Whose it is.
    pub const fn key(&self) -> SourceKey {
        SourceKey::new(self.high, self.low, self.service)
    }

    /// Whether it is this source's.
    #[inline(always)]
    pub const fn is_of(&self, high: u64, low: u64, service: u32) -> bool {
        // Differences put together: one branch instead of three.
        (self.high ^ high) | (self.low ^ low) | (self.service ^ service) as u64 == 0
    }

    /// Whether it is this source's, and live.
    #[inline(always)]
    pub const fn judges(&self, high: u64, low: u64, service: u32) -> bool {
        let differs = (self.high ^ high) | (self.low ^ low) | (self.service ^ service) as u64;
        differs | (self.state ^ state::LIVE) as u64 == 0
    }
}

/// The two sets of a source; in a small table they may be one.
#[inline(always)]
pub const fn sets(hash: u64, sets: u32) -> [u32; 2] {
    [(((hash >> 32) * sets as u64) >> 32) as u32, (((hash & 0xffff_ffff) * sets as u64) >> 32) as u32]
}

/// The tag of a source: never [`FREE`].
#[inline(always)]
pub const fn tag(hash: u64) -> u64 {
    hash & 0xffff | 1
}

/// Which slots of a set have this tag: a bit for each, in the order of [`first`].
#[inline(always)]
pub const fn matching(tags: Tags, tag: u64) -> u64 {
    let pattern = tag * ONES;
    halves_of_zero(tags[0] ^ pattern) >> 1 | halves_of_zero(tags[1] ^ pattern)
}

/// The slot of the lowest match; some slot when there is none.
///
/// Arithmetic without branches: which slot it is cannot be foretold, by a processor as little as by a verifier.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "less than eight")]
pub const fn first(matching: u64) -> u32 {
    let lowest = (matching & matching.wrapping_neg()) >> 14;
    let even = lowest & ONES;
    let pair = (even | (lowest >> 1 & ONES)).wrapping_mul(0x0000_0001_0002_0003) >> 48;
    let odd = 1 ^ (even.wrapping_mul(ONES) >> 48);
    (2 * pair + odd) as u32 & (WAYS - 1)
}

/// Where the tag of a slot stands: in which word, and how far up.
#[inline(always)]
pub const fn place(slot: u32) -> (usize, u32) {
    ((slot & 1) as usize, 16 * (slot >> 1 & 3))
}

/// How many slots of a set are free.
#[inline(always)]
pub const fn free(tags: Tags) -> u32 {
    let both = (halves_of_zero(tags[0]) >> 15) + (halves_of_zero(tags[1]) >> 15);
    (both.wrapping_mul(ONES) >> 48) as u32
}

/// Which of its two sets a new source enters: the first, unless it is nearly full and the second is emptier.
///
/// So nine of ten are found in their first set, and sets fill evenly: the first source without a place comes when seven
/// tenths of the slots are taken, and when all but a tenth are, one in a hundred has found none.
#[inline(always)]
pub const fn enters_second(free: [u32; 2]) -> bool {
    free[0] <= 3 && free[1] > free[0]
}

/// The sixteen-bit parts that are zero, by their highest bits.
#[inline(always)]
const fn halves_of_zero(word: u64) -> u64 {
    !(((word & LOWER) + LOWER) | word | LOWER)
}

#[cfg(test)]
mod tests {
    use super::{FREE, Tags, WAYS, enters_second, first, free, matching, place, sets, tag};
    use crate::sketch;

    fn with(tags: &mut Tags, slot: u32, tag: u64) {
        let (word, shift) = place(slot);
        tags[word] |= tag << shift;
    }

    fn of_slot(tags: Tags, slot: u32) -> u64 {
        let (word, shift) = place(slot);
        tags[word] >> shift & 0xffff
    }

    #[test]
    fn a_match_is_found_whatever_stands_beside_it() {
        // Neighbours that differ by one are what cheaper arithmetic would take for matches.
        for beside in [0_u64, 1, 0x8000, 0x7fff, 0xffff, 6, 4] {
            for slot in 0..WAYS {
                let mut tags = [0; 2];
                for other in (0..WAYS).filter(|other| *other != slot) {
                    with(&mut tags, other, beside);
                }
                with(&mut tags, slot, 5);
                assert_eq!(of_slot(tags, slot), 5);
                let found = matching(tags, 5);
                assert_eq!(found.count_ones(), 1);
                assert_eq!(first(found), slot, "beside {beside}");
                assert_eq!(matching(tags, 9), 0);
            }
        }
    }

    #[test]
    fn of_several_matches_one_is_given() {
        let mut tags = [0; 2];
        with(&mut tags, 6, 77);
        with(&mut tags, 3, 77);
        with(&mut tags, 2, 76);
        assert_eq!(of_slot(tags, first(matching(tags, 77))), 77);
        assert_eq!((matching(tags, 77).count_ones(), free(tags)), (2, 5));
    }

    #[test]
    fn no_source_has_the_tag_of_a_free_slot() {
        for low in 0..100_000 {
            assert_ne!(tag(sketch::hash([3, 5], 0, low, 1)), FREE);
        }
    }

    #[test]
    fn seven_tenths_of_the_slots_are_taken_before_a_source_finds_none_and_nine_while_few_do() {
        const SETS: u32 = 4096;
        let mut tags = vec![[0; 2]; SETS as usize];
        let (mut entered, mut in_first, mut without) = (0_u32, 0_u32, 0_u32);
        for low in 0.. {
            let hash = sketch::hash([11, 13], 0, low, 0);
            let [home, other] = sets(hash, SETS).map(|set| set as usize);
            let second = enters_second([free(tags[home]), free(tags[other])]);
            let set = if second { other } else { home };
            let Some(slot) = (0..WAYS).find(|slot| of_slot(tags[set], *slot) == FREE) else {
                assert!(
                    f64::from(entered) > 0.68 * f64::from(SETS * WAYS),
                    "{entered} when the first found none"
                );
                without += 1;
                continue;
            };
            with(&mut tags[set], slot, tag(hash));
            entered += 1;
            in_first += u32::from(!second);
            if entered == SETS * WAYS / 2 {
                assert!(f64::from(in_first) > 0.85 * f64::from(entered), "{in_first} of {entered}");
            }
            if entered == SETS * WAYS / 10 * 9 {
                break;
            }
        }
        assert!(f64::from(without) < 0.015 * f64::from(entered), "{without} of {entered}");
    }
}
