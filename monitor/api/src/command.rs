//! What a command is: one type that carries its request, its answer, the role it needs and its documentation.
//!
//! In: nothing. Out: the trait and the values that every command shares: options of changes and what a change did.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Code;

/// Something that the daemon can be asked. Its fields are the request: those named in the path, and the others in the query
/// (GET, DELETE) or in the JSON body (POST, PUT).
pub trait Command: Serialize + DeserializeOwned + JsonSchema + fmt::Debug + Send + 'static {
    type Answer: Serialize + DeserializeOwned + JsonSchema + fmt::Debug + Send + 'static;

    const ENDPOINT: Endpoint;
}

/// How a command is called.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// As the command line, logs and the audit call it: `limit set`.
    pub name: &'static str,
    pub method: Method,
    /// With its variables, which are fields of the command: `/v1/limits/{service}`.
    pub path: &'static str,
    /// The least role that may call it.
    pub role: Role,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// What can go wrong besides [`Endpoint::errors`].
    pub errors: &'static [Code],
}

impl Endpoint {
    /// Errors that it can answer with.
    pub fn errors(&self) -> Vec<Code> {
        let mut all =
            vec![Code::Invalid, Code::NotPermitted, Code::Failed, Code::Unavailable, Code::TimedOut];
        if self.method.has_body() {
            all.extend([Code::TooSlow, Code::TooLarge]);
        }
        if self.method != Method::Get {
            all.extend([Code::NotFound, Code::Conflict, Code::NeedsConfirmation, Code::Full]);
        }
        all.extend(self.errors);
        all.sort_unstable_by_key(|code| code.http_status());
        all.dedup();
        all
    }
}

/// How an endpoint is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    /// The name on the wire.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Whether the fields that are not in the path travel in a body.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put)
    }
}

/// What a caller may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes limits, bans and access.
    Operator,
    /// Reloads, stops, detaches.
    Admin,
}

impl Role {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// How a change is made: part of the query of every request that is not a GET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChangeOptions {
    /// Keep it over restarts (as an override in the store; the configuration file is never written).
    pub save: bool,
    /// Take it back after this time unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = LONGEST_WAIT_SECONDS))]
    pub confirm_within_seconds: Option<u64>,
    /// The caller was warned and asks again: overrides [`Code::NeedsConfirmation`].
    pub yes: bool,
}

/// The longest time for a confirmation: thirty days.
pub const LONGEST_WAIT_SECONDS: u64 = 30 * 24 * 3600;

impl ChangeOptions {
    pub fn confirm_within(&self) -> Option<Duration> {
        self.confirm_within_seconds.map(Duration::from_secs)
    }
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Its number in the history; `None` when nothing changed.
    pub change: Option<u64>,
    /// One line per thing that is different now; empty when nothing is.
    pub summary: Vec<String>,
    pub saved: bool,
    /// When it is taken back unless it is confirmed.
    pub confirm_by: Option<Timestamp>,
    pub warnings: Vec<String>,
}

/// The answer of what has nothing else to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    pub done: bool,
}

/// Version of the answers' shapes: it rises when a field changes its meaning or goes away.
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

impl<T: JsonSchema> JsonSchema for Versioned<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}Answer", T::schema_name()).into()
    }

    /// The answer's own object with one more member.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let object = schema.ensure_object();
        let version = json!({
            "const": SCHEMA_VERSION,
            "description": "Version of the answer's shape; it rises when a member changes its meaning or goes away.",
        });
        for (member, value) in [("properties", json!({})), ("required", json!([]))] {
            object.entry(member).or_insert(value);
        }
        if let Some(properties) = object.get_mut("properties").and_then(|value| value.as_object_mut()) {
            properties.insert("schema_version".to_owned(), version);
        }
        if let Some(required) = object.get_mut("required").and_then(|value| value.as_array_mut()) {
            required.insert(0, json!("schema_version"));
        }
        schema
    }
}
