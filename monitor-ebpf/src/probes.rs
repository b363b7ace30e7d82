//! Programs that judge nothing: the kernel's clocks for calibration, and the parser alone for tests.

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS, helpers::generated::bpf_ktime_get_ns, macros::xdp, programs::XdpContext,
};
use monitor_common::{
    parse::{End, end},
    record::{ClockReading, ParsedRecord},
};

use crate::{
    clock,
    context::{PacketContext, hook},
    maps, reader,
};

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
    if let (Some(packet), Some(record)) =
        (PacketContext::open(maps::PACKETS.get_ptr_mut(hook::INGRESS), 0), maps::PARSED.get_ptr_mut(0))
    {
        let kind = reader::parse(&ctx, packet);
        let detail = match kind {
            end::IP => 0,
            end::DEFECTIVE => packet.defect,
            _ => packet.frame.network_offset,
        };
        let end = End { kind, detail };
        // SAFETY: the pointer is to the map's only value, and tests run one frame at a time.
        unsafe { *record = ParsedRecord::new(end, &packet.frame) };
    }
    XDP_PASS
}
