//! Arrays: one value, or one per CPU, at each index.

use std::marker::PhantomData;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use monitor_common::plain::Plain;

use super::{Map, bytes_of, kind, possible_cpus};
use crate::syscall;

/// Values of one system call.
const CHUNK: usize = 16_384;

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

    /// Writes values at these indexes, in few system calls.
    pub fn set_at(&self, indexes: &[u32], values: &[V]) -> Result<()> {
        for (keys, values) in indexes.chunks(CHUNK).zip(values.chunks(CHUNK)) {
            let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            syscall::update_batch(self.map.as_fd(), bytes_of(keys), bytes_of(values), count)
                .map_err(|(_, error)| self.map.error(error))?;
        }
        Ok(())
    }

    /// Writes `values` from index `first` on, in few system calls.
    pub fn set_all(&self, first: u32, values: &[V]) -> Result<()> {
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        ensure!(
            first.checked_add(count).is_some_and(|end| end <= self.capacity()),
            "{count} values from index {first} do not fit map {} (capacity {})",
            self.map.name,
            self.capacity()
        );
        let indexes: Vec<u32> = (first..first + count).collect();
        self.set_at(&indexes, values)
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
