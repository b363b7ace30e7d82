//! `/v1/access`: who is exempt, denied or banned.

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};
use crate::schema::{self, prefix_or_address};
use crate::snapshot::{Ban, Count};

/// Asks for the three lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAccess {}

impl Command for ListAccess {
    type Answer = AccessList;
    const ENDPOINT: Endpoint = Endpoint {
        name: "access list",
        method: Method::Get,
        path: "/v1/access",
        role: Role::Viewer,
        about: "Exemptions, denials and bans.",
        errors: &[],
    };
}

/// The three lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// Never dropped; still counted and watched.
    Exempt,
    /// Dropped, whatever the rate.
    Deny,
    /// Dropped for a time: one source each (a /32 or /64 unless sources are aggregated otherwise).
    Ban,
}

impl AccessKind {
    /// All lists.
    pub const ALL: [Self; 3] = [Self::Exempt, Self::Deny, Self::Ban];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::Deny => "deny",
            Self::Ban => "ban",
        }
    }
}

/// Adds to a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessAdd {
    #[serde(rename = "list")]
    pub kind: AccessKind,
    #[serde(deserialize_with = "prefix_or_address")]
    #[schemars(with = "schema::PrefixOrAddress")]
    pub prefix: IpNet,
    /// How long; left out: until the daemon restarts (bans: ten minutes).
    #[serde(default)]
    pub for_seconds: Option<u64>,
    #[serde(default)]
    pub comment: Option<String>,
}

impl Command for AccessAdd {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "access add",
        method: Method::Post,
        path: "/v1/access/{list}",
        role: Role::Operator,
        about: "Exempts, denies or bans a prefix.",
        errors: &[],
    };
}

/// A list of prefixes, in any of the styles that `policy::list` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessImport {
    /// What the list is called in answers and in the history: its file, usually.
    pub name: String,
    /// Exemptions or denials; a ban is of one source.
    pub kind: AccessKind,
    /// One prefix a line; what else may be on a line is in docs/reference/lists.md.
    pub text: String,
    /// Only report what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// How long; left out: until the daemon restarts.
    #[serde(default)]
    pub for_seconds: Option<u64>,
}

impl Command for AccessImport {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "access import",
        method: Method::Post,
        path: "/v1/access/import",
        role: Role::Operator,
        about: "Exempts or denies a whole list of prefixes as one change, or reports what it would do.",
        errors: &[],
    };
}

/// Takes an entry of a list back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessRemove {
    #[serde(rename = "list")]
    pub kind: AccessKind,
    #[serde(deserialize_with = "prefix_or_address")]
    #[schemars(with = "schema::PrefixOrAddress")]
    pub prefix: IpNet,
}

impl Command for AccessRemove {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "access remove",
        method: Method::Delete,
        path: "/v1/access/{list}",
        role: Role::Operator,
        about: "Takes back an exemption, a denial or a ban.",
        errors: &[],
    };
}

/// An exemption or a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessEntry {
    #[schemars(with = "schema::Prefix")]
    pub prefix: IpNet,
    pub until: Option<Timestamp>,
    pub comment: Option<String>,
    /// `config`, or who made it while running.
    pub origin: String,
    /// What a denial dropped so far; zero for exemptions.
    pub dropped: Count,
}

/// The answer to [`ListAccess`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessList {
    pub exempt: Vec<AccessEntry>,
    pub denied: Vec<AccessEntry>,
    pub banned: Vec<Ban>,
}

#[cfg(test)]
mod tests {
    use super::AccessAdd;

    #[test]
    fn a_mistyped_field_is_an_error() {
        let body = r#"{"list":"ban","prefix":"10.0.0.1","for_secs":5}"#;
        assert!(serde_json::from_str::<AccessAdd>(body).is_err());
    }
}
