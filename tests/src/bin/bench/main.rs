//! What a packet costs: sluice beside reference programs, each ratio from one interleaved run.
//!
//! Nanoseconds per packet come from test runs through a wrapper that varies the source; the floor (the wrapper with an
//! immediate drop behind it) is taken off. Rounds go over all cases in turn, and the median of the rounds counts.

mod cases;
mod image;
mod reference;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use monitor::datapath::{Datapath, Options};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(7), |text| text.parse()).context("rounds")?;
    let pins = PathBuf::from(format!("/sys/fs/bpf/sluice-bench-{}", std::process::id()));
    let result = measure(&pins, rounds);
    if let Err(error) = monitor::datapath::unload_pinned(&pins) {
        eprintln!("remove {}: {error:#}", pins.display());
    }
    result
}

fn measure(pins: &std::path::Path, rounds: usize) -> Result<()> {
    let mut datapath = Datapath::open(&Options { pin_directory: pins.to_owned(), ..Options::default() })?;
    let mut reference = reference::Reference::load()?;
    cases::run(&mut datapath, &mut reference, pins, rounds)
}
