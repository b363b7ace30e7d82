//! The way of a packet out: the containments of the workload that sends it and of its source, then its conversation.

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
    case::{Case, fresh, hook},
    challenge, clock, containment as contained, conversations, own_flow,
    policy::{self, Rules},
    proof, telemetry, window,
};

/// TCX_NEXT: the next program decides.
const NEXT: i32 = -1;
/// TCX_DROP.
const DROP: i32 = 2;

/// Follows and contains what leaves.
#[classifier]
pub fn sluice_egress(ctx: TcContext) -> i32 {
    let Some(case) = Case::open(hook::EGRESS, policy::interface(window::egress_ifindex(&ctx))) else {
        return NEXT;
    };
    let parsed = window::parse_egress(&ctx, case);
    let Some(rules) = Rules::active() else {
        return NEXT;
    };
    case.now = clock::now(rules.settings.tick);
    // SAFETY: the kernel calls the program with a valid context; the helper takes just that.
    case.cgroup = unsafe { bpf_skb_cgroup_id(ctx.skb.skb) };
    if parsed != end::IP {
        if parsed == end::ARP {
            conversations::arp(&ctx, &rules, case);
        }
        return NEXT;
    }
    measure(ctx.skb.skb, case);
    contain(rules, case);
    if conversations::is_followed(&rules, Verdict::from_number(fresh(&case.verdict))) {
        follow(ctx.skb.skb, rules, case);
    }
    let verdict = Verdict::from_number(fresh(&case.verdict));
    if !verdict.drops() {
        if proof::is_syn_ack(case) {
            proof::expect(rules.settings, case);
        }
        challenge::listen(ctx.skb.skb, rules.settings, case);
        own_flow::leave(&rules, case, is_connected(ctx.skb.skb));
        return NEXT;
    }
    telemetry::count(case, verdict);
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
fn measure(ctx: *mut __sk_buff, case: &mut Case) {
    // SAFETY: the kernel calls a classifier with a valid context; volatile, as in `window`.
    let (segments, size) = unsafe {
        ((&raw const (*ctx).gso_segs).read_volatile(), (&raw const (*ctx).gso_size).read_volatile())
    };
    if size != 0 {
        let wire = OnWire::cut(&case.frame, segments, size);
        (case.units[PACKETS], case.units[BYTES]) = (wire.packets, wire.bytes);
    }
}

#[inline(never)]
fn follow(ctx: *mut __sk_buff, rules: Rules, case: &mut Case) {
    conversations::follow(&TcContext::new(ctx), &rules, case, Verdict::from_number(fresh(&case.verdict)));
}

/// Leaves the verdict in the case. Not inlined for the verifier's sake, as on ingress.
#[inline(never)]
fn contain(rules: Rules, case: &mut Case) {
    case.verdict = match containments(&rules, case) {
        ControlFlow::Break(verdict) => verdict.number(),
        ControlFlow::Continue(()) => Reason::Accepted as u32,
    };
}

/// Charges the containments of the sending workload and of the source.
#[inline(always)]
fn containments(rules: &Rules, case: &mut Case) -> ControlFlow<Verdict> {
    let settings = rules.settings;
    let [high, low] = case.frame.source;
    let is_v4 = case.frame.is_v4;
    let leaf = policy::leaf(rules.generation, high, low, is_v4);
    (case.high, case.low) = aggregate(high, low, is_v4, settings.v4_bits, settings.v6_bits);
    // What a local socket sends is inside whatever address it uses.
    case.inside = u32::from(leaf & leaf::INSIDE != 0 || case.cgroup != 0);
    case.enforce = u32::from(leaf & leaf::EXEMPT == 0 && settings.flags & setting::WATCH_ONLY == 0);
    if !policy::is_any_marked() {
        return ControlFlow::Continue(());
    }
    let is_marked = |of: BanKey| policy::is_marked(sketch::source(settings.hash_key, of.high, of.low));
    let workload = containment::workload(case.cgroup);
    if case.cgroup != 0 && is_marked(workload) {
        contained::judge(workload, case)?;
    }
    let source = BanKey { high: case.high, low: case.low };
    if is_marked(source) {
        contained::judge(source, case)?;
    }
    ControlFlow::Continue(())
}
