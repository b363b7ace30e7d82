//! Lists of prefixes that the configuration names.
//!
//! In: the next state, the lists before, the addresses that they must not cover. Out: the next state with its lists read
//! again, at most as many prefixes as the kernel's tables take. A list that cannot be taken keeps its last state.

use std::net::IpAddr;
use std::sync::Arc;

use super::delta::Standing;
use super::ports::{Host, Turn};
use crate::snapshot::ListState;
use api::{Code, Error};
use policy::config::AccessList;
use policy::{self, Environment, ImportedList, ListPolicy, Numbering, Rules, compile};

/// What reading lists rests on.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// The lists before.
    pub before: &'a [ImportedList],
    pub operators: Vec<IpAddr>,
    /// Whether somebody asks, who can correct a list: one that was never taken is an error then, else it is left out.
    pub is_asked: bool,
    /// The only list that is read again; all others stay as they are.
    pub only: Option<&'a str>,
    pub numbering: &'a Numbering,
    pub environment: Environment,
}

/// `next` with its lists, and what people should know of them.
pub fn read_again(
    mut next: Standing,
    around: Circumstances<'_>,
    host: &mut dyn Host,
) -> Result<(Standing, Vec<String>), Error> {
    let Circumstances { before, operators, is_asked, only, numbering, environment } = around;
    let mut warnings = Vec::new();
    let mut lists = Vec::new();
    for list in &next.rules.config.access.lists {
        let name = list.name();
        let old = before.iter().find(|old| old.name == name);
        if let (Some(only), Some(old)) = (only, old)
            && only != name
        {
            lists.push(old.clone());
            continue;
        }
        let policy = ListPolicy::of(list, &next.rules, &operators);
        let taken = host
            .list(list)
            .and_then(|bytes| policy::import(&name, list.action, &bytes, &policy))
            .and_then(|taken| is_a_list(taken, list));
        match taken {
            Ok(imported) => {
                if let Some(first) = imported.skipped.first() {
                    let (count, line) = (imported.skipped_lines, first.line);
                    let why = &first.problem;
                    warnings
                        .push(format!("{name}: {count} lines were skipped, the first is line {line}: {why}"));
                }
                lists.push(imported);
            }
            Err(why) => match old {
                Some(old) => {
                    warnings.push(format!("{why}; the list as it was before stays in force"));
                    lists.push(old.clone());
                }
                // What is not fetched yet will be.
                None if !is_asked || list.url.is_some() => {
                    warnings.push(format!("{why}; nothing of the list is in force"));
                }
                None => {
                    return Err(Error::new(Code::Invalid, why)
                        .next("correct the list, or take it out of access.lists"));
                }
            },
        }
    }
    next.rules.lists = if lists == *next.rules.lists { next.rules.lists } else { Arc::new(lists) };
    warnings.extend(fit(&mut next.rules, numbering, &environment));
    Ok((next, warnings))
}

/// The lists of the snapshot: what is in force, with how those that are fetched are.
pub fn states(rules: &Rules, fetched: &[ListState]) -> Vec<ListState> {
    let state = |list: &AccessList| {
        let name = list.name();
        let state = fetched.iter().find(|state| state.name == name).cloned().unwrap_or_default();
        let taken = rules.lists.iter().find(|taken| taken.name == name);
        ListState {
            action: list.action.label().to_owned(),
            prefixes: taken.map_or(0, |taken| taken.prefixes.len() as u64),
            skipped: taken.map_or(0, |taken| taken.skipped_lines as u64),
            name,
            ..state
        }
    };
    rules.config.access.lists.iter().map(state).collect()
}

/// Servers answer with pages for people, too: what has entries and no address among them is not the list.
fn is_a_list(taken: ImportedList, list: &AccessList) -> Result<ImportedList, String> {
    if list.url.is_some() && taken.taken_lines == 0 && taken.skipped_lines > 0 {
        return Err(format!("{}: nothing in it is an address", taken.name));
    }
    Ok(taken)
}

/// A list that is not in force as its file says is a problem until it is.
pub fn report(warnings: &[String], turn: &mut Turn<'_>) {
    turn.problems.report("lists", lists_failed(warnings));
}

/// An error when a list is not in force as its file says.
fn lists_failed(warnings: &[String]) -> anyhow::Result<()> {
    let failed: Vec<_> =
        warnings.iter().filter(|told| !told.contains("lines were skipped")).cloned().collect();
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Cuts the lists, the largest first, until the rules fit into the kernel's tables; tells what was cut.
pub fn fit(rules: &mut Rules, numbering: &Numbering, environment: &Environment) -> Vec<String> {
    let mut told = Vec::new();
    let room = rules.config.capacity.denials as usize;
    while rules.lists.iter().any(|list| !list.prefixes.is_empty())
        && let Err(why) = compile(rules, numbering, environment)
    {
        let taken: usize = rules.lists.iter().map(|list| list.prefixes.len()).sum();
        let Some(largest) = Arc::make_mut(&mut rules.lists).iter_mut().max_by_key(|list| list.prefixes.len())
        else {
            break;
        };
        let (name, before) = (largest.name.clone(), largest.prefixes.len());
        // What is over the number of denials goes at once; other bounds are found by halving.
        let others = taken - before;
        let kept =
            if before + others > room { room.saturating_sub(others).min(before - 1) } else { before / 2 };
        let kept = if told.len() > 1 { kept.min(before / 2) } else { kept };
        largest.prefixes.truncate(kept);
        told.push(format!(
            "{name}: only the first {kept} of its {before} prefixes are in force ({why}); raise capacity.denials and \
             capacity.prefix_nodes"
        ));
    }
    told
}
