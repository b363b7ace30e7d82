//! `/v1/explain/{address}`: why an address is treated as it is.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::AccessEntry;
use crate::alerts::Alert;
use crate::command::{Command, Endpoint, Method, Role};
use crate::containments::Containment;
use crate::history::Change;
use crate::schema;
use crate::snapshot::{Ban, LimitInForce, RateAndBurst, Source};

/// Asks why an address is treated as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    #[schemars(with = "schema::Address")]
    pub address: IpAddr,
}

impl Command for Explain {
    type Answer = Explanation;
    const ENDPOINT: Endpoint = Endpoint {
        name: "explain",
        method: Method::Get,
        path: "/v1/explain/{address}",
        role: Role::Viewer,
        about: "Why an address is treated as it is.",
        errors: &[],
    };
}

/// Why an address is treated as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    #[schemars(with = "schema::Address")]
    pub address: IpAddr,
    /// The source that the address counts under.
    #[schemars(with = "schema::Prefix")]
    pub source: IpNet,
    pub class: String,
    /// The verdict in one sentence.
    pub verdict: String,
    /// What the address is to this host: `an address of this host`, `the gateway`, `multicast`, ...; empty for any other.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The exemption that covers it.
    pub exempt: Option<AccessEntry>,
    /// The denial that covers it.
    pub denied: Option<AccessEntry>,
    pub ban: Option<Ban>,
    pub containment: Option<Containment>,
    /// One per service where it has an entry.
    pub services: Vec<ExplainedService>,
    /// Open findings about it, newest first; at most ten.
    #[serde(default)]
    pub findings: Vec<Alert>,
    /// The last changes of bans, entries and containments that cover it, newest first; at most five.
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// One source at one service, with its limit and bucket levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedService {
    pub source: Source,
    pub limit: Option<LimitInForce>,
    pub trial: Option<LimitInForce>,
    pub aggregate: Option<LimitInForce>,
    pub buckets: Vec<BucketLevel>,
    /// TCP connections that it holds open, where they are followed.
    #[serde(default)]
    pub open_connections: Option<u32>,
    /// What the limit does to its next packet.
    pub next_packet: NextPacket,
    /// Whether it has proved its address here, by a handshake or a SYN cookie that it returned.
    pub proven: bool,
    /// Whether the service answers what it refuses of an unproven source's SYNs with a SYN cookie.
    pub challenges: bool,
}

/// What happens to a packet that comes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NextPacket {
    /// It fits, or there is no limit.
    Passes,
    /// It exceeds a limit that only observes.
    WouldDrop,
    /// It exceeds a limit in force.
    Drops,
}

/// How full a bucket is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketLevel {
    /// `packets`, `bytes`, `connections`, `fragments`, `requests` or `handshakes`.
    pub dimension: String,
    pub rate: RateAndBurst,
    /// Used share of the burst, 0 to 1.
    pub used: f64,
    /// The next packet, connection or fragment exceeds it.
    pub is_full: bool,
}
