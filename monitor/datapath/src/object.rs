//! The kernel side as embedded bytes, and its way into the kernel: sizes, variables, maps taken over from pins, programs.
//!
//! In: capacities and a pin directory (or none). Out: loaded programs and typed maps. It attaches nothing.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, RingBuf};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use monitor_common::names::{global, map, program};

use super::capacity::Capacities;
use super::events::{LogPump, log_pump};
use super::pins::Pins;
use super::requirements::{self, Machine};
use super::syscall;
use super::table::{Map, Shape, copy_descriptor};
use super::verification::uninterrupted;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice-bpf"));

/// The embedded object, for tests and benchmarks that load it their own way. Empty in a build without a BPF toolchain.
pub fn embedded() -> &'static [u8] {
    OBJECT
}

/// What the kernel side logs through aya-log. The verifier removes what lies below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelLog {
    #[default]
    Off = 0,
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

/// What is to be loaded.
#[derive(Debug)]
pub struct Load<'a> {
    pub capacities: Capacities,
    pub kernel_log: KernelLog,
    /// The clock is the word in the `CLOCK` map: replay and tests.
    pub clock_from_map: bool,
    /// Where to take maps over from and to pin them; `None` keeps all private.
    pub pins: Option<&'a Pins>,
}

/// Loaded programs and maps.
pub struct Loaded {
    programs: BTreeMap<&'static str, LoadedProgram>,
    maps: BTreeMap<&'static str, Map>,
    rings: BTreeMap<&'static str, RingBuf<MapData>>,
    /// Reads what the kernel side logs, if it logs.
    pub logger: Option<LogPump>,
    /// Maps that existed before, with all they know.
    pub taken_over: Vec<&'static str>,
    /// Maps whose capacity changed; their entries were copied where they still fit.
    pub resized: Vec<&'static str>,
    /// Gives the maps away; then it only holds what nobody asks for.
    ebpf: Ebpf,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("programs", &self.programs).finish_non_exhaustive()
    }
}

/// One program in the kernel.
#[derive(Debug)]
pub struct LoadedProgram {
    pub fd: OwnedFd,
    pub id: u32,
    pub verified_instructions: u32,
}

/// Every map that may outlive the process. The others (`.rodata`, logs, scratch) are made anew.
const PINNED: [&str; 36] = [
    map::ACTIVE,
    map::SETTINGS,
    map::PREFIXES,
    map::PREFIX_FILTER,
    map::DENIALS,
    map::PORTS,
    map::SERVICES,
    map::LIMITS,
    map::AGGREGATES,
    map::AGGREGATE_STATES,
    map::SOURCES,
    map::SKETCH,
    map::SOURCE_TAGS,
    map::BANS,
    map::BAN_FILTER,
    map::CONTAINED,
    map::OWN_FLOWS,
    map::CONTACTED,
    map::LISTENERS,
    map::INTERFACES,
    map::FLOODS,
    map::BUDGETS,
    map::TOTALS,
    map::REQUESTS,
    map::REQUEST_WORDS,
    map::REQUEST_TOTALS,
    map::OPEN_CONNECTIONS,
    map::HOLDERS,
    map::OPEN_TOTALS,
    map::MALFORMED,
    map::INCIDENTS,
    map::EVENTS,
    map::CONVERSATIONS,
    map::PRESENCE,
    map::RECORDS,
    map::HEARTBEAT,
];
const PRIVATE: [&str; 7] =
    [map::REQUEST, map::FOLLOWED, map::REPLY, map::PACKETS, map::BEGUN, map::CLOCK, map::PARSED];
const PROGRAMS: [&str; 4] = [program::INGRESS, program::EGRESS, program::CLOCK, program::PARSE];

/// Maps that flip together.
const GENERATIONAL: [&str; 8] = [
    map::ACTIVE,
    map::SETTINGS,
    map::PREFIXES,
    map::PREFIX_FILTER,
    map::PORTS,
    map::SERVICES,
    map::LIMITS,
    map::AGGREGATES,
];

/// Maps that say nothing without each other.
const EXACT_TABLE: [&str; 2] = [map::SOURCES, map::SOURCE_TAGS];
const OPEN_TABLES: [&str; 3] = [map::OPEN_CONNECTIONS, map::HOLDERS, map::OPEN_TOTALS];

/// Whether this build has a kernel side at all.
pub fn is_stub() -> bool {
    OBJECT.is_empty()
}

/// Refuses a build without a kernel side.
pub fn ensure_there() -> Result<()> {
    ensure!(!is_stub(), "this build has no kernel program: run `cargo xtask setup`, then `cargo build`");
    Ok(())
}

