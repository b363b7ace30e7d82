//! The change that is taken back unless somebody confirms it in time.
//!
//! `begin` writes the change and the way back in one transaction *before* the kernel is touched, so that no death of the
//! daemon leaves an unconfirmed change without its way back. Time is counted on the boot clock: setting the wall clock
//! neither hurries nor delays a rollback. A daemon that starts and finds a change waiting takes it back at once: a
//! restart before the confirmation counts as none.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::history::{self, ChangeState, NewChange};
use super::{Store, restored, stored};

/// An instant on both clocks, passed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub wall: Timestamp,
    /// Time since boot, sleep included (`CLOCK_BOOTTIME`).
    pub since_boot: Duration,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// A change that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Its number in the history.
    pub change: u64,
    /// What to put back. The engine's; text here.
    pub restore: Value,
    /// For people.
    pub deadline: Timestamp,
    boot_id: String,
    boot_deadline: Duration,
}

/// Why a change is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nobody confirmed it in time.
    NotConfirmed,
    /// The daemon restarted before anybody confirmed it.
    Restarted,
    /// The machine restarted before anybody confirmed it.
    Rebooted,
}

impl Expiry {
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotConfirmed => "nobody confirmed it in time",
            Self::Restarted => "the daemon restarted before it was confirmed",
            Self::Rebooted => "the machine restarted before it was confirmed",
        }
    }
}

impl Pending {
    /// Time left at `now`; nothing left means that it is due.
    pub fn left(&self, now: &Moment) -> Duration {
        if now.boot_id == self.boot_id {
            self.boot_deadline.saturating_sub(now.since_boot)
        } else {
            Duration::ZERO
        }
    }

    /// Whether it is time to take it back, while the daemon runs.
    pub fn due(&self, now: &Moment) -> Option<Expiry> {
        self.left(now).is_zero().then_some(if now.boot_id == self.boot_id {
            Expiry::NotConfirmed
        } else {
            Expiry::Rebooted
        })
    }

    /// Why a daemon that just started takes it back.
    pub fn found_at_start(&self, now: &Moment) -> Expiry {
        self.due(now).unwrap_or(Expiry::Restarted)
    }
}

impl Store {
    /// Writes a change that waits for its confirmation. Refused while another one waits.
    pub fn begin(
        &mut self,
        change: &NewChange,
        restore: Value,
        within: Duration,
        now: &Moment,
    ) -> anyhow::Result<Pending> {
        let (mut change, now, size) = (change.clone(), now.clone(), self.size.clone());
        self.worker.call(move |connection| {
            size.make_room(connection, 2 * change.bytes());
            let transaction = connection.transaction()?;
            let waiting: Option<i64> =
                transaction.query_row("SELECT change FROM pending", [], |row| row.get(0)).optional()?;
            if let Some(waiting) = waiting {
                anyhow::bail!("change {waiting} still waits for its confirmation");
            }
            change.state = ChangeState::Pending;
            let number = history::insert(&transaction, &change)?;
            let pending = Pending {
                change: number,
                restore,
                deadline: now.wall.checked_add(within).context("deadline of a change")?,
                boot_id: now.boot_id.clone(),
                boot_deadline: now.since_boot.saturating_add(within),
            };
            transaction.execute(
                "INSERT INTO pending (only, change, restore, deadline, boot_id, boot_deadline)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                params![
                    i64::try_from(number)?,
                    pending.restore.to_string(),
                    stored(pending.deadline),
                    pending.boot_id,
                    i64::try_from(pending.boot_deadline.as_millis())?
                ],
            )?;
            transaction.commit()?;
            Ok(pending)
        })
    }

    /// The change that waits, if one does: also what a starting daemon asks first.
    pub fn pending(&self) -> anyhow::Result<Option<Pending>> {
        let row = self.worker.call(|connection| {
            let read = |row: &rusqlite::Row<'_>| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, i64>(4)?,
                ))
            };
            let columns = "SELECT change, restore, deadline, boot_id, boot_deadline FROM pending";
            Ok(connection.query_row(columns, [], read).optional()?)
        })?;
        let Some((change, restore, deadline, boot_id, boot_deadline)) = row else { return Ok(None) };
        Ok(Some(Pending {
            change: u64::try_from(change)?,
            restore: serde_json::from_str(&restore).context("the way back of the change that waits")?,
            deadline: restored(deadline),
            boot_id,
            boot_deadline: Duration::from_millis(u64::try_from(boot_deadline).unwrap_or(0)),
        }))
    }

    /// Ends the waiting: `Confirmed` keeps the change, `RolledBack` is written *after* the way back was taken, so that
    /// a death in between takes it again (taking it twice changes nothing).
    pub fn settle(&mut self, change: u64, state: ChangeState) -> anyhow::Result<()> {
        self.worker.call(move |connection| {
            let transaction = connection.transaction()?;
            let removed =
                transaction.execute("DELETE FROM pending WHERE change = ?1", [i64::try_from(change)?])?;
            anyhow::ensure!(removed == 1, "change {change} does not wait for a confirmation");
            history::mark(&transaction, change, state, None)?;
            Ok(transaction.commit()?)
        })
    }
}
