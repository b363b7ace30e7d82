//! The kernel itself, through the datapath.
//!
//! In: what the engine decides. Out: what the kernel knows. It bounds what one tick may cost: sweeps go on where the last
//! one stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use monitor_common::containment::Containment;
use monitor_common::conversation::{Conversation, ConversationKey, Record};
use monitor_common::flow::{BanKey, SourceKey};
use monitor_common::names;
use monitor_common::plain::Plain;
use monitor_common::record::{Ban, Event, SourceEntry};
use monitor_common::rule::Denial;

use policy::config::{BpfLog, Config, NativeMode};
use policy::{Edited, Environment, Image};

use super::bans::{Banned, Upkeep};
use super::kernel::{AttachMode, BanError, Generation, Guarded, Kernel, MapUse};
use super::{
    Allowed, Attachment, Bans, Capacities, Conversations, Counters, Datapath, Kept, KernelLog, LogPump, Mode,
    OpenConnections, Options, Ring, Sources, SweptTo, TableFull, find_interface, unload_pinned,
};

/// Entries that one tick looks at: the whole default table in eight seconds.
const SWEEP: u32 = 16_384;
/// What one emptying of a ring takes at most.
const DRAINED: usize = 65_536;

/// The datapath with what the engine reads from it.
#[derive(Debug)]
pub struct Live {
    /// Gone once it is detached.
    datapath: Option<Datapath>,
    sources: Sources,
    bans: Bans,
    bans_kept: Upkeep,
    conversations: Conversations,
    open: OpenConnections,
    rings: Option<Rings>,
    maps: Vec<MapUse>,
    moved: Option<PathBuf>,
    sources_at: SweptTo,
    /// Records that a sweep made, until the next emptying.
    swept: Vec<Record>,
    /// `None` before the first rules.
    kept: Option<Kept>,
    /// Sweeps so far.
    ticks: u64,
    /// Interfaces that could not be guarded when they were tried last, and those of them whose hook another program held.
    in_vain: BTreeSet<String>,
    held_by_others: BTreeSet<String>,
}

/// Taken at the first emptying, because that is within the runtime that watches them.
#[derive(Debug)]
struct Rings {
    events: Option<Ring<Event>>,
    records: Option<Ring<Record>>,
}

impl Live {
    /// Loads the kernel side, or takes over what an earlier run pinned. Nothing is attached yet.
    pub fn open(config: &Config) -> Result<Self> {
        let sizes = config.capacity;
        let (open_cells, holders) = Capacities::open_connections(config);
        let options = Options {
            pin_directory: config.bpf.pin_directory.clone(),
            capacities: Capacities {
                sources: sizes.sources,
                sketch_cells: sizes.sketch_cells,
                prefix_nodes: sizes.prefix_nodes,
                denials: sizes.denials,
                bans: sizes.bans,
                conversations: sizes.conversations,
                rules: sizes.rules,
                limits: sizes.limits,
                services: sizes.services,
                request_sources: Capacities::request_sources(config),
                open_cells,
                holders,
                ..Capacities::default()
            },
            kernel_log: match config.bpf.log_level {
                BpfLog::Off => KernelLog::Off,
                BpfLog::Error => KernelLog::Error,
                BpfLog::Warn => KernelLog::Warn,
                BpfLog::Info => KernelLog::Info,
                BpfLog::Debug => KernelLog::Debug,
                BpfLog::Trace => KernelLog::Trace,
            },
            // Also where no conversation is followed: what leaves proves who is there.
            egress: config.interfaces.egress,
        };
        let datapath = Datapath::open(&options)?;
        let status = datapath.status()?;
        if !status.taken_over.is_empty() {
            tracing::info!(maps = status.taken_over.len(), "took over the maps of an earlier run");
        }
        if !status.resized.is_empty() {
            tracing::info!("gave these maps another capacity: {}", status.resized.join(", "));
        }
        let (bans, mut bans_kept) = (datapath.bans()?, Upkeep::default());
        bans.visit(&mut bans_kept, datapath.clock().now(), datapath.hash_key())?;
        let maps = status.maps.iter();
        let maps = maps.map(|map| MapUse { name: map.name, entries: None, capacity: map.capacity.into() });
        Ok(Self {
            sources: datapath.sources(),
            bans,
            bans_kept,
            conversations: datapath.conversations()?,
            open: datapath.open_connections()?,
            rings: None,
            maps: maps.collect(),
            moved: status.moved.clone(),
            sources_at: SweptTo::default(),
            swept: Vec::new(),
            kept: None,
            ticks: 0,
            in_vain: BTreeSet::new(),
            held_by_others: BTreeSet::new(),
            datapath: Some(datapath),
        })
    }

