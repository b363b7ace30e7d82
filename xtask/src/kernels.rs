//! `cargo xtask kernels`: the same binaries on other kernels, each in a machine that qemu emulates.
//!
//! In: a build, and Debian's kernel packages. Out: failure if any check on any kernel failed; the last run of all of them is
//! kept in `docs/bench/kernels.md`. Frames go over a tap in a network namespace that is made and removed here.

mod archive;
mod image;
mod machine;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{build, process, setup};

#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// Every kernel of the list, instead of the oldest that is supported; keeps the result in docs/bench/kernels.md
    #[arg(long)]
    all: bool,
    /// Only kernels whose version begins so, as in 6.12
    #[arg(long, conflicts_with = "all")]
    only: Option<String>,
}

/// A kernel of the matrix.
struct Kernel {
    version: &'static str,
    /// The release of Debian whose package it is.
    suite: &'static str,
    /// Not supported: the daemon must say so in one sentence.
    refused: bool,
}

const KERNELS: [Kernel; 3] = [
    Kernel { version: "6.1", suite: "bookworm", refused: false },
    Kernel { version: "6.12", suite: "trixie", refused: false },
    Kernel { version: "5.10", suite: "bullseye", refused: true },
];

/// What one kernel came to.
struct Outcome {
    release: String,
    checks: Vec<(String, bool)>,
    seconds: u64,
}

impl Outcome {
    fn failed(&self) -> Vec<&str> {
        self.checks.iter().filter(|(_, passed)| !passed).map(|(name, _)| name.as_str()).collect()
    }
}

pub fn main(arguments: &Arguments) -> Result<()> {
    build::build(setup::Scope::Test, false)?;
    let mut outcomes = Vec::new();
    for kernel in chosen(arguments)? {
        outcomes.push(run(kernel).with_context(|| format!("try Linux {}", kernel.version))?);
    }
    if arguments.all {
        keep(&outcomes)?;
    }
    let mut failed = Vec::new();
    for outcome in &outcomes {
        eprintln!("{:<28} {} checks in {} s", outcome.release, outcome.checks.len(), outcome.seconds);
        failed.extend(outcome.failed().into_iter().map(|name| format!("{}: {name}", outcome.release)));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

fn chosen(arguments: &Arguments) -> Result<Vec<&'static Kernel>> {
    let wanted = |kernel: &&Kernel| match &arguments.only {
        Some(prefix) => kernel.version == prefix,
        None => arguments.all || kernel.version == KERNELS[0].version,
    };
    let chosen: Vec<_> = KERNELS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.version).collect();
        bail!("there is no such kernel in the list: {}", known.join(", "));
    }
    Ok(chosen)
}

fn run(kernel: &Kernel) -> Result<Outcome> {
    let start = Instant::now();
    let unpacked = archive::kernel(kernel.suite)?;
    let image = image::build(&unpacked, &[process::built("sluice", false)?, image::behaviour()?])?;
    let mut outcome = machine::run(&unpacked, &image, kernel.refused)?;
    outcome.seconds = start.elapsed().as_secs();
    Ok(outcome)
}

/// The page of the last run of all kernels.
fn keep(outcomes: &[Outcome]) -> Result<()> {
    let date =
        std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]).output().context("ask for the date")?;
    let mut page = format!(
        "# Kernels\n\nThe last run of `cargo xtask kernels --all`, on {}: Debian's kernels under qemu's software emulation \
         (x86-64, 2 CPUs), a virtio NIC with two queues on a tap, and an e1000. CI runs Linux {} only.\n\n\
         | kernel | checks | failed | s |\n|---|---|---|---|\n",
        String::from_utf8_lossy(&date.stdout).trim(),
        KERNELS[0].version
    );
    for outcome in outcomes {
        let failed = outcome.failed();
        let failed = if failed.is_empty() { "none".to_owned() } else { failed.join("; ") };
        page +=
            &format!("| {} | {} | {failed} | {} |\n", outcome.release, outcome.checks.len(), outcome.seconds);
    }
    page += "\n## What is checked\n\n";
    for (name, _) in outcomes.iter().flat_map(|outcome| &outcome.checks) {
        let line = format!("- {name}\n");
        if !page.contains(&line) {
            page += &line;
        }
    }
    let path = process::workspace().join("docs/bench/kernels.md");
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))
}
