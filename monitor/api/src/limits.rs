//! `/v1/limits`: what each source, and all of them together, may send to a service.

use policy::config::{Mode, Rate};
use policy::{Dimension, LimitKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};
use crate::snapshot::LimitInForce;

/// Asks for every limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListLimits {}

impl Command for ListLimits {
    type Answer = Limits;
    const ENDPOINT: Endpoint = Endpoint {
        name: "limit list",
        method: Method::Get,
        path: "/v1/limits",
        role: Role::Viewer,
        about: "Every limit as it holds now.",
        errors: &[],
    };
}

/// The answer to [`ListLimits`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    pub limits: Vec<LimitInForce>,
}

/// A rate whose burst may be left to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateRequest {
    /// As a person writes it: `"2k/s"`, `"1/min"`, `"50 Mbit/s"`.
    pub rate: Rate,
    /// Left out: what the configuration would choose for this rate.
    #[serde(default)]
    pub burst: Option<u64>,
}

/// What a limit shall become; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSet {
    /// Name of a service; `default` for what no service names.
    pub service: String,
    /// Left out: every class that has no limit of its own. Aggregates have none.
    #[serde(default)]
    pub class: Option<String>,
    #[serde(default)]
    pub kind: LimitKind,
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
    #[serde(default)]
    pub requests: Option<RateRequest>,
    #[serde(default)]
    pub handshakes: Option<RateRequest>,
    /// TCP connections that are open at once.
    #[serde(default)]
    pub concurrent: Option<u32>,
}

impl LimitSet {
    /// The rates to be set, by their dimension.
    pub const fn rates(&self) -> [(Dimension, Option<RateRequest>); 6] {
        [
            (Dimension::Packets, self.packets),
            (Dimension::Bytes, self.bytes),
            (Dimension::Connections, self.connections),
            (Dimension::Fragments, self.fragments),
            (Dimension::Requests, self.requests),
            (Dimension::Handshakes, self.handshakes),
        ]
    }

    /// Which limit.
    pub fn target(&self) -> LimitTarget {
        LimitTarget { service: self.service.clone(), class: self.class.clone(), kind: self.kind }
    }
}

impl Command for LimitSet {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "limit set",
        method: Method::Put,
        path: "/v1/limits/{service}",
        role: Role::Operator,
        about: "Sets rates or mode of one limit.",
        errors: &[],
    };
}

/// Names one limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Takes one limit back to what the configuration says, or removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LimitUnset(pub LimitTarget);

impl Command for LimitUnset {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "limit unset",
        method: Method::Delete,
        path: "/v1/limits/{service}",
        role: Role::Operator,
        about: "Takes one limit back to what the configuration says.",
        errors: &[],
    };
}