    /// The kernel side's own log lines, if it logs; to be polled in a runtime.
    pub fn take_log(&mut self) -> Option<LogPump> {
        self.datapath.as_mut()?.take_log()
    }

    /// Where something lies that another user had made in the place of the pins.
    pub fn moved(&self) -> Option<&Path> {
        self.moved.as_deref()
    }

    /// See [`Datapath::hold_pins`].
    pub fn hold_pins(&mut self) -> Result<()> {
        self.held_mut()?.hold_pins()
    }

    fn held(&self) -> Result<&Datapath> {
        self.datapath.as_ref().context("the kernel side is detached")
    }

    fn held_mut(&mut self) -> Result<&mut Datapath> {
        self.datapath.as_mut().context("the kernel side is detached")
    }

    fn guard_one(&mut self, name: &str, there: &BTreeMap<String, Attachment>, config: &Config) -> Guarded {
        let absent = |problem: String| Guarded {
            name: name.to_owned(),
            slot: there.get(name).map_or(0, |attachment| attachment.slot),
            ifindex: 0,
            mode: AttachMode::Absent,
            egress: false,
            problem: Some(problem),
        };
        let found = match find_interface(name) {
            Ok(found) => found,
            Err(error) => return absent(format!("{error:#}")),
        };
        if let Some(attachment) = there.get(name).filter(|held| held.alive && held.ifindex == found.index) {
            return guarded(attachment);
        }
        if there.get(name).is_some_and(|held| held.ifindex == found.index) {
            tracing::warn!(
                interface = name,
                "its link was detached behind the daemon's back; it is attached again"
            );
        }
        let allowed = match config.interfaces.mode {
            NativeMode::Native => Allowed::Native,
            NativeMode::NativeOrGeneric => Allowed::NativeOrGeneric,
        };
        match self.held_mut().and_then(|datapath| datapath.attach(name, allowed)) {
            Ok(attachment) => guarded(&attachment),
            Err(error) => {
                if found.xdp.is_some() {
                    self.held_by_others.insert(name.to_owned());
                }
                Guarded { ifindex: found.index, ..absent(format!("{error:#}")) }
            }
        }
    }
}

/// Removes what an earlier daemon pinned. Refused while one runs.
pub fn remove_pinned(directory: &Path) -> Result<Vec<String>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    unload_pinned(directory)
}

fn guarded(attachment: &Attachment) -> Guarded {
    Guarded {
        name: attachment.interface.clone(),
        slot: attachment.slot,
        ifindex: attachment.ifindex,
        mode: match attachment.mode {
            Mode::Generic => AttachMode::Generic,
            Mode::Native | Mode::Offload | Mode::Multiple => AttachMode::Native,
        },
        egress: attachment.egress,
        problem: None,
    }
}

impl Kernel for Live {
    fn environment(&self) -> Environment {
        // Only a detached kernel side has no clock, and then nothing is compiled any more.
        let Ok(datapath) = self.held() else {
            return Environment { tick_ns: 1, hash_key: [0; 2], now: Timestamp::now(), clock: 0 };
        };
        let clock = datapath.clock();
        Environment {
            tick_ns: clock.tick_ns(),
            hash_key: datapath.hash_key(),
            now: Timestamp::now(),
            clock: clock.now(),
        }
    }

    fn wall(&self, clock: u64) -> Timestamp {
        self.held().map_or(Timestamp::UNIX_EPOCH, |datapath| datapath.clock().wall(clock))
    }

