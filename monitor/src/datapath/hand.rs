//! The hand of the simulated clock: the `CLOCK` map, mapped into our memory.
//!
//! In: moments. Out: the same, visible to the programs at once, and what they say of the last packet, both without a system
//! call per frame.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use monitor_common::record::ClockReading;

use super::table::Map;

/// `BPF_F_MMAPABLE`.
const MAPPABLE: u32 = 1 << 10;
/// What the kernel rounds a small array up to.
const PAGE: usize = 4096;

const WORDS: usize = size_of::<ClockReading>() / 8;
const NOW: usize = std::mem::offset_of!(ClockReading, now) / 8;
const JUDGED: usize = std::mem::offset_of!(ClockReading, judged) / 8;

/// The mapped words.
#[derive(Debug)]
pub struct Hand {
    words: NonNull<[AtomicU64; WORDS]>,
}

// SAFETY: the pointer is to shared memory that lives as long as the value, and is only used atomically.
unsafe impl Send for Hand {}

impl Hand {
    pub fn new(map: &Map) -> Result<Self> {
        ensure!(map.shape.flags & MAPPABLE != 0, "map {} cannot be mapped into memory: build anew", map.name);
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh mapping at an address of the kernel's choice, of a map that is at least a page long.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, map.as_fd().as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).with_context(|| format!("map {} into memory", map.name));
        }
        let words = NonNull::new(address.cast()).context("the kernel mapped nothing")?;
        Ok(Self { words })
    }

    /// Moves the clock.
    pub fn set(&self, now: u64) {
        self.words()[NOW].store(now, Ordering::Release);
    }

    /// What became of the last packet ([`monitor_common::record::judged`]).
    pub fn judged(&self) -> u64 {
        self.words()[JUDGED].load(Ordering::Acquire)
    }

    fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: the words lie in the mapping, which ends with this value; both sides use whole-word accesses.
        unsafe { self.words.as_ref() }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by us with this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.words.as_ptr().cast(), PAGE) };
    }
}
