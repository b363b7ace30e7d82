//! `sluice doctor`: what this host and its kernel offer, and what stands in the way of protection.
//!
//! In: the kernel's own files, the interfaces, the daemon's status if one answers. Out: one line for each check with its
//! state, a sentence and the command that mends it. It changes nothing.

mod daemon;
mod interfaces;
mod kernel;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::table::Page;
use super::{Context, Execute, Exit, Failure};

/// Checks the kernel, the interfaces and the daemon, and says how to mend what is wrong
///
/// The exit code is 0 when all is well, 12 when there are only warnings, and 1 when something prevents protection.
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// The configuration to check against [default: the running daemon's, else /etc/sluice/sluice.toml, else the
    /// embedded default]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// It cannot be told from here.
    Unknown,
    Warning,
    Failed,
}

impl State {
    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, such as `kernel` or `interface eth0`.
    pub name: String,
    pub state: State,
    /// What was found, as a sentence.
    pub finding: String,
    /// What mends it.
    pub command: Option<String>,
}

impl Check {
    pub fn new(name: impl Into<String>, state: State, finding: impl Into<String>) -> Self {
        Self { name: name.into(), state, finding: finding.into(), command: None }
    }

    pub fn ok(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, State::Ok, finding)
    }

    pub fn warning(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, State::Warning, finding)
    }

    pub fn failed(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, State::Failed, finding)
    }

    pub fn unknown(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, State::Unknown, finding)
    }

    #[must_use]
    pub fn mend(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checkup {
    pub schema_version: u32,
    pub worst: State,
    pub checks: Vec<Check>,
}

impl Execute for Doctor {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let status = context.ask(&api::status::ShowStatus {});
        let mut checks = kernel::checks();
        // The running daemon's file, not the one that a start without arguments would take.
        let running = status.as_ref().ok().and_then(|status| status.answer.reload.path.clone()).map(PathBuf::from);
        let config = self.config.or(running);
        checks.extend(daemon::checks(config.as_deref(), status.as_ref()));
        checks.extend(interfaces::checks(status.as_ref().ok().map(|status| &status.answer)));
        let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
        let checkup = Checkup { schema_version: 1, worst, checks };
        context.show(&checkup, render)?;
        match worst {
            State::Ok | State::Unknown => Ok(()),
            State::Warning => Err(Failure::new(Exit::Warnings, "")),
            State::Failed => Err(Failure::new(Exit::Failed, "")),
        }
    }
}

fn render(checkup: &Checkup, page: &mut Page) {
    let rows = checkup.checks.iter().map(|check| {
        let command = check.command.clone().unwrap_or_default();
        vec![check.state.label().to_owned(), check.name.clone(), check.finding.clone(), command]
    });
    page.table(&["STATE", "CHECK", "FINDING", "DO"], rows.collect(), "nothing was checked");
}

/// One line of a file of the kernel's, without its end.
fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Check, Checkup, State, render};
    use crate::cli::table::Page;

    #[test]
    fn a_check_is_a_line_with_its_state_its_finding_and_what_to_do() {
        let checks = vec![
            Check::ok("kernel", "Linux 6.12"),
            Check::failed("bpf filesystem", "not mounted").mend("mount -t bpf bpf /sys/fs/bpf"),
        ];
        let worst = checks.iter().map(|check| check.state).max().unwrap();
        assert_eq!(worst, State::Failed);
        let mut page = Page::plain();
        render(&Checkup { schema_version: 1, worst, checks }, &mut page);
        let wanted = "\
STATE   CHECK           FINDING      DO
ok      kernel          Linux 6.12
failed  bpf filesystem  not mounted  mount -t bpf bpf /sys/fs/bpf
";
        assert_eq!(page.text(), wanted);
    }
}
