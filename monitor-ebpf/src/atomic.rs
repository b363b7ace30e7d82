//! Atomic words in map values. The BPF target has no read-modify-write in `core::sync::atomic`; these intrinsics compile
//! to the one instruction the kernel offers for each.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd};

use monitor_common::{
    bucket::{Rate, excess, larger, level},
    record::{Incident, OWNED},
    rule::{CONNECTIONS, DIMENSIONS, FRAGMENTS},
    verdict::{Reason, Verdict},
};

use crate::{context::Units, totals::incident};

/// Attempts to charge a word before the verdict is the careful one.
const ATTEMPTS: u32 = 8;

/// Reads a word once.
///
/// # Safety
/// `word` points into a map value that is valid for the whole run of the program.
#[inline(always)]
pub unsafe fn load(word: *const u64) -> u64 {
    // SAFETY: by contract; volatile, so that it is one load that is not repeated.
    unsafe { word.read_volatile() }
}

/// Adds without reading.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn add(word: *mut u64, amount: u64) {
    // SAFETY: by contract.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, amount) };
}

/// Sets bits.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn set_bits(word: *mut u64, bits: u64) {
    // SAFETY: by contract.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, bits) };
}

/// Replaces `old` by `new`; whether it was still `old`.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn replace(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: by contract.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new).1 }
}

/// As [`replace`], for half a word.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn replace_half(word: *mut u32, old: u32, new: u32) -> bool {
    // SAFETY: by contract.
    unsafe { atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new).1 }
}

/// The verdict of a set of buckets: 0 within, 1 + dimension exceeded, or [`Judgement::CONTENDED`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Judgement(u32);

impl Judgement {
    pub const WITHIN: Self = Self(0);
    const CONTENDED: Self = Self(1 + DIMENSIONS as u32);

    /// The verdict when the buckets of these bits are exceeded, one at least: the first counts.
    #[inline(always)]
    pub fn exceeding(bits: u64) -> Self {
        Self(1 + lowest(bits as u32))
    }

    /// The reason to drop, from the verdict for a dimension.
    #[inline(always)]
    pub fn verdict(self, of_dimension: fn(u32) -> Verdict) -> Verdict {
        if self == Self::CONTENDED {
            incident(Incident::Contended);
            return Reason::Contended.into();
        }
        of_dimension(self.0.wrapping_sub(1))
    }
}

/// What [`charge`] would say, without charging.
///
/// Not inlined: on its own it is verified with little state.
///
/// # Safety
/// As for [`charge`].
#[inline(never)]
pub unsafe fn ask(
    buckets: *const [u64; DIMENSIONS],
    rates: &[Rate; DIMENSIONS],
    units: &Units,
    now: u64,
) -> Judgement {
    let mut over = 0;
    let mut dimension = 0;
    while dimension < DIMENSIONS {
        // SAFETY: by contract; the dimension is in range.
        let owed = level(unsafe { load(&raw const (*buckets)[dimension]) }, now);
        let capacity = rates[dimension].capacity;
        over |= excess(owed, rates[dimension].cost(units[dimension]), capacity) << dimension;
        dimension += 1;
    }
    if over == 0 { Judgement::WITHIN } else { Judgement::exceeding(over) }
}

/// Charges the buckets of all dimensions that apply, or none: first all are asked, then all are charged. Only when
/// another CPU takes the room in between can a dimension be charged in vain.
///
/// # Safety
/// `buckets` points into a map value that is valid for the whole run of the program.
#[inline(always)]
pub unsafe fn charge(
    buckets: *mut [u64; DIMENSIONS],
    rates: &[Rate; DIMENSIONS],
    units: &Units,
    now: u64,
) -> Judgement {
    // SAFETY: by contract. What has no floor has itself for it.
    unsafe { charge_above(buckets, buckets.cast(), rates, units, now) }
}

/// As [`charge`], but a bucket owes no less than its floor says.
///
/// Not inlined: it is wanted often, and on its own it is verified with little state.
///
/// # Safety
/// As for [`charge`], `floors` included.
#[inline(never)]
pub unsafe fn charge_above(
    buckets: *mut [u64; DIMENSIONS],
    floors: *const [u64; OWNED],
    rates: &[Rate; DIMENSIONS],
    units: &Units,
    now: u64,
) -> Judgement {
    // SAFETY: by contract. Most packets neither open a connection nor are fragments.
    unsafe {
        if units[FRAGMENTS] != 0 {
            charge_first::<DIMENSIONS>(buckets, floors, rates, units, now)
        } else if units[CONNECTIONS] != 0 {
            charge_first::<FRAGMENTS>(buckets, floors, rates, units, now)
        } else {
            charge_first::<CONNECTIONS>(buckets, floors, rates, units, now)
        }
    }
}

