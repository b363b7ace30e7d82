//! Conversations of insiders: a packet is counted in its conversation, begins one, or is observed under a budget.
//!
//! Only what passed is counted. What comes from outside never makes an entry, because it can be forged, and neither does
//! a stranger of a flood, nor what a service answers over UDP in a flood; such packets cost one look at a filter and at a
//! budget.

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
    case::{Case, fresh},
    flood, maps,
    opening::{self, Copied},
    policy::{self, Rules},
    records,
    telemetry::incident,
    window::Wire,
    word,
};

/// What [`track`] leaves to do: a [`monitor_common::conversation::note`], or one of these.
mod left {
    pub const NOTHING: u32 = 0;
    pub const ENTER_BY_SOURCE: u32 = 1 << 8;
    pub const ENTER_BY_DESTINATION: u32 = 1 << 9;
    /// Counted; what it speaks is still to be found out.
    pub const RECOGNISE: u32 = 1 << 10;
}

/// In the answer of [`Wire::failure`]: the quoted packet's sender is the higher end of the key.
pub const QUOTED_IS_HIGHER: u32 = 1 << 8;

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
pub fn follow<W: Wire + Copied>(wire: &W, rules: &Rules, case: &mut Case, verdict: Verdict) {
    if !verdict.drops() && looks(rules.settings, case) {
        let left = if quotes(case) && failed(wire, case) { left::NOTHING } else { track(rules, case) };
        settle(wire, rules, case, left);
    } else {
        observe(wire, rules, case, note(case));
    }
}

/// Whether the packet may belong to a conversation.
#[inline(always)]
fn looks(settings: &Settings, case: &Case) -> bool {
    fresh(&case.inside) != 0
        || settings.flags & setting::TRACK_ALL != 0
        || quotes(case)
        || is_present(settings, case)
}

/// Observes an ARP request.
#[inline(always)]
pub fn arp<W: Wire>(wire: &W, rules: &Rules, case: &mut Case) {
    if rules.settings.flags & setting::TRACK != 0 && spend(rules.settings, case) {
        wire.observe_arp(case);
    }
}

/// Whether the packet's conversation may be in the table. Of the two banks, one is always whole.
#[inline(always)]
fn is_present(settings: &Settings, case: &Case) -> bool {
    let (word, bit) = presence::place(settings.hash_key, &case.frame);
    maps::PRESENCE.get(word).is_some_and(|banks| (banks[0] | banks[1]) & bit != 0)
}

/// Sets the bit of a conversation in both banks, after it stands in the table: the daemon then misses neither.
#[inline(always)]
fn note_presence(settings: &Settings, case: &Case) {
    let (word, bit) = presence::place(settings.hash_key, &case.frame);
    if let Some(banks) = maps::PRESENCE.get_ptr_mut(word) {
        // SAFETY: the pointer is to a map value.
        unsafe {
            word::set_bits(&raw mut (*banks)[0], bit);
            word::set_bits(&raw mut (*banks)[1], bit);
        }
    }
}

/// An ICMP error may be about a conversation that its own ends do not name.
#[inline(always)]
fn quotes(case: &Case) -> bool {
    let kind = case.frame.destination_port >> 8;
    match case.frame.protocol {
        protocol::ICMP => kind == 3 || kind == 11,
        protocol::ICMPV6 => kind == 1 || kind == 3,
        _ => false,
    }
}

/// How an observed packet is called.
#[inline(always)]
fn note(case: &Case) -> u32 {
    match entering(&case.frame, OUTSIDER) {
        Entering::Observe(note) => note,
        Entering::BySource | Entering::ByDestination => left::NOTHING,
    }
}

/// Counts the packet in its conversation; otherwise what is left to do.
///
/// Not inlined: on its own it has its own stack and is verified with little state.
#[inline(never)]
fn track(rules: &Rules, case: &mut Case) -> u32 {
    let settings = rules.settings;
    if let Some((key, sender_is_higher)) = key_of(&case.frame) {
        case.key = key;
        case.sender_is_higher = u32::from(sender_is_higher);
        if let Some(found) = maps::CONVERSATIONS.get_ptr_mut(&case.key) {
            // SAFETY: the pointer is to a map value, valid for the whole run; two CPUs that count in one conversation at
            // the same moment may lose a count, which is the price of not locking.
            let found = unsafe { &mut *found };
            let due =
                found.update(&case.frame, on_wire(case), sender_is_higher, case.now, settings.active_timeout);
            if case.cgroup != 0 {
                found.sent_by(case.cgroup, sender_is_higher);
            }
            if due != 0 {
                records::conversation(&case.key, found, due, case.now);
            }
            return if found.is_open_to(&case.frame, sender_is_higher) {
                left::RECOGNISE
            } else {
                left::NOTHING
            };
        }
    }
    if answers_flood(rules, case) {
        return left::NOTHING;
    }
    let may_enter = fresh(&case.stranger) == 0;
    let track_all = settings.flags & setting::TRACK_ALL != 0;
    let frame = &case.frame;
    let sight = Sight {
        source_inside: may_enter && fresh(&case.inside) != 0,
        destination_inside: !track_all
            || policy::is_inside(rules.generation, frame.destination[0], frame.destination[1], frame.is_v4),
        track_all: may_enter && track_all,
    };
    match entering(&case.frame, sight) {
        Entering::BySource => left::ENTER_BY_SOURCE,
        Entering::ByDestination => left::ENTER_BY_DESTINATION,
        Entering::Observe(note) => note,
    }
}

