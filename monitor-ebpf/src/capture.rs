//! Frames for `sluice capture`, behind the verdict: the filter, the rate, the ring.
//!
//! Without a capture this is a load and a branch. The rings are of the process that captures, and the kernel takes them away
//! with it, however it ends; the first frame that finds none switches the capture off.

use core::{cell::UnsafeCell, ffi::c_void};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_CURRENT_CPU, xdp_md},
    helpers::generated::{
        bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_perf_event_output, bpf_xdp_get_buff_len,
    },
};
use monitor_common::{
    bucket::{UNITS_PER_NS, admit},
    capture::{Filter, Head, NOTHING, Seen, flag},
    parse::end,
    verdict::Verdict,
};

use crate::{
    atomic,
    context::{PacketContext, fresh},
    maps,
};

/// Attempts to charge the rate before the frame is not taken.
const ATTEMPTS: u32 = 4;
/// ENOENT: there is no ring.
const NO_RING: i64 = -2;

/// The filter, which a capture writes. In memory of the object, for a map would have to be looked up for every packet.
#[repr(transparent)]
struct Shared(UnsafeCell<Filter>);

// SAFETY: words that the capture writes and the programs read; a mixture of two filters takes other frames for a moment.
unsafe impl Sync for Shared {}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.capture")]
static CAPTURE: Shared = Shared(UnsafeCell::new(Filter::OFF));

/// Offers a frame that came in.
#[inline(always)]
pub fn ingress(ctx: *mut xdp_md, packet: &PacketContext, verdict: Verdict) {
    if is_on() {
        take_ingress(ctx, packet, verdict.number());
    }
}

/// Offers a frame on its way out.
#[inline(always)]
pub fn egress(ctx: *mut __sk_buff, packet: &PacketContext, verdict: Verdict) {
    if is_on() {
        take_egress(ctx, packet, verdict.number());
    }
}

#[inline(always)]
fn is_on() -> bool {
    // SAFETY: memory of this object; volatile, because others write it.
    unsafe { (&raw const (*CAPTURE.0.get()).is_on).read_volatile() != 0 }
}

#[inline(never)]
fn take_ingress(ctx: *mut xdp_md, packet: &PacketContext, verdict: u32) {
    let is_ip = fresh(&packet.kind) & (end::DEFECTIVE - 1) == end::IP;
    let seen = seen(packet, verdict, is_ip);
    // SAFETY: the context is the one that the program was called with.
    let length = unsafe { bpf_xdp_get_buff_len(ctx) } as u32;
    take(ctx.cast(), &seen, length, 0);
}

#[inline(never)]
fn take_egress(ctx: *mut __sk_buff, packet: &PacketContext, verdict: u32) {
    let seen = seen(packet, verdict, true);
    take(ctx.cast(), &seen, fresh(&packet.frame.length), flag::EGRESS);
}

#[inline(always)]
fn seen(packet: &PacketContext, verdict: u32, is_ip: bool) -> Seen {
    Seen {
        source: is_ip.then_some(packet.frame.source),
        reason: verdict,
        drops: Verdict::from_number(verdict).drops(),
        would_drop: packet.would_drop().unwrap_or(NOTHING),
        candidate: fresh(&packet.candidate) != 0,
        service: fresh(&packet.service),
        interface: fresh(&packet.interface),
        // SAFETY: the helper takes nothing and gives a number.
        random: unsafe { bpf_get_prandom_u32() },
    }
}

#[inline(always)]
fn take(ctx: *mut c_void, seen: &Seen, length: u32, flags: u32) {
    // SAFETY: memory of this object; a capture writes words of it meanwhile, and each is read once.
    let filter = unsafe { &*CAPTURE.0.get() };
    if !filter.selects(seen) || !is_within_rate(filter) {
        return;
    }
    let snap = fresh(&filter.snap);
    let captured = if length < snap { length } else { snap };
    let head = Head {
        // SAFETY: the helper takes nothing and reads a clock.
        at_ns: unsafe { bpf_ktime_get_ns() },
        length,
        captured,
        reason: seen.reason,
        would_drop: seen.would_drop,
        service: seen.service,
        interface: seen.interface,
        flags: flags | if seen.candidate { flag::CANDIDATE } else { 0 },
        reserved: 0,
    };
    let place = u64::from(captured) << 32 | u64::from(BPF_F_CURRENT_CPU as u32);
    // SAFETY: context and map are what the helper takes, and the head is initialised.
    let result = unsafe {
        let (ring, said) = (&raw const maps::FRAMES, &raw const head);
        bpf_perf_event_output(
            ctx,
            ring.cast_mut().cast(),
            place,
            said.cast_mut().cast(),
            size_of::<Head>() as u64,
        )
    } as i64;
    if result == NO_RING {
        // SAFETY: as in `is_on`.
        unsafe { (&raw mut (*CAPTURE.0.get()).is_on).write_volatile(0) };
    }
    if result < 0
        && let Some(captured) = maps::CAPTURED.get_ptr_mut(0)
    {
        // SAFETY: the pointer is to the map's only value.
        unsafe { atomic::add(&raw mut (*captured).lost, 1) };
    }
}

/// Charges a frame to the rate.
#[inline(always)]
fn is_within_rate(filter: &Filter) -> bool {
    let Some(captured) = maps::CAPTURED.get_ptr_mut(0) else { return false };
    // SAFETY: the helper takes nothing and reads a clock.
    let now = unsafe { bpf_ktime_get_ns() } * UNITS_PER_NS;
    let mut left = ATTEMPTS;
    // SAFETY: the pointer is to the map's only value.
    unsafe {
        atomic::add(&raw mut (*captured).selected, 1);
        while left > 0 {
            let word = atomic::load(&raw const (*captured).bucket);
            let Some(next) = admit(word, now, filter.rate.cost_of_one(), filter.rate.capacity) else { break };
            if atomic::replace(&raw mut (*captured).bucket, word, next) {
                return true;
            }
            left -= 1;
        }
        atomic::add(&raw mut (*captured).over_rate, 1);
    }
    false
}
