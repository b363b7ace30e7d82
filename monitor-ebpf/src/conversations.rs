//! Conversations of insiders: a packet is counted in its conversation, begins one, or is observed under a budget.
//!
//! Only what passed is counted. What comes from outside never makes an entry, because it can be forged, and neither does
//! a stranger of a flood, nor what a service answers over UDP in a flood; such packets cost one look at a filter and at a
//! budget.

pub mod opening;

use monitor_common::{
    bucket::admit,
    conversation::{
        outcome, presence,
        recognised::carries,
        record_kind, state,
        tracking::{Entering, MILLISECOND, OnWire, Sight, entering, key_of, since},
    },
    flow::protocol,
    record::Incident,
    rule::{BYTES, PACKETS, Settings, setting},
    verdict::Verdict,
};

use crate::{
    atomic,
    context::{PacketContext, fresh},
    flow_records,
    limiter::flood,
    maps,
    reader::{QUOTED_IS_HIGHER, Wire},
    rules::{Rules, prefixes, services},
    totals::incident,
};

use opening::Copied;

/// What [`track`] leaves to do: a [`monitor_common::conversation::note`], or one of these.
mod left {
    pub const NOTHING: u32 = 0;
    pub const ENTER_BY_SOURCE: u32 = 1 << 8;
    pub const ENTER_BY_DESTINATION: u32 = 1 << 9;
    /// Counted; what it speaks is still to be found out.
    pub const RECOGNISE: u32 = 1 << 10;
}

const OUTSIDER: Sight = Sight { source_inside: false, destination_inside: true, track_all: false };

/// Whether a packet that was judged is to be followed. What is banned or denied is known to be unwanted and costs nothing
/// more.
#[inline(always)]
pub fn is_followed(rules: &Rules, verdict: Verdict) -> bool {
    rules.settings.flags & setting::TRACK != 0 && !verdict.is_exclusion()
}

/// Follows a packet that was judged.
///
/// What was dropped for a rate makes no entry and counts in no conversation, but it was sent, so it is observed.
#[inline(always)]
pub fn follow<W: Wire + Copied>(wire: &W, rules: &Rules, packet: &mut PacketContext, verdict: Verdict) {
    if !verdict.drops() && looks(rules.settings, packet) {
        let left = if quotes(packet) && failed(wire, packet) { left::NOTHING } else { track(rules, packet) };
        settle(wire, rules, packet, left);
    } else {
        observe(wire, rules, packet, note(packet));
    }
}

/// Whether the packet may belong to a conversation.
#[inline(always)]
fn looks(settings: &Settings, packet: &PacketContext) -> bool {
    fresh(&packet.inside) != 0
        || settings.flags & setting::TRACK_ALL != 0
        || quotes(packet)
        || is_present(settings, packet)
}

/// Observes an ARP request.
#[inline(always)]
pub fn arp<W: Wire>(wire: &W, rules: &Rules, packet: &mut PacketContext) {
    if rules.settings.flags & setting::TRACK != 0 && spend(rules.settings, packet) {
        wire.observe_arp(packet);
    }
}

/// Whether the packet's conversation may be in the table. Of the two banks, one is always whole.
#[inline(always)]
fn is_present(settings: &Settings, packet: &PacketContext) -> bool {
    let (word, bit) = presence::place(settings.hash_key, &packet.frame);
    maps::PRESENCE.get(word).is_some_and(|banks| (banks[0] | banks[1]) & bit != 0)
}

/// Sets the bit of a conversation in both banks, after it stands in the table: the daemon then misses neither.
#[inline(always)]
fn note_presence(settings: &Settings, packet: &PacketContext) {
    let (word, bit) = presence::place(settings.hash_key, &packet.frame);
    if let Some(banks) = maps::PRESENCE.get_ptr_mut(word) {
        // SAFETY: the pointer is to a map value.
        unsafe {
            atomic::set_bits(&raw mut (*banks)[0], bit);
            atomic::set_bits(&raw mut (*banks)[1], bit);
        }
    }
}

