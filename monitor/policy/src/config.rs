//! File and flags to a valid [`Config`], or an error that names the key, the place and the next step.
//!
//! In: the text of a TOML file. Out: a [`Config`] in which every value was checked, alone and against the others.
//! It never touches the system: whether an interface or a group exists is found out by who uses it.

mod advice;
mod burst;
mod challenge;
mod check;
mod list;
mod metrics;
mod nearest;
mod parse;
mod pattern;
mod place;
mod prefix;
mod reflection;
mod schema;
mod service;
mod sink;
mod units;

pub use burst::{ASSUMED_TICK_NS, LARGEST_FRAME, Quantity, quantities};
pub use challenge::Challenge;
pub use list::{AccessList, ListAction};
pub use metrics::{Metrics, PageDetail};
pub use nearest::nearest;
pub use parse::{ConfigError, Place, Problem};
pub use pattern::{is_pattern, matches};
pub use prefix::parse_prefix;
pub use reflection::Reflection;
pub use schema::{
    Access, Alerts, Bpf, BpfLog, Capacity, Class, Control, Conversations, Flood, Format, Fragments,
    Heartbeat, Interfaces, Log, Malformed, MalformedAction, NativeMode, Source, State, Track, WhenStale,
};
pub use service::{
    AggregateLimits, BanRule, BanScope, ClassProtection, Limits, Match, Mode, Ports, Protection, Protocol,
    Service,
};
pub use sink::{AlertSink, LineFormat, SinkKind};
pub use units::{Bytes, Duration, Period, Rate, Unit};

use serde::{Deserialize, Serialize};

use detection;
use tuning;

/// The name by which the default service (all that no `[[service]]` matches) is addressed everywhere.
pub const DEFAULT_SERVICE: &str = "default";
/// The class of sources that no prefix names.
pub const OUTSIDE_CLASS: &str = "outside";
/// The class of the prefixes in `access.inside`.
pub const INSIDE_CLASS: &str = "inside";

/// All that can be configured. Every field has a default; an empty file is valid, observes and drops nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub interfaces: Interfaces,
    pub source: Source,
    pub access: Access,
    #[serde(rename = "class")]
    pub classes: Vec<Class>,
    /// What applies where no service matches.
    pub default: Protection,
    #[serde(rename = "service")]
    pub services: Vec<Service>,
    pub malformed: Malformed,
    pub fragments: Fragments,
    pub reflection: Reflection,
    pub challenge: Challenge,
    pub flood: Flood,
    pub conversations: Conversations,
    pub heartbeat: Heartbeat,
    pub capacity: Capacity,
    pub control: Control,
    pub metrics: Metrics,
    pub log: Log,
    pub alerts: Alerts,
    pub state: State,
    pub bpf: Bpf,
    pub detection: detection::Parameters,
    pub tuning: tuning::Parameters,
    /// Behaviour that is declared, still counted, never alerted on.
    pub expected: Vec<detection::parameters::Expected>,
}

impl Config {
    /// The configuration in `text`; `origin` (a file name) is what errors call it.
    ///
    /// All problems of the whole file are reported at once.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        parse::parse(text, origin)
    }

    /// Whether any service challenges.
    pub fn challenges(&self) -> bool {
        self.default.challenge || self.services.iter().any(|service| service.protection.challenge)
    }

    /// The embedded default file, with comments: what `sluice config default` prints.
    pub fn default_file() -> &'static str {
        include_str!("config/default.toml")
    }

    /// The embedded default configuration: observes, drops nothing.
    pub fn embedded() -> Self {
        match Self::parse(Self::default_file(), "the embedded default") {
            Ok(config) => config,
            Err(error) => unreachable!("a test holds the embedded default to be valid: {error}"),
        }
    }

    /// The detectors' parameters, with what `[[expected]]` declares.
    pub fn detectors(&self) -> detection::Parameters {
        let mut parameters = self.detection.clone();
        parameters.expected.extend(self.expected.iter().cloned());
        parameters
    }

    /// What is valid and still probably not meant, one sentence each.
    pub fn advice(&self) -> Vec<String> {
        advice::advice(self)
    }

    /// The configuration as a TOML file (without comments): what `sluice config show` prints.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests;
