//! `/v1/alerts` and `/v1/silences`: findings about insiders, and which of them are not reported.

use detection::finding::{Detector, Finding, Severity};
use detection::parameters::Silence;
use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};
use crate::error::Code;
use crate::incidents::Incident;
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
    /// At most this many, newest first; 0 means 100.
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
    /// What these findings tell together, one for each subject of several; the gravest first.
    #[serde(default)]
    pub incidents: Vec<Incident>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertSilence {
    /// Of this detector only; it or `subject` must be given.
    #[serde(default)]
    pub detector: Option<Detector>,
    /// About subjects within this prefix only.
    #[serde(default, deserialize_with = "optional_prefix")]
    #[schemars(with = "Option<schema::PrefixOrAddress>")]
    pub subject: Option<IpNet>,
    /// Why, for those who wonder later.
    pub reason: String,
    /// How long; left out: until it is lifted.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub for_seconds: Option<u64>,
}

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

/// Asks which findings are silenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSilences {}

impl Command for ListSilences {
    type Answer = Silences;
    const ENDPOINT: Endpoint = Endpoint {
        name: "alerts silences",
        method: Method::Get,
        path: "/v1/silences",
        role: Role::Viewer,
        about: "The silences in force. Those of the configuration stand in its `[[detection.silences]]`.",
        errors: &[],
    };
}

/// The answer to [`ListSilences`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Silences {
    pub silences: Vec<SilenceInForce>,
}

/// A silence in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SilenceInForce {
    pub number: u64,
    #[serde(flatten)]
    pub silence: Silence,
    /// `None`: until it is lifted.
    pub until: Option<Timestamp>,
    pub made_by: String,
    pub made_at: Timestamp,
    /// It outlives the daemon.
    pub saved: bool,
}

/// Lifts a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceLift {
    pub number: u64,
}

impl Command for SilenceLift {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "alerts unsilence",
        method: Method::Delete,
        path: "/v1/silences/{number}",
        role: Role::Operator,
        about: "Lifts a silence.",
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
