//! A distribution of rates in bounded memory: weights in buckets whose bounds grow geometrically, as in `DDSketch` (Masson
//! et al., VLDB 2019).
//!
//! Rates come in with weights; quantiles come out within [`RELATIVE_ERROR`]. When the range is too wide for the buckets,
//! the lowest ones fall together, so the upper quantiles, which limits are made of, keep their error.

/// A quantile that is told lies within this share of the true one.
pub const RELATIVE_ERROR: f64 = 0.025;
/// Width of a bucket: its upper bound over its lower bound.
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
/// Buckets span a factor of 370,000 from the highest rate downwards; what is below that counts as the lowest.
pub const MOST_BUCKETS: usize = 256;
/// First byte of the stored form.
const VERSION: u8 = 1;

/// Weighted rates of 1 per second and more in buckets; less than one is a bucket of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Weight of rates below 1.
    below_one: f64,
    /// Number of the first bucket of `weights`; bucket `i` holds the rates in (GAMMA^(i-1), GAMMA^i].
    first: i32,
    weights: Vec<f64>,
}

/// What a limit would have cut off, from below and from above, in packets, bytes or connections.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Excess {
    /// Every second began with a full burst.
    pub at_least: f64,
    /// No second had any burst left.
    pub at_most: f64,
    /// Everything that was offered, for the share.
    pub of: f64,
    /// Source-seconds above the rate.
    pub seconds: f64,
}

impl Quantiles {
    /// Counts `rate` with `weight` (seconds of one source).
    pub fn add(&mut self, rate: f64, weight: f64) {
        if rate < 1.0 {
            self.below_one += weight;
        } else {
            self.add_to(bucket_of(rate), weight);
        }
    }

    /// Counts all of `other` with its weights multiplied by `factor`.
    pub fn merge(&mut self, other: &Self, factor: f64) {
        self.below_one += other.below_one * factor;
        // From the top, so that a range that grows collapses its low end once.
        for (offset, weight) in other.weights.iter().enumerate().rev() {
            if *weight > 0.0 {
                self.add_to(other.first + position(offset), weight * factor);
            }
        }
    }

    /// Sum of the weights: source-seconds.
    pub fn weight(&self) -> f64 {
        self.below_one + self.weights.iter().sum::<f64>()
    }

