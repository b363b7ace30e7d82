//! `/v1/flows` and `/v1/graph`: the flows of insiders, and the service graph.

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::application::encryption;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Endpoint, Method, Role};
use crate::schema::{self, optional_prefix};
use crate::snapshot::Count;

/// Which conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// Either end within this prefix.
    #[serde(deserialize_with = "optional_prefix")]
    #[schemars(with = "Option<schema::PrefixOrAddress>")]
    pub address: Option<IpNet>,
    /// The responder's port.
    pub port: Option<u16>,
    /// `tcp`, `udp`, `icmp`, ... or a number.
    pub protocol: Option<String>,
    /// A part of the workload's name.
    pub workload: Option<String>,
    pub outcome: Option<FlowOutcome>,
    /// What is spoken: `tls`, `ssh`, `http`, `postgresql`, ...
    pub application: Option<String>,
    pub encryption: Option<FlowEncryption>,
    /// Only those with a packet at or after this moment; what ended is remembered for an hour.
    pub since: Option<Timestamp>,
    /// At most this many, most bytes first; 0 stands for 50.
    pub limit: usize,
}

impl Command for FlowQuery {
    type Answer = FlowList;
    const ENDPOINT: Endpoint = Endpoint {
        name: "flows",
        method: Method::Get,
        path: "/v1/flows",
        role: Role::Viewer,
        about: "Flows of insiders: open ones, and those that ended within the last hour; most bytes first.",
        errors: &[],
    };
}

/// How a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowOutcome {
    Unanswered,
    Established,
    Refused,
    /// Its start was not seen.
    Midstream,
}

/// Whether a conversation is encrypted, by the first bytes each way.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FlowEncryption {
    /// No data yet, or nothing that is known.
    #[default]
    Unknown,
    Clear,
    /// By the protocol itself: SSH, QUIC, `WireGuard`, encrypted SMB.
    Native,
    /// TLS or DTLS from the first byte.
    Tls,
    /// It began in clear and went over to TLS.
    Upgraded,
}

impl FlowEncryption {
    /// From its code in the kernel.
    pub const fn from_code(code: u32) -> Self {
        match code {
            encryption::CLEAR => Self::Clear,
            encryption::NATIVE => Self::Native,
            encryption::TLS => Self::Tls,
            encryption::UPGRADED => Self::Upgraded,
            _ => Self::Unknown,
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Clear => "clear",
            Self::Native => "native",
            Self::Tls => "tls",
            Self::Upgraded => "upgraded",
        }
    }
}

/// An end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowEnd {
    Initiator,
    Responder,
}

/// The answer to [`FlowQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowList {
    pub at: Timestamp,
    /// How many matched, shown or not.
    pub matched: u64,
    pub flows: Vec<Flow>,
}

/// One open conversation, or several alike that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    #[schemars(with = "schema::Address")]
    pub initiator: std::net::IpAddr,
    pub initiator_port: u16,
    #[schemars(with = "schema::Address")]
    pub responder: std::net::IpAddr,
    pub responder_port: u16,
    pub protocol: String,
    pub outcome: FlowOutcome,
    /// What is spoken, by the first bytes each way: a protocol's name, `text`, `binary`, or `none` before the first data.
    #[serde(default)]
    pub application: String,
    #[serde(default)]
    pub encryption: FlowEncryption,
    /// The version of TLS that the server chose, as `tls1.3`, where it was seen.
    #[serde(default)]
    pub tls_version: Option<String>,
    /// A password was sent in clear.
    #[serde(default)]
    pub credentials_in_clear: bool,
    /// SMB messages are signed.
    #[serde(default)]
    pub signed: bool,
    /// How many conversations it is: ended ones are one row when their ends, port, outcome and encryption are the same.
    pub conversations: u64,
    /// It stands now; otherwise it ended.
    pub open: bool,
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

/// Asks for the service graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowGraph {}

impl Command for ShowGraph {
    type Answer = Graph;
    const ENDPOINT: Endpoint = Endpoint {
        name: "graph",
        method: Method::Get,
        path: "/v1/graph",
        role: Role::Viewer,
        about: "The service graph: which address or workload uses which service, new edges and those in clear marked.",
        errors: &[],
    };
}

/// The service graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Graph {
    pub at: Timestamp,
    pub edges: Vec<GraphEdge>,
}

/// Who talks to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphEdge {
    /// A workload's name, or an address.
    pub from: String,
    pub to: String,
    pub protocol: String,
    pub port: u16,
    pub conversations: u64,
    pub bytes: u64,
    /// What is spoken; `none` where no data was seen.
    #[serde(default)]
    pub application: String,
    /// Conversations in clear, and encrypted ones; the others are not known.
    #[serde(default)]
    pub in_clear: u64,
    #[serde(default)]
    pub encrypted: u64,
    /// A finding says that this edge was never seen before.
    pub new: bool,
}

/// A workload of this host with an address that it sends from. What leaves is no source of the limiter, so this is summed
/// over the conversations as they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalSender {
    #[schemars(with = "schema::Address")]
    pub source: std::net::IpAddr,
    pub workload: String,
    pub conversations: u64,
    /// What it sent in them.
    pub sent: Count,
    pub last_seen: Timestamp,
}
