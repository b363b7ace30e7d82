//! `access import`: a list of prefixes taken over while running, as one change.
//!
//! In: the text of a list. Out: a plan, after the same safeguards that the configuration's lists pass: never
//! the operator's own networks, nothing that covers too much. It keeps nothing over restarts; `access.lists` does.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::asking::Asking;
use super::command::{AccessImport, AccessKind};
use super::delta::{self, AccessSetting, Delta};
use super::facts::Facts;
use super::plan::Plan;
use api::{Code, Error};
use policy::config::{AccessList, ListAction};
use policy::{self, AccessEntry, ImportedList, ListPolicy, Permission};

/// Prefixes and skipped lines that an answer names; it counts the others.
const SHOWN: usize = 10;

/// A list on its way in.
#[derive(Debug)]
pub struct Import {
    /// Nothing for a dry run.
    pub plan: Option<Plan>,
    pub summary: Vec<String>,
    /// Lines that were skipped.
    pub warnings: Vec<String>,
}

/// What importing a list comes to. `operators` are the addresses that it must not cover.
pub fn import(
    facts: &Facts<'_>,
    operators: &[IpAddr],
    asking: &Asking,
    import: &AccessImport,
) -> Result<Import, Error> {
    let (action, permission) = meaning(import.kind)?;
    if asking.options.save {
        return Err(Error::new(Code::Invalid, "an imported list is not kept over restarts")
            .next("name its file under [[access.lists]] in the configuration, and reload"));
    }
    let list = AccessList::new(PathBuf::from(&import.name), action);
    let safeguards = ListPolicy::of(&list, facts.desired.rules(), operators);
    let taken = policy::import(&import.name, action, import.text.as_bytes(), &safeguards)
        .map_err(|why| Error::new(Code::Invalid, why).next("nothing was changed; correct the list"))?;
    if taken.taken_lines == 0
        && let Some(first) = taken.skipped.first()
    {
        let why = format!("no line of {} is taken; line {}: {}", import.name, first.line, first.problem);
        return Err(Error::new(Code::Invalid, why).next("name a list of prefixes, one on each line"));
    }
    let new = not_standing(facts, &taken, permission);
    let warnings = skipped(&taken);
    let mut summary = vec![format!(
        "{}: {} prefixes, {} of them new, {} lines skipped",
        import.name,
        taken.prefixes.len(),
        new.len(),
        taken.skipped_lines
    )];
    summary.extend(new.iter().take(SHOWN).map(|prefix| format!("+ {} {prefix}", import.kind.label())));
    if new.len() > SHOWN {
        summary.push(format!("+ {} more", new.len() - SHOWN));
    }
    if import.dry_run {
        return Ok(Import { plan: None, summary, warnings });
    }
    let until = import.for_seconds.map(Duration::from_secs);
    let until = until.and_then(|time| facts.now.checked_add(time).ok());
    let setting = |prefix: &IpNet| AccessSetting {
        prefix: *prefix,
        permission,
        entry: Some(AccessEntry {
            prefix: *prefix,
            permission,
            until,
            reason: format!("imported from {}", import.name),
            origin: asking.made_by(),
        }),
    };
    let access = new.iter().map(setting).collect();
    let what = format!("access import {} ({} {})", import.name, new.len(), import.kind.label());
    let plan = Some(Plan::new(what, Delta { access, ..Delta::default() }));
    Ok(Import { plan, summary, warnings })
}

/// The prefixes of a list that have no entry yet.
fn not_standing(facts: &Facts<'_>, taken: &ImportedList, permission: Permission) -> Vec<IpNet> {
    let standing = facts.desired.rules().access.iter().filter(|entry| entry.permission == permission);
    let standing: HashSet<IpNet> = standing.map(|entry| entry.prefix).collect();
    taken.prefixes.iter().filter(|prefix| !standing.contains(prefix)).copied().collect()
}

fn meaning(kind: AccessKind) -> Result<(ListAction, Permission), Error> {
    let action = match kind {
        AccessKind::Exempt => Some(ListAction::Exempt),
        AccessKind::Deny => Some(ListAction::Deny),
        AccessKind::Ban => None,
    };
    action.zip(delta::permission(kind)).ok_or_else(|| {
        Error::new(Code::Invalid, "a ban is of one source, so a list cannot be imported as bans")
            .next("import it as denials, with an end if need be")
    })
}

fn skipped(taken: &ImportedList) -> Vec<String> {
    let told = |line: &policy::LineError| format!("line {} was skipped: {}", line.line, line.problem);
    let mut warnings: Vec<_> = taken.skipped.iter().take(SHOWN).map(told).collect();
    if taken.skipped_lines > SHOWN {
        warnings.push(format!("{} more lines were skipped", taken.skipped_lines - SHOWN));
    }
    warnings
}