/// An ICMP error may be about a conversation that its own ends do not name.
#[inline(always)]
fn quotes(packet: &PacketContext) -> bool {
    let kind = packet.frame.destination_port >> 8;
    match packet.frame.protocol {
        protocol::ICMP => kind == 3 || kind == 11,
        protocol::ICMPV6 => kind == 1 || kind == 3,
        _ => false,
    }
}

/// How an observed packet is called.
#[inline(always)]
fn note(packet: &PacketContext) -> u32 {
    match entering(&packet.frame, OUTSIDER) {
        Entering::Observe(note) => note,
        Entering::BySource | Entering::ByDestination => left::NOTHING,
    }
}

/// Counts the packet in its conversation; otherwise what is left to do.
///
/// Not inlined: on its own it has its own stack and is verified with little state.
#[inline(never)]
fn track(rules: &Rules, packet: &mut PacketContext) -> u32 {
    let settings = rules.settings;
    if let Some((key, sender_is_higher)) = key_of(&packet.frame) {
        packet.key = key;
        packet.sender_is_higher = u32::from(sender_is_higher);
        if let Some(found) = maps::CONVERSATIONS.get_ptr_mut(&packet.key) {
            // SAFETY: the pointer is to a map value, valid for the whole run; two CPUs that count in one conversation at
            // the same moment may lose a count, which is the price of not locking.
            let found = unsafe { &mut *found };
            let due = found.update(
                &packet.frame,
                on_wire(packet),
                sender_is_higher,
                packet.now,
                settings.active_timeout,
            );
            if packet.cgroup != 0 {
                found.sent_by(packet.cgroup, sender_is_higher);
            }
            if due != 0 {
                flow_records::conversation(&packet.key, found, due, packet.now);
            }
            return if found.is_open_to(&packet.frame, sender_is_higher) {
                left::RECOGNISE
            } else {
                left::NOTHING
            };
        }
    }
    if answers_flood(rules, packet) {
        return left::NOTHING;
    }
    let may_enter = fresh(&packet.stranger) == 0;
    let track_all = settings.flags & setting::TRACK_ALL != 0;
    let frame = &packet.frame;
    let sight = Sight {
        source_inside: may_enter && fresh(&packet.inside) != 0,
        destination_inside: !track_all
            || prefixes::is_inside(rules.generation, frame.destination[0], frame.destination[1], frame.is_v4),
        track_all: may_enter && track_all,
    };
    match entering(&packet.frame, sight) {
        Entering::BySource => left::ENTER_BY_SOURCE,
        Entering::ByDestination => left::ENTER_BY_DESTINATION,
        Entering::Observe(note) => note,
    }
}

/// Whether a guarded service answers over UDP while its interface is flooded. The question may have been forged, so the answer
/// makes no conversation, as the question did not; else a flood fills the table by way of its answers.
#[inline(always)]
fn answers_flood(rules: &Rules, packet: &PacketContext) -> bool {
    packet.cgroup != 0
        && packet.frame.protocol == protocol::UDP
        && flood::since(packet.interface, packet.now) != 0
        && services::is_served(rules, &packet.frame)
}

/// What the packet costs is what it is on the wire.
#[inline(always)]
fn on_wire(packet: &PacketContext) -> OnWire {
    OnWire { packets: fresh(&packet.units[PACKETS]), bytes: fresh(&packet.units[BYTES]) }
}

/// Does what [`track`] left.
#[inline(always)]
fn settle<W: Wire + Copied>(wire: &W, rules: &Rules, packet: &mut PacketContext, left: u32) {
    let mut note_left = left;
    if left >= left::ENTER_BY_SOURCE {
        let mac = if left == left::ENTER_BY_SOURCE { wire.source_mac() } else { 0 };
        if left == left::RECOGNISE || enter(rules.settings, packet, left, mac) {
            if carries(&packet.frame) && wire.copy_lead(packet) {
                opening::recognise(packet, W::HOOK);
            }
            return;
        }
        note_left = note(packet);
    }
    if note_left != left::NOTHING {
        observe(wire, rules, packet, note_left);
    }
}

/// How long the table is taken for full after it was. Only the daemon makes room, once a second, and to ask a full table
/// costs a microsecond: it looks for a free entry on every CPU.
const NO_ROOM: u64 = 10 * MILLISECOND;

