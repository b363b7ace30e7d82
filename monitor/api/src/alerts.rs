//! `/v1/alerts` and `/v1/silences`: findings about insiders, and which of them are not reported.

use detection::finding::{Detector, Finding, Severity};
use detection::parameters::Silence;
use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};
use crate::error::Code;
use crate::schema::{self, optional_prefix};

/// Which findings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertQuery {
    /// Only those that are open.
    pub open: bool,
    pub detector: Option<Detector>,
    /// At least as grave.
    pub severity: Option<Severity>,
    /// Only subjects within this prefix.
    #[serde(deserialize_with = "optional_prefix")]
    #[schemars(with = "Option<schema::PrefixOrAddress>")]
    pub subject: Option<IpNet>,
    /// Only what changed at or after this moment: how `sluice alerts follow` asks.
    pub since: Option<Timestamp>,
    /// At most this many, newest first; 0 stands for 100.
    pub limit: usize,
}

impl Command for AlertQuery {
    type Answer = Alerts;
    const ENDPOINT: Endpoint = Endpoint {
        name: "alerts list",
        method: Method::Get,
        path: "/v1/alerts",
        role: Role::Viewer,
        about: "Findings, newest first.",
        errors: &[],
    };
}

/// The answer to [`AlertQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alerts {
    pub alerts: Vec<Alert>,
}

/// Asks for one finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertShow {
    pub number: u64,
}

impl Command for AlertShow {
    type Answer = Alert;
    const ENDPOINT: Endpoint = Endpoint {
        name: "alerts show",
        method: Method::Get,
        path: "/v1/alerts/{number}",
        role: Role::Viewer,
        about: "One finding with its evidence.",
        errors: &[Code::NotFound],
    };
}

/// Closes a finding by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertClose {
    pub number: u64,
}

impl Command for AlertClose {
    type Answer = Alert;
    const ENDPOINT: Endpoint = Endpoint {
        name: "alerts close",
        method: Method::Post,
        path: "/v1/alerts/{number}/close",
        role: Role::Operator,
        about: "Closes a finding by hand.",
        errors: &[],
    };
}

/// Silences findings: they are still counted and kept, and not reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AlertSilence(pub Silence);

impl Command for AlertSilence {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "alerts silence",
        method: Method::Post,
        path: "/v1/silences",
        role: Role::Operator,
        about: "Silences findings; they are still counted and kept.",
        errors: &[],
    };
}

/// A finding with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Open,
    /// Over, or closed by hand.
    Closed,
    /// Another finding explains it.
    Retracted,
}
