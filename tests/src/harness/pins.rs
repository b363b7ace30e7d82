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

use super::network::{Space, unique};

/// Where a test pins.
#[derive(Debug)]
pub struct PinDirectory(PathBuf);

impl PinDirectory {
    /// A name on the machine's bpffs that no other test has.
    pub fn new() -> Result<Self> {
        let mounted = Path::new("/sys/fs/bpf");
        ensure!(mounted.is_dir(), "no bpffs at /sys/fs/bpf");
        ensure!(!monitor::datapath::is_stub(), "built without a BPF toolchain");
        Ok(Self(mounted.join(unique("sluice-test-"))))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        let _ = monitor::datapath::unload_pinned(&self.0);
    }
}

/// Moves this thread, and no other, into a namespace.
pub fn enter(space: &Space) -> Result<()> {
    let path = format!("/run/netns/{}", space.name());
    let file = File::open(&path).with_context(|| format!("open {path}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter {path}"))
}
