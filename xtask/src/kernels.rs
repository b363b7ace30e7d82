//! `cargo xtask kernels`: the same binaries on other kernels, each in a machine that qemu emulates.
//!
//! In: a build, and Debian's kernel packages. Out: failure if any check on any kernel failed; with `--record` the result is
//! kept in `docs/bench/kernels.md`. Frames go over a tap in a network namespace that is made and removed here.

mod archive;
mod image;
mod machine;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{process, setup};

#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// Every kernel of the list, instead of the oldest that is supported
    #[arg(long)]
    all: bool,
    /// Only the kernel of this version, as in 6.12
    #[arg(long, conflicts_with = "all")]
    only: Option<String>,
    /// Keep the result in docs/bench/kernels.md
    #[arg(long)]
    record: bool,
}

/// A kernel of the matrix.
struct Kernel {
    version: &'static str,
    /// The release of Debian whose package it is.
    suite: &'static str,
    egress: Egress,
}

/// How the egress of an interface is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Egress {
    Tcx,
    /// Before Linux 6.6.
    Clsact,
    /// Not at all: the kernel is not supported, and the daemon must say so in one sentence.
    Refused,
}

impl Egress {
    /// What the machine's script is told of it on the kernel's command line.
    const fn told(self) -> &'static str {
        match self {
            Self::Tcx => "sluice.egress=tcx",
            Self::Clsact => "sluice.egress=clsact",
            Self::Refused => "sluice.egress=refused",
        }
    }
}

const KERNELS: [Kernel; 3] = [
    Kernel { version: "6.1", suite: "bookworm", egress: Egress::Clsact },
    Kernel { version: "6.12", suite: "trixie", egress: Egress::Tcx },
    Kernel { version: "5.10", suite: "bullseye", egress: Egress::Refused },
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
    setup::ensure(setup::Scope::Test)?;
    let binaries = image::binaries()?;
    let mut outcomes = Vec::new();
    for kernel in chosen(arguments)? {
        outcomes.push(run(kernel, &binaries).with_context(|| format!("try Linux {}", kernel.version))?);
    }
    if arguments.record {
        record(&outcomes)?;
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

fn run(kernel: &Kernel, binaries: &[PathBuf]) -> Result<Outcome> {
    let start = Instant::now();
    let unpacked = archive::kernel(kernel.suite)?;
    let image = image::build(&unpacked, binaries)?;
    let mut outcome = machine::run(&unpacked, &image, kernel.egress.told())?;
    outcome.seconds = start.elapsed().as_secs();
    Ok(outcome)
}

const PAGE: &str = "docs/bench/kernels.md";

/// Puts the rows of a run into the page, in place of earlier ones of the same release.
fn record(outcomes: &[Outcome]) -> Result<()> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M"]).output().context("ask for the date")?;
    let date = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let path = process::workspace().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
    fs::write(&path, with_rows(&page, outcomes, &date)).with_context(|| format!("write {PAGE}"))
}

/// The page with a row for each outcome below its table's heading.
fn with_rows(page: &str, outcomes: &[Outcome], date: &str) -> String {
    let is_of = |line: &str, outcome: &Outcome| line.starts_with(&format!("| {} |", outcome.release));
    let mut lines: Vec<String> = page
        .lines()
        .filter(|line| !outcomes.iter().any(|outcome| is_of(line, outcome)))
        .map(str::to_owned)
        .collect();
    let below = lines.iter().position(|line| line.starts_with("|---")).map_or(lines.len(), |line| line + 1);
    let rows = outcomes.iter().map(|outcome| {
        let failed = outcome.failed();
        let failed = if failed.is_empty() { "none".to_owned() } else { failed.join("; ") };
        let Outcome { release, checks, seconds } = outcome;
        format!("| {release} | {date} | {} | {failed} | {seconds} |", checks.len())
    });
    lines.splice(below..below, rows);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::{Outcome, with_rows};

    #[test]
    fn a_run_takes_the_place_of_an_earlier_one_of_its_kernel() {
        let outcome = |passed| Outcome {
            release: "6.1.0".to_owned(),
            checks: vec![("attach".to_owned(), true), ("detach".to_owned(), passed)],
            seconds: 9,
        };
        let page = "# K\n\n| kernel | run | checks | failed | s |\n|---|---|---|---|---|\n| 6.12.1 | d | 3 | none | 4 |\n\nEnd.\n";
        let once = with_rows(page, &[outcome(false)], "d1");
        assert!(
            once.contains("|---|---|---|---|---|\n| 6.1.0 | d1 | 2 | detach | 9 |\n| 6.12.1 |"),
            "{once}"
        );
        let twice = with_rows(&once, &[outcome(true)], "d2");
        assert!(twice.contains("| 6.1.0 | d2 | 2 | none | 9 |") && !twice.contains("d1"), "{twice}");
        assert!(twice.contains("| 6.12.1 | d | 3 | none | 4 |\n\nEnd.\n"), "{twice}");
    }
}
