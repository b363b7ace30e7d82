//! `cargo xtask bench`: set-up, build, then the binary `bench` of the tests' package.
//!
//! What is measured runs in the kernel and is always built for release; the program that starts it needs no second build,
//! except live and at scale.
//!
//! In: further arguments for that binary. Out: its exit status, and the pages of `docs/bench` written anew; figures
//! are never a pass or a failure.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::{build, process, setup};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Measure what floods do to honest clients, live between private namespaces; takes minutes
    #[arg(long)]
    live: bool,
    /// Measure what a million rules and sources cost the daemon, in private namespaces; takes minutes
    #[arg(long, conflicts_with = "live")]
    scale: bool,
    /// Leave the pages of docs/bench as they are
    #[arg(long)]
    print: bool,
    /// Passed on to the benchmark; `cargo xtask bench -- --help` shows what it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    // Live, the daemon takes part, and as it is shipped; so for the next.
    let with_daemon = arguments.live || arguments.scale;
    build::build(setup::Scope::Test, with_daemon)?;
    let mut bench = process::privileged(process::built("bench", with_daemon)?, &["NO_COLOR", "TERM"]);
    if arguments.live {
        bench.arg("--live");
    }
    if arguments.scale {
        bench.arg("--scale");
    }
    if let Some(revision) = revision() {
        bench.arg("--revision").arg(revision);
    }
    if !arguments.print {
        bench.arg("--keep").arg(process::workspace().join("docs/bench"));
    }
    process::exec(bench.args(&arguments.rest))
}

/// The commit that is checked out; `+` says that there is more than it in the working tree. None outside of a checkout.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(process::workspace()).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changed =
        git(&["status", "--porcelain", "--", ".", ":!docs"]).is_some_and(|changes| !changes.is_empty());
    Some(if changed { commit + "+" } else { commit })
}
