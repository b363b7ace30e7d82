//! Notes the flows that this host begins.

use monitor_common::{
    own_flow::{self, Contact, Way, Word},
    rule::Settings,
    sketch,
};

use crate::{
    context::PacketContext,
    maps,
    own_flows::find,
    rules::{self, Rules, services},
};

/// Notes what a packet that leaves says of its flow. `is_connected` is whether its socket has one peer only.
///
/// Not inlined, for the verifier's sake.
#[inline(never)]
pub fn leave(rules: &Rules, packet: &PacketContext, is_connected: bool) {
    let settings = rules.settings;
    let frame = &packet.frame;
    let hash = own_flow::hash(settings.hash_key, frame, Way::Out);
    if let Some((place, found)) = find(hash) {
        let next = if own_flow::ends(frame) { 0 } else { Word::sent(hash, packet.now).0 };
        if found.0 != next {
            // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
            unsafe { *place = next };
        }
        return;
    }
    if !own_flow::begins(frame, is_connected, settings.ephemeral) || services::is_served(rules, frame) {
        return;
    }
    note(hash, packet);
    if own_flow::to_group(frame) {
        note(own_flow::group_hash(settings.hash_key, frame, Way::Out), packet);
    } else {
        contact(settings, packet);
    }
}

/// Leaves a word, in the place of the two whose flow has been silent for longer.
#[inline(always)]
fn note(hash: u64, packet: &PacketContext) {
    let Some(line) = maps::OWN_FLOWS.get_ptr_mut(own_flow::line(hash)) else {
        return;
    };
    let [first, second] = sketch::places(hash);
    // SAFETY: the pointer is to a map value, and both places lie within a line; a plain store, of which the last one may win.
    unsafe {
        let places = [&raw mut (*line)[first & 7], &raw mut (*line)[second & 7]];
        let ages = [Word(*places[0]).age(packet.now), Word(*places[1]).age(packet.now)];
        let free = *places[0] == 0 || (*places[1] != 0 && ages[0] >= ages[1]);
        *(if free { places[0] } else { places[1] }) = Word::sent(hash, packet.now).0;
    }
}

/// Notes that this host contacted the destination.
#[inline(always)]
fn contact(settings: &Settings, packet: &PacketContext) {
    let source = rules::source_of(settings, packet.frame.destination);
    let hash = sketch::source(settings.hash_key, source[0], source[1]);
    if let Some(place) = maps::CONTACTED.get_ptr_mut(Contact::place(hash)) {
        // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
        unsafe { *place = Contact::made(hash, packet.now).0 };
    }
}
