//! The turns of the switch of `sluice panic`, in a file of the state directory: the daemon writes it, and root without one.
//!
//! In: steps. Out: the same after a reboot. It needs nothing but the directory: no store, no configuration.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;

use super::{last_good, regular};
use crate::core::delta::Flags;
use crate::core::panic::Step;
use api::Origin;
use policy::config::{Bpf, Config};

const FILE: &str = "panic.json";
/// A larger file is not ours.
const LARGEST: u64 = 1 << 20;

/// What `directory` holds; none without a file.
pub fn read(directory: &Path) -> Result<Vec<Step>> {
    let path = directory.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = regular::read(&path, LARGEST).map_err(|why| anyhow!(why))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))
}

/// Whether it was left on. Where the file cannot be read, the kernel's own switch decides.
pub fn is_on(directory: &Path) -> bool {
    match read(directory) {
        Ok(steps) => steps.last().is_some_and(|step| step.on),
        Err(error) => {
            tracing::error!("panic: {error:#}");
            false
        }
    }
}

pub fn write(directory: &Path, steps: &[Step]) -> Result<()> {
    last_good::write(&directory.join(FILE), &steps)?;
    let opened = fs::File::open(directory).and_then(|held| Ok(rustix::fs::fsync(held.as_fd())?));
    opened.with_context(|| format!("write {}", directory.display()))
}

/// What became of a turn without the daemon.
#[derive(Debug)]
pub struct Turned {
    /// The kernel holds maps of a daemon, and they are switched.
    pub in_kernel: bool,
    /// Where the next start reads it, or why it will not.
    pub kept: Result<PathBuf, String>,
}

/// Turns the switch in the pinned maps and in the state directory. The kernel comes first: whatever fails then, it holds.
pub fn turn(config: Option<&Path>, flags: &Flags, on: bool) -> Result<Turned> {
    let places = Places::of(config, flags);
    let in_kernel = datapath::pass_everything_in(&places.pins, on)?;
    let origin = Origin::Direct {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        pid: rustix::process::getpid().as_raw_nonzero().get(),
    };
    let step = Step { on, at: Timestamp::now(), origin: Some(origin), user: None, recorded: false };
    Ok(Turned { in_kernel, kept: keep(&places.state, step) })
}

fn keep(directories: &[PathBuf], step: Step) -> Result<PathBuf, String> {
    let there = directories.iter().find(|directory| directory.is_dir());
    let directory = there.ok_or("there is no state directory of a daemon")?;
    let mut steps = read(directory).unwrap_or_default();
    steps.push(step);
    write(directory, &steps).map_err(|error| format!("{error:#}"))?;
    Ok(directory.join(FILE))
}

/// Where a daemon keeps what it keeps, as far as its configuration can be read.
struct Places {
    pins: PathBuf,
    state: Vec<PathBuf>,
}

impl Places {
    fn of(config: Option<&Path>, flags: &Flags) -> Self {
        let read = super::read_configuration(config, flags.clone()).map(|setting| setting.toml);
        let text = read.unwrap_or_default();
        let whole = Config::parse(&text, "").ok();
        let named = whole.map_or_else(
            || last_good::named(&text, "bpf", "pin_directory"),
            |config| Some(config.bpf.pin_directory),
        );
        let pins = flags.pin_directory.clone().or(named).unwrap_or_else(|| Bpf::default().pin_directory);
        Self { pins, state: last_good::directories(&text) }
    }
}
