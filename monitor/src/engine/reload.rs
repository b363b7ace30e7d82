//! `reload` and SIGHUP: the file is read, checked, compared and applied, or nothing changes.
//!
//! In: the configuration's path. Out: a delta for `change`, and the outcome in the
//! snapshot whichever way it went.

use std::path::Path;

use jiff::Timestamp;

use super::Engine;
use super::answer::Asking;
use super::command::Applied;
use super::delta::{ConfigSetting, Delta, Flags};
use super::lists;
use super::refusal::{Code, Refusal};
use policy::config::Config;

/// Larger files are a mistake, not a configuration.
const LARGEST_FILE: u64 = 16 << 20;

/// The file that is read when none is named and this one exists.
pub const DEFAULT_PATH: &str = "/etc/sluice/sluice.toml";

impl ConfigSetting {
    /// The file that is read: the one that was named, or the usual one if it exists.
    pub fn path(named: Option<&Path>) -> Option<&Path> {
        let usual = Path::new(DEFAULT_PATH);
        named.or_else(|| usual.exists().then_some(usual))
    }

    /// Reads the file at `path`; without one the file at [`DEFAULT_PATH`], and without that the embedded default.
    pub fn read(path: Option<&Path>, flags: Flags) -> Result<Self, Refusal> {
        let Some(path) = Self::path(path) else {
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
        // Log rotation sends the same signal.
        self.watch.reopen_log();
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
                self.problems.remove("configuration");
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
}

fn read_file(path: &Path) -> Result<String, String> {
    let bytes = lists::read(path, LARGEST_FILE)?;
    String::from_utf8(bytes).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}
