//! Lists of prefixes that the configuration names.
//!
//! In: the next state, the lists before, whom they must not cover. Out: the next state with its lists read again. A list
//! that cannot be taken keeps its last state.

use std::net::IpAddr;

use super::delta::Standing;
use super::ports::Host;
use super::refusal::{Code, Refusal};
use policy::{self, ImportedList, ListPolicy};

/// `next` with its lists, and what people should know of them.
pub fn read_again(
    mut next: Standing,
    before: &[ImportedList],
    operators: &[IpAddr],
    host: &mut dyn Host,
) -> Result<(Standing, Vec<String>), Refusal> {
    let mut warnings = Vec::new();
    let mut lists = Vec::new();
    for list in &next.rules.config.access.lists {
        let name = list.path.display().to_string();
        let policy = ListPolicy::of(list, &next.rules, operators);
        let taken = host.list(&list.path).and_then(|text| policy::import(&name, list.action, &text, &policy));
        match taken {
            Ok(imported) => {
                if let Some(first) = imported.skipped.first() {
                    let (count, line) = (imported.skipped.len(), first.line);
                    let why = &first.problem;
                    warnings
                        .push(format!("{name}: {count} lines were skipped, the first is line {line}: {why}"));
                }
                lists.push(imported);
            }
            Err(why) => match before.iter().find(|old| old.name == name) {
                Some(old) => {
                    warnings.push(format!("{why}; the list as it was before stays in force"));
                    lists.push(old.clone());
                }
                None => {
                    return Err(Refusal::new(Code::Invalid, why)
                        .next("correct the list, or take it out of access.lists"));
                }
            },
        }
    }
    next.rules.lists = lists;
    Ok((next, warnings))
}
