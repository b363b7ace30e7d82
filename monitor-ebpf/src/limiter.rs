//! The limits: per source and service (exact entry or sketch), then the service's aggregate over all sources.
//!
//! A source that has no entry gets one at once in calm times. In flood mode, or when the table is full, the sketch judges
//! it, and only a heavy one is let into the table; it brings its debt along, so the change of tier gives nothing away.

pub mod aggregate;
pub mod connections;
pub mod flood;
pub mod fragments;
mod new_source;
pub mod proof;
pub mod requests;
pub mod violation;
pub mod vital;

use core::ops::ControlFlow;

use aya_ebpf::programs::XdpContext;
use monitor_common::{
    bucket::level,
    flow::protocol,
    record::{SourceEntry, entry},
    rule::{BYTES, FOLLOWS_CONNECTIONS, Limit, Settings, mode, setting},
    verdict::{Reason, Verdict},
};

use crate::{
    accounting,
    atomic::{self, Judgement},
    context::{PacketContext, fresh},
    maps,
    rules::Rules,
    source_table,
};

use new_source::Standing;

/// The verdict of the last stage.
#[inline(always)]
pub fn judge(ctx: &XdpContext, rules: &Rules, limit: &Limit, packet: &mut PacketContext) -> Verdict {
    if let ControlFlow::Break(verdict) = limits(ctx, rules, limit, packet) {
        return verdict;
    }
    if fresh(&packet.exempt) != 0 {
        Reason::Exempt.into()
    } else if limit.force.mode == mode::OFF {
        Reason::Unlimited.into()
    } else {
        Reason::Accepted.into()
    }
}

#[inline(always)]
fn limits(
    ctx: &XdpContext,
    rules: &Rules,
    limit: &Limit,
    packet: &mut PacketContext,
) -> ControlFlow<Verdict> {
    let entry = of_source(ctx, rules, limit, packet)?;
    if fresh(&packet.has_aggregate) != 0 {
        aggregate::judge(rules, packet, is_known(rules, packet, entry))?;
    }
    ControlFlow::Continue(())
}

/// The limit of a packet that is looked at further, see [`PacketContext::further`].
#[inline(always)]
fn further(rules: &Rules, packet: &PacketContext) -> Option<&'static Limit> {
    let number = fresh(&packet.further) & !FOLLOWS_CONNECTIONS;
    maps::LIMITS.get(rules.generation * maps::limits() + number)
}

/// The limit of this source; its entry, if it has one.
#[inline(always)]
fn of_source(
    ctx: &XdpContext,
    rules: &Rules,
    limit: &Limit,
    packet: &mut PacketContext,
) -> ControlFlow<Verdict, Option<*mut SourceEntry>> {
    let mut found = source_table::find(packet);
    if found.is_none() {
        let calm = flood::may_enter(rules.settings, packet.interface, packet.now);
        packet.stranger = 1;
        if !calm {
            // Before anything is read that only strangers need.
            aggregate::refuse_strangers(rules, packet)?;
        }
        match new_source::judge(rules.settings, limit, packet, calm) {
            Standing::Entered => {
                packet.stranger = 0;
                found = source_table::find(packet);
            }
            Standing::Within => return ControlFlow::Continue(None),
            Standing::Exceeding => {
                if fresh(&packet.enforce) != 0 && limit.force.mode == mode::ENFORCE {
                    return ControlFlow::Break(Reason::SketchRate.into());
                }
                packet.note_would_drop(Reason::SketchRate.into());
                return ControlFlow::Continue(None);
            }
        }
    }
    match found {
        Some(found) => of_entry(ctx, rules, limit, packet, found),
        // Swept between entering and here; the next packet enters again.
        None => ControlFlow::Continue(None),
    }
}

