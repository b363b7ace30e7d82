//! Typed handles of the kernel's maps: arrays, per-CPU arrays and hashes of plain values.
//!
//! In: keys and values that are [`Plain`]. Out: the same, read and written in batches where there are many. A handle is
//! made only when the kernel's own key and value sizes agree with the types, so no read can run over a value.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use monitor_common::plain::Plain;

use super::syscall::{self, Command, SyscallError};

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

/// An array of `V`.
#[derive(Debug)]
pub struct Array<V> {
    map: Map,
    value: PhantomData<fn() -> V>,
}

impl<V> Clone for Array<V> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone(), value: PhantomData }
    }
}

impl<V: Plain> Array<V> {
    pub fn new(map: &Map) -> Result<Self> {
        map.expect(kind::ARRAY, 4, size_of::<V>())?;
        Ok(Self { map: map.clone(), value: PhantomData })
    }

    pub fn capacity(&self) -> u32 {
        self.map.shape.max_entries
    }

    pub fn get(&self, index: u32) -> Result<V> {
        let mut value = vec![0_u8; size_of::<V>()];
        let found =
            syscall::lookup(self.map.as_fd(), index.as_bytes(), &mut value).map_err(|e| self.map.error(e))?;
        ensure!(found, "map {} has no index {index} (capacity {})", self.map.name, self.capacity());
        V::from_bytes(&value).context("the value is as long as its type")
    }

    pub fn set(&self, index: u32, value: &V) -> Result<()> {
        syscall::update(self.map.as_fd(), index.as_bytes(), value.as_bytes()).map_err(|error| {
            self.map.error(error).context(format!("write index {index} of {}", self.map.shape.max_entries))
        })
    }

    /// Writes `values` from index `first` on, in few system calls.
    pub fn set_all(&self, first: u32, values: &[V]) -> Result<()> {
        const CHUNK: usize = 16_384;
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        ensure!(
            first.checked_add(count).is_some_and(|end| end <= self.capacity()),
            "{count} values from index {first} do not fit map {} (capacity {})",
            self.map.name,
            self.capacity()
        );
        let mut index = first;
        for chunk in values.chunks(CHUNK) {
            let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let keys: Vec<u32> = (index..index + count).collect();
            syscall::update_batch(self.map.as_fd(), bytes_of(&keys), bytes_of(chunk), count)
                .map_err(|(_, error)| self.map.error(error))?;
            index += count;
        }
        Ok(())
    }

    /// Reads `count` values from index `first` on.
    pub fn get_all(&self, first: u32, count: u32) -> Result<Vec<V>> {
        let mut values = Vec::with_capacity(count as usize);
        read_array(&self.map, size_of::<V>(), first, count, |bytes| values.extend(V::from_bytes(bytes)))?;
        Ok(values)
    }
}

/// An array with one `V` per possible CPU at each index.
#[derive(Debug)]
pub struct PerCpuArray<V> {
    map: Map,
    cpus: usize,
    value: PhantomData<fn() -> V>,
}

impl<V> Clone for PerCpuArray<V> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone(), cpus: self.cpus, value: PhantomData }
    }
}

impl<V: Plain> PerCpuArray<V> {
    pub fn new(map: &Map) -> Result<Self> {
        map.expect(kind::PERCPU_ARRAY, 4, size_of::<V>())?;
        ensure!(size_of::<V>().is_multiple_of(8), "per-CPU values of map {} are not whole words", map.name);
        Ok(Self { map: map.clone(), cpus: possible_cpus()?, value: PhantomData })
    }

    pub fn capacity(&self) -> u32 {
        self.map.shape.max_entries
    }

    /// Calls `read(index, cpu's value)` for `count` indexes from `first` on, every CPU of each.
    pub fn for_each(&self, first: u32, count: u32, mut read: impl FnMut(u32, &V)) -> Result<()> {
        let mut position = 0_usize;
        read_array(&self.map, size_of::<V>() * self.cpus, first, count, |bytes| {
            for cpu in bytes.chunks_exact(size_of::<V>()) {
                if let Some(value) = V::from_bytes(cpu) {
                    read(first + u32::try_from(position).unwrap_or(u32::MAX), &value);
                }
            }
            position += 1;
        })
    }

    /// Writes the same value on every CPU.
    pub fn set(&self, index: u32, value: &V) -> Result<()> {
        let values: Vec<u8> = value.as_bytes().repeat(self.cpus);
        syscall::update(self.map.as_fd(), index.as_bytes(), &values).map_err(|e| self.map.error(e))
    }

    /// Writes each CPU's value; `values` has one per possible CPU.
    pub fn set_each(&self, index: u32, values: &[V]) -> Result<()> {
        ensure!(values.len() == self.cpus, "map {} takes {} values, one per CPU", self.map.name, self.cpus);
        syscall::update(self.map.as_fd(), index.as_bytes(), bytes_of(values)).map_err(|e| self.map.error(e))
    }
}

/// A hash from `K` to `V`.
#[derive(Debug)]
pub struct Hash<K, V> {
    map: Map,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Hash<K, V> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone(), types: PhantomData }
    }
}

/// Where a walk stands; start with the default and go on until [`Cursor::at_end`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    position: Option<[u8; 64]>,
    end: bool,
}

impl Cursor {
    /// The walk is over; the next read begins anew.
    pub fn at_end(&self) -> bool {
        self.end
    }
}

impl<K: Plain, V: Plain> Hash<K, V> {
    pub fn new(map: &Map) -> Result<Self> {
        map.expect(kind::HASH, size_of::<K>(), size_of::<V>())?;
        Ok(Self { map: map.clone(), types: PhantomData })
    }

