//! The interface table: under which slot the kernel counts a frame that came in through an interface index.
//!
//! In: indexes and slots. Out: places in the open-addressed map `INTERFACES`. A slot belongs to an interface's name for as
//! long as its link is pinned, so counters go on over restarts.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use monitor_common::names::capacity::{INTERFACE_INDEXES, INTERFACE_PROBES, INTERFACES};
use monitor_common::record::InterfaceIndex;

use super::table::{Array, Map};

const FREE: InterfaceIndex = InterfaceIndex { ifindex: 0, slot: 0 };

/// The table and what stands in it.
#[derive(Debug)]
pub struct Slots {
    map: Array<InterfaceIndex>,
    places: BTreeMap<u32, InterfaceIndex>,
}

impl Slots {
    pub fn new(map: &Map) -> Result<Self> {
        let map = Array::<InterfaceIndex>::new(map)?;
        let places = map.get_all(0, INTERFACE_INDEXES)?;
        let places = (0..).zip(places).filter(|(_, place)| *place != FREE).collect();
        Ok(Self { map, places })
    }

    /// Enters an interface. Other indexes of the same slot leave.
    pub fn enter(&mut self, ifindex: u32, slot: u32, name: &str) -> Result<()> {
        let entry = InterfaceIndex { ifindex, slot };
        let there =
            probes(ifindex).find(|place| self.places.get(place).is_some_and(|at| at.ifindex == ifindex));
        let free = || probes(ifindex).find(|place| !self.places.contains_key(place));
        let Some(place) = there.or_else(free) else {
            let others: Vec<u32> =
                probes(ifindex).filter_map(|place| self.places.get(&place)).map(|at| at.ifindex).collect();
            bail!(
                "{name} has index {ifindex}, whose places in the interface table are taken by indexes {others:?}: recreate \
                 {name}, or guard one interface fewer"
            );
        };
        self.map.set(place, &entry)?;
        self.places.insert(place, entry);
        self.remove(|at| at.slot == slot && at.ifindex != ifindex)
    }

    /// Takes a slot's interface out.
    pub fn leave(&mut self, slot: u32) -> Result<()> {
        self.remove(|at| at.slot == slot)
    }

    /// Keeps only these slots.
    pub fn retain(&mut self, slots: &[u32]) -> Result<()> {
        self.remove(|at| !slots.contains(&at.slot))
    }

    fn remove(&mut self, unwanted: impl Fn(&InterfaceIndex) -> bool) -> Result<()> {
        let places: Vec<u32> =
            self.places.iter().filter(|(_, at)| unwanted(at)).map(|(place, _)| *place).collect();
        for place in places {
            self.map.set(place, &FREE)?;
            self.places.remove(&place);
        }
        Ok(())
    }
}

/// Where an index may stand: as the kernel side probes.
fn probes(ifindex: u32) -> impl Iterator<Item = u32> {
    (0..INTERFACE_PROBES).map(move |probe| (ifindex + probe) & (INTERFACE_INDEXES - 1))
}

/// The lowest slot that nobody holds; slot 0 stands for interfaces that are not listed.
pub fn free_slot(taken: &[u32], name: &str) -> Result<u32> {
    match (1..INTERFACES).find(|slot| !taken.contains(slot)) {
        Some(slot) => Ok(slot),
        None => bail!("{name} is one interface too many: sluice guards at most {}", INTERFACES - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{free_slot, probes};
    use monitor_common::names::capacity::INTERFACES;

    #[test]
    fn an_index_at_the_end_of_the_table_wraps() {
        assert_eq!(probes(1023).collect::<Vec<_>>(), [1023, 0]);
        assert_eq!(probes(1024 + 7).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn the_lowest_free_slot_is_given_and_zero_never() {
        assert_eq!(free_slot(&[], "eth0").expect("free"), 1);
        assert_eq!(free_slot(&[1, 3], "eth0").expect("free"), 2);
        let all: Vec<u32> = (1..INTERFACES).collect();
        assert!(free_slot(&all, "eth0").expect_err("full").to_string().contains("eth0"));
    }
}
