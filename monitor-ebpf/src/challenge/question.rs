//! DNS over UDP: an unproven source has to ask over TCP, where a cookie proves its address.
//!
//! In: datagrams to port 53 that a limit refuses. Out: the answer in place of the packet, no longer than that was.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_csum_diff, bpf_xdp_store_bytes},
};
use monitor_common::{
    challenge::{self, IP, question},
    flow::protocol,
    verdict::Reason,
};

use super::{IPV4_BYTES, IPV6_BYTES, Wire, anchor, cut, is_proven, load, turn_hardware};
use crate::{
    context::{PacketContext, fresh, hook},
    maps,
    scratch::Reply,
};

/// Hops of an answer: what Linux gives its own.
const HOPS: u8 = 64;

/// Answers a question, if it is one.
///
/// Not inlined, here and below: each has a stack of its own.
#[inline(never)]
pub fn ask(ctx: *mut xdp_md, packet: &mut PacketContext) {
    let Some(reply) = maps::REPLY.get_ptr_mut(hook::INGRESS) else {
        return;
    };
    // SAFETY: the value is this CPU's own.
    let reply = unsafe { &mut *reply };
    if is_proven(packet) || !read(ctx, packet, reply) {
        return;
    }
    walk(reply);
    let end = fresh(&reply.end);
    if end == 0 || end > fresh(&reply.length) {
        return;
    }
    question::truncate(&mut reply.message, end);
    if sum(packet, reply) && send(ctx, packet, reply) {
        packet.verdict = Reason::Challenged as u32;
    }
}

/// Reads the headers and as much of the message as a question may be long.
#[inline(never)]
fn read(ctx: *mut xdp_md, packet: &PacketContext, reply: &mut Reply) -> bool {
    let (wire, from) = (Wire::In(ctx), packet.frame.transport_offset);
    let message = (&raw mut reply.message).cast::<u8>();
    if !load(wire, from, message, u64::from(question::NAME)) || !question::is_question(&reply.message) {
        return false;
    }
    let whole = question::length(&reply.message);
    let length = anchor(u64::from(if whole < question::LONGEST { whole } else { question::LONGEST }));
    if length > u64::from(question::LONGEST) {
        return false;
    }
    let length = anchor(length);
    if length <= u64::from(question::NAME) {
        return false;
    }
    reply.length = length as u32;
    let ip = (&raw mut reply.headers.ip).cast::<u8>();
    load(wire, from, message, length)
        && if packet.frame.is_v4 {
            // SAFETY: its second half.
            load(wire, from - IPV4_BYTES, unsafe { ip.add(IP / 2) }, u64::from(IPV4_BYTES))
        } else {
            load(wire, from - IPV6_BYTES, ip, u64::from(IPV6_BYTES))
        }
}

#[inline(never)]
fn walk(reply: &mut Reply) {
    reply.end = question::NAME;
    let mut turn = 0;
    while turn < question::MOST_LABELS && question::step(&reply.message, &mut reply.end) {
        turn += 1;
    }
}

/// The IP header and the checksum over it and the message.
#[inline(never)]
fn sum(packet: &PacketContext, reply: &mut Reply) -> bool {
    let end = fresh(&reply.end);
    let pseudo =
        challenge::turn(&mut reply.headers.ip, packet.frame.is_v4, end, u32::from(protocol::UDP), HOPS);
    let words = anchor(u64::from(end + 3 & !3));
    if words > u64::from(question::LONGEST + 3) {
        return false;
    }
    let message = (&raw mut reply.message).cast::<u32>();
    // SAFETY: the helper reads the message, which is in a map value; the verifier checks the length.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, message, words as u32, 0) };
    question::seal(&mut reply.message, pseudo, sum as u32);
    true
}

/// Puts the answer into the question's place.
#[inline(never)]
fn send(ctx: *mut xdp_md, packet: &PacketContext, reply: &mut Reply) -> bool {
    if !turn_hardware(ctx, reply) {
        return false;
    }
    let end = fresh(&reply.end);
    let (network, transport) = (packet.frame.network_offset, packet.frame.transport_offset);
    let ip = (&raw mut reply.headers.ip).cast::<u8>();
    let message = (&raw mut reply.message).cast::<u8>();
    // SAFETY: the helpers check offsets and lengths against the whole packet, and the verifier checks the room.
    let stored = unsafe {
        let of_ip = if packet.frame.is_v4 {
            bpf_xdp_store_bytes(ctx, network, ip.add(IP / 2).cast(), IPV4_BYTES)
        } else {
            bpf_xdp_store_bytes(ctx, network, ip.cast(), IPV6_BYTES)
        };
        // Behind these the answer is what the question was. Linux 6.1 takes only a size that cannot be zero.
        of_ip | bpf_xdp_store_bytes(ctx, transport, message.cast(), question::NAME)
    };
    stored == 0 && cut(ctx, packet, transport + end)
}
