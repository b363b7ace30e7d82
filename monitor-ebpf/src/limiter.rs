//! The limits: per source and service (exact entry or sketch), then the service's aggregate over all sources.
//!
//! A source that has no entry gets one at once in calm times. In flood mode, or when the table is full, the sketch judges
//! it, and only a heavy one is let into the table; it brings its debt along, so the change of tier gives nothing away.

use core::ops::ControlFlow;

use aya_ebpf::programs::XdpContext;
use monitor_common::{
    bucket::level,
    flow::SourceKey,
    parse::Frame,
    record::{Incident, SourceEntry, entry},
    rule::{BYTES, CONNECTIONS, DIMENSIONS, FRAGMENTS, PACKETS, Slot, mode},
    sketch::{self, ROWS},
    verdict::Reason,
};

use crate::{
    aggregate, flood, maps,
    policy::{self, Rules, Service, Source},
    telemetry::{Tally, incident},
    violation,
    word::{self, Charge},
};

/// What a packet costs in each dimension.
pub type Units = [u32; DIMENSIONS];

/// All that judging one packet needs.
pub struct Case<'a> {
    pub rules: &'a Rules,
    pub source: &'a Source,
    pub service: &'a Service,
    pub units: Units,
    pub now: u64,
    /// Whether limits may drop at all.
    pub enforce: bool,
}

/// The verdict of a bucket set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Within,
    Exceeded(usize),
    Contended,
}

#[inline(always)]
pub fn judge(
    ctx: &XdpContext,
    rules: &Rules,
    frame: &Frame,
    source: &Source,
    service: &Service,
    now: u64,
    tally: &mut Tally,
) -> ControlFlow<Reason> {
    let mut units = [0; DIMENSIONS];
    units[PACKETS] = 1;
    units[BYTES] = frame.length;
    units[CONNECTIONS] = u32::from(frame.opens_connection());
    units[FRAGMENTS] = u32::from(frame.is_fragment());
    let case = Case { rules, source, service, units, now, enforce: policy::may_enforce(rules, source, now) };
    let known = of_source(ctx, &case, tally)?;
    aggregate::judge(&case, known, tally)?;
    ControlFlow::Break(match () {
        () if source.exempt => Reason::Exempt,
        () if service.limit.force.mode == mode::OFF => Reason::Unlimited,
        () => Reason::Accepted,
    })
}

/// The limit of this source; whether the source counts as known to the aggregate.
#[inline(always)]
fn of_source(ctx: &XdpContext, case: &Case, tally: &mut Tally) -> ControlFlow<Reason, bool> {
    let key = SourceKey::new(case.source.high, case.source.low, case.service.number);
    if let Some(found) = maps::SOURCES.get_ptr_mut(&key) {
        return of_entry(ctx, case, found, tally);
    }
    of_stranger(ctx, case, &key, tally)
}

/// A source with an entry of its own.
#[inline(always)]
fn of_entry(
    ctx: &XdpContext,
    case: &Case,
    found: *mut SourceEntry,
    tally: &mut Tally,
) -> ControlFlow<Reason, bool> {
    let limit = case.service.limit;
    // SAFETY: the pointer is to a map value, valid for the whole run; shared words are changed by atomic instructions,
    // the rest are plain stores of which the last one may win.
    unsafe {
        word::add(&raw mut (*found).packets, 1);
        word::add(&raw mut (*found).bytes, u64::from(case.units[BYTES]));
        (*found).last_seen = case.now;
        if case.units[CONNECTIONS] != 0 {
            word::add(&raw mut (*found).connections, 1);
        }
        if limit.candidate.mode != mode::OFF
            && charge(&raw mut (*found).candidate, &limit.candidate, &case.units, case.now)
                != Judgement::Within
        {
            word::add(&raw mut (*found).candidate_would_drop, 1);
            tally.candidate = true;
        }
        if limit.force.mode != mode::OFF {
            let reason = match charge(&raw mut (*found).force, &limit.force, &case.units, case.now) {
                Judgement::Within => {
                    if (*found).flags & entry::EXCEEDING != 0 {
                        violation::subside(case, found, tally.interface);
                    }
                    return ControlFlow::Continue(is_known(case, found, tally.interface));
                }
                Judgement::Exceeded(dimension) => Reason::of_source(dimension),
                Judgement::Contended => {
                    incident(Incident::Contended);
                    Reason::Contended
                }
            };
            if !(case.enforce && limit.force.mode == mode::ENFORCE) {
                word::add(&raw mut (*found).would_drop.packets, 1);
                word::add(&raw mut (*found).would_drop.bytes, u64::from(case.units[BYTES]));
                tally.would_drop = Some(reason);
                violation::note(ctx, case, found, reason, false, tally.interface);
                return ControlFlow::Continue(false);
            }
            word::add(&raw mut (*found).dropped.packets, 1);
            word::add(&raw mut (*found).dropped.bytes, u64::from(case.units[BYTES]));
            violation::note(ctx, case, found, reason, true, tally.interface);
            return ControlFlow::Break(reason);
        }
        ControlFlow::Continue(is_known(case, found, tally.interface))
    }
}

