//! `/v1/config`, `/v1/reload`: the configuration in force, and reading it again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};

/// Asks for the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowConfig {}

impl Command for ShowConfig {
    type Answer = ConfigText;
    const ENDPOINT: Endpoint = Endpoint {
        name: "config show",
        method: Method::Get,
        path: "/v1/config",
        role: Role::Viewer,
        about: "The configuration in force.",
        errors: &[],
    };
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigText {
    /// `None`: the embedded default.
    pub path: Option<String>,
    pub toml: String,
}

/// Reads the configuration file again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {}

impl Command for Reload {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "reload",
        method: Method::Post,
        path: "/v1/reload",
        role: Role::Admin,
        about: "Reads the configuration file again; a bad one changes nothing.",
        errors: &[],
    };
}
