//! The one owner of everything that can change: datapath, policy, detection and tuning.
//!
//! In: commands over a channel, kernel events, ticks. Out: answers, and a snapshot a second. It runs on a thread of its
//! own, because reading maps and writing the store block; no caller ever waits for a tick.

mod access;
mod alert_log;
mod alerts;
mod answer;
mod change;
pub mod command;
mod containment;
mod dangers;
mod defend;
pub mod delta;
mod detect;
pub mod escape;
mod explain;
mod flows;
pub mod handle;
mod import;
mod install;
pub mod kernel;
pub mod last_good;
mod limits;
pub mod links;
mod lists;
mod observe;
pub mod operators;
mod parts;
pub mod refusal;
mod reload;
mod run;
mod sources;
pub mod start;
mod supervise;
#[cfg(test)]
mod tests;
mod tune;
mod webhook;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

pub use handle::Handle;
pub use parts::Parts;
pub use run::{Ended, Pulse};
pub use start::Start;

use crate::snapshot::{self, Snapshot};
use crate::store::{self, Store};
use command::Request;
use delta::{ConfigSetting, Standing};
use kernel::{Guarded, Kernel};
use policy::{Image, Rules};
use sources::SourceTable;
use tuning::Tuner;

/// Everything that can change, in one place.
pub struct Engine {
    kernel: Box<dyn Kernel>,
    store: Store,
    /// What was decided.
    standing: Standing,
    /// The text behind `standing.rules.config`.
    config: ConfigSetting,
    /// The file that a reload reads, if one was named.
    path: Option<PathBuf>,
    /// What the kernel was last told, and the rules it was made from: those above and the exempt sessions.
    image: Image,
    judging: Option<Rules>,
    /// What the kernel's table of containments holds.
    written: containment::Written,
    /// The names of the guarded interfaces, in the order of their rows.
    wanted: Vec<String>,
    guarded: Vec<Guarded>,
    sources: SourceTable,
    measured: observe::Measured,
    reload: snapshot::Reload,
    pending: Option<Waiting>,
    watch: detect::Watch,
    tuner: Tuner,
    /// When what was learned was last kept.
    learned_at: Timestamp,
    /// When the store last forgot what is old; nothing before the first time.
    pruned_at: Option<Timestamp>,
    loads: defend::Loads,
    /// Sessions of operators that gave a command, as long as they last: exempt while `access.operator_safe` holds.
    operators: Vec<IpAddr>,
    /// Addresses that an operator cut off although asked twice.
    unprotected: BTreeSet<IpAddr>,
    /// What went wrong lately, by what it concerns.
    problems: BTreeMap<&'static str, String>,
    /// The same of what works beside the engine.
    parts: Parts,
    network: fn() -> anyhow::Result<links::Neighbourhood>,
    kept: last_good::Kept,
    started: Timestamp,
    requests: mpsc::Receiver<Request>,
    publish: watch::Sender<Arc<Snapshot>>,
    ending: Option<Ended>,
}

/// The change that waits for its confirmation.
struct Waiting {
    pending: store::Pending,
    what: String,
    made_by: String,
    /// What the store is to keep once it is confirmed.
    delta: delta::Delta,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("guarded", &self.guarded).finish_non_exhaustive()
    }
}

/// How often the kernel is read and the snapshot published.
const TICK: Duration = Duration::from_secs(1);
/// How often the rings are emptied.
const DRAIN: Duration = Duration::from_millis(100);
/// How often interfaces, addresses and clocks are looked at even when nobody told of a change.
const LOOK: Duration = Duration::from_secs(30);
