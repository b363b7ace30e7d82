//! The way of a packet out: the containments of the workload that sends it and of its source, then its conversation.

mod own_flows;

use core::ops::ControlFlow;

use aya_ebpf::{
    bindings::__sk_buff, helpers::generated::bpf_skb_cgroup_id, macros::classifier, programs::TcContext,
};
use monitor_common::{
    containment,
    conversation::tracking::OnWire,
    flow::{BanKey, aggregate},
    parse::end,
    rule::{BYTES, PACKETS, leaf, setting},
    sketch,
    verdict::{Reason, Verdict},
};

use crate::{
    capture, challenge, clock,
    context::{PacketContext, fresh, hook},
    conversations,
    limiter::{connections, proof},
    maps, reader,
    rules::{self, Rules, admission, containment as contained, prefixes},
    totals,
};

/// TCX_NEXT: the next program decides.
const NEXT: i32 = -1;
/// TCX_DROP.
const DROP: i32 = 2;

/// Follows and contains what leaves.
#[classifier]
pub fn sluice_egress(ctx: TcContext) -> i32 {
    let Some(packet) = PacketContext::open(
        maps::PACKETS.get_ptr_mut(hook::EGRESS),
        rules::interface(reader::egress_ifindex(&ctx)),
    ) else {
        return NEXT;
    };
    let parsed = reader::parse_egress(&ctx, packet);
    let Some(rules) = Rules::active() else {
        return NEXT;
    };
    packet.now = clock::now(rules.settings.tick);
    // SAFETY: the kernel calls the program with a valid context; the helper takes just that.
    packet.cgroup = unsafe { bpf_skb_cgroup_id(ctx.skb.skb) };
    if parsed != end::IP {
        if parsed == end::ARP {
            conversations::arp(&ctx, &rules, packet);
        }
        return NEXT;
    }
    measure(ctx.skb.skb, packet);
    contain(rules, packet);
    if conversations::is_followed(&rules, Verdict::from_number(fresh(&packet.verdict))) {
        follow(ctx.skb.skb, rules, packet);
    }
    let verdict = Verdict::from_number(fresh(&packet.verdict));
    capture::egress(ctx.skb.skb, packet, verdict);
    if !verdict.drops() {
        if proof::is_syn_ack(packet) {
            proof::expect(rules.settings, packet);
        }
        connections::leave(rules.settings, packet, hook::EGRESS);
        challenge::listen(ctx.skb.skb, rules.settings, packet);
        own_flows::leave(&rules, packet, is_connected(ctx.skb.skb));
        return NEXT;
    }
    totals::count(packet, verdict);
    DROP
}

/// Whether the sending socket is connected to one peer.
#[inline(always)]
fn is_connected(ctx: *mut __sk_buff) -> bool {
    // SAFETY: the kernel calls a classifier with a valid context, and the socket's pointer is null or valid; volatile, so that
    // each stays the one load of its width that the verifier knows.
    unsafe {
        let socket = (&raw const (*ctx).__bindgen_anon_2.sk).read_volatile();
        !socket.is_null() && (&raw const (*socket).dst_port).read_volatile() != 0
    }
}

/// What leaves as one large segment costs what it becomes on the wire. Behind a network card nobody can see it, and
/// containments and conversations mean the wire.
#[inline(always)]
fn measure(ctx: *mut __sk_buff, packet: &mut PacketContext) {
    // SAFETY: the kernel calls a classifier with a valid context; volatile, as in `window`.
    let (segments, size) = unsafe {
        ((&raw const (*ctx).gso_segs).read_volatile(), (&raw const (*ctx).gso_size).read_volatile())
    };
    if size != 0 {
        let wire = OnWire::cut(&packet.frame, segments, size);
        (packet.units[PACKETS], packet.units[BYTES]) = (wire.packets, wire.bytes);
    }
}

#[inline(never)]
fn follow(ctx: *mut __sk_buff, rules: Rules, packet: &mut PacketContext) {
    conversations::follow(&TcContext::new(ctx), &rules, packet, Verdict::from_number(fresh(&packet.verdict)));
}

/// Leaves the verdict in the context. Not inlined for the verifier's sake, as on ingress.
#[inline(never)]
fn contain(rules: Rules, packet: &mut PacketContext) {
    packet.verdict = match containments(&rules, packet) {
        ControlFlow::Break(verdict) => verdict.number(),
        ControlFlow::Continue(()) => Reason::Accepted as u32,
    };
}

/// Charges the containments of the sending workload and of the source.
#[inline(always)]
fn containments(rules: &Rules, packet: &mut PacketContext) -> ControlFlow<Verdict> {
    let settings = rules.settings;
    let [high, low] = packet.frame.source;
    let is_v4 = packet.frame.is_v4;
    let leaf = prefixes::leaf(rules.generation, high, low, is_v4);
    (packet.high, packet.low) = aggregate(high, low, is_v4, settings.v4_bits, settings.v6_bits);
    // What a local socket sends is inside whatever address it uses.
    packet.inside = u32::from(leaf & leaf::INSIDE != 0 || packet.cgroup != 0);
    packet.enforce = u32::from(leaf & leaf::EXEMPT == 0 && settings.flags & setting::PASSES_ALL == 0);
    if !admission::is_any_marked() {
        return ControlFlow::Continue(());
    }
    let is_marked = |of: BanKey| admission::is_marked(sketch::source(settings.hash_key, of.high, of.low));
    let workload = containment::workload(packet.cgroup);
    if packet.cgroup != 0 && is_marked(workload) {
        contained::judge(workload, packet)?;
    }
    let source = BanKey { high: packet.high, low: packet.low };
    if is_marked(source) {
        contained::judge(source, packet)?;
    }
    ControlFlow::Continue(())
}
