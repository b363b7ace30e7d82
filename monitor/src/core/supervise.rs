//! What is tried again: a store that cannot be used, findings that could not be written, lists that were not there, the
//! record of the last good configuration.
//!
//! In: the time that passes. Out: the same parts, once they work; until then problems. Nothing here ends the daemon.

use super::ports::Turn;
use super::start;
use super::state::State;
use policy::ImportedList;
use policy::config::Bytes;

/// Once a tick.
pub fn tick(state: &mut State, turn: &mut Turn<'_>) {
    let written = turn.store.write_findings();
    turn.problems.report("keep the findings", written);
    let (audit, _, _) = turn.store.audit_state();
    if audit.failing.is_none() && audit.waiting == 0 {
        turn.problems.clear("audit");
    }
    if state.changes.waiting().is_some() {
        return;
    }
    let Some(notes) = turn.store.mend(turn.now.wall) else { return };
    tracing::info!("the store is on the disk from now on");
    remember_notes(&notes, turn);
    let mut troubles = Vec::new();
    let config = state.changes.desired().rules().config.clone();
    let saved = start::standing(&*turn.store, &*turn.kernel, config, turn.now.wall, &mut troubles);
    let taken = state.changes.take_up(saved, &mut state.installed, turn);
    let read = taken.and_then(|()| start::no_troubles(&troubles));
    turn.problems.report("read the store", read);
    turn.effects.push(super::Effect::ReopenLogs);
    keep_last_good(state, turn);
}

/// Now and then.
pub fn retry(state: &mut State, turn: &mut Turn<'_>) {
    if turn.problems.has("lists") {
        state.changes.retry_lists(None, &mut state.installed, turn);
        keep_last_good(state, turn);
    }
    if turn.problems.has("last good configuration") {
        keep_last_good(state, turn);
    }
}

/// A list was fetched, and is not what it was.
pub fn fetched(name: &str, state: &mut State, turn: &mut Turn<'_>) {
    // One that is not in force yet may be so for want of room, or of this one.
    let only = (!turn.problems.has("lists")).then_some(name);
    let prefixes =
        |state: &State| state.changes.desired().rules().lists.iter().find(|list| list.name == name).cloned();
    let before = prefixes(state);
    state.changes.retry_lists(only, &mut state.installed, turn);
    if let Some(now) = prefixes(state) {
        let before = before.unwrap_or_else(|| ImportedList::of(name, now.action, Vec::new()));
        let (more, less) = before.difference(&now);
        tracing::info!(
            "list {name}: {} prefixes, {} new, {} gone",
            now.prefixes.len(),
            more.len(),
            less.len()
        );
    }
    keep_last_good(state, turn);
}

/// What was put right in the store stays a problem until the next start: somebody should know.
pub fn remember_notes(notes: &[String], turn: &mut Turn<'_>) {
    if !notes.is_empty() {
        let told = format!("store: {}", notes.join("; "));
        tracing::error!("{told}");
        turn.problems.set("store", told);
    }
}

/// The configuration in force is what a start with a broken file guards with.
pub fn keep_last_good(state: &State, turn: &mut Turn<'_>) {
    if turn.problems.has("configuration") {
        return;
    }
    let desired = state.changes.desired();
    let kept = if turn.store.volatile().is_some() {
        Err(anyhow::anyhow!("the state directory cannot be used"))
    } else {
        let directory = turn.store.directory().to_owned();
        turn.host.keep_last_good(&directory, desired.config(), &desired.rules().lists)
    };
    turn.problems.report("last good configuration", kept);
}

/// Problems of the store, one sentence each.
pub fn store_problems(turn: &Turn<'_>) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(why) = turn.store.volatile() {
        told.push(format!("store: nothing outlives this process, as {why}; it is tried again"));
    }
    let (waiting, shed) = turn.store.unwritten();
    if waiting > 0 {
        told.push(format!("store: {waiting} findings wait for a disk that can be written"));
    }
    if shed > 0 {
        told.push(format!("store: {shed} findings were given up, as too many waited for the disk"));
    }
    let size = turn.store.size();
    if size.full {
        told.push(format!(
            "store: {} of {} are in use by what is never removed; raise state.store_size",
            Bytes(size.bytes),
            Bytes(size.most_bytes)
        ));
    }
    let (audit, _, _) = turn.store.audit_state();
    if let Some(why) = audit.failing {
        told.push(format!("audit: {} entries wait, as it cannot be written: {why}", audit.waiting));
    }
    if audit.lost > 0 {
        told.push(format!("audit: {} entries are lost, as too many waited for the disk", audit.lost));
    }
    told
}
