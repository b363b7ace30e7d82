//! Writes a saved change into the store, so that the next start takes it up.

use anyhow::Result;
use api::limits::LimitSet;
use policy::LimitOverride;

use super::asking::Asking;
use super::delta::Delta;
use super::limits;
use super::ports::Turn;
use crate::store::{AccessRule, AccessRuleKind};

pub fn persist(delta: &Delta, asking: &Asking, turn: &mut Turn<'_>) -> Result<()> {
    let (at, made_by) = (turn.now.wall, asking.made_by());
    for set in &delta.limits {
        let key = serde_json::to_string(&set.name)?;
        match &set.value {
            Some(value) => {
                let value = saved(&key, value, set.asked.as_deref(), turn)?;
                turn.store.set_override(&key, &value, &made_by, at)?;
            }
            None => drop(turn.store.unset_override(&key)?),
        }
    }
    for set in &delta.access {
        let kind = match set.permission {
            policy::Permission::Exempt => AccessRuleKind::Exempt,
            policy::Permission::Deny => AccessRuleKind::Deny,
        };
        match &set.entry {
            Some(entry) => turn.store.set_access(&AccessRule {
                kind,
                prefix: set.prefix,
                since: at,
                until: entry.until,
                strikes: 0,
                comment: (!entry.reason.is_empty()).then(|| entry.reason.clone()),
                made_by: entry.origin.clone(),
            })?,
            None => drop(turn.store.unset_access(kind, set.prefix)?),
        }
    }
    for set in &delta.bans {
        match &set.ban {
            Some(ban) => turn.store.set_access(&AccessRule {
                kind: AccessRuleKind::Ban,
                prefix: set.source,
                since: ban.since,
                until: ban.until,
                strikes: 1,
                comment: ban.comment.clone(),
                made_by: ban.made_by.clone(),
            })?,
            None => drop(turn.store.unset_access(AccessRuleKind::Ban, set.source)?),
        }
    }
    Ok(())
}

/// What is written of a limit: what was saved before with what was asked for, and nothing that was set without `save`.
fn saved(
    key: &str,
    value: &LimitOverride,
    asked: Option<&LimitSet>,
    turn: &Turn<'_>,
) -> Result<LimitOverride> {
    let Some(asked) = asked else { return Ok(value.clone()) };
    let before = turn.store.overrides()?.remove(key);
    // A row that is nonsense is not in force either.
    let mut saved = before.and_then(|before| serde_json::from_value(before).ok()).unwrap_or_default();
    limits::merge(&mut saved, asked);
    Ok(saved)
}
