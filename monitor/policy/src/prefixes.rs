//! The prefix tree, as the kernel walks it: per family a root that is indexed by the first sixteen bits, then nodes of
//! four bits each.
//!
//! In: statements about prefixes. Out: nodes, the same subtree stored once. What a leaf says is decided here, by
//! [`Ruling`]: exempt wins over denied, the longest-lasting denial wins, the longest class prefix wins.

mod tree;

use std::net::IpAddr;

use ipnet::IpNet;
use monitor_common::rule::{
    FILTERED_NODES, INSIDE, PREFIX_FILTER_WORDS, PrefixNode, ROOT_NODES, filter_word, leaf,
};

use super::access::{Grant, Permission, Statement};
use super::reverse_path::ANYWHERE;

pub(crate) use tree::Tree;

/// Bits that the root consumes: twelve by its index, four by the child.
pub(super) const ROOT_BITS: u8 = 16;
/// Bits that a further node consumes.
const STEP: u8 = 4;

/// What all statements that cover an address come to; positions are those of the statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ruling {
    pub exempt: Option<Weighed>,
    pub denied: Option<Weighed>,
    pub class: Option<Weighed>,
    /// Any statement says that it is within the trust boundary, even where a class of its own has the say.
    pub inside: bool,
    /// Any statement says that the host depends on it.
    pub lifeline: bool,
    /// Through which slots it comes; the longest prefix counts.
    pub arrives: Option<Weighed>,
}

/// A statement with its weight against others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weighed {
    weight: (i64, i16),
    pub position: usize,
}

impl Ruling {
    /// What holds when this statement covers the address as well. The order of statements is of no account, except
    /// that of two classes for the same prefix the later one wins.
    pub(super) fn with(mut self, position: usize, statement: &Statement<'_>) -> Self {
        let length = i16::from(statement.prefix.prefix_len());
        let heavier = |old: Option<Weighed>, weight: (i64, i16)| {
            let new = Weighed { weight, position };
            Some(old.map_or(new, |old| old.max(new)))
        };
        match &statement.grant {
            Grant::Permission { permission: Permission::Exempt, .. } => {
                self.exempt = heavier(self.exempt, (0, length));
            }
            Grant::Permission { permission: Permission::Deny, until } => {
                // Of equally lasting denials the widest wins: those inside it then need no nodes of their own.
                let end = until.map_or(i64::MAX, jiff::Timestamp::as_millisecond);
                self.denied = heavier(self.denied, (end, -length));
            }
            Grant::Class(number) => {
                self.class = heavier(self.class, (0, length));
                self.inside |= *number == INSIDE;
            }
            Grant::Lifeline => self.lifeline = true,
            Grant::Arrives(_) => self.arrives = heavier(self.arrives, (0, length)),
        }
        self
    }

    /// The leaf that says this.
    fn leaf(&self, statements: &[Statement<'_>], denials: &impl Fn(&IpNet) -> u32) -> u32 {
        let mut bits = 0;
        if self.exempt.is_some() {
            bits |= leaf::EXEMPT;
        } else if let Some(denied) = self.denied {
            bits |= leaf::DENIED | (denials(&statements[denied.position].prefix) & leaf::DENIAL_MASK);
        }
        if let Some(class) = self.class
            && let Grant::Class(number) = statements[class.position].grant
        {
            bits |= leaf::CLASSED | (number & leaf::CLASS_MASK) << leaf::CLASS_SHIFT;
        }
        if self.inside {
            bits |= leaf::INSIDE;
        }
        if self.lifeline {
            bits |= leaf::LIFELINE;
        }
        // What is denied is dropped wherever it comes from, and its number stands where the slots would.
        if let Some(arrives) = self.arrives.filter(|_| bits & leaf::DENIED == 0)
            && let Grant::Arrives(slots) = statements[arrives.position].grant
            && slots != ANYWHERE
        {
            bits |= leaf::BOUND | u32::from(slots);
        }
        bits
    }
}

/// A statement's prefix as the tree sees it: its bits from the top of a word, and how many of them count.
#[derive(Clone, Copy)]
struct Placed {
    bits: u128,
    length: u8,
    position: usize,
}

impl Placed {
    fn of(position: usize, prefix: IpNet) -> Self {
        Self { bits: bits(prefix.network()), length: prefix.prefix_len(), position }
    }

    /// In the order of the addresses, the widest first.
    const fn order(&self) -> (u128, u8, usize) {
        (self.bits, self.length, self.position)
    }
}

/// Writes what statements come to into a tree. `denials` gives a denied prefix its number.
struct Builder<'a, D> {
    statements: &'a [Statement<'a>],
    denials: D,
    tree: &'a mut Tree,
}

/// A block of addresses with the same first sixteen bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Block {
    is_v4: bool,
    index: u16,
}

impl Block {
    /// The block that `prefix` lies in; nothing for one that is as wide as a block or wider.
    pub fn of(prefix: &IpNet) -> Option<Self> {
        let index = u16::try_from(top(bits(prefix.network()), 0, ROOT_BITS)).ok()?;
        (prefix.prefix_len() > ROOT_BITS).then_some(Self { is_v4: prefix.addr().is_ipv4(), index })
    }

