//! What follows when a source exceeds its limit: the edge is reported, violations add up, a ban may come of them.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use monitor_common::{
    bucket::level,
    flow::BanKey,
    names::capacity,
    record::{Ban, Count, Event, EventKind, Incident, SourceEntry, entry, origin, scope},
    rule::{BYTES, Limit, Settings},
    sketch,
    verdict::Verdict,
};

use crate::{
    atomic,
    context::{PacketContext, fresh},
    events, maps, own_flows, totals,
};

/// How long a source has to stay within its limit before the end is reported: a second, in clock units.
const QUIET: u64 = 16_000_000_000;
/// Growths of a ban's length that are worked out.
const MOST_STRIKES: u32 = 16;

/// Notes a packet over the limit, and reports the first one.
///
/// # Safety
/// `found` points to a map value that is valid for the whole run of the program.
#[inline(always)]
pub unsafe fn note(packet: &PacketContext, found: *mut SourceEntry, verdict: Verdict) {
    // SAFETY: by contract; plain stores, of which the last one may win.
    unsafe {
        (*found).exceeded_at = packet.now;
        if (*found).flags & entry::EXCEEDING == 0 {
            (*found).flags |= entry::EXCEEDING;
            report(EventKind::ExceedStarted, packet, verdict.number(), 0);
        }
    }
}

/// Counts a packet over the limit under its source: as dropped, or as one that an observing limit would have dropped.
///
/// # Safety
/// As for [`note`].
#[inline(always)]
pub unsafe fn count(packet: &PacketContext, dropped: bool, found: *mut SourceEntry) {
    // SAFETY: by contract; both are atomic.
    unsafe {
        let count = if dropped { &raw mut (*found).dropped } else { &raw mut (*found).would_drop };
        atomic::add(&raw mut (*count).packets, 1);
        atomic::add(&raw mut (*count).bytes, u64::from(packet.units[BYTES]));
    }
}

/// Counts a violation, and bans the source when there were enough of them within the limit's window.
///
/// # Safety
/// As for [`note`].
#[inline(always)]
pub unsafe fn punish(
    ctx: &XdpContext,
    settings: &Settings,
    limit: &Limit,
    packet: &PacketContext,
    found: *mut SourceEntry,
) {
    if limit.ban_after == 0 {
        return;
    }
    // SAFETY: by contract; plain stores, of which the last one may win.
    unsafe {
        if level(packet.now, (*found).violation_start) > limit.ban_within {
            (*found).violation_start = packet.now;
            (*found).violations = 0;
            (*found).flags &= entry::PROOF - 1;
        }
        (*found).violations += 1;
        let proven = limit.ban_unproven != 0 || (*found).flags >> 8 >= entry::PROOFS_FOR_A_BAN;
        if (*found).violations >= limit.ban_after && proven {
            (*found).violations = 0;
            if limit.ban_scope == scope::NEW_CONTACTS as u8 && is_needed(settings, packet) {
                totals::incident(Incident::BanWithheld);
                return;
            }
            ban(settings, limit, packet);
            debug!(ctx, "a source was banned");
        }
    }
}

/// Reports the end of an excess once the source has been within its limit for a while.
///
/// # Safety
/// As for [`note`].
#[inline(always)]
pub unsafe fn subside(packet: &PacketContext, found: *mut SourceEntry) {
    // SAFETY: by contract.
    unsafe {
        if level(packet.now, (*found).exceeded_at) < QUIET {
            return;
        }
        (*found).flags &= !entry::EXCEEDING;
        report(EventKind::ExceedEnded, packet, 0, (*found).dropped.packets);
    }
}

/// Not inlined, like everything rare here: its variables would stand on the stack of the common way.
#[inline(never)]
fn report(kind: EventKind, packet: &PacketContext, reason: u32, value: u64) {
    events::event(&Event {
        kind: kind as u32,
        interface: packet.interface,
        at: packet.now,
        high: packet.high,
        low: packet.low,
        service: packet.service,
        reason,
        value,
    });
}

/// Whether the host depends on the source, or contacted it not long ago.
#[inline(never)]
fn is_needed(settings: &Settings, packet: &PacketContext) -> bool {
    fresh(&packet.lifeline) != 0 || own_flows::is_contacted(settings, packet.high, packet.low, packet.now)
}

#[inline(never)]
fn ban(settings: &Settings, limit: &Limit, packet: &PacketContext) {
    let key = BanKey { high: packet.high, low: packet.low };
    let mut strikes = 0;
    let mut length = limit.ban_first;
    // SAFETY: the map's value is read at once.
    if let Some(before) = unsafe { maps::BANS.get(&key) } {
        strikes = before.strikes;
        let mut strike = 0;
        while strike < MOST_STRIKES && strike < strikes && length < limit.ban_longest {
            length = length.wrapping_mul(u64::from(limit.ban_growth));
            strike += 1;
        }
    }
    if length > limit.ban_longest {
        length = limit.ban_longest;
    }
    let until = packet.now.wrapping_add(length);
    let made = Ban {
        until,
        since: packet.now,
        owned: Count { packets: 0, bytes: 0 },
        others: Count { packets: 0, bytes: 0 },
        strikes: strikes + 1,
        origin: origin::KERNEL,
        scope: u16::from(limit.ban_scope),
        service: packet.service,
        owner: 0,
    };
    if maps::BANS.insert(&key, &made, 0).is_err() {
        totals::incident(Incident::BanTableFull);
        return;
    }
    let (word, bit) = sketch::banned(sketch::source(settings.hash_key, key.high, key.low));
    if let Some(word) = maps::BAN_FILTER.get_ptr_mut(word) {
        // SAFETY: the pointer is to a map value.
        unsafe { atomic::set_bits(word, bit) };
    }
    if let Some(any) = maps::BAN_FILTER.get_ptr_mut(capacity::BAN_FILTER_WORDS) {
        // SAFETY: as above.
        unsafe { *any = 1 };
    }
    totals::incident(Incident::BanMade);
    report(EventKind::Banned, packet, 0, until);
}
