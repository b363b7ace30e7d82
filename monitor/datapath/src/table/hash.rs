//! Hashes: read in bounded walks, written and emptied in batches, and loud when full.

use std::marker::PhantomData;
use std::os::fd::AsFd as _;

use anyhow::Result;
use monitor_common::plain::Plain;

use super::{Map, bytes_of, kind};
use crate::syscall::{self, SyscallError};

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