/// Loads everything. Maps that are pinned with the right shape are taken over; nothing is attached yet.
pub fn load(request: &Load<'_>) -> Result<Loaded> {
    ensure_there()?;
    request.capacities.check()?;
    Machine::here().check()?;
    let plan = Plan::new(request)?;
    let mut ebpf = plan
        .load(request)
        .map_err(|error| requirements::explained(error, "the kernel program"))
        .context("load the kernel program")?;
    let logger = if request.kernel_log == KernelLog::Off { None } else { log_pump(&mut ebpf) };
    let programs = load_programs(&mut ebpf)?;
    let mut loaded = Loaded {
        programs,
        maps: BTreeMap::new(),
        rings: BTreeMap::new(),
        logger,
        taken_over: plan.reuse.keys().copied().collect(),
        resized: plan.resize.iter().map(|(name, _)| *name).collect(),
        ebpf,
    };
    loaded.take_maps()?;
    for (name, old) in &plan.resize {
        super::resize::copy(old, loaded.map(name)?)
            .with_context(|| format!("move map {name} to its new capacity"))?;
    }
    if let Some((_, old)) = plan.resize.iter().find(|(name, _)| *name == map::SOURCES) {
        super::resize::copy_sources(old, &loaded, request.capacities)
            .context("move the entries of sources")?;
    }
    if let Some(pins) = request.pins {
        loaded.pin(pins, &plan)?;
    }
    Ok(loaded)
}

/// What becomes of each map.
struct Plan {
    /// Shape by name, for every map of the object that we know.
    shapes: BTreeMap<&'static str, Shape>,
    reuse: BTreeMap<&'static str, (PathBuf, Map)>,
    resize: Vec<(&'static str, Map)>,
}

impl Plan {
    fn new(request: &Load<'_>) -> Result<Self> {
        let object = aya_obj::Object::parse(OBJECT).context("read the embedded kernel program")?;
        let mut plan = Self { shapes: BTreeMap::new(), reuse: BTreeMap::new(), resize: Vec::new() };
        for name in PINNED {
            let Some(map) = object.maps.get(name) else {
                ensure!(!PINNED.contains(&name), "the embedded kernel program has no map {name}: build anew");
                continue;
            };
            let shape = Shape {
                kind: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: request.capacities.entries(name).unwrap_or(map.max_entries()),
                flags: map.map_flags(),
            };
            plan.shapes.insert(name, shape);
            if let Some(pins) = request.pins {
                plan.decide(name, shape, pins.map(name))?;
            }
        }
        plan.keep_together(&GENERATIONAL);
        plan.keep_together(&EXACT_TABLE);
        plan.keep_together(&OPEN_TABLES);
        Ok(plan)
    }

