//! What the metrics page says, now and in a while: figures are a second old, and older on a machine that is busy.
//!
//! In: a metric and labels. Out: its sum, once it is as it should be or how it was instead. Nothing here asks for an exact
//! moment: a value or a rate may show late, but what is wrong never shows.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{super::network::eventually, Daemon, PATIENCE};

/// Between two readings of a counter that make a rate.
const WINDOW: Duration = Duration::from_secs(2);
/// Windows until one has to show the rate that is wanted.
const WINDOWS: usize = 15;

impl Daemon {
    /// The metrics page.
    pub fn metrics(&self) -> Result<String> {
        let page = ["--silent", "--fail", "--max-time", "30", "http://127.0.0.1:9477/metrics"];
        self.space.run("curl", &page)
    }

    /// The sum of a metric over all of its series whose labels contain each of `labels` (as in `reason="banned"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let page = self.metrics()?;
        let mut sum = 0.0;
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let found = series.split('{').next() == Some(name);
            if found && labels.iter().all(|label| series.contains(label)) {
                sum += value.parse::<f64>().with_context(|| format!("the value of {series}"))?;
            }
        }
        Ok(sum)
    }

    /// Waits until a metric is `enough`; its value then.
    pub fn reaches(&self, name: &str, labels: &[&str], enough: impl Fn(f64) -> bool) -> Result<f64> {
        let mut last = None;
        let ready = || {
            last = self.metric(name, labels).ok();
            last.filter(|value| enough(*value))
        };
        eventually(&format!("{name} {labels:?}"), PATIENCE, ready)
            .with_context(|| format!("it was {last:?} at last"))
    }

    /// Waits until a counter of what is over stands still.
    pub fn settles(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let settled = || {
            let first = self.metric(name, labels).ok()?;
            thread::sleep(WINDOW + WINDOW / 4);
            let second = self.metric(name, labels).ok()?;
            (first.to_bits() == second.to_bits()).then_some(second)
        };
        eventually(&format!("{name} {labels:?} stands still"), PATIENCE, settled)
    }

    /// Waits until a counter grows by so much a second.
    pub fn grows(&self, name: &str, labels: &[&str], per_second: Range<f64>) -> Result<f64> {
        let read = || anyhow::Ok((Instant::now(), self.metric(name, labels)?));
        let (mut last, mut seen) = (read()?, Vec::new());
        while seen.len() < WINDOWS {
            thread::sleep(WINDOW);
            let next = read()?;
            let rate = (next.1 - last.1) / next.0.duration_since(last.0).as_secs_f64();
            if per_second.contains(&rate) {
                return Ok(rate);
            }
            seen.push(rate);
            last = next;
        }
        bail!("{name} {labels:?} grew by {seen:.0?} a second instead of {per_second:?}")
    }
}
