//! What leaves through the record ring. A full ring is counted, never waited for.

use aya_ebpf::maps::ring_buf::RingBufEntry;
use monitor_common::{
    conversation::{Conversation, ConversationKey, Record, report},
    packet::Packet,
    record::Incident,
};

use crate::{context::PacketContext, maps, totals::incident};

/// Reports a conversation.
///
/// Not inlined, like all of this file: a record is long, and most packets make none.
#[inline(never)]
pub fn conversation(key: &ConversationKey, value: &Conversation, kind: u32, now: u64) {
    let Some(mut entry) = reserve() else {
        return;
    };
    // SAFETY: the ring's memory is ours until it is submitted, and every field is written.
    unsafe { report::conversation(&mut *entry.as_mut_ptr(), key, value, kind, now) };
    entry.submit(0);
}

/// Reports one packet that belongs to no conversation.
#[inline(always)]
pub fn observation<P: Packet>(bytes: &P, packet: &PacketContext, note: u32) {
    let Some(mut entry) = reserve() else {
        return;
    };
    // SAFETY: as above.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    report::observation(record, bytes, &packet.frame, note, 1, packet.interface as u16, packet.now);
    entry.submit(0);
}

/// Reports the ARP request that stands at the packet's network offset; any other ARP packet is not reported.
#[inline(always)]
pub fn arp<P: Packet>(bytes: &P, packet: &PacketContext) {
    let Some(mut entry) = reserve() else {
        return;
    };
    // SAFETY: as above.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    if report::arp_request(record, bytes, packet.frame.network_offset, 1, packet.interface as u16, packet.now)
    {
        entry.submit(0);
    } else {
        entry.discard(0);
    }
}

#[inline(always)]
fn reserve() -> Option<RingBufEntry<Record>> {
    let entry = maps::RECORDS.reserve::<Record>(0);
    if entry.is_none() {
        incident(Incident::RecordLost);
    }
    entry
}
