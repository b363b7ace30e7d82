//! Limits as plain numbers, with the bursts that the file leaves out.
//!
//! The kernel's clock advances in ticks: one tick's worth is taken off each burst so that a limit is never exceeded, and
//! what is left must last to the next tick. So a burst covers two ticks of the rate, and one packet of the largest size.

use monitor_common::{
    bucket::{Rate, RateError},
    rule::{BYTES, CONNECTIONS, FRAGMENTS, HANDSHAKES, PACKETS, REQUESTS},
};

use super::Limits;

/// The tick that files are checked against: that of most kernels (HZ=250). A slower one is met when rules are compiled.
pub const ASSUMED_TICK_NS: u64 = 4_000_000;
/// Largest frame that a byte limit must let through at all.
pub const LARGEST_FRAME: u64 = 9216;
/// A byte burst that nobody asked for covers at least one such unit of segmentation offload.
const LEAST_DEFAULT_BYTES: u64 = 64 * 1024;

/// One dimension of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// Index into the kernel's arrays, see [`monitor_common::rule::EVERY_DIMENSION`].
    pub dimension: usize,
    /// This many packets, bytes, connections or fragments ...
    pub units: u64,
    /// ... in this time.
    pub period_ns: u64,
    /// At once; absent: chosen by [`Quantity::burst`].
    pub wanted_burst: Option<u64>,
}

/// The dimensions that `limits` limits.
pub fn quantities(limits: &Limits) -> Vec<Quantity> {
    let counted = [
        (PACKETS, limits.packets, limits.packets_burst),
        (CONNECTIONS, limits.connections, limits.connections_burst),
        (FRAGMENTS, limits.fragments, limits.fragments_burst),
        (REQUESTS, limits.requests, limits.requests_burst),
        (HANDSHAKES, limits.handshakes, limits.handshakes_burst),
    ];
    let mut all: Vec<Quantity> = counted
        .into_iter()
        .filter_map(|(dimension, rate, wanted_burst)| {
            let rate = rate?;
            Some(Quantity {
                dimension,
                units: rate.amount,
                period_ns: rate.period.nanoseconds(),
                wanted_burst,
            })
        })
        .collect();
    if let Some(rate) = limits.bytes {
        let wanted_burst = limits.bytes_burst.map(|burst| burst.0);
        all.push(Quantity {
            dimension: BYTES,
            units: rate.amount,
            period_ns: rate.period.nanoseconds(),
            wanted_burst,
        });
    }
    all.sort_unstable_by_key(|quantity| quantity.dimension);
    all
}

impl Quantity {
    /// The smallest burst that works on a clock with this tick.
    pub fn smallest_burst(&self, tick_ns: u64) -> u64 {
        // Bytes get some room beyond the frame for the rounding of the clock's units.
        let one = if self.dimension == BYTES { LARGEST_FRAME + 64 } else { 2 };
        self.units_in(tick_ns.saturating_mul(2)).saturating_add(one)
    }

    /// The burst: as asked for, else one second's worth, never below what works.
    pub fn burst(&self, tick_ns: u64) -> u64 {
        self.wanted_burst.unwrap_or_else(|| {
            let least = if self.dimension == BYTES { LEAST_DEFAULT_BYTES } else { 0 };
            self.units_in(1_000_000_000).max(least).max(self.smallest_burst(tick_ns))
        })
    }

    /// The kernel's form. An error carries the smallest burst that works.
    pub fn rate(&self, tick_ns: u64) -> Result<Rate, RateError> {
        let burst = self.burst(tick_ns);
        let smallest = self.smallest_burst(tick_ns);
        if self.units > 0 && burst < smallest {
            return Err(RateError::BurstBelowTick(smallest));
        }
        Rate::per(self.units, self.period_ns, burst, tick_ns)
    }

    /// The same limit with `share` of its rate and of its burst (which stays large enough to work).
    #[must_use]
    pub fn share(&self, share: f64, tick_ns: u64) -> Self {
        const PARTS: u64 = 1_000_000;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "0..=1 times a million"
        )]
        let parts = (share.clamp(0.0, 1.0) * PARTS as f64).round() as u64;
        let part = |amount: u64| {
            u64::try_from(u128::from(amount) * u128::from(parts) / u128::from(PARTS)).unwrap_or(u64::MAX)
        };
        // A small rate keeps its fraction by counting over a longer period.
        let (units, period_ns) = match self.units.checked_mul(parts) {
            Some(units) if self.units < PARTS => (units, self.period_ns.saturating_mul(PARTS)),
            _ => (part(self.units), self.period_ns),
        };
        let mut shared = Self { units, period_ns, ..*self };
        let least = shared.smallest_burst(tick_ns);
        shared.wanted_burst = Some(part(self.burst(tick_ns)).max(least));
        shared
    }

    /// Units in a time, rounded up.
    fn units_in(&self, time_ns: u64) -> u64 {
        let units =
            (u128::from(self.units) * u128::from(time_ns)).div_ceil(u128::from(self.period_ns.max(1)));
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::rule::{BYTES, PACKETS};
    use proptest::prelude::*;

    use super::{ASSUMED_TICK_NS, LARGEST_FRAME, Quantity};

    fn packets(units: u64, period_ns: u64) -> Quantity {
        Quantity { dimension: PACKETS, units, period_ns, wanted_burst: None }
    }

    #[test]
    fn a_burst_left_out_is_one_second() {
        assert_eq!(packets(2000, 1_000_000_000).burst(ASSUMED_TICK_NS), 2000);
    }

    #[test]
    fn a_slow_rate_still_admits_a_packet() {
        let rate = packets(1, 3_600_000_000_000);
        assert_eq!(rate.burst(ASSUMED_TICK_NS), 3);
        assert!(rate.rate(ASSUMED_TICK_NS).is_ok());
    }

    #[test]
    fn a_share_of_a_slow_rate_is_not_nothing() {
        let share = packets(1, 60_000_000_000).share(0.25, ASSUMED_TICK_NS);
        assert!(share.units > 0);
        assert!(share.rate(ASSUMED_TICK_NS).is_ok());
    }

    proptest! {
        #[test]
        fn every_default_burst_works(units in 1u64..1_000_000_000, hertz in prop::sample::select(vec![100u64, 250, 300, 1000])) {
            let tick = 1_000_000_000 / hertz;
            prop_assert!(packets(units, 1_000_000_000).rate(tick).is_ok());
        }

        #[test]
        fn the_smallest_burst_works_and_admits_the_largest_frame(units in 1u64..=125_000_000_000) {
            let mut bytes = Quantity { dimension: BYTES, units, period_ns: 1_000_000_000, wanted_burst: None };
            bytes.wanted_burst = Some(bytes.smallest_burst(ASSUMED_TICK_NS));
            let rate = bytes.rate(ASSUMED_TICK_NS).expect("the smallest burst works");
            prop_assert!(rate.cost(u32::try_from(LARGEST_FRAME).expect("small")) <= rate.capacity);
        }

        #[test]
        fn every_share_works(units in 1u64..1_000_000_000, share in 0.01f64..=1.0) {
            let shared = packets(units, 1_000_000_000).share(share, ASSUMED_TICK_NS);
            prop_assert!(shared.rate(ASSUMED_TICK_NS).is_ok());
        }
    }
}
