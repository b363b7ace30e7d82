//! Numbers that outlive a change: a service or a denied prefix that keeps its name keeps its number, so that entries
//! and counters in the kernel stay its own.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::CompileError;
use crate::config::DEFAULT_SERVICE;

/// Which number belongs to which service and which denied prefix.
///
/// A number that falls free is retired: it is given out again only after the engine said, by
/// [`Numbering::swept_services`] or [`Numbering::swept_denials`], that nothing in the kernel carries it any more. Only a
/// thing of the same name gets it back at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    services: Numbers<String>,
    denials: Numbers<IpNet>,
}

/// Numbers of one kind of things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Numbers<K: Ord> {
    used: BTreeMap<K, u32>,
    /// Freed, but possibly still carried by something in the kernel, with their last owner.
    retired: BTreeMap<u32, K>,
    /// Numbers from here on were never given out.
    fresh: u32,
}

impl<K: Ord> Default for Numbers<K> {
    fn default() -> Self {
        Self { used: BTreeMap::new(), retired: BTreeMap::new(), fresh: 0 }
    }
}

impl<K: Ord + Clone> Numbers<K> {
    /// Numbers of exactly `names`. `None` when there are not enough of them below `capacity`.
    fn assign<'a>(&self, names: impl Iterator<Item = &'a K>, capacity: u32) -> Option<Self>
    where
        K: 'a,
    {
        let mut next = Self { used: BTreeMap::new(), retired: self.retired.clone(), fresh: self.fresh };
        let mut nameless = Vec::new();
        for name in names {
            match self.used.get(name) {
                Some(number) => {
                    next.used.insert(name.clone(), *number);
                }
                None => nameless.push(name),
            }
        }
        for (name, number) in &self.used {
            if !next.used.contains_key(name) {
                next.retired.insert(*number, name.clone());
            }
        }
        let owners: BTreeMap<&K, u32> = self.retired.iter().map(|(number, name)| (name, *number)).collect();
        let mut taken: BTreeSet<u32> = next.used.values().copied().collect();
        let mut swept = 0;
        for name in nameless {
            let number = match owners.get(name) {
                Some(number) => *number,
                None if next.fresh < capacity => {
                    next.fresh += 1;
                    next.fresh - 1
                }
                None => {
                    while taken.contains(&swept) || next.retired.contains_key(&swept) {
                        swept += 1;
                    }
                    swept
                }
            };
            if number >= capacity {
                return None;
            }
            next.retired.remove(&number);
            taken.insert(number);
            next.used.insert(name.clone(), number);
        }
        Some(next)
    }
}

impl Numbering {
    /// The numbering of a generation with these services (the default one is always 0) and denied prefixes.
    pub(super) fn assign(
        &self,
        services: &[String],
        denials: &BTreeMap<IpNet, Option<Timestamp>>,
        service_capacity: u32,
        denial_capacity: u32,
    ) -> Result<Self, CompileError> {
        let default = DEFAULT_SERVICE.to_owned();
        let names = std::iter::once(&default).chain(services.iter().filter(|name| **name != default));
        let too_few = |key: &str, capacity: u32, wanted: usize, retired: usize| {
            let waiting = if retired == 0 {
                String::new()
            } else {
                format!(" ({retired} more are in use by removed ones until they are swept)")
            };
            CompileError(format!("capacity.{key} = {capacity} is too small: {wanted} are needed{waiting}"))
        };
        Ok(Self {
            services: self.services.assign(names, service_capacity).ok_or_else(|| {
                too_few("services", service_capacity, services.len() + 1, self.services.retired.len())
            })?,
            denials: self.denials.assign(denials.keys(), denial_capacity).ok_or_else(|| {
                too_few("denials", denial_capacity, denials.len(), self.denials.retired.len())
            })?,
        })
    }

    pub fn service(&self, name: &str) -> Option<u32> {
        self.services.used.get(name).copied()
    }

    pub fn services(&self) -> &BTreeMap<String, u32> {
        &self.services.used
    }

    pub fn denial(&self, prefix: &IpNet) -> Option<u32> {
        self.denials.used.get(prefix).copied()
    }

