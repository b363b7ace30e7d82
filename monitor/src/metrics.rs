//! A snapshot becomes a Prometheus page.
//!
//! In: a snapshot. Out: text in the exposition format 0.0.4, and the reference of all metrics. It opens no socket and
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
