//! Traffic that a test or the benchmark makes within the kernel: many sources in one test run, with the simulated clock
//! moved for each packet, or live frames at a steady rate. Never loaded by the daemon.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    helpers::generated::bpf_ktime_get_ns,
    macros::{map, xdp},
    maps::{Array, PerCpuArray, ProgramArray},
    programs::XdpContext,
};
use monitor_common::record::ClockReading;

/// A part of the mixture: share, mask, base, manner.
///
/// The share is cumulative, of 65536. A source is `base + (n & mask)`, where `n` is random or, by a bit of the manner,
/// counts up; by another bit, it is the `n & mask`-th of the list. The manner's low half is the port and, 16 bits
/// further up, the mask of a random number that is added to it.
#[map]
static PARTS: Array<[u64; 4]> = Array::with_max_entries(PARTS_AT_MOST, 0);
/// 0 -> clock units per packet, in 256ths; of the bare drop, whom it lets pass.
#[map]
static STEP: Array<u64> = Array::with_max_entries(1, 0);
/// Chosen sources.
#[map]
static LIST: Array<u32> = Array::with_max_entries(1 << 16, 0);
/// 0 -> the program under test.
#[map]
static JUDGE: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// The same map as that of the program under test.
#[map]
static CLOCK: Array<ClockReading> = Array::with_max_entries(1, MMAPABLE);
/// 0 the random state, 1 fractions of a clock unit, 2.. how many packets each part has sent.
#[map]
static STATE: PerCpuArray<u64> = PerCpuArray::with_max_entries(2 + PARTS_AT_MOST, 0);
/// Of live frames: nanoseconds from one to the next, when the next is due, how many were sent, mask and base of sources.
#[map]
static PACE: Array<[u64; 5]> = Array::with_max_entries(1, 0);

const PARTS_AT_MOST: u32 = 4;
const MMAPABLE: u32 = 1 << 10;
/// Bits of a part's manner.
const COUNTING: u64 = 1 << 32;
const LISTED: u64 = 1 << 33;

/// Where an untagged IPv4 frame has its header's checksum, its source, its destination port and TCP's checksum.
const CHECKSUM: usize = 24;
const SOURCE: usize = 26;
const PORT: usize = 36;
const TCP_CHECKSUM: usize = 50;
const PROTOCOL: usize = 23;
const TCP: u8 = 6;
/// What is late by more than this is not made up for.
const LATE_NS: u64 = 2_000_000;

#[inline(always)]
fn random(state: *mut u64) -> u64 {
    // SAFETY: the callers pass this CPU's own map value.
    unsafe {
        *state = (*state).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 16
    }
}

/// One packet of the mixture: says whose it is and where it goes, moves the clock and hands over.
#[xdp(frags)]
pub fn mixture(ctx: XdpContext) -> u32 {
    let (Some(state), Some(fraction), Some(step), Some(clock)) =
        (STATE.get_ptr_mut(0), STATE.get_ptr_mut(1), STEP.get(0), CLOCK.get_ptr_mut(0))
    else {
        return XDP_ABORTED;
    };
    let draw = random(state);
    let mut number = 0;
    while number < PARTS_AT_MOST - 1 {
        match PARTS.get(number) {
            Some(part) if draw & 0xffff >= part[0] => number += 1,
            _ => break,
        }
    }
    let (Some(part), Some(count)) = (PARTS.get(number), STATE.get_ptr_mut(2 + number)) else {
        return XDP_ABORTED;
    };
    // SAFETY: both are this CPU's own values, and one run at a time moves the clock.
    let counted = unsafe {
        let passed = *fraction + *step;
        *fraction = passed & 0xff;
        (*clock).now += passed >> 8;
        *count += 1;
        *count - 1
    };
    let chosen = if part[3] & (COUNTING | LISTED) != 0 { counted } else { random(state) } & part[1];
    let source = if part[3] & LISTED != 0 {
        LIST.get(chosen as u32).map_or(0, |source| *source)
    } else {
        (chosen + part[2]) as u32
    };
    let port = (part[3] & 0xffff) as u16 + (random(state) & (part[3] >> 16 & 0xffff)) as u16;
    let start = ctx.data();
    if start + PORT + 2 > ctx.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: held against the end of the packet.
    unsafe {
        ((start + SOURCE) as *mut u32).write_unaligned(source.to_be());
        ((start + PORT) as *mut u16).write_unaligned(port.to_be());
    }
    // SAFETY: a tail call does not return when it succeeds, and nothing is held here.
    let _ = unsafe { JUDGE.tail_call(&ctx, 0) };
    XDP_ABORTED
}

/// One live frame: out again with the next source when it is due, else back to where it came from.
#[xdp]
pub fn live(ctx: XdpContext) -> u32 {
    let (Some(pace), Some(state)) = (PACE.get_ptr_mut(0), STATE.get_ptr_mut(0)) else {
        return XDP_DROP;
    };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: one thread at a time runs this program, by contract with the one who starts it.
    let (mask, base) = unsafe {
        let due = (*pace)[1];
        if now < due {
            return XDP_DROP;
        }
        (*pace)[1] = if now - due > LATE_NS { now } else { due } + (*pace)[0];
        ((*pace)[3], (*pace)[4])
    };
    let start = ctx.data();
    if start + TCP_CHECKSUM + 2 > ctx.data_end() {
        return XDP_DROP;
    }
    let source = ((random(state) & mask) + base) as u32;
    // SAFETY: all of it was just held against the end of the packet; the counter is as above.
    unsafe {
        let place = (start + SOURCE) as *mut u32;
        let old = u32::from_be(place.read_unaligned());
        place.write_unaligned(source.to_be());
        amend((start + CHECKSUM) as *mut u16, old, source);
        if *((start + PROTOCOL) as *const u8) == TCP {
            amend((start + TCP_CHECKSUM) as *mut u16, old, source);
        }
        (*pace)[2] += 1;
    }
    XDP_TX
}

/// A checksum over a word that changes (RFC 1624, equation 3).
///
/// # Safety
/// `sum` is within the packet.
#[inline(always)]
unsafe fn amend(sum: *mut u16, old: u32, new: u32) {
    // SAFETY: by contract.
    unsafe {
        let mut folded = u32::from(!u16::from_be(sum.read_unaligned()));
        folded += (!old >> 16) + (!old & 0xffff) + (new >> 16) + (new & 0xffff);
        folded = (folded & 0xffff) + (folded >> 16);
        folded = (folded & 0xffff) + (folded >> 16);
        sum.write_unaligned((!(folded as u16)).to_be());
    }
}

/// Drops every IPv4 frame whose source does not begin with the 16 bits in `STEP`: the least that any guard can do.
#[xdp(frags)]
pub fn bare_drop(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + SOURCE + 2 > ctx.data_end() {
        return XDP_PASS;
    }
    // SAFETY: held against the end of the packet.
    let (kind, network) = unsafe {
        (((start + 12) as *const u16).read_unaligned(), ((start + SOURCE) as *const u16).read_unaligned())
    };
    let foreign = STEP.get(0).is_some_and(|allowed| u64::from(u16::from_be(network)) != *allowed);
    if u16::from_be(kind) == 0x0800 && foreign { XDP_DROP } else { XDP_PASS }
}
