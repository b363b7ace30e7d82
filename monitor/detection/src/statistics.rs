//! Small robust statistics over short lists: medians, quartiles, deviations, and the regularity score after RITA.

/// Whole numbers as measures; exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "measures of thresholds and scores, far below 2^53 in practice"
)]
pub const fn real(number: u64) -> f64 {
    number as f64
}

/// The number of things in a list as a measure.
pub const fn count(number: usize) -> f64 {
    real(number as u64)
}

/// To three decimals, for evidence that people read.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle value; sorts the list. 0 for an empty one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(values, 0.5)
}

/// A quantile of a sorted list, by linear interpolation; 0 for an empty one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the list")]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = share.clamp(0.0, 1.0) * count(last);
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (position - position.floor())
}

/// Median absolute deviation from `middle`.
pub fn median_deviation(values: &[f64], middle: f64) -> f64 {
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    median(&mut deviations)
}

/// How regular values are, 0 to 1: the mean of symmetry (Bowley skew) and narrowness (median absolute deviation).
pub fn regularity(values: &[f64]) -> f64 {
    if values.len() < 3 {
        return 0.0;
    }
    let mut sorted = values.to_vec();
    let middle = median(&mut sorted);
    let (lower, upper) = (quantile(&sorted, 0.25), quantile(&sorted, 0.75));
    // Within a tenth of the middle value, on which side the rest lies says nothing.
    let skew = if upper - lower <= middle.abs() * 0.1 || lower >= middle || upper <= middle {
        0.0
    } else {
        (upper + lower - 2.0 * middle) / (upper - lower)
    };
    let narrow =
        if middle <= 0.0 { 1.0 } else { (1.0 - median_deviation(&sorted, middle) / middle).max(0.0) };
    f64::midpoint(1.0 - skew.abs(), narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_values_are_wholly_regular_and_spread_ones_are_not() {
        assert!(regularity(&[60.0; 12]) > 0.999);
        let jittered: Vec<f64> = (0..40).map(|step| 60.0 + f64::from(step % 9) - 4.0).collect();
        assert!(regularity(&jittered) > 0.9);
        let wild: Vec<f64> =
            (0..40).map(|step| f64::from((step * step * 7 + 3) % 101) * f64::from(step % 4)).collect();
        assert!(regularity(&wild) < 0.75, "{}", regularity(&wild));
    }

    #[test]
    fn quantiles_interpolate() {
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0], 0.5) - 2.5).abs() < 1e-9);
        assert!(quantile(&[], 0.5).abs() < 1e-9);
    }
}
