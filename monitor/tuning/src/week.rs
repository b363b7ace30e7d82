//! One service and class through the week: 168 hours, a distribution of per-source rates in each dimension for each, faded
//! by the share of a week that was observed since.
//!
//! Rates of one-second intervals come in; merged distributions go out. An hour that nobody observed fades nothing.

use super::quantiles::Quantiles;

/// Hours of a week. Hour 0 begins on Monday, 00:00 UTC.
pub const HOURS: usize = 168;
/// Dimensions that are learned: packets, bytes and new connections per second, as in [`monitor_common::rule`].
pub const LEARNED: usize = 3;

/// Distributions of the three dimensions.
pub type Distributions = [Quantiles; LEARNED];

/// What is known of one service and class by hour of the week.
#[derive(Clone, Debug, PartialEq)]
pub struct Week {
    hours: Vec<Hour>,
    /// The hour that is being observed, unpacked.
    now: Option<Now>,
}

/// An hour of the week in its stored form.
#[derive(Clone, Debug, Default, PartialEq)]
struct Hour {
    packed: [Box<[u8]>; LEARNED],
    /// Observed seconds, faded like the weights: 3600 a week.
    seconds: f64,
    /// Changed since it was saved.
    is_new: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Now {
    hour: usize,
    seconds: f64,
    rates: Distributions,
}

/// The stored form of an hour beside its distributions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedHour {
    pub seconds: f64,
    pub packed: [Box<[u8]>; LEARNED],
}

impl SavedHour {
    /// Seconds, then each distribution behind its length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.seconds.to_le_bytes().to_vec();
        for packed in &self.packed {
            bytes.extend(u32::try_from(packed.len()).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(packed);
        }
        bytes
    }

    /// Reads [`Self::to_bytes`]; `None` when it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (seconds, mut rest) = bytes.split_first_chunk::<8>()?;
        let mut hour = Self { seconds: f64::from_le_bytes(*seconds), ..Self::default() };
        for packed in &mut hour.packed {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (content, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            *packed = content.into();
            rest = behind;
        }
        rest.is_empty().then_some(hour)
    }
}

impl Default for Week {
    fn default() -> Self {
        Self { hours: vec![Hour::default(); HOURS], now: None }
    }
}

/// The hour of the week of a Unix time.
pub fn hour_of(unix_seconds: i64) -> usize {
    // 1970-01-01 was a Thursday.
    usize::try_from((unix_seconds.div_euclid(3_600) + 72).rem_euclid(168)).unwrap_or(0)
}

/// "Mon 13:00 UTC".
pub fn name_of(hour: usize) -> String {
    let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][hour / 24 % 7];
    format!("{day} {:02}:00 UTC", hour % 24)
}

impl Week {
    /// Begins an interval of `seconds` in `hour`: the rates that follow belong to it. Says whether a new hour began.
    pub fn begin(&mut self, hour: usize, seconds: f64, half_life_weeks: f64) -> bool {
        let turned = self.now.as_ref().is_some_and(|now| now.hour != hour);
        if turned {
            self.fold(half_life_weeks);
        }
        let now = self.now.get_or_insert_with(|| Now { hour, seconds: 0.0, rates: Distributions::default() });
        now.seconds += seconds;
        turned
    }

    /// Counts one source's rates in the interval that was begun.
    pub fn add(&mut self, rates: [f64; LEARNED], weight: f64) {
        if let Some(now) = &mut self.now {
            for (distribution, rate) in now.rates.iter_mut().zip(rates) {
                distribution.add(rate, weight);
            }
        }
    }

    /// Puts the hour that is being observed to the others.
    pub fn fold(&mut self, half_life_weeks: f64) {
        let Some(now) = self.now.take() else { return };
        let Some(hour) = self.hours.get_mut(now.hour) else { return };
        // An hour comes once a week; a part of it fades as much less.
        let fade = 0.5f64.powf(now.seconds / 3_600.0 / half_life_weeks);
        for (packed, fresh) in hour.packed.iter_mut().zip(&now.rates) {
            let mut sum = Quantiles::default();
            sum.merge(&Quantiles::unpack(packed).unwrap_or_default(), fade);
            sum.merge(fresh, 1.0);
            *packed = sum.pack();
        }
        hour.seconds = hour.seconds * fade + now.seconds;
        hour.is_new = true;
    }

    /// The distributions of `hour`, what is being observed included.
    pub fn hour(&self, hour: usize) -> Distributions {
        let mut rates = Distributions::default();
        if let Some(kept) = self.hours.get(hour) {
            for (sum, packed) in rates.iter_mut().zip(&kept.packed) {
                *sum = Quantiles::unpack(packed).unwrap_or_default();
            }
        }
        if let Some(now) = self.now.as_ref().filter(|now| now.hour == hour) {
            for (sum, fresh) in rates.iter_mut().zip(&now.rates) {
                sum.merge(fresh, 1.0);
            }
        }
        rates
    }

    /// Observed seconds of `hour`.
    pub fn seconds(&self, hour: usize) -> f64 {
        let kept = self.hours.get(hour).map_or(0.0, |kept| kept.seconds);
        kept + self.now.as_ref().filter(|now| now.hour == hour).map_or(0.0, |now| now.seconds)
    }

