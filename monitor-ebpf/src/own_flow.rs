//! Flows that this host began: egress notes them, and ingress asks whether a packet answers one.

use monitor_common::{
    own_flow::{self, Contact, Way, Word},
    rule::{Settings, setting},
    sketch,
};

use crate::{
    case::Case,
    maps,
    policy::{self, Rules},
    word,
};

/// A place and the word in it.
type Found = Option<(*mut u64, Word)>;

/// The word of the flow with this hash.
#[inline(always)]
fn find(hash: u64) -> Found {
    let line = maps::OWN_FLOWS.get_ptr_mut(own_flow::line(hash))?;
    let [first, second] = sketch::places(hash);
    // SAFETY: the pointer is to a map value, and both places lie within a line.
    unsafe {
        let place = &raw mut (*line)[first & 7];
        let found = Word(word::load(place));
        if found.is_of(hash) {
            return Some((place, found));
        }
        let place = &raw mut (*line)[second & 7];
        let found = Word(word::load(place));
        if found.is_of(hash) { Some((place, found)) } else { None }
    }
}

/// Whether the packet answers a flow that this host began, by its own word or by that of a question to a group.
///
/// Not inlined: asked of few packets, and on its own it is verified with little state.
#[inline(never)]
pub fn answers(settings: &Settings, case: &Case) -> bool {
    own_flow::may_answer(&case.frame, settings.ephemeral)
        && takes(own_flow::hash(settings.hash_key, &case.frame, Way::In), case)
}

/// What a packet for no service is to this host.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unnamed {
    /// A contact like any other.
    Contact = 0,
    /// It answers a flow that this host began.
    Answer = 1,
    /// From a port of reflectors, and nothing was asked of it.
    Reflected = 2,
}

/// What a packet for no service is.
#[inline(always)]
pub fn unnamed(settings: &Settings, case: &Case) -> Unnamed {
    let key = settings.hash_key;
    let answers = own_flow::may_answer(&case.frame, settings.ephemeral);
    let reflects = settings.flags & setting::WATCH_REFLECTED != 0 && own_flow::may_be_reflected(&case.frame);
    if !answers && !reflects {
        return Unnamed::Contact;
    }
    let asked = takes(own_flow::hash(key, &case.frame, Way::In), case)
        || (reflects && takes(own_flow::group_hash(key, &case.frame, Way::In), case));
    if asked && answers {
        Unnamed::Answer
    } else if !asked && reflects {
        Unnamed::Reflected
    } else {
        Unnamed::Contact
    }
}

/// Counts an answer under the word with this hash; false when there is none that holds.
#[inline(always)]
fn takes(hash: u64, case: &Case) -> bool {
    let Some((place, found)) = find(hash) else {
        return false;
    };
    let Some(next) = found.answered(case.frame.protocol, case.now) else {
        return false;
    };
    // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
    unsafe { *place = next.0 };
    true
}

/// Notes what a packet that leaves says of its flow. `is_connected` is whether its socket has one peer only.
///
/// Not inlined, for the verifier's sake.
#[inline(never)]
pub fn leave(rules: &Rules, case: &Case, is_connected: bool) {
    let settings = rules.settings;
    let frame = &case.frame;
    let hash = own_flow::hash(settings.hash_key, frame, Way::Out);
    if let Some((place, found)) = find(hash) {
        let next = if own_flow::ends(frame) { 0 } else { Word::sent(hash, case.now).0 };
        if found.0 != next {
            // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
            unsafe { *place = next };
        }
        return;
    }
    if !own_flow::begins(frame, is_connected, settings.ephemeral) || policy::is_served(rules, frame) {
        return;
    }
    note(hash, case);
    if own_flow::to_group(frame) {
        note(own_flow::group_hash(settings.hash_key, frame, Way::Out), case);
    } else {
        contact(settings, case);
    }
}

/// Leaves a word, in the place of the two whose flow has been silent for longer.
#[inline(always)]
fn note(hash: u64, case: &Case) {
    let Some(line) = maps::OWN_FLOWS.get_ptr_mut(own_flow::line(hash)) else {
        return;
    };
    let [first, second] = sketch::places(hash);
    // SAFETY: the pointer is to a map value, and both places lie within a line; a plain store, of which the last one may win.
    unsafe {
        let places = [&raw mut (*line)[first & 7], &raw mut (*line)[second & 7]];
        let ages = [Word(*places[0]).age(case.now), Word(*places[1]).age(case.now)];
        let free = *places[0] == 0 || (*places[1] != 0 && ages[0] >= ages[1]);
        *(if free { places[0] } else { places[1] }) = Word::sent(hash, case.now).0;
    }
}

/// Notes that this host contacted the destination.
#[inline(always)]
fn contact(settings: &Settings, case: &Case) {
    let source = policy::source_of(settings, case.frame.destination);
    let hash = sketch::source(settings.hash_key, source[0], source[1]);
    if let Some(place) = maps::CONTACTED.get_ptr_mut(Contact::place(hash)) {
        // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
        unsafe { *place = Contact::made(hash, case.now).0 };
    }
}

/// Whether this host contacted the source not long ago.
#[inline(always)]
pub fn is_contacted(settings: &Settings, high: u64, low: u64, now: u64) -> bool {
    let hash = sketch::source(settings.hash_key, high, low);
    maps::CONTACTED.get(Contact::place(hash)).is_some_and(|word| Contact(*word).is_of(hash, now))
}
