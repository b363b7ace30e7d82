//! `/v1/panic`: everything passes, whatever the rules say, until it is switched off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};

/// Switches panic on or off. On needs `yes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PanicSwitch {
    /// True: nothing is dropped; what would have been is counted.
    pub on: bool,
}

impl Command for PanicSwitch {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "panic",
        method: Method::Put,
        path: "/v1/panic",
        role: Role::Operator,
        about: "Lets everything pass, and counts what would be dropped, until it is switched off.",
        errors: &[],
    };
}
