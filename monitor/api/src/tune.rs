//! `/v1/tune`: limits that the daemon proposes, on trial and in force.

use jiff::Timestamp;
use policy::config::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tuning::automatic::Decision;
use tuning::trial::Report;
use tuning::{Advice, Aim, Freeze};

use crate::command::{Applied, Command, Endpoint, Method, Role};
use crate::error::Code;

/// What tuning is asked to show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TuneQuery {
    /// Only this service.
    pub service: Option<String>,
    /// Only this class; left out: `outside` and every class that something is known of.
    pub class: Option<String>,
    /// Left out: what the configuration says for the service.
    #[schemars(range(min = 0.5, max = 0.999_999))]
    pub quantile: Option<f64>,
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub headroom: Option<f64>,
}

impl TuneQuery {
    pub const fn aim(&self) -> Aim {
        Aim { quantile: self.quantile, headroom: self.headroom }
    }
}

impl Command for TuneQuery {
    type Answer = TuneList;
    const ENDPOINT: Endpoint = Endpoint {
        name: "tune show",
        method: Method::Get,
        path: "/v1/tune",
        role: Role::Viewer,
        about: "Proposed limits with their evidence, beside those in force.",
        errors: &[Code::NotFound],
    };
}

/// Names what is proposed for, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuneTarget {
    pub service: String,
    /// `outside` unless named.
    #[serde(default)]
    pub class: Option<String>,
    /// Left out: what the configuration says for the service.
    #[serde(default)]
    #[schemars(range(min = 0.5, max = 0.999_999))]
    pub quantile: Option<f64>,
    #[serde(default)]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub headroom: Option<f64>,
}

impl TuneTarget {
    pub const fn aim(&self) -> Aim {
        Aim { quantile: self.quantile, headroom: self.headroom }
    }
}

const fn change(name: &'static str, path: &'static str, about: &'static str) -> Endpoint {
    Endpoint { name, method: Method::Post, path, role: Role::Operator, about, errors: &[] }
}

/// Puts a proposal on trial beside the limit in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TuneTry(pub TuneTarget);

impl Command for TuneTry {
    type Answer = Applied;
    const ENDPOINT: Endpoint =
        change("tune try", "/v1/tune/{service}/try", "Puts a proposal on trial beside the limit in force.");
}

/// Ends a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TuneEnd(pub TuneTarget);

impl Command for TuneEnd {
    type Answer = Applied;
    const ENDPOINT: Endpoint = change("tune end", "/v1/tune/{service}/end", "Ends a trial.");
}

/// Puts a proposal in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TuneApply(pub TuneTarget);

impl Command for TuneApply {
    type Answer = Applied;
    const ENDPOINT: Endpoint = change("tune apply", "/v1/tune/{service}/apply", "Puts a proposal in force.");
}

/// Forgets what was learned of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuneForget {
    pub service: String,
}

impl Command for TuneForget {
    type Answer = Applied;
    const ENDPOINT: Endpoint =
        change("tune forget", "/v1/tune/{service}/forget", "Forgets what was learned of a service.");
}

/// The answer to [`TuneQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TuneList {
    pub at: Timestamp,
    /// Why nothing is learned at present, if so.
    pub freeze: Option<Freeze>,
    pub limits: Vec<Tuned>,
}

/// One class of sources at one service, with what tuning has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tuned {
    pub service: String,
    pub class: String,
    /// How far tuning may go.
    pub tuning: tuning::Mode,
    /// What the limit in force does.
    pub mode: Mode,
    pub limits: tuning::Limits,
    pub advice: Advice,
    /// What the limit on trial has shown.
    pub trial: Option<Report>,
    /// What automatic mode decided last, by packets, bytes and connections.
    pub decisions: Option<Vec<Decision>>,
}
