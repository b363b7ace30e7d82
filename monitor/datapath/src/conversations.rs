//! The table of conversations and the filter before it: written by the kernel, read and swept here.
//!
//! In: the time. Out: conversations, and the last record of each that fell silent. The kernel goes on writing while the
//! table is read; only a sweep removes.

mod moved;

use std::collections::BTreeSet;

use anyhow::Result;
use monitor_common::conversation::tracking::SECOND;
use monitor_common::conversation::{
    Conversation, ConversationKey, Record, outcome, presence, record_kind, report, state,
};
use monitor_common::names::map;
use monitor_common::plain::Plain as _;

use self::moved::Moved;
use super::filter::Filter;
use super::object::Loaded;
use super::table::{Cursor, Hash};

/// A table that is fuller than this part of its capacity is under pressure: what got no answer is forgotten sooner.
const PRESSURE: (usize, usize) = (3, 4);
/// Silence after which a conversation without an answer, or over, is forgotten under pressure.
const IMPATIENCE: u64 = 2 * SECOND;
/// Local ends that a round remembers.
const MOST_LOCAL_ENDS: usize = 8192;

/// An address (in halves) that a cgroup of this host sends from.
pub type LocalEnd = ([u64; 2], u64);

/// A handle of the table.
#[derive(Debug)]
pub struct Conversations {
    map: Hash<ConversationKey, Conversation>,
    presence: Filter,
    hash_key: [u64; 2],
    cursor: Cursor,
    /// Looked at since the round began, and found in the round before.
    looked_at: usize,
    in_table: usize,
    gathering: BTreeSet<LocalEnd>,
    local_ends: Vec<LocalEnd>,
    moved: Moved,
}

impl Conversations {
    pub(super) fn new(loaded: &Loaded, hash_key: [u64; 2]) -> Result<Self> {
        Ok(Self {
            map: Hash::new(loaded.map(map::CONVERSATIONS)?)?,
            presence: Filter::new(loaded.map(map::PRESENCE)?)?,
            hash_key,
            cursor: Cursor::default(),
            looked_at: 0,
            in_table: 0,
            gathering: BTreeSet::new(),
            local_ends: Vec::new(),
            moved: Moved::default(),
        })
    }

    /// Every conversation.
    pub fn read_all(&self) -> Result<Vec<(ConversationKey, Conversation)>> {
        let mut entries = Vec::new();
        self.map.read_all(|key, entry| entries.push((key, entry)))?;
        Ok(entries)
    }

    /// Looks at about `at_most` conversations, goes on where the last step ended, and removes those that fell silent. Their
    /// last records go into `records`, unless their end was reported before.
    pub fn sweep(&mut self, now: u64, at_most: u32, records: &mut Vec<Record>) -> Result<()> {
        self.walk(now, at_most, records, false)
    }

    /// As [`Self::sweep`], and tells on the way what moved since its last record: for a live host, where thresholds are
    /// to be seen within a second or two whatever the active timeout is.
    pub fn sweep_and_tell(&mut self, now: u64, at_most: u32, records: &mut Vec<Record>) -> Result<()> {
        self.walk(now, at_most, records, true)
    }

    fn walk(&mut self, now: u64, at_most: u32, records: &mut Vec<Record>, tell: bool) -> Result<()> {
        let pressed = self.is_under_pressure();
        self.moved.step();
        let mut over = Vec::new();
        self.map.read(&mut self.cursor, at_most, |key, value| {
            self.looked_at += 1;
            if value.cgroup != 0 && self.gathering.len() < MOST_LOCAL_ENDS {
                self.gathering.insert((local_end(&key, &value), value.cgroup));
            }
            if is_idle(value.last_seen, now, patience(&key, &value, pressed)) {
                over.push((key, value));
            } else if tell && self.moved.is_due(&key, &value, now) {
                records.push(record(&key, &value, record_kind::ACTIVE, now));
            }
        })?;
        let removed = self.end(over, now, records)?;
        self.presence.removed(removed);
        if self.cursor.at_end() {
            self.in_table = std::mem::take(&mut self.looked_at);
            self.moved.round();
            self.local_ends = std::mem::take(&mut self.gathering).into_iter().collect();
            if self.presence.is_stale(self.map.capacity()) {
                self.renew_filter()?;
            }
        }
        Ok(())
    }

    /// Ends all that are left, as at the end of a capture.
    pub fn end_all(&mut self, now: u64, records: &mut Vec<Record>) -> Result<()> {
        let all = self.read_all()?;
        let removed = self.end(all, now, records)?;
        self.presence.removed(removed);
        Ok(())
    }

    /// Conversations that the last whole round of sweeping found.
    pub fn in_table(&self) -> usize {
        self.in_table
    }

    /// Who of this host talks, by the last whole round of sweeping.
    pub fn local_ends(&self) -> &[LocalEnd] {
        &self.local_ends
    }

