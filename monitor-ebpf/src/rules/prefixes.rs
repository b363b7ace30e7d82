//! The prefix tree: what the rules say of an address.

use monitor_common::rule::{FIRST_INNER_NODE, PREFIX_FILTER_WORDS, ROOT_NODES, filter_place, leaf};

use crate::maps;

/// Whether an address lies within the trust boundary.
///
/// Not inlined: asked for rare packets only, and long to verify.
#[inline(never)]
pub fn is_inside(generation: u32, high: u64, low: u64, is_v4: bool) -> bool {
    leaf(generation, high, low, is_v4) & leaf::INSIDE != 0
}

/// What the prefix tree says of an address.
#[inline(always)]
pub fn leaf(generation: u32, high: u64, low: u64, is_v4: bool) -> u32 {
    let beginning = if is_v4 { low as u32 >> 16 } else { (high >> 48) as u32 };
    if !is_named(generation, beginning, is_v4) {
        0
    } else if is_v4 {
        leaf_v4(generation, low as u32)
    } else {
        leaf_v6(generation, high, low)
    }
}

#[inline(always)]
fn node(generation: u32, node: u32, nibble: u32) -> u32 {
    match maps::PREFIXES.get(generation * maps::prefix_nodes() + node) {
        Some(node) => node.children[(nibble & 15) as usize],
        None => 0,
    }
}

#[inline(always)]
fn leaf_v4(generation: u32, address: u32) -> u32 {
    let mut child = node(generation, address >> 20, address >> 16);
    let mut shift = 16;
    while child & leaf::NODE != 0 && shift != 0 {
        shift -= 4;
        child = node(generation, child & !leaf::NODE, address >> shift);
    }
    child
}

#[inline(always)]
fn leaf_v6(generation: u32, high: u64, low: u64) -> u32 {
    const _: () = assert!(FIRST_INNER_NODE == 2 * ROOT_NODES);
    let child = node(generation, ROOT_NODES + (high >> 52) as u32, (high >> 48) as u32);
    if child & leaf::NODE == 0 { child } else { leaf_v6_inner(generation, child, high, low) }
}

/// Not inlined: the walk is long and rare, and on its own it is verified with little state.
#[inline(never)]
fn leaf_v6_inner(generation: u32, mut child: u32, high: u64, low: u64) -> u32 {
    let mut shift = 48;
    while child & leaf::NODE != 0 && shift != 0 {
        shift -= 4;
        child = node(generation, child & !leaf::NODE, (high >> shift) as u32);
    }
    shift = 64;
    while child & leaf::NODE != 0 && shift != 0 {
        shift -= 4;
        child = node(generation, child & !leaf::NODE, (low >> shift) as u32);
    }
    child
}

/// Whether any prefix covers an address with these first sixteen bits, or lies within them.
#[inline(always)]
fn is_named(generation: u32, beginning: u32, is_v4: bool) -> bool {
    let (word, bit) = filter_place(beginning, is_v4);
    maps::PREFIX_FILTER.get(generation * PREFIX_FILTER_WORDS + word).is_some_and(|word| *word & bit != 0)
}
