//! The `[detection]` section: parameters of every detector, what is expected, what is silenced, how findings are kept.
//!
//! Each field has a default; an unknown key is an error. Values only: nothing here decides.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::finding::{Detector, Party, Signal};

/// What a finding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    pub action: Action,
    /// At most this long.
    #[serde(default = "quarter_hour")]
    pub for_s: u64,
    /// With `limit`: what the subject may still send.
    #[serde(default = "hundred")]
    pub packets_per_second: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[default]
    Alert,
    Limit,
    Ban,
}

const fn quarter_hour() -> u64 {
    900
}

const fn hundred() -> u64 {
    100
}

/// Shared memories, in entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Conversations whose last counters are known (about 200 bytes each).
    pub conversations: usize,
    /// First contacts that are remembered for four hours (about 110 bytes each).
    pub attempts: usize,
    /// Addresses whose workload is known.
    pub workloads: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { conversations: 65_536, attempts: 131_072, workloads: 8192 }
    }
}

/// How findings are kept and told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hygiene {
    /// A finding closes after this long without a signal.
    pub hold_s: u64,
    /// An open finding reports its growth at most this often.
    pub update_s: u64,
    pub notifications_per_minute: u32,
    pub open_findings: usize,
}

impl Default for Hygiene {
    fn default() -> Self {
        Self { hold_s: 900, update_s: 60, notifications_per_minute: 60, open_findings: 4096 }
    }
}

/// Something that looks like an attack and is none. It is still counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub detector: Detector,
    #[serde(default)]
    pub subject: Option<IpNet>,
    #[serde(default)]
    pub target: Option<IpNet>,
    #[serde(default)]
    pub port: Option<u16>,
    pub reason: String,
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl Expected {
    pub fn covers(&self, signal: &Signal, at: u64) -> bool {
        self.detector == signal.detector
            && self.until.is_none_or(|until| i128::from(at) < until.as_nanosecond())
            && within(self.subject, signal.subject.address())
            && within(self.target, signal.target.as_ref().and_then(Party::address))
            && self
                .port
                .is_none_or(|port| signal.service.as_ref().is_some_and(|service| service.port == port))
    }
}

/// Findings that are kept and not told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    #[serde(default)]
    pub detector: Option<Detector>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub subject: Option<IpNet>,
    pub reason: String,
}

impl Silence {
    pub fn covers(&self, detector: Detector, subject: Option<IpAddr>) -> bool {
        self.detector.is_none_or(|mine| mine == detector) && within(self.subject, subject)
    }
}

fn within(prefix: Option<IpNet>, address: Option<IpAddr>) -> bool {
    prefix.is_none_or(|prefix| address.is_some_and(|address| prefix.contains(&address)))
}
