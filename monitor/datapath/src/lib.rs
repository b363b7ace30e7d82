//! The kernel side from userspace: load, attach, write rules, read counters. The only code that names aya.
//!
//! In: capacities, a pin directory, compiled rules, names of interfaces. Out: guarded interfaces, counters, entries, events.
//! It decides nothing: what is permitted comes as an [`Image`], and what is known goes out as plain values.
//!
//! In order: [`Datapath::open`], [`Datapath::apply`], then [`Datapath::attach`]: a program is never attached before its rules
//! are written. Dropping a [`Datapath`] leaves everything pinned and in force; [`Datapath::unload`] removes it.

mod attach;
mod bans;
mod capacity;
mod classifier;
mod clock;
mod conversations;
mod events;
mod filter;
mod hand;
mod interfaces;
mod kernel;
mod left;
mod live;
mod mapped;
mod object;
mod offloads;
mod open_connections;
mod panic;
mod pins;
mod requirements;
mod resize;
mod rules;
mod simulate;
mod slots;
mod sources;
mod syscall;
mod table;
mod tap;
mod totals;
mod verification;

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use monitor_common::conversation::Record;
use monitor_common::names::{map, program};
use monitor_common::record::Event;
use monitor_common::rule::Denial;

use policy::{Edited, Image};

pub use attach::{Allowed, How};
pub use bans::{Banned, Bans, Upkeep};
pub use capacity::{Capacities, MapSize};
pub use clock::Clock;
pub use conversations::Conversations;
pub use events::{LogPump, Ring};
pub use interfaces::{Interface, Mode, Xdp, find as find_interface, list as list_interfaces};
pub use kernel::{AttachMode, BanError, Generation, Guarded, Kernel, MapUse};
pub use left::{Left, left_in_force, slots_in};
pub use live::{Live, remove_pinned};
pub use object::{KernelLog, embedded, is_stub};
pub use offloads::{Offloads, offloads};
pub use open_connections::OpenConnections;
pub use panic::{pass_everything_in, passes_everything_in};
pub use pins::{SERVICE_USER, is_trusted};
pub use requirements::{FLOOR, Machine};
pub use rules::Applied;
pub use simulate::{SHORTEST_FRAME, Simulator, Verdict};
pub use sources::{Kept, Sources, SweptTo};
pub use syscall::TestRun;
pub use table::TableFull;
pub use tap::Tap;
pub use totals::{Counters, Total};
pub use verification::uninterrupted;

use attach::{Links, Programs};
use object::{Load, Loaded};
use pins::{Hook, Pins};
use rules::RuleMaps;
use slots::Slots;
use table::Array;
use totals::CounterMaps;

/// Where pins live unless configured otherwise.
pub const PIN_DIRECTORY: &str = "/sys/fs/bpf/sluice";

/// What to open.
#[derive(Clone, Debug)]
pub struct Options {
    pub pin_directory: PathBuf,
    pub capacities: Capacities,
    pub kernel_log: KernelLog,
    /// Follow egress too, if the kernel side has a program for it.
    pub egress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pin_directory: PathBuf::from(PIN_DIRECTORY),
            capacities: Capacities::default(),
            kernel_log: KernelLog::Off,
            egress: true,
        }
    }
}

/// One guarded interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub interface: String,
    pub ifindex: u32,
    /// The number under which the kernel counts it, 1.. and stable for the name.
    pub slot: u32,
    pub mode: Mode,
    pub how: How,
    /// Whether egress is followed.
    pub egress: bool,
    /// The guard is in place; false once the interface is gone, or recreated and not attached again.
    pub alive: bool,
}

/// A program in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStatus {
    pub name: &'static str,
    pub id: u32,
    pub verified_instructions: u32,
}

/// What is loaded, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub pin_directory: PathBuf,
    pub programs: Vec<ProgramStatus>,
    pub maps: Vec<MapSize>,
    /// Maps of an earlier run, with all they know.
    pub taken_over: Vec<&'static str>,
    /// Maps that were given another capacity, their entries moved.
    pub resized: Vec<&'static str>,
    /// Where something lies that another user had made in the place of the pins.
    pub moved: Option<PathBuf>,
    /// Rules that judge: generation and number of changes.
    pub generation: u32,
    pub flips: u32,
}

/// The kernel side, held.
#[derive(Debug)]
pub struct Datapath {
    egress: bool,
    pins: Pins,
    loaded: Loaded,
    clock: Clock,
    rules: RuleMaps,
    counters: CounterMaps,
    slots: Slots,
    heartbeat: Array<u64>,
    sources: Sources,
    hash_key: [u64; 2],
    has_rules: bool,
    guarded: BTreeMap<String, Guard>,
}

#[derive(Debug)]
struct Guard {
    slot: u32,
    ifindex: u32,
    links: Links,
}

impl Guard {
    /// The links hold the hooks of the interface that they were made for.
    fn is_whole(&self) -> Result<bool> {
        Ok(self.links.bound_to()? == Some(self.ifindex) && !self.links.egress_is_lost()?)
    }
}

