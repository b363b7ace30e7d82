//! Proof of address: SYN-ACKs leave a word on the way out, and the ACK that answers one proves its source.

use monitor_common::{
    flow::{protocol, tcp},
    proof::{Way, Word, hash, place},
    record::{SourceEntry, entry},
    rule::{FOLLOWS_CONNECTIONS, Settings},
};

use crate::{
    context::{PacketContext, fresh},
    maps,
};

/// Notes what would acknowledge a SYN-ACK of ours.
///
/// Not inlined: one packet of a connection.
#[inline(never)]
pub fn expect(settings: &Settings, packet: &PacketContext) {
    let hash = hash(settings.hash_key, &packet.frame, Way::Out);
    if let Some(word) = maps::PROOFS.get_ptr_mut(place(hash)) {
        // SAFETY: the pointer is to a map value; a plain store of a word, of which the last one may win.
        unsafe { *word = Word::expecting(hash, packet.frame.sequence).0 };
    }
}

/// Whether the packet opens our half of a connection.
#[inline(always)]
pub fn is_syn_ack(packet: &PacketContext) -> bool {
    const BOTH: u8 = tcp::SYN | tcp::ACK;
    packet.frame.protocol == protocol::TCP && packet.frame.tcp_flags & BOTH == BOTH
}

/// Takes the proof that an ACK may be.
///
/// # Safety
/// `found` points to a map value that is valid for the whole run of the program.
#[inline(always)]
pub unsafe fn take(settings: &Settings, packet: &PacketContext, found: *mut SourceEntry) {
    // SAFETY: by contract. What is proven and within its limits has nothing to prove.
    let settled = unsafe { (*found).flags & (entry::PROVEN | entry::EXCEEDING) == entry::PROVEN };
    let acknowledges = packet.frame.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::ACK;
    if !settled && acknowledges {
        answer(settings, packet, found);
    }
}

/// Not inlined: the first packets of a source, and of one over its limit.
#[inline(never)]
fn answer(settings: &Settings, packet: &PacketContext, found: *mut SourceEntry) {
    let hash = hash(settings.hash_key, &packet.frame, Way::In);
    let Some(word) = maps::PROOFS.get_ptr_mut(place(hash)) else {
        return;
    };
    // SAFETY: both pointers are to map values; plain stores, of which the last one may win. A word proves once; where connections
    // are followed, it is taken when the connection counts.
    unsafe {
        if Word(*word).is_proved_by(hash, packet.frame.acknowledged) {
            if fresh(&packet.further) & FOLLOWS_CONNECTIONS == 0 {
                *word = 0;
            }
            let flags = (*found).flags | entry::PROVEN;
            let full = flags >> 8 == 0xff;
            (*found).flags = if full { flags } else { flags + entry::PROOF };
        }
    }
}
