//! `/v1/status`: the latest snapshot. It is answered without the engine, so a busy engine does not hide it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Endpoint, Method, Role};
use crate::snapshot::Snapshot;

/// Asks for the latest snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowStatus {}

impl Command for ShowStatus {
    type Answer = Snapshot;
    const ENDPOINT: Endpoint = Endpoint {
        name: "status",
        method: Method::Get,
        path: "/v1/status",
        role: Role::Viewer,
        about: "What the kernel and the daemon know at this second.",
        errors: &[],
    };
}
