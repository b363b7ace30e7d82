//! `/v1/containments`: sources and workloads that are cut off or limited on their own.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::Timestamp;
use policy::config::{Mode, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Applied, Command, Endpoint, Method, Role};
use crate::error::Code;
use crate::schema::{self, is_meant_as_address, parse_prefix};
use crate::snapshot::Count;

/// Whom a containment holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One source, by its address (aggregated as sources are).
    Source(#[schemars(with = "schema::Prefix")] IpNet),
    /// A workload of this host by its name: a systemd unit, `container <id>`, or the path of a cgroup.
    Workload(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => {
                write!(f, "{}", prefix.addr())
            }
            Self::Source(prefix) => write!(f, "{prefix}"),
            Self::Workload(name) => write!(f, "{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    /// What is an address or a prefix is a source; everything else names a workload.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match parse_prefix(text) {
            Ok(prefix) => return Ok(Self::Source(prefix)),
            Err(wrong) if is_meant_as_address(text) => return Err(wrong),
            Err(_) => {}
        }
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("name an address, or a workload as `sluice flows` shows it".to_owned());
        }
        Ok(Self::Workload(text.to_owned()))
    }
}

/// Contains a subject, or changes how it is contained. Neither packets nor bytes: it is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainmentSet {
    /// An address, or the name of a workload.
    #[schemars(length(min = 1))]
    pub subject: String,
    #[serde(default)]
    pub packets: Option<Rate>,
    /// In bytes or bits.
    #[serde(default)]
    pub bytes: Option<Rate>,
    /// Count what it would drop, let it pass.
    #[serde(default)]
    pub observe: bool,
    /// How long; left out: until it is lifted.
    #[serde(default)]
    pub for_seconds: Option<u64>,
    #[serde(default)]
    pub comment: Option<String>,
}

impl Command for ContainmentSet {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "contain",
        method: Method::Post,
        path: "/v1/containments",
        role: Role::Operator,
        about: "Cuts off or limits one source or one workload.",
        errors: &[Code::NotSupported],
    };
}

/// Takes a containment back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainmentLift {
    /// An address, or the name of a workload.
    #[schemars(length(min = 1))]
    pub subject: String,
}

impl Command for ContainmentLift {
    type Answer = Applied;
    const ENDPOINT: Endpoint = Endpoint {
        name: "contain --lift",
        method: Method::Delete,
        path: "/v1/containments",
        role: Role::Operator,
        about: "Takes a containment back.",
        errors: &[],
    };
}

/// A containment as it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Containment {
    pub subject: Subject,
    pub packets: Option<Rate>,
    pub bytes: Option<Rate>,
    pub mode: Mode,
    pub since: Timestamp,
    /// `None`: until it is lifted.
    pub until: Option<Timestamp>,
    pub comment: Option<String>,
    pub made_by: String,
}

/// A containment as it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contained {
    #[serde(flatten)]
    pub containment: Containment,
    /// False for a workload that is not running.
    pub in_force: bool,
    /// What the subject sent since.
    pub judged: Count,
    /// What of it was over, and dropped unless it only observes.
    pub over: Count,
}

/// Asks for the containments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListContainments {}

impl Command for ListContainments {
    type Answer = ContainmentList;
    const ENDPOINT: Endpoint = Endpoint {
        name: "contain list",
        method: Method::Get,
        path: "/v1/containments",
        role: Role::Viewer,
        about: "Containments with what they let through and what they dropped.",
        errors: &[],
    };
}

/// The answer to [`ListContainments`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainmentList {
    pub containments: Vec<Contained>,
}

#[cfg(test)]
mod tests {
    use super::Subject;

    #[test]
    fn a_subject_is_an_address_or_else_a_workload() {
        let of = |text: &str| text.parse::<Subject>().unwrap();
        assert_eq!(of("10.0.0.5").to_string(), "10.0.0.5");
        assert_eq!(of("2001:db8::1/64").to_string(), "2001:db8::/64");
        assert_eq!(of("nginx.service"), Subject::Workload("nginx.service".to_owned()));
        assert_eq!(of("container 0123456789ab").to_string(), "container 0123456789ab");
        for mistyped in ["10.0.0", "10.0.0.256", "10.0.0.5:80", "10.0.0.0/33", "2001:db8::/129", "fd00::g"] {
            assert!(mistyped.parse::<Subject>().is_err(), "{mistyped}");
        }
        assert!("".parse::<Subject>().is_err());
        assert!("a\nb".parse::<Subject>().is_err());
    }
}
