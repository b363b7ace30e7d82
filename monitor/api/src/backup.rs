//! `/v1/backup`: the store as a file, read in parts while the daemon runs.
//!
//! The first request has the daemon copy its store at one moment; the others name that copy. It goes away with its last part.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Endpoint, Method, Role};

/// Begins a backup, or reads on in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupRead {
    /// The `id` of the part before; without one a backup begins.
    pub id: Option<String>,
    /// Where to read on: the `offset` of the part before, and its length.
    pub offset: u64,
}

impl Command for BackupRead {
    type Answer = BackupPart;
    const ENDPOINT: Endpoint = Endpoint {
        name: "backup",
        method: Method::Get,
        path: "/v1/backup",
        role: Role::Admin,
        about: "The store as it is at the first request, in parts: saved changes, history, findings, what was learned.",
        errors: &[crate::error::Code::NotFound],
    };
}

/// The answer to [`BackupRead`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupPart {
    /// Names the copy that this is a part of.
    pub id: String,
    /// Length of the whole.
    pub bytes: u64,
    /// Where this part begins.
    pub offset: u64,
    /// The part, in base64 (RFC 4648, 4).
    pub data: String,
}
