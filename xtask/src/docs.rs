//! `cargo xtask docs`: lets sluice write the pages of `docs/reference/` that come from its own declarations.
//!
//! In: the built binary, which knows its metrics, its control API and its commands. Out: pages in `docs/reference/`; with
//! `--check` nothing is written and a page that is out of date is an error.

use std::process::Command;

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
    let mut sluice = Command::new(process::built("sluice", false)?);
    sluice.current_dir(process::workspace()).args(["generate", "docs", "--out", "docs/reference"]);
    process::run(sluice.args(arguments.check.then_some("--check")))
}
