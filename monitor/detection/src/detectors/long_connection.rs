//! `long_connection`: conversations that last for hours. Always `info`: the work of databases, shells and implants alike.
//!
//! In: contacts. Out: a signal per pair and service at each step (1, 4, 8, 12 hours). It holds no state of its own; the
//! conversation's duration comes with its records.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::StateSize,
    contact::Contact,
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::real,
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.long_connection]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Durations that are reported, rising.
    pub hours: Vec<f64>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { hours: vec![1.0, 4.0, 8.0, 12.0] }
    }
}

#[derive(Debug)]
pub struct LongConnection {
    parameters: Parameters,
}

impl LongConnection {
    pub fn new(parameters: &Parameters) -> Self {
        Self { parameters: parameters.clone() }
    }
}

impl Detect for LongConnection {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        if contact.observed().is_some() || !contact.succeeded() || contact.is_icmp() {
            return;
        }
        let seconds = real(contact.duration() / SECOND);
        let Some(level) = self.parameters.hours.iter().rposition(|hours| seconds >= hours * 3600.0) else {
            return;
        };
        let hours = self.parameters.hours[level];
        signals.push(Signal {
            detector: Detector::LongConnection,
            severity: Severity::Info,
            subject: Party::Address(contact.source),
            target: Some(Party::Address(contact.destination)),
            service: Some(Service::new(contact.protocol, contact.port)),
            first_seen: contact.began_at(),
            measured: seconds,
            threshold: hours * 3600.0,
            unit: "seconds",
            window_s: 0,
            confidence: 1.0,
            evidence: evidence(json!({
                "step_hours": hours,
                "bytes_sent": contact.record.forward.payload,
                "bytes_received": contact.record.backward.payload,
            })),
            workload: contact.workload.map(str::to_owned),
        });
    }

    fn sizes(&self) -> Vec<StateSize> {
        Vec::new()
    }
}
