//! The last minutes of a rate as one line of small bars.
//!
//! In: one value per answer and name. Out: text. A name that an answer lacks is forgotten after a while.

use std::collections::{HashMap, VecDeque};

/// Values that are kept of one name.
const KEPT: usize = 120;
/// Answers without a name after which its values go.
const FORGOTTEN_AFTER: u32 = 30;

const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const ASCII: [&str; 8] = [".", ":", "-", "=", "+", "*", "#", "@"];

#[derive(Debug, Default)]
struct Trend {
    values: VecDeque<f64>,
    missed: u32,
}

/// Rates by name.
#[derive(Debug, Default)]
pub struct Trends {
    by_name: HashMap<String, Trend>,
}

impl Trends {
    /// Takes one answer's values; names that are not among them get a zero.
    pub fn take(&mut self, values: impl Iterator<Item = (String, f64)>) {
        for trend in self.by_name.values_mut() {
            trend.missed += 1;
            trend.values.push_back(0.0);
        }
        for (name, value) in values {
            let trend = self.by_name.entry(name).or_default();
            // One zero was put there for the case that it is missing.
            if trend.missed > 0 {
                trend.values.pop_back();
            }
            trend.missed = 0;
            trend.values.push_back(value);
        }
        self.by_name.retain(|_, trend| trend.missed <= FORGOTTEN_AFTER);
        for trend in self.by_name.values_mut() {
            let surplus = trend.values.len().saturating_sub(KEPT);
            trend.values.drain(..surplus);
        }
    }

    /// The newest values, as high as the highest among them.
    pub fn bars(&self, name: &str, width: usize, unicode: bool) -> String {
        let Some(trend) = self.by_name.get(name) else { return String::new() };
        let newest = || trend.values.iter().skip(trend.values.len().saturating_sub(width));
        let highest = newest().copied().fold(0.0, f64::max);
        newest().map(|value| bar(*value, highest, unicode)).collect()
    }
}

/// A blank for nothing, so that the least traffic can be told from none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 7")]
fn bar(value: f64, highest: f64, unicode: bool) -> &'static str {
    if value <= 0.0 || highest <= 0.0 {
        return " ";
    }
    let place = ((value / highest * 8.0).ceil() as usize).clamp(1, 8) - 1;
    if unicode { BARS[place] } else { ASCII[place] }
}

#[cfg(test)]
mod tests {
    use super::Trends;

    fn take(trends: &mut Trends, values: &[(&str, f64)]) {
        trends.take(values.iter().map(|(name, value)| ((*name).to_owned(), *value)));
    }

    #[test]
    fn bars_are_as_high_as_the_highest_that_is_shown() {
        let mut trends = Trends::default();
        for value in [0.0, 1.0, 4.0, 8.0] {
            take(&mut trends, &[("web", value)]);
        }
        assert_eq!(trends.bars("web", 10, true), " ▁▄█");
        assert_eq!(trends.bars("web", 2, true), "▄█");
        assert_eq!(trends.bars("web", 2, false), "=@");
        assert_eq!(trends.bars("dns", 2, true), "");
    }

    #[test]
    fn who_is_missing_sent_nothing_and_is_forgotten_in_the_end() {
        let mut trends = Trends::default();
        take(&mut trends, &[("web", 5.0)]);
        take(&mut trends, &[]);
        take(&mut trends, &[("web", 5.0)]);
        assert_eq!(trends.bars("web", 10, true), "█ █");
        for _ in 0..200 {
            take(&mut trends, &[("dns", 1.0)]);
        }
        assert_eq!(trends.bars("web", 10, true), "");
        assert_eq!(trends.bars("dns", 500, true).chars().count(), super::KEPT);
    }
}