    /// The rate that a share `quantile` of the weight does not exceed; 0 when it is below 1, `None` when nothing is known.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.weight();
        if total <= 0.0 {
            return None;
        }
        // The rank may miss the last weight by rounding only.
        let rank = quantile.clamp(0.0, 1.0) * total * (1.0 - 1e-12);
        let mut seen = self.below_one;
        if seen >= rank {
            return Some(0.0);
        }
        for (offset, weight) in self.weights.iter().enumerate() {
            seen += weight;
            if seen >= rank && *weight > 0.0 {
                return Some(middle_of(self.first + position(offset)));
            }
        }
        self.highest()
    }

    /// Quantiles between which the true one lies in 95 of 100 cases, by the number of observations alone (order
    /// statistics): the stated error of sampling, beside the sketch's own.
    pub fn quantile_between(&self, quantile: f64) -> Option<[f64; 2]> {
        let observations = self.weight();
        let width = 1.96 * (quantile * (1.0 - quantile) / observations.max(1.0)).sqrt();
        Some([self.quantile(quantile - width)?, self.quantile((quantile + width).min(1.0))?])
    }

    /// The highest rate, within the error.
    pub fn highest(&self) -> Option<f64> {
        let last = self.weights.iter().rposition(|weight| *weight > 0.0);
        last.map(|offset| middle_of(self.first + position(offset))).or((self.below_one > 0.0).then_some(0.0))
    }

    /// What a limit of `rate` with `burst` would have cut off.
    pub fn excess(&self, rate: f64, burst: f64) -> Excess {
        let mut excess = Excess::default();
        for (offset, weight) in self.weights.iter().enumerate() {
            let middle = middle_of(self.first + position(offset));
            excess.of += weight * middle;
            excess.at_most += weight * (middle - rate).max(0.0);
            excess.at_least += weight * (middle - rate - burst).max(0.0);
            if middle > rate {
                excess.seconds += weight;
            }
        }
        excess
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.weights.capacity() * size_of::<f64>()
    }

    /// The stored form: weights as 32-bit floats, a relative error of 6e-8 that no quantile sees.
    pub fn pack(&self) -> Box<[u8]> {
        let from = self.weights.iter().position(|weight| *weight > 0.0).unwrap_or(self.weights.len());
        let to = self.weights.iter().rposition(|weight| *weight > 0.0).map_or(from, |last| last + 1);
        if from == to && self.below_one <= 0.0 {
            return Box::default();
        }
        let mut bytes = Vec::with_capacity(9 + 4 * (to - from));
        bytes.push(VERSION);
        bytes.extend((self.first + position(from)).to_le_bytes());
        bytes.extend(narrow(self.below_one).to_le_bytes());
        for weight in &self.weights[from..to] {
            bytes.extend(narrow(*weight).to_le_bytes());
        }
        bytes.into_boxed_slice()
    }

    /// Reads the stored form; `None` when it is not one.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let Some((version, rest)) = bytes.split_first() else { return Some(Self::default()) };
        let (first, rest) = rest.split_first_chunk::<4>()?;
        let (below_one, rest) = rest.split_first_chunk::<4>()?;
        let (words, odd) = rest.as_chunks::<4>();
        let weights: Vec<f64> = words.iter().map(|word| f64::from(f32::from_le_bytes(*word))).collect();
        let below_one = f64::from(f32::from_le_bytes(*below_one));
        let first = i32::from_le_bytes(*first);
        let sane = weights.iter().chain([&below_one]).all(|weight| weight.is_finite() && *weight >= 0.0);
        (*version == VERSION
            && odd.is_empty()
            && sane
            && weights.len() <= MOST_BUCKETS
            && (-10_000..10_000).contains(&first))
        .then_some(Self { below_one, first, weights })
    }

    fn add_to(&mut self, bucket: i32, weight: f64) {
        if self.weights.is_empty() {
            self.first = bucket;
            self.weights.push(weight);
            return;
        }
        let offset = i64::from(bucket) - i64::from(self.first);
        if offset < 0 {
            let room = MOST_BUCKETS - self.weights.len();
            let more = usize::try_from(-offset).unwrap_or(usize::MAX).min(room);
            self.weights.splice(0..0, std::iter::repeat_n(0.0, more));
            self.first -= position(more);
            // Lower than there is room for: the lowest bucket takes it.
            self.weights[usize::try_from(i64::from(bucket) - i64::from(self.first)).unwrap_or(0)] += weight;
            return;
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset >= self.weights.len() {
            self.weights.resize(offset + 1, 0.0);
            let surplus = self.weights.len().saturating_sub(MOST_BUCKETS);
            if surplus > 0 {
                let fallen: f64 = self.weights.drain(..surplus).sum();
                self.weights[0] += fallen;
                self.first += position(surplus);
            }
        }
        let last = self.weights.len() - 1;
        self.weights[offset.min(last).min(usize::try_from(bucket - self.first).unwrap_or(0))] += weight;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the logarithm of any f64 to this base is below 15,000")]
fn bucket_of(rate: f64) -> i32 {
    // What is no number counts as one; nothing is above 2^63.
    let rate = if rate.is_nan() { 1.0 } else { rate.min(9.3e18) };
    (rate.ln() * (1.0 / GAMMA.ln())).ceil() as i32
}

/// The rate in bucket `bucket` that is at most the error away from all of them.
fn middle_of(bucket: i32) -> f64 {
    GAMMA.powi(bucket) * 2.0 / (GAMMA + 1.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most MOST_BUCKETS")]
fn position(offset: usize) -> i32 {
    offset as i32
}

#[expect(clippy::cast_possible_truncation, reason = "the stored form is 32 bits")]
fn narrow(weight: f64) -> f32 {
    weight as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(values: &mut [f64], quantile: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "test"
        )]
        let rank = (quantile * values.len() as f64).ceil().max(1.0) as usize;
        values[rank.min(values.len()) - 1]
    }

    fn sketch(values: &[f64]) -> Quantiles {
        let mut sketch = Quantiles::default();
        for value in values {
            sketch.add(*value, 1.0);
        }
        sketch
    }

    proptest! {
        #[test]
        fn a_quantile_lies_within_the_error_of_the_true_one(
            mut values in prop::collection::vec(1.0f64..300_000.0, 1..2_000),
            quantile in 0.01f64..1.0,
        ) {
            let sketch = sketch(&values);
            let (told, truth) = (sketch.quantile(quantile).unwrap(), exact(&mut values, quantile));
            prop_assert!((told / truth - 1.0).abs() <= RELATIVE_ERROR * 1.0001, "told {told}, true {truth}");
        }

        #[test]
        fn upper_quantiles_keep_the_error_when_the_range_is_too_wide(
            mut values in prop::collection::vec(0.0f64..25.0, 200..1_000),
        ) {
            for value in &mut values {
                *value = value.exp();
            }
            let sketch = sketch(&values);
            let top = exact(&mut values, 1.0);
            for quantile in [0.8, 0.9, 0.99, 1.0] {
                let truth = exact(&mut values, quantile);
                if truth > top / 300_000.0 {
                    let told = sketch.quantile(quantile).unwrap();
                    prop_assert!((told / truth - 1.0).abs() <= RELATIVE_ERROR * 1.0001);
                }
            }
            prop_assert!(sketch.weights.len() <= MOST_BUCKETS);
        }

        #[test]
        fn merging_is_adding_one_by_one(
            left in prop::collection::vec(0.0f64..1e6, 0..200),
            right in prop::collection::vec(0.0f64..1e6, 0..200),
        ) {
            let mut merged = sketch(&left);
            merged.merge(&sketch(&right), 1.0);
            let both = sketch(&[left, right].concat());
            prop_assert!((merged.weight() - both.weight()).abs() < 1e-6);
            // A range that was collapsed on the way may differ at its low end only.
            for quantile in [0.9, 0.99, 1.0] {
                prop_assert_eq!(merged.quantile(quantile), both.quantile(quantile));
            }
        }

        #[test]
        fn the_stored_form_reads_back(values in prop::collection::vec(0.0f64..1e9, 0..300)) {
            let sketch = sketch(&values);
            let read = Quantiles::unpack(&sketch.pack()).unwrap();
            prop_assert!((read.weight() - sketch.weight()).abs() < 1e-6);
            for quantile in [0.0, 0.5, 0.999, 1.0] {
                prop_assert_eq!(read.quantile(quantile), sketch.quantile(quantile));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            if let Some(sketch) = Quantiles::unpack(&bytes) {
                let _ = (sketch.quantile(0.999), sketch.excess(10.0, 10.0));
            }
        }
    }

    #[test]
    fn nothing_known_has_no_quantile() {
        assert_eq!(Quantiles::default().quantile(0.5), None);
        assert_eq!(Quantiles::default().pack().len(), 0);
    }

    #[test]
    fn rates_below_one_are_zero() {
        let mut sketch = Quantiles::default();
        sketch.add(0.2, 99.0);
        sketch.add(50.0, 1.0);
        assert_eq!(sketch.quantile(0.99), Some(0.0));
        assert!((sketch.quantile(1.0).unwrap() / 50.0 - 1.0).abs() < RELATIVE_ERROR);
    }

    #[test]
    fn excess_is_told_from_below_and_above() {
        let mut sketch = Quantiles::default();
        sketch.add(100.0, 10.0);
        sketch.add(1_000.0, 2.0);
        let excess = sketch.excess(200.0, 400.0);
        assert!((excess.at_most / 1_600.0 - 1.0).abs() < 0.05);
        assert!((excess.at_least / 800.0 - 1.0).abs() < 0.07);
        assert!((excess.of / 3_000.0 - 1.0).abs() < 0.03);
        assert!((excess.seconds - 2.0).abs() < 1e-9);
    }
}
