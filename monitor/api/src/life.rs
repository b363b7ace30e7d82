//! `/v1/stop` and `/v1/detach`: the daemon's end, with and without the kernel's protection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Done, Endpoint, Method, Role};

/// Ends the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {}

impl Command for Stop {
    type Answer = Done;
    const ENDPOINT: Endpoint = Endpoint {
        name: "stop",
        method: Method::Post,
        path: "/v1/stop",
        role: Role::Admin,
        about: "Ends the daemon; limits stay in force in the kernel.",
        errors: &[],
    };
}

/// Removes programs, maps and pins, and ends the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detach {}

impl Command for Detach {
    type Answer = Done;
    const ENDPOINT: Endpoint = Endpoint {
        name: "detach",
        method: Method::Post,
        path: "/v1/detach",
        role: Role::Admin,
        about: "Removes programs, maps and pins, and ends the daemon.",
        errors: &[],
    };
}
