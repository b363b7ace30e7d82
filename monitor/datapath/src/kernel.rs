//! What the daemon needs of the kernel side, as a trait, so that the daemon can be tested without a kernel.
//!
//! In: rules, bans, names of interfaces. Out: counters and states as plain values. [`crate::Live`] implements it; tests
//! have a stand-in. It decides nothing.

use anyhow::Result;
use jiff::Timestamp;
use monitor_common::containment::Containment;
use monitor_common::conversation::{Conversation, ConversationKey, Record};
use monitor_common::flow::{BanKey, SourceKey};
use monitor_common::record::{Ban, Event, SourceEntry};
use monitor_common::rule::Denial;

use policy::config::Config;
use policy::{Edited, Environment, Image};

use super::bans::Banned;
use super::totals::Counters;

/// How an interface is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// XDP in the driver.
    Native,
    /// XDP after the socket buffer.
    Generic,
    /// Not there, or not attachable.
    Absent,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUse {
    pub name: &'static str,
    /// `None` where counting them is dear.
    pub entries: Option<u64>,
    pub capacity: u64,
}

/// The rule set in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    pub generation: u32,
    /// How many times rules were put in force.
    pub flips: u32,
}

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
    fn install(&mut self, image: &Image) -> Result<Generation>;
    /// The same for an image that was installed and then edited, the last one that was: only what differs is written.
    fn install_edit(&mut self, image: &Image, edited: &Edited) -> Result<Generation>;
    fn rules(&self) -> Result<Generation>;
    /// The switch of `sluice panic`: everything passes, whatever the rules say. New rules leave it as it is.
    fn pass_everything(&mut self, on: bool) -> Result<()>;
    fn passes_everything(&self) -> Result<bool>;

    /// Whether [`Kernel::guard`] has something to mend: a link that was detached behind our back, or a hook that another
    /// program held and that is free now. Cheap enough for several times a second.
    fn is_shaken(&self) -> bool;

    /// Guards the interfaces that `config` names, as far as they are there, and no others. An interface that cannot be
    /// guarded is told in its row and does not hinder the rest.
    fn guard(&mut self, names: &[String], config: &Config) -> Vec<Guarded>;

    /// The whole exact table, into `rows`.
    fn sources(&mut self, rows: &mut Vec<(SourceKey, SourceEntry)>) -> Result<()>;
    fn counters(&self) -> Result<Counters>;
    /// How many connections a source holds at a service that has them followed.
    fn open_connections(&self, of: &SourceKey) -> u32;
    /// By number, as many as are asked for.
    fn denials(&self, count: u32) -> Result<Vec<Denial>>;
    /// Names and capacities, and entries where they are cheap to know; the engine adds what it counted itself.
    fn maps(&self) -> Result<Vec<MapUse>>;

    /// All of them, at the price of a walk through the table.
    fn bans(&self) -> Result<Vec<(BanKey, Ban)>>;
    fn ban(&self, key: BanKey) -> Result<Option<Ban>>;
    /// How many there are and the newest of them, as the sweeps counted them last.
    fn banned(&self) -> Banned;
    fn set_ban(&mut self, key: BanKey, ban: Ban) -> Result<(), BanError>;
    /// Whether there was one.
    fn remove_ban(&mut self, key: BanKey) -> Result<bool>;

    /// Whether this host contacted the source not long ago.
    fn is_contacted(&self, key: BanKey) -> bool;

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
