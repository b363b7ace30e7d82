//! `cargo xtask docs`: writes the pages that come from declarations in the code.
//!
//! In: the unit tests of the daemon that compare such a page with its declaration. Out: the pages, written instead of
//! compared. Every test run compares them, so a page that is out of date cannot stay.

use anyhow::Result;

use crate::process;

pub fn main() -> Result<()> {
    process::run(process::cargo(["test", "--package", "monitor", "--lib"]).env("SLUICE_WRITE_DOCS", "1"))
}
