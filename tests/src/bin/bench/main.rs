//! What a packet costs: sluice beside reference programs, each ratio from one interleaved run.
//!
//! With `--accuracy`, how exact the limiter is. Else nanoseconds per packet come from test runs through a wrapper that
//! varies the source; the floor (the wrapper with an immediate drop behind it) is taken off. Rounds go over all cases in
//! turn; the median of the rounds counts, beside the quickest one and the lower quartile.

mod accuracy;
mod cases;
mod goals;
mod image;
mod live;
mod machine;
mod memory;
mod reference;
mod report;
mod scale;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use datapath::{Datapath, Options, Status};

use machine::Machine;
use monitor_tests::harness::processor;
use report::{Cell, Format, Report, Section};

#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// How often all cases are run in turn; 25 unless live, then 3
    #[arg(long)]
    rounds: Option<usize>,
    /// Measure how exact the limiter is instead of what it costs
    #[arg(long)]
    accuracy: bool,
    /// Measure what floods do to honest clients, live between private namespaces; takes minutes
    #[arg(long, conflicts_with = "accuracy")]
    live: bool,
    /// Measure what a million rules and sources cost the daemon; takes minutes
    #[arg(long, conflicts_with_all = ["accuracy", "live"])]
    scale: bool,
    /// Live, only the cells whose name contains this
    #[arg(long, requires = "live", conflicts_with = "keep")]
    only: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write what was measured to the page and the TSV of this folder, too
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The version of the source that was built
    #[arg(long)]
    revision: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = Machine::here(arguments.revision);
    processor::prefer_this_session();
    let reports = if arguments.accuracy {
        vec![accuracy::run(machine)?]
    } else if arguments.scale {
        vec![scale::run(machine)?]
    } else if arguments.live {
        vec![live::run(machine, arguments.rounds.unwrap_or(3), arguments.only.as_deref())?]
    } else {
        datapath(&machine, arguments.rounds.unwrap_or(25))?
    };
    print!("{}", report::text(&reports, arguments.format));
    if let Some(directory) = arguments.keep {
        reports.iter().try_for_each(|report| report.keep(&directory))?;
    }
    Ok(())
}

/// What packets cost, and what the loaded kernel side takes.
fn datapath(machine: &Machine, rounds: usize) -> Result<Vec<Report>> {
    let pins = PathBuf::from(format!("/sys/fs/bpf/sluice-bench-{}", std::process::id()));
    let outcome = measure(&pins, rounds);
    if let Err(error) = datapath::unload_pinned(&pins) {
        eprintln!("remove {}: {error:#}", pins.display());
    }
    let (measured, status, sweeping) = outcome?;
    let columns =
        ["program", "frame", "sources", "prefixes", "least", "quartile", "median", "above the floor"];
    let mut figures = Section::new("figures", &columns);
    for (case, spread) in &measured.0 {
        figures.row([
            Cell::text(case.program),
            Cell::text(case.kind.label()),
            Cell::text(case.label()),
            Cell::text(if case.loaded { "11,000" } else { "few" }),
            Cell::number(spread.least, 0),
            Cell::number(spread.quartile, 0),
            Cell::number(spread.median, 0),
            Cell::number(measured.above_floor(*case)?, 0),
        ]);
    }
    let goals = goals::section(&goals::of_datapath(&measured)?);
    let sections = vec![figures, goals];
    Ok(vec![
        Report { page: "datapath", machine: machine.clone(), rounds, sections },
        memory::report(machine.clone(), &status, sweeping),
    ])
}

/// Stays on one CPU, as a queue of a network card does: an entry belongs to the CPU that made it.
fn stay() -> Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &cpus).context("stay on one CPU")
}

fn measure(pins: &Path, rounds: usize) -> Result<(cases::Measured, Status, Section)> {
    stay()?;
    let mut datapath = Datapath::open(&Options { pin_directory: pins.to_owned(), ..Options::default() })?;
    let mut reference = reference::Reference::load()?;
    let measured = cases::run(&mut datapath, &mut reference, pins, rounds)?;
    Ok((measured, datapath.status()?, memory::sweeping(&datapath)))
}
