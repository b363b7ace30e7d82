//! `cargo xtask build`: set-up, then `cargo build`, so that the kernel side is never a stub.
//!
//! In: `--release` or not. Out: the binaries below cargo's target folder.

use anyhow::Result;

use crate::{process, setup};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Optimise
    #[arg(long)]
    release: bool,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    build(setup::Scope::Build, arguments.release)
}

/// Sets up what `scope` needs and builds every package that runs on this machine.
pub fn build(scope: setup::Scope, release: bool) -> Result<()> {
    setup::ensure(scope)?;
    process::run(process::cargo(["build"]).args(release.then_some("--release")))
}
