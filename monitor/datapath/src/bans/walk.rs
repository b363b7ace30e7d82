//! The table of bans, visited a part at a time: counted, its filter mended, what is over forgotten.
//!
//! In: entries as a walk meets them. Out: [`Banned`] after each whole walk, and the keys that make room. A table that one part
//! covers is counted at every visit; a larger one costs no more, and its counts are those of the last whole walk.

use std::collections::BinaryHeap;

use monitor_common::flow::BanKey;
use monitor_common::record::{Ban, origin};

use super::is_over;
use crate::table::Cursor;

/// Bans that are named; the others are counted.
pub const NEWEST: usize = 1000;

/// What is in the table of bans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Banned {
    /// All entries, those that are over but remembered included.
    pub entries: u64,
    /// In force, made by the kernel.
    pub by_kernel: u64,
    /// In force, made by an operator or on their behalf.
    pub by_operator: u64,
    /// Those in force that began last, in no order.
    pub newest: Vec<(BanKey, Ban)>,
}

/// Where the walk is, and what it has met.
#[derive(Debug, Default)]
pub struct Walk {
    pub cursor: Cursor,
    met: Met,
    last: Option<Banned>,
}

/// What a walk has met so far.
#[derive(Debug, Default)]
struct Met {
    banned: Banned,
    /// The age at which a ban is too old to be among the newest is on top.
    newest: BinaryHeap<Aged>,
    /// Ages are against this moment.
    began: Option<u64>,
}

/// A ban by its age; the oldest is the greatest.
#[derive(Debug)]
struct Aged {
    age: i64,
    key: BanKey,
    ban: Ban,
}

impl PartialEq for Aged {
    fn eq(&self, other: &Self) -> bool {
        self.age == other.age
    }
}

impl Eq for Aged {}

impl PartialOrd for Aged {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Aged {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.age.cmp(&other.age)
    }
}

impl Walk {
    /// Counts an entry.
    pub fn meet(&mut self, key: BanKey, ban: Ban, now: u64) {
        let Met { banned, newest, began } = &mut self.met;
        banned.entries += 1;
        if is_over(&ban, now, 0) {
            return;
        }
        let of = if ban.origin == origin::KERNEL { &mut banned.by_kernel } else { &mut banned.by_operator };
        *of += 1;
        let age = began.get_or_insert(now).wrapping_sub(ban.since).cast_signed();
        if newest.len() < NEWEST {
            newest.push(Aged { age, key, ban });
        } else if let Some(mut oldest) = newest.peek_mut()
            && age < oldest.age
        {
            *oldest = Aged { age, key, ban };
        }
    }

    /// The table was walked to its end.
    pub fn end(&mut self) {
        let Met { mut banned, newest, .. } = std::mem::take(&mut self.met);
        banned.newest = newest.into_iter().map(|Aged { key, ban, .. }| (key, ban)).collect();
        self.last = Some(banned);
    }

    /// By the last whole walk; nothing before the first.
    pub fn banned(&self) -> Banned {
        self.last.clone().unwrap_or_default()
    }

    /// Entries by the walk that knows of most.
    fn entries(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.entries).max(self.met.banned.entries)
    }

    /// Which of the entries that are over are forgotten: those that are over for long enough, and where the table holds more than
    /// `half`, so many that it does not, the longest over first. `met` are those of this visit that are over.
    pub fn forgotten(&mut self, mut met: Vec<(BanKey, Ban)>, half: u64, now: u64, kept: u64) -> Vec<BanKey> {
        met.sort_unstable_by_key(|(_, ban)| std::cmp::Reverse(now.wrapping_sub(ban.until)));
        let long_over = met.partition_point(|(_, ban)| is_over(ban, now, kept));
        let too_many = usize::try_from(self.entries().saturating_sub(half)).unwrap_or(usize::MAX);
        met.truncate(long_over.max(too_many));
        let gone = met.len() as u64;
        self.met.banned.entries -= gone;
        if let Some(last) = &mut self.last {
            last.entries = last.entries.saturating_sub(gone);
        }
        met.into_iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::plain::Plain as _;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn ban(low: u64, until: u64) -> (BanKey, Ban) {
        (BanKey { high: 0, low }, Ban { until, since: low, origin: origin::KERNEL, ..Ban::zeroed() })
    }

    fn visit(walk: &mut Walk, bans: &[(BanKey, Ban)], half: u64, kept: u64) -> Vec<u64> {
        for (key, ban) in bans {
            walk.meet(*key, *ban, NOW);
        }
        let over = bans.iter().filter(|(_, ban)| is_over(ban, NOW, 0)).copied().collect();
        walk.forgotten(over, half, NOW, kept).iter().map(|key| key.low).collect()
    }

    #[test]
    fn bans_that_are_over_make_room_where_the_table_is_half_full() {
        let bans: Vec<_> =
            (0..8).map(|low| ban(low, if low < 5 { NOW - 100 + low } else { NOW + 100 })).collect();
        let gone = |half, kept| visit(&mut Walk::default(), &bans, half, kept);
        assert_eq!(gone(8, 1_000), Vec::<u64>::new());
        assert_eq!(gone(6, 1_000), [0, 1]);
        // Those in force stay, however full it is.
        assert_eq!(gone(0, 1_000), [0, 1, 2, 3, 4]);
        assert_eq!(gone(8, 97), [0, 1, 2], "over for long enough");
    }

    #[test]
    fn a_part_of_the_table_gives_no_more_than_what_is_too_much() {
        let (mut walk, half) = (Walk::default(), 6);
        let bans: Vec<_> = (0..12).map(|low| ban(low, NOW - 100)).collect();
        assert_eq!(visit(&mut walk, &bans[..6], half, 1_000), Vec::<u64>::new(), "no more is known of");
        assert_eq!(visit(&mut walk, &bans[6..], half, 1_000).len(), 6);
        walk.end();
        assert_eq!(walk.banned().entries, 6);
    }

    #[test]
    fn the_newest_are_named_and_all_are_counted() {
        let mut walk = Walk::default();
        let many = NEWEST as u64 + 500;
        let bans: Vec<_> = (0..many).map(|low| ban(low, u64::MAX)).collect();
        visit(&mut walk, &bans, u64::MAX, 0);
        assert_eq!(walk.banned(), Banned::default(), "half a walk says nothing");
        walk.end();
        let banned = walk.banned();
        assert_eq!((banned.entries, banned.by_kernel, banned.by_operator), (many, many, 0));
        assert_eq!(banned.newest.len(), NEWEST);
        assert!(banned.newest.iter().all(|(key, _)| key.low >= 500));
    }
}
