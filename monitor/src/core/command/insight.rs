//! What is asked about insiders: findings, conversations, and who talks to whom.
//!
//! In: queries. Out: values that the control API prints as they are. Findings have the form of `detection::finding`.

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::snapshot::Count;
use detection::finding::{Detector, Finding, Severity};

/// Which findings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertQuery {
    /// Only those that are open.
    pub open: bool,
    pub detector: Option<Detector>,
    /// At least as grave.
    pub severity: Option<Severity>,
    /// Only subjects within this prefix.
    pub subject: Option<IpNet>,
    /// Only what changed at or after this moment: how `sluice alerts follow` asks.
    pub since: Option<Timestamp>,
    /// At most this many, newest first; 0 stands for 100.
    pub limit: usize,
}

/// A finding with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Unique, also over restarts.
    pub id: u64,
    pub state: AlertState,
    /// The last time that anything about it changed.
    pub updated: Timestamp,
    /// It is silenced, or was held back because too many were raised at once.
    pub quiet: bool,
    pub finding: Finding,
}

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Open,
    /// Over, or closed by hand.
    Closed,
    /// Another finding explains it.
    Retracted,
}

/// Which conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// Either end within this prefix.
    pub address: Option<IpNet>,
    /// The responder's port.
    pub port: Option<u16>,
    /// `tcp`, `udp`, `icmp`, ... or a number.
    pub protocol: Option<String>,
    /// A part of the workload's name.
    pub workload: Option<String>,
    pub outcome: Option<FlowOutcome>,
    /// At most this many, most bytes first; 0 stands for 50.
    pub limit: usize,
}

/// How a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowOutcome {
    Unanswered,
    Established,
    Refused,
    /// Its start was not seen.
    Midstream,
}

/// An end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowEnd {
    Initiator,
    Responder,
}

/// The answer to `Command::Flows`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowList {
    pub at: Timestamp,
    /// How many matched, shown or not.
    pub matched: u64,
    pub flows: Vec<Flow>,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub initiator: std::net::IpAddr,
    pub initiator_port: u16,
    pub responder: std::net::IpAddr,
    pub responder_port: u16,
    pub protocol: String,
    pub outcome: FlowOutcome,
    /// From the initiator, and back.
    pub forward: Count,
    pub backward: Count,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub interface: String,
    /// Who of this host takes part in it, if anybody does.
    pub workload: Option<String>,
    /// Which end the workload is; the initiator when both are on this host.
    #[serde(default)]
    pub workload_end: Option<FlowEnd>,
}

/// The service graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub at: Timestamp,
    pub edges: Vec<GraphEdge>,
}

/// Who talks to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphEdge {
    /// A workload's name, or an address.
    pub from: String,
    pub to: String,
    pub protocol: String,
    pub port: u16,
    pub conversations: u64,
    pub bytes: u64,
    /// A finding says that this edge was never seen before.
    pub new: bool,
}

/// A workload of this host with an address that it sends from. What leaves is no source of the limiter, so this is summed
/// over the conversations as they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSender {
    pub source: std::net::IpAddr,
    pub workload: String,
    pub conversations: u64,
    /// What it sent in them.
    pub sent: Count,
    pub last_seen: Timestamp,
}
