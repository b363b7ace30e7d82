//! The answer to `explain`: why an address is treated as it is.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::AccessEntry;
use super::containment::Containment;
use crate::snapshot::{Ban, LimitInForce, RateAndBurst, Source};

/// Why an address is treated as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub address: IpAddr,
    /// The source that the address counts under.
    pub source: IpNet,
    pub class: String,
    /// The verdict in one sentence.
    pub verdict: String,
    /// The exemption that covers it.
    pub exempt: Option<AccessEntry>,
    /// The denial that covers it.
    pub denied: Option<AccessEntry>,
    pub ban: Option<Ban>,
    pub containment: Option<Containment>,
    /// One per service where it has an entry.
    pub services: Vec<ExplainedService>,
}

/// One source at one service, with its limit and bucket levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedService {
    pub source: Source,
    pub limit: Option<LimitInForce>,
    pub trial: Option<LimitInForce>,
    pub aggregate: Option<LimitInForce>,
    pub buckets: Vec<BucketLevel>,
}

/// How full a bucket is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketLevel {
    /// `packets`, `bytes`, `connections` or `fragments`.
    pub dimension: String,
    pub rate: RateAndBurst,
    /// Used share of the burst, 0 to 1.
    pub used: f64,
}