/// Known: seen for some time before the present flood (or now, in calm times), and not exceeding its limit.
#[inline(always)]
unsafe fn is_known(case: &Case, found: *const SourceEntry, interface: u32) -> bool {
    // SAFETY: the caller's pointer is to a map value.
    let (flags, first_seen) = unsafe { ((*found).flags, (*found).first_seen) };
    let reference = match flood::since(interface, case.now) {
        Some(_) if flags & entry::FROM_FLOOD != 0 => return false,
        Some(since) => since,
        None => case.now,
    };
    flags & entry::EXCEEDING == 0 && level(reference, first_seen) >= case.rules.settings.known_after
}

/// Charges all dimensions that apply, or none: first all are asked, then all are charged.
///
/// # Safety
/// `buckets` points into a map value that is valid for the whole run of the program.
#[inline(always)]
pub unsafe fn charge(buckets: *mut [u64; DIMENSIONS], slot: &Slot, units: &Units, now: u64) -> Judgement {
    // SAFETY: by contract; `dimension` stays below DIMENSIONS.
    unsafe { charge_rates(buckets, slot.dimensions, &slot.rates, units, now) }
}

/// As [`charge`], for any set of rates.
///
/// # Safety
/// As for [`charge`].
#[inline(always)]
pub unsafe fn charge_rates(
    buckets: *mut [u64; DIMENSIONS],
    dimensions: u32,
    rates: &[monitor_common::bucket::Rate; DIMENSIONS],
    units: &Units,
    now: u64,
) -> Judgement {
    let mut dimension = 0;
    while dimension < DIMENSIONS {
        let (rate, units) = (&rates[dimension], units[dimension]);
        // SAFETY: by contract; the dimension is in range.
        if dimensions & (1 << dimension) != 0
            && units != 0
            && !unsafe { word::has_room(&raw const (*buckets)[dimension], now, rate.cost(units), rate) }
        {
            return Judgement::Exceeded(dimension);
        }
        dimension += 1;
    }
    dimension = 0;
    while dimension < DIMENSIONS {
        let (rate, units) = (&rates[dimension], units[dimension]);
        if dimensions & (1 << dimension) != 0 && units != 0 {
            // SAFETY: by contract; the dimension is in range.
            match unsafe { word::charge(&raw mut (*buckets)[dimension], now, rate.cost(units), rate) } {
                Charge::Paid => {}
                Charge::Exceeded => return Judgement::Exceeded(dimension),
                Charge::Contended => return Judgement::Contended,
            }
        }
        dimension += 1;
    }
    Judgement::Within
}

/// A source without an entry: it gets one, or the sketch judges it.
///
/// Not inlined: on its own it has its own stack and is verified with little state.
#[inline(never)]
fn of_stranger(
    ctx: &XdpContext,
    case: &Case,
    key: &SourceKey,
    tally: &mut Tally,
) -> ControlFlow<Reason, bool> {
    let limit = case.service.limit;
    let hash = sketch::hash(case.rules.settings.hash_key, case.source.high, case.source.low, key.service);
    let debt = estimate(hash, case.now);
    let calm = flood::may_enter(case.rules.settings, tally.interface, case.now);
    let cost = dearest(&limit.force, &case.units);
    let heavy = limit.force.mode != mode::OFF && debt + cost > limit.heavy;
    if (calm || (heavy && flood::may_enter_heavy(case.rules.settings, tally.interface, case.now)))
        && let Some(found) = enter(case, key, debt, calm, tally.interface)
    {
        return of_entry(ctx, case, found, tally);
    }
    incident(Incident::JudgedBySketch);
    if limit.force.mode == mode::OFF {
        return ControlFlow::Continue(false);
    }
    // `heavy` is half of the smallest capacity, so twice that is where the first dimension may be exceeded.
    if debt + cost > 2 * limit.heavy || !raise(hash, case.now, debt + cost) {
        if case.enforce && limit.force.mode == mode::ENFORCE {
            return ControlFlow::Break(Reason::SketchRate);
        }
        tally.would_drop = Some(Reason::SketchRate);
    }
    ControlFlow::Continue(false)
}

