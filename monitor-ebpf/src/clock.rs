//! The clock: the kernel's tick counter, which costs nothing, or a word that replay and tests set.

use aya_ebpf::helpers::generated::bpf_jiffies64;

use crate::maps;

/// 0: the tick counter; 1: the word in the `CLOCK` map. Set at load, so the verifier prunes the other branch.
#[unsafe(no_mangle)]
static CLOCK_SOURCE: u32 = 0;

/// The kernel's tick counter.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: the helper takes nothing and reads one word.
    unsafe { bpf_jiffies64() }
}

/// Whether a replay or a test holds the clock.
#[inline(always)]
pub fn is_simulated() -> bool {
    // SAFETY: a static of this object; volatile, because the loader writes it.
    unsafe { core::ptr::read_volatile(&raw const CLOCK_SOURCE) != 0 }
}

/// Now, in clock units; `tick` is the units per tick.
#[inline(always)]
pub fn now(tick: u64) -> u64 {
    if is_simulated() {
        maps::CLOCK.get(0).map_or(0, |reading| reading.now)
    } else {
        jiffies().wrapping_mul(tick)
    }
}