    fn is_under_pressure(&self) -> bool {
        self.in_table * PRESSURE.1 > self.map.capacity() as usize * PRESSURE.0
    }

    /// Removes these and reports their end, in the order in which they began: the table's own order is the hash's.
    fn end(
        &self,
        mut over: Vec<(ConversationKey, Conversation)>,
        now: u64,
        records: &mut Vec<Record>,
    ) -> Result<usize> {
        let order = |(key, value): &(ConversationKey, Conversation)| {
            (value.first_seen, key.lower, key.higher, key.lower_port, key.higher_port, key.protocol)
        };
        over.sort_unstable_by_key(order);
        let keys: Vec<ConversationKey> = over.iter().map(|(key, _)| *key).collect();
        let removed = self.map.remove_all(&keys)?;
        let unsaid = over.iter().filter(|(_, value)| value.state & state::CLOSED == 0);
        records.extend(unsaid.map(|(key, value)| record(key, value, record_kind::ENDED, now)));
        Ok(removed)
    }

    fn renew_filter(&mut self) -> Result<()> {
        let Self { presence, map, hash_key, .. } = self;
        presence.renew(|set| map.read_all(|key, _| set(presence::of_key(*hash_key, &key))))
    }
}

/// The conversation's next record.
fn record(key: &ConversationKey, value: &Conversation, kind: u32, now: u64) -> Record {
    let (mut record, mut value) = (Record::zeroed(), *value);
    value.records = value.records.wrapping_add(1);
    report::conversation(&mut record, key, &value, kind, now);
    record
}

/// The address whose packets the conversation's cgroup sends.
fn local_end(key: &ConversationKey, value: &Conversation) -> [u64; 2] {
    let initiator_is_higher = value.state & state::INITIATOR_IS_HIGHER != 0;
    let responder_is_local = value.state & state::RESPONDER_IS_LOCAL != 0;
    if initiator_is_higher == responder_is_local { key.lower } else { key.higher }
}

/// Silence after which a conversation is over.
fn patience(key: &ConversationKey, value: &Conversation, pressed: bool) -> u64 {
    let idle = value.idle_after(key.protocol);
    let fruitless = value.state & state::CLOSED != 0 || value.outcome != outcome::ESTABLISHED;
    if pressed && fruitless && value.outcome != outcome::MIDSTREAM { idle.min(IMPATIENCE) } else { idle }
}

/// Whether `last` lies more than `idle` before `now`; a moment ahead of `now` (a later tick) is not.
pub(super) fn is_idle(last: u64, now: u64, idle: u64) -> bool {
    let age = now.wrapping_sub(last).cast_signed();
    age > 0 && age.cast_unsigned() > idle
}

#[cfg(test)]
mod tests {
    use monitor_common::conversation::{Conversation, ConversationKey, outcome, state, tracking::SECOND};
    use monitor_common::flow::protocol;
    use monitor_common::plain::Plain as _;

    use super::{is_idle, local_end, patience};

    #[test]
    fn idleness_is_counted_over_the_clocks_wrap_and_never_from_the_future() {
        assert!(is_idle(100, 200, 50));
        assert!(!is_idle(100, 200, 100));
        assert!(!is_idle(300, 200, 50));
        assert!(is_idle(u64::MAX - 10, 100, 50));
    }

    #[test]
    fn the_local_end_is_whoever_the_cgroup_belongs_to() {
        let key = ConversationKey { lower: [1, 0], higher: [2, 0], ..ConversationKey::zeroed() };
        let (higher, local) = (state::INITIATOR_IS_HIGHER, state::RESPONDER_IS_LOCAL);
        for (state, end) in [(0, 1), (higher, 2), (local, 2), (higher | local, 1)] {
            let value = Conversation { state, ..Conversation::zeroed() };
            assert_eq!(local_end(&key, &value), [end, 0], "{state}");
        }
    }

    #[test]
    fn under_pressure_only_what_bore_no_fruit_is_forgotten_sooner() {
        let key = ConversationKey { protocol: u32::from(protocol::TCP), ..ConversationKey::zeroed() };
        let of = |outcome, state| Conversation { outcome, state, ..Conversation::zeroed() };
        let unanswered = of(outcome::UNANSWERED, 0);
        assert_eq!(patience(&key, &unanswered, false), 60 * SECOND);
        assert_eq!(patience(&key, &unanswered, true), 2 * SECOND);
        assert_eq!(patience(&key, &of(outcome::ESTABLISHED, state::CLOSED), true), 2 * SECOND);
        for lasting in [of(outcome::ESTABLISHED, 0), of(outcome::MIDSTREAM, 0)] {
            assert_eq!(patience(&key, &lasting, true), 3600 * SECOND);
        }
    }
}