    /// Numbers for denials that nothing carries.
    pub(super) fn free_denials(&self, capacity: u32) -> usize {
        (capacity as usize).saturating_sub(self.denials.used.len() + self.denials.retired.len())
    }

    /// The number of one denied prefix more; `None` when there are not enough of them. `taken` says which are in use.
    pub(super) fn add_denial<T>(
        &mut self,
        prefix: &IpNet,
        capacity: u32,
        taken: &BTreeMap<u32, T>,
    ) -> Option<u32> {
        let Numbers { used, retired, fresh } = &mut self.denials;
        if let Some(number) = used.get(prefix) {
            return Some(*number);
        }
        let again = retired.iter().find(|(_, owner)| *owner == prefix).map(|(number, _)| *number);
        let number = match again {
            Some(number) => number,
            None if *fresh < capacity => {
                *fresh += 1;
                *fresh - 1
            }
            None => (0..capacity).find(|free| !taken.contains_key(free) && !retired.contains_key(free))?,
        };
        retired.remove(&number);
        used.insert(*prefix, number);
        Some(number)
    }

    /// Retires the number of a prefix that is denied no longer.
    pub(super) fn remove_denial(&mut self, prefix: &IpNet) -> Option<u32> {
        let number = self.denials.used.remove(prefix)?;
        self.denials.retired.insert(number, *prefix);
        Some(number)
    }

    pub fn denials(&self) -> &BTreeMap<IpNet, u32> {
        &self.denials.used
    }

    /// Service numbers whose entries and totals the engine is to sweep.
    pub fn retired_services(&self) -> BTreeSet<u32> {
        self.services.retired.keys().copied().collect()
    }

    /// Denial numbers that fell free; the kernel side forgets their counts as it takes the rules.
    pub fn retired_denials(&self) -> BTreeSet<u32> {
        self.denials.retired.keys().copied().collect()
    }

    /// Nothing in the kernel carries these service numbers any more: they may be given out again.
    pub fn swept_services(&mut self, numbers: &[u32]) {
        self.services.retired.retain(|number, _| !numbers.contains(number));
    }

    /// Nothing in the kernel carries these denial numbers any more.
    pub fn swept_denials(&mut self, numbers: &BTreeSet<u32>) {
        self.denials.retired.retain(|number, _| !numbers.contains(number));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::Numbering;

    fn assign(from: &Numbering, names: &[&str], capacity: u32) -> Result<Numbering, super::CompileError> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        from.assign(&names, &BTreeMap::new(), capacity, 16)
    }

    #[test]
    fn the_default_service_is_zero_and_names_keep_their_numbers() {
        let first = assign(&Numbering::default(), &["web", "dns"], 8).expect("fits");
        let second = assign(&first, &["dns", "ssh"], 8).expect("fits");
        assert_eq!(first.service("default"), Some(0));
        assert_eq!(second.service("dns"), first.service("dns"));
        assert_eq!(second.service("ssh"), Some(3));
        assert_eq!(second.retired_services(), BTreeSet::from([1]));
    }

    #[test]
    fn a_freed_number_returns_only_after_the_sweep() {
        let first = assign(&Numbering::default(), &["a", "b"], 3).expect("fits");
        let mut second = assign(&first, &["b"], 3).expect("fits");
        assert!(assign(&second, &["b", "c"], 3).is_err());
        second.swept_services(&[1]);
        let third = assign(&second, &["b", "c"], 3).expect("fits after the sweep");
        assert_eq!(third.service("c"), Some(1));
    }

    #[test]
    fn the_same_name_gets_its_number_back() {
        let first = assign(&Numbering::default(), &["a", "b"], 8).expect("fits");
        let second = assign(&first, &["b"], 8).expect("fits");
        let third = assign(&second, &["a", "b"], 8).expect("fits");
        assert_eq!(third.service("a"), first.service("a"));
        assert!(third.retired_services().is_empty());
    }

    #[test]
    fn too_many_services_are_told_how_many_are_needed() {
        let error = assign(&Numbering::default(), &["a", "b", "c"], 3).expect_err("does not fit");
        assert_eq!(error.to_string(), "capacity.services = 3 is too small: 4 are needed");
    }
}
