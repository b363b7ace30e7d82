//! What moved since it was last told: conversations whose counters the detectors do not know yet.
//!
//! In: conversations as a sweep comes by. Out: whether a record is due. The kernel tells only when a packet comes, at most
//! every active timeout, so what a conversation did before it fell silent would be told when it is forgotten, an hour
//! later. It never writes into the kernel's table.

use std::collections::HashMap;

use monitor_common::conversation::tracking::{SECOND, since};
use monitor_common::conversation::{Conversation, ConversationKey, outcome, state};

/// Time between two records.
const PAUSE: u64 = SECOND;
/// A conversation without an answer is told so from this many packets on; below it there is nothing to tell.
const WORTH_TELLING: u64 = 8;
/// Records of one step: the rest waits for the next round, or for the kernel's own record.
const AT_ONCE: usize = 2048;

/// When each conversation was told last, where the kernel does not know it. Bounded by the kernel's table.
#[derive(Debug, Default)]
pub struct Moved {
    before: HashMap<ConversationKey, u64>,
    present: HashMap<ConversationKey, u64>,
    told: usize,
}

impl Moved {
    /// A step of the sweep begins.
    pub fn step(&mut self) {
        self.told = 0;
    }

    /// A whole round is over: what was not seen in it is gone.
    pub fn round(&mut self) {
        self.before = std::mem::take(&mut self.present);
    }

    /// Whether a record of this conversation is due at `now`; if so, it counts as told.
    pub fn is_due(&mut self, key: &ConversationKey, value: &Conversation, now: u64) -> bool {
        if value.state & state::CLOSED != 0 {
            return false;
        }
        let last = self.before.get(key).copied().filter(|told| since(*told, value.reported) > 0);
        let told = last.unwrap_or(value.reported);
        let packets = value.forward.packets.saturating_add(value.backward.packets);
        let many = packets >= WORTH_TELLING;
        // The kernel's clock has ticks: more may have come within the tick of its record.
        let moved = since(value.last_seen, told) > 0 || (many && last.is_none() && value.last_seen == told);
        let worth = many || value.outcome != outcome::UNANSWERED;
        let due = worth && moved && self.told < AT_ONCE && since(now, told) >= PAUSE;
        if due {
            self.told += 1;
            self.present.insert(*key, now);
        } else if let Some(told) = last {
            self.present.insert(*key, told);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::conversation::Direction;
    use monitor_common::plain::Plain as _;

    use super::*;

    fn talking(reported: u64, last_seen: u64) -> Conversation {
        let forward = Direction { packets: 100, ..Direction::default() };
        Conversation { forward, reported, last_seen, ..Conversation::zeroed() }
    }

    #[test]
    fn what_moved_is_told_once_a_second_and_what_rests_is_not() {
        let (mut moved, key) = (Moved::default(), ConversationKey::zeroed());
        let mut at = |seconds: u64, last_seen: u64| {
            let due = moved.is_due(&key, &talking(SECOND, last_seen * SECOND), seconds * SECOND);
            moved.round();
            due
        };
        assert!(!at(1, 1), "the kernel has just told it");
        assert!(at(2, 1), "and more may have come within that tick");
        assert!(!at(3, 1), "nothing since");
        assert!(at(6, 5));
        assert!(!at(6, 6), "not twice within a second");
        assert!(at(7, 7));
    }

    #[test]
    fn a_record_of_the_kernel_counts_as_told() {
        let (mut moved, key) = (Moved::default(), ConversationKey::zeroed());
        assert!(moved.is_due(&key, &talking(SECOND, 3 * SECOND), 3 * SECOND));
        moved.round();
        assert!(!moved.is_due(&key, &talking(5 * SECOND, 5 * SECOND), 5 * SECOND));
        assert!(moved.present.is_empty(), "the kernel knows it better");
    }

    #[test]
    fn single_probes_and_what_is_over_are_not_told_and_a_step_is_bounded() {
        let (mut moved, key) = (Moved::default(), ConversationKey::zeroed());
        let probe = Conversation { forward: Direction::default(), ..talking(0, SECOND) };
        assert!(!moved.is_due(&key, &probe, 9 * SECOND));
        let over = Conversation { state: state::CLOSED, ..talking(0, SECOND) };
        assert!(!moved.is_due(&key, &over, 9 * SECOND));
        let told = (0..AT_ONCE + 5).filter(|number| {
            let key = ConversationKey { protocol: u32::try_from(*number).unwrap(), ..key };
            moved.is_due(&key, &talking(0, SECOND), 9 * SECOND)
        });
        assert_eq!(told.count(), AT_ONCE);
        moved.step();
        assert!(moved.is_due(&key, &talking(0, 2 * SECOND), 20 * SECOND));
    }
}
