//! The exact table in userspace: rates from two consecutive reads, sorted and filtered on demand.
//!
//! In: entries as the kernel holds them. Out: lists for the snapshot and for `sluice sources`. Bounded by the kernel's
//! table; it keeps one earlier read and nothing else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use monitor_common::flow::SourceKey;
use monitor_common::record::{SourceEntry, entry};

use super::command::SourceOrder;
use crate::snapshot::address_of;

/// One entry with its rates.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub key: SourceKey,
    pub entry: SourceEntry,
    pub rates: Rates,
    pub growth: Growth,
}

/// What was added since the read before; nothing at the first read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    pub packets: u64,
    pub bytes: u64,
    pub connections: u64,
    pub dropped: u64,
    /// Would-be drops of the limit on trial.
    pub trial_drops: u64,
}

/// Per second, since the read before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub packets: f64,
    pub bytes: f64,
    pub dropped: f64,
    pub would_drop: f64,
}

/// Counters of the read before.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    packets: u64,
    bytes: u64,
    dropped: u64,
    would_drop: u64,
    connections: u64,
    trial_drops: u64,
}

/// The table as it was last read.
#[derive(Debug, Default)]
pub struct SourceTable {
    pub rows: Vec<Row>,
    /// Time between the last two reads; 0 before the second.
    pub seconds: f64,
    before: HashMap<SourceKey, Seen>,
    read_at: Option<Duration>,
}

impl SourceTable {
    /// Takes a new read over. `now` is the time since boot.
    pub fn update(&mut self, entries: &[(SourceKey, SourceEntry)], now: Duration) {
        let passed = self.read_at.map_or(0.0, |then| now.saturating_sub(then).as_secs_f64());
        let rate =
            |new: u64, old: u64| if passed > 0.0 { float(new.saturating_sub(old)) / passed } else { 0.0 };
        let first = self.read_at.is_none();
        self.seconds = passed;
        self.rows.clear();
        self.rows.extend(entries.iter().map(|(key, entry)| {
            // A source that is new since the last read began from nothing; at the first read nothing is known.
            let now_seen = Seen::of(entry);
            let zero = if first { now_seen } else { Seen::default() };
            let seen = self.before.get(key).copied().unwrap_or(zero);
            let rates = Rates {
                packets: rate(now_seen.packets, seen.packets),
                bytes: rate(now_seen.bytes, seen.bytes),
                dropped: rate(now_seen.dropped, seen.dropped),
                would_drop: rate(now_seen.would_drop, seen.would_drop),
            };
            Row { key: *key, entry: *entry, rates, growth: now_seen.since(&seen) }
        }));
        self.before.clear();
        self.before.extend(entries.iter().map(|(key, entry)| (*key, Seen::of(entry))));
        self.read_at = Some(now);
    }

    /// The first `limit` of those that `wanted` lets through, and how many it does.
    pub fn top(&self, order: SourceOrder, limit: usize, wanted: impl Fn(&Row) -> bool) -> (Vec<&Row>, u64) {
        let mut rows: Vec<_> = self.rows.iter().filter(|row| wanted(row)).collect();
        let matched = rows.len() as u64;
        let larger = |a: &&Row, b: &&Row| {
            rank(b, order).partial_cmp(&rank(a, order)).unwrap_or(std::cmp::Ordering::Equal)
        };
        if rows.len() > limit && limit > 0 {
            rows.select_nth_unstable_by(limit - 1, larger);
            rows.truncate(limit);
        }
        rows.sort_unstable_by(larger);
        (rows, matched)
    }
}

/// What is compared; the second decides where the first is equal.
fn rank(row: &Row, order: SourceOrder) -> (f64, f64) {
    match order {
        SourceOrder::Rate => (row.rates.packets, float(row.entry.total().packets)),
        SourceOrder::Drops => (float(row.entry.dropped.packets), float(row.entry.would_drop.packets)),
        SourceOrder::Bytes => (float(row.entry.total().bytes), row.rates.bytes),
    }
}

impl Row {
    pub fn address(&self) -> IpAddr {
        address_of(self.key.address())
    }

    pub fn exceeding(&self) -> bool {
        self.entry.flags & entry::EXCEEDING != 0
    }
}

impl Seen {
    fn of(entry: &SourceEntry) -> Self {
        Self {
            packets: entry.total().packets,
            bytes: entry.total().bytes,
            dropped: entry.dropped.packets,
            would_drop: entry.would_drop.packets,
            connections: entry.opened(),
            trial_drops: entry.candidate_would_drop,
        }
    }

    fn since(&self, before: &Self) -> Growth {
        Growth {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
            connections: self.connections.saturating_sub(before.connections),
            dropped: self.dropped.saturating_sub(before.dropped),
            trial_drops: self.trial_drops.saturating_sub(before.trial_drops),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
pub fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use monitor_common::flow::mapped_halves;
    use monitor_common::plain::Plain;

    use super::*;

    fn entry(last: u8, packets: u64, dropped: u64) -> (SourceKey, SourceEntry) {
        let [high, low] = mapped_halves([10, 0, 0, last]);
        let mut entry = SourceEntry::zeroed();
        entry.packets = packets;
        entry.bytes = packets * 64;
        entry.dropped.packets = dropped;
        (SourceKey::new(high, low, 0), entry)
    }

    #[test]
    fn rates_come_from_two_reads_and_the_first_read_claims_none() {
        let (mut table, start) = (SourceTable::default(), Duration::ZERO);
        table.update(&[entry(1, 1000, 0)], start);
        assert_eq!(table.rows[0].rates, Rates::default());
        table.update(&[entry(1, 1500, 100), entry(2, 40, 0)], start + Duration::from_secs(2));
        let packets: Vec<_> = table.rows.iter().map(|row| row.rates.packets).collect();
        assert_eq!(packets, [250.0, 20.0]);
        assert!((table.rows[0].rates.dropped - 50.0).abs() < 1e-9);
    }

    #[test]
    fn an_entry_that_was_swept_and_came_back_has_no_negative_rate() {
        let (mut table, start) = (SourceTable::default(), Duration::ZERO);
        table.update(&[entry(1, 1000, 0)], start);
        table.update(&[entry(1, 10, 0)], start + Duration::from_secs(1));
        assert!(table.rows[0].rates.packets >= 0.0);
    }

    #[test]
    fn the_top_is_the_largest_in_order_and_counts_all_that_match() {
        let mut table = SourceTable::default();
        let entries: Vec<_> = (1..=50).map(|n| entry(n, u64::from(n), u64::from(100 - n))).collect();
        table.update(&entries, Duration::ZERO);
        let (rows, matched) = table.top(SourceOrder::Bytes, 3, |row| row.entry.packets <= 40);
        assert_eq!(matched, 40);
        assert_eq!(rows.iter().map(|row| row.entry.packets).collect::<Vec<_>>(), [40, 39, 38]);
        let (rows, _) = table.top(SourceOrder::Drops, 1, |_| true);
        assert_eq!(rows[0].address().to_string(), "10.0.0.1");
    }
}