impl Datapath {
    /// Loads programs and maps; maps of an earlier run are taken over. Interfaces that it guarded stay guarded by the
    /// program of that run until [`Datapath::attach`] swaps it.
    pub fn open(options: &Options) -> Result<Self> {
        object::ensure_there()?;
        let pins = Pins::open(&options.pin_directory)?;
        let mut loaded = object::load(&Load {
            capacities: options.capacities,
            kernel_log: options.kernel_log,
            clock_from_map: false,
            pins: Some(&pins),
        })?;
        let clock = open_clock(&mut loaded)?;
        let rules = RuleMaps::new(&loaded, options.capacities)?;
        let hash_key = match rules.hash_key()? {
            Some(key) => key,
            None => random_key()?,
        };
        let mut slots = Slots::new(loaded.map(map::INTERFACES)?)?;
        let pinned: Vec<u32> = pins.links()?.iter().map(|link| link.slot).collect();
        slots.retain(&pinned)?;
        // Those of an earlier run are rules as well: its interfaces are taken over under them, before any new ones.
        let has_rules = rules.active()?.flips != 0;
        Ok(Self {
            egress: options.egress,
            sources: Sources::new(&loaded, hash_key)?,
            counters: CounterMaps::new(&loaded)?,
            heartbeat: Array::new(loaded.map(map::HEARTBEAT)?)?,
            pins,
            clock,
            rules,
            slots,
            hash_key,
            has_rules,
            guarded: BTreeMap::new(),
            loaded,
        })
    }

    /// From now on pins are reached through their open directory, for a user who may not pass through those above it.
    pub fn hold_pins(&mut self) -> Result<()> {
        self.pins.hold()
    }

    /// The kernel's clock, and the way to wall time. Rules are compiled with its tick.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Follows a wall clock that was set; call it now and then.
    pub fn refresh_clock(&mut self) -> Result<()> {
        self.clock.refresh()
    }

    /// The key of the hash of tables and filters: random at the first load, kept as long as the maps live.
    pub fn hash_key(&self) -> [u64; 2] {
        self.hash_key
    }

    /// Writes rules beside those in force and flips to them in one step. Counts of denials that are gone are forgotten.
    pub fn apply(&mut self, image: &Image) -> Result<Applied> {
        ensure!(
            image.settings.hash_key == self.hash_key,
            "these rules were compiled under another hash key than the tables are filled under"
        );
        let applied = self.rules.apply(image)?;
        self.has_rules = true;
        Ok(applied)
    }

    /// The same for the image that was applied last, which was edited since: only what differs is written.
    pub fn apply_edit(&mut self, image: &Image, edited: &Edited) -> Result<Applied> {
        self.rules.apply_edit(image, edited)
    }

    /// Guards an interface, or takes its guard over from an earlier run without a gap; again, once it is back.
    pub fn attach(&mut self, interface: &str, allowed: Allowed) -> Result<Attachment> {
        ensure!(self.has_rules, "write rules before attaching to {interface}");
        let found = interfaces::find(interface)?;
        let slot = self.slot_of(&found)?;
        let egress = if self.egress { self.loaded.program(program::EGRESS) } else { None };
        let ingress = self.loaded.program(program::INGRESS).context("the ingress program is loaded")?;
        let programs =
            Programs { ingress: ingress.fd.as_fd(), egress: egress.map(|program| program.fd.as_fd()) };
        // Before the first packet, so that it is counted where it belongs.
        self.slots.enter(found.index, slot, interface)?;
        let links = match attach::attach(&self.pins, slot, &found, programs, allowed) {
            Ok(links) => links,
            Err(error) => {
                if !self.guarded.contains_key(interface) {
                    self.slots.leave(slot)?;
                }
                return Err(error);
            }
        };
        self.guarded.insert(interface.to_owned(), Guard { slot, ifindex: found.index, links });
        self.pins.remove_other_versions()?;
        self.attachment(interface)
    }

    /// Takes the guard off an interface. False when it had none.
    pub fn detach(&mut self, interface: &str) -> Result<bool> {
        let slots: Vec<u32> = self
            .pins
            .links()?
            .iter()
            .filter(|link| link.interface == interface)
            .map(|link| link.slot)
            .collect();
        let found = attach::detach(&self.pins, interface)?;
        for slot in slots {
            self.slots.leave(slot)?;
        }
        Ok(self.guarded.remove(interface).is_some() || found)
    }

    /// Interfaces whose guard an earlier run left in force, whether or not we have taken it over.
    pub fn pinned_interfaces(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .pins
            .links()?
            .into_iter()
            .filter(|link| link.hook == Hook::Ingress)
            .map(|link| link.interface)
            .collect();
        names.dedup();
        Ok(names)
    }

    /// The interfaces whose link was lost since it was made. It is cheap: no event tells of a link that somebody detached.
    pub fn lost_links(&self) -> impl Iterator<Item = &str> {
        let lost = self.guarded.iter().filter(|(_, guard)| !guard.is_whole().unwrap_or(true));
        lost.map(|(name, _)| name.as_str())
    }

