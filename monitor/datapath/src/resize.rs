//! Moves what a map knows to its successor of another capacity.
//!
//! In: two maps of the same name and shape but for the capacity. Out: the successor, filled as far as it goes. What the
//! running program writes to the old map after the copy is lost; that is a few milliseconds of counts.

use anyhow::{Context as _, Result};
use monitor_common::flow::BanKey;
use monitor_common::names::{capacity, map};
use monitor_common::plain::Plain;
use monitor_common::record::{Ban, Totals};
use monitor_common::rule::{Active, Settings};

use super::capacity::Capacities;
use super::object::Loaded;
use super::rules::RuleMaps;
use super::sources::{self, Sources};
use super::table::{Array, Hash, Map, PerCpuArray, TableFull};

/// Copies what is worth keeping. Rules are not: they are written anew before the new program is attached.
pub fn copy(old: &Map, new: &Map) -> Result<()> {
    match old.name {
        map::BANS => copy_hash::<BanKey, Ban>(old, new),
        map::TOTALS => copy_totals(old, new),
        map::ACTIVE => copy_array::<Active>(old, new),
        // For the key of the hash, which filters and sketches depend on.
        map::SETTINGS => copy_array::<Settings>(old, new),
        _ => Ok(()),
    }
}

/// Copies the exact table, in which every entry has another place in the successor. It comes after the settings, for they
/// hold the key of the hash.
pub fn copy_sources(old: &Map, loaded: &Loaded, capacities: Capacities) -> Result<()> {
    let Some(hash_key) = RuleMaps::new(loaded, capacities)?.hash_key()? else {
        // Without rules nobody has an entry.
        return Ok(());
    };
    let new = Sources::new(loaded, hash_key)?;
    for (key, entry) in sources::read_slots(old)? {
        // In a smaller table there may be no room.
        new.insert(&key, entry);
    }
    Ok(())
}

fn copy_hash<K: Plain, V: Plain>(old: &Map, new: &Map) -> Result<()> {
    let (old, new) = (Hash::<K, V>::new(old)?, Hash::<K, V>::new(new)?);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    old.read_all(|key, value| {
        keys.push(key);
        values.push(value);
    })?;
    match new.set_all(&keys, &values) {
        // The new table is smaller: it keeps as many as it holds.
        Err(error) if error.is::<TableFull>() => Ok(()),
        other => other,
    }
}

fn copy_array<V: Plain>(old: &Map, new: &Map) -> Result<()> {
    let (old, new) = (Array::<V>::new(old)?, Array::<V>::new(new)?);
    new.set_all(0, &old.get_all(0, old.capacity().min(new.capacity()))?)
}

/// Rows are slots and columns are services, so another number of services moves every row.
fn copy_totals(old: &Map, new: &Map) -> Result<()> {
    let (old, new) = (PerCpuArray::<Totals>::new(old)?, PerCpuArray::<Totals>::new(new)?);
    let (from, to) = (old.capacity() / capacity::INTERFACES, new.capacity() / capacity::INTERFACES);
    for slot in 0..capacity::INTERFACES {
        for service in 0..from.min(to) {
            let mut values = Vec::new();
            old.for_each(slot * from + service, 1, |_, value| values.push(*value))
                .context("read the old totals")?;
            if values.iter().any(|value| *value != Totals::zeroed()) {
                new.set_each(slot * to + service, &values).context("write the new totals")?;
            }
        }
    }
    Ok(())
}
