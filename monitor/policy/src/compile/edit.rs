//! A few denials more or less, written into an image that is there: what it costs depends on the change and not on how many
//! prefixes stay as they are.
//!
//! In: the image with the rules that it was compiled from, and the next rules. Out: the same image as [`super::compile`] would
//! make, but for the numbers of nodes, or no edit where more than denials changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::rule::Denial;

use super::{Environment, Image, Rules, denial, denied};
use crate::AccessEntry;
use crate::access::{Permission, Statement, arrivals, configured, listed, made};
use crate::config::ListAction;
use crate::prefixes::{self, Block};

/// Changes of more prefixes are compiled: they touch much of the tree.
const MOST: usize = 1000;
/// Nodes that one prefix needs at most: an IPv6 address below its root.
const DEEPEST: usize = 28;

/// Prefixes whose denials differ, and the blocks of the tree that they lie in.
#[derive(Clone, Debug)]
pub struct Edit {
    prefixes: BTreeSet<IpNet>,
    blocks: BTreeSet<Block>,
}

impl Edit {
    /// What leads from `before`, of which `image` is compiled, to `after`; nothing where it takes a compilation.
    pub fn between(before: &Rules, after: &Rules, image: &Image) -> Option<Self> {
        // Every field is named, so that a new one is thought of here.
        let Rules { config, limits, access, lists, own, surroundings, automatic } = before;
        let same = (Arc::ptr_eq(config, &after.config) || *config == after.config)
            && *limits == after.limits
            && Arc::ptr_eq(lists, &after.lists)
            && *own == after.own
            && *surroundings == after.surroundings
            && *automatic == after.automatic;
        if !same {
            return None;
        }
        let mut prefixes = BTreeSet::new();
        let mut there: HashMap<_, _> = access.iter().map(|entry| (key(entry), entry)).collect();
        for entry in &after.access {
            if there.get(&key(entry)) == Some(&entry) {
                there.remove(&key(entry));
            } else if entry.permission == Permission::Deny {
                prefixes.insert(entry.prefix.trunc());
            } else {
                return None;
            }
        }
        for entry in there.into_values() {
            if entry.permission != Permission::Deny {
                return None;
            }
            prefixes.insert(entry.prefix.trunc());
        }
        let blocks: BTreeSet<_> = prefixes.iter().map(Block::of).collect::<Option<_>>()?;
        let capacity = &after.config.capacity;
        let fits = prefixes.len() <= MOST.min(image.numbering.free_denials(capacity.denials))
            && image.tree.room(capacity.prefix_nodes) >= prefixes.len() * DEEPEST;
        fits.then_some(Self { prefixes, blocks })
    }
}

fn key(entry: &AccessEntry) -> (IpNet, Permission) {
    (entry.prefix, entry.permission)
}

/// What an edit did to the image, for who holds it as it was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// Nodes of the tree that are other ones.
    pub nodes: Vec<u32>,
    /// Denials that are new or end at another time.
    pub denials: Vec<(u32, Denial)>,
    /// Numbers of denials that are gone.
    pub forgotten: Vec<u32>,
}

impl Image {
    /// Makes an edit, as [`Edit::between`] found it.
    pub fn edit(&mut self, edit: &Edit, after: &Rules, environment: &Environment) -> Edited {
        let mut around = Around::of(edit, after, environment.now);
        if self.knows_arrivals {
            around.take_arrivals();
        }
        let blocks: Vec<_> = edit.blocks.iter().map(|block| (*block, around.within(*block))).collect();
        let ends: BTreeMap<_, _> = blocks.iter().flat_map(|(_, within)| denied(within)).collect();
        let mut edited = Edited::default();
        let Self { tree, numbering, denials, .. } = self;
        for prefix in &edit.prefixes {
            let Some(until) = ends.get(prefix) else {
                if let Some(gone) = numbering.remove_denial(prefix) {
                    denials.remove(&gone);
                    edited.forgotten.push(gone);
                }
                continue;
            };
            // There is one: the edit would not be without room for it.
            if let Some(number) = numbering.add_denial(prefix, after.config.capacity.denials, denials) {
                let denial = denial(*until, environment);
                denials.insert(number, denial);
                edited.denials.push((number, denial));
            }
        }
        tree.begin();
        for (block, within) in &blocks {
            prefixes::rebuild(tree, *block, within, |prefix| numbering.denial(prefix).unwrap_or_default());
        }
        edited.nodes = tree.written().to_vec();
        edited
    }
}

/// The statements that an edit has to look at.
struct Around<'a> {
    rules: &'a Rules,
    /// As wide as a block or wider.
    wide: Vec<Statement<'a>>,
    within: HashMap<Block, Vec<Statement<'a>>>,
    /// Those that grant something, which decide where sources may come from.
    privileged: Vec<Statement<'a>>,
}

impl<'a> Around<'a> {
    fn of(edit: &Edit, rules: &'a Rules, now: Timestamp) -> Self {
        let within = edit.blocks.iter().map(|block| (*block, Vec::new())).collect();
        let mut around = Self { rules, wide: Vec::new(), within, privileged: Vec::new() };
        configured(rules, |statement| around.take(statement));
        made(rules, now, |statement| around.take(statement));
        around
    }

    fn take(&mut self, statement: Statement<'a>) {
        if !statement.is_denial() {
            self.privileged.push(statement.clone());
        }
        self.place(statement);
    }

    fn place(&mut self, statement: Statement<'a>) {
        match Block::of(&statement.prefix) {
            None => self.wide.push(statement),
            Some(block) => {
                if let Some(within) = self.within.get_mut(&block) {
                    within.push(statement);
                }
            }
        }
    }

    fn take_arrivals(&mut self) {
        let rules = self.rules;
        let exempt = rules.lists.iter().filter(|list| list.action == ListAction::Exempt);
        let mut privileged = std::mem::take(&mut self.privileged);
        privileged.extend(exempt.flat_map(|list| list.prefixes.iter().map(|prefix| listed(list, *prefix))));
        for statement in arrivals(rules, &privileged) {
            self.place(statement);
        }
    }

    /// All that cover the block or lie within it.
    fn within(&mut self, block: Block) -> Vec<Statement<'a>> {
        let whole = block.prefix();
        let wide = self.wide.iter().filter(|statement| statement.prefix.contains(&whole)).cloned();
        let mut all: Vec<_> = wide.chain(self.within.remove(&block).unwrap_or_default()).collect();
        for list in self.rules.lists.iter() {
            let prefixes = list.covering(whole).chain(list.within(whole).iter().copied());
            all.extend(prefixes.map(|prefix| listed(list, prefix)));
        }
        all
    }
}

#[cfg(test)]
mod tests;
