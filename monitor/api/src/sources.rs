//! `/v1/sources`: who sends.

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Endpoint, Method, Role};
use crate::error::Code;
use crate::flows::LocalSender;
use crate::schema::{self, optional_prefix};
use crate::snapshot::Source;

/// Which sources, and in what order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourceQuery {
    #[serde(rename = "sort")]
    pub order: SourceOrder,
    /// Only sources within this prefix.
    #[serde(deserialize_with = "optional_prefix")]
    #[schemars(with = "Option<schema::PrefixOrAddress>")]
    pub prefix: Option<IpNet>,
    /// Only this service, by name.
    pub service: Option<String>,
    /// At most this many; 0 means 20, and no page is longer than 1000.
    pub limit: usize,
    /// How many are left out, because an earlier page had them.
    pub after: usize,
    /// Also who sends from this host; that takes a walk through all flows.
    pub senders: bool,
}

impl Command for SourceQuery {
    type Answer = SourceList;
    const ENDPOINT: Endpoint = Endpoint {
        name: "sources",
        method: Method::Get,
        path: "/v1/sources",
        role: Role::Viewer,
        about: "The sources with the highest rates, drops or bytes.",
        errors: &[Code::NotFound],
    };
}

/// Largest first, by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// The answer to [`SourceQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
