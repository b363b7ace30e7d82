//! Gives up every capability once nothing needs one any more.
//!
//! In: nothing. Out: a process that can read and write the maps it holds and re-attach the programs it holds, and
//! nothing else that root can. Must run before any thread starts, because capabilities belong to threads.

use anyhow::{Context, Result};
use caps::CapSet;

/// Whether programs can be loaded at all. Asked first, so that a process that cannot leaves no directory behind.
pub fn may_load() -> bool {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true);
    has(caps::Capability::CAP_BPF) || has(caps::Capability::CAP_SYS_ADMIN)
}

/// Forbids new privileges through exec, and takes every capability out of the bounding set, while that is still allowed.
pub fn forbid_new() -> Result<()> {
    rustix::thread::set_no_new_privs(true).context("forbid new privileges")?;
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        caps::clear(None, set).with_context(|| format!("clear the {set:?} capabilities"))?;
    }
    // Shrinking it is itself a privilege. Without that privilege it stays, which no longer matters as nothing can be
    // gained from it without exec.
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::all() {
            // Kernels older than the list of capabilities refuse the newest.
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    Ok(())
}

/// Drops all capabilities of the calling thread, for good.
pub fn drop_all() -> Result<()> {
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).with_context(|| format!("clear the {set:?} capabilities"))?;
    }
    Ok(())
}
