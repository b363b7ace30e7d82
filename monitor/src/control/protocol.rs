//! The shapes that travel: what the engine's own types do not already say.
//!
//! Requests and answers of the engine (`engine::command`, `snapshot`) travel as they are; here stand the envelopes and
//! the bodies that a path completes. `schema_version` rises when a field changes its meaning or goes away.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::engine::command::{Alert, Change, RateRequest, SourceOrder};
use crate::snapshot::{LimitInForce, Snapshot};
use policy::LimitKind;
use policy::config::Mode;

/// Version of the answers' shapes.
pub const SCHEMA_VERSION: u32 = 1;

/// An answer with the version of its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versioned<T> {
    pub schema_version: u32,
    #[serde(flatten)]
    pub answer: T,
}

impl<T> Versioned<T> {
    pub fn new(answer: T) -> Self {
        Self { schema_version: SCHEMA_VERSION, answer }
    }
}

/// The answer of `GET /v1/status`.
pub type Status = Versioned<Snapshot>;

/// The query of `GET /v1/sources`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcesQuery {
    #[serde(default)]
    pub sort: SourceOrder,
    pub prefix: Option<IpNet>,
    pub service: Option<String>,
    #[serde(default)]
    pub limit: usize,
    #[serde(default)]
    pub after: usize,
    #[serde(default)]
    pub senders: bool,
}

/// The answer of `GET /v1/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub limits: Vec<LimitInForce>,
}

/// The answer of `GET /v1/alerts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    pub alerts: Vec<Alert>,
}

/// The body of `PUT /v1/limits/{service}`; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitBody {
    pub class: Option<String>,
    pub kind: LimitKind,
    pub mode: Option<Mode>,
    pub packets: Option<RateRequest>,
    pub bytes: Option<RateRequest>,
    pub connections: Option<RateRequest>,
    pub fragments: Option<RateRequest>,
}

/// The query of `DELETE /v1/limits/{service}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitQuery {
    pub class: Option<String>,
    #[serde(default)]
    pub kind: LimitKind,
}

/// The body of `POST /v1/access/{list}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessBody {
    /// A prefix, or a plain address.
    #[serde(deserialize_with = "prefix_or_address")]
    pub prefix: IpNet,
    #[serde(default)]
    pub for_seconds: Option<u64>,
    #[serde(default)]
    pub comment: Option<String>,
}

/// The query of `DELETE /v1/access/{list}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessQuery {
    #[serde(deserialize_with = "prefix_or_address")]
    pub prefix: IpNet,
}

/// The query of `DELETE /v1/containments`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiftQuery {
    pub subject: String,
}

/// The body of `POST /v1/confirm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfirmBody {
    /// The number of the change; left out: the one that waits.
    pub change: Option<u64>,
}

/// The query of `GET /v1/history`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryQuery {
    pub limit: Option<usize>,
    /// Only changes with a lower number: the last one of the page before.
    pub before: Option<u64>,
}

/// The answer of `GET /v1/history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub changes: Vec<Change>,
    /// The `before` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The query of `GET /v1/tune`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TuneShowQuery {
    pub service: Option<String>,
    pub class: Option<String>,
    pub quantile: Option<f64>,
    pub headroom: Option<f64>,
}

/// The body of `POST /v1/tune/{service}/...`; what is left out is what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuneBody {
    pub class: Option<String>,
    pub quantile: Option<f64>,
    pub headroom: Option<f64>,
}

/// The answer of `POST /v1/stop` and `POST /v1/detach`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub done: bool,
}

/// A prefix as people write it: `10.0.0.0/8`, or one address.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map(|prefix| prefix.trunc())
        .map_err(|_| {
            format!("`{text}` is neither an address nor a prefix such as 10.0.0.0/8 or 2001:db8::/32")
        })
}

fn prefix_or_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_prefix(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::{AccessBody, parse_prefix};

    #[test]
    fn a_prefix_is_also_a_plain_address_and_loses_its_host_bits() {
        for (text, wanted) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(parse_prefix(text).unwrap().to_string(), wanted);
        }
        assert!(parse_prefix("10.0.0.0/33").is_err());
        assert!(parse_prefix("example.org").is_err());
    }

    #[test]
    fn a_mistyped_field_of_a_body_is_an_error() {
        assert!(serde_json::from_str::<AccessBody>(r#"{"prefix":"10.0.0.1","for_secs":5}"#).is_err());
    }
}
