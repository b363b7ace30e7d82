//! The tables of the file that are not about services, with their defaults.
//!
//! Plain data: strict in its keys, checked by `parse` as a whole.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use monitor_common::names::capacity;
use serde::{Deserialize, Serialize};

use super::{
    list::AccessList,
    service::Mode,
    sink::AlertSink,
    units::{self, Bytes, Duration, Rate},
};
use detection::finding::Severity;

/// `[interfaces]`: where to guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interfaces {
    /// Names and patterns (`veth*`, `enp?s0`). Empty: those with a default route.
    pub names: Vec<String>,
    pub mode: NativeMode,
    /// Follow what leaves as well (workload names, answers, containment).
    pub egress: bool,
    /// Judge and count, never drop, whatever the limits say.
    pub watch_only: bool,
}

impl Default for Interfaces {
    fn default() -> Self {
        Self { names: Vec::new(), mode: NativeMode::Native, egress: true, watch_only: false }
    }
}

/// `interfaces.mode`: how the program may attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NativeMode {
    /// In the driver, or not at all.
    #[default]
    Native,
    /// In the driver, else in the stack's generic hook (slow: a socket buffer is already spent).
    NativeOrGeneric,
}

/// `[source]`: what counts as one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    pub ipv4_prefix: u8,
    pub ipv6_prefix: u8,
}

impl Source {
    /// How many bits of `address` make a source. Link-local addresses of IPv6 all lie in one /64, which is the whole link:
    /// there, a source is its full address.
    pub const fn bits(&self, address: IpAddr) -> u8 {
        match address {
            IpAddr::V4(_) => self.ipv4_prefix,
            IpAddr::V6(address) if address.is_unicast_link_local() => 128,
            IpAddr::V6(_) => self.ipv6_prefix,
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self { ipv4_prefix: 32, ipv6_prefix: 64 }
    }
}

/// `[access]`: who is trusted, who is shut out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// The trust boundary: sources in here are of class `inside`, and their conversations are followed.
    #[serde(with = "super::prefix")]
    pub inside: Vec<IpNet>,
    /// Never dropped; still counted and judged.
    #[serde(with = "super::prefix")]
    pub exempt: Vec<IpNet>,
    /// Exempt where it comes through this interface; by the interface's name.
    #[serde(with = "super::prefix::by_name", skip_serializing_if = "BTreeMap::is_empty")]
    pub exempt_on: BTreeMap<String, Vec<IpNet>>,
    /// Exempt, inside, own and impossible sources from an interface that they cannot come through.
    pub reverse_path: Mode,
    /// Always dropped, unless exempt.
    #[serde(with = "super::prefix")]
    pub denied: Vec<IpNet>,
    /// Refuse changes that would cut the operator's own connection.
    pub operator_safe: bool,
    pub lists: Vec<AccessList>,
}

impl Default for Access {
    fn default() -> Self {
        const fn v4(a: u8, b: u8, bits: u8) -> IpNet {
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), bits))
        }
        const fn v6(first: u16, bits: u8) -> IpNet {
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), bits))
        }
        Self {
            inside: vec![
                v4(10, 0, 8),
                v4(172, 16, 12),
                v4(192, 168, 16),
                v4(169, 254, 16),
                v6(0xfc00, 7),
                v6(0xfe80, 10),
            ],
            exempt: Vec::new(),
            exempt_on: BTreeMap::new(),
            reverse_path: Mode::Observe,
            denied: Vec::new(),
            operator_safe: true,
            lists: Vec::new(),
        }
    }
}

/// `[[class]]`: sources that are treated alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: String,
    #[serde(with = "super::prefix")]
    pub prefixes: Vec<IpNet>,
}

/// `[malformed]`: frames that the rules for their source let pass, and that have something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Malformed {
    /// Cut short or contradictory: what Linux refuses itself.
    pub action: MalformedAction,
    /// IPv6 with more extension headers than are walked.
    pub extension_headers: MalformedAction,
    /// First fragments without their whole transport header, and later ones that begin within it.
    pub tiny_fragments: MalformedAction,
    /// More VLAN tags than are taken off.
    pub vlan_tags: MalformedAction,
    /// PPPoE sessions and MPLS.
    pub encapsulated: MalformedAction,
}

impl Default for Malformed {
    fn default() -> Self {
        Self {
            action: MalformedAction::Pass,
            extension_headers: MalformedAction::Drop,
            tiny_fragments: MalformedAction::Drop,
            vlan_tags: MalformedAction::Drop,
            encapsulated: MalformedAction::Drop,
        }
    }
}

/// `[fragments]`: later fragments whose first one was not seen. They fill the memory in which the host puts datagrams together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fragments {
    pub mode: Mode,
    /// Of one source.
    #[serde(deserialize_with = "units::counted::deserialize")]
    pub per_source: Rate,
    pub per_source_burst: u64,
    /// Of all sources together.
    #[serde(deserialize_with = "units::counted::deserialize")]
    pub total: Rate,
    pub total_burst: u64,
}

impl Default for Fragments {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            per_source: Rate::per_second(50),
            per_source_burst: 50,
            total: Rate::per_second(100),
            total_burst: 1000,
        }
    }
}

