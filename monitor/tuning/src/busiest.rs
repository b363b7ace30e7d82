//! The busiest sources of one service and class, so that a proposal can name whom it would have hit, and an estimate of how
//! many sources there were at all.
//!
//! Bounded: a source enters only by a peak above the least one kept. Peaks are kept by period and fade with it.

use monitor_common::flow::Address;
use serde::{Deserialize, Serialize};

use super::{real, whole};

/// Periods that are kept; the oldest falls away when a new one begins.
pub const PERIODS: usize = 4;

/// The sources with the highest peaks in one dimension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Busiest {
    entries: Vec<Peak>,
    /// The lowest peak kept once the list is full: everything at or below it is none of our business.
    least: f64,
}

/// One source's peaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    pub source: Address,
    /// Highest rate in the present period and those before it.
    by_period: [f64; PERIODS],
    /// Seconds near the highest rate: between 0.8 and 1 of it, 0.64 and 0.8, and so on.
    near: [f64; LEVELS],
    /// When the highest was seen (Unix seconds).
    pub at: i64,
}

const LEVELS: usize = 6;
const LEVEL: f64 = 0.8;

impl Peak {
    /// The highest rate in the kept periods.
    pub fn rate(&self) -> f64 {
        self.by_period.iter().copied().fold(0.0, f64::max)
    }

    /// About how many seconds (faded by half each period) it spent at `rate` or above.
    pub fn seconds_above(&self, rate: f64) -> f64 {
        let highest = self.rate();
        if highest < rate {
            return 0.0;
        }
        // The highest level counts whole; of the others those that lie above by more than half.
        let counted =
            (1..LEVELS).take_while(|level| highest * LEVEL.powf(real(*level as u64) + 0.5) >= rate).count();
        self.near[..=counted].iter().sum()
    }

    fn see(&mut self, rate: f64, seconds: f64, at: i64) {
        let highest = self.rate();
        if rate > highest {
            let shift =
                usize::try_from(whole(((rate / highest).ln() / -LEVEL.ln()).round())).unwrap_or(LEVELS);
            self.near.rotate_right(shift.min(LEVELS));
            self.near[..shift.min(LEVELS)].fill(0.0);
            self.at = at;
        }
        self.by_period[0] = self.by_period[0].max(rate);
        let level = whole((rate / self.rate()).ln() / LEVEL.ln());
        if let Some(near) = usize::try_from(level).ok().and_then(|level| self.near.get_mut(level)) {
            *near += seconds;
        }
    }
}

impl Busiest {
    /// Counts `seconds` at a rate of a source; `most` sources are kept.
    pub fn see(&mut self, source: &Address, rate: f64, seconds: f64, at: i64, most: usize) {
        if rate <= self.least || rate <= 0.0 {
            return;
        }
        if let Some(known) = self.entries.iter_mut().find(|known| known.source == *source) {
            known.see(rate, seconds, at);
        } else {
            let mut by_period = [0.0; PERIODS];
            by_period[0] = rate;
            let mut near = [0.0; LEVELS];
            near[0] = seconds;
            let entry = Peak { source: *source, by_period, near, at };
            if self.entries.len() < most {
                self.entries.push(entry);
            } else if let Some(lowest) = self.lowest() {
                self.entries[lowest] = entry;
            }
        }
        if self.entries.len() >= most {
            self.least = self.lowest().map_or(0.0, |lowest| self.entries[lowest].rate());
        }
    }

    /// The sources whose peak is above `rate`, highest first.
    pub fn above(&self, rate: f64) -> Vec<&Peak> {
        let mut hit: Vec<&Peak> = self.entries.iter().filter(|peak| peak.rate() > rate).collect();
        hit.sort_by(|a, b| b.rate().total_cmp(&a.rate()).then(a.source.cmp(&b.source)));
        hit
    }

    /// How many sources carry the time spent at `rate` and above: one that spends all of it there counts as one, however
    /// many others come by for a second (the inverse Simpson index). Among those remembered.
    pub fn carriers(&self, rate: f64) -> f64 {
        let (sum, squares) = self.entries.iter().fold((0.0, 0.0), |(sum, squares), peak| {
            let seconds = peak.seconds_above(rate);
            (sum + seconds, seconds.mul_add(seconds, squares))
        });
        if squares > 0.0 { sum * sum / squares } else { 0.0 }
    }

    /// Whether [`Self::above`] names all there were: no source below `rate` had to make room.
    pub fn is_complete_above(&self, rate: f64) -> bool {
        self.least <= rate
    }

    /// Begins a new period.
    pub fn turn(&mut self) {
        for peak in &mut self.entries {
            peak.by_period.rotate_right(1);
            peak.by_period[0] = 0.0;
            peak.near = peak.near.map(|seconds| seconds * 0.5);
        }
        self.entries.retain(|peak| peak.rate() > 0.0);
        self.least = 0.0;
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Peak>()
    }

    fn lowest(&self) -> Option<usize> {
        let lowest = self.entries.iter().enumerate().min_by(|(_, a), (_, b)| a.rate().total_cmp(&b.rate()));
        lowest.map(|(index, _)| index)
    }
}

/// How many different sources there were, within about 7 % (`HyperLogLog`, Flajolet et al. 2007, with linear counting).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    present: Vec<u8>,
    before: Vec<u8>,
}

