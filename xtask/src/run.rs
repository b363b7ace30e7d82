//! `cargo xtask run [-- ARGS]`: build, then become `sluice run ARGS`.
//!
//! In: arguments of `sluice run`. Out: the daemon in the foreground, as root, with the terminal's signals.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, process, setup};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Optimise
    #[arg(long)]
    release: bool,
    /// Passed on to `sluice run`
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    build::build(setup::Scope::Build, arguments.release)?;
    let sluice = process::built("sluice", arguments.release)?;
    // With sudo in between, only SSH_CONNECTION tells the daemon which operator it must never cut off.
    let keep = ["NO_COLOR", "RUST_LOG", "SSH_CONNECTION", "TERM"];
    process::exec(process::privileged(sluice, &keep).arg("run").args(&arguments.rest))
}
