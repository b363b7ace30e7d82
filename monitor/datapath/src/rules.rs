//! Rules into the idle generation, then one flip: no packet is ever judged by a mixture.
//!
//! In: an [`Image`]. Out: the same in the maps, judging. What does not fit is refused before anything is written.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use monitor_common::names::{capacity, map};
use monitor_common::plain::Plain as _;
use monitor_common::rule::{
    Active, Aggregate, BLOCKS, Denial, Limit, PREFIX_FILTER_WORDS, PortBlock, PrefixNode, ServiceRule,
    Settings,
};

use super::capacity::Capacities;
use super::object::Loaded;
use super::panic::{Panic, with_panic};
use super::syscall;
use super::table::Array;
use policy::{Edited, Image};

/// After this long no packet can still be under way with the generation that was left.
const SURELY_OVER: Duration = Duration::from_secs(10);

/// The maps of the rules.
#[derive(Debug)]
pub struct RuleMaps {
    active: Array<Active>,
    settings: Array<Settings>,
    panic: Panic,
    prefixes: Array<PrefixNode>,
    prefix_filter: Array<u64>,
    denials: Array<Denial>,
    ports: Array<PortBlock>,
    services: Array<ServiceRule>,
    limits: Array<Limit>,
    aggregates: Array<Aggregate>,
    capacities: Capacities,
    /// Nodes of the tree that the idle generation has otherwise than the active one; `None` where that is not known.
    behind: Option<Vec<u32>>,
    flipped: Option<Instant>,
    stragglers: bool,
}

/// What an installed change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The generation that judges now.
    pub generation: u32,
    pub flips: u32,
    /// How long the writing took, the flip included.
    pub took: Duration,
}

impl RuleMaps {
    pub fn new(loaded: &Loaded, capacities: Capacities) -> Result<Self> {
        Ok(Self {
            active: Array::new(loaded.map(map::ACTIVE)?)?,
            settings: Array::new(loaded.map(map::SETTINGS)?)?,
            panic: Panic::new(loaded.map(map::SETTINGS)?, loaded.map(map::ACTIVE)?)?,
            prefixes: Array::new(loaded.map(map::PREFIXES)?)?,
            prefix_filter: Array::new(loaded.map(map::PREFIX_FILTER)?)?,
            denials: Array::new(loaded.map(map::DENIALS)?)?,
            ports: Array::new(loaded.map(map::PORTS)?)?,
            services: Array::new(loaded.map(map::SERVICES)?)?,
            limits: Array::new(loaded.map(map::LIMITS)?)?,
            aggregates: Array::new(loaded.map(map::AGGREGATES)?)?,
            capacities,
            behind: None,
            // Who flipped last may have done so a moment ago, in another process.
            flipped: Some(Instant::now()),
            stragglers: true,
        })
    }

    /// Nobody but the caller runs the program, so nothing needs to be waited for.
    #[must_use]
    pub fn without_packets_under_way(mut self) -> Self {
        self.stragglers = false;
        self
    }

    /// Which generation judges.
    pub fn active(&self) -> Result<Active> {
        self.active.get(0)
    }

    pub const fn panic(&self) -> &Panic {
        &self.panic
    }

    /// The key of the hash that the maps were filled under; `None` before the first rules.
    pub fn hash_key(&self) -> Result<Option<[u64; 2]>> {
        let settings = self.settings.get(self.active()?.generation & 1)?;
        Ok((settings.tick != 0).then_some(settings.hash_key))
    }

    /// Writes the idle generation and flips. Denials, which both share, keep their counts; those of denials that are gone
    /// are forgotten.
    pub fn apply(&mut self, image: &Image) -> Result<Applied> {
        let started = Instant::now();
        self.check(image)?;
        let there = self.denials.get_all(0, self.denials.capacity())?;
        let is_there = |(number, _): &(u32, Denial)| image.denials.contains_key(number);
        let gone = (0..).zip(there.iter().copied()).filter(|(_, denial)| *denial != Denial::zeroed());
        let gone: Vec<u32> = gone.filter(|one| !is_there(one)).map(|(number, _)| number).collect();
        let old = |number: u32| Ok(there.get(number as usize).copied().unwrap_or(Denial::zeroed()));
        let wanted = image.denials.iter().map(|(number, denial)| (*number, *denial));
        let denials = renewed(wanted, old)?;
        self.behind = None;
        self.put(image, None, &denials, &gone, started)
    }

    /// The same for an image that was edited since it was applied: only what differs is written.
    pub fn apply_edit(&mut self, image: &Image, edited: &Edited) -> Result<Applied> {
        let started = Instant::now();
        self.check(image)?;
        let denials = renewed(edited.denials.iter().copied(), |number| self.denials.get(number))?;
        // What the generation that is idle now missed when the other one was written.
        let nodes = self.behind.take().map(|mut behind| {
            behind.extend(&edited.nodes);
            behind.sort_unstable();
            behind.dedup();
            behind
        });
        let applied = self.put(image, nodes.as_deref(), &denials, &edited.forgotten, started)?;
        self.behind = Some(edited.nodes.clone());
        Ok(applied)
    }

