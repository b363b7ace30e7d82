//! Atomic words in map values. The BPF target has no read-modify-write in `core::sync::atomic`; these intrinsics compile
//! to the one instruction the kernel offers for each.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd};

use monitor_common::bucket::{Rate, admit};

/// Attempts to charge a word before the verdict is the careful one.
const ATTEMPTS: u32 = 8;

/// What became of a charge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    Paid,
    Exceeded,
    Contended,
}

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

/// Whether the bucket has room for `cost`, without charging it.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn has_room(word: *const u64, now: u64, cost: u64, rate: &Rate) -> bool {
    // SAFETY: by contract.
    admit(unsafe { load(word) }, now, cost, rate.capacity).is_some()
}

/// Charges the bucket in `word`.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn charge(word: *mut u64, now: u64, cost: u64, rate: &Rate) -> Charge {
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        // SAFETY: by contract.
        let tat = unsafe { load(word) };
        let Some(next) = admit(tat, now, cost, rate.capacity) else {
            return Charge::Exceeded;
        };
        // SAFETY: by contract.
        if unsafe { replace(word, tat, next) } {
            return Charge::Paid;
        }
        attempt += 1;
    }
    Charge::Contended
}
