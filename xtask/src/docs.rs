//! `cargo xtask docs`: lets sluice write the pages of `docs/` that come from its own declarations.
//!
//! In: the built binary, which knows its metrics and its configuration. Out: files in `docs/`; with `--check` nothing
//! is written and a page that differs is an error.

use anyhow::Result;

use crate::{build, process, setup};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only report pages that are out of date
    #[arg(long)]
    check: bool,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    build::build(setup::Scope::Build, false)?;
    generate(arguments.check)
}

/// The same with a build that is there already.
pub fn generate(check: bool) -> Result<()> {
    let mut command = std::process::Command::new(process::built("sluice", false)?);
    command.current_dir(process::workspace()).args(["generate", "docs", "--out", "docs"]);
    process::run(command.args(check.then_some("--check")))
}