    fn clock(&self, wall: Timestamp) -> u64 {
        self.held().map_or(0, |datapath| datapath.clock().units(wall))
    }

    fn refresh_clock(&mut self) -> Result<()> {
        self.held_mut()?.refresh_clock()
    }

    fn install(&mut self, image: &Image) -> Result<Generation> {
        let applied = self.held_mut()?.apply(image)?;
        self.kept = Some(Kept::under(image));
        Ok(Generation { generation: applied.generation, flips: applied.flips })
    }

    fn install_edit(&mut self, image: &Image, edited: &Edited) -> Result<Generation> {
        let applied = self.held_mut()?.apply_edit(image, edited)?;
        Ok(Generation { generation: applied.generation, flips: applied.flips })
    }

    fn rules(&self) -> Result<Generation> {
        let (generation, flips) = self.held()?.active()?;
        Ok(Generation { generation, flips })
    }

    fn pass_everything(&mut self, on: bool) -> Result<()> {
        self.held()?.pass_everything(on)
    }

    fn passes_everything(&self) -> Result<bool> {
        self.held()?.passes_everything()
    }

    fn is_shaken(&self) -> bool {
        let is_free = || {
            let links = crate::list_interfaces().unwrap_or_default();
            links.iter().any(|link| link.xdp.is_none() && self.held_by_others.contains(&link.name))
        };
        let news = |datapath: &Datapath| datapath.lost_links().any(|name| !self.in_vain.contains(name));
        let lost = self.held().is_ok_and(news);
        lost || (!self.held_by_others.is_empty() && is_free())
    }

    fn guard(&mut self, names: &[String], config: &Config) -> Vec<Guarded> {
        let mut names = names.to_vec();
        self.held_by_others.clear();
        let outcome = self.held_mut().and_then(|datapath| {
            for name in datapath.pinned_interfaces()? {
                if names.contains(&name) {
                    continue;
                }
                // Nobody named them, so only one that is gone, or that another one is guarded for, is let go.
                let stays = |interface: crate::Interface| interface.carrier().is_none();
                if config.interfaces.names.is_empty() && crate::find_interface(&name).is_ok_and(stays) {
                    names.push(name);
                } else {
                    datapath.detach(&name)?;
                    tracing::info!(
                        interface = name,
                        "the interface is not configured any more, its guard is off"
                    );
                }
            }
            datapath.attachments()
        });
        let there = outcome.unwrap_or_else(|error| {
            tracing::error!("look at the guarded interfaces: {error:#}");
            Vec::new()
        });
        let there = there.into_iter().map(|attachment| (attachment.interface.clone(), attachment)).collect();
        let rows: Vec<_> = names.iter().map(|name| self.guard_one(name, &there, config)).collect();
        self.in_vain = rows.iter().filter(|row| row.problem.is_some()).map(|row| row.name.clone()).collect();
        rows
    }

    fn sources(&mut self, rows: &mut Vec<(SourceKey, SourceEntry)>) -> Result<()> {
        self.sources.for_each(|key, entry| rows.push((key, entry)));
        Ok(())
    }

    fn counters(&self) -> Result<Counters> {
        self.held()?.counters()
    }

    fn open_connections(&self, of: &SourceKey) -> u32 {
        self.open.held(of)
    }

    fn denials(&self, count: u32) -> Result<Vec<Denial>> {
        self.held()?.denials(count)
    }

    fn maps(&self) -> Result<Vec<MapUse>> {
        let mut maps = self.maps.clone();
        for map in maps.iter_mut().filter(|map| map.name == names::map::CONVERSATIONS) {
            map.entries = Some(self.conversations.in_table() as u64);
        }
        Ok(maps)
    }

    fn bans(&self) -> Result<Vec<(BanKey, Ban)>> {
        self.bans.list()
    }

    fn ban(&self, key: BanKey) -> Result<Option<Ban>> {
        self.bans.get(&key)
    }

    fn banned(&self) -> Banned {
        self.bans_kept.banned()
    }