const REGISTERS: usize = 256;

impl Default for Distinct {
    fn default() -> Self {
        Self { present: vec![0; REGISTERS], before: vec![0; REGISTERS] }
    }
}

impl Distinct {
    /// Counts a source.
    pub fn see(&mut self, source: &Address) {
        let hash = hash(source);
        let register = usize::from(hash.to_le_bytes()[0]);
        let rank = u8::try_from((hash >> 8 | 1 << 56).trailing_zeros() + 1).unwrap_or(57);
        if let Some(highest) = self.present.get_mut(register) {
            *highest = (*highest).max(rank);
        }
    }

    /// Sources in the present period and the one before.
    pub fn count(&self) -> u64 {
        let union = self.present.iter().zip(&self.before).map(|(a, b)| *a.max(b));
        let (mut sum, mut empty) = (0.0, 0.0);
        for rank in union {
            sum += 0.5f64.powi(i32::from(rank));
            empty += f64::from(u8::from(rank == 0));
        }
        let registers = 256.0f64;
        let raw = 0.7182 * registers * registers / sum;
        let count =
            if raw <= 2.5 * registers && empty > 0.0 { registers * (registers / empty).ln() } else { raw };
        whole(count.round())
    }

    /// Begins a new period.
    pub fn turn(&mut self) {
        self.before = std::mem::replace(&mut self.present, vec![0; REGISTERS]);
    }

    /// What was read from the store can be used.
    pub fn is_sane(&self) -> bool {
        self.present.len() == REGISTERS && self.before.len() == REGISTERS
    }
}

/// Spreads an address over 64 bits (`splitmix64` over its halves). No secret is needed: who makes collisions here only
/// makes himself count less.
fn hash(source: &Address) -> u64 {
    let (high, low) = monitor_common::flow::halves(source);
    let mut word = high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use monitor_common::flow::mapped;

    use super::*;

    fn source(number: u32) -> Address {
        mapped(number.to_be_bytes())
    }

    #[test]
    fn the_highest_peaks_stay_whatever_comes_after() {
        let mut busiest = Busiest::default();
        for number in 0..1_000 {
            busiest.see(&source(number), f64::from(number * 7 % 1_000), 1.0, 5, 10);
        }
        let above: Vec<f64> = busiest.above(0.0).iter().map(|peak| peak.rate()).collect();
        assert_eq!(above, [999., 998., 997., 996., 995., 994., 993., 992., 991., 990.]);
        assert!(busiest.is_complete_above(990.0));
        assert!(!busiest.is_complete_above(500.0));
    }

    #[test]
    fn a_peak_fades_after_its_periods() {
        let mut busiest = Busiest::default();
        busiest.see(&source(1), 100.0, 1.0, 5, 10);
        for _ in 0..PERIODS - 1 {
            busiest.turn();
            busiest.see(&source(1), 10.0, 1.0, 6, 10);
            assert!((busiest.above(0.0)[0].rate() - 100.0).abs() < 1e-9);
            assert_eq!(busiest.above(0.0)[0].at, 5);
        }
        busiest.turn();
        assert!((busiest.above(0.0)[0].rate() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn who_stays_up_there_counts_and_who_comes_by_does_not() {
        let mut busiest = Busiest::default();
        for second in 0..1_000 {
            busiest.see(&source(0), 100.0, 1.0, second, 10);
            for other in 1..5u32 {
                let rate = if second == i64::from(other) { 105.0 } else { 20.0 };
                busiest.see(&source(other), rate, 1.0, second, 10);
            }
        }
        assert!(busiest.carriers(95.0) < 1.1, "{}", busiest.carriers(95.0));
        for second in 0..1_000 {
            busiest.see(&source(1), 98.0, 1.0, second, 10);
            busiest.see(&source(2), 98.0, 1.0, second, 10);
        }
        assert!((2.9..3.1).contains(&busiest.carriers(95.0)), "{}", busiest.carriers(95.0));
    }

    #[test]
    fn time_near_a_lower_peak_moves_down_when_a_higher_one_comes() {
        let mut busiest = Busiest::default();
        for second in 0..100 {
            busiest.see(&source(0), 50.0, 1.0, second, 10);
        }
        busiest.see(&source(0), 100.0, 1.0, 100, 10);
        let peak = &busiest.above(0.0)[0];
        assert!((peak.seconds_above(90.0) - 1.0).abs() < 1e-9);
        assert!((peak.seconds_above(40.0) - 101.0).abs() < 1e-9);
        busiest.see(&source(0), 1e9, 1.0, 101, 10);
        assert!((busiest.above(0.0)[0].seconds_above(40.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn distinct_sources_are_counted_within_a_fifth_and_few_ones_exactly() {
        for (sources, error) in [(1u32, 0.01), (5, 0.01), (100, 0.1), (10_000, 0.2), (1_000_000, 0.2)] {
            let mut distinct = Distinct::default();
            for number in 0..sources {
                distinct.see(&source(number));
                distinct.see(&source(number));
            }
            let count = distinct.count();
            #[expect(clippy::cast_precision_loss, reason = "test")]
            let off = (count as f64 / f64::from(sources) - 1.0).abs();
            assert!(off <= error, "{sources} counted as {count}");
        }
    }
}
