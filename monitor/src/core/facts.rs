//! What the core knows at one moment, to be read: answers and plans are functions of it.

use datapath::Kernel;
use jiff::Timestamp;
use tuning::aggregates::Standing;

use super::change::Desired;
use super::install::Installed;
use super::interfaces::Interfaces;
use super::limits::in_force;
use super::names::Names;
use super::view::View;
use crate::snapshot::{LimitInForce, ServiceConnections};

/// References to the parts of the core, and to the kernel for reads.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub desired: &'a Desired,
    pub installed: &'a Installed,
    pub interfaces: &'a Interfaces,
    pub view: &'a View,
    /// Aggregates that nobody configured.
    pub automatic: &'a [Standing],
    pub kernel: &'a dyn Kernel,
    pub now: Timestamp,
}

impl<'a> Facts<'a> {
    pub fn names(&self) -> Names<'a> {
        Names {
            image: self.installed.image(),
            interfaces: self.interfaces.guarded(),
            kernel: self.kernel,
            workloads: self.view.workloads(),
            bits: self.desired.rules().config.source,
        }
    }

    /// Every limit as it is in force.
    pub fn limits(&self) -> Vec<LimitInForce> {
        let embedded = self.desired.config().path.is_none();
        in_force(self.desired.rules(), self.automatic, self.kernel.environment().tick_ns, embedded)
    }

    /// Connections of the services that have them followed.
    pub fn connections(&self) -> Vec<ServiceConnections> {
        self.view.connections(self.desired.rules(), self.installed.image())
    }
}

impl std::fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("now", &self.now).finish_non_exhaustive()
    }
}
