//! Sums over a sliding window, in a fixed number of slots; and a count of distinct addresses with their most frequent
//! one, in fixed memory. Nothing here allocates after it was made.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    net::IpAddr,
};

/// `N` sums over the last `S` slots.
#[derive(Clone, Debug)]
pub struct Rolling<const N: usize, const S: usize> {
    slot_ns: u64,
    slots: [[u64; N]; S],
    newest: u64,
}

impl<const N: usize, const S: usize> Rolling<N, S> {
    pub const fn new(slot_ns: u64) -> Self {
        Self { slot_ns, slots: [[0; N]; S], newest: 0 }
    }

    pub fn add(&mut self, now: u64, values: [u64; N]) {
        self.turn(now);
        let slot = &mut self.slots[index::<S>(self.newest)];
        for (sum, value) in slot.iter_mut().zip(values) {
            *sum = sum.saturating_add(value);
        }
    }

    /// The sums over the window that ends with `now`.
    pub fn sums(&mut self, now: u64) -> [u64; N] {
        self.turn(now);
        let mut sums = [0u64; N];
        for slot in &self.slots {
            for (sum, value) in sums.iter_mut().zip(slot) {
                *sum = sum.saturating_add(*value);
            }
        }
        sums
    }

    fn turn(&mut self, now: u64) {
        let slot = now / self.slot_ns;
        if slot <= self.newest {
            return;
        }
        let steps = (slot - self.newest).min(S as u64);
        for step in 0..steps {
            self.slots[index::<S>(slot - step)] = [0; N];
        }
        self.newest = slot;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of a small number")]
const fn index<const S: usize>(slot: u64) -> usize {
    (slot % S as u64) as usize
}

/// Distinct addresses by linear counting over 512 bits (3 % at 100, saturates near 3,000), and the address that holds
/// the majority of the weight, if one does (Boyer-Moore).
#[derive(Clone, Copy, Debug, Default)]
pub struct Crowd {
    bits: [u64; 8],
    leader: Option<IpAddr>,
    lead: u64,
    weight: u64,
    of_leader: u64,
}

impl Crowd {
    pub const fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether `address` was added, or another with the same bit.
    pub fn may_contain(&self, address: &IpAddr) -> bool {
        let bit = Self::bit(address);
        self.bits[index::<8>(bit / 64)] & 1 << (bit % 64) != 0
    }

    /// The share of addresses of which [`Self::may_contain`] is true by chance.
    pub fn fullness(&self) -> f64 {
        f64::from(self.bits.iter().map(|word| word.count_ones()).sum::<u32>()) / 512.0
    }

    // Not keyed: an attacker who makes addresses collide only looks like fewer sources.
    fn bit(address: &IpAddr) -> u64 {
        let mut hasher = DefaultHasher::new();
        address.hash(&mut hasher);
        hasher.finish() % 512
    }

    pub fn add(&mut self, address: &IpAddr, weight: u64) {
        let bit = Self::bit(address);
        self.bits[index::<8>(bit / 64)] |= 1 << (bit % 64);
        self.weight += weight;
        if self.leader == Some(*address) {
            self.lead += weight;
            self.of_leader += weight;
        } else if self.lead >= weight {
            self.lead -= weight;
        } else {
            self.leader = Some(*address);
            self.lead = weight - self.lead;
            self.of_leader = weight;
        }
    }

    /// About how many addresses.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 3,200")]
    pub fn distinct(&self) -> u64 {
        let zeros = self.bits.iter().map(|word| word.count_zeros()).sum::<u32>().max(1);
        (512.0 * (512.0 / f64::from(zeros)).ln()).round() as u64
    }

    /// The address with at least this share of the weight (as far as it was counted since it led).
    pub fn leader(&self, share: f64) -> Option<IpAddr> {
        let enough = super::statistics::real(self.of_leader) >= share * super::statistics::real(self.weight);
        self.leader.filter(|_| enough && self.weight > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_slots_leave_the_window() {
        let mut rolling = Rolling::<1, 10>::new(100);
        for now in (1000..2000).step_by(100) {
            rolling.add(now, [1]);
        }
        assert_eq!(rolling.sums(1999), [10]);
        assert_eq!(rolling.sums(2450), [5]);
        assert_eq!(rolling.sums(1_000_000_000), [0]);
    }

    #[test]
    fn a_crowd_knows_its_size_and_its_leader() {
        let mut crowd = Crowd::default();
        for number in 0..100u8 {
            crowd.add(&IpAddr::from([10, 0, 0, number]), 1);
        }
        assert!((90..110).contains(&crowd.distinct()), "{}", crowd.distinct());
        assert_eq!(crowd.leader(0.8), None);
        crowd.add(&IpAddr::from([10, 0, 1, 1]), 1000);
        assert_eq!(crowd.leader(0.8), Some(IpAddr::from([10, 0, 1, 1])));
    }
}
