//! What the bucket promises, held against many rates, bursts, ticks and arrival patterns.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proptest::prelude::*;

use super::{COST_SHIFT, Rate, RateError, UNITS_PER_NS, admit, level};

const SECOND_NS: u64 = 1_000_000_000;

/// A rate that can be expressed: from one in a second to a hundred gigabytes in a second, on common ticks.
fn rates() -> impl Strategy<Value = (u64, u64, u64, Rate)> {
    let per_second = prop_oneof![1..100u64, 100..1_000_000u64, 1_000_000..100_000_000_000u64];
    let tick_ns = prop_oneof![Just(0u64), Just(1_000_000), Just(4_000_000), Just(10_000_000)];
    (per_second, tick_ns, 0..1_000_000u64).prop_map(|(per_second, tick_ns, more)| {
        let mut burst = 1 + more;
        let rate = Rate::new(per_second, burst, tick_ns).unwrap_or_else(|error| {
            let RateError::BurstBelowTick(smallest) = error else { panic!("{error:?}") };
            burst = smallest;
            Rate::new(per_second, burst, tick_ns).unwrap()
        });
        (per_second, burst, tick_ns, rate)
    })
}

/// The bucket as the kernel uses it: one word and a clock that moves in ticks.
struct Bucket {
    rate: Rate,
    tick_ns: u64,
    tat: u64,
}

impl Bucket {
    fn offer(&mut self, at_ns: u64, units: u32) -> bool {
        let tick = at_ns.checked_div(self.tick_ns).map_or(at_ns, |ticks| ticks * self.tick_ns);
        let now = tick * UNITS_PER_NS;
        let Some(next) = admit(self.tat, now, self.rate.cost(units), self.rate.capacity) else {
            return false;
        };
        self.tat = next;
        true
    }
}

