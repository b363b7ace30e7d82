//! Debian's packages: is one offered, and install some.
//!
//! In: package names. Out: installed packages, or the command to run by hand. The lists are fetched at most once, and
//! only when something is missing; nothing that is installed is ever removed for it.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Whether dpkg has this package, ready for use.
pub fn is_installed(package: &str) -> bool {
    let mut command = Command::new("dpkg-query");
    let output = command.args(["--show", "--showformat=${db:Status-Status}", package]).output();
    output.is_ok_and(|output| output.stdout == b"installed")
}

/// The package lists, fetched or not yet.
#[derive(Debug, Default)]
pub struct Apt {
    fetched: bool,
}

impl Apt {
    pub fn is_here() -> bool {
        process::find_program("apt-get").is_some()
    }

    /// The version that would be installed now.
    pub fn candidate(&mut self, package: &str) -> Option<String> {
        if !Self::is_here() {
            return None;
        }
        self.fetch();
        let output = Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C").output().ok()?;
        let policy = String::from_utf8_lossy(&output.stdout);
        let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (candidate != "(none)").then(|| candidate.to_owned())
    }

    pub fn install(&mut self, packages: &[&str]) -> Result<()> {
        let by_hand = format!("apt-get install {}", packages.join(" "));
        if !Self::is_here() {
            bail!("this machine has no apt-get; install by hand what Debian calls {}", packages.join(" "));
        }
        self.fetch();
        let mut command = get();
        command.args(["install", "--yes", "--no-remove", "--no-install-recommends", "--quiet"]);
        command.args(["--option", "Dpkg::Use-Pty=0"]);
        process::run(command.args(packages)).with_context(|| format!("by hand: `{by_hand}`"))
    }

    /// A source that does not answer need not be one of ours: what is really missing shows at the install.
    fn fetch(&mut self) {
        if !self.fetched {
            if let Err(error) = process::run(get().args(["update", "--quiet"])) {
                eprintln!("xtask: {error:#}; going on with the package lists that are there");
            }
            self.fetched = true;
        }
    }
}

fn get() -> Command {
    if process::is_root() {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        return command;
    }
    let mut command = Command::new("sudo");
    command.args(["--", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}