    /// All its addresses.
    pub fn prefix(self) -> IpNet {
        let bits = u128::from(self.index) << 112;
        let address = if self.is_v4 {
            IpAddr::V4(u32::try_from(bits >> 96).unwrap_or(0).into())
        } else {
            IpAddr::V6(bits.into())
        };
        IpNet::new_assert(address, ROOT_BITS)
    }

    const fn base(self) -> usize {
        if self.is_v4 { 0 } else { ROOT_NODES as usize }
    }
}

/// The nodes of both families.
pub(super) fn build(statements: &[Statement<'_>], denials: impl Fn(&IpNet) -> u32) -> Tree {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (position, statement) in statements.iter().enumerate() {
        let family = if statement.prefix.addr().is_ipv4() { &mut v4 } else { &mut v6 };
        family.push(Placed::of(position, statement.prefix));
    }
    let mut tree = Tree::new();
    let mut builder = Builder { statements, denials, tree: &mut tree };
    builder.family(0, &mut v4);
    builder.family(ROOT_NODES as usize, &mut v6);
    tree
}

/// Writes one block again; `statements` are all that cover it or lie within it, in their order.
pub(super) fn rebuild(
    tree: &mut Tree,
    block: Block,
    statements: &[Statement<'_>],
    denials: impl Fn(&IpNet) -> u32,
) {
    let mut above = Ruling::default();
    let mut within = Vec::new();
    for (position, statement) in statements.iter().enumerate() {
        if statement.prefix.prefix_len() <= ROOT_BITS {
            above = above.with(position, statement);
        } else {
            within.push(Placed::of(position, statement.prefix));
        }
    }
    within.sort_unstable_by_key(Placed::order);
    let mut builder = Builder { statements, denials, tree };
    let child = builder.subtree(above, &within, ROOT_BITS);
    let (root, place) = (block.base() + usize::from(block.index / 16), usize::from(block.index % 16));
    tree.set_root(root, place, child);
}

/// The filter before the tree: which first sixteen bits of an address it says anything of.
pub(super) fn filter(nodes: &[PrefixNode]) -> Vec<u64> {
    nodes.chunks(FILTERED_NODES as usize).take(PREFIX_FILTER_WORDS as usize).map(filter_word).collect()
}

impl<D: Fn(&IpNet) -> u32> Builder<'_, D> {
    /// Fills the root nodes from `base` on.
    fn family(&mut self, base: usize, placed: &mut [Placed]) {
        if placed.is_empty() {
            return;
        }
        placed.sort_unstable_by_key(Placed::order);
        let mut rulings = vec![Ruling::default(); 1 << ROOT_BITS];
        for one in placed.iter().filter(|one| one.length <= ROOT_BITS) {
            let first = top(one.bits, 0, ROOT_BITS);
            let count = 1 << (ROOT_BITS - one.length);
            for ruling in &mut rulings[first..first + count] {
                *ruling = ruling.with(one.position, &self.statements[one.position]);
            }
        }
        let long: Vec<Placed> = placed.iter().filter(|one| one.length > ROOT_BITS).copied().collect();
        let mut rest = long.as_slice();
        for (index, ruling) in rulings.iter().enumerate() {
            let end = rest.partition_point(|one| top(one.bits, 0, ROOT_BITS) <= index);
            let (here, further) = rest.split_at(end);
            rest = further;
            let child = self.subtree(*ruling, here, ROOT_BITS);
            self.tree.set_root(base + index / 16, index % 16, child);
        }
    }

    /// The child that stands for all addresses below one prefix of `depth` bits: `placed` are the statements within it,
    /// in the order of their bits, and `above` is what already holds for all of it.
    fn subtree(&mut self, above: Ruling, placed: &[Placed], depth: u8) -> u32 {
        if placed.is_empty() {
            return above.leaf(self.statements, &self.denials);
        }
        let mut rulings = [above; 16];
        let is_short = |one: &&Placed| one.length <= depth + STEP;
        for one in placed.iter().filter(is_short) {
            let first = top(one.bits, depth, STEP);
            let count = 1 << (depth + STEP - one.length);
            for ruling in &mut rulings[first..first + count] {
                *ruling = ruling.with(one.position, &self.statements[one.position]);
            }
        }
        let longer: Vec<Placed> = placed.iter().filter(|one| !is_short(one)).copied().collect();
        let mut rest = longer.as_slice();
        let mut children = [0; 16];
        for (index, child) in children.iter_mut().enumerate() {
            let end = rest.partition_point(|one| top(one.bits, depth, STEP) <= index);
            let (here, further) = rest.split_at(end);
            rest = further;
            *child = self.subtree(rulings[index], here, depth + STEP);
        }
        self.tree.join(children)
    }
}

/// An address from the top of a word.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The `count` bits of `bits` after the first `skip`.
fn top(bits: u128, skip: u8, count: u8) -> usize {
    usize::try_from((bits << skip) >> (128 - u32::from(count))).unwrap_or(0)
}

#[cfg(test)]
mod tests;