/// Whether no window over `taken` (when, how much) holds more than the rate and the burst allow.
fn within_promise(taken: &[(u64, u32)], per_second: u64, burst: u64) -> Result<(), String> {
    for (first, (start, _)) in taken.iter().enumerate() {
        let mut sum = 0u128;
        for (end, units) in &taken[first..] {
            sum += u128::from(*units);
            // In billionths of a unit, so that nothing is rounded.
            let allowed =
                u128::from(per_second) * u128::from(end - start) + u128::from(burst) * 1_000_000_000;
            if sum * 1_000_000_000 > allowed {
                return Err(format!("{sum} units from {start} to {end} ns at {per_second}/s, burst {burst}"));
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_window_of_true_time_holds_more_than_rate_and_burst(
        (per_second, burst, tick_ns, rate) in rates(),
        start in 0..1u64 << 50,
        offers in prop::collection::vec((0..1_000u64, 1..1500u32), 1..200),
    ) {
        let mut bucket = Bucket { rate, tick_ns, tat: 0 };
        let mut at = start;
        let mut taken = Vec::new();
        for (gap, units) in offers {
            // Gaps in the order of what one offer costs, so that the bucket is neither always empty nor always full.
            at += gap * (SECOND_NS * u64::from(units) / per_second / 700 + 1);
            let units = units.min(u32::try_from(burst).unwrap_or(u32::MAX));
            if bucket.offer(at, units) {
                taken.push((at, units));
            }
        }
        prop_assert_eq!(within_promise(&taken, per_second, burst), Ok(()));
    }

    #[test]
    fn while_the_clock_stands_still_no_more_than_the_burst_passes_and_not_much_less(
        (per_second, burst, tick_ns, rate) in rates(),
        at in 0..1u64 << 50,
    ) {
        let mut bucket = Bucket { rate, tick_ns, tat: 0 };
        let offered = burst.min(3000) + 5;
        let passed = (0..offered).filter(|_| bucket.offer(at, 1)).count() as u64;
        prop_assert!(passed <= burst);
        // What a tick admits is taken off the burst, and rounding up costs less than a clock unit a packet.
        let rounding = u128::from(burst) * u128::from(per_second) / 8_000_000_000;
        let during_tick = u128::from(per_second) * u128::from(tick_ns) / 1_000_000_000;
        let expected = u128::from(burst).saturating_sub(during_tick + 2 + rounding).min(u128::from(offered));
        prop_assert!(u128::from(passed) >= expected, "{passed} of {burst}, at least {expected}");
    }

    #[test]
    fn one_that_keeps_to_the_rate_is_never_refused(
        (per_second, _, tick_ns, rate) in rates(),
        start in 0..1u64 << 50,
        jitter in prop::collection::vec(0..1000u64, 50),
    ) {
        let mut bucket = Bucket { rate, tick_ns, tat: 0 };
        let gap = SECOND_NS.div_ceil(per_second) + 1;
        let mut at = start;
        for extra in jitter {
            prop_assert!(bucket.offer(at, 1));
            at += gap + extra;
        }
    }

    #[test]
    fn whatever_the_word_held_nothing_beyond_the_capacity_is_ever_owed(
        (_, _, _, rate) in rates(), tat: u64, now: u64, units in 0..70_000u32,
    ) {
        if let Some(next) = admit(tat, now, rate.cost(units), rate.capacity) {
            prop_assert!(level(next, now) <= rate.capacity);
            prop_assert!(level(next, now) >= rate.cost(units));
        }
    }

    #[test]
    fn a_clock_that_jumps_never_yields_a_second_burst_at_one_instant(
        (_, burst, tick_ns, rate) in rates(), jumps in prop::collection::vec(0..1u64 << 58, 1..20),
    ) {
        let mut bucket = Bucket { rate, tick_ns, tat: 0 };
        for at in jumps {
            let passed = (0..burst.min(300) + 3).filter(|_| bucket.offer(at, 1)).count() as u64;
            prop_assert!(passed <= burst);
        }
    }

    #[test]
    fn a_clock_set_back_by_less_than_half_its_range_forgives_nothing(
        (_, _, _, rate) in rates(), now in 1u64 << 60..1u64 << 62, back in 1..1u64 << 59,
    ) {
        let full = now.wrapping_add(rate.capacity);
        prop_assert_eq!(admit(full, now - back, rate.cost(1), rate.capacity), None);
    }

    #[test]
    fn the_clock_may_wrap((_, burst, _, rate) in rates(), before in 0..1u64 << 40) {
        let now = u64::MAX - before;
        let mut tat = now;
        let mut passed = 0;
        while let Some(next) = admit(tat, now, rate.cost(1), rate.capacity) {
            tat = next;
            passed += 1;
            if passed > 2000 {
                break;
            }
        }
        prop_assert!(passed <= burst.max(1));
        // Everything is paid for once the capacity's time has gone by, on the other side of zero.
        prop_assert_eq!(level(tat, now.wrapping_add(rate.capacity)), 0);
    }

    #[test]
    fn cost_grows_with_units_and_is_rounded_up_by_less_than_one_clock_unit((_, _, _, rate) in rates(), units in 0..1u32 << 18) {
        let exact = (u128::from(rate.unit_cost) * u128::from(units)).div_ceil(1 << COST_SHIFT);
        prop_assert_eq!(u128::from(rate.cost(units)), exact);
        prop_assert!(rate.cost(units + 1) >= rate.cost(units));
    }

    #[test]
    fn the_smallest_burst_that_is_named_works(per_second in 1..1u64 << 40, tick_ns in 0..20_000_000u64) {
        if let Err(RateError::BurstBelowTick(smallest)) = Rate::new(per_second, 0, tick_ns) {
            let rate = Rate::new(per_second, smallest, tick_ns).unwrap();
            prop_assert!(admit(0, 1 << 40, rate.cost(1), rate.capacity).is_some());
        }
    }
}

#[test]
fn what_cannot_be_expressed_is_refused_with_the_reason() {
    assert_eq!(Rate::new(0, 10, 0), Err(RateError::ZeroRate));
    assert!(matches!(Rate::new(1000, 3, 4_000_000), Err(RateError::BurstBelowTick(9..=10))));
    assert_eq!(Rate::new(1, u64::MAX, 0), Err(RateError::TooSlow));
    assert!(Rate::new(u64::MAX, u64::MAX, 0).is_ok());
}

#[test]
fn a_byte_at_a_hundred_gigabit_keeps_its_fraction() {
    let rate = Rate::new(12_500_000_000, 1 << 30, 4_000_000).unwrap();
    // 1500 bytes last 120 ns.
    assert_eq!(rate.cost(1500), 120 * UNITS_PER_NS + 1);
}

#[test]
fn threads_that_race_for_one_word_never_take_more_than_the_burst() {
    let rate = Rate::new(1000, 5000, 0).unwrap();
    let word = AtomicU64::new(0);
    let passed = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let tat = word.load(Ordering::SeqCst);
                    let Some(next) = admit(tat, 1 << 40, rate.cost(1), rate.capacity) else { continue };
                    if word.compare_exchange(tat, next, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        passed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 5000);
}

#[test]
fn one_unit_costs_what_a_count_of_one_costs() {
    for per_second in [1, 3, 7, 999, 1000, 1_000_000, 123_456_789, 100_000_000_000] {
        let rate = Rate::new(per_second, per_second.max(2) * 2, 1).unwrap();
        assert_eq!(rate.cost_of_one(), rate.cost(1), "{per_second} a second");
    }
    assert_eq!(Rate::default().cost_of_one(), 0);
}
