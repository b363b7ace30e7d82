//! Entry points. Each makes a window, runs the stages and leaves by one exit that counts.

use core::ops::ControlFlow;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::generated::bpf_ktime_get_ns,
    macros::xdp,
    programs::XdpContext,
};
use monitor_common::{
    parse::{Frame, Parsed},
    record::{ClockReading, ParsedRecord},
    rule::setting,
    verdict::{Action, Reason},
};

use crate::{
    clock, limiter, maps,
    policy::{self, Rules},
    telemetry::{self, Tally},
    window::Window,
};

/// Judges one packet.
#[xdp(frags)]
pub fn sluice_ingress(ctx: XdpContext) -> u32 {
    let window = Window::new(&ctx);
    let mut tally = Tally::new(policy::interface(&window));
    let reason = match stages(&ctx, &window, &mut tally) {
        ControlFlow::Break(reason) => reason,
        ControlFlow::Continue(()) => Reason::Accepted,
    };
    telemetry::count(&tally, reason, window.length());
    match reason.action() {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
    }
}

#[inline(always)]
fn stages(ctx: &XdpContext, window: &Window, tally: &mut Tally) -> ControlFlow<Reason> {
    let Some(rules) = Rules::active() else {
        return ControlFlow::Break(Reason::NotReady);
    };
    let frame = ip(window, &rules)?;
    let now = clock::now(rules.settings.tick);
    let source = policy::admit(&rules, &frame, now)?;
    let service = policy::service(&rules, &frame, source.class, tally)?;
    limiter::judge(ctx, &rules, &frame, &source, &service, now, tally)
}

#[inline(always)]
fn ip(window: &Window, rules: &Rules) -> ControlFlow<Reason, Frame> {
    match window.parse() {
        Parsed::Ip(frame) => ControlFlow::Continue(frame),
        Parsed::Arp(_) => ControlFlow::Break(Reason::Arp),
        Parsed::NonIp(_) => ControlFlow::Break(Reason::NonIp),
        Parsed::Malformed(kind) => {
            telemetry::malformed(kind);
            ControlFlow::Break(if rules.settings.flags & setting::DROP_MALFORMED == 0 {
                Reason::MalformedPassed
            } else {
                Reason::MalformedDropped
            })
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
                ClockReading { now, jiffies: clock::jiffies(), ktime_ns: bpf_ktime_get_ns(), reserved: 0 };
        }
    }
    XDP_PASS
}

/// Writes what the parser makes of a frame, for the tests of agreement.
#[xdp(frags)]
pub fn sluice_parse(ctx: XdpContext) -> u32 {
    let parsed = Window::new(&ctx).parse();
    if let Some(record) = maps::PARSED.get_ptr_mut(0) {
        // SAFETY: the pointer is to the map's only value, and tests run one frame at a time.
        unsafe { *record = ParsedRecord::from(&parsed) };
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
