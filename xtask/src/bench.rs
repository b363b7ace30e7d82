//! `cargo xtask bench`: set-up, a release build, then the binary `bench` of the tests' package.
//!
//! In: a filter and further arguments for that binary. Out: its exit status; figures are never a pass or a failure.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, process, setup};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Passed on to the benchmark: which ones to run, and its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    build::build(setup::Scope::Test, true)?;
    let bench = process::built("bench", true)?;
    process::exec(process::privileged(bench, &["NO_COLOR", "TERM"]).args(&arguments.rest))
}
