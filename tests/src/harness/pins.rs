//! A pin directory of a test's own, and a thread that lives in another network namespace.
//!
//! Dropping a [`PinDirectory`] detaches and removes whatever was pinned there.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    daemon::PATIENCE,
    network::{Space, eventually, unique},
};

/// Where a test pins.
#[derive(Debug)]
pub struct PinDirectory(PathBuf);

impl PinDirectory {
    /// A name on the machine's bpffs that no other test has.
    pub fn new() -> Result<Self> {
        let mounted = Path::new("/sys/fs/bpf");
        ensure!(mounted.is_dir(), "no bpffs at /sys/fs/bpf");
        ensure!(!datapath::is_stub(), "built without a BPF toolchain");
        Ok(Self(mounted.join(unique("sluice-test-"))))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        let _ = once_let_go(|| datapath::unload_pinned(&self.0));
    }
}

/// Tries again while the directory is held. This process let it go, but another test may be starting a program: between
/// fork and exec that has a copy of the lock.
pub fn once_let_go<T>(mut open: impl FnMut() -> Result<T>) -> Result<T> {
    let attempt = || match open() {
        Err(error) if format!("{error:#}").contains("another sluice daemon holds") => None,
        opened => Some(opened),
    };
    eventually("the pins are let go", PATIENCE, attempt)?
}

/// Moves this thread, and no other, into a namespace.
pub fn enter(space: &Space) -> Result<()> {
    let path = format!("/run/netns/{}", space.name());
    let file = File::open(&path).with_context(|| format!("open {path}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter {path}"))
}