    /// If one of these maps is new or moves, all do. The program that still runs reads the old rules until its link is
    /// updated, and the flip of the new ones must not reach it; tags say nothing without their slots.
    fn keep_together(&mut self, names: &[&'static str]) {
        if names.iter().any(|name| !self.reuse.contains_key(name)) {
            for name in names {
                if let Some((_, map)) = self.reuse.remove(name) {
                    self.resize.push((name, map));
                }
            }
        }
    }

    /// Takes a pinned map over if its shape is right. The capacity alone may differ: then its entries move.
    fn decide(&mut self, name: &'static str, wanted: Shape, path: PathBuf) -> Result<()> {
        let fd = match syscall::open_pin(&path) {
            Err(error) if error.is(libc::ENOENT) => return Ok(()),
            other => other.with_context(|| format!("open the pinned map {}", path.display()))?,
        };
        let there = Map::new(name, fd)?;
        let same_but_capacity = Shape { max_entries: wanted.max_entries, ..there.shape } == wanted;
        ensure!(
            same_but_capacity,
            "{} was pinned by another build of the same layout (kind {}, key {}, value {} bytes; wanted {}, {}, {}): run \
             `sluice detach` once, then start again",
            path.display(),
            there.shape.kind,
            there.shape.key_size,
            there.shape.value_size,
            wanted.kind,
            wanted.key_size,
            wanted.value_size
        );
        if there.shape.max_entries == wanted.max_entries {
            self.reuse.insert(name, (path, there));
        } else {
            self.resize.push((name, there));
        }
        Ok(())
    }

    fn load(&self, request: &Load<'_>) -> Result<Ebpf, aya::EbpfError> {
        let capacities = &request.capacities;
        let clock_source = u32::from(request.clock_from_map);
        let level = request.kernel_log as u8;
        let source_sets = capacities.source_sets();
        let cookies = u32::from(requirements::has_cookies());
        let mut loader = EbpfLoader::new();
        loader
            .override_global(global::CLOCK_SOURCE, &clock_source, true)
            .override_global(global::COOKIES, &cookies, true)
            .override_global(global::SOURCE_SETS, &source_sets, true)
            .override_global(global::SKETCH_CELLS, &capacities.sketch_cells, true)
            .override_global(global::REQUEST_SOURCES, &capacities.request_sources, true)
            .override_global(global::OPEN_CELLS, &capacities.open_cells, true)
            .override_global(global::HOLDER_COUNT, &capacities.holders, true)
            .override_global(global::PREFIX_NODES, &capacities.prefix_nodes, true)
            .override_global(global::RULES, &capacities.rules, true)
            .override_global(global::LIMIT_COUNT, &capacities.limits, true)
            .override_global(global::SERVICE_COUNT, &capacities.services, true)
            .override_global(aya_log::LEVEL, &level, false);
        for (name, shape) in &self.shapes {
            loader.map_max_entries(name, shape.max_entries);
        }
        for (name, (path, _)) in &self.reuse {
            loader.map_pin_path(name, path.as_path());
        }
        loader.load(OBJECT)
    }
}

fn load_programs(ebpf: &mut Ebpf) -> Result<BTreeMap<&'static str, LoadedProgram>> {
    let mut programs = BTreeMap::new();
    for name in PROGRAMS {
        let Some(program) = ebpf.program_mut(name) else { continue };
        let result = match program {
            Program::Xdp(xdp) => uninterrupted(|| xdp.load()),
            Program::SchedClassifier(classifier) => uninterrupted(|| classifier.load()),
            _ => bail!("program {name} of the embedded object is of a kind that is not loaded"),
        };
        result.map_err(|error| requirements::explained(error, name))?;
        let info = program.info().with_context(|| format!("ask for {name}"))?;
        let fd = program.fd().with_context(|| format!("hold {name}"))?;
        programs.insert(
            name,
            LoadedProgram {
                fd: copy_descriptor(fd.as_fd(), name)?,
                id: info.id(),
                verified_instructions: info.verified_instruction_count().unwrap_or_default(),
            },
        );
    }
    ensure!(
        programs.contains_key(program::INGRESS),
        "the embedded object has no program {}",
        program::INGRESS
    );
    Ok(programs)
}

impl Loaded {
    fn take_maps(&mut self) -> Result<()> {
        for name in PINNED.into_iter().chain(PRIVATE) {
            let Some(taken) = self.ebpf.take_map(name) else { continue };
            let data = match taken {
                aya::maps::Map::Array(data)
                | aya::maps::Map::PerCpuArray(data)
                | aya::maps::Map::HashMap(data) => data,
                ring @ aya::maps::Map::RingBuf(_) => {
                    let ring = RingBuf::try_from(ring).with_context(|| format!("map ring {name}"))?;
                    self.maps.insert(name, Map::new(name, copy_descriptor(ring.as_fd(), name)?)?);
                    self.rings.insert(name, ring);
                    continue;
                }
                _ => bail!("map {name} of the embedded object is of a kind that is not read"),
            };
            self.maps.insert(name, Map::new(name, copy_descriptor(data.fd().as_fd(), name)?)?);
        }
        Ok(())
    }

    /// Pins what is new. From here on the maps outlive us.
    fn pin(&self, pins: &Pins, plan: &Plan) -> Result<()> {
        for (name, map) in &self.maps {
            if plan.shapes.contains_key(name) && !plan.reuse.contains_key(name) {
                super::pins::replace(map.as_fd(), &pins.map(name))?;
            }
        }
        for (name, program) in &self.programs {
            if [program::INGRESS, program::EGRESS].contains(name) {
                super::pins::replace(program.fd.as_fd(), &pins.program(name))?;
            }
        }
        Ok(())
    }

    /// A map that every object has.
    pub fn map(&self, name: &str) -> Result<&Map> {
        self.maps
            .get(name)
            .with_context(|| format!("the embedded kernel program has no map {name}: build anew"))
    }

    pub fn maps(&self) -> impl Iterator<Item = &Map> {
        self.maps.values()
    }

    pub fn program(&self, name: &str) -> Option<&LoadedProgram> {
        self.programs.get(name)
    }

    pub fn programs(&self) -> impl Iterator<Item = (&'static str, &LoadedProgram)> {
        self.programs.iter().map(|(name, program)| (*name, program))
    }

    /// Gives a ring away, once.
    pub fn take_ring(&mut self, name: &str) -> Option<RingBuf<MapData>> {
        self.rings.remove(name)
    }
}
