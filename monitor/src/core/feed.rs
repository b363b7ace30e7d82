//! Detection with the number of its records, fed the same way by the daemon and by replay.
//!
//! In: flow records with their times, sources over their limit, seconds with what services carried in them. Out: changes
//! of findings. It keeps nothing else and reads no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use detection::Detection;
use detection::detect::ServiceRate;
use detection::ledger::FindingChange;
use monitor_common::conversation::Record;
use policy::Image;

/// Flow records, each with its time and the workload that sent it.
pub fn records<'a>(
    detection: &mut Detection,
    records: impl IntoIterator<Item = (&'a Record, u64, Option<String>)>,
) {
    for (record, at_ns, workload) in records {
        detection.observe(record, at_ns, workload.as_deref());
    }
}

/// Sources that exceed their limit: when they begin to, and once a second while they do.
pub fn exceeding(detection: &mut Detection, sources: impl IntoIterator<Item = IpAddr>, at_ns: u64) {
    for source in sources {
        detection.exceeded(source, at_ns);
    }
}

/// A second is over: what services carried in it.
pub fn second(detection: &mut Detection, carried: BTreeMap<u32, ServiceRate>, image: &Image, at_ns: u64) {
    for (service, rate) in carried {
        if let Some(name) = image.service_name(service) {
            detection.service_rate(name, rate, at_ns);
        }
    }
}

/// What changed, and a line in the log for findings that were held back.
pub fn changes(detection: &mut Detection) -> Vec<FindingChange> {
    for summary in detection.drain_summaries() {
        let told: Vec<_> =
            summary.held_back.iter().map(|(detector, count)| format!("{count} {detector}")).collect();
        tracing::warn!("more findings than one minute can tell, held back: {}", told.join(", "));
    }
    detection.drain_findings()
}
