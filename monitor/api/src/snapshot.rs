//! What the kernel knew at one instant, and what the daemon made of it: plain data, published once a second.
//!
//! In: nothing. Out: values that metrics, control, detection and tuning read. It never reads a map, keeps no history and
//! names no kernel layout; rates are computed by the engine from two consecutive reads.

mod findings;
mod limits;
mod lists;
mod store;

use std::net::IpAddr;

pub use findings::{FindingCount, Findings, Memory};
pub use limits::{AutomaticAggregate, LimitInForce, ProposedLimit, RateAndBurst, Tuning};
pub use lists::ListState;
pub use store::StoreState;

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::verdict::Reason;
use policy::config::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

pub use crate::posture::Spoken;

/// Everything that is known at [`Snapshot::at`]. Counters only grow while the maps live (also across restarts).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    pub at: Timestamp,
    /// When this process began to guard.
    pub started: Timestamp,
    pub build: Build,
    /// Everything passes, whatever the rules say.
    #[serde(default)]
    pub panic: Option<Panic>,
    pub interfaces: Vec<Interface>,
    /// Interfaces that receive packets which no guarded interface sees, by the last look.
    #[serde(default)]
    pub unguarded: Vec<Unguarded>,
    pub services: Vec<Service>,
    /// Only rows that are not zero.
    pub totals: Vec<Total>,
    /// Requests and handshakes of services that limit them; only rows that are not zero.
    #[serde(default)]
    pub requests: Vec<Requests>,
    #[serde(default)]
    pub connections: Vec<ServiceConnections>,
    #[serde(default)]
    pub spoken: Vec<Spoken>,
    pub maps: Vec<MapUse>,
    /// One row per [`monitor_common::record::Incident`], in its order; labels as there.
    pub incidents: Vec<Tally>,
    /// One row per kind of malformed frame, in the order of [`monitor_common::parse::Malformed`].
    pub malformed: Vec<Tally>,
    /// Events that reached the daemon, by kind.
    pub events: Vec<Tally>,
    pub rules: Rules,
    pub sources: Sources,
    /// The newest bans in force, a thousand at most, the last one first; `sluice access list` has all.
    pub bans: Vec<Ban>,
    /// How many bans are in force. With more than 8,192 in the table, they are counted a part every second.
    #[serde(default)]
    pub banned: BanCounts,
    /// Containments in force.
    pub containments: u64,
    pub limits: Vec<LimitInForce>,
    pub findings: Findings,
    pub reload: Reload,
    /// How findings reach their receivers.
    #[serde(default)]
    pub sinks: Vec<SinkState>,
    /// Lists of the configuration.
    #[serde(default)]
    pub lists: Vec<ListState>,
    /// A change that is taken back unless it is confirmed in time.
    pub pending: Option<Pending>,
    pub tuning: Tuning,
    pub process: Process,
    #[serde(default)]
    pub confinement: Confinement,
    #[serde(default)]
    pub store: StoreState,
    #[serde(default)]
    pub audit: Audit,
    /// How long the last read of the maps took.
    pub read_seconds: f64,
    /// What is wrong right now, one sentence each; empty when all is well.
    pub problems: Vec<String>,
}

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    pub version: String,
    /// Version of the kernel layouts; part of the pin directory's name.
    pub layout: u32,
    /// The compiler of the kernel side.
    pub compiler: String,
}

/// The audit: its newest entry, and what could not be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// The newest entry on the disk; 0 when there is none.
    pub number: u64,
    /// Its SHA-256.
    pub sha256: String,
    pub bytes: u64,
    /// What its files may grow to.
    #[serde(default)]
    pub most_bytes: u64,
    /// Entries that this process wrote.
    pub written: u64,
    /// Entries that wait for the disk.
    pub waiting: u64,
    /// Entries that found no room while they waited.
    pub lost: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Those of them that have no entry of their own, for their number.
    pub unlisted: u64,
}

/// `sluice panic on`, until somebody switches it off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Panic {
    pub since: Timestamp,
    pub made_by: String,
}

/// One receiver of findings, since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkState {
    pub name: String,
    pub waiting: u64,
    pub delivered: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// What nobody took in time, and what the queue could not hold.
    pub lost: u64,
    /// Why the last attempt failed; null after one that did not.
    pub failing: Option<String>,
}

/// What the daemon itself costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    pub resident_bytes: u64,
    pub cpu_seconds: f64,
    pub open_files: u64,
    #[serde(default)]
    pub virtual_bytes: u64,
    #[serde(default)]
    pub threads: u64,
    /// How many files it may open.
    #[serde(default)]
    pub most_files: u64,
    /// When the process was started, in seconds of Unix time.
    #[serde(default)]
    pub started_seconds: f64,
}

/// What the kernel keeps the daemon from, whatever it is made to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Confinement {
    /// The user that it runs as.
    pub user: String,
    pub uid: u32,
    /// It holds no capability, and can gain none.
    pub no_capabilities: bool,
    /// Nobody but root reads its memory.
    pub not_dumpable: bool,
    /// The version of Landlock that lets it write in its own places only; null when nothing does.
    pub landlock: Option<u32>,
    /// It can make only the system calls that it needs.
    pub seccomp: bool,
    /// What could not be had, one sentence each.
    pub missing: Vec<String>,
}

