//! The lists of `access.lists`: files of others, read with suspicion.
//!
//! In: paths. Out: prefixes, at most as many as the kernel's tables take. A file that cannot be read leaves the list as it
//! was; only regular files are read, and no more of them than a bound.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::answer::Asking;
use super::delta::Standing;
use super::refusal::{Code, Refusal};
use super::{Engine, operators};
use policy::{self, Environment, ListPolicy, Numbering, Rules, compile};

/// Larger lists are no lists.
const LARGEST_LIST: u64 = 64 << 20;

impl Engine {
    /// `next` with the lists that its configuration names read anew. A list that cannot be taken keeps its last state; one
    /// that has none is refused, unless the daemon asks itself: then it is left out. Lists that do not fit are cut.
    pub(super) fn with_lists(
        &self,
        mut next: Standing,
        asking: &Asking,
    ) -> Result<(Standing, Vec<String>), Refusal> {
        let mut operators = operators::protected(&asking.caller);
        operators.extend(&self.operators);
        if !next.rules.config.access.lists.is_empty() {
            operators.extend((self.network)().unwrap_or_default().gateways);
        }
        let mut warnings = Vec::new();
        let mut lists = Vec::new();
        for list in &next.rules.config.access.lists {
            let name = list.path.display().to_string();
            let policy = ListPolicy::of(list, &next.rules, &operators);
            let taken = read(&list.path, LARGEST_LIST)
                .and_then(|bytes| policy::import(&name, list.action, &bytes, &policy));
            match taken {
                Ok(imported) => {
                    if let Some(first) = imported.skipped.first() {
                        let (count, line) = (imported.skipped_lines, first.line);
                        let why = &first.problem;
                        warnings.push(format!(
                            "{name}: {count} lines were skipped, the first is line {line}: {why}"
                        ));
                    }
                    lists.push(imported);
                }
                Err(why) => match self.standing.rules.lists.iter().find(|old| old.name == name) {
                    Some(old) => {
                        warnings.push(format!("{why}; the list as it was before stays in force"));
                        lists.push(old.clone());
                    }
                    None if asking.origin != "control" && asking.origin != "signal" => {
                        warnings.push(format!("{why}; nothing of the list is in force"));
                    }
                    None => {
                        return Err(Refusal::new(Code::Invalid, why)
                            .next("correct the list, or take it out of access.lists"));
                    }
                },
            }
        }
        next.rules.lists = lists;
        warnings.extend(fit(&mut next.rules, &self.image.numbering, &self.kernel.environment()));
        Ok((next, warnings))
    }

    /// Reads the lists again, because one of them could not be taken.
    pub(super) fn retry_lists(&mut self) {
        if !self.problems.contains_key("lists") {
            return;
        }
        let asking = Asking::daemon("lists");
        let outcome = self.with_lists(self.standing.clone(), &asking);
        self.fallible("lists", |engine| {
            let (next, warnings) = outcome?;
            if next != engine.standing {
                engine.install(next)?;
                engine.keep_last_good();
            }
            lists_failed(&warnings)
        });
    }
}

/// An error when a list is not in force as its file says.
pub(super) fn lists_failed(warnings: &[String]) -> anyhow::Result<()> {
    let failed: Vec<_> =
        warnings.iter().filter(|told| !told.contains("lines were skipped")).cloned().collect();
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Cuts the lists, the largest first, until the rules fit into the kernel's tables; tells what was cut.
pub(super) fn fit(rules: &mut Rules, numbering: &Numbering, environment: &Environment) -> Vec<String> {
    let mut told = Vec::new();
    let room = rules.config.capacity.denials as usize;
    while rules.lists.iter().any(|list| !list.prefixes.is_empty())
        && let Err(why) = compile(rules, numbering, environment)
    {
        let taken: usize = rules.lists.iter().map(|list| list.prefixes.len()).sum();
        let Some(largest) = rules.lists.iter_mut().max_by_key(|list| list.prefixes.len()) else { break };
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

/// The bytes of a regular file of at most `largest` bytes. Never waits for a writer, a device or a terminal.
pub(super) fn read(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let file = open(path)?;
    let mut bytes = Vec::new();
    let failed = |error| format!("{shown} cannot be read: {error}");
    file.take(largest + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > largest {
        return Err(format!("{shown} is larger than {} MiB", largest >> 20));
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let failed = |error| format!("{shown} cannot be read: {error}");
    // A pipe that nobody writes to must not be waited for, and a terminal must not become ours.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(failed)?;
    if file.metadata().map_err(failed)?.is_file() {
        Ok(file)
    } else {
        Err(format!("{shown} is no regular file, so it is not read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_devices_and_directories_are_not_read() {
        let files = tempfile::tempdir().unwrap();
        let pipe = files.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let link = files.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [&pipe, &link, files.path()] {
            let refused = read(path, 100).unwrap_err();
            assert!(refused.contains("no regular file"), "{refused}");
        }
        let long = files.path().join("long");
        std::fs::write(&long, [b'x'; 101]).unwrap();
        assert!(read(&long, 100).unwrap_err().contains("larger"));
        assert_eq!(read(&long, 101).unwrap().len(), 101);
    }
}
