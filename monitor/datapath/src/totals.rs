//! What the kernel counted, summed over its CPUs.
//!
//! In: per-CPU maps. Out: plain numbers that only grow, until a slot or a service is given to another. It keeps no history.

use anyhow::Result;
use monitor_common::connection::Open;
use monitor_common::names::{capacity, map};
use monitor_common::parse::Malformed;
use monitor_common::plain::Plain as _;
use monitor_common::record::{Budget, FloodState, Incident, RequestTotals, Totals};

use super::object::Loaded;
use super::rules::total_index;
use super::table::{Array, PerCpuArray};

/// The maps that are summed.
#[derive(Debug)]
pub struct CounterMaps {
    totals: PerCpuArray<Totals>,
    malformed: PerCpuArray<u64>,
    incidents: PerCpuArray<u64>,
    requests: PerCpuArray<RequestTotals>,
    open: Array<Open>,
    budgets: PerCpuArray<Budget>,
    floods: Array<FloodState>,
    services: u32,
}

/// Totals of one interface and service, where there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    pub slot: u32,
    pub service: u32,
    pub totals: Totals,
}

/// Everything that is counted, at one read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Only rows that are not zero.
    pub totals: Vec<Total>,
    /// In the order of [`Malformed`].
    pub malformed: Vec<u64>,
    /// In the order of [`Incident::ALL`].
    pub incidents: Vec<u64>,
    /// By service, only rows that are not zero.
    pub requests: Vec<(u32, RequestTotals)>,
    /// Connections by service, only rows that are not zero.
    pub open: Vec<(u32, Open)>,
    /// By slot.
    pub floods: Vec<FloodState>,
}

impl CounterMaps {
    pub fn new(loaded: &Loaded) -> Result<Self> {
        let totals = PerCpuArray::<Totals>::new(loaded.map(map::TOTALS)?)?;
        let services = totals.capacity() / capacity::INTERFACES;
        Ok(Self {
            totals,
            malformed: PerCpuArray::new(loaded.map(map::MALFORMED)?)?,
            incidents: PerCpuArray::new(loaded.map(map::INCIDENTS)?)?,
            requests: PerCpuArray::new(loaded.map(map::REQUEST_TOTALS)?)?,
            open: Array::new(loaded.map(map::OPEN_TOTALS)?)?,
            budgets: PerCpuArray::new(loaded.map(map::BUDGETS)?)?,
            floods: Array::new(loaded.map(map::FLOODS)?)?,
            services,
        })
    }

    /// Reads the totals of these slots (slot 0: frames of interfaces that are not listed) and the rest.
    pub fn read(&self, slots: &[u32]) -> Result<Counters> {
        let mut totals: Vec<Total> = Vec::new();
        for slot in slots {
            let first = total_index(*slot, self.services, 0);
            let mut sums = vec![Totals::zeroed(); self.services as usize];
            self.totals.for_each(first, self.services, |index, cpu| {
                if let Some(sum) = sums.get_mut((index - first) as usize) {
                    add(sum, cpu);
                }
            })?;
            let rows = (0..).zip(sums).filter(|(_, sum)| *sum != Totals::zeroed());
            totals.extend(rows.map(|(service, totals)| Total { slot: *slot, service, totals }));
        }
        let mut incidents = sum(&self.incidents, Incident::ALL.len())?;
        if let Some(skipped) = incidents.get_mut(Incident::ObservationSkipped as usize) {
            self.budgets.for_each(0, self.budgets.capacity(), |_, cpu| *skipped += cpu.skipped)?;
        }
        Ok(Counters {
            totals,
            malformed: sum(&self.malformed, Malformed::ALL.len())?,
            incidents,
            requests: self.requests()?,
            open: (0..)
                .zip(self.open.get_all(0, self.services)?)
                .filter(|(_, open)| *open != Open::default())
                .collect(),
            floods: self.floods.get_all(0, capacity::INTERFACES)?,
        })
    }

    fn requests(&self) -> Result<Vec<(u32, RequestTotals)>> {
        let mut sums = vec![RequestTotals::default(); self.services as usize];
        self.requests.for_each(0, self.services, |index, cpu| {
            if let Some(sum) = sums.get_mut(index as usize) {
                sum.add(cpu);
            }
        })?;
        Ok((0..).zip(sums).filter(|(_, sum)| *sum != RequestTotals::default()).collect())
    }

    /// Forgets the totals of these services at every slot.
    pub fn clear_services(&self, services: &[u32]) -> Result<()> {
        for service in services.iter().filter(|service| **service < self.services) {
            self.requests.set(*service, &RequestTotals::default())?;
            self.open.set(*service, &Open::default())?;
            for slot in 0..capacity::INTERFACES {
                self.totals.set(total_index(slot, self.services, *service), &Totals::zeroed())?;
            }
        }
        Ok(())
    }

    /// Forgets a slot's totals, before another interface gets it.
    pub fn clear(&self, slot: u32) -> Result<()> {
        for service in 0..self.services {
            self.totals.set(total_index(slot, self.services, service), &Totals::zeroed())?;
        }
        Ok(())
    }
}

fn add(sum: &mut Totals, cpu: &Totals) {
    let sums = sum.ended.iter_mut().chain(&mut sum.would_drop);
    for (sum, count) in sums.zip(cpu.ended.iter().chain(&cpu.would_drop)) {
        sum.packets = sum.packets.wrapping_add(count.packets);
        sum.bytes = sum.bytes.wrapping_add(count.bytes);
    }
}

fn sum(map: &PerCpuArray<u64>, count: usize) -> Result<Vec<u64>> {
    let mut sums = vec![0_u64; count];
    map.for_each(0, u32::try_from(count).unwrap_or(u32::MAX), |index, cpu| {
        if let Some(sum) = sums.get_mut(index as usize) {
            *sum = sum.wrapping_add(*cpu);
        }
    })?;
    Ok(sums)
}
