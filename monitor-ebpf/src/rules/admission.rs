//! What the rules say of a packet's source: exempt, spoofed, banned, contained or denied, and its class.

use core::ops::ControlFlow;

use monitor_common::{
    bucket::level,
    conversation::tracking::{SECOND, since},
    flow::{BanKey, aggregate, is_mapped},
    names::capacity,
    record::{EventKind, Incident, scope},
    rule::{Settings, leaf, setting},
    sketch,
    verdict::{Reason, Verdict},
};

use super::{Rules, containment, prefixes::leaf};
use crate::{
    accounting, atomic,
    context::{PacketContext, fresh},
    events, maps, own_flows, totals,
};

/// Banned or denied; otherwise the source, its class and whether it is exempt go into the context.
#[inline(always)]
pub fn admit(rules: &Rules, packet: &mut PacketContext) -> ControlFlow<Verdict> {
    let settings = rules.settings;
    let [high, low] = packet.frame.source;
    // A source in the mapped form is the IPv4 address that it names, whichever header carried it.
    let is_v4 = is_mapped(high, low);
    packet.leaf = leaf(rules.generation, high, low, is_v4);
    // Read back, so that the verifier follows what comes after the walk once, however it went.
    let leaf = fresh(&packet.leaf);
    (packet.high, packet.low) = aggregate(high, low, is_v4, settings.v4_bits, settings.v6_bits);
    packet.hash = sketch::source(settings.hash_key, packet.high, packet.low);
    packet.class = leaf::class(leaf, settings.default_class);
    packet.exempt = (leaf & leaf::EXEMPT) / leaf::EXEMPT;
    let watch_only = settings.flags & setting::WATCH_ONLY != 0;
    packet.inside = (leaf & leaf::INSIDE) / leaf::INSIDE;
    packet.lifeline = leaf & leaf::LIFELINE;
    packet.enforce = u32::from(leaf & leaf::EXEMPT == 0 && !watch_only && !is_stale(rules, packet.now));
    if leaf::is_misplaced(leaf, packet.interface) && spoofed(settings, packet) {
        return ControlFlow::Break(Reason::Spoofed.into());
    }
    if leaf & leaf::EXEMPT == 0 {
        if is_any_marked() && is_marked(packet.hash) {
            marked(settings, packet, watch_only)?;
        }
        if leaf & leaf::DENIED != 0 && is_denied(leaf & leaf::DENIAL_MASK, packet) && !watch_only {
            return ControlFlow::Break(Reason::Denied.into());
        }
    }
    ControlFlow::Continue(())
}

/// A source from an interface that it cannot come through; whether it is dropped. It may be exempt, so what it claims does not
/// save it.
///
/// Not inlined: rare.
#[inline(never)]
fn spoofed(settings: &Settings, packet: &mut PacketContext) -> bool {
    if let Some(budget) = maps::BUDGETS.get_ptr_mut(packet.interface) {
        // SAFETY: the pointer is to this CPU's map value.
        let last = unsafe { &mut (*budget).spoofed };
        if *last == 0 || since(packet.now, *last) >= SECOND {
            *last = packet.now;
            let mut event = events::about(EventKind::Spoofed, packet.interface, packet.now);
            (event.high, event.low) = (packet.frame.source[0], packet.frame.source[1]);
            events::event(&event);
        }
    }
    if settings.flags & (setting::DROP_SPOOFED | setting::WATCH_ONLY) == setting::DROP_SPOOFED {
        return true;
    }
    packet.note_would_drop(Reason::Spoofed.into());
    false
}

/// What the ban table and the containments say of a source that the filter lets look.
#[inline(always)]
fn marked(settings: &Settings, packet: &mut PacketContext, watch_only: bool) -> ControlFlow<Verdict> {
    packet.answer = u32::from(own_flows::answers(settings, packet));
    if is_banned(packet) && !watch_only {
        return ControlFlow::Break(Reason::Banned.into());
    }
    containment::judge(BanKey { high: packet.high, low: packet.low }, packet)
}

/// Whether there is any ban or containment at all. Where there is none, the filter's lines stay out of the cache.
#[inline(always)]
pub fn is_any_marked() -> bool {
    maps::BAN_FILTER.get(capacity::BAN_FILTER_WORDS).is_some_and(|any| *any != 0)
}

/// Whether the filter before bans and containments has the bit of a source with this hash.
#[inline(always)]
pub fn is_marked(hash: u64) -> bool {
    let (word, bit) = sketch::banned(hash);
    match maps::BAN_FILTER.get(word) {
        Some(word) => *word & bit != 0,
        None => false,
    }
}

#[inline(always)]
fn is_banned(packet: &PacketContext) -> bool {
    let PacketContext { high, low, now, .. } = *packet;
    let Some(ban) = maps::BANS.get_ptr_mut(&BanKey { high, low }) else {
        return false;
    };
    // SAFETY: the pointer is to a map value, which stays valid for the whole run of the program.
    unsafe {
        if level((*ban).until, now) == 0 && (*ban).until != u64::MAX {
            return false;
        }
        if (*ban).scope == scope::NEW_CONTACTS && fresh(&packet.answer) != 0 {
            return false;
        }
        accounting::count_ban(ban, packet.frame.length);
    }
    true
}

#[inline(always)]
fn is_denied(denial: u32, packet: &PacketContext) -> bool {
    let now = packet.now;
    let Some(denial) = maps::DENIALS.get_ptr_mut(denial) else {
        return false;
    };
    // SAFETY: the pointer is to a map value, which stays valid for the whole run of the program.
    unsafe {
        if (*denial).until != u64::MAX && level((*denial).until, now) == 0 {
            return false;
        }
        atomic::add(&raw mut (*denial).packets, 1);
        atomic::add(&raw mut (*denial).bytes, u64::from(packet.frame.length));
        (*denial).last_seen = now;
    }
    true
}

/// Whether the daemon has been silent for so long that limits only observe, as configured.
#[inline(always)]
fn is_stale(rules: &Rules, now: u64) -> bool {
    if rules.settings.flags & setting::OBSERVE_WHEN_STALE == 0 {
        return false;
    }
    let beat = maps::HEARTBEAT.get(0).map_or(0, |beat| *beat);
    let stale = level(now, beat) > rules.settings.heartbeat_timeout;
    if stale {
        totals::incident(Incident::StaleHeartbeat);
    }
    stale
}
