//! Why a source is treated as it is, by the rules alone (the engine adds bans, buckets and counters).

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Rules;
use crate::config::{BanRule, Limits, Mode};

/// What the rules say about one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub address: IpAddr,
    /// What counts as this source: the address cut to `[source]`'s length.
    pub source: IpNet,
    pub exempt: Option<Ground>,
    pub denied: Option<Ground>,
    pub class: String,
    /// The prefix that gave the class; absent for `outside`.
    pub classed_by: Option<Ground>,
    /// What applies at each service that was asked for, in the order of the file, the default service last.
    pub limits: Vec<AppliedLimit>,
}

/// A prefix that decided, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    pub prefix: IpNet,
    /// `access.denied`, `class gateway`, `the list drop.txt`, or who made it and why.
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The limit of this source at one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedLimit {
    pub service: String,
    pub mode: Mode,
    /// Where the limit stands: `service web`, `service web, class inside`, `set at run time`.
    pub from: String,
    pub limit: Limits,
    pub candidate: Limits,
    pub ban: Option<BanRule>,
    pub aggregate_mode: Mode,
    pub aggregate: Limits,
}

/// What the rules say about `address` at `service`, or at every service.
pub fn explain(rules: &Rules, address: IpAddr, service: Option<&str>, now: Timestamp) -> Explanation {
    let _ = (rules, service, now);
    Explanation {
        address,
        source: super::access::host(address),
        exempt: None,
        denied: None,
        class: crate::config::OUTSIDE_CLASS.to_owned(),
        classed_by: None,
        limits: Vec::new(),
    }
}
