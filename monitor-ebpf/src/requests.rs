//! The limits of requests and handshakes: what a packet begins is charged to its source and to the service's aggregate.
//!
//! In: a packet that all other limits let pass, of a service that counts requests. Out: a verdict, or go on. What is counted
//! is in [`monitor_common::request`]; nothing is charged for what was counted before.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use monitor_common::{
    names::capacity,
    record::{Incident, RequestBuckets, RequestTotals, SourceEntry},
    request::{self, Counted, Word},
    rule::{BYTES, Limit, mode},
    sketch::{CELLS_PER_LINE, Line},
    verdict::{Reason, Verdict},
};

use crate::{
    aggregate,
    case::{Case, fresh},
    limiter, maps,
    policy::Rules,
    table, telemetry, violation, window, word,
};

/// No verdict.
pub const GO_ON: u32 = u32::MAX;

/// How a bucket answers, see [`word::charge_one`].
const WITHIN: u32 = 0;
const CONTENDED: u32 = 2;

/// What is worked out of one packet on this CPU, read back from the map between the steps.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Request {
    counted: Counted,
    /// Which of the line's words is the connection's or may become it; [`NOWHERE`] when others use all of them.
    own: u32,
    free: u32,
    /// The verdict's number, or [`GO_ON`].
    verdict: u32,
    /// 1 when the source's own limit has no room.
    exceeds: u32,
    /// Which of the places is the source's or may become it.
    way: u32,
    reserved: u32,
}

