//! The change that is taken back unless it is confirmed in time.

use anyhow::{Context, Result};
use jiff::SignedDuration;

use super::super::asking::Asking;
use super::super::delta::Delta;
use super::super::steps::move_end;
use crate::snapshot;
use crate::store::{Moment, Pending};

/// A change in force that waits for its confirmation.
#[derive(Debug)]
pub struct Waiting {
    pending: Pending,
    what: String,
    made_by: String,
    /// What the store is to keep once it is confirmed.
    delta: Delta,
}

impl Waiting {
    pub fn new(pending: Pending, what: &str, asking: &Asking, delta: Delta) -> Self {
        Self { pending, what: what.to_owned(), made_by: asking.made_by(), delta }
    }

    /// Its number in the history.
    pub const fn number(&self) -> u64 {
        self.pending.change
    }

    pub fn what(&self) -> &str {
        &self.what
    }

    pub const fn delta(&self) -> &Delta {
        &self.delta
    }

    pub fn is_due(&self, now: &Moment) -> bool {
        self.pending.due(now).is_some()
    }

    /// The wall clock was set. The deadline itself is on the boot clock.
    pub fn move_deadline(&mut self, by: SignedDuration) {
        move_end(&mut self.pending.deadline, by);
    }

    /// What was desired before it.
    pub fn restore(&self) -> Result<Delta> {
        serde_json::from_value(self.pending.restore.clone()).context("read the way back")
    }

    pub fn snapshot(&self) -> snapshot::Pending {
        snapshot::Pending {
            change: self.pending.change,
            summary: self.what.clone(),
            until: self.pending.deadline,
            made_by: self.made_by.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::origin::Origin;
    use crate::store::{ChangeState, NewChange, Store};

    fn moment(seconds: u64, boot_id: &str) -> Moment {
        let wall: jiff::Timestamp = "2026-11-27T06:00:00Z".parse().unwrap();
        let since_boot = Duration::from_secs(1000 + seconds);
        Moment { wall: wall + Duration::from_secs(seconds), since_boot, boot_id: boot_id.to_owned() }
    }

    #[test]
    fn it_is_due_by_the_boot_clock_and_after_any_reboot() {
        let mut store = Store::in_memory().unwrap();
        let change = NewChange {
            at: moment(0, "a").wall,
            author: Origin::Signal.into(),
            what: "reload".to_owned(),
            before: serde_json::Value::Null,
            after: serde_json::Value::Null,
            evidence: None,
            state: ChangeState::Applied,
        };
        let restore = serde_json::to_value(Delta::default()).unwrap();
        let pending = store.begin(&change, restore, Duration::from_mins(1), &moment(0, "a")).unwrap();
        let waiting = Waiting::new(pending, "reload", &Asking::daemon(Origin::Signal), Delta::default());
        assert!(!waiting.is_due(&moment(59, "a")));
        assert!(waiting.is_due(&moment(60, "a")));
        assert!(waiting.is_due(&moment(1, "b")));
        // The wall clock alone moves nothing.
        let set = Moment { wall: jiff::Timestamp::MAX, ..moment(1, "a") };
        assert!(!waiting.is_due(&set));
        assert_eq!(waiting.restore().unwrap(), Delta::default());
        assert_eq!(
            (waiting.snapshot().summary.as_str(), waiting.snapshot().made_by.as_str()),
            ("reload", "signal")
        );
    }
}
