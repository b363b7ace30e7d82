//! `/v1/audit`: every call that changes something, every call that is refused, and what the daemon changed by itself.
//!
//! The entries form a chain: each carries the SHA-256 of the one before it. Both commands read the files of the chain and
//! are answered without the engine.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::{Command, Endpoint, Method, Role};
use crate::origin::Origin;

/// Which entries of the audit, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// At most this many; 0 means 50, and no page is longer than 1000.
    pub limit: usize,
    /// Only entries with a lower number: the last one of the page before.
    pub before: Option<u64>,
    /// Only entries of this time or later.
    pub since: Option<Timestamp>,
}

impl Command for AuditQuery {
    type Answer = AuditPage;
    const ENDPOINT: Endpoint = Endpoint {
        name: "audit list",
        method: Method::Get,
        path: "/v1/audit",
        role: Role::Admin,
        about: "Who changed or tried what, newest first.",
        errors: &[],
    };
}

/// The answer to [`AuditQuery`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The `before` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What an entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditKind {
    /// A call that was carried out, or that failed on the way.
    Call,
    /// A call that was refused.
    Refused,
    /// A change that the daemon made by itself.
    Change,
    /// The daemon began to write.
    Begun,
    /// Entries are missing here, and why.
    Gap,
    /// The oldest entries were removed for want of space.
    Pruned,
}

impl AuditKind {
    pub const ALL: [Self; 6] =
        [Self::Call, Self::Refused, Self::Change, Self::Begun, Self::Gap, Self::Pruned];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Refused => "refused",
            Self::Change => "change",
            Self::Begun => "begun",
            Self::Gap => "gap",
            Self::Pruned => "pruned",
        }
    }
}

/// One entry of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Grows by one, never reused.
    pub number: u64,
    pub at: Timestamp,
    pub kind: AuditKind,
    /// The name of the caller's user, if the host knew one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where it came from, with the credentials that the kernel attested.
    pub origin: Origin,
    /// The command's name, the method and path of a request that is none, or what happened.
    pub what: String,
    /// `done`, or the code of the error.
    pub outcome: String,
    /// The error, or a remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What was asked for; long texts are cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// What is different now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<AuditChange>,
    /// The entries that a gap or a removal is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<AuditMissing>,
    /// SHA-256 of the entry before, in hexadecimal digits; zeros before the first.
    pub previous: String,
    /// SHA-256 of this entry as it stands in the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// A change that an entry is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditChange {
    /// Its number in the history, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    pub what: String,
    /// What stood before and after; long texts are cut, the history has all of it.
    pub before: Value,
    pub after: Value,
}

/// Entries that are not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditMissing {
    /// How many, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The number of the last one that was removed, and its SHA-256: where the chain that remains begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Checks the chain; an entry that is named by number and SHA-256 must be in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyAudit {
    pub number: Option<u64>,
    /// Of the entry with this number.
    pub sha256: Option<String>,
}

impl Command for VerifyAudit {
    type Answer = AuditVerdict;
    const ENDPOINT: Endpoint = Endpoint {
        name: "audit verify",
        method: Method::Get,
        path: "/v1/audit/verify",
        role: Role::Admin,
        about: "Whether the chain of the audit is whole; if not, its first broken entry.",
        errors: &[],
    };
}

/// The answer to [`VerifyAudit`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerdict {
    /// Entries that were read, up to the first broken one.
    pub entries: u64,
    /// The number of the oldest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The newest one that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<AuditHead>,
    /// Entries that tell of a gap.
    pub gaps: u64,
    /// The first entry that does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<AuditBreak>,
}

/// The newest entry: kept elsewhere, it proves later that nothing before it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHead {
    pub number: u64,
    pub sha256: String,
}

/// Where the chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditBreak {
    /// The number that the entry has, or should have.
    pub number: u64,
    /// The file and the line.
    pub place: String,
    pub why: String,
}