/// Judges a packet that all other limits let pass; what it may not goes into the case as the verdict.
///
/// Not inlined: rare, with a stack of its own, and the caller's state is one after it.
#[inline(never)]
pub fn judge(ctx: *mut xdp_md, rules: &Rules, case: &mut Case) {
    if !request::concerns(&case.frame) {
        return;
    }
    let limit = maps::LIMITS.get(rules.generation * maps::limits() + fresh(&case.requests));
    let (Some(limit), Some(request)) = (limit, maps::REQUEST.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: the value is this CPU's own.
    let request = unsafe { &mut *request };
    let hash = request::hash(rules.settings.hash_key, &case.frame);
    request.verdict = GO_ON;
    find(request, hash, case.now);
    if request::opens(&case.frame) {
        // A new connection between the same ends: nothing of the old one holds.
        if fresh(&request.own) != NOWHERE {
            keep(request, hash, 0);
        }
        return;
    }
    window::request(ctx, case, known(request, hash), &mut request.counted);
    let mut steps = 0;
    while steps < request::MOST_FRAMES && fresh(&request.counted.walks) != 0 {
        window::request_step(ctx, case, &mut request.counted);
        steps += 1;
    }
    if fresh(&request.own) == NOWHERE && fresh(&request.free) == NOWHERE {
        request.counted = request.counted.untracked(&case.frame);
    }
    if fresh(&request.counted.follows) != 0 {
        request.verdict = follow(limit, case);
    } else if fresh(&request.counted.units) != 0 {
        charge(ctx, rules, limit, case, request);
    }
    let verdict = fresh(&request.verdict);
    if verdict != GO_ON {
        case.verdict = verdict;
    }
    let next = if verdict == GO_ON { request.counted.passed } else { request.counted.refused };
    // What follows a refused request leaves its word alone.
    if next != 0 {
        keep(request, hash, Word(next).stamped(hash, case.now).0);
    }
}

/// Looks for the word of a connection, or one that it may have.
#[inline(never)]
fn find(request: &mut Request, hash: u64, now: u64) {
    (request.own, request.free) = (NOWHERE, NOWHERE);
    let Some(line) = line(hash) else {
        return;
    };
    let mut cell = 0;
    while cell < CELLS_PER_LINE {
        // SAFETY: the pointer is to a map value, and the cell lies within it.
        let word = Word(unsafe { word::load(at(line, cell)) });
        if word.is_of(hash) {
            request.own = cell;
        } else if word.is_free(now) {
            request.free = cell;
        }
        cell += 1;
    }
}

const NOWHERE: u32 = u32::MAX;

#[inline(always)]
fn line(hash: u64) -> Option<*mut Line> {
    let words = maps::request_sources() * capacity::WORDS_PER_REQUEST_SOURCE;
    maps::REQUEST_WORDS.get_ptr_mut(request::line(hash, words))
}

#[inline(always)]
fn at(line: *mut Line, cell: u32) -> *mut u64 {
    line.cast::<u64>().wrapping_add((cell & (CELLS_PER_LINE - 1)) as usize)
}

/// The connection's word, 0 where there is none.
#[inline(never)]
fn known(request: &Request, hash: u64) -> u64 {
    let own = fresh(&request.own);
    match line(hash) {
        // SAFETY: the pointer is to a map value, and the cell lies within it.
        Some(line) if own != NOWHERE => unsafe { word::load(at(line, own)) },
        _ => 0,
    }
}

/// Writes the connection's word; a plain store, of which the last one may win.
#[inline(never)]
fn keep(request: &Request, hash: u64, next: u64) {
    let own = fresh(&request.own);
    let cell = if own == NOWHERE { fresh(&request.free) } else { own };
    if let Some(line) = line(hash)
        && cell != NOWHERE
    {
        // SAFETY: as above.
        unsafe { *at(line, cell) = next };
    }
}

/// Data behind a refused request: its server could not read it before the request comes again, so the client is slowed.
#[inline(always)]
fn follow(limit: &Limit, case: &Case) -> u32 {
    if fresh(&case.enforce) != 0 && limit.force.mode == mode::ENFORCE {
        Reason::RequestRate as u32
    } else {
        GO_ON
    }
}

/// Charges the source and then all sources together; the verdict goes into the request.
#[inline(never)]
fn charge(ctx: *mut xdp_md, rules: &Rules, limit: &Limit, case: &mut Case, request: &mut Request) {
    of_source(limit, case, request);
    let entry = table::find(case);
    if fresh(&request.exceeds) != 0
        && let Some(entry) = entry
    {
        punish(ctx, rules, limit, case, entry);
        note(case, entry, fresh(&request.counted.what));
    }
    if fresh(&request.verdict) == GO_ON && fresh(&case.has_aggregate) != 0 {
        let known = limiter::is_known(rules, case, entry);
        of_all(rules, case, request, known);
    }
    tally(case, request);
}

/// Notes that a bucket has no room: the verdict of a limit that enforces.
#[inline(never)]
fn exceed(case: &mut Case, request: &mut Request, judgement: u32, first: u32, its_mode: u32) {
    let mut reason = first + (fresh(&request.counted.what) & 1);
    if judgement == CONTENDED {
        telemetry::incident(Incident::Contended);
        reason = Reason::Contended as u32;
    }
    if fresh(&case.enforce) != 0 && its_mode == mode::ENFORCE {
        request.verdict = reason;
    } else {
        case.note_would_drop(Verdict::from_number(reason));
    }
}

/// Charges the source's buckets.
#[inline(never)]
fn of_source(limit: &Limit, case: &mut Case, request: &mut Request) {
    request.exceeds = 0;
    let what = fresh(&request.counted.what) as usize & 1;
    let (rate, trial_rate) = (&limit.requests[what], &limit.candidate_requests[what]);
    if rate.unit_cost | trial_rate.unit_cost == 0 {
        return;
    }
    let Some(buckets) = buckets(request, case.hash | 1, case.now) else {
        telemetry::incident(Incident::RequestTableFull);
        return;
    };
    let units = fresh(&request.counted.units);
    // SAFETY: the pointer is to a map value, whose words are changed by atomic instructions.
    let judgement = unsafe {
        let trial = (&raw mut (*buckets).candidate).cast::<u64>().wrapping_add(what);
        if word::charge_one(trial, trial_rate, units, case.now) != WITHIN {
            case.candidate = 1;
        }
        let force = (&raw mut (*buckets).force).cast::<u64>().wrapping_add(what);
        if limit.force.mode == mode::OFF { WITHIN } else { word::charge_one(force, rate, units, case.now) }
    };
    if judgement != WITHIN {
        request.exceeds = 1;
        exceed(case, request, judgement, Reason::RequestRate as u32, limit.force.mode);
    }
}

/// The buckets of a source at a service: its own, or those of somebody who owes nothing.
#[inline(always)]
fn buckets(request: &mut Request, key: u64, now: u64) -> Option<*mut RequestBuckets> {
    let first = RequestBuckets::first(key, maps::request_sources());
    request.way = NOWHERE;
    let mut way = 0;
    while way < RequestBuckets::WAYS {
        let found = maps::REQUESTS.get_ptr_mut(first + way)?;
        // SAFETY: the pointer is to a map value.
        unsafe {
            if word::load(&raw const (*found).key) == key {
                request.way = way;
                break;
            }
            if (*found).is_free(now) {
                request.way = way;
            }
        }
        way += 1;
    }
    let way = fresh(&request.way);
    if way == NOWHERE {
        return None;
    }
    let found = maps::REQUESTS.get_ptr_mut(first + (way & (RequestBuckets::WAYS - 1)))?;
    // SAFETY: as above. What owes nothing needs no clearing: its words lie in the past.
    unsafe {
        let old = word::load(&raw const (*found).key);
        if old != key {
            word::replace(&raw mut (*found).key, old, key);
        }
    }
    Some(found)
}

/// Charges the aggregate's buckets, those of strangers first for who is not known.
#[inline(never)]
fn of_all(rules: &Rules, case: &mut Case, request: &mut Request, known: bool) {
    let Some((together, state)) = aggregate::of_service(rules, case) else {
        return;
    };
    if together.mode == mode::OFF {
        return;
    }
    let what = fresh(&request.counted.what) as usize & 1;
    let units = fresh(&request.counted.units);
    // SAFETY: the pointer is to a map value, whose words are changed by atomic instructions.
    let judgement = unsafe {
        let strangers = (&raw mut (*state).strangers_requests).cast::<u64>().wrapping_add(what);
        let total = (&raw mut (*state).total_requests).cast::<u64>().wrapping_add(what);
        let share = &together.strangers_requests[what];
        let mut judgement = if known { WITHIN } else { word::charge_one(strangers, share, units, case.now) };
        if judgement == WITHIN {
            judgement = word::charge_one(total, &together.total_requests[what], units, case.now);
        }
        judgement
    };
    if judgement != WITHIN {
        exceed(case, request, judgement, Reason::AggregateRequestRate as u32, together.mode);
    }
}

/// What follows for a source that exceeds its limit, as for any other limit.
#[inline(never)]
fn punish(ctx: *mut xdp_md, rules: &Rules, limit: &Limit, case: &Case, entry: *mut SourceEntry) {
    let bytes = u64::from(case.units[BYTES]);
    // SAFETY: the only caller passes a map value.
    unsafe {
        if fresh(&case.enforce) != 0 && limit.force.mode == mode::ENFORCE {
            word::add(&raw mut (*entry).dropped.packets, 1);
            word::add(&raw mut (*entry).dropped.bytes, bytes);
            violation::punish(&XdpContext::new(ctx), rules.settings, limit, case, entry);
        } else {
            word::add(&raw mut (*entry).would_drop.packets, 1);
            word::add(&raw mut (*entry).would_drop.bytes, bytes);
        }
    }
}

#[inline(never)]
fn note(case: &Case, entry: *mut SourceEntry, what: u32) {
    // SAFETY: the only caller passes a map value.
    unsafe { violation::note(case, entry, Verdict::of_source_requests(what)) };
}

/// Counts what became of requests.
#[inline(never)]
fn tally(case: &Case, request: &Request) {
    let Some(totals) = maps::REQUEST_TOTALS.get_ptr_mut(case.service) else {
        return;
    };
    let what = fresh(&request.counted.what) as usize & 1;
    let units = u64::from(fresh(&request.counted.units));
    // SAFETY: the pointer is to this CPU's map value.
    let RequestTotals { passed, dropped, would_drop } = unsafe { &mut *totals };
    if fresh(&request.verdict) != GO_ON {
        dropped[what] += units;
        return;
    }
    passed[what] += units;
    if case.would_drop().is_some() {
        would_drop[what] += units;
    }
}
