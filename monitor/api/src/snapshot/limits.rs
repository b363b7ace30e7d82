//! Limits in the snapshot: those in force, and what tuning makes of them.

use std::collections::BTreeSet;

use policy::LimitKind;
use policy::config::{Mode, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tuning::aggregates::{Basis, State};

use super::Snapshot;

/// A rate and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateAndBurst {
    /// Packets, bytes, connections, fragments, requests or handshakes per time, as it was written.
    pub rate: Rate,
    /// As asked for, else as chosen for this rate.
    pub burst: u64,
}

/// One limit as it holds now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitInForce {
    pub service: String,
    /// `outside`, `inside` or a named class; `any` for all that have no limit of their own, and for aggregates.
    pub class: String,
    pub kind: LimitKind,
    pub mode: Mode,
    pub packets: Option<RateAndBurst>,
    pub bytes: Option<RateAndBurst>,
    pub connections: Option<RateAndBurst>,
    pub fragments: Option<RateAndBurst>,
    pub requests: Option<RateAndBurst>,
    pub handshakes: Option<RateAndBurst>,
    /// TCP connections that are open at once.
    #[serde(default)]
    pub concurrent: Option<u32>,
    /// Where it comes from: `config`, `default` (the embedded one), `set while running`, or `auto` with what it rests on:
    /// the share of strangers, whose mode is `off` while nothing calls for it.
    pub origin: String,
}

impl Snapshot {
    /// Modes of a service's limits, each named once. The trial limit, which never drops, and an aggregate that is off, as an
    /// automatic one is at rest, are left out.
    pub fn modes(&self, service: &str) -> String {
        let rests = |limit: &LimitInForce| match limit.kind {
            LimitKind::PerSource => false,
            LimitKind::Trial => true,
            LimitKind::Aggregate => limit.mode == Mode::Off,
        };
        let of_it = |limit: &&LimitInForce| limit.service == service && !rests(limit);
        let modes: BTreeSet<_> = self.limits.iter().filter(of_it).map(|limit| limit.mode.label()).collect();
        if modes.is_empty() {
            "no limit".to_owned()
        } else {
            modes.into_iter().collect::<Vec<_>>().join(", ")
        }
    }
}

/// What tuning knows and does, in short; proposals are renewed once a minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tuning {
    /// `flood`, `alert` or `thawing` while nothing is learned and no step is taken.
    pub frozen: Option<String>,
    pub proposals: Vec<ProposedLimit>,
    /// What the distributions take.
    pub memory_bytes: u64,
    /// Samples of services and classes that there was no room for.
    pub not_learned: u64,
    /// 0 is the ground: limits as they were set.
    pub defence_rung: u64,
    /// What limits of sources are multiplied by.
    pub defence_factor: f64,
    /// Services whose aggregate is `"auto"`.
    #[serde(default)]
    pub aggregates: Vec<AutomaticAggregate>,
}

/// What strangers may take of a service without rates for all sources together, and whether they are held to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AutomaticAggregate {
    pub service: String,
    pub state: State,
    pub basis: Basis,
    pub strangers_packets_per_second: u64,
    pub strangers_connections_per_second: u64,
}

/// One dimension of one limit as tuning sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProposedLimit {
    pub service: String,
    pub class: String,
    /// `packets`, `bytes` or `connections`.
    pub dimension: String,
    /// `None` while too little is known.
    pub per_second: Option<u64>,
    /// `proposed`, or what automatic mode decided last.
    pub state: String,
}
