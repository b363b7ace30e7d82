//! An array map as memory that both sides see at once, without a system call per word.
//!
//! In: a map of whole words that allows it. Out: its words, atomic. The kernel programs read and write them meanwhile.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result, ensure};

use super::table::Map;

/// `BPF_F_MMAPABLE`.
const MAPPABLE: u32 = 1 << 10;

/// The mapped words.
#[derive(Debug)]
pub struct Mapped {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the pointer is to shared memory that lives as long as the value, and is only used atomically.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    pub fn new(map: &Map) -> Result<Self> {
        ensure!(map.shape.flags & MAPPABLE != 0, "map {} cannot be mapped into memory: build anew", map.name);
        ensure!(map.shape.value_size.is_multiple_of(8), "map {} does not hold whole words", map.name);
        let count = (map.shape.value_size as usize / 8) * map.shape.max_entries as usize;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let fd = map.as_fd().as_raw_fd();
        // SAFETY: a fresh mapping at an address of the kernel's choice, which the kernel bounds by the map's size.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), count * 8, protection, flags, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).with_context(|| format!("map {} into memory", map.name));
        }
        let words = NonNull::new(address.cast()).context("the kernel mapped nothing")?;
        Ok(Self { words, count })
    }

    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the words lie in the mapping, which ends with this value; both sides use whole-word accesses.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by us with this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.count * 8) };
    }
}
