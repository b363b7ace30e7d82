//! The way of a packet in: it is read, judged by the stages, and leaves by one exit that counts.

use core::ops::ControlFlow;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        xdp_md,
    },
    macros::xdp,
    programs::XdpContext,
};

use monitor_common::{
    parse::{Fragment, Malformed, end},
    rule::{Limit, Settings, setting},
    verdict::{Reason, Verdict},
};

use crate::{
    capture, challenge, clock,
    context::{PacketContext, fresh, hook},
    conversations,
    limiter::{self, connections, fragments, proof, requests, vital},
    maps, reader,
    rules::{self, Rules, admission, services},
    totals,
};

/// Judges one packet.
#[xdp(frags)]
pub fn sluice_ingress(ctx: XdpContext) -> u32 {
    let Some(packet) = PacketContext::open(
        maps::PACKETS.get_ptr_mut(hook::INGRESS),
        rules::interface(reader::ifindex(&ctx)),
    ) else {
        return XDP_PASS;
    };
    packet.kind = reader::parse(&ctx, packet);
    // Read back, so that the verifier follows what comes after the parser once, however it ended.
    let parsed = fresh(&packet.kind);
    packet.verdict = Reason::NotReady as u32;
    if let Some(rules) = Rules::active() {
        packet.now = clock::now(rules.settings.tick);
        if parsed & (end::DEFECTIVE - 1) == end::IP {
            judge(ctx.ctx, rules, packet);
            if fresh(&packet.verdict) <= Reason::Unlimited as u32 && fresh(&packet.further) != 0 {
                connections::judge(ctx.ctx, rules, packet);
                if fresh(&packet.verdict) <= Reason::Unlimited as u32 {
                    requests::judge(ctx.ctx, rules, packet);
                }
            }
            if Verdict::from_number(fresh(&packet.verdict)).is_over_a_limit() {
                vital::spare(rules.settings, packet);
                challenge::judge(ctx.ctx, rules.settings, packet);
            }
            if clock::is_simulated() {
                // A capture holds both ways, and both come in.
                if proof::is_syn_ack(packet) {
                    proof::expect(rules.settings, packet);
                }
                connections::leave(rules.settings, packet, hook::INGRESS);
            }
            if fresh(&packet.kind) == end::DEFECTIVE {
                refuse_defective(rules.settings, packet);
            } else if fresh(&packet.verdict) != Reason::Challenged as u32
                && conversations::is_followed(&rules, Verdict::from_number(fresh(&packet.verdict)))
            {
                follow(ctx.ctx, rules, packet);
            }
        } else {
            packet.verdict = not_ip(&ctx, parsed, packet, &rules).number();
        }
    }
    let verdict = Verdict::from_number(fresh(&packet.verdict));
    totals::count(packet, verdict);
    totals::tell(packet, verdict);
    capture::ingress(ctx.ctx, packet, verdict);
    if !verdict.drops() {
        XDP_PASS
    } else if verdict == Reason::Challenged.into() {
        XDP_TX
    } else {
        XDP_DROP
    }
}

/// Leaves the verdict in the context.
///
/// Not inlined, and nothing is returned: whatever way led through the stages, the caller's state is then one, and the
/// verifier follows what comes after it once.
#[inline(never)]
fn judge(ctx: *mut xdp_md, rules: Rules, packet: &mut PacketContext) {
    let verdict = match limit(&rules, packet) {
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(limit) => limiter::judge(&XdpContext::new(ctx), &rules, limit, packet),
    };
    packet.verdict = verdict.number();
    if fresh(&packet.piece) == Fragment::First as u32 {
        fragments::remember(rules.settings, packet);
    }
}

/// A packet that the rules for its source let pass, and that has something wrong behind its addresses.
#[inline(never)]
fn refuse_defective(settings: &Settings, packet: &mut PacketContext) {
    let kind = fresh(&packet.defect);
    totals::malformed(kind);
    let verdict = Verdict::from_number(fresh(&packet.verdict));
    if verdict.drops() || fresh(&packet.exempt) != 0 {
        return;
    }
    let treatment = Malformed::treatment(kind);
    packet.verdict = Reason::MalformedPassed as u32;
    if settings.flags & treatment.drops == 0 {
        return;
    }
    if fresh(&packet.enforce) != 0 {
        packet.verdict = treatment.reason as u32;
        if fresh(&packet.piece) == Fragment::First as u32 {
            fragments::remember(settings, packet);
        }
    } else {
        packet.note_would_drop(treatment.reason.into());
    }
}

/// The limit that is to judge, unless the rules have the last word already.
#[inline(always)]
fn limit(rules: &Rules, packet: &mut PacketContext) -> ControlFlow<Verdict, &'static Limit> {
    admission::admit(rules, packet)?;
    if fresh(&packet.piece) == Fragment::Later as u32 {
        fragments::resolve(rules.settings, packet)?;
    }
    services::service(rules, packet)
}

#[inline(never)]
fn follow(ctx: *mut xdp_md, rules: Rules, packet: &mut PacketContext) {
    conversations::follow(
        &XdpContext::new(ctx),
        &rules,
        packet,
        Verdict::from_number(fresh(&packet.verdict)),
    );
}

#[inline(always)]
fn not_ip(ctx: &XdpContext, parsed: u32, packet: &mut PacketContext, rules: &Rules) -> Verdict {
    match parsed {
        end::ARP => {
            conversations::arp(ctx, rules, packet);
            Reason::Arp.into()
        }
        end::NON_IP => Reason::NonIp.into(),
        _ => {
            let kind = packet.frame.network_offset;
            totals::malformed(kind);
            let treatment = Malformed::treatment(kind);
            if rules.settings.flags & treatment.drops == 0 {
                return Reason::MalformedPassed.into();
            }
            if rules.settings.flags & setting::PASSES_ALL == 0 {
                return treatment.reason.into();
            }
            packet.note_would_drop(treatment.reason.into());
            Reason::MalformedPassed.into()
        }
    }
}
