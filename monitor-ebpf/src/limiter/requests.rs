//! The limits of requests and handshakes: what a packet begins is charged to its source and to the service's aggregate.
//!
//! In: a packet that all other limits let pass, of a service that counts requests. Out: a verdict, or go on. What is counted
//! is in [`monitor_common::request`]; nothing is charged for what was counted before.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use monitor_common::{
    names::capacity,
    record::{Incident, RequestBuckets, RequestTotals, SourceEntry},
    request::{self, Word},
    rule::{COUNTS_REQUESTS, Limit, mode},
    sketch::{CELLS_PER_LINE, Line},
    verdict::{Reason, Verdict},
};

use super::{aggregate, is_known, violation};
use crate::{
    atomic,
    context::{PacketContext, fresh},
    maps, reader,
    rules::Rules,
    scratch::Request,
    source_table, totals,
};

/// No verdict.
pub const GO_ON: u32 = u32::MAX;

/// How a bucket answers, see [`atomic::charge_one`].
const WITHIN: u32 = 0;
const CONTENDED: u32 = 2;

/// Judges a packet that all other limits let pass; what it may not goes into the context as the verdict.
///
/// Not inlined: rare, with a stack of its own, and the caller's state is one after it.
#[inline(never)]
pub fn judge(ctx: *mut xdp_md, rules: Rules, packet: &mut PacketContext) {
    let rules = &rules;
    if !request::concerns(&packet.frame) {
        return;
    }
    let (Some(limit), Some(request)) = (super::further(rules, packet), maps::REQUEST.get_ptr_mut(0)) else {
        return;
    };
    if limit.force.dimensions & COUNTS_REQUESTS == 0 {
        return;
    }
    // SAFETY: the value is this CPU's own.
    let request = unsafe { &mut *request };
    let hash = request::hash(rules.settings.hash_key, &packet.frame);
    request.verdict = GO_ON;
    find(request, hash, packet.now);
    if request::opens(&packet.frame) {
        // A new connection between the same ends: nothing of the old one holds.
        if fresh(&request.own) != NOWHERE {
            keep(request, hash, 0);
        }
        return;
    }
    reader::request(ctx, packet, known(request, hash), &mut request.counted);
    let mut steps = 0;
    while steps < request::MOST_FRAMES && fresh(&request.counted.walks) != 0 {
        reader::request_step(ctx, packet, &mut request.counted);
        steps += 1;
    }
    if fresh(&request.own) == NOWHERE && fresh(&request.free) == NOWHERE {
        request.counted = request.counted.untracked(&packet.frame);
    }
    if fresh(&request.counted.follows) != 0 {
        request.verdict = follow(limit, packet);
    } else if fresh(&request.counted.units) != 0 {
        charge(ctx, rules, limit, packet, request);
    }
    let verdict = fresh(&request.verdict);
    if verdict != GO_ON {
        packet.verdict = verdict;
    }
    let next = if verdict == GO_ON { request.counted.passed } else { request.counted.refused };
    // What follows a refused request leaves its word alone.
    if next != 0 {
        keep(request, hash, Word(next).stamped(hash, packet.now).0);
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
        let word = Word(unsafe { atomic::load(at(line, cell)) });
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
        Some(line) if own != NOWHERE => unsafe { atomic::load(at(line, own)) },
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
fn follow(limit: &Limit, packet: &PacketContext) -> u32 {
    if fresh(&packet.enforce) != 0 && limit.force.mode == mode::ENFORCE {
        Reason::RequestRate as u32
    } else {
        GO_ON
    }
}

/// Charges the source and then all sources together; the verdict goes into the request.
#[inline(never)]
fn charge(ctx: *mut xdp_md, rules: &Rules, limit: &Limit, packet: &mut PacketContext, request: &mut Request) {
    of_source(limit, packet, request);
    let entry = source_table::find(packet);
    if fresh(&request.exceeds) != 0
        && let Some(entry) = entry
    {
        punish(ctx, rules, limit, packet, entry);
        note(packet, entry, fresh(&request.counted.what));
    }
    if fresh(&request.verdict) == GO_ON && fresh(&packet.has_aggregate) != 0 {
        let known = is_known(rules, packet, entry);
        of_all(rules, packet, request, known);
    }
    tally(packet, request);
}

/// Notes that a bucket has no room: the verdict of a limit that enforces.
#[inline(never)]
fn exceed(packet: &mut PacketContext, request: &mut Request, judgement: u32, first: u32, its_mode: u32) {
    let mut reason = first + (fresh(&request.counted.what) & 1);
    if judgement == CONTENDED {
        totals::incident(Incident::Contended);
        reason = Reason::Contended as u32;
    }
    if fresh(&packet.enforce) != 0 && its_mode == mode::ENFORCE {
        request.verdict = reason;
    } else {
        packet.note_would_drop(Verdict::from_number(reason));
    }
}

/// Charges the source's buckets.
#[inline(never)]
fn of_source(limit: &Limit, packet: &mut PacketContext, request: &mut Request) {
    request.exceeds = 0;
    let what = fresh(&request.counted.what) as usize & 1;
    let (rate, trial_rate) = (&limit.requests[what], &limit.candidate_requests[what]);
    if rate.unit_cost | trial_rate.unit_cost == 0 {
        return;
    }
    let Some(buckets) = buckets(request, packet.hash | 1, packet.now) else {
        totals::incident(Incident::RequestTableFull);
        return;
    };
    let units = fresh(&request.counted.units);
    // SAFETY: the pointer is to a map value, whose words are changed by atomic instructions.
    let judgement = unsafe {
        let trial = (&raw mut (*buckets).candidate).cast::<u64>().wrapping_add(what);
        if atomic::charge_one(trial, trial_rate, units, packet.now) != WITHIN {
            packet.candidate = 1;
        }
        let force = (&raw mut (*buckets).force).cast::<u64>().wrapping_add(what);
        if limit.force.mode == mode::OFF {
            WITHIN
        } else {
            atomic::charge_one(force, rate, units, packet.now)
        }
    };
    if judgement != WITHIN {
        request.exceeds = 1;
        exceed(packet, request, judgement, Reason::RequestRate as u32, limit.force.mode);
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
            if atomic::load(&raw const (*found).key) == key {
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
        let old = atomic::load(&raw const (*found).key);
        if old != key {
            atomic::replace(&raw mut (*found).key, old, key);
        }
    }
    Some(found)
}

/// Charges the aggregate's buckets, those of strangers first for who is not known.
#[inline(never)]
fn of_all(rules: &Rules, packet: &mut PacketContext, request: &mut Request, known: bool) {
    let Some((together, state)) = aggregate::of_service(rules, packet) else {
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
        let mut judgement =
            if known { WITHIN } else { atomic::charge_one(strangers, share, units, packet.now) };
        if judgement == WITHIN {
            judgement = atomic::charge_one(total, &together.total_requests[what], units, packet.now);
        }
        judgement
    };
    if judgement != WITHIN {
        exceed(packet, request, judgement, Reason::AggregateRequestRate as u32, together.mode);
    }
}

/// What follows for a source that exceeds its limit, as for any other limit.
#[inline(never)]
fn punish(ctx: *mut xdp_md, rules: &Rules, limit: &Limit, packet: &PacketContext, entry: *mut SourceEntry) {
    let enforces = fresh(&packet.enforce) != 0 && limit.force.mode == mode::ENFORCE;
    // SAFETY: the only caller passes a map value.
    unsafe {
        violation::count(packet, enforces, entry);
        if enforces {
            violation::punish(&XdpContext::new(ctx), rules.settings, limit, packet, entry);
        }
    }
}

#[inline(never)]
fn note(packet: &PacketContext, entry: *mut SourceEntry, what: u32) {
    // SAFETY: the only caller passes a map value.
    unsafe { violation::note(packet, entry, Verdict::of_source_requests(what)) };
}

/// Counts what became of requests.
#[inline(never)]
fn tally(packet: &PacketContext, request: &Request) {
    let Some(totals) = maps::REQUEST_TOTALS.get_ptr_mut(packet.service) else {
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
    if packet.would_drop().is_some() {
        would_drop[what] += units;
    }
}
