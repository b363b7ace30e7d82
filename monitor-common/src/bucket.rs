//! The bucket: GCRA (ITU-T I.371, the continuous-state leaky bucket) in one 64-bit word.
//!
//! The word is the theoretical arrival time (`tat`): the moment at which all that was admitted so far is paid for at the
//! limit's rate. Time is counted in sixteenths of a nanosecond, so that a byte at 100 Gbit/s (0.08 ns) keeps its
//! fraction; the clock wraps after 36 years and all comparison is by wrapping difference.

use crate::plain;

/// Sixteenths of a nanosecond per nanosecond.
pub const UNITS_PER_NS: u64 = 16;
/// Fraction bits of [`Rate::unit_cost`].
pub const COST_SHIFT: u32 = 16;

/// One dimension of a limit (packets, bytes, new connections or fragments), ready for the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Time that one packet, byte, connection or fragment costs, in clock units << [`COST_SHIFT`]. 0: no such limit.
    pub unit_cost: u64,
    /// Time that may be owed at once, in clock units: the burst, less one clock tick.
    /// A dimension that is not limited has a `unit_cost` of 0, and costs nothing.
    pub capacity: u64,
}
plain!(Rate { unit_cost: u64, capacity: u64 } = 16);

/// Why a rate cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateError {
    /// A rate of nothing is a denial, not a limit.
    ZeroRate,
    /// The burst is smaller than what the rate admits during two clock ticks and one more: one tick is taken off, and
    /// what is left must last from tick to tick, or the limit would be slower than its rate. Carries the smallest burst
    /// that works.
    BurstBelowTick(u64),
    /// The burst lasts longer than the clock can hold (2^60 units, about 2.2 years).
    TooSlow,
}

impl Rate {
    /// The rate of `per_second` units with `burst` units at once, on a clock whose tick is `tick_ns` long.
    ///
    /// The tick is taken off the burst, so that no window ever admits more than `per_second * t + burst`.
    pub fn new(per_second: u64, burst: u64, tick_ns: u64) -> Result<Self, RateError> {
        Self::per(per_second, 1_000_000_000, burst, tick_ns)
    }

    /// As [`Rate::new`], for rates that are not whole per second: `units` in every `period_ns`.
    pub fn per(units: u64, period_ns: u64, burst: u64, tick_ns: u64) -> Result<Self, RateError> {
        if units == 0 || period_ns == 0 {
            return Err(RateError::ZeroRate);
        }
        let period = u128::from(UNITS_PER_NS) * u128::from(period_ns);
        // Rounded up, as all costs are.
        let unit_cost = (period << COST_SHIFT).div_ceil(u128::from(units));
        let tick = u128::from(tick_ns) * u128::from(UNITS_PER_NS);
        let owed = (u128::from(burst) * period) / u128::from(units);
        let one = unit_cost.div_ceil(1 << COST_SHIFT);
        if owed < 2 * tick + one {
            let smallest = ((2 * tick + one) * u128::from(units)).div_ceil(period);
            return Err(RateError::BurstBelowTick(u64::try_from(smallest).unwrap_or(u64::MAX)));
        }
        let capacity = owed - tick;
        if capacity > 1 << 60 || unit_cost > 1 << 63 {
            return Err(RateError::TooSlow);
        }
        #[expect(clippy::cast_possible_truncation, reason = "both were just bounded")]
        Ok(Self { unit_cost: unit_cost as u64, capacity: capacity as u64 })
    }

    /// The time that one unit costs: the same as [`Self::cost`] says, without a multiplication.
    #[inline(always)]
    pub const fn cost_of_one(&self) -> u64 {
        (self.unit_cost + ((1 << COST_SHIFT) - 1)) >> COST_SHIFT
    }

    /// The time that `units` cost, rounded up: a limit may be slower than asked by a clock unit a packet, never faster.
    #[inline(always)]
    pub const fn cost(&self, units: u32) -> u64 {
        // unit_cost of a byte is small and of a packet may be large; the product is split so that it cannot overflow.
        let high = self.unit_cost >> COST_SHIFT;
        let low = self.unit_cost & ((1 << COST_SHIFT) - 1);
        high.wrapping_mul(units as u64) + ((low * units as u64 + ((1 << COST_SHIFT) - 1)) >> COST_SHIFT)
    }
}

/// What the word says: how much is owed at `now`, never negative.
///
/// A word from the future by more than any capacity (a clock that was set back, a stale or torn value) counts as nothing
/// owed only when it lies beyond half the clock's range; otherwise it stands, which is the careful reading.
#[inline(always)]
pub fn level(tat: u64, now: u64) -> u64 {
    let owed = tat.wrapping_sub(now);
    // Without a branch: what would be negative is cleared by a mask of its sign.
    owed & sign(owed).wrapping_sub(1)
}

/// The sign bit as a number, of which the compiler does not know that it is one: it makes branches of what it recognises
/// as a choice, and the kernel's verifier would follow every combination of them.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn sign(mut number: u64) -> u64 {
    // SAFETY: one shift of a register; nothing else is touched.
    unsafe { core::arch::asm!("{0} >>= 63", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) const fn sign(number: u64) -> u64 {
    number >> 63
}

/// The larger of two levels, without a branch.
#[inline(always)]
pub fn larger(one: u64, other: u64) -> u64 {
    one + level(other, one)
}

/// 1 when charging `cost` beside what is `owed` would exceed `capacity`, else 0. What costs nothing never does.
///
/// Arithmetic instead of comparison: the kernel's verifier follows every branch, and there are four of these per limit.
#[inline(always)]
pub fn excess(owed: u64, cost: u64, capacity: u64) -> u64 {
    let over = sign(capacity.wrapping_sub(owed.wrapping_add(cost)));
    let charged = sign(cost | cost.wrapping_neg());
    over & charged
}

/// The next word if `cost` more fits within `capacity` at `now`; `None` when it would exceed.
#[inline(always)]
pub fn admit(tat: u64, now: u64, cost: u64, capacity: u64) -> Option<u64> {
    let owed = level(tat, now) + cost;
    if owed <= capacity { Some(now.wrapping_add(owed)) } else { None }
}

#[cfg(test)]
mod tests;