/// Puts the conversation into the table; false when there is no room.
#[inline(never)]
fn enter(settings: &Settings, packet: &PacketContext, left: u32, mac: u64) -> bool {
    let Some(budget) = maps::BUDGETS.get_ptr_mut(packet.interface) else {
        return false;
    };
    // SAFETY: the pointer is to this CPU's map value.
    let no_room = unsafe { &mut (*budget).no_room };
    if *no_room != 0 && since(packet.now, *no_room) < NO_ROOM {
        incident(Incident::ConversationTableFull);
        return false;
    }
    let Some(begun) = maps::BEGUN.get_ptr_mut(0) else {
        return false;
    };
    let sender_is_higher = fresh(&packet.sender_is_higher) != 0;
    // SAFETY: the pointer is to this CPU's own scratch value.
    let begun = unsafe { &mut *begun };
    begun.begin(&packet.frame, on_wire(packet), sender_is_higher, left == left::ENTER_BY_SOURCE, packet.now);
    begun.interface = packet.interface as u16;
    begun.mac = mac;
    if packet.cgroup != 0 {
        begun.sent_by(packet.cgroup, sender_is_higher);
    }
    // BPF_NOEXIST: what another CPU has entered meanwhile must stand.
    if maps::CONVERSATIONS.insert(&packet.key, &*begun, 1).is_err() {
        if maps::CONVERSATIONS.get_ptr(&packet.key).is_some() {
            return true;
        }
        *no_room = packet.now;
        incident(Incident::ConversationTableFull);
        return false;
    }
    note_presence(settings, packet);
    incident(Incident::ConversationEntered);
    flow_records::conversation(&packet.key, begun, record_kind::STARTED, packet.now);
    true
}

/// An ICMP error about a conversation in the table; whether there was news in it.
#[inline(always)]
fn failed<W: Wire>(wire: &W, packet: &mut PacketContext) -> bool {
    let failure = wire.failure(packet);
    failure != 0 && fail(packet, failure)
}

#[inline(never)]
fn fail(packet: &mut PacketContext, failure: u32) -> bool {
    let Some(found) = maps::CONVERSATIONS.get_ptr_mut(&packet.key) else {
        return false;
    };
    // SAFETY: as in `track`.
    let found = unsafe { &mut *found };
    let quoted_is_higher = failure & QUOTED_IS_HIGHER != 0;
    if quoted_is_higher != (found.state & state::INITIATOR_IS_HIGHER != 0) {
        return false;
    }
    let verdict = if failure & 0xff == outcome::EXPIRED { outcome::EXPIRED } else { outcome::REFUSED };
    let due = found.fail(verdict, packet.now);
    if due != 0 {
        flow_records::conversation(&packet.key, found, due, packet.now);
    }
    due != 0
}

/// Reports a packet outside conversations, if an end of it is inside and the budget has room.
#[inline(always)]
fn observe<W: Wire>(wire: &W, rules: &Rules, packet: &mut PacketContext, note: u32) {
    if spend(rules.settings, packet) && concerns(rules, packet) {
        wire.observe(packet, note);
    }
}

#[inline(always)]
fn concerns(rules: &Rules, packet: &PacketContext) -> bool {
    let frame = &packet.frame;
    fresh(&packet.inside) != 0
        || rules.settings.flags & setting::TRACK_ALL != 0
        || prefixes::is_inside(rules.generation, frame.destination[0], frame.destination[1], frame.is_v4)
}

/// Takes one observation off this CPU's budget.
#[inline(always)]
fn spend(settings: &Settings, packet: &PacketContext) -> bool {
    let Some(budget) = maps::BUDGETS.get_ptr_mut(packet.interface) else {
        return false;
    };
    let rate = &settings.observations;
    // SAFETY: the pointer is to this CPU's map value.
    match admit(unsafe { (*budget).observations }, packet.now, rate.cost_of_one(), rate.capacity) {
        Some(next) => {
            // SAFETY: as above.
            unsafe { (*budget).observations = next };
            true
        }
        None => {
            // SAFETY: as above.
            unsafe { (*budget).skipped += 1 };
            false
        }
    }
}
