//! Numbers that outlive a change: a service or a denied prefix that keeps its name keeps its number, so that entries
//! and counters in the kernel stay its own.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

/// Which number belongs to which service and which denied prefix.
///
/// A number that falls free is retired: it is given out again only after the engine said, by
/// [`Numbering::swept_services`] or [`Numbering::swept_denials`], that nothing in the kernel carries it any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    services: BTreeMap<String, u32>,
    retired_services: BTreeSet<u32>,
    denials: BTreeMap<IpNet, u32>,
    retired_denials: BTreeSet<u32>,
}

impl Numbering {
    /// The numbering after a restart: what the kernel's maps still use, as it was stored.
    pub fn restore(services: BTreeMap<String, u32>, denials: BTreeMap<IpNet, u32>) -> Self {
        Self { services, denials, ..Self::default() }
    }

    pub fn service(&self, name: &str) -> Option<u32> {
        self.services.get(name).copied()
    }

    pub fn services(&self) -> &BTreeMap<String, u32> {
        &self.services
    }

    pub fn denial(&self, prefix: &IpNet) -> Option<u32> {
        self.denials.get(prefix).copied()
    }

    pub fn denials(&self) -> &BTreeMap<IpNet, u32> {
        &self.denials
    }

    /// Service numbers whose entries and totals the engine is to sweep.
    pub fn retired_services(&self) -> &BTreeSet<u32> {
        &self.retired_services
    }

    /// Denial numbers whose counters the engine is to clear.
    pub fn retired_denials(&self) -> &BTreeSet<u32> {
        &self.retired_denials
    }

    /// Nothing in the kernel carries these service numbers any more: they may be given out again.
    pub fn swept_services(&mut self, numbers: &[u32]) {
        self.retired_services.retain(|number| !numbers.contains(number));
    }

    /// Nothing in the kernel carries these denial numbers any more.
    pub fn swept_denials(&mut self, numbers: &BTreeSet<u32>) {
        self.retired_denials.retain(|number| !numbers.contains(number));
    }
}
