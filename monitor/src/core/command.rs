//! The public interface of the engine: what can be asked of it, by whom, and what comes back.
//!
//! In: a [`Request`] over a channel. Out: one typed answer through the command's [`Reply`], or a [`Refusal`]. The state of
//! things is not asked for here: it is published (`Handle::snapshot`). Nothing here does anything.

pub mod containment;
pub mod explanation;
pub mod insight;
pub mod tuning;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::origin::Origin;
use super::refusal::Refusal;
use crate::snapshot::{Ban, LimitInForce, Source};
pub use detection::parameters::Silence;
use ipnet::IpNet;
use jiff::Timestamp;
use policy::LimitKind;
use policy::config::{Mode, Rate};
use serde::{Deserialize, Serialize};

pub use ::tuning::Aim;
pub use containment::{ContainmentList, ContainmentSet};
pub use explanation::{BucketLevel, ExplainedService, Explanation};
pub use insight::{
    Alert, AlertQuery, AlertState, Flow, FlowEnd, FlowList, FlowOutcome, FlowQuery, Graph, GraphEdge,
    LocalSender,
};
pub use tuning::{TuneList, TuneQuery, TuneTarget, Tuned};

/// Where the answer goes. A caller that went away is no error.
pub struct Reply<T>(Box<dyn FnOnce(Result<T, Refusal>) + Send>);

impl<T> Reply<T> {
    /// `take` must not block.
    pub fn new(take: impl FnOnce(Result<T, Refusal>) + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    pub fn send(self, answer: Result<T, Refusal>) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// One command with who asks and how.
#[derive(Debug)]
pub struct Request {
    pub caller: Caller,
    pub options: ChangeOptions,
    pub command: Command,
}

/// Who asks, for the audit and for the lockout guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
    pub role: Role,
    /// The far end of the caller's own SSH connection (its `SSH_CONNECTION`), never cut without being asked twice.
    pub ssh_peer: Option<IpAddr>,
}

impl Caller {
    /// The daemon itself: signals, timers, automatic tuning.
    pub const DAEMON: Self = Self { uid: 0, gid: 0, pid: 0, role: Role::Admin, ssh_peer: None };
}

/// What a caller may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes limits, bans and access.
    Operator,
    /// Reloads, stops, detaches.
    Admin,
}

impl Role {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// How a change is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChangeOptions {
    /// Keep it over restarts (as an override in the store; the configuration file is never written).
    pub save: bool,
    /// Take it back after this time unless it is confirmed.
    pub confirm_within_seconds: Option<u64>,
    /// The caller was warned and asks again: override [`super::refusal::Code::NeedsConfirmation`].
    pub yes: bool,
}

impl ChangeOptions {
    pub fn confirm_within(&self) -> Option<Duration> {
        self.confirm_within_seconds.map(Duration::from_secs)
    }
}

/// Everything the engine can be asked.
#[derive(Debug)]
pub enum Command {
    /// The exact table, filtered and sorted. Viewer.
    Sources(SourceQuery, Reply<SourceList>),
    /// Why an address is treated as it is. Viewer.
    Explain(IpAddr, Reply<Explanation>),
    /// Every limit as it holds now. Viewer.
    LimitList(Reply<Vec<LimitInForce>>),
    /// Sets rates or mode of one limit; what is not named stays. Operator.
    LimitSet(LimitSet, Reply<Applied>),
    /// Takes one limit back to what the configuration says, or removes it. Operator.
    LimitUnset(LimitTarget, Reply<Applied>),
    /// Exempts, denies or bans a prefix. Operator.
    AccessAdd(AccessAdd, Reply<Applied>),
    /// Exempts or denies a whole list of prefixes as one change. Operator.
    AccessImport(AccessImport, Reply<Applied>),
    /// Takes back an exemption, a denial or a ban. Operator.
    AccessRemove(AccessTarget, Reply<Applied>),
    /// Exemptions, denials and bans. Viewer.
    AccessList(Reply<AccessList>),
    /// Reads the configuration anew. Admin.
    Reload(Reply<Applied>),
    /// Ends the daemon; the kernel keeps protecting. Admin.
    Stop(Reply<()>),
    /// Removes programs, maps and pins, and ends the daemon. Admin.
    Detach(Reply<()>),
    /// The configuration in force. Viewer.
    ConfigShow(Reply<ConfigText>),
    /// Keeps the change that waits for it. Operator.
    Confirm(Option<u64>, Reply<Applied>),
    /// The newest changes first, at most this many. Viewer.
    History(HistoryQuery, Reply<Vec<Change>>),
    /// Undoes one change of the history. Operator.
    Revert(u64, Reply<Applied>),
    /// Findings, newest first. Viewer.
    AlertList(AlertQuery, Reply<Vec<Alert>>),
    /// One finding. Viewer.
    AlertShow(u64, Reply<Alert>),
    /// Closes a finding by hand. Operator.
    AlertClose(u64, Reply<Alert>),
    /// Keeps findings quiet: they are still counted and kept. Operator.
    AlertSilence(Silence, Reply<Applied>),
    /// Conversations as they stand. Viewer.
    Flows(FlowQuery, Reply<FlowList>),
    /// Who talks to whom. Viewer.
    Graph(Reply<Graph>),
    /// What tuning proposes, beside what holds. Viewer.
    TuneShow(TuneQuery, Reply<TuneList>),
    /// Puts a proposal on trial beside the limit in force. Operator.
    TuneTry(TuneTarget, Reply<Applied>),
    /// Ends a trial. Operator.
    TuneEnd(TuneTarget, Reply<Applied>),
    /// Puts a proposal in force. Operator.
    TuneApply(TuneTarget, Reply<Applied>),
    /// Forgets what was learned of a service. Operator.
    TuneForget(String, Reply<Applied>),
    /// Cuts off or limits one source or one workload. Operator.
    Contain(ContainmentSet, Reply<Applied>),
    /// Takes a containment back; names its subject. Operator.
    Lift(String, Reply<Applied>),
    /// Containments as they work. Viewer.
    ContainmentList(Reply<ContainmentList>),
}

