//! `cargo xtask check`: what the compiler's friends say: rustfmt, clippy and cargo-deny.
//!
//! In: the sources and `deny.toml`. Out: an error at the first tool that objects. Without a BPF toolchain clippy runs
//! on the stub. Advisories change without any change here and need the network, so they are asked for only by flag.

use anyhow::Result;

use crate::process::{cargo, run};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also look the dependencies up in the advisory database (fetches it)
    #[arg(long)]
    advisories: bool,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    format()?;
    lints()?;
    dependencies()?;
    if arguments.advisories {
        run(&mut cargo(["deny", "check", "advisories"]))?;
    }
    Ok(())
}

pub fn format() -> Result<()> {
    run(&mut cargo(["fmt", "--all", "--check"]))
}

/// Clippy, with every warning an error.
pub fn lints() -> Result<()> {
    run(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Licences, sources and duplicates of what we depend on.
pub fn dependencies() -> Result<()> {
    run(&mut cargo(["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))
}
