//! A source without an entry of its own: it gets one, or the sketch judges it.

use monitor_common::{
    bucket::level,
    flow::SourceKey,
    record::{Incident, entry},
    rule::{DIMENSIONS, Limit, Settings, Slot, mode},
    sketch::{self, ROWS},
};

use crate::{
    case::{Case, Units},
    flood, maps,
    telemetry::incident,
    word,
};

/// Attempts to raise a cell of the sketch.
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

/// Lets the source in or judges it by the sketch.
///
/// Not inlined: on its own it has its own stack and is verified with little state.
#[inline(never)]
pub fn judge(settings: &Settings, limit: &Limit, case: &Case, key: &SourceKey) -> Standing {
    let hash = sketch::hash(settings.hash_key, case.high, case.low, key.service);
    let Some(line) = maps::SKETCH.get_ptr_mut(sketch::line(hash, maps::sketch_cells())) else {
        return Standing::Within;
    };
    let [first, second] = sketch::places(hash);
    // SAFETY: the pointer is to a map value, and both places lie within a line.
    let cells = unsafe { [&raw mut (*line)[first & 7], &raw mut (*line)[second & 7]] };
    // SAFETY: as above.
    let debt = unsafe { level(word::load(cells[0]), case.now).min(level(word::load(cells[1]), case.now)) };
    let calm = flood::may_enter(settings, case.interface, case.now);
    let limited = limit.force.mode != mode::OFF;
    let next = debt + dearest(&limit.force, &case.units);
    let heavy = limited && next > limit.heavy;
    if (calm || (heavy && flood::may_enter_heavy(settings, case.interface, case.now)))
        && enter(case, key, debt, calm)
    {
        return Standing::Entered;
    }
    incident(Incident::JudgedBySketch);
    if !limited {
        return Standing::Within;
    }
    // `heavy` is half of the smallest capacity, so twice that is where the first dimension may be exceeded.
    if next > 2 * limit.heavy || !raise(cells, case.now, next) {
        Standing::Exceeding
    } else {
        Standing::Within
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

/// Raises the source's cells to `debt`, none of them further; false when one could not be raised.
#[inline(always)]
fn raise(cells: [*mut u64; ROWS as usize], now: u64, debt: u64) -> bool {
    if raise_word(cells[0], now, debt) && raise_word(cells[1], now, debt) {
        return true;
    }
    incident(Incident::Contended);
    false
}

#[inline(always)]
fn raise_word(word: *mut u64, now: u64, debt: u64) -> bool {
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        // SAFETY: the only caller passes a word of a map value.
        let old = unsafe { word::load(word) };
        if level(old, now) >= debt {
            return true;
        }
        // SAFETY: as above.
        if unsafe { word::replace(word, old, now.wrapping_add(debt)) } {
            return true;
        }
        attempt += 1;
    }
    false
}

/// Puts the source into the exact table with the debt it already has; false when the table is full.
#[inline(always)]
fn enter(case: &Case, key: &SourceKey, debt: u64, calm: bool) -> bool {
    // Written in place: an entry is too large for the stack.
    let Some(fresh) = maps::FRESH.get_ptr_mut(0) else {
        return false;
    };
    let tat = case.now.wrapping_add(debt);
    // SAFETY: the pointer is to this CPU's own scratch value; all of its other fields stay zero.
    let fresh = unsafe {
        (*fresh).force = [tat; DIMENSIONS];
        (*fresh).candidate = [case.now; DIMENSIONS];
        (*fresh).last_seen = case.now;
        (*fresh).first_seen = case.now;
        (*fresh).flags = if calm { 0 } else { entry::FROM_FLOOD };
        (*fresh).class = case.class;
        (*fresh).interface = case.interface;
        &*fresh
    };
    // BPF_NOEXIST: another CPU may have entered the same source meanwhile, and its entry must stand.
    if maps::SOURCES.insert(key, fresh, 1).is_ok() {
        incident(if calm { Incident::SourceEntered } else { Incident::HeavySourceEntered });
        return true;
    }
    if maps::SOURCES.get_ptr_mut(key).is_some() {
        return true;
    }
    incident(Incident::SourceTableFull);
    false
}