/// Charges the first `N` dimensions.
#[inline(always)]
unsafe fn charge_first<const N: usize>(
    buckets: *mut [u64; DIMENSIONS],
    floors: *const [u64; OWNED],
    rates: &[Rate; DIMENSIONS],
    units: &Units,
    now: u64,
) -> Judgement {
    let mut tats = [0; N];
    let mut owed = [0; N];
    let mut costs = [0; N];
    let (mut over, mut beyond) = (0, 0);
    let mut dimension = 0;
    while dimension < N {
        // SAFETY: by the caller's contract; the dimension is in range.
        let floor = unsafe {
            tats[dimension] = load(&raw const (*buckets)[dimension]);
            if dimension < OWNED { load(&raw const (*floors)[dimension]) } else { tats[dimension] }
        };
        owed[dimension] = larger(level(tats[dimension], now), level(floor, now));
        costs[dimension] = rates[dimension].cost(units[dimension]);
        over |= excess(owed[dimension], costs[dimension], rates[dimension].capacity) << dimension;
        beyond |= level(owed[dimension], rates[dimension].capacity);
        dimension += 1;
    }
    if over != 0 {
        if beyond != 0 {
            // SAFETY: by the caller's contract.
            unsafe {
                forgive::<DIMENSIONS>(buckets.cast(), rates, now);
                forgive::<OWNED>(floors.cast_mut().cast(), rates, now);
            }
        }
        return Judgement::exceeding(over);
    }
    dimension = 0;
    while dimension < N {
        let cost = costs[dimension];
        if cost != 0 {
            // SAFETY: by the caller's contract; the dimension is in range.
            let word = unsafe { &raw mut (*buckets)[dimension] };
            let next = now.wrapping_add(owed[dimension]).wrapping_add(cost);
            // SAFETY: by the caller's contract.
            if !unsafe { replace(word, tats[dimension], next) } {
                let judgement = insist(word, now, owed[dimension], cost, rates[dimension].capacity);
                if judgement != 0 {
                    return if judgement == 1 {
                        Judgement(1 + dimension as u32)
                    } else {
                        Judgement::CONTENDED
                    };
                }
            }
        }
        dimension += 1;
    }
    Judgement::WITHIN
}

/// Takes a debt down to what the limit in force lets anybody owe. A greater one comes from an earlier limit, slower or with a
/// longer burst, and would outlast it.
///
/// Another CPU's plain store may undo it; then the next packet over the limit does it again.
///
/// # Safety
/// `buckets` points to `N` words of a map value that is valid for the whole run of the program.
#[inline(never)]
pub unsafe fn forgive<const N: usize>(buckets: *mut u64, rates: &[Rate; DIMENSIONS], now: u64) {
    let mut dimension = 0;
    while dimension < N && dimension < DIMENSIONS {
        let capacity = rates[dimension].capacity;
        // SAFETY: by contract; the dimension is in range.
        unsafe {
            let word = buckets.add(dimension);
            let tat = load(word);
            if level(tat, now) > capacity {
                replace(word, tat, now.wrapping_add(capacity));
            }
        }
        dimension += 1;
    }
}

/// The lowest of four bits, one of which is set; arithmetic, for the verifier's sake.
#[inline(always)]
fn lowest(bits: u32) -> u32 {
    let absent = |bit: u32| 1 - ((bits >> bit) & 1);
    absent(0) * (1 + absent(1) * (1 + absent(2)))
}

/// Charges one bucket by itself.
///
/// # Safety
/// As for [`charge`].
#[inline(always)]
pub unsafe fn charge_one(word: *mut u64, rate: &Rate, units: u32, now: u64) -> u32 {
    let cost = rate.cost(units);
    if cost == 0 {
        return 0;
    }
    // SAFETY: by contract. What is owed from an earlier limit is forgiven, as in `forgive`.
    unsafe {
        let tat = load(word);
        if level(tat, now) > rate.capacity {
            replace(word, tat, now.wrapping_add(rate.capacity));
        }
    }
    insist(word, now, 0, cost, rate.capacity)
}

/// Charges a word that another CPU has just changed and that owes no less than `least`: 0 paid, 1 exceeded, 2 given up.
#[inline(never)]
fn insist(word: *mut u64, now: u64, least: u64, cost: u64, capacity: u64) -> u32 {
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        // SAFETY: the only caller passes a word of a map value.
        let tat = unsafe { load(word) };
        let owed = larger(level(tat, now), least) + cost;
        if owed > capacity {
            return 1;
        }
        // SAFETY: as above.
        if unsafe { replace(word, tat, now.wrapping_add(owed)) } {
            return 0;
        }
        attempt += 1;
    }
    2
}
