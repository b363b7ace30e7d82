//! What the engine needs of the kernel side, so that it can be tested without one.
//!
//! In: rules, bans, names of interfaces. Out: counters and states as plain values. The datapath implements it; tests have
//! a stand-in. It decides nothing.

mod live;

pub use live::{Live, remove_pinned};

use anyhow::Result;
use jiff::Timestamp;
use monitor_common::containment::Containment;
use monitor_common::conversation::{Conversation, ConversationKey, Record};
use monitor_common::flow::{BanKey, SourceKey};
use monitor_common::record::{Ban, Event, FloodState, SourceEntry, Totals};
use monitor_common::rule::Denial;

use crate::snapshot::{AttachMode, MapUse, Rules};
use policy::config::Config;
use policy::{Environment, Image};

/// One interface and how it is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    pub name: String,
    pub slot: u32,
    /// 0 while there is no such interface.
    pub ifindex: u32,
    pub mode: AttachMode,
    pub egress: bool,
    /// Why it is not guarded.
    pub problem: Option<String>,
}

/// Everything that is counted, at one read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// (slot, service, totals over all CPUs), where not all is zero.
    pub totals: Vec<(u32, u32, Totals)>,
    /// By slot.
    pub floods: Vec<FloodState>,
    /// By [`monitor_common::record::Incident`].
    pub incidents: Vec<u64>,
    /// By [`monitor_common::parse::Malformed`].
    pub malformed: Vec<u64>,
}

/// A ban or a containment could not be written.
#[derive(Debug)]
pub enum BanError {
    /// The table is full; carries its capacity.
    Full(u64),
    Failed(anyhow::Error),
}

/// The kernel side. All times are in clock units unless they are [`Timestamp`]s.
pub trait Kernel: Send {
    /// What compilation needs to know, at this moment.
    fn environment(&self) -> Environment;
    fn wall(&self, clock: u64) -> Timestamp;
    fn clock(&self, wall: Timestamp) -> u64;
    /// Follows a wall clock that was set.
    fn refresh_clock(&mut self) -> Result<()>;

    /// Writes the idle generation and flips. Denials that it does not have are forgotten, with what they counted.
    fn install(&mut self, image: &Image) -> Result<Rules>;
    fn rules(&self) -> Result<Rules>;

    /// Guards the interfaces that `config` names, as far as they are there, and no others. An interface that cannot be
    /// guarded is told in its row and does not hinder the rest.
    fn guard(&mut self, names: &[String], config: &Config) -> Vec<Guarded>;

    /// The whole exact table, into `rows`.
    fn sources(&mut self, rows: &mut Vec<(SourceKey, SourceEntry)>) -> Result<()>;
    fn counters(&self) -> Result<Counters>;
    /// By number, as many as are asked for.
    fn denials(&self, count: u32) -> Result<Vec<Denial>>;
    /// Names and capacities, and entries where they are cheap to know; the engine adds what it counted itself.
    fn maps(&self) -> Result<Vec<MapUse>>;

    fn bans(&self) -> Result<Vec<(BanKey, Ban)>>;
    fn set_ban(&mut self, key: BanKey, ban: Ban) -> Result<(), BanError>;
    /// Whether there was one.
    fn remove_ban(&mut self, key: BanKey) -> Result<bool>;

    /// Every containment in the kernel's table.
    fn contained(&self) -> Result<Vec<(BanKey, Containment)>>;
    fn contain(&mut self, key: BanKey, containment: Containment) -> Result<(), BanError>;
    fn release(&mut self, key: BanKey) -> Result<()>;

    /// The table of conversations; empty where they are not followed.
    fn conversations(&self) -> Result<Vec<(ConversationKey, Conversation)>>;
    /// Addresses in halves, and cgroups that send from them, by the last whole sweep.
    fn local_ends(&self) -> &[([u64; 2], u64)];

    /// Removes what is idle or over, a bounded part at a time.
    fn sweep(&mut self) -> Result<()>;
    /// Nothing of these services is left in any table.
    fn forget_services(&mut self, services: &[u32]) -> Result<()>;
    /// Tells the kernel that the daemon lives.
    fn beat(&mut self) -> Result<()>;
    /// Hands over what waits in the rings, at most a bounded number.
    fn drain(&mut self, events: &mut Vec<Event>, records: &mut Vec<Record>) -> Result<()>;

    /// Removes programs, maps and pins.
    fn detach(&mut self) -> Result<()>;
}
