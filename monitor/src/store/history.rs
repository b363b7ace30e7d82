//! The audit: every change with who made it, when, what it was before and after, and what became of it.

use anyhow::Context;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, restored, stored};

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
    /// The name of the user, if the host knew one.
    #[serde(default)]
    pub user: Option<String>,
    /// Where it came from: `control`, `signal`, `tuning`, `detection`, `rollback`, `start`.
    pub origin: String,
}

/// A change about to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewChange {
    pub at: Timestamp,
    pub author: Author,
    /// One line for people.
    pub what: String,
    /// What to put back to undo it. The engine's; text here.
    pub before: Value,
    pub after: Value,
    /// Why, where a machine decided.
    pub evidence: Option<Value>,
    pub state: ChangeState,
}

impl NewChange {
    /// About how long its row is.
    pub(super) fn bytes(&self) -> usize {
        let length = |value: &Value| value.to_string().len();
        self.what.len()
            + length(&self.before)
            + length(&self.after)
            + self.evidence.as_ref().map_or(0, length)
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    Applied,
    /// Waits for its confirmation.
    Pending,
    Confirmed,
    RolledBack,
    Reverted,
}

impl ChangeState {
    pub const ALL: [Self; 5] =
        [Self::Applied, Self::Pending, Self::Confirmed, Self::RolledBack, Self::Reverted];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::RolledBack => "rolled back",
            Self::Reverted => "reverted",
        }
    }
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeRecord {
    /// Grows by one, never reused.
    pub number: u64,
    pub at: Timestamp,
    pub author: Author,
    pub what: String,
    pub before: Value,
    pub after: Value,
    pub evidence: Option<Value>,
    pub state: ChangeState,
    /// The change that took this one back.
    pub reverted_by: Option<u64>,
}

const COLUMNS: &str =
    "number, at, uid, gid, pid, origin, what, before, after, evidence, state, reverted_by, user";

/// Text that one page of the history holds.
const PAGE_BYTES: usize = 1 << 20;

/// Length of the columns that have no bound of their own.
fn text_bytes(row: &Row<'_>) -> usize {
    let length = |column| {
        row.get_ref(column).ok().and_then(|value| value.as_bytes_or_null().ok().flatten().map(<[u8]>::len))
    };
    [6, 7, 8, 9].into_iter().filter_map(length).sum()
}

impl Store {
    /// Writes a change and tells its number.
    pub fn record(&mut self, change: &NewChange) -> anyhow::Result<u64> {
        let (change, size) = (change.clone(), self.size.clone());
        self.worker.call(move |connection| {
            size.make_room(connection, change.bytes());
            insert(connection, &change)
        })
    }

    /// The newest changes first, at most `limit`, older than `before` if that is given.
    ///
    /// A page ends early when its text grows beyond [`PAGE_BYTES`]; the first change is always in it.
    pub fn history(&self, limit: usize, before: Option<u64>) -> anyhow::Result<Vec<ChangeRecord>> {
        self.worker.call(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM change WHERE number < ?2 ORDER BY number DESC LIMIT ?1"
            ))?;
            let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
            let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX), before])?;
            let (mut records, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                bytes += text_bytes(row);
                if bytes > PAGE_BYTES && !records.is_empty() {
                    break;
                }
                match read(row) {
                    Ok(record) => records.push(record),
                    Err(error) => tracing::error!("a change of the history cannot be read: {error:#}"),
                }
            }
            Ok(records)
        })
    }

    /// One change by its number.
    pub fn change(&self, number: u64) -> anyhow::Result<Option<ChangeRecord>> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        self.worker.call(move |connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM change WHERE number = ?1"))?;
            statement.query_row([number], |row| Ok(read(row))).optional()?.transpose()
        })
    }

    /// Says what became of a change.
    pub fn mark(&mut self, number: u64, state: ChangeState, reverted_by: Option<u64>) -> anyhow::Result<()> {
        self.worker.call(move |connection| mark(connection, number, state, reverted_by))
    }
}

pub(super) fn insert(connection: &Connection, change: &NewChange) -> anyhow::Result<u64> {
    connection.execute(
        "INSERT INTO change (at, uid, gid, pid, origin, what, before, after, evidence, state, user)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            stored(change.at),
            change.author.uid,
            change.author.gid,
            change.author.pid,
            change.author.origin,
            change.what,
            change.before.to_string(),
            change.after.to_string(),
            change.evidence.as_ref().map(Value::to_string),
            change.state.label(),
            change.author.user,
        ],
    )?;
    u64::try_from(connection.last_insert_rowid()).context("number of a change")
}

pub(super) fn mark(
    connection: &Connection,
    number: u64,
    state: ChangeState,
    reverted_by: Option<u64>,
) -> anyhow::Result<()> {
    let changed = connection.execute(
        "UPDATE change SET state = ?2, reverted_by = coalesce(?3, reverted_by) WHERE number = ?1",
        params![i64::try_from(number)?, state.label(), reverted_by.map(i64::try_from).transpose()?],
    )?;
    anyhow::ensure!(changed == 1, "there is no change {number} in the history");
    Ok(())
}

pub(super) fn prune(connection: &Connection, keep: u64) -> anyhow::Result<()> {
    connection.execute(
        "DELETE FROM change WHERE state <> 'pending'
         AND number <= (SELECT coalesce(max(number), 0) FROM change) - ?1",
        [i64::try_from(keep)?],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> anyhow::Result<ChangeRecord> {
    let number: i64 = row.get(0)?;
    let json = |column: usize| -> anyhow::Result<Value> {
        serde_json::from_str(&row.get::<_, String>(column)?)
            .with_context(|| format!("change {number} of the history"))
    };
    let label: String = row.get(10)?;
    Ok(ChangeRecord {
        number: u64::try_from(number)?,
        at: restored(row.get(1)?),
        author: Author {
            uid: row.get(2)?,
            gid: row.get(3)?,
            pid: row.get(4)?,
            user: row.get(12)?,
            origin: row.get(5)?,
        },
        what: row.get(6)?,
        before: json(7)?,
        after: json(8)?,
        evidence: match row.get::<_, Option<String>>(9)? {
            Some(text) => Some(serde_json::from_str(&text)?),
            None => None,
        },
        state: ChangeState::ALL
            .into_iter()
            .find(|state| state.label() == label)
            .with_context(|| format!("change {number} has the unknown state {label:?}"))?,
        reverted_by: row.get::<_, Option<i64>>(11)?.map(u64::try_from).transpose()?,
    })
}
