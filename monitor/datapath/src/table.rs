//! Typed handles of the kernel's maps: arrays, per-CPU arrays and hashes of plain values.
//!
//! In: keys and values that are [`Plain`]. Out: the same, read and written in batches where there are many. A handle is
//! made only when the kernel's own key and value sizes agree with the types, so no read can run over a value.

mod array;
mod hash;

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use monitor_common::plain::Plain;

use super::syscall::{self, Command, SyscallError};

pub use array::{Array, PerCpuArray};
pub use hash::{Cursor, Hash, TableFull};

/// Kinds of maps that sluice uses, by the kernel's numbers.
pub mod kind {
    pub const HASH: u32 = 1;
    pub const ARRAY: u32 = 2;
    pub const PERCPU_ARRAY: u32 = 6;
    pub const RINGBUF: u32 = 27;
}

/// What the kernel says about a map (`struct bpf_map_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub kind: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

impl Shape {
    /// Asks the kernel.
    pub fn of(map: BorrowedFd<'_>) -> Result<Self, SyscallError> {
        // type, id, key_size, value_size, max_entries, map_flags: the first six words.
        let mut info = [0_u8; 24];
        syscall::object_info(map, &mut info)?;
        let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        Ok(Self {
            kind: word(0),
            key_size: word(8),
            value_size: word(12),
            max_entries: word(16),
            flags: word(20),
        })
    }
}

/// Any map: its name and its descriptor, shared by all handles.
#[derive(Clone, Debug)]
pub struct Map {
    pub name: &'static str,
    pub shape: Shape,
    fd: Arc<OwnedFd>,
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Map {
    /// Takes a descriptor over and asks the kernel for its shape.
    pub fn new(name: &'static str, fd: OwnedFd) -> Result<Self> {
        let shape = Shape::of(fd.as_fd()).with_context(|| format!("ask for the shape of map {name}"))?;
        Ok(Self { name, shape, fd: Arc::new(fd) })
    }

    /// What the kernel says the map takes (`memlock` in the descriptor's fdinfo).
    pub fn memory_bytes(&self) -> Option<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        let text = std::fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
    }

    fn expect(&self, kind: u32, key: usize, value: usize) -> Result<()> {
        let Shape { kind: its_kind, key_size, value_size, .. } = self.shape;
        ensure!(
            its_kind == kind && key_size as usize == key && value_size as usize == value,
            "map {} is of kind {its_kind} with {key_size}-byte keys and {value_size}-byte values, expected kind {kind} \
             with {key} and {value}; kernel and daemon are of different versions: build both anew",
            self.name
        );
        Ok(())
    }

    fn error(&self, error: SyscallError) -> anyhow::Error {
        anyhow::Error::new(error).context(format!("map {}", self.name))
    }
}

/// The bytes of plain values.
fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: Plain values are initialised in every byte, and the slice covers exactly theirs.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// CPUs that the kernel may ever bring up: how many values a per-CPU map has.
pub fn possible_cpus() -> Result<usize> {
    let path = "/sys/devices/system/cpu/possible";
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    count_of_list(text.trim()).with_context(|| format!("{path} holds {text:?}, which is no list of CPUs"))
}

/// How many numbers a list such as `0-3,8` names; the kernel counts up to the last.
fn count_of_list(text: &str) -> Option<usize> {
    let range = text.rsplit(',').next()?;
    let last = range.rsplit('-').next()?;
    last.parse::<usize>().ok().map(|last| last + 1)
}

/// A second descriptor of the same object; `name` is what an error calls it.
pub fn copy_descriptor(fd: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(|error: io::Error| {
        anyhow::Error::new(SyscallError { command: Command::OBJ_GET, error })
            .context(format!("copy the descriptor of {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::count_of_list;

    #[test]
    fn the_possible_cpus_are_counted_up_to_the_last() {
        assert_eq!(count_of_list("0"), Some(1));
        assert_eq!(count_of_list("0-1"), Some(2));
        assert_eq!(count_of_list("0-3,8-11"), Some(12));
        assert_eq!(count_of_list(""), None);
    }
}
