//! What the audit is told: calls that change something or are refused, and what the daemon changes by itself.
//!
//! In: a command with its caller and outcome, and the changes of a turn. Out: one entry for each. The history is what can
//! be undone; the audit is who tried what.

use api::audit::{AuditChange, AuditKind};
use api::{ChangeOptions, Code, Error};
use serde_json::{Value, json};

use super::asking::Asking;
use super::origin::Origin;
use super::ports::Turn;
use crate::store::NewChange;
use crate::store::audit::NewEntry;

/// A change was made; the entry of its turn names it.
pub fn made(origin: Origin, number: Option<u64>, change: &NewChange, turn: &mut Turn<'_>) {
    let NewChange { what, before, after, .. } = change;
    let (what, before, after) = (what.clone(), before.clone(), after.clone());
    turn.made.push((origin, AuditChange { number, what, before, after }));
}

/// A change was taken back to `after`, because nobody confirmed it.
pub fn taken_back(number: u64, what: &str, after: Value, turn: &mut Turn<'_>) {
    let what = format!("taken back: {what}");
    let change = AuditChange { number: Some(number), what, before: Value::Null, after };
    turn.made.push((Origin::Timer, change));
}

/// A command was carried out, or was not.
pub fn call(name: &str, asking: &Asking, request: Value, error: Option<&Error>, turn: &mut Turn<'_>) {
    let kind = match error.map(|error| error.code) {
        None | Some(Code::Failed | Code::Unavailable | Code::TimedOut) => AuditKind::Call,
        Some(_) => AuditKind::Refused,
    };
    let mut entry = NewEntry::new(turn.now.wall, kind, asking.origin, name);
    entry.user.clone_from(&asking.caller.user);
    if let Some(error) = error {
        error.code.label().clone_into(&mut entry.outcome);
        entry.detail = Some(error.message.clone());
    }
    entry.request = Some(with_options(request, asking.options));
    entry.changes = std::mem::take(&mut turn.made).into_iter().map(|(_, change)| change).collect();
    write(entry, turn);
}

/// What the daemon changed by itself in this turn.
pub fn by_itself(turn: &mut Turn<'_>) {
    for (origin, change) in std::mem::take(&mut turn.made) {
        let mut entry = NewEntry::new(turn.now.wall, AuditKind::Change, origin, change.what.clone());
        entry.changes.push(change);
        write(entry, turn);
    }
}

/// The daemon began.
pub fn begun(version: &str, turn: &mut Turn<'_>) {
    let what = format!("sluice {version} began");
    write(NewEntry::new(turn.now.wall, AuditKind::Begun, Origin::Timer, what), turn);
}

fn with_options(request: Value, options: ChangeOptions) -> Value {
    match request {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            if options != ChangeOptions::default() {
                fields.insert("options".to_owned(), json!(options));
            }
            Value::Object(fields)
        }
        other => other,
    }
}

fn write(entry: NewEntry, turn: &mut Turn<'_>) {
    let written = turn.store.audit(entry);
    turn.problems.report("audit", written);
}
