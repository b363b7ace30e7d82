//! The runner that cargo starts each test binary through, in `cargo xtask test`.
//!
//! In: the binary and its arguments, and the package it belongs to. Out: its exit status. Only the package that loads
//! programs and makes namespaces runs as root; every unit test runs as who you are.

use std::env;
use std::ffi::OsString;

use anyhow::{Context, Result};

use crate::process;

/// The package whose tests need root.
const PRIVILEGED: &str = "monitor-tests";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let (binary, rest) = arguments.command.split_first().context("no test binary is named")?;
    if env::var("CARGO_PKG_NAME").is_ok_and(|package| package == PRIVILEGED) && !process::is_root() {
        // sudo keeps nothing by itself, and tests read what cargo says about their package.
        let names: Vec<String> = env::vars().map(|(name, _)| name).filter(|name| is_kept(name)).collect();
        let keep: Vec<&str> = names.iter().map(String::as_str).collect();
        return process::exec(process::privileged(binary, &keep).args(rest));
    }
    process::exec(std::process::Command::new(binary).args(rest))
}

fn is_kept(name: &str) -> bool {
    let families = ["CARGO", "RUST", "SLUICE_", "PROPTEST_", "INSTA_"];
    name == "CI" || name == "TERM" || families.iter().any(|family| name.starts_with(family))
}
