//! The tables of docs/reference/cli.md: exit codes and commands as they are declared.

use super::{Exit, grammar};
use crate::control::document::fill;

/// The page with its tables as they should be.
///
/// # Errors
/// When the page lost a heading.
pub fn reference(page: &str) -> Result<String, String> {
    let exits: Vec<String> =
        Exit::ALL.iter().map(|exit| format!("| {} | {} |", exit.code(), exit.meaning())).collect();
    let mut commands = Vec::new();
    gather(&grammar(), "sluice", &mut commands);
    fill(&fill(page, "## Exit codes", &exits)?, "## Commands", &commands)
}

fn gather(command: &clap::Command, path: &str, rows: &mut Vec<String>) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        if sub.has_subcommands() {
            gather(sub, &path, rows);
        } else {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            rows.push(format!("| `{path}` | {about} |"));
        }
    }
}