impl Command {
    /// The least role that may give this command.
    pub const fn role(&self) -> Role {
        match self {
            Self::Sources(..)
            | Self::Explain(..)
            | Self::LimitList(_)
            | Self::AccessList(_)
            | Self::ConfigShow(_)
            | Self::History(..)
            | Self::AlertList(..)
            | Self::AlertShow(..)
            | Self::Flows(..)
            | Self::Graph(_)
            | Self::ContainmentList(_)
            | Self::TuneShow(..) => Role::Viewer,
            Self::LimitSet(..)
            | Self::LimitUnset(..)
            | Self::AccessAdd(..)
            | Self::AccessImport(..)
            | Self::AccessRemove(..)
            | Self::Confirm(..)
            | Self::Revert(..)
            | Self::AlertClose(..)
            | Self::AlertSilence(..)
            | Self::TuneTry(..)
            | Self::TuneEnd(..)
            | Self::TuneApply(..)
            | Self::TuneForget(..)
            | Self::Contain(..)
            | Self::Lift(..) => Role::Operator,
            Self::Reload(_) | Self::Stop(_) | Self::Detach(_) => Role::Admin,
        }
    }

    /// The word for logs and the audit.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sources(..) => "sources",
            Self::Explain(..) => "explain",
            Self::LimitList(_) => "limit list",
            Self::LimitSet(..) => "limit set",
            Self::LimitUnset(..) => "limit unset",
            Self::AccessAdd(..) => "access add",
            Self::AccessImport(..) => "access import",
            Self::AccessRemove(..) => "access remove",
            Self::AccessList(_) => "access list",
            Self::Reload(_) => "reload",
            Self::Stop(_) => "stop",
            Self::Detach(_) => "detach",
            Self::ConfigShow(_) => "config show",
            Self::Confirm(..) => "confirm",
            Self::History(..) => "history",
            Self::Revert(..) => "revert",
            Self::AlertList(..) => "alerts list",
            Self::AlertShow(..) => "alerts show",
            Self::AlertClose(..) => "alerts close",
            Self::AlertSilence(..) => "alerts silence",
            Self::Flows(..) => "flows",
            Self::Graph(_) => "graph",
            Self::TuneShow(..) => "tune show",
            Self::TuneTry(..) => "tune try",
            Self::TuneEnd(..) => "tune end",
            Self::TuneApply(..) => "tune apply",
            Self::TuneForget(..) => "tune forget",
            Self::Contain(..) => "contain",
            Self::Lift(..) => "contain --lift",
            Self::ContainmentList(_) => "contain list",
        }
    }
}

/// Which sources, and in what order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceQuery {
    pub order: SourceOrder,
    /// Only sources within this prefix.
    pub prefix: Option<IpNet>,
    /// Only this service, by name.
    pub service: Option<String>,
    /// At most this many; 0 stands for 20, and no page is longer than 1000.
    pub limit: usize,
    /// How many are left out, because an earlier page had them.
    pub after: usize,
    /// Also who sends from this host; that takes a walk through all conversations.
    pub senders: bool,
}

