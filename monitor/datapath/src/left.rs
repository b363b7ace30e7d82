//! What a daemon that is gone left in force, read from the pins without changing them.
//!
//! In: a pin directory. Out: the interfaces whose packets the kernel still evaluates, and since when.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use monitor_common::names;

use super::attach::LinkState;
use super::pins::{self, Hook, LinkPin};
use super::syscall;

/// An interface that is guarded without a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub interface: String,
    /// Whether the link still holds its interface; false when that was deleted meanwhile.
    pub in_force: bool,
    /// When the link was pinned.
    pub since: SystemTime,
}

/// Every interface with a pinned ingress link under `pin_directory`; none when there is no such directory.
///
/// # Errors
/// A directory or a link that cannot be read, for example because the caller is not root.
pub fn left_in_force(pin_directory: &Path) -> Result<Vec<Left>> {
    let mut all = Vec::new();
    for link in pins::links_under(pin_directory)?.into_iter().filter(|link| link.hook == Hook::Ingress) {
        let path = link.path.display();
        let since = fs::symlink_metadata(&link.path).and_then(|about| about.modified());
        let since = since.with_context(|| format!("look at {path}"))?;
        let held = syscall::open_pin(&link.path).with_context(|| format!("open the pinned link {path}"))?;
        let state = LinkState::of(held.as_fd()).with_context(|| format!("ask about the link {path}"))?;
        all.push(Left { interface: link.interface, in_force: state.ifindex().is_some(), since });
    }
    Ok(all)
}

/// Every pinned link, all of this layout. Without a lock.
///
/// # Errors
/// Links of another layout: what they lead to is not what this program knows.
pub fn links_of_this_layout(root: &Path) -> Result<Vec<LinkPin>> {
    let version = pins::version(root);
    let links = pins::links_under(root)?;
    if let Some(link) = links.iter().find(|link| !link.path.starts_with(&version)) {
        bail!(
            "{} is of another version of sluice than this one (layout {}): use that version's program, or \
             `sluice detach`, which takes everything away",
            link.path.display(),
            names::LAYOUT
        );
    }
    Ok(links)
}

/// The interfaces under `pin_directory` by slot, the number under which the kernel counts them.
///
/// # Errors
/// As [`links_of_this_layout`].
pub fn slots_in(pin_directory: &Path) -> Result<BTreeMap<u32, String>> {
    let links = links_of_this_layout(pin_directory)?;
    Ok(links.into_iter().map(|link| (link.slot, link.interface)).collect())
}