    fn set_ban(&mut self, key: BanKey, ban: Ban) -> Result<(), BanError> {
        let key_of_hash = self.held().map_err(BanError::Failed)?.hash_key();
        let before = self.bans.get(&key).map_err(BanError::Failed)?.unwrap_or(Ban::zeroed());
        let ban = Ban { owned: before.dropped(), strikes: before.strikes.max(ban.strikes), ..ban };
        self.bans.restore(&[(key, ban)], key_of_hash).map_err(ban_error)
    }

    fn remove_ban(&mut self, key: BanKey) -> Result<bool> {
        self.bans.remove(&key, &mut self.bans_kept)
    }

    fn is_contacted(&self, key: BanKey) -> bool {
        // What cannot be read is taken for contacted: the careful answer.
        self.held()
            .and_then(|held| self.bans.is_contacted(key, held.clock().now(), held.hash_key()))
            .unwrap_or(true)
    }

    fn contained(&self) -> Result<Vec<(BanKey, Containment)>> {
        self.bans.contained()
    }

    fn contain(&mut self, key: BanKey, containment: Containment) -> Result<(), BanError> {
        let key_of_hash = self.held().map_err(BanError::Failed)?.hash_key();
        self.bans.contain(key, containment, key_of_hash).map_err(ban_error)
    }

    fn release(&mut self, key: BanKey) -> Result<()> {
        self.bans.release(&key, &mut self.bans_kept).map(drop)
    }

    fn conversations(&self) -> Result<Vec<(ConversationKey, Conversation)>> {
        self.conversations.read_all()
    }

    fn local_ends(&self) -> &[([u64; 2], u64)] {
        self.conversations.local_ends()
    }

    fn sweep(&mut self) -> Result<()> {
        let datapath = self.held()?;
        let (now, key_of_hash) = (datapath.clock().now(), datapath.hash_key());
        if let Some(kept) = self.kept {
            self.sources.sweep(&mut self.sources_at, now, kept, SWEEP);
        }
        self.conversations.sweep_and_tell(now, SWEEP, &mut self.swept)?;
        self.ticks += 1;
        if self.ticks.is_multiple_of(10) {
            self.open.sweep(now);
        }
        self.bans.visit(&mut self.bans_kept, now, key_of_hash)?;
        self.bans.tighten_when_due(&mut self.bans_kept, key_of_hash)
    }

    fn forget_services(&mut self, services: &[u32]) -> Result<()> {
        let mut keys = Vec::new();
        self.sources.for_each(|key, _| {
            if services.contains(&key.service) {
                keys.push(key);
            }
        });
        self.sources.remove(&keys);
        self.open.forget_services(services);
        self.held()?.clear_services(services)
    }

    fn beat(&mut self) -> Result<()> {
        self.held()?.beat()
    }

    fn drain(&mut self, events: &mut Vec<Event>, records: &mut Vec<Record>) -> Result<()> {
        if self.rings.is_none() {
            let datapath = self.held_mut()?;
            self.rings = Some(Rings { events: datapath.take_events()?, records: datapath.take_records()? });
        }
        if let Some(rings) = &mut self.rings {
            if let Some(ring) = &mut rings.events {
                ring.read_ready(events, DRAINED);
            }
            if let Some(ring) = &mut rings.records {
                ring.read_ready(records, DRAINED);
            }
        }
        if !self.swept.is_empty() {
            // The detectors take totals as they come, so a conversation's records must come in their order.
            records.append(&mut self.swept);
            records.sort_by_key(|record| record.at);
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        let Some(datapath) = self.datapath.take() else { return Ok(()) };
        let interfaces = datapath.unload().context("remove programs, maps and pins")?;
        if !interfaces.is_empty() {
            tracing::warn!("detached: {} not guarded any more", interfaces.join(", "));
        }
        Ok(())
    }
}

fn ban_error(error: anyhow::Error) -> BanError {
    match error.downcast_ref::<TableFull>() {
        Some(full) => BanError::Full(full.capacity.into()),
        None => BanError::Failed(error),
    }
}
