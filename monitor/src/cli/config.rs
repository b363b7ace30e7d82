//! `sluice config`: what is in force, what a file would say, what the default is.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::context::print;
use super::{Context, Execute, Exit, Failure};
use crate::control::peer::Roles;
use policy::config;
use api::config::ShowConfig;
use policy;

/// Where the configuration stands unless a path is given.
pub const DEFAULT_FILE: &str = "/etc/sluice/sluice.toml";

/// Checks and shows configurations
#[derive(Clone, Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Says whether a file is valid, and if not, what is wrong and where
    Check {
        /// The file [default: /etc/sluice/sluice.toml]
        file: Option<PathBuf>,
        /// The same, as `sluice run` takes it
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
    },
    /// Shows the configuration that the daemon has in force
    Show,
    /// Shows the embedded default, with comments: a file to begin with
    Default,
}

impl Execute for Config {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Check { file, config } => {
                check(&file.or(config).unwrap_or_else(|| PathBuf::from(DEFAULT_FILE)))
            }
            Action::Show => {
                let text = context.ask(&ShowConfig {})?;
                match context.output {
                    super::context::Output::Json => context.show(&text, |_, _| {}),
                    super::context::Output::Table => print(&text.answer.toml),
                }
            }
            Action::Default => print(config::Config::default_file()),
        }
    }
}

/// A configuration from a file, with every problem in the failure.
pub fn read_file(file: &Path) -> Result<config::Config, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(
            if error.kind() == std::io::ErrorKind::PermissionDenied { Exit::NotPermitted } else { Exit::Invalid },
            format!("read {}: {error}; name a file, or begin with `sluice config default`", file.display()),
        )
    })?;
    config::Config::parse(&text, &file.display().to_string())
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string().replace('\n', "\nsluice: ")))
}

fn check(file: &Path) -> Result<(), Failure> {
    let parsed = read_file(file)?;
    let origin = file.display().to_string();
    policy::check(&parsed, jiff::Timestamp::now())
        .map_err(|error| Failure::new(Exit::Invalid, format!("{origin}: {error}")))?;
    for advice in parsed.advice() {
        eprintln!("sluice: {origin}: note: {advice}");
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if let Err(error) = Roles::of(&parsed.control, 0, &groups) {
        eprintln!("sluice: {origin}: note: {error}");
    }
    let there = datapath::list_interfaces().unwrap_or_default();
    let fits = |name: &String| there.iter().any(|link| config::matches(name, &link.name));
    for name in parsed.interfaces.names.iter().filter(|name| !fits(name)) {
        eprintln!("sluice: {origin}: note: there is no interface `{name}` here now, so it would not be guarded");
    }
    print(&format!("{origin} is valid\n"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::cli::Exit;

    #[test]
    fn a_file_is_valid_or_its_problem_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sluice.toml");
        std::fs::write(&file, "").unwrap();
        check(&file).unwrap();
        std::fs::write(&file, "nonsense = 1\n").unwrap();
        let failure = check(&file).unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(failure.message.contains("nonsense"), "{}", failure.message);
        let failure = check(&directory.path().join("missing.toml")).unwrap_err();
        assert!(failure.message.contains("missing.toml"), "{}", failure.message);
    }
}
