//! A snapshot becomes a Prometheus page.
//!
//! In: a snapshot. Out: text in the exposition format 0.0.4 or as `OpenMetrics` 1.0, and the reference of all metrics. It opens no socket and
//! remembers nothing between two pages.

pub mod collector;
pub mod declaration;
pub mod reference;

use std::sync::Arc;
use std::time::Instant;

use prometheus::{Registry, TextEncoder};

use crate::snapshot::Snapshot;

/// Prometheus 3 refuses a scrape without it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Of the newer form, which a scrape may ask for.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The same page as `OpenMetrics`: families of counters are named without their ending, and the end is marked.
pub fn openmetrics(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + 8);
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) => {
                let family = name.strip_suffix("_total").unwrap_or(name);
                text.push_str(&["# ", what, " ", family, " ", rest].concat());
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text.push_str("# EOF\n");
    text
}

/// The page for `snapshot`.
pub fn page(snapshot: Arc<Snapshot>) -> prometheus::Result<String> {
    timed_page(snapshot, Instant::now())
}

fn timed_page(snapshot: Arc<Snapshot>, began: Instant) -> prometheus::Result<String> {
    let registry = Registry::new();
    registry.register(Box::new(collector::SnapshotCollector::new(snapshot)?))?;
    let mut families = registry.gather();
    families.push(collector::single(declaration::SCRAPE_DURATION, began.elapsed().as_secs_f64()));
    TextEncoder::new().encode_to_string(&families)
}

#[cfg(test)]
mod tests;
