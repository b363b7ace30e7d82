//! The list of detectors: their files, their tables of `[detection]`, and the order in which they see a contact. A new one
//! is its file, its lines here, and the name of its finding in `finding.rs`.

pub mod administration;
pub mod beacon;
pub mod brute_force;
pub mod crowding;
pub mod edges;
pub mod exfiltration;
pub mod fan_out;
pub mod flood;
pub mod long_connection;
pub mod out_of_state;
pub mod outbound;
pub mod plain_text;
pub mod protocol_scan;
pub mod rate_shift;
pub mod scan;
pub mod slow_scan;
pub mod spoofed;
pub mod sweep;
pub mod tunnel;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Learned,
    detect::Detect,
    finding::Detector,
    parameters::{Expected, Hygiene, Memory, Response, Silence},
};

/// Everything under `[detection]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Detectors that raise nothing.
    pub off: Vec<Detector>,
    /// What a finding leads to, by detector; without an entry: an alert.
    pub respond: BTreeMap<Detector, Response>,
    pub scan: scan::Parameters,
    pub slow_scan: slow_scan::Parameters,
    pub out_of_state_scan: out_of_state::Parameters,
    pub sweep: sweep::Parameters,
    pub brute_force: brute_force::Parameters,
    pub beacon: beacon::Parameters,
    pub long_connection: long_connection::Parameters,
    pub exfiltration: exfiltration::Parameters,
    pub tunnel: tunnel::Parameters,
    pub fan_out: fan_out::Parameters,
    pub administration: administration::Parameters,
    pub plain_text: plain_text::Parameters,
    pub edges: edges::Parameters,
    pub rate_shift: rate_shift::Parameters,
    pub flood: flood::Parameters,
    pub crowding: crowding::Parameters,
    pub outbound: outbound::Parameters,
    pub spoofed_source: spoofed::Parameters,
    pub memory: Memory,
    pub findings: Hygiene,
    /// Declared scanners, health checks, backups: `[[detection.expected]]`.
    pub expected: Vec<Expected>,
    pub silences: Vec<Silence>,
}

/// All detectors, in the order in which they see a contact.
pub fn registry(p: &Parameters, learned: &Learned, now: u64) -> Vec<Box<dyn Detect>> {
    vec![
        Box::new(scan::Scan::new(&p.scan)),
        Box::new(protocol_scan::ProtocolScan::new(&p.scan)),
        Box::new(slow_scan::SlowScan::new(&p.slow_scan)),
        Box::new(out_of_state::OutOfState::new(&p.out_of_state_scan)),
        Box::new(sweep::Sweep::new(&p.sweep)),
        Box::new(brute_force::BruteForce::new(&p.brute_force)),
        Box::new(flood::Flood::new(&p.flood)),
        Box::new(crowding::Crowding::new(&p.crowding)),
        Box::new(outbound::Outbound::new(&p.outbound)),
        Box::new(tunnel::Tunnel::new(&p.tunnel)),
        Box::new(beacon::Beacon::new(&p.beacon)),
        Box::new(exfiltration::Exfiltration::new(&p.exfiltration, &learned.baselines)),
        Box::new(edges::Edges::new(&p.edges, &learned.edges, now)),
        Box::new(rate_shift::RateShift::new(&p.rate_shift, &learned.services)),
        Box::new(long_connection::LongConnection::new(&p.long_connection)),
        Box::new(spoofed::Spoofed::new(&p.spoofed_source)),
        Box::new(fan_out::FanOut::new(&p.fan_out)),
        Box::new(administration::Administration::new(&p.administration)),
        Box::new(plain_text::PlainText::new(&p.plain_text)),
    ]
}
