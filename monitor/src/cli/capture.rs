//! `sluice capture`: frames with what was decided of each, into a pcapng file or as lines.
//!
//! It reaches the kernel past the daemon, so root runs it; the daemon only gives the names of services and the subject of a
//! finding.

mod filter;
mod output;
mod seen;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use datapath::Tap;
use ipnet::IpNet;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::context::Output;
use super::{Context, Execute, Exit, Failure, figures};
use api::schema::parse_prefix;
use monitor_common::capture::LONGEST_SNAP;
use monitor_common::verdict::Reason;
use policy::config;

use filter::Names;
use output::Frames;
use seen::Clocks;

/// How often the interfaces are looked at, and signals.
const LOOK: Duration = Duration::from_millis(200);

/// Captures frames that are dropped or would be, with the reason
///
/// Into a pcapng file, where each frame has its verdict as a comment, or as a line for each. Root runs it beside the daemon. It
/// ends at the first of its bounds; nothing of it stays in the kernel, and without it packets cost what they did.
#[derive(Clone, Debug, Args)]
pub struct Capture {
    /// Into this file, which must not be there yet; `-` is standard output; lines for people if left out
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    bounds: Bounds,
    /// The configuration of the daemon, for its pin directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the daemon pinned programs and maps
    #[arg(long, value_name = "DIRECTORY")]
    pin_directory: Option<PathBuf>,
}

/// Which frames.
#[derive(Clone, Debug, Default, Args)]
struct Select {
    /// Only those that are dropped, or only those that would be if their limit enforced [default: both]
    #[arg(long, value_enum, value_name = "WHICH")]
    only: Option<Only>,
    /// Of all that come in, one in so many as well
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// From sources within this prefix
    #[arg(long, value_parser = parse_prefix, value_name = "PREFIX")]
    source: Option<IpNet>,
    /// To this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// For this reason, as `sluice status` shows it; may be repeated
    #[arg(long, value_parser = filter::reason, value_name = "REASON")]
    reason: Vec<Reason>,
    /// From the subject of this finding
    #[arg(long, value_name = "NUMBER", conflicts_with = "source")]
    finding: Option<u64>,
    /// At this interface
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Dropped,
    WouldDrop,
}

/// When it ends, and how much it takes.
#[derive(Clone, Copy, Debug, Args)]
struct Bounds {
    /// Bytes of each frame; 128 hold the headers and little of what is said
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..=i64::from(LONGEST_SNAP)))]
    snap: u32,
    /// Frames per second at most; the rest is counted
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// End after so many frames
    #[arg(short, long, default_value_t = 100_000, value_name = "N")]
    number: u64,
    /// End after this time
    #[arg(long = "for", default_value = "1m", value_name = "TIME")]
    duration: config::Duration,
    /// End before the file grows beyond this
    #[arg(long, default_value = "64 MiB", value_name = "BYTES")]
    size: config::Bytes,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    frames: u64,
    bytes: u64,
    seconds: f64,
    /// Frames that the filter selected.
    selected: u64,
    over_rate: u64,
    lost: u64,
    ended_by: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Time,
    Number,
    Size,
    Signal,
}

impl Ended {
    const fn label(self) -> &'static str {
        match self {
            Self::Time => "the time is over",
            Self::Number => "the number is reached",
            Self::Size => "the size is reached",
            Self::Signal => "interrupted",
        }
    }
}

impl Execute for Capture {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let pins = filter::pin_directory(self.pin_directory.as_deref(), self.config.as_deref(), context)?;
        let names = Names::ask(&self.select, context)?;
        let ended = end_by_signal()?;
        let filter = names.filter(&self.select, &self.bounds, &pins)?;
        let mut tap = Tap::open(&pins, &filter).map_err(|error| Failure::of(&error))?;
        let mut frames = Frames::open(self.write.as_deref(), context.output, self.bounds.snap)?;
        let summary = run(&mut tap, &mut frames, &names, &self.bounds, &ended)?;
        frames.finish(summary.selected, summary.selected.saturating_sub(summary.frames))?;
        if self.write.is_some() && context.output == Output::Json && !frames.takes_standard_output() {
            return context.show(&summary, |_, _| ());
        }
        eprintln!("sluice: {summary}");
        Ok(())
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { frames, seconds, over_rate, lost, .. } = self;
        let (bytes, why) = (figures::bytes(self.bytes), self.ended_by.label());
        write!(f, "{frames} frames ({bytes}) in {seconds:.1} s, {why}")?;
        if over_rate + lost > 0 {
            write!(f, "; {over_rate} more were over the rate, {lost} found no room")?;
        }
        Ok(())
    }
}

fn run(
    tap: &mut Tap,
    frames: &mut Frames,
    names: &Names,
    bounds: &Bounds,
    ended: &AtomicBool,
) -> Result<Summary, Failure> {
    let begun = Instant::now();
    let clocks = Clocks::read()?;
    let mut by = None;
    while by.is_none() {
        tap.follow().map_err(|error| Failure::of(&error))?;
        let interfaces = tap.interfaces().clone();
        let left = bounds.duration.0.saturating_sub(begun.elapsed());
        let mut written = Ok(());
        tap.read(left.min(LOOK), |head, data| {
            if written.is_err() || by.is_some() {
                return;
            }
            if frames.bytes() + output::room(data.len()) > bounds.size.0 {
                by = Some(Ended::Size);
                return;
            }
            written = frames.take(&seen::Seen::new(head, data, names, &interfaces, &clocks));
            if frames.count() >= bounds.number {
                by = Some(Ended::Number);
            }
        })
        .map_err(|error| Failure::of(&error))?;
        written?;
        frames.flush()?;
        if ended.load(Ordering::Relaxed) {
            by = by.or(Some(Ended::Signal));
        } else if begun.elapsed() >= bounds.duration.0 {
            by = by.or(Some(Ended::Time));
        }
    }
    let progress = tap.progress().map_err(|error| Failure::of(&error))?;
    Ok(Summary {
        frames: frames.count(),
        bytes: frames.bytes(),
        seconds: begun.elapsed().as_secs_f64(),
        selected: progress.selected,
        over_rate: progress.over_rate,
        lost: progress.lost,
        ended_by: by.unwrap_or(Ended::Time),
    })
}

/// From now on the signals that end a program end the capture: the file is whole, and what was counted is said.
fn end_by_signal() -> Result<Arc<AtomicBool>, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("listen for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (mut terminate, mut interrupt) = {
        let _within = runtime.enter();
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?)
    };
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    });
    Ok(ended)
}
