//! A configuration's text -> the image that the daemon would compile of it -> the maps of a loaded [`Program`].
//!
//! The compiler is the daemon's own; writing it into the maps is done here once more, by the contract of the layouts.

use std::{net::IpAddr, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use datapath::Datapath;
use monitor_common::{
    bucket::UNITS_PER_NS,
    flow::{BanKey, halves, mapped_halves},
    names::{capacity, map},
    plain::Plain,
    record::{Ban, Count, SourceEntry, Totals},
    rule::{Active, BLOCKS, PREFIX_FILTER_WORDS},
    sketch,
    table::{self, Slot},
    verdict::Reason,
};
use policy::config::Config;
use policy::{Environment, Image, Numbering, Rules};

use super::program::Program;

/// A kernel tick of 4 ms, whatever the machine's: the clock of test runs is the test's.
pub const TICK_NS: u64 = 4_000_000;
/// Clock units in a millisecond.
pub const MILLISECOND: u64 = 1_000_000 * UNITS_PER_NS;
/// Clock units in a second.
pub const SECOND: u64 = 1000 * MILLISECOND;
/// Where the clock of a test begins: far from zero.
pub const START: u64 = 1000 * SECOND;

/// The hash key of test runs; a daemon's is random when it makes the maps.
pub const HASH_KEY: [u64; 2] = [0x5eed, 0xfeed];

/// Compiles `text`, with the service numbers of `before` if there were rules before.
pub fn compile(text: &str, before: Option<&Image>) -> Result<Image> {
    let numbering = before.map(|image| image.numbering.clone()).unwrap_or_default();
    let environment = Environment {
        tick_ns: TICK_NS,
        hash_key: HASH_KEY,
        now: "2026-01-01T00:00:00Z".parse().context("a moment")?,
        clock: START,
    };
    compile_in(text, &numbering, &environment)
}

/// Puts `text` in force on a datapath.
pub fn apply(datapath: &mut Datapath, text: &str) -> Result<()> {
    datapath.apply(&compile_for(datapath, text)?)?;
    Ok(())
}

/// Compiles `text` by the datapath's own clock and key.
pub fn compile_for(datapath: &Datapath, text: &str) -> Result<Image> {
    let environment = Environment {
        tick_ns: datapath.clock().tick_ns(),
        hash_key: datapath.hash_key(),
        now: "2026-01-01T00:00:00Z".parse().context("a moment")?,
        clock: datapath.clock().now(),
    };
    compile_in(text, &Numbering::default(), &environment)
}

fn compile_in(text: &str, numbering: &Numbering, environment: &Environment) -> Result<Image> {
    let config = Config::parse(text, "the test's rules").map_err(|error| anyhow!("{error}"))?;
    policy::compile(&Rules::new(Arc::new(config)), numbering, environment).map_err(|error| anyhow!("{error}"))
}

/// The number of a service by its name.
///
/// # Panics
/// When the image has no such service.
pub fn number(image: &Image, service: &str) -> u32 {
    let position = image.services.iter().position(|name| name.as_deref() == Some(service));
    let position = position.unwrap_or_else(|| panic!("no service {service}"));
    u32::try_from(position).expect("few services")
}

/// Halves of an address.
///
/// # Panics
/// When it is not an address.
pub fn address(text: &str) -> (u64, u64) {
    match text.parse::<IpAddr>().expect("an address") {
        IpAddr::V4(v4) => mapped_halves(v4.octets()).into(),
        IpAddr::V6(v6) => halves(&v6.octets()),
    }
}

impl Program {
    /// Writes `image` into the generation that does not judge, then flips.
    pub fn install(&self, image: &Image) {
        let active: Active = self.read(map::ACTIVE, 0);
        let idle = (active.generation & 1) ^ 1;
        self.write_all(map::PREFIXES, idle * capacity::PREFIX_NODES, image.nodes());
        self.write_all(map::PREFIX_FILTER, idle * PREFIX_FILTER_WORDS, &image.prefix_filter());
        self.write_all(map::PORTS, idle * BLOCKS, &image.blocks);
        self.write_all(map::SERVICES, idle * capacity::RULES, &image.rules);
        self.write_all(map::LIMITS, idle * capacity::LIMITS, &image.limits);
        self.write_all(map::AGGREGATES, idle * capacity::SERVICES, &image.aggregates);
        for (number, denial) in &image.denials {
            self.write(map::DENIALS, *number, denial);
        }
        self.write(map::SETTINGS, idle, &image.settings);
        self.flip();
    }

    /// Lets the other generation judge.
    pub fn flip(&self) {
        let active: Active = self.read(map::ACTIVE, 0);
        let flipped = Active { generation: (active.generation & 1) ^ 1, flips: active.flips + 1 };
        self.write(map::ACTIVE, 0u32, &flipped);
    }

    fn write_all<T: Plain>(&self, name: &str, base: u32, values: &[T]) {
        for (index, value) in (base..).zip(values) {
            self.write(name, index, value);
        }
    }

    /// The totals of a service over all interfaces and CPUs.
    pub fn totals(&self, service: u32) -> Totals {
        let mut sum = Totals::zeroed();
        let add = |to: &mut Count, from: &Count| {
            to.packets += from.packets;
            to.bytes += from.bytes;
        };
        for slot in 0..capacity::INTERFACES {
            for cpu in self.read_per_cpu::<Totals>(map::TOTALS, slot * capacity::SERVICES + service) {
                sum.ended.iter_mut().zip(&cpu.ended).for_each(|(to, from)| add(to, from));
                sum.would_drop.iter_mut().zip(&cpu.would_drop).for_each(|(to, from)| add(to, from));
            }
        }
        sum
    }

    /// Packets that ended so at a service.
    pub fn ended(&self, service: u32, reason: Reason) -> u64 {
        self.totals(service).ended[reason as usize].packets
    }

    /// How often something rare happened.
    pub fn incidents(&self, incident: monitor_common::record::Incident) -> u64 {
        self.read_per_cpu::<u64>(map::INCIDENTS, incident as u32).iter().sum()
    }

    /// The entry of a source (aggregated already) at a service.
    pub fn source(&self, source: &str, service: u32) -> Option<SourceEntry> {
        let (high, low) = address(source);
        self.entry(high, low, service)
    }

    /// The same, by the halves of the address.
    pub fn entry(&self, high: u64, low: u64, service: u32) -> Option<SourceEntry> {
        let sets = table::sets(sketch::hash(HASH_KEY, high, low, service), self.sets());
        let slots = sets.into_iter().flat_map(|set| set * table::WAYS..(set + 1) * table::WAYS);
        let mut slots = slots.map(|number| self.read::<Slot>(map::SOURCES, number));
        slots.find(|slot| slot.judges(high, low, service)).map(|slot| slot.entry)
    }

    /// Bans a source until this moment, as the daemon does: the entry, its bit in the filter, and the filter's switch.
    pub fn ban(&self, source: &str, until: u64) {
        let (high, low) = address(source);
        let ban = Ban { until, ..Ban::zeroed() };
        self.write(map::BANS, BanKey { high, low }, &ban);
        let (word, bit) = sketch::banned(sketch::source(HASH_KEY, high, low));
        let bits: u64 = self.read(map::BAN_FILTER, word);
        self.write(map::BAN_FILTER, word, &(bits | bit));
        self.write(map::BAN_FILTER, capacity::BAN_FILTER_WORDS, &1u64);
    }
}