/// Whether a guarded service answers over UDP while its interface is flooded. The question may have been forged, so the answer
/// makes no conversation, as the question did not; else a flood fills the table by way of its answers.
#[inline(always)]
fn answers_flood(rules: &Rules, case: &Case) -> bool {
    case.cgroup != 0
        && case.frame.protocol == protocol::UDP
        && flood::since(case.interface, case.now) != 0
        && policy::is_served(rules, &case.frame)
}

/// What the packet costs is what it is on the wire.
#[inline(always)]
fn on_wire(case: &Case) -> OnWire {
    OnWire { packets: fresh(&case.units[PACKETS]), bytes: fresh(&case.units[BYTES]) }
}

/// Does what [`track`] left.
#[inline(always)]
fn settle<W: Wire + Copied>(wire: &W, rules: &Rules, case: &mut Case, left: u32) {
    let mut note_left = left;
    if left >= left::ENTER_BY_SOURCE {
        let mac = if left == left::ENTER_BY_SOURCE { wire.source_mac() } else { 0 };
        if left == left::RECOGNISE || enter(rules.settings, case, left, mac) {
            if carries(&case.frame) && wire.copy_lead(case) {
                opening::recognise(case, W::HOOK);
            }
            return;
        }
        note_left = note(case);
    }
    if note_left != left::NOTHING {
        observe(wire, rules, case, note_left);
    }
}

/// How long the table is taken for full after it was. Only the daemon makes room, once a second, and to ask a full table
/// costs a microsecond: it looks for a free entry on every CPU.
const NO_ROOM: u64 = 10 * MILLISECOND;

/// Puts the conversation into the table; false when there is no room.
#[inline(never)]
fn enter(settings: &Settings, case: &Case, left: u32, mac: u64) -> bool {
    let Some(budget) = maps::BUDGETS.get_ptr_mut(case.interface) else {
        return false;
    };
    // SAFETY: the pointer is to this CPU's map value.
    let no_room = unsafe { &mut (*budget).no_room };
    if *no_room != 0 && since(case.now, *no_room) < NO_ROOM {
        incident(Incident::ConversationTableFull);
        return false;
    }
    let Some(begun) = maps::BEGUN.get_ptr_mut(0) else {
        return false;
    };
    let sender_is_higher = fresh(&case.sender_is_higher) != 0;
    // SAFETY: the pointer is to this CPU's own scratch value.
    let begun = unsafe { &mut *begun };
    begun.begin(&case.frame, on_wire(case), sender_is_higher, left == left::ENTER_BY_SOURCE, case.now);
    begun.interface = case.interface as u16;
    begun.mac = mac;
    if case.cgroup != 0 {
        begun.sent_by(case.cgroup, sender_is_higher);
    }
    // BPF_NOEXIST: what another CPU has entered meanwhile must stand.
    if maps::CONVERSATIONS.insert(&case.key, &*begun, 1).is_err() {
        if maps::CONVERSATIONS.get_ptr(&case.key).is_some() {
            return true;
        }
        *no_room = case.now;
        incident(Incident::ConversationTableFull);
        return false;
    }
    note_presence(settings, case);
    incident(Incident::ConversationEntered);
    records::conversation(&case.key, begun, record_kind::STARTED, case.now);
    true
}

/// An ICMP error about a conversation in the table; whether there was news in it.
#[inline(always)]
fn failed<W: Wire>(wire: &W, case: &mut Case) -> bool {
    let failure = wire.failure(case);
    failure != 0 && fail(case, failure)
}

#[inline(never)]
fn fail(case: &mut Case, failure: u32) -> bool {
    let Some(found) = maps::CONVERSATIONS.get_ptr_mut(&case.key) else {
        return false;
    };
    // SAFETY: as in `track`.
    let found = unsafe { &mut *found };
    let quoted_is_higher = failure & QUOTED_IS_HIGHER != 0;
    if quoted_is_higher != (found.state & state::INITIATOR_IS_HIGHER != 0) {
        return false;
    }
    let verdict = if failure & 0xff == outcome::EXPIRED { outcome::EXPIRED } else { outcome::REFUSED };
    let due = found.fail(verdict, case.now);
    if due != 0 {
        records::conversation(&case.key, found, due, case.now);
    }
    due != 0
}

/// Reports a packet outside conversations, if an end of it is inside and the budget has room.
#[inline(always)]
fn observe<W: Wire>(wire: &W, rules: &Rules, case: &mut Case, note: u32) {
    if spend(rules.settings, case) && concerns(rules, case) {
        wire.observe(case, note);
    }
}

#[inline(always)]
fn concerns(rules: &Rules, case: &Case) -> bool {
    let frame = &case.frame;
    fresh(&case.inside) != 0
        || rules.settings.flags & setting::TRACK_ALL != 0
        || policy::is_inside(rules.generation, frame.destination[0], frame.destination[1], frame.is_v4)
}

/// Takes one observation off this CPU's budget.
#[inline(always)]
fn spend(settings: &Settings, case: &Case) -> bool {
    let Some(budget) = maps::BUDGETS.get_ptr_mut(case.interface) else {
        return false;
    };
    let rate = &settings.observations;
    // SAFETY: the pointer is to this CPU's map value.
    match admit(unsafe { (*budget).observations }, case.now, rate.cost_of_one(), rate.capacity) {
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
