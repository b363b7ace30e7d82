//! `/v1/history`, `/v1/confirm`: what was changed, keeping it, taking it back.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};
use crate::origin::Origin;

/// Keeps the change that waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Confirm {
    /// The number of the change; left out: the one that waits.
    pub change: Option<u64>,
}

impl Command for Confirm {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "confirm",
        method: Method::Post,
        path: "/v1/confirm",
        role: Role::Operator,
        about: "Keeps the change that waits for confirmation.",
        errors: &[],
    };
}

/// Which changes of the history, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryQuery {
    /// At most this many; 0 means 50, and no page is longer than 1000.
    pub limit: usize,
    /// Only changes with a lower number: the last one of the page before.
    pub before: Option<u64>,
}

impl Command for HistoryQuery {
    type Answer = History;
    const ENDPOINT: Endpoint = Endpoint {
        name: "history",
        method: Method::Get,
        path: "/v1/history",
        role: Role::Viewer,
        about: "The changes, newest first.",
        errors: &[],
    };
}

/// The answer to [`HistoryQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    pub changes: Vec<Change>,
    /// The `before` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub number: u64,
    pub at: Timestamp,
    pub made_by: String,
    /// Where it came from, with the credentials that the kernel attested.
    pub origin: Origin,
    pub what: String,
    pub before: String,
    pub after: String,
    /// `applied`, `pending`, `confirmed`, `rolled back`, `reverted`.
    pub state: String,
    /// What a decision of the daemon's own rested on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<serde_json::Value>,
}

/// Undoes one change of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    pub number: u64,
}

impl Command for Revert {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "revert",
        method: Method::Post,
        path: "/v1/history/{number}/revert",
        role: Role::Operator,
        about: "Undoes one change.",
        errors: &[],
    };
}