/// Which changes of the history, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryQuery {
    /// At most this many; 0 stands for 50, and no page is longer than 1000.
    pub limit: usize,
    /// Only changes with a lower number.
    pub before: Option<u64>,
}

/// Largest first, by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceOrder {
    /// Packets per second.
    #[default]
    Rate,
    /// Packets dropped so far (would-be drops after them).
    Drops,
    /// Bytes so far.
    Bytes,
}

/// The answer to [`Command::Sources`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceList {
    pub at: Timestamp,
    /// How many entries matched, shown or not.
    pub matched: u64,
    pub sources: Vec<Source>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<usize>,
    /// Who sends from this host, most bytes first; empty unless it was asked for.
    #[serde(default)]
    pub senders: Vec<LocalSender>,
}

/// Names one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitTarget {
    /// Name of a service; `default` for what no service names.
    pub service: String,
    /// Left out: every class that has no limit of its own. Aggregates have none.
    #[serde(default)]
    pub class: Option<String>,
    #[serde(default)]
    pub kind: LimitKind,
}

/// A rate whose burst may be left to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRequest {
    /// As a person writes it: `"2k/s"`, `"1/min"`, `"50 Mbit/s"`.
    pub rate: Rate,
    /// Left out: what the configuration would choose for this rate.
    #[serde(default)]
    pub burst: Option<u64>,
}

/// What a limit shall become; `None` leaves a part as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSet {
    #[serde(flatten)]
    pub target: LimitTarget,
    #[serde(default)]
    pub mode: Option<Mode>,
    #[serde(default)]
    pub packets: Option<RateRequest>,
    #[serde(default)]
    pub bytes: Option<RateRequest>,
    #[serde(default)]
    pub connections: Option<RateRequest>,
    #[serde(default)]
    pub fragments: Option<RateRequest>,
}

/// The three lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// Never dropped; still counted and judged.
    Exempt,
    /// Dropped, whatever the rate.
    Deny,
    /// Dropped for a time: one source each (a /32 or /64 unless sources are aggregated otherwise).
    Ban,
}

impl AccessKind {
    /// All lists.
    pub const ALL: [Self; 3] = [Self::Exempt, Self::Deny, Self::Ban];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::Deny => "deny",
            Self::Ban => "ban",
        }
    }
}

/// Adds to a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessAdd {
    pub kind: AccessKind,
    pub prefix: IpNet,
    /// How long; left out: for ever (bans: ten minutes).
    #[serde(default)]
    pub for_seconds: Option<u64>,
    #[serde(default)]
    pub comment: Option<String>,
}

/// A list of prefixes, in any of the styles that `policy::import` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessImport {
    /// What the list is called in answers and in the history: its file, usually.
    pub name: String,
    /// Exemptions or denials; a ban is of one source.
    pub kind: AccessKind,
    pub text: String,
    /// Only tell what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// How long; left out: until the daemon restarts.
    #[serde(default)]
    pub for_seconds: Option<u64>,
}

/// Names an entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessTarget {
    pub kind: AccessKind,
    pub prefix: IpNet,
}

/// An exemption or a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    pub prefix: IpNet,
    pub until: Option<Timestamp>,
    pub comment: Option<String>,
    /// `config`, or who made it while running.
    pub origin: String,
    /// What a denial dropped so far; zero for exemptions.
    pub dropped: crate::snapshot::Count,
}

/// The answer to [`Command::AccessList`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessList {
    pub exempt: Vec<AccessEntry>,
    pub denied: Vec<AccessEntry>,
    pub banned: Vec<Ban>,
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its number in the history; `None` when nothing changed.
    pub change: Option<u64>,
    /// One line per thing that is different now; empty when nothing is.
    pub summary: Vec<String>,
    pub saved: bool,
    /// When it is taken back unless it is confirmed.
    pub confirm_by: Option<Timestamp>,
    pub warnings: Vec<String>,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// `None`: the embedded default.
    pub path: Option<String>,
    pub toml: String,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub number: u64,
    pub at: Timestamp,
    pub made_by: String,
    /// Where it came from, with the credentials that the kernel attested.
    pub origin: Origin,
    pub what: String,
    pub before: String,
    pub after: String,
    /// `applied`, `pending`, `confirmed`, `rolled back`, `reverted`.
    pub state: String,
    /// What a decision of the daemon's own rested on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<serde_json::Value>,
}
