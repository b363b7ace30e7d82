//! `cargo xtask bench`: set-up, build, then the binary `bench` of the tests' package.
//!
//! What is measured runs in the kernel and is always built for release; the program that starts it needs no second build.
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
    build::build(setup::Scope::Test, false)?;
    let bench = process::built("bench", false)?;
    process::exec(process::privileged(bench, &["NO_COLOR", "TERM"]).args(&arguments.rest))
}
