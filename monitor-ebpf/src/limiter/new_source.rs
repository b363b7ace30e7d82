//! A source without an entry of its own: it gets one, or the sketch judges it.

use monitor_common::{
    bucket::level,
    record::{Incident, entry},
    rule::{DIMENSIONS, Limit, Settings, Slot, mode},
    sketch::{self, ROWS},
};

use super::flood;
use crate::{
    atomic,
    context::{PacketContext, Units},
    maps,
    source_table::{self, Entering},
    totals::incident,
};

/// Attempts to charge the cells of a source.
const ATTEMPTS: u32 = 4;

/// What a stranger is.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has an entry now, which judges it.
    Entered = 0,
    /// Within its limit, by the sketch.
    Within = 1,
    /// Over its limit, by the sketch's careful estimate.
    Exceeding = 2,
}

/// Lets the source in, in calm times or when it is heavy, or judges it by the sketch.
///
/// Not inlined: on its own it has its own stack and is verified with little state.
#[inline(never)]
pub fn judge(settings: &Settings, limit: &Limit, packet: &PacketContext, calm: bool) -> Standing {
    let hash = packet.hash;
    let Some(line) = maps::SKETCH.get_ptr_mut(sketch::line(hash, maps::sketch_cells())) else {
        return Standing::Within;
    };
    let [first, second] = sketch::places(hash);
    // SAFETY: the pointer is to a map value, and both places lie within a line.
    let cells = unsafe { [&raw mut (*line)[first & 7], &raw mut (*line)[second & 7]] };
    let debt = estimate(cells, packet.now).0;
    let limited = limit.force.mode != mode::OFF;
    let next = debt + dearest(&limit.force, &packet.units);
    let heavy = limited && next > limit.heavy;
    if (calm || (heavy && flood::may_enter_heavy(settings, packet.interface, packet.now)))
        && enter(packet, debt, calm)
    {
        return Standing::Entered;
    }
    incident(Incident::JudgedBySketch);
    if !limited {
        return Standing::Within;
    }
    // `heavy` is half of the smallest capacity, so twice that is where the first dimension may be exceeded.
    charge(cells, packet.now, next - debt, 2 * limit.heavy)
}

/// What the source owes at most, and the words that say so.
#[inline(always)]
fn estimate(cells: [*mut u64; ROWS as usize], now: u64) -> (u64, [u64; ROWS as usize]) {
    // SAFETY: the callers pass words of a map value.
    let words = unsafe { [atomic::load(cells[0]), atomic::load(cells[1])] };
    (level(words[0], now).min(level(words[1], now)), words)
}

/// Charges the source's cells: none is raised above the estimate plus the cost. A cell that another CPU changed meanwhile
/// makes the estimate void, so that two packets never pass on one charge.
#[inline(always)]
fn charge(cells: [*mut u64; ROWS as usize], now: u64, cost: u64, capacity: u64) -> Standing {
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let (owed, words) = estimate(cells, now);
        let debt = owed + cost;
        if debt > capacity {
            if owed > capacity {
                // What was owed under an earlier limit, as in `atomic::forgive`.
                lower(cells[0], words[0], now, capacity);
                lower(cells[1], words[1], now, capacity);
            }
            return Standing::Exceeding;
        }
        if raise(cells[0], words[0], now, debt) && raise(cells[1], words[1], now, debt) {
            return Standing::Within;
        }
        attempt += 1;
    }
    incident(Incident::Contended);
    Standing::Exceeding
}

/// Raises a cell to `debt` unless it is there already; false when it is not what it was.
#[inline(always)]
fn raise(cell: *mut u64, word: u64, now: u64, debt: u64) -> bool {
    // SAFETY: the only caller passes a word of a map value.
    level(word, now) >= debt || unsafe { atomic::replace(cell, word, now.wrapping_add(debt)) }
}

/// Takes a cell down to `debt` if it says more.
#[inline(always)]
fn lower(cell: *mut u64, word: u64, now: u64, debt: u64) {
    if level(word, now) > debt {
        // SAFETY: the only caller passes a word of a map value.
        unsafe { atomic::replace(cell, word, now.wrapping_add(debt)) };
    }
}

/// The largest cost over the dimensions that apply: one word stands for all of them, on the careful side.
#[inline(always)]
fn dearest(slot: &Slot, units: &Units) -> u64 {
    let mut dearest = 0;
    let mut dimension = 0;
    while dimension < DIMENSIONS {
        dearest = slot.rates[dimension].cost(units[dimension]).max(dearest);
        dimension += 1;
    }
    dearest
}

/// Puts the source into the exact table with the debt it already has; false when there is no room, or when another CPU is
/// about to enter it.
#[inline(always)]
fn enter(packet: &PacketContext, debt: u64, calm: bool) -> bool {
    match source_table::enter(packet, debt, if calm { 0 } else { entry::FROM_FLOOD }) {
        Entering::Entered => {
            incident(if calm { Incident::SourceEntered } else { Incident::HeavySourceEntered });
            true
        }
        Entering::Present => true,
        Entering::Contended => {
            incident(Incident::Contended);
            false
        }
        Entering::Full => {
            incident(Incident::SourceTableFull);
            false
        }
    }
}