/// What is done with a kind of malformed frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MalformedAction {
    #[default]
    Pass,
    Drop,
}

/// `[flood]`: when new sources come too fast to know each. Rates are per interface and CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flood {
    /// New sources that enter the exact table before flood mode begins.
    #[serde(deserialize_with = "units::counted::deserialize")]
    pub new_sources: Rate,
    /// New sources at once.
    pub burst: u64,
    /// How long flood mode outlasts the last new source over the budget.
    pub hold: Duration,
    /// How long before a flood a source must have been seen to count as known.
    pub known_after: Duration,
    /// Heavy sources that may enter the exact table during flood mode.
    #[serde(deserialize_with = "units::counted::deserialize")]
    pub heavy_sources: Rate,
    pub heavy_burst: u64,
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            new_sources: Rate::per_second(2000),
            burst: 4000,
            hold: Duration::from_secs(10),
            known_after: Duration::from_secs(10),
            heavy_sources: Rate::per_second(500),
            heavy_burst: 500,
        }
    }
}

/// `[conversations]`: who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conversations {
    pub track: Track,
    /// Time between two records of a lasting conversation.
    pub active_timeout: Duration,
    /// Reported packets outside conversations, per CPU.
    #[serde(deserialize_with = "units::counted::deserialize")]
    pub observations: Rate,
    pub observations_burst: u64,
}

impl Default for Conversations {
    fn default() -> Self {
        Self {
            track: Track::Inside,
            active_timeout: Duration::from_secs(5),
            observations: Rate::per_second(5000),
            observations_burst: 10_000,
        }
    }
}

/// `conversations.track`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Track {
    Off,
    /// Conversations with at least one inside end.
    #[default]
    Inside,
    /// Every conversation (mirror ports, replay).
    All,
}

/// `[heartbeat]`: what the kernel does when the daemon falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    pub timeout: Duration,
    pub when_stale: WhenStale,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), when_stale: WhenStale::Keep }
    }
}

/// `heartbeat.when_stale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenStale {
    /// Limits stay as they are.
    #[default]
    Keep,
    /// Every limit only observes until the daemon is back.
    Observe,
}

/// `[capacity]`: sizes of the kernel's tables, fixed at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capacity {
    /// A multiple of eight. A source finds no place when its two sets of eight are full, which begins at seven tenths.
    pub sources: u32,
    /// Cells per row of the sketch, a power of two.
    pub sketch_cells: u32,
    pub bans: u32,
    pub conversations: u32,
    pub services: u32,
    /// Distinct ways to match a service (destinations times precisions), per generation.
    pub rules: u32,
    /// Distinct limits, per generation.
    pub limits: u32,
    /// Nodes of the prefix tree, per generation.
    pub prefix_nodes: u32,
    pub denials: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            sources: capacity::SOURCES,
            sketch_cells: capacity::SKETCH_CELLS,
            bans: capacity::BANS,
            conversations: capacity::CONVERSATIONS,
            services: capacity::SERVICES,
            rules: capacity::RULES,
            limits: capacity::LIMITS,
            prefix_nodes: capacity::PREFIX_NODES,
            denials: capacity::DENIALS,
        }
    }
}

/// `[control]`: the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    pub socket: PathBuf,
    /// Members may read. Absent: only root and the daemon's own user.
    pub viewer_group: Option<String>,
    /// Members may change limits, bans and access.
    pub operator_group: Option<String>,
    /// Members may detach, stop and reload.
    pub admin_group: Option<String>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/sluice/control.sock"),
            viewer_group: None,
            operator_group: None,
            admin_group: None,
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A filter as in `info` or `info,monitor::engine=debug`.
    pub level: String,
    pub format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Text }
    }
}

/// `log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// `[alerts]`: who is told of findings, besides the log and `sluice alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Where each finding is posted as JSON; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// A file with the secret that requests are signed with; absent: they are not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Findings below this are not posted.
    pub webhook_severity: Severity,
    /// Further receivers.
    #[serde(rename = "sink", skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<AlertSink>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            webhook: None,
            webhook_secret_file: None,
            webhook_severity: Severity::Warning,
            sinks: Vec::new(),
        }
    }
}

/// `[state]`: what outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    pub directory: PathBuf,
    /// What the store may grow to; the oldest closed findings go first, then the oldest changes.
    pub store_size: Bytes,
    /// What the files of the audit may grow to together.
    pub audit_size: Bytes,
}

impl Default for State {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/sluice"),
            store_size: Bytes(256 << 20),
            audit_size: Bytes(32 << 20),
        }
    }
}

/// `[bpf]`: the kernel side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bpf {
    /// Pins stand in `v<layout>` below it.
    pub pin_directory: PathBuf,
    pub log_level: BpfLog,
}

impl Default for Bpf {
    fn default() -> Self {
        Self { pin_directory: PathBuf::from("/sys/fs/bpf/sluice"), log_level: BpfLog::Off }
    }
}

/// `bpf.log_level`: diagnostics of the kernel programs; what is off is pruned at load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BpfLog {
    #[default]
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