    /// Hours of the week of which anything was observed.
    pub fn hours_covered(&self) -> usize {
        (0..HOURS).filter(|hour| self.seconds(*hour) > 0.0).count()
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        let kept = self.hours.iter().flat_map(|hour| &hour.packed).map(|packed| packed.len()).sum::<usize>();
        let now = self.now.iter().flat_map(|now| &now.rates).map(Quantiles::memory_bytes).sum::<usize>();
        HOURS * size_of::<Hour>() + kept + now
    }

    /// The hours that changed since the last call, ready to be stored, and the one being observed under its number.
    pub fn take_new(&mut self) -> Vec<(usize, SavedHour)> {
        let mut new = Vec::new();
        for (number, hour) in self.hours.iter_mut().enumerate().filter(|(_, hour)| hour.is_new) {
            hour.is_new = false;
            new.push((number, SavedHour { seconds: hour.seconds, packed: hour.packed.clone() }));
        }
        new
    }

    /// The hour being observed, ready to be stored.
    pub fn unfinished(&self) -> Option<(usize, SavedHour)> {
        let now = self.now.as_ref()?;
        let packed = now.rates.each_ref().map(Quantiles::pack);
        Some((now.hour, SavedHour { seconds: now.seconds, packed }))
    }

    /// Takes back an hour that was stored; a damaged one is left out and said so.
    pub fn restore(&mut self, number: usize, saved: SavedHour) -> bool {
        let readable = saved.packed.iter().all(|packed| Quantiles::unpack(packed).is_some());
        let Some(hour) = self.hours.get_mut(number).filter(|_| readable && saved.seconds.is_finite()) else {
            return false;
        };
        *hour = Hour { packed: saved.packed, seconds: saved.seconds, is_new: false };
        true
    }

    /// Takes back the hour that was being observed.
    pub fn restore_unfinished(&mut self, hour: usize, saved: &SavedHour) -> bool {
        let [Some(packets), Some(bytes), Some(connections)] =
            saved.packed.each_ref().map(|packed| Quantiles::unpack(packed))
        else {
            return false;
        };
        if hour >= HOURS || !saved.seconds.is_finite() {
            return false;
        }
        self.now = Some(Now { hour, seconds: saved.seconds, rates: [packets, bytes, connections] });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_count_from_monday_midnight() {
        // 2026-11-23 00:00 UTC was a Monday.
        assert_eq!(hour_of(1_795_392_000), 0);
        assert_eq!(hour_of(1_795_392_000 - 1), 167);
        assert_eq!(name_of(hour_of(1_795_392_000 + 5 * 86_400 + 13 * 3_600)), "Sat 13:00 UTC");
        assert_eq!(hour_of(-1), 71);
    }

    #[test]
    fn an_hour_fades_by_half_in_its_half_life_and_not_while_nobody_looks() {
        let mut week = Week::default();
        week.begin(3, 3_600.0, 1.0);
        week.add([10.0, 100.0, 0.0], 1_000.0);
        week.begin(4, 3_600.0, 1.0);
        assert!((week.hour(3)[0].weight() - 1_000.0).abs() < 1e-3);
        // A year in which only hour 4 is observed.
        for _ in 0..52 {
            week.fold(1.0);
            week.begin(4, 3_600.0, 1.0);
        }
        assert!((week.hour(3)[0].weight() - 1_000.0).abs() < 1e-3);
        week.begin(3, 3_600.0, 1.0);
        week.fold(1.0);
        assert!((week.hour(3)[0].weight() - 500.0).abs() < 1e-3);
    }

    #[test]
    fn an_hour_in_pieces_fades_as_much_as_in_one() {
        let fill = |pieces: u32| {
            let mut week = Week::default();
            week.begin(3, 3_600.0, 1.0);
            week.add([10.0, 100.0, 0.0], 1_000.0);
            week.fold(1.0);
            for _ in 0..pieces {
                week.begin(3, 3_600.0 / f64::from(pieces), 1.0);
                week.fold(1.0);
            }
            week.hour(3)[0].weight()
        };
        assert!((fill(1) - fill(60)).abs() < 0.1, "{} {}", fill(1), fill(60));
    }

    #[test]
    fn what_was_saved_reads_back_with_the_unfinished_hour() {
        let mut week = Week::default();
        for hour in 0..HOURS {
            week.begin(hour, 3_600.0, 1.0);
            week.add([10.0, 5_000.0, 1.0], 60.0);
        }
        let mut read = Week::default();
        for (number, saved) in week.take_new() {
            assert!(read.restore(number, SavedHour::from_bytes(&saved.to_bytes()).unwrap()));
        }
        let (hour, saved) = week.unfinished().unwrap();
        assert!(read.restore_unfinished(hour, &saved));
        assert_eq!(read.hours_covered(), HOURS);
        for hour in 0..HOURS {
            assert_eq!(read.hour(hour), week.hour(hour));
        }
        assert!(week.take_new().is_empty(), "nothing is saved twice");
    }

    #[test]
    fn a_damaged_hour_is_left_out() {
        let saved = SavedHour { seconds: 1.0, packed: [vec![9, 9].into(), Box::default(), Box::default()] };
        assert!(!Week::default().restore(1, saved.clone()));
        assert!(!Week::default().restore_unfinished(1, &saved));
        assert!(!Week::default().restore(900, SavedHour::default()));
    }
}