/// One interface that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    pub name: String,
    /// The number under which the kernel counts it; 1...
    pub slot: u32,
    /// 0 while it is absent.
    pub ifindex: u32,
    pub mode: AttachMode,
    /// Whether egress is followed (tcx).
    pub egress: bool,
    pub flood: Flood,
    /// Why it is not guarded, if it is not.
    pub problem: Option<String>,
    /// What it is guarded for: members of the bond that it is, VLANs that it carries.
    #[serde(default)]
    pub stands_for: Vec<String>,
}

/// An interface that is up and receives packets without a guard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unguarded {
    pub name: String,
    pub packets_per_second: f64,
}

/// How an interface is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachMode {
    /// XDP in the driver.
    Native,
    /// XDP after the socket buffer: works everywhere, costs more.
    Generic,
    /// Listed but not there, or not attachable (see [`Interface::problem`]).
    Absent,
}

impl AttachMode {
    pub const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Absent];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Absent => "absent",
        }
    }
}

/// Flood mode of one interface: new sources come faster than the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flood {
    pub active: bool,
    pub since: Option<Timestamp>,
    pub floods: u64,
}

/// A service by its stable number; number 0 is `default`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    pub number: u32,
    pub name: String,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// How packets of one interface and service ended for one reason, over all CPUs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Total {
    pub interface: String,
    pub service: String,
    #[serde(with = "reason")]
    #[schemars(with = "schema::ReasonLabel")]
    pub reason: Reason,
    pub ended: Count,
    /// What an observing limit would have dropped for this reason; these packets also stand under how they ended.
    pub would_drop: Count,
    /// Packets per second since the snapshot before.
    pub ended_per_second: f64,
    pub would_drop_per_second: f64,
}

/// What became of the requests or handshakes to a service, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    pub service: String,
    /// `requests` or `handshakes`.
    pub dimension: String,
    pub passed: u64,
    /// Refused attempts: what its client sends again and is refused again counts again.
    pub dropped: u64,
    /// What an observing limit would have refused; these stand under `passed` too.
    pub would_drop: u64,
}

/// The connections to a service that has them followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceConnections {
    pub service: String,
    /// What becomes of connections whose first data is not encrypted.
    pub encryption: Mode,
    /// Open now.
    pub open: u64,
    /// Since the service is followed: those whose first data was encrypted, and those whose was not.
    pub encrypted: u64,
    pub in_clear: u64,
}

/// How full a map is. `entries` is unknown for arrays and rings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapUse {
    pub name: String,
    pub entries: Option<u64>,
    pub capacity: u64,
}

/// A counter with its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    pub label: String,
    pub count: u64,
}

/// The rules that judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rules {
    /// 0 or 1.
    pub generation: u32,
    /// Atomic changes since the maps were made.
    pub flips: u32,
}

/// The exact table in short. The engine keeps the whole of it for `sluice sources`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sources {
    /// Entries (a source at a service is one).
    pub tracked: u64,
    /// Entries that are over their limit now.
    pub exceeding: u64,
    /// The first [`TOP`] by packets per second, by drops per second, and by bytes per second.
    pub by_rate: Vec<Source>,
    pub by_drops: Vec<Source>,
    pub by_bytes: Vec<Source>,
}

/// Length of the lists in [`Sources`].
pub const TOP: usize = 20;

/// One source at one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The aggregated address: IPv4 /32 and IPv6 /64 unless configured otherwise.
    #[schemars(with = "schema::Prefix")]
    pub source: IpNet,
    pub service: String,
    pub class: String,
    pub interface: String,
    pub total: Count,
    pub dropped: Count,
    pub would_drop: Count,
    pub connections: u64,
    pub packets_per_second: f64,
    pub bytes_per_second: f64,
    pub dropped_per_second: f64,
    pub would_drop_per_second: f64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub exceeding: bool,
    /// Systemd unit, container or path of a local sender, once known.
    pub workload: Option<String>,
}

/// Bans in force by who made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BanCounts {
    pub by_kernel: u64,
    pub by_operator: u64,
}

impl BanCounts {
    pub const fn all(&self) -> u64 {
        self.by_kernel + self.by_operator
    }
}

/// A banned source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ban {
    #[schemars(with = "schema::Prefix")]
    pub source: IpNet,
    pub since: Timestamp,
    /// `None`: for ever.
    pub until: Option<Timestamp>,
    pub dropped: Count,
    pub strikes: u32,
    /// Who made it: `kernel` (violations at `service`) or the name of the caller.
    pub made_by: String,
    pub service: Option<String>,
    pub comment: Option<String>,
}

/// What became of the last (re)load of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reload {
    pub at: Timestamp,
    /// The last one that was taken over.
    pub succeeded_at: Option<Timestamp>,
    pub error: Option<String>,
    pub successes: u64,
    pub failures: u64,
    /// The file, or `None` for the embedded default.
    pub path: Option<String>,
}

/// A change that waits for `sluice confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pending {
    /// Its number in `sluice history`.
    pub change: u64,
    pub summary: String,
    /// When it is taken back.
    pub until: Timestamp,
    pub made_by: String,
}

/// The name of the address as people write it: IPv4 unmapped.
pub fn address_of(bytes: monitor_common::flow::Address) -> IpAddr {
    std::net::Ipv6Addr::from(bytes).to_canonical()
}

mod reason {
    //! A reason travels as its label.
    use monitor_common::verdict::Reason;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub fn serialize<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(reason.label())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
        let label = String::deserialize(deserializer)?;
        let known = Reason::ALL.iter().find(|reason| reason.label() == label);
        known.copied().ok_or_else(|| D::Error::custom(format!("no reason is called {label:?}")))
    }
}