/// A source with an entry of its own.
#[inline(always)]
fn of_entry(
    ctx: &XdpContext,
    rules: &Rules,
    limit: &Limit,
    packet: &mut PacketContext,
    found: *mut SourceEntry,
) -> ControlFlow<Verdict, Option<*mut SourceEntry>> {
    let bytes = u64::from(packet.units[BYTES]);
    // SAFETY: the pointer is to a map value, valid for the whole run; shared words are changed by atomic instructions,
    // the rest are plain stores of which the last one may win.
    unsafe {
        if (*found).flags & entry::FROM_FLOOD != 0 {
            acquaint(rules.settings, packet, found);
        }
        let alone = accounting::count(found, packet);
        proof::take(rules.settings, packet, found);
        if limit.candidate.mode != mode::OFF {
            try_candidate(limit, packet, found);
        }
        if limit.force.mode == mode::OFF {
            return ControlFlow::Continue(Some(found));
        }
        let judgement = accounting::charge(found, &limit.force.rates, packet, alone);
        if judgement == Judgement::WITHIN {
            if (*found).flags & entry::EXCEEDING != 0 {
                violation::subside(packet, found);
            }
            return ControlFlow::Continue(Some(found));
        }
        let verdict = judgement.verdict(Verdict::of_source);
        if fresh(&packet.enforce) != 0 && limit.force.mode == mode::ENFORCE {
            atomic::add(&raw mut (*found).dropped.packets, 1);
            atomic::add(&raw mut (*found).dropped.bytes, bytes);
            violation::punish(ctx, rules.settings, limit, packet, found);
            violation::note(packet, found, verdict);
            return ControlFlow::Break(verdict);
        }
        atomic::add(&raw mut (*found).would_drop.packets, 1);
        atomic::add(&raw mut (*found).would_drop.bytes, bytes);
        violation::note(packet, found, verdict);
        packet.note_would_drop(verdict);
        ControlFlow::Continue(Some(found))
    }
}

/// Charges the limit on trial, which only counts.
#[inline(never)]
fn try_candidate(limit: &Limit, packet: &mut PacketContext, found: *mut SourceEntry) {
    // SAFETY: the only caller passes a map value.
    unsafe {
        let buckets = &raw mut (*found).candidate;
        let judgement = atomic::charge(buckets, &limit.candidate.rates, &packet.units, packet.now);
        if judgement != Judgement::WITHIN {
            atomic::add(&raw mut (*found).candidate_would_drop, 1);
            packet.candidate = 1;
        }
    }
}

/// Lets a source that a flood brought, or found a stranger, become known: it has to be there in calm times for as long as
/// others, without a gap of that length. Where a flood comes from the same addresses again and again, they begin anew each time.
#[inline(never)]
fn acquaint(settings: &Settings, packet: &PacketContext, found: *mut SourceEntry) {
    // SAFETY: the only caller passes a map value; plain stores, of which the last one may win.
    unsafe {
        let absent = level(packet.now, (*found).last_seen) > settings.known_after;
        if absent || flood::since(packet.interface, packet.now) != 0 {
            (*found).first_seen = packet.now;
        } else if level(packet.now, (*found).first_seen) >= settings.known_after {
            (*found).flags &= !entry::FROM_FLOOD;
        }
    }
}

/// Proven, at a service that challenges those that are not: it need not be established as well.
#[inline(always)]
fn is_answered(rules: &Rules, packet: &PacketContext, found: Option<*mut SourceEntry>) -> bool {
    if fresh(&packet.challenges) == 0 || rules.settings.flags & setting::COOKIES == 0 {
        return false;
    }
    // SAFETY: the caller's pointer is to a map value.
    found.is_some_and(|found| unsafe { (*found).flags } & entry::PROVEN != 0)
}

/// Whether a source may take what is reserved.
#[inline(always)]
pub fn is_known(rules: &Rules, packet: &PacketContext, found: Option<*mut SourceEntry>) -> bool {
    is_established(rules, packet, found) || is_answered(rules, packet, found)
}

/// Seen for some time before the present flood (or now, in calm times), and not exceeding its limit.
#[inline(always)]
fn is_established(rules: &Rules, packet: &PacketContext, found: Option<*mut SourceEntry>) -> bool {
    let Some(found) = found else {
        return false;
    };
    // SAFETY: the caller's pointer is to a map value.
    let (flags, first_seen) = unsafe { ((*found).flags, (*found).first_seen) };
    if flags & (entry::EXCEEDING | entry::FROM_FLOOD) != 0 {
        return false;
    }
    // One forged packet before a flood would buy a share that is reserved for the known.
    let proves = packet.frame.protocol == protocol::TCP && rules.settings.flags & setting::PROVES != 0;
    if proves && flags & entry::PROVEN == 0 {
        return false;
    }
    let since = flood::since(packet.interface, packet.now);
    let reference = if since != 0 { since } else { packet.now };
    let known = level(reference, first_seen) >= rules.settings.known_after;
    if !known && since != 0 {
        // It came with the flood, before that was one.
        // SAFETY: as above; a plain store, of which the last one may win.
        unsafe { (*found).flags = flags | entry::FROM_FLOOD };
    }
    known
}
