//! How much the maps hold, and what that costs.
//!
//! In: the configuration's capacities, loaded maps. Out: entries per map for the loader, bytes per map for people.

use anyhow::{Result, ensure};
use monitor_common::connection::{self, Holder};
use monitor_common::names::{capacity, map};
use monitor_common::rule::BLOCKS;
use monitor_common::{sketch, table};
use policy::config::{Config, Protection};

use super::table::{Map, Shape, kind, possible_cpus};

/// How much the maps hold. What the configuration does not say stays at the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// A multiple of eight.
    pub sources: u32,
    /// Cells per row, a power of two.
    pub sketch_cells: u32,
    /// Per generation.
    pub prefix_nodes: u32,
    pub denials: u32,
    pub bans: u32,
    pub conversations: u32,
    /// Per generation.
    pub rules: u32,
    /// Per generation.
    pub limits: u32,
    pub services: u32,
    /// Sources that owe for requests at once, a power of two.
    pub request_sources: u32,
    /// Connections that are followed at once, and sources that hold them: powers of two.
    pub open_cells: u32,
    pub holders: u32,
    /// A power of two and whole pages; so for the next.
    pub event_ring_bytes: u32,
    pub record_ring_bytes: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self {
            sources: capacity::SOURCES,
            sketch_cells: capacity::SKETCH_CELLS,
            prefix_nodes: capacity::PREFIX_NODES,
            denials: capacity::DENIALS,
            bans: capacity::BANS,
            conversations: capacity::CONVERSATIONS,
            rules: capacity::RULES,
            limits: capacity::LIMITS,
            services: capacity::SERVICES,
            request_sources: capacity::REQUEST_SOURCES,
            open_cells: capacity::OPEN_CELLS,
            holders: capacity::HOLDERS,
            event_ring_bytes: capacity::EVENT_RING_BYTES,
            record_ring_bytes: capacity::RECORD_RING_BYTES,
        }
    }
}

impl Capacities {
    /// How many sources may owe for requests: few where the configuration limits none, who may be limited while running.
    pub fn request_sources(config: &Config) -> u32 {
        if protections(config).any(Protection::counts_requests) {
            capacity::REQUEST_SOURCES_IN_USE
        } else {
            capacity::REQUEST_SOURCES
        }
    }

    /// How many connections may be followed, and how many sources hold them: few where the configuration has none followed.
    pub fn open_connections(config: &Config) -> (u32, u32) {
        if protections(config).any(Protection::follows_connections) {
            (capacity::OPEN_CELLS_IN_USE, capacity::HOLDERS_IN_USE)
        } else {
            (capacity::OPEN_CELLS, capacity::HOLDERS)
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.sources != 0 && self.sources.is_multiple_of(table::WAYS),
            "the table of sources holds a multiple of {} entries",
            table::WAYS
        );
        ensure!(
            self.sketch_cells.is_power_of_two() && self.sketch_cells >= 8,
            "the sketch's cells must be a power of two, at least 8"
        );
        ensure!(
            self.request_sources.is_power_of_two() && self.request_sources >= 8,
            "the table of requests must hold a power of two of sources, at least 8"
        );
        ensure!(
            self.open_cells.is_power_of_two()
                && self.open_cells >= connection::WAYS
                && self.holders.is_power_of_two()
                && self.holders >= Holder::WAYS,
            "the tables of open connections must hold powers of two"
        );
        for (name, bytes) in [("event", self.event_ring_bytes), ("record", self.record_ring_bytes)] {
            ensure!(
                bytes.is_power_of_two() && bytes >= 4096,
                "the {name} ring must be a power of two and at least 4096 bytes"
            );
        }
        Ok(())
    }

    /// Sets of the exact table.
    pub(super) const fn source_sets(&self) -> u32 {
        self.sources / table::WAYS
    }

    /// Entries of a map, where they differ from what the object says.
    pub(super) fn entries(&self, name: &str) -> Option<u32> {
        Some(match name {
            map::SOURCES => self.sources,
            map::SOURCE_TAGS => self.source_sets(),
            map::SKETCH => sketch::lines(self.sketch_cells),
            map::PREFIXES => 2 * self.prefix_nodes,
            map::DENIALS => self.denials,
            map::PORTS => 2 * BLOCKS,
            map::BANS => self.bans,
            map::CONVERSATIONS => self.conversations,
            map::SERVICES => 2 * self.rules,
            map::LIMITS => 2 * self.limits,
            map::AGGREGATES => 2 * self.services,
            map::AGGREGATE_STATES | map::REQUEST_TOTALS | map::OPEN_TOTALS => self.services,
            map::OPEN_CONNECTIONS => self.open_cells / connection::WAYS,
            map::HOLDERS => self.holders,
            map::REQUESTS => self.request_sources,
            map::REQUEST_WORDS => {
                self.request_sources * capacity::WORDS_PER_REQUEST_SOURCE / sketch::CELLS_PER_LINE
            }
            map::TOTALS => capacity::INTERFACES * self.services,
            map::EVENTS => self.event_ring_bytes,
            map::RECORDS => self.record_ring_bytes,
            _ => return None,
        })
    }
}

/// All that the configuration has for services, the default one included.
fn protections(config: &Config) -> impl Iterator<Item = &Protection> {
    config.services.iter().map(|service| &service.protection).chain([&config.default])
}

/// A map and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSize {
    pub name: &'static str,
    pub kind: u32,
    pub capacity: u32,
    pub key_bytes: u32,
    pub value_bytes: u32,
    /// What keys and values take by our own reckoning, all CPUs included, without the kernel's overhead.
    pub payload_bytes: u64,
    /// What the kernel says it takes (`memlock` of the descriptor).
    pub memory_bytes: Option<u64>,
}

impl MapSize {
    pub fn of(map: &Map) -> Result<Self> {
        let Shape { kind: its_kind, key_size, value_size, max_entries, .. } = map.shape;
        let entry = match its_kind {
            kind::PERCPU_ARRAY => {
                u64::from(value_size.next_multiple_of(8))
                    * u64::try_from(possible_cpus()?).unwrap_or(u64::MAX)
            }
            kind::ARRAY => u64::from(value_size.next_multiple_of(8)),
            kind::RINGBUF => 1,
            _ => u64::from(key_size) + u64::from(value_size),
        };
        Ok(Self {
            name: map.name,
            kind: its_kind,
            capacity: max_entries,
            key_bytes: key_size,
            value_bytes: value_size,
            payload_bytes: entry * u64::from(max_entries),
            memory_bytes: map.memory_bytes(),
        })
    }
}
