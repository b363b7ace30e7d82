//! `cargo xtask demo`: set-up, build, then the binary `demo` of the tests' package.
//!
//! In: arguments for that binary. Out: its exit status. What it shows, and the clearing up, are the binary's.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, process, setup};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Passed on to the demonstration
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    build::build(setup::Scope::Demo, false)?;
    let demo = process::built("demo", false)?;
    process::exec(process::privileged(demo, &["NO_COLOR", "TERM"]).args(&arguments.rest))
}
