//! The rings through which the kernel tells of moments, and its own log lines.
//!
//! In: ring buffers. Out: plain values in the order of the ring. What did not fit was counted by the kernel; a value of
//! another length is counted here. Nothing is waited for by the kernel.

use std::future::Future;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;

use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use monitor_common::plain::Plain;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring of `T`s.
pub struct Ring<T> {
    source: AsyncFd<RingBuf<MapData>>,
    unreadable: u64,
    value: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("unreadable", &self.unreadable).finish_non_exhaustive()
    }
}

impl<T: Plain> Ring<T> {
    /// Must be called within a tokio runtime.
    pub(super) fn new(ring: RingBuf<MapData>) -> Result<Self> {
        Ok(Self { source: watch(ring)?, unreadable: 0, value: PhantomData })
    }

    /// Waits until there is something and appends up to `at_most` values to `values`. Cancel-safe: nothing is taken
    /// out of the ring before the wait is over.
    pub async fn read(&mut self, values: &mut Vec<T>, at_most: usize) -> Result<()> {
        loop {
            if self.read_ready(values, at_most) > 0 {
                return Ok(());
            }
            let mut ready = self.source.readable_mut().await.context("wait on a ring buffer")?;
            ready.clear_ready();
            // What came between the look and the clearing would not wake us again.
            drop(ready);
            if self.read_ready(values, at_most) > 0 {
                return Ok(());
            }
        }
    }

    /// Takes what is there without waiting, up to `at_most` values; returns how many.
    pub fn read_ready(&mut self, values: &mut Vec<T>, at_most: usize) -> usize {
        let mut taken = 0;
        while taken < at_most {
            let Some(item) = self.source.get_mut().next() else { break };
            match T::from_bytes(&item) {
                Some(value) if item.len() >= size_of::<T>() => values.push(value),
                _ => self.unreadable += 1,
            }
            taken += 1;
        }
        taken
    }

    /// Values of another length, which only a kernel side of another version sends.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

/// Hands the kernel side's log lines to the process's log as long as it is polled.
pub type LogPump = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Takes the log ring of a freshly read object; `None` when its kernel side logs nothing. The future must be polled within
/// a tokio runtime.
pub(super) fn log_pump(ebpf: &mut Ebpf) -> Option<LogPump> {
    let logger = EbpfLogger::init(ebpf).ok()?;
    Some(Box::pin(async move {
        let mut logger = watch(logger)?;
        loop {
            let mut ready = logger.readable_mut().await.context("wait on the kernel side's log")?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }))
}

/// Waits on `ring`, which owns its descriptor.
fn watch<R: AsFd + AsRawFd>(ring: R) -> Result<AsyncFd<R>> {
    // SAFETY: rings and loggers own their descriptor for as long as they live and never change it.
    let watched = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    watched.map_err(|error| anyhow!("wait on a ring buffer: {error}"))
}
