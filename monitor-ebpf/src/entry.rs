//! Entry points but for egress: the way of a packet in, which makes a window, runs the stages and leaves by one exit that
//! counts; the kernel's clocks for calibration; the parser alone for tests.

use core::ops::ControlFlow;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        xdp_md,
    },
    helpers::generated::bpf_ktime_get_ns,
    macros::xdp,
    programs::XdpContext,
};
use monitor_common::{
    parse::{End, Fragment, Malformed, end},
    record::{ClockReading, ParsedRecord},
    rule::{Limit, Settings, setting},
    verdict::{Reason, Verdict},
};

use crate::{
    case::{Case, fresh, hook},
    challenge, clock, conversations, fragments, limiter, maps,
    policy::{self, Rules},
    proof, requests, telemetry, vital, window,
};

/// Judges one packet.
#[xdp(frags)]
pub fn sluice_ingress(ctx: XdpContext) -> u32 {
    let Some(case) = Case::open(hook::INGRESS, policy::interface(window::ifindex(&ctx))) else {
        return XDP_PASS;
    };
    case.kind = window::parse(&ctx, case);
    // Read back, so that the verifier follows what comes after the parser once, however it ended.
    let parsed = fresh(&case.kind);
    case.verdict = Reason::NotReady as u32;
    if let Some(rules) = Rules::active() {
        case.now = clock::now(rules.settings.tick);
        if parsed & (end::DEFECTIVE - 1) == end::IP {
            judge(ctx.ctx, rules, case);
            if fresh(&case.verdict) <= Reason::Unlimited as u32 && fresh(&case.requests) != 0 {
                requests::judge(ctx.ctx, &rules, case);
            }
            if Verdict::from_number(fresh(&case.verdict)).is_over_a_limit() {
                vital::spare(rules.settings, case);
                challenge::judge(ctx.ctx, rules.settings, case);
            }
            if clock::is_simulated() && proof::is_syn_ack(case) {
                // A capture holds both ways, and both come in.
                proof::expect(rules.settings, case);
            }
            if fresh(&case.kind) == end::DEFECTIVE {
                refuse_defective(rules.settings, case);
            } else if fresh(&case.verdict) != Reason::Challenged as u32
                && conversations::is_followed(&rules, Verdict::from_number(fresh(&case.verdict)))
            {
                follow(ctx.ctx, rules, case);
            }
        } else {
            case.verdict = not_ip(&ctx, parsed, case, &rules).number();
        }
    }
    let verdict = Verdict::from_number(fresh(&case.verdict));
    telemetry::count(case, verdict);
    telemetry::tell(case, verdict);
    if !verdict.drops() {
        XDP_PASS
    } else if verdict == Reason::Challenged.into() {
        XDP_TX
    } else {
        XDP_DROP
    }
}

/// Leaves the verdict in the case.
///
/// Not inlined, and nothing is returned: whatever way led through the stages, the caller's state is then one, and the
/// verifier follows what comes after it once.
#[inline(never)]
fn judge(ctx: *mut xdp_md, rules: Rules, case: &mut Case) {
    let verdict = match limit(&rules, case) {
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(limit) => limiter::judge(&XdpContext::new(ctx), &rules, limit, case),
    };
    case.verdict = verdict.number();
    if fresh(&case.piece) == Fragment::First as u32 {
        fragments::remember(rules.settings, case);
    }
}

/// A packet that the rules for its source let pass, and that has something wrong behind its addresses.
#[inline(never)]
fn refuse_defective(settings: &Settings, case: &mut Case) {
    let kind = fresh(&case.defect);
    telemetry::malformed(kind);
    let verdict = Verdict::from_number(fresh(&case.verdict));
    if verdict.drops() || fresh(&case.exempt) != 0 {
        return;
    }
    let treatment = Malformed::treatment(kind);
    case.verdict = Reason::MalformedPassed as u32;
    if settings.flags & treatment.drops == 0 {
        return;
    }
    if fresh(&case.enforce) != 0 {
        case.verdict = treatment.reason as u32;
        if fresh(&case.piece) == Fragment::First as u32 {
            fragments::remember(settings, case);
        }
    } else {
        case.note_would_drop(treatment.reason.into());
    }
}

/// The limit that is to judge, unless the rules have the last word already.
#[inline(always)]
fn limit(rules: &Rules, case: &mut Case) -> ControlFlow<Verdict, &'static Limit> {
    policy::admit(rules, case)?;
    if fresh(&case.piece) == Fragment::Later as u32 {
        fragments::resolve(rules.settings, case)?;
    }
    policy::service(rules, case)
}

#[inline(never)]
fn follow(ctx: *mut xdp_md, rules: Rules, case: &mut Case) {
    conversations::follow(&XdpContext::new(ctx), &rules, case, Verdict::from_number(fresh(&case.verdict)));
}

#[inline(always)]
fn not_ip(ctx: &XdpContext, parsed: u32, case: &mut Case, rules: &Rules) -> Verdict {
    match parsed {
        end::ARP => {
            conversations::arp(ctx, rules, case);
            Reason::Arp.into()
        }
        end::NON_IP => Reason::NonIp.into(),
        _ => {
            let kind = case.frame.network_offset;
            telemetry::malformed(kind);
            let treatment = Malformed::treatment(kind);
            if rules.settings.flags & treatment.drops == 0 {
                return Reason::MalformedPassed.into();
            }
            if rules.settings.flags & setting::WATCH_ONLY == 0 {
                return treatment.reason.into();
            }
            case.note_would_drop(treatment.reason.into());
            Reason::MalformedPassed.into()
        }
    }
}

/// Reads the kernel's clocks side by side, for the daemon's calibration.
#[xdp]
pub fn sluice_clock(_ctx: XdpContext) -> u32 {
    if let Some(reading) = maps::CLOCK.get_ptr_mut(0) {
        // SAFETY: the pointer is to the map's only value; only the daemon reads it, after this program returned.
        unsafe {
            let now = (*reading).now;
            *reading =
                ClockReading { now, jiffies: clock::jiffies(), ktime_ns: bpf_ktime_get_ns(), judged: 0 };
        }
    }
    XDP_PASS
}

/// Writes what the parser makes of a frame, for the tests of agreement.
#[xdp(frags)]
pub fn sluice_parse(ctx: XdpContext) -> u32 {
    if let (Some(case), Some(record)) = (Case::open(hook::INGRESS, 0), maps::PARSED.get_ptr_mut(0)) {
        let kind = window::parse(&ctx, case);
        let detail = match kind {
            end::IP => 0,
            end::DEFECTIVE => case.defect,
            _ => case.frame.network_offset,
        };
        let end = End { kind, detail };
        // SAFETY: the pointer is to the map's only value, and tests run one frame at a time.
        unsafe { *record = ParsedRecord::new(end, &case.frame) };
    }
    XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
