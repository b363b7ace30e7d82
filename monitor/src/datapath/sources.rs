//! The exact table: one entry per source and service, written by the kernel, read and swept here.
//!
//! In: keys, ages. Out: entries. The handle is cheap to clone and may be used on another thread; the kernel goes on
//! writing while it is read.

use anyhow::Result;
use monitor_common::conversation::{Conversation, ConversationKey};
use monitor_common::flow::{Address, SourceKey, halves};
use monitor_common::record::SourceEntry;

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
        sweep(&self.map, cursor, at_most, |_, entry| is_idle(entry.last_seen, now, idle), |_, _| ())
    }
}

/// A handle of the table of conversations.
#[derive(Clone, Debug)]
pub struct Conversations {
    map: Hash<ConversationKey, Conversation>,
}

impl Conversations {
    pub fn new(map: &Map) -> Result<Self> {
        Ok(Self { map: Hash::new(map)? })
    }

    pub fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// Every conversation.
    pub fn read_all(&self) -> Result<Vec<(ConversationKey, Conversation)>> {
        let mut entries = Vec::new();
        self.map.read_all(|key, entry| entries.push((key, entry)))?;
        Ok(entries)
    }

    /// Looks at about `at_most` conversations, removes those without a packet for `idle` clock units and hands them to `gone`.
    pub fn sweep(
        &self,
        cursor: &mut Cursor,
        now: u64,
        idle: u64,
        at_most: u32,
        gone: impl FnMut(ConversationKey, Conversation),
    ) -> Result<Swept> {
        sweep(&self.map, cursor, at_most, |_, entry| is_idle(entry.last_seen, now, idle), gone)
    }
}

/// One bounded step of a sweep: read a batch, remove what is over.
fn sweep<K: monitor_common::plain::Plain, V: monitor_common::plain::Plain>(
    map: &Hash<K, V>,
    cursor: &mut Cursor,
    at_most: u32,
    over: impl Fn(&K, &V) -> bool,
    mut gone: impl FnMut(K, V),
) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut old = Vec::new();
    map.read(cursor, at_most, |key, value| {
        swept.looked_at += 1;
        if over(&key, &value) {
            old.push(key);
            gone(key, value);
        }
    })?;
    swept.removed = map.remove_all(&old)?;
    swept.round = cursor.at_end();
    Ok(swept)
}

/// Whether `last` lies more than `idle` before `now`; a moment ahead of `now` (a later tick) is not.
fn is_idle(last: u64, now: u64, idle: u64) -> bool {
    let age = now.wrapping_sub(last).cast_signed();
    age > 0 && age.cast_unsigned() > idle
}

#[cfg(test)]
mod tests {
    use super::is_idle;

    #[test]
    fn idleness_is_counted_over_the_clocks_wrap_and_never_from_the_future() {
        assert!(is_idle(100, 200, 50));
        assert!(!is_idle(100, 200, 100));
        assert!(!is_idle(300, 200, 50));
        assert!(is_idle(u64::MAX - 10, 100, 50));
    }
}
