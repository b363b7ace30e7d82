//! What the gaps between beats say: how regular, how steady, how exact, and whether they are bounded as those of a timer
//! with jitter are.

use std::collections::VecDeque;

use crate::statistics::{count, median, median_deviation, quantile, regularity};

/// Gaps of a timer with jitter lie within these multiples of their median; those of people and of chance do not, and a
/// beat that is lost makes a gap of two.
const BOUNDS: (f64, f64) = (0.3, 1.9);
const LOST: (f64, f64) = (1.9, 2.6);
/// Short gaps are cut off at what is one beat, so that of short periods bounds say nothing.
const SHORTEST: f64 = 5.0;

#[derive(Clone, Copy, Debug)]
pub struct Beat {
    pub period: f64,
    pub regularity: f64,
    /// Share of gaps within half of the period around it; missed beats count half.
    pub steadiness: f64,
    /// Share of gaps within [`BOUNDS`], and missed beats.
    pub bounded: f64,
    /// Median absolute deviation over the median.
    pub spread: f64,
    pub gaps: usize,
}

impl Beat {
    pub fn of(gaps: &[f64]) -> Option<Self> {
        let mut sorted = gaps.to_vec();
        sorted.sort_by(f64::total_cmp);
        let period = quantile(&sorted, 0.5);
        if period <= 0.0 {
            return None;
        }
        let near: f64 = gaps
            .iter()
            .map(|gap| match gap / period {
                ratio if (0.5..=1.5).contains(&ratio) => 1.0,
                ratio if (1.8..=2.2).contains(&ratio) => 0.5,
                _ => 0.0,
            })
            .sum();
        let is_bounded = |gap: &&f64| {
            let ratio = *gap / period;
            (BOUNDS.0..=BOUNDS.1).contains(&ratio)
        };
        let bounded = gaps.iter().filter(is_bounded).count();
        let lost = gaps.iter().filter(|gap| (LOST.0..LOST.1).contains(&(*gap / period))).count();
        Some(Self {
            period,
            regularity: regularity(gaps),
            steadiness: near / count(gaps.len()),
            bounded: (count(bounded) + count(lost.min(gaps.len() / 10))) / count(gaps.len()),
            spread: median_deviation(&sorted, period) / period,
            gaps: gaps.len(),
        })
    }

    /// Bounded gaps, and enough of them that chance does not make them so.
    pub fn is_jittered_timer(&self) -> bool {
        !self.is_short() && self.gaps >= 14 && self.bounded >= 0.95 && self.spread < 0.4
    }

    /// Regular enough to be more than worth knowing.
    pub fn is_regular(&self) -> bool {
        let least = if self.is_short() { 0.9 } else { 0.8 };
        (self.regularity >= least && self.steadiness >= 0.7) || self.is_jittered_timer()
    }

    /// Whether gaps were cut off at what is one beat.
    pub fn is_short(&self) -> bool {
        self.period < SHORTEST
    }
}

/// Median of sizes, and their median absolute deviation over it.
pub fn sizes(values: &VecDeque<f64>) -> (f64, f64) {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    let middle = median(&mut sorted);
    (middle, median_deviation(&sorted, middle) / middle.max(1.0))
}
