//! `/v1/posture`: what each service speaks, and how much of it is encrypted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Endpoint, Method, Role};
use crate::schema;
use crate::snapshot::ServiceConnections;

/// Asks for the posture of every service that insiders offer or use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowPosture {}

impl Command for ShowPosture {
    type Answer = Posture;
    const ENDPOINT: Endpoint = Endpoint {
        name: "posture",
        method: Method::Get,
        path: "/v1/posture",
        role: Role::Viewer,
        about: "What each service speaks and how much of it is encrypted: open flows, and those that ended within the last hour.",
        errors: &[],
    };
}

/// The answer to [`ShowPosture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Posture {
    pub at: Timestamp,
    /// Least encrypted first.
    pub services: Vec<ServicePosture>,
    /// Services whose connections are looked at by the rules.
    #[serde(default)]
    pub checked: Vec<ServiceConnections>,
}

/// A service: who answers, on which port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServicePosture {
    #[schemars(with = "schema::Address")]
    pub server: std::net::IpAddr,
    pub protocol: String,
    pub port: u16,
    /// The workload of this host that answers, if one does.
    pub workload: Option<String>,
    /// What is spoken, by name.
    pub applications: BTreeSet<String>,
    /// Conversations of which data was seen.
    pub conversations: u64,
    pub encrypted: u64,
    pub in_clear: u64,
    /// The encrypted part of those that are known, 0 to 1; nothing when none is known.
    pub share_encrypted: Option<f64>,
    /// Conversations by version of TLS.
    pub versions: BTreeMap<String, u64>,
    /// Conversations in which a password was sent in clear.
    pub credentials_in_clear: u64,
    /// When the oldest and the last of those in clear had a packet.
    pub clear_since: Option<Timestamp>,
    pub clear_until: Option<Timestamp>,
    /// Who speaks in clear, at most [`ServicePosture::CLIENTS`].
    #[schemars(with = "BTreeSet<schema::Address>")]
    pub clear_clients: BTreeSet<std::net::IpAddr>,
}

impl ServicePosture {
    pub const CLIENTS: usize = 16;
}

/// Conversations with a service of this host that ended since the start, by what they spoke.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spoken {
    pub service: String,
    /// The protocol, as in `flows`.
    pub application: String,
    /// `clear`, `native`, `tls`, `upgraded` or `unknown`.
    pub encryption: String,
    pub conversations: u64,
}
