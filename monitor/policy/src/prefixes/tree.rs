//! The nodes of the prefix tree, each kept once and counted by how many children name it, so that a part of the tree can be
//! replaced in place.
//!
//! In: children of nodes. Out: numbers of nodes, and which nodes differ since the last [`Tree::begin`]. It knows no prefixes.

use hashbrown::HashTable;
use monitor_common::rule::{FIRST_INNER_NODE, PrefixNode, leaf};

const EMPTY: PrefixNode = PrefixNode { children: [0; 16] };

/// Nodes as the kernel walks them, roots of both families first.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: Vec<PrefixNode>,
    /// How many children name each node. A root is named by nobody.
    uses: Vec<u32>,
    /// Numbers of the inner nodes in use, by their children.
    known: HashTable<u32>,
    /// Numbers below the highest that no child names.
    free: Vec<u32>,
    /// Nodes that were written since the last beginning; some twice.
    written: Vec<u32>,
}

/// Two trees are the same when the kernel is given the same.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.nodes == other.nodes
    }
}

impl Eq for Tree {}

impl Tree {
    /// A tree that says nothing.
    pub fn new() -> Self {
        let roots = FIRST_INNER_NODE as usize;
        Self {
            nodes: vec![EMPTY; roots],
            uses: vec![0; roots],
            known: HashTable::new(),
            free: Vec::new(),
            written: Vec::new(),
        }
    }

    pub fn nodes(&self) -> &[PrefixNode] {
        &self.nodes
    }

    /// Nodes that can still be made below `capacity`.
    pub fn room(&self, capacity: u32) -> usize {
        (capacity as usize).saturating_sub(self.nodes.len()) + self.free.len()
    }

    /// From here on, what is written is remembered.
    pub fn begin(&mut self) {
        self.written.clear();
    }

    /// The nodes that were written since the last beginning, each once.
    pub fn written(&mut self) -> &[u32] {
        self.written.sort_unstable();
        self.written.dedup();
        &self.written
    }

    /// Puts `child` into a root and lets go what was there.
    pub fn set_root(&mut self, root: usize, place: usize, child: u32) {
        let old = std::mem::replace(&mut self.nodes[root].children[place], child);
        if old != child {
            self.written.push(number(root));
        }
        self.release(old);
    }

    /// The node that holds these sixteen children, each of which the caller holds; now the caller holds this one instead.
    pub fn join(&mut self, children: [u32; 16]) -> u32 {
        if children[0] & leaf::NODE == 0 && children.iter().all(|child| *child == children[0]) {
            return children[0];
        }
        let hash = hash(&children);
        let Self { nodes, known, .. } = self;
        if let Some(there) = known.find(hash, |there| nodes[*there as usize].children == children) {
            let there = *there;
            self.uses[there as usize] += 1;
            // It holds the same children already.
            for child in children {
                self.release(child);
            }
            return leaf::NODE | there;
        }
        let new = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(EMPTY);
            self.uses.push(0);
            // Four billion nodes do not fit into memory, so the number never wraps.
            number(self.nodes.len() - 1)
        });
        self.nodes[new as usize].children = children;
        self.uses[new as usize] = 1;
        self.written.push(new);
        let Self { nodes, known, .. } = self;
        known.insert_unique(hash, new, |there| self::hash(&nodes[*there as usize].children));
        leaf::NODE | new
    }

    /// The caller holds this child no longer.
    fn release(&mut self, child: u32) {
        if child & leaf::NODE == 0 {
            return;
        }
        let gone = child & !leaf::NODE;
        let uses = &mut self.uses[gone as usize];
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        let children = self.nodes[gone as usize].children;
        if let Ok(entry) = self.known.find_entry(hash(&children), |there| *there == gone) {
            entry.remove();
        }
        self.free.push(gone);
        // As deep as an address is long.
        for child in children {
            self.release(child);
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn hash(children: &[u32; 16]) -> u64 {
    let mixed = children.iter().fold(0_u64, |mixed, child| {
        (mixed.rotate_left(5) ^ u64::from(*child)).wrapping_mul(0x517c_c1b7_2722_0a95)
    });
    mixed ^ (mixed >> 32)
}