/// The largest cost over the dimensions that apply: one word stands for all of them, on the careful side.
#[inline(always)]
fn dearest(slot: &Slot, units: &Units) -> u64 {
    let mut dearest = 0;
    let mut dimension = 0;
    while dimension < DIMENSIONS {
        if slot.dimensions & (1 << dimension) != 0 && units[dimension] != 0 {
            let cost = slot.rates[dimension].cost(units[dimension]);
            if cost > dearest {
                dearest = cost;
            }
        }
        dimension += 1;
    }
    dearest
}

/// What the source owes at most, by the sketch.
#[inline(always)]
fn estimate(hash: u64, now: u64) -> u64 {
    let mut smallest = u64::MAX;
    let mut row = 0;
    while row < ROWS {
        let owed = maps::SKETCH
            .get(sketch::cell(hash, row, maps::sketch_cells()))
            .map_or(0, |word| level(*word, now));
        if owed < smallest {
            smallest = owed;
        }
        row += 1;
    }
    smallest
}

/// Raises the source's cells to `debt`, none of them further; false when one could not be raised.
#[inline(always)]
fn raise(hash: u64, now: u64, debt: u64) -> bool {
    let next = now.wrapping_add(debt);
    let mut row = 0;
    while row < ROWS {
        if let Some(word) = maps::SKETCH.get_ptr_mut(sketch::cell(hash, row, maps::sketch_cells())) {
            // SAFETY: the pointer is to a map value.
            let raised = unsafe { raise_word(word, now, next, debt) };
            if !raised {
                incident(Incident::Contended);
                return false;
            }
        }
        row += 1;
    }
    true
}

#[inline(always)]
unsafe fn raise_word(word: *mut u64, now: u64, next: u64, debt: u64) -> bool {
    let mut attempt = 0;
    while attempt < 4 {
        // SAFETY: the caller's pointer is to a map value.
        let old = unsafe { word::load(word) };
        if level(old, now) >= debt {
            return true;
        }
        // SAFETY: as above.
        if unsafe { word::replace(word, old, next) } {
            return true;
        }
        attempt += 1;
    }
    false
}

/// Puts the source into the exact table with the debt it already has; `None` when the table is full.
#[inline(always)]
fn enter(case: &Case, key: &SourceKey, debt: u64, calm: bool, interface: u32) -> Option<*mut SourceEntry> {
    // Written in place: an entry is too large for the stack.
    let fresh = maps::FRESH.get_ptr_mut(0)?;
    let tat = case.now.wrapping_add(debt);
    // SAFETY: the pointer is to this CPU's own scratch value; all of its other fields stay zero.
    let fresh = unsafe {
        (*fresh).force = [tat; DIMENSIONS];
        (*fresh).candidate = [case.now; DIMENSIONS];
        (*fresh).last_seen = case.now;
        (*fresh).first_seen = case.now;
        (*fresh).flags = if calm { 0 } else { entry::FROM_FLOOD };
        (*fresh).class = case.source.class;
        (*fresh).interface = interface;
        &*fresh
    };
    // BPF_NOEXIST: another CPU may have entered the same source meanwhile, and its entry must stand.
    match maps::SOURCES.insert(key, fresh, 1) {
        Ok(()) => incident(if calm { Incident::SourceEntered } else { Incident::HeavySourceEntered }),
        Err(_) => {
            let found = maps::SOURCES.get_ptr_mut(key);
            if found.is_none() {
                incident(Incident::SourceTableFull);
            }
            return found;
        }
    }
    maps::SOURCES.get_ptr_mut(key)
}