    /// Writes the idle generation, of its tree only these `nodes` if they are named, and flips.
    fn put(
        &mut self,
        image: &Image,
        nodes: Option<&[u32]>,
        denials: &[(u32, Denial)],
        gone: &[u32],
        started: Instant,
    ) -> Result<Applied> {
        self.wait_for_stragglers();
        let active = self.active()?;
        let idle = (active.generation & 1) ^ 1;
        self.write(image, nodes, idle).context("write the new rules beside those in force, which stay")?;
        let (numbers, values): (Vec<u32>, Vec<Denial>) = denials.iter().copied().unzip();
        self.denials.set_at(&numbers, &values)?;
        let flipped = Active { generation: idle, flips: active.flips.wrapping_add(1) };
        self.active.set(0, &flipped).context("flip to the new rules; the old ones stay in force")?;
        // Somebody may have switched it while the new ones were written.
        if self.panic.is_on_in(active.generation & 1)? {
            self.panic.switch(true)?;
        }
        self.flipped = Some(Instant::now());
        let took = started.elapsed();
        if let Err(error) = self.forget_denials(gone) {
            // The rules hold all the same; at worst a denial begins with the counts of another.
            tracing::error!("forget the denials that are gone: {error:#}");
        }
        Ok(Applied { generation: flipped.generation, flips: flipped.flips, took })
    }

    /// Refuses what does not fit, before anything is written.
    fn check(&self, image: &Image) -> Result<()> {
        ensure!(image.settings.tick != 0, "these rules have no clock: settings.tick is 0");
        let Capacities { prefix_nodes, rules, limits, services, denials, .. } = self.capacities;
        let fits = [
            ("prefix_nodes", image.nodes().len(), prefix_nodes),
            ("port blocks", image.blocks.len(), BLOCKS),
            ("rules", image.rules.len(), rules),
            ("limits", image.limits.len(), limits),
            ("services", image.aggregates.len(), services),
            (
                "denials",
                image.denials.last_key_value().map_or(0, |(number, _)| *number as usize + 1),
                denials,
            ),
        ];
        for (what, count, room) in fits {
            ensure!(
                count <= room as usize,
                "the rules need {count} {what}, and the tables hold {room}: raise it in [capacity]"
            );
        }
        Ok(())
    }

    fn write(&self, image: &Image, nodes: Option<&[u32]>, generation: u32) -> Result<()> {
        let Capacities { prefix_nodes, rules, limits, services, .. } = self.capacities;
        let base = generation * prefix_nodes;
        match nodes {
            None => self.prefixes.set_all(base, image.nodes())?,
            Some(numbers) => {
                let places: Vec<u32> = numbers.iter().map(|number| base + number).collect();
                let values = numbers.iter().filter_map(|number| image.nodes().get(*number as usize));
                self.prefixes.set_at(&places, &values.copied().collect::<Vec<_>>())?;
            }
        }
        self.prefix_filter.set_all(generation * PREFIX_FILTER_WORDS, &image.prefix_filter())?;
        self.ports.set_all(generation * BLOCKS, &padded(&image.blocks, BLOCKS))?;
        self.services.set_all(generation * rules, &image.rules)?;
        self.limits.set_all(generation * limits, &image.limits)?;
        // All of them: a service that is gone must not keep the aggregate of two changes ago.
        self.aggregates.set_all(generation * services, &padded(&image.aggregates, services))?;
        let panic = self.panic.is_on_in(generation ^ 1)?;
        self.settings.set(generation, &with_panic(image.settings, panic))
    }

    /// Empties the places of denials that are gone.
    fn forget_denials(&self, gone: &[u32]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        // A packet that began under the rules before may still be looking at one.
        self.wait_for_stragglers();
        self.denials.set_at(gone, &vec![Denial::zeroed(); gone.len()])
    }

    /// A packet that began under the generation that is idle now may still be under way. Waits until it cannot be.
    fn wait_for_stragglers(&self) {
        if !self.stragglers || self.flipped.is_none_or(|at| at.elapsed() > SURELY_OVER) {
            return;
        }
        syscall::wait_for_packets_under_way();
    }

    /// The denials' counts by number, for as many as are asked for.
    pub fn denials(&self, count: u32) -> Result<Vec<Denial>> {
        self.denials.get_all(0, count.min(self.denials.capacity()))
    }
}

/// Those of `denials` that the kernel is to have otherwise. A denial's end is ours and its counts are the kernel's; a number that
/// comes into use starts from nothing.
fn renewed(
    denials: impl Iterator<Item = (u32, Denial)>,
    old: impl Fn(u32) -> Result<Denial>,
) -> Result<Vec<(u32, Denial)>> {
    let mut renewed = Vec::new();
    for (number, wanted) in denials {
        let old = old(number)?;
        if old.until != wanted.until {
            let fresh = if old.until == 0 { wanted } else { Denial { until: wanted.until, ..old } };
            renewed.push((number, fresh));
        }
    }
    Ok(renewed)
}

/// `values`, filled up with zeros.
fn padded<V: monitor_common::plain::Plain>(values: &[V], length: u32) -> Vec<V> {
    let mut all = values.to_vec();
    all.resize(length as usize, V::zeroed());
    all
}

/// Slots of interfaces times services: where a total stands.
pub const fn total_index(slot: u32, services: u32, service: u32) -> u32 {
    (slot % capacity::INTERFACES) * services + service
}
