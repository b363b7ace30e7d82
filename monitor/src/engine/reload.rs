//! `reload` and SIGHUP: the file is read, checked, compared and applied, or nothing changes.
//!
//! In: the configuration's path, and files of prefixes that it names. Out: a delta for `change`, and the outcome in the
//! snapshot whichever way it went.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use super::Engine;
use super::answer::Asking;
use super::command::Applied;
use super::delta::{ConfigSetting, Delta, Flags, Standing};
use super::refusal::{Code, Refusal};
use policy::config::Config;
use policy::{self, ListPolicy};

/// Larger files are a mistake, not a configuration.
const LARGEST_FILE: u64 = 16 << 20;

/// The file that is read when none is named and this one exists.
pub const DEFAULT_PATH: &str = "/etc/sluice/sluice.toml";

impl ConfigSetting {
    /// Reads the file at `path`; without one the file at [`DEFAULT_PATH`], and without that the embedded default.
    pub fn read(path: Option<&Path>, flags: Flags) -> Result<Self, Refusal> {
        let usual = Path::new(DEFAULT_PATH);
        let Some(path) = path.or_else(|| usual.exists().then_some(usual)) else {
            return Ok(Self { path: None, toml: Config::default_file().to_owned(), flags });
        };
        let toml = read_file(path).map_err(|why| {
            Refusal::new(Code::Invalid, why).next("`sluice config default` prints a file to begin with")
        })?;
        Ok(Self { path: Some(path.display().to_string()), toml, flags })
    }
}

impl Engine {
    pub(super) fn reload(&mut self, asking: &Asking) -> Result<Applied, Refusal> {
        let now = Timestamp::now();
        let outcome =
            ConfigSetting::read(self.path.as_deref(), self.config.flags.clone()).and_then(|config| {
                self.make(asking, "reload", Delta { config: Some(config), ..Delta::default() })
            });
        self.reload.at = now;
        match &outcome {
            Ok(applied) => {
                self.reload.succeeded_at = Some(now);
                self.reload.error = None;
                self.reload.successes += 1;
                tracing::info!("the configuration is reloaded: {} differences", applied.summary.len());
            }
            Err(refusal) => {
                self.reload.error = Some(refusal.to_string());
                self.reload.failures += 1;
                tracing::error!(
                    "the configuration is not reloaded, the one before stays in force: {refusal}"
                );
            }
        }
        outcome
    }

    /// `next` with the lists that its configuration names read anew. A list that cannot be taken keeps its last state.
    pub(super) fn with_lists(
        &self,
        mut next: Standing,
        asking: &Asking,
    ) -> Result<(Standing, Vec<String>), Refusal> {
        let mut operators = super::operators::protected(&asking.caller);
        operators.extend(&self.operators);
        let mut warnings = Vec::new();
        let mut lists = Vec::new();
        for list in &next.rules.config.access.lists {
            let name = list.path.display().to_string();
            let policy = ListPolicy::of(list, &next.rules, &operators);
            let taken =
                read_file(&list.path).and_then(|text| policy::import(&name, list.action, &text, &policy));
            match taken {
                Ok(imported) => {
                    if let Some(first) = imported.skipped.first() {
                        let (count, line) = (imported.skipped.len(), first.line);
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
}

fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let size = fs::metadata(path).map_err(|error| format!("{shown} cannot be read: {error}"))?.len();
    if size > LARGEST_FILE {
        return Err(format!("{shown} is larger than {} MiB", LARGEST_FILE >> 20));
    }
    fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {error}"))
}
