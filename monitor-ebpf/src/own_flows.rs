//! Flows that this host began: whether a packet answers one.

use monitor_common::{
    own_flow::{self, Contact, Way, Word},
    rule::{Settings, setting},
    sketch,
};

use crate::{atomic, context::PacketContext, maps};

/// A place and the word in it.
pub type Found = Option<(*mut u64, Word)>;

/// The word of the flow with this hash.
#[inline(always)]
pub fn find(hash: u64) -> Found {
    let line = maps::OWN_FLOWS.get_ptr_mut(own_flow::line(hash))?;
    let [first, second] = sketch::places(hash);
    // SAFETY: the pointer is to a map value, and both places lie within a line.
    unsafe {
        let place = &raw mut (*line)[first & 7];
        let found = Word(atomic::load(place));
        if found.is_of(hash) {
            return Some((place, found));
        }
        let place = &raw mut (*line)[second & 7];
        let found = Word(atomic::load(place));
        if found.is_of(hash) { Some((place, found)) } else { None }
    }
}

/// Whether the packet answers a flow that this host began, by its own word or by that of a question to a group.
///
/// Not inlined: asked of few packets, and on its own it is verified with little state.
#[inline(never)]
pub fn answers(settings: &Settings, packet: &PacketContext) -> bool {
    own_flow::may_answer(&packet.frame, settings.ephemeral)
        && takes(own_flow::hash(settings.hash_key, &packet.frame, Way::In), packet)
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
pub fn unnamed(settings: &Settings, packet: &PacketContext) -> Unnamed {
    let key = settings.hash_key;
    let answers = own_flow::may_answer(&packet.frame, settings.ephemeral);
    let reflects =
        settings.flags & setting::WATCH_REFLECTED != 0 && own_flow::may_be_reflected(&packet.frame);
    if !answers && !reflects {
        return Unnamed::Contact;
    }
    let asked = takes(own_flow::hash(key, &packet.frame, Way::In), packet)
        || (reflects && takes(own_flow::group_hash(key, &packet.frame, Way::In), packet));
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
fn takes(hash: u64, packet: &PacketContext) -> bool {
    let Some((place, found)) = find(hash) else {
        return false;
    };
    let Some(next) = found.answered(packet.frame.protocol, packet.now) else {
        return false;
    };
    // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
    unsafe { *place = next.0 };
    true
}

/// Whether this host contacted the source not long ago.
#[inline(always)]
pub fn is_contacted(settings: &Settings, high: u64, low: u64, now: u64) -> bool {
    let hash = sketch::source(settings.hash_key, high, low);
    maps::CONTACTED.get(Contact::place(hash)).is_some_and(|word| Contact(*word).is_of(hash, now))
}
