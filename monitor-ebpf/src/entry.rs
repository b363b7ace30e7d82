//! Entry points. Each makes a window, runs the stages and leaves by one exit that counts.

use core::ops::ControlFlow;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::generated::bpf_ktime_get_ns,
    macros::xdp,
    programs::XdpContext,
};
use monitor_common::{
    parse::{End, end},
    record::{ClockReading, ParsedRecord},
    rule::setting,
    verdict::{Reason, Verdict},
};

use crate::{
    case::Case,
    clock, limiter, maps,
    policy::{self, Rules},
    telemetry, window,
};

/// Judges one packet.
#[xdp(frags)]
pub fn sluice_ingress(ctx: XdpContext) -> u32 {
    let Some(case) = Case::open(policy::interface(window::ifindex(&ctx))) else {
        return XDP_PASS;
    };
    let verdict = match stages(&ctx, case) {
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(()) => Reason::Accepted.into(),
    };
    telemetry::count(case, verdict);
    telemetry::tell(case, verdict);
    if verdict.drops() { XDP_DROP } else { XDP_PASS }
}

#[inline(always)]
fn stages(ctx: &XdpContext, case: &mut Case) -> ControlFlow<Verdict> {
    let parsed = window::parse(ctx, case);
    let Some(rules) = Rules::active() else {
        return ControlFlow::Break(Reason::NotReady.into());
    };
    if parsed != end::IP {
        return ControlFlow::Break(not_ip(parsed, case, &rules));
    }
    case.now = clock::now(rules.settings.tick);
    policy::admit(&rules, case)?;
    let limit = policy::service(&rules, case)?;
    limiter::judge(ctx, &rules, limit, case)
}

#[inline(always)]
fn not_ip(parsed: u32, case: &Case, rules: &Rules) -> Verdict {
    match parsed {
        end::ARP => Reason::Arp.into(),
        end::NON_IP => Reason::NonIp.into(),
        _ => {
            telemetry::malformed(case.frame.network_offset);
            let drop = rules.settings.flags & setting::DROP_MALFORMED != 0;
            if drop { Reason::MalformedDropped.into() } else { Reason::MalformedPassed.into() }
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
    if let (Some(case), Some(record)) = (Case::open(0), maps::PARSED.get_ptr_mut(0)) {
        let kind = window::parse(&ctx, case);
        let end = End { kind, detail: if kind == end::IP { 0 } else { case.frame.network_offset } };
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
