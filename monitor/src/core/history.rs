//! The audit: records of changes, and the list that `sluice history` shows.

use anyhow::{Context, Result};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize as _, Serialize};

use super::asking::{Asking, named};
use super::audit;
use super::command::{Change, HistoryQuery};
use super::delta::Delta;
use super::origin::Origin;
use super::ports::Turn;
use crate::store::{Author, ChangeRecord, ChangeState, NewChange, Storage};
use api::{Code, Error};

/// Changes that one answer holds.
const LONGEST_PAGE: usize = 1000;

/// The newest changes first.
pub fn list(query: HistoryQuery, store: &dyn Storage) -> Result<Vec<Change>, Error> {
    let limit = if query.limit == 0 { 50 } else { query.limit.min(LONGEST_PAGE) };
    let records = store.history(limit, query.before).map_err(|error| Error::failed(&error))?;
    Ok(records.into_iter().map(told).collect())
}

/// The newest changes of bans, access entries and containments that cover an address or a prefix.
pub fn touching(source: IpNet, most: usize, store: &dyn Storage) -> Result<Vec<Change>, Error> {
    let records = store.history(LONGEST_PAGE, None).map_err(|error| Error::failed(&error))?;
    let covers = |record: &ChangeRecord| {
        // By reference: an import or a configuration may be megabytes.
        let sides = [&record.before, &record.after];
        sides.into_iter().any(|side| Delta::deserialize(side).is_ok_and(|delta| delta.touches(source)))
    };
    Ok(records.into_iter().filter(covers).take(most).map(told).collect())
}

/// A change that can be undone.
pub fn undoable(number: u64, store: &dyn Storage) -> Result<ChangeRecord, Error> {
    let record = store.change(number).map_err(|error| Error::failed(&error))?.ok_or_else(|| {
        Error::new(Code::NotFound, format!("there is no change {number}")).next("`sluice history` lists them")
    })?;
    if matches!(record.state, ChangeState::RolledBack | ChangeState::Reverted) {
        let state = record.state.label();
        return Err(Error::new(Code::Conflict, format!("change {number} is {state} already")));
    }
    Ok(record)
}

/// Writes down what changes no rule.
pub fn note(asking: &Asking, what: &str, turn: &mut Turn<'_>) -> Option<u64> {
    let nothing = Delta::default();
    let change =
        turn.problems.report("history", new_change(asking, what, &nothing, &nothing, turn.now.wall))?;
    let recorded = turn.store.record(&change);
    let number = turn.problems.report("history", recorded);
    audit::made(asking.origin, number, &change, turn);
    number
}

/// A change as the store keeps it.
pub fn new_change(
    asking: &Asking,
    what: &str,
    before: &impl Serialize,
    after: &impl Serialize,
    at: Timestamp,
) -> Result<NewChange> {
    Ok(NewChange {
        at,
        author: Author { user: asking.caller.user.clone(), ..asking.origin.into() },
        what: what.to_owned(),
        before: serde_json::to_value(before).context("write down what stands")?,
        after: serde_json::to_value(after).context("write down what shall stand")?,
        evidence: asking.evidence.clone(),
        state: ChangeState::Applied,
    })
}

fn told(record: ChangeRecord) -> Change {
    let origin = Origin::from(&record.author);
    Change {
        number: record.number,
        at: record.at,
        made_by: named(origin, record.author.user.as_deref()),
        origin,
        what: record.what,
        before: record.before.to_string(),
        after: record.after.to_string(),
        state: record.state.label().to_owned(),
        evidence: record.evidence,
    }
}
