//! What is desired: the configuration and everything that was changed at run time, as one value.
//!
//! In: a [`Config`], overrides, imported lists, a clock reading. Out: an [`Image`] ready for the kernel's maps, a
//! [`Change`] between two desired states, an [`Explanation`] of one address. Pure: no I/O, no clock of its own, no maps.

pub mod config;

mod access;
mod compile;
mod diff;
mod explain;
mod guard;
mod limits;
mod list;
mod numbering;
mod prefixes;
mod reverse_path;
mod services;

pub use access::{Grant, Permission};
pub use compile::{CompileError, Edit, Edited, Environment, Image, check, compile};
pub use diff::{Change, ChangeKind, Item, diff};
pub use explain::{AppliedLimit, Explanation, Ground, explain};
pub use guard::{Cut, would_cut};
pub use list::{ImportedList, LineError, ListPolicy, import};
pub use numbering::Numbering;
pub use reverse_path::Route;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Config, DEFAULT_SERVICE, INSIDE_CLASS, Limits, Match, Mode, OUTSIDE_CLASS, Protection};

/// The desired state: what the file says, what was changed since, and what the host adds.
///
/// Bans are not part of it: they live in a table of their own that the engine writes directly.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub config: Arc<Config>,
    /// Limits changed at run time; they win over the file.
    pub limits: BTreeMap<LimitName, LimitOverride>,
    /// Exemptions and denials made at run time.
    pub access: Vec<AccessEntry>,
    /// Lists as they were last imported.
    pub lists: Arc<Vec<ImportedList>>,
    /// The host's own addresses: always of class `inside`.
    pub own: Vec<IpAddr>,
    pub surroundings: Surroundings,
    /// What strangers may take of services without an aggregate of their own, by service; no decision of anybody.
    pub automatic: BTreeMap<String, Automatic>,
}

/// The share of strangers at a service whose aggregate is `"auto"`. Known sources are held to their own limits only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Automatic {
    /// At most: the mode of the service, or of its `aggregate`, may be a milder one.
    pub mode: Mode,
    pub strangers: Limits,
}

/// What the host says of its network, as far as rules depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Next hops of routes and resolvers in use: never banned without an operator's word.
    pub lifelines: BTreeSet<IpAddr>,
    /// The lowest port that the host takes for connections of its own.
    pub ephemeral: u16,
    /// Where packets can come from.
    pub routes: Vec<Route>,
    /// Guarded interfaces and their slots.
    pub slots: BTreeMap<String, u32>,
    pub cookies: Cookies,
}

/// How this host's TCP takes SYN cookies.
#[expect(clippy::struct_excessive_bools, reason = "settings that are independent of each other")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookies {
    /// Listeners send cookies always and take them back: `net.ipv4.tcp_syncookies` is 2.
    pub always: bool,
    /// Timestamps are as they are in cookies: `net.ipv4.tcp_timestamps` is 2.
    pub stamps: bool,
    pub sack: bool,
    pub windows: bool,
}

impl Default for Surroundings {
    fn default() -> Self {
        // Linux: net.ipv4.ip_local_port_range.
        Self {
            lifelines: BTreeSet::new(),
            ephemeral: 32_768,
            routes: Vec::new(),
            slots: BTreeMap::new(),
            cookies: Cookies::default(),
        }
    }
}

/// Which limit is meant: a service (or [`DEFAULT_SERVICE`]), a class of its sources or all, and the limit's role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LimitName {
    pub service: String,
    /// Absent: every class that has no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(default)]
    pub kind: LimitKind,
}

/// Which of a service's limits.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// The limit of each source.
    #[default]
    PerSource,
    /// The limit of each source on trial beside it: counts, never drops.
    Trial,
    /// The limit of all sources together.
    Aggregate,
}

impl LimitKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::PerSource => "per_source",
            Self::Trial => "trial",
            Self::Aggregate => "aggregate",
        }
    }
}

/// A limit as set at run time. What is absent stays as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOverride {
    pub mode: Option<Mode>,
    /// Dimensions that are present replace the file's, with their bursts.
    pub limits: Limits,
    /// Dimensions (`packets`, `bytes`, `connections`, `fragments`, `requests`, `handshakes`,
    /// `concurrent`) that are lifted altogether.
    pub lifted: Vec<Dimension>,
    /// Aggregate only.
    pub reserve: Option<f64>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    Packets,
    Bytes,
    Connections,
    Fragments,
    Requests,
    Handshakes,
    Concurrent,
}

/// An exemption or a denial made at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    pub prefix: IpNet,
    pub permission: Permission,
    /// Absent: until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// Who made it, as the audit names them.
    #[serde(default)]
    pub origin: String,
}

/// A service as it stands after all overrides.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectiveService {
    pub name: String,
    /// Absent for the default service, which matches what is left.
    pub matches: Option<Match>,
    pub protection: Protection,
}

impl Rules {
    /// The desired state of `config` alone.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            limits: BTreeMap::new(),
            access: Vec::new(),
            lists: Arc::default(),
            own: Vec::new(),
            surroundings: Surroundings::default(),
            automatic: BTreeMap::new(),
        }
    }

    /// Names of the classes in the order of their numbers: `outside`, `inside`, then the file's.
    pub fn classes(&self) -> Vec<&str> {
        let own = self.config.classes.iter().map(|class| class.name.as_str());
        [OUTSIDE_CLASS, INSIDE_CLASS].into_iter().chain(own).collect()
    }

    /// All services after the overrides, the default one first.
    pub fn services(&self) -> Vec<EffectiveService> {
        let default = (DEFAULT_SERVICE, None, &self.config.default);
        let named = self.config.services.iter().map(|s| (s.name.as_str(), Some(&s.matches), &s.protection));
        std::iter::once(default)
            .chain(named)
            .map(|(name, matches, protection)| EffectiveService {
                name: name.to_owned(),
                matches: matches.cloned(),
                protection: limits::overridden(protection, name, &self.limits),
            })
            .collect()
    }

    /// The names of overrides that name a service or a class that does not exist (any more).
    pub fn orphaned_limits(&self) -> Vec<&LimitName> {
        let classes = self.classes();
        let exists = |name: &LimitName| {
            let service = name.service == DEFAULT_SERVICE
                || self.config.services.iter().any(|service| service.name == name.service);
            service && name.class.as_deref().is_none_or(|class| classes.contains(&class))
        };
        self.limits.keys().filter(|name| !exists(name)).collect()
    }

    /// Drops what has ended; says what.
    pub fn expire(&mut self, now: Timestamp) -> Vec<AccessEntry> {
        let ended = |entry: &AccessEntry| entry.until.is_some_and(|until| until <= now);
        let (gone, kept) = std::mem::take(&mut self.access).into_iter().partition(ended);
        self.access = kept;
        gone
    }
}
