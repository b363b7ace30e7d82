//! The switch of `sluice panic`: a bit in the settings of both generations, which makes the kernel pass everything.
//!
//! In: on or off. Out: the bit, through the daemon's maps or, without a daemon, through the pinned ones. Rules never carry
//! it, so no change of them turns it.

use std::path::Path;

use anyhow::{Context as _, Result};
use monitor_common::names::map;
use monitor_common::rule::{Active, Settings, setting};

use super::Datapath;
use super::left;
use super::pins;
use super::syscall;
use super::table::{Array, Map};

impl Datapath {
    /// See [`crate::Kernel::pass_everything`].
    pub fn pass_everything(&self, on: bool) -> Result<()> {
        self.rules.panic().switch(on)
    }

    pub fn passes_everything(&self) -> Result<bool> {
        self.rules.panic().is_on()
    }
}

/// The two maps that decide about it.
#[derive(Debug)]
pub struct Panic {
    settings: Array<Settings>,
    active: Array<Active>,
}

impl Panic {
    pub fn new(settings: &Map, active: &Map) -> Result<Self> {
        Ok(Self { settings: Array::new(settings)?, active: Array::new(active)? })
    }

    /// The generation that judges first, so that it holds from the next packet on.
    pub fn switch(&self, on: bool) -> Result<()> {
        let judging = self.active.get(0)?.generation & 1;
        for generation in [judging, judging ^ 1] {
            let settings = self.settings.get(generation)?;
            self.settings
                .set(generation, &with_panic(settings, on))
                .with_context(|| format!("switch panic in generation {generation}"))?;
        }
        Ok(())
    }

    pub fn is_on(&self) -> Result<bool> {
        self.is_on_in(self.active.get(0)?.generation & 1)
    }

    pub fn is_on_in(&self, generation: u32) -> Result<bool> {
        Ok(self.settings.get(generation)?.flags & setting::PANIC != 0)
    }
}

/// The same settings with the switch as told.
pub const fn with_panic(settings: Settings, on: bool) -> Settings {
    let flags = if on { settings.flags | setting::PANIC } else { settings.flags & !setting::PANIC };
    Settings { flags, ..settings }
}

/// Switches it in the maps that are pinned under `pin_directory`, whether a daemon holds them or not. False when none are.
///
/// # Errors
/// Maps of another layout, or a caller who is not root.
pub fn pass_everything_in(pin_directory: &Path, on: bool) -> Result<bool> {
    let Some(panic) = pinned(pin_directory)? else { return Ok(false) };
    panic.switch(on)?;
    Ok(true)
}

/// Whether it is on in the pinned maps; `None` without any.
///
/// # Errors
/// As [`pass_everything_in`].
pub fn passes_everything_in(pin_directory: &Path) -> Result<Option<bool>> {
    pinned(pin_directory)?.map(|panic| panic.is_on()).transpose()
}

fn pinned(root: &Path) -> Result<Option<Panic>> {
    left::links_of_this_layout(root)?;
    let version = pins::version(root);
    let open = |name: &'static str| -> Result<Option<Map>> {
        let path = version.join("maps").join(name);
        match syscall::open_pin(&path) {
            Err(error) if error.is(libc::ENOENT) => Ok(None),
            other => {
                let fd = other.with_context(|| format!("open the pinned map {}", path.display()))?;
                Map::new(name, fd).map(Some)
            }
        }
    };
    let (Some(settings), Some(active)) = (open(map::SETTINGS)?, open(map::ACTIVE)?) else { return Ok(None) };
    Panic::new(&settings, &active).map(Some)
}
