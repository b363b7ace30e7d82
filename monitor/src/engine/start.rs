//! From the parts that `daemon` opened to a running engine.
//!
//! In: the kernel side, the store, the configuration. Out: an engine whose rules are in force and its handle.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use datapath::Kernel;

use super::Parts;
use super::handle::Handle;
use super::run::Engine;
use crate::core::Beginning;
use crate::core::delta::ConfigSetting;
pub use crate::core::start::{First, guard};
use crate::store::Store;

/// What an engine is made of.
pub struct Start {
    pub kernel: Box<dyn Kernel>,
    pub store: Store,
    pub config: ConfigSetting,
    /// The file that reloads read.
    pub path: Option<PathBuf>,
    /// The host's own addresses.
    pub own: Vec<IpAddr>,
    /// The far end of the SSH session that the daemon was started from.
    pub operator: Option<IpAddr>,
    /// What works beside the engine.
    pub parts: Parts,
    /// What was done before anything else.
    pub first: First,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Start {
    /// Writes the rules, guards the interfaces and makes the engine.
    pub fn engine(self) -> Result<(Engine, Handle)> {
        let Self { kernel, store, config, path, own, operator, parts, first } = self;
        Engine::begin(kernel, store, parts, Beginning { config, path, own, operator, first })
    }
}
