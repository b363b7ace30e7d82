//! What the core reaches beyond itself, as traits: the kernel, the store and the host.
//!
//! In: an input's moment and the three ports. Out: a [`Turn`], which the parts of the core share while one input is
//! handled. The engine supplies the real ports, tests supply stand-ins. The reasons are in ADR 0012.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use datapath::{Interface, Kernel};
use ipnet::IpNet;
use policy::config::AccessList;
use policy::{ImportedList, Surroundings};

use super::delta::{ConfigSetting, Flags};
use super::effect::Effect;
use super::origin::Origin;
use super::panic::Step;
use super::problems::Problems;
use crate::store::{Moment, Storage};
use api::Error;
use api::audit::AuditChange;

/// What the core asks of the host: files that the configuration names, sessions, routes and cgroups.
pub trait Host: Send {
    /// The file at `path`, or the default one.
    fn configuration(&mut self, path: Option<&Path>, flags: Flags) -> Result<ConfigSetting, Error>;
    /// The bytes of a list of prefixes, or why it cannot be read; of one that is fetched, its copy.
    fn list(&mut self, list: &AccessList) -> Result<Vec<u8>, String>;
    /// What the host needs to reach anybody; nothing when it cannot be told.
    fn network(&mut self) -> Neighbourhood;
    /// The interfaces of this namespace, with what they have received.
    fn links(&mut self) -> Result<Vec<Interface>>;
    /// What rules depend on of the host's network.
    fn surroundings(&mut self) -> Surroundings;
    /// Keeps the configuration in force with its lists in `directory`, for a start that finds the file broken.
    fn keep_last_good(
        &mut self,
        directory: &Path,
        setting: &ConfigSetting,
        lists: &[ImportedList],
    ) -> Result<()>;
    /// The turns of the switch of `sluice panic` that `directory` holds; none without a file.
    fn panic_steps(&mut self, directory: &Path) -> Result<Vec<Step>>;
    fn keep_panic_steps(&mut self, directory: &Path, steps: &[Step]) -> Result<()>;
    /// Far ends of the SSH connections that are established now.
    fn sessions(&mut self) -> BTreeSet<IpAddr>;
    /// What a change must not cut off: where people who logged in came from, and the next hops of routes.
    fn lifelines(&mut self) -> BTreeSet<IpAddr>;
    /// The interfaces with a default route.
    fn default_routes(&mut self) -> Result<Vec<String>>;
    /// The name of the workload in a cgroup.
    fn workload(&mut self, cgroup: u64) -> Option<String>;
    /// The cgroups of the workload of this name.
    fn cgroups(&mut self, workload: &str) -> Vec<u64>;
}

/// Gateways, and the networks that the host is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbourhood {
    pub gateways: Vec<IpAddr>,
    pub networks: Vec<IpNet>,
}

/// The three ports.
pub struct Ports<'a> {
    pub kernel: &'a mut dyn Kernel,
    pub store: &'a mut dyn Storage,
    pub host: &'a mut dyn Host,
}

/// One input on its way through the core: the moment, the ports, and what comes of it.
pub struct Turn<'a> {
    pub now: Moment,
    pub kernel: &'a mut dyn Kernel,
    pub store: &'a mut dyn Storage,
    pub host: &'a mut dyn Host,
    pub problems: Problems,
    pub effects: Vec<Effect>,
    /// Changes that no entry of the audit names yet, with what made them.
    pub made: Vec<(Origin, AuditChange)>,
}

impl<'a> Turn<'a> {
    pub fn new(now: Moment, ports: Ports<'a>, problems: Problems) -> Self {
        let Ports { kernel, store, host } = ports;
        Self { now, kernel, store, host, problems, effects: Vec::new(), made: Vec::new() }
    }
}

impl std::fmt::Debug for Ports<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("now", &self.now).finish_non_exhaustive()
    }
}