    pub fn capacity(&self) -> u32 {
        self.map.shape.max_entries
    }

    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let mut value = vec![0_u8; size_of::<V>()];
        let found =
            syscall::lookup(self.map.as_fd(), key.as_bytes(), &mut value).map_err(|e| self.map.error(e))?;
        Ok(if found { V::from_bytes(&value) } else { None })
    }

    /// Removes one entry; false when there was none.
    pub fn remove(&self, key: &K) -> Result<bool> {
        syscall::delete(self.map.as_fd(), key.as_bytes()).map_err(|e| self.map.error(e))
    }

    /// Writes many entries in few system calls; [`TableFull`] when there is no room for a new one.
    pub fn set_all(&self, keys: &[K], values: &[V]) -> Result<()> {
        const CHUNK: usize = 8192;
        for (keys, values) in keys.chunks(CHUNK).zip(values.chunks(CHUNK)) {
            let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            syscall::update_batch(self.map.as_fd(), bytes_of(keys), bytes_of(values), count)
                .map_err(|(_, error)| self.refused(error))?;
        }
        Ok(())
    }

    /// Removes many entries; entries that are gone already are passed over. Returns how many were removed.
    pub fn remove_all(&self, keys: &[K]) -> Result<usize> {
        let mut rest = keys;
        let mut removed = 0;
        while !rest.is_empty() {
            let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            match syscall::delete_batch(self.map.as_fd(), bytes_of(rest), count) {
                Ok(()) => return Ok(removed + rest.len()),
                Err((done, error)) if error.is(libc::ENOENT) => {
                    removed += done as usize;
                    rest = rest.get(done as usize + 1..).unwrap_or_default();
                }
                Err((_, error)) => return Err(self.map.error(error)),
            }
        }
        Ok(removed)
    }

    /// Reads about `at_most` entries from where `cursor` stands and moves it. A walk visits every bucket once, so it ends
    /// however much others insert and remove meanwhile; entries that stay throughout are seen exactly once.
    pub fn read(&self, cursor: &mut Cursor, at_most: u32, mut each: impl FnMut(K, V)) -> Result<()> {
        if cursor.end {
            *cursor = Cursor::default();
        }
        let mut count = at_most.clamp(16, self.capacity().max(16));
        loop {
            let mut keys = vec![0_u8; count as usize * size_of::<K>()];
            let mut values = vec![0_u8; count as usize * size_of::<V>()];
            let step =
                syscall::lookup_batch(self.map.as_fd(), &mut cursor.position, &mut keys, &mut values, count);
            let step = match step {
                // One bucket holds more than that.
                Err(error) if error.is(libc::ENOSPC) && count < self.capacity().saturating_mul(2).max(64) => {
                    count = count.saturating_mul(2);
                    continue;
                }
                other => other.map_err(|e| self.map.error(e))?,
            };
            let read = step.count.min(count) as usize;
            let keys = keys.chunks_exact(size_of::<K>());
            for (key, value) in keys.zip(values.chunks_exact(size_of::<V>())).take(read) {
                if let (Some(key), Some(value)) = (K::from_bytes(key), V::from_bytes(value)) {
                    each(key, value);
                }
            }
            cursor.end = step.last;
            return Ok(());
        }
    }

    /// Reads every entry.
    pub fn read_all(&self, mut each: impl FnMut(K, V)) -> Result<()> {
        let mut cursor = Cursor::default();
        while !cursor.at_end() {
            self.read(&mut cursor, 8192, &mut each)?;
        }
        Ok(())
    }

    fn refused(&self, error: SyscallError) -> anyhow::Error {
        if error.is(libc::E2BIG) || error.is(libc::ENOSPC) {
            anyhow::Error::new(TableFull { map: self.map.name, capacity: self.capacity() })
        } else {
            self.map.error(error)
        }
    }
}

/// A hash has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull {
    pub map: &'static str,
    pub capacity: u32,
}

impl std::fmt::Display for TableFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "table {} is full (capacity {}): raise its capacity or remove entries",
            self.map, self.capacity
        )
    }
}

impl std::error::Error for TableFull {}

/// Reads `count` values of `size` bytes of an array from `first` on.
fn read_array(map: &Map, size: usize, first: u32, count: u32, mut each: impl FnMut(&[u8])) -> Result<()> {
    let end = first.saturating_add(count);
    ensure!(end <= map.shape.max_entries, "map {} has no index {}", map.name, end.saturating_sub(1));
    let chunk = u32::try_from((1 << 20) / size.max(1)).unwrap_or(1).clamp(1, count.max(1));
    let mut keys = vec![0_u8; chunk as usize * 4];
    let mut values = vec![0_u8; chunk as usize * size];
    // The kernel goes on after the index in the cursor.
    let mut cursor = first.checked_sub(1).map(|before| {
        let mut bytes = [0_u8; 64];
        bytes[..4].copy_from_slice(before.as_bytes());
        bytes
    });
    let mut left = count;
    while left > 0 {
        let asked = left.min(chunk);
        let step = syscall::lookup_batch(map.as_fd(), &mut cursor, &mut keys, &mut values, asked)
            .map_err(|e| map.error(e))?;
        let read = step.count.min(asked);
        ensure!(read > 0, "map {} ended {left} values early", map.name);
        values.chunks_exact(size).take(read as usize).for_each(&mut each);
        left -= read;
    }
    Ok(())
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
fn count_of_list(list: &str) -> Option<usize> {
    let last = list.rsplit(',').next()?;
    let last = last.rsplit('-').next()?;
    last.parse::<usize>().ok().map(|last| last + 1)
}

/// An error for a descriptor that cannot be copied.
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
