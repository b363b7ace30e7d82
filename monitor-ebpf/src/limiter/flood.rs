//! Flood mode: whether a new source may have an entry of its own at once, or stands behind the sketch.
//!
//! Every interface has, on every CPU, a budget of new sources. Spending it begins flood mode on the interface, and every
//! further new source over the budget prolongs it.

use monitor_common::{
    bucket::{Rate, admit, level},
    record::{EventKind, FloodState, Incident},
    rule::Settings,
};

use crate::{
    atomic,
    events::{about, event},
    maps,
    totals::incident,
};

/// When the present flood began on this interface; 0 in calm times.
#[inline(always)]
pub fn since(interface: u32, now: u64) -> u64 {
    match maps::FLOODS.get(interface) {
        Some(flood) if flood.since != 0 && level(flood.until, now) != 0 => flood.since,
        _ => 0,
    }
}

/// Accounts for one new source; whether it may enter the exact table without being heavy.
#[inline(always)]
pub fn may_enter(settings: &Settings, interface: u32, now: u64) -> bool {
    let (Some(flood), Some(budget)) =
        (maps::FLOODS.get_ptr_mut(interface), maps::BUDGETS.get_ptr_mut(interface))
    else {
        return false;
    };
    // SAFETY: both pointers are to map values, valid for the whole run of the program; the budget is this CPU's own.
    unsafe {
        if spend(&raw mut (*budget).new_sources, &settings.new_sources, now) {
            if (*flood).since == 0 {
                return true;
            }
            if level((*flood).until, now) != 0 {
                return false;
            }
            end(flood, interface, now);
            return true;
        }
        prolong(flood, settings, interface, now);
    }
    false
}

/// Whether a heavy source may enter the exact table now, in flood mode.
#[inline(always)]
pub fn may_enter_heavy(settings: &Settings, interface: u32, now: u64) -> bool {
    let Some(budget) = maps::BUDGETS.get_ptr_mut(interface) else {
        return false;
    };
    // SAFETY: the pointer is to this CPU's map value.
    let within = unsafe { spend(&raw mut (*budget).heavy_sources, &settings.heavy_sources, now) };
    if !within {
        incident(Incident::HeavySourceDeferred);
    }
    within
}

/// Takes one source off a budget of this CPU, if it has room.
#[inline(always)]
unsafe fn spend(budget: *mut u64, rate: &Rate, now: u64) -> bool {
    // SAFETY: the caller's pointer is to this CPU's map value.
    let Some(next) = admit(unsafe { *budget }, now, rate.cost(1), rate.capacity) else {
        return false;
    };
    // SAFETY: as above.
    unsafe { *budget = next };
    true
}

#[inline(always)]
unsafe fn prolong(flood: *mut FloodState, settings: &Settings, interface: u32, now: u64) {
    let until = now.wrapping_add(settings.flood_hold);
    // SAFETY: the caller's pointer is to a map value.
    unsafe {
        // One write per tick is enough, and keeps the line shared between CPUs meanwhile.
        if (*flood).until != until {
            (*flood).until = until;
        }
        if (*flood).since == 0 && atomic::replace(&raw mut (*flood).since, 0, now) {
            atomic::add(&raw mut (*flood).floods, 1);
            event(&about(EventKind::FloodStarted, interface, now));
        }
    }
}

/// Leaves flood mode; the one that succeeds reports it.
#[inline(always)]
unsafe fn end(flood: *mut FloodState, interface: u32, now: u64) {
    // SAFETY: the caller's pointer is to a map value.
    unsafe {
        let since = (*flood).since;
        if since != 0 && atomic::replace(&raw mut (*flood).since, since, 0) {
            let mut ended = about(EventKind::FloodEnded, interface, now);
            ended.value = since;
            event(&ended);
        }
    }
}