    /// What we guard, as the kernel says it is now.
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        self.guarded.keys().map(|interface| self.attachment(interface)).collect()
    }

    fn attachment(&self, interface: &str) -> Result<Attachment> {
        let guard = self.guarded.get(interface).with_context(|| format!("{interface} is not guarded"))?;
        Ok(Attachment {
            interface: interface.to_owned(),
            ifindex: guard.ifindex,
            slot: guard.slot,
            mode: guard.links.mode,
            how: guard.links.how,
            egress: guard.links.has_egress(),
            alive: guard.is_whole()?,
        })
    }

    /// The slot that an interface's name holds by its pin, or a free one with its totals cleared.
    fn slot_of(&self, interface: &Interface) -> Result<u32> {
        let links = self.pins.links()?;
        if let Some(link) = links.iter().find(|link| link.interface == interface.name) {
            return Ok(link.slot);
        }
        if let Some(guard) = self.guarded.get(&interface.name) {
            return Ok(guard.slot);
        }
        let held = self.guarded.values().map(|guard| guard.slot);
        let taken: Vec<u32> = links.iter().map(|link| link.slot).chain(held).collect();
        let slot = slots::free_slot(&taken, &interface.name)?;
        self.counters.clear(slot)?;
        Ok(slot)
    }

    /// Reads all totals and counts.
    pub fn counters(&self) -> Result<Counters> {
        let mut slots: Vec<u32> =
            std::iter::once(0).chain(self.guarded.values().map(|guard| guard.slot)).collect();
        slots.sort_unstable();
        self.counters.read(&slots)
    }

    /// The exact table.
    pub fn sources(&self) -> Sources {
        self.sources.clone()
    }

    /// The table of conversations.
    pub fn conversations(&self) -> Result<Conversations> {
        Conversations::new(&self.loaded, self.hash_key)
    }

    /// The connections that are counted.
    pub fn open_connections(&self) -> Result<OpenConnections> {
        OpenConnections::new(&self.loaded, self.hash_key)
    }

    /// The table of bans.
    pub fn bans(&self) -> Result<Bans> {
        Bans::new(&self.loaded)
    }

    /// The counts of denials, by number.
    pub fn denials(&self, count: u32) -> Result<Vec<Denial>> {
        self.rules.denials(count)
    }

    /// Tells the kernel that we live. Call it well within the configured timeout.
    pub fn beat(&self) -> Result<()> {
        self.heartbeat.set(0, &self.clock.now())
    }

    /// Notable moments; once. Must be called within a tokio runtime.
    pub fn take_events(&mut self) -> Result<Option<Ring<Event>>> {
        self.loaded.take_ring(map::EVENTS).map(Ring::new).transpose()
    }

    /// Records of conversations; once, and only if the kernel side follows them. Must be called within a tokio runtime.
    pub fn take_records(&mut self) -> Result<Option<Ring<Record>>> {
        self.loaded.take_ring(map::RECORDS).map(Ring::new).transpose()
    }

    /// Hands the kernel side's log lines to this process's log as long as the future runs; once, and only if it logs.
    pub fn take_log(&mut self) -> Option<LogPump> {
        self.loaded.logger.take()
    }

    /// Which generation judges, and how many changes there were.
    pub fn active(&self) -> Result<(u32, u32)> {
        let active = self.rules.active()?;
        Ok((active.generation, active.flips))
    }

    /// Forgets the totals of services that are gone, before their numbers are given to others.
    pub fn clear_services(&self, services: &[u32]) -> Result<()> {
        self.counters.clear_services(services)
    }

    /// What is loaded and what it costs.
    pub fn status(&self) -> Result<Status> {
        let active = self.rules.active()?;
        Ok(Status {
            pin_directory: self.pins.path(),
            programs: self
                .loaded
                .programs()
                .map(|(name, program)| ProgramStatus {
                    name,
                    id: program.id,
                    verified_instructions: program.verified_instructions,
                })
                .collect(),
            maps: self.loaded.maps().map(MapSize::of).collect::<Result<_>>()?,
            taken_over: self.loaded.taken_over.clone(),
            resized: self.loaded.resized.clone(),
            moved: self.pins.moved().map(Path::to_owned),
            generation: active.generation,
            flips: active.flips,
        })
    }

    /// Detaches everywhere and removes every pin. Returns the interfaces that were guarded.
    pub fn unload(self) -> Result<Vec<String>> {
        self.pins.remove()
    }
}

/// Detaches and removes what an earlier run pinned, without a daemon. Refuses while one runs.
pub fn unload_pinned(pin_directory: &Path) -> Result<Vec<String>> {
    pins::remove_all(pin_directory)
}

fn open_clock(loaded: &mut Loaded) -> Result<Clock> {
    let program = loaded.program(program::CLOCK).context("the embedded object has no calibration program")?;
    let program = table::copy_descriptor(program.fd.as_fd(), program::CLOCK)?;
    Clock::calibrate(program, Array::new(loaded.map(map::CLOCK)?)?)
}

/// Sixteen bytes of the kernel's randomness.
fn random_key() -> Result<[u64; 2]> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the buffer is ours and as long as we say.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    ensure!(got == 16, "the kernel gave no random key: {}", std::io::Error::last_os_error());
    let (high, low) = bytes.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    Ok([word(high), word(low)])
}
