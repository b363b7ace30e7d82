//! The only place that touches packet memory: bounded reads of the frame, multi-buffer frames included.
//!
//! Nearly every header stands in the first buffer and is read directly. A frame whose headers reach into its fragments is
//! parsed once more through the kernel's copying helper.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use monitor_common::{
    packet::Packet,
    parse::{self, end},
};

use crate::case::Case;

/// Furthest offset that is read directly; the verifier's own limit for a packet pointer is twice that.
const DIRECT: u32 = 0x7fff;

/// Answer of [`parse_direct`]: the headers may reach beyond the first buffer.
const FAR: u32 = u32::MAX;

/// Parses the frame into the case; an [`end`] kind, with its detail in `network_offset` for what is not IP.
#[inline(always)]
pub fn parse(ctx: &XdpContext, case: &mut Case) -> u32 {
    let ctx = ctx.as_ptr().cast();
    let kind = parse_direct(ctx, case);
    if kind == FAR { parse_far(ctx, case) } else { kind }
}

/// Not inlined: the parser's variables have a stack of their own, and the caller reads plain numbers back from the case.
#[inline(never)]
fn parse_direct(ctx: *mut xdp_md, case: &mut Case) -> u32 {
    let context = XdpContext::new(ctx);
    let direct = Direct { data: context.data(), end: context.data_end(), length: length(ctx) };
    let kind = fill(&direct, case);
    if kind == end::MALFORMED && direct.length as usize > direct.end - direct.data { FAR } else { kind }
}

#[inline(never)]
fn parse_far(ctx: *mut xdp_md, case: &mut Case) -> u32 {
    fill(&Far { ctx, length: length(ctx) }, case)
}

#[inline(always)]
fn fill<P: Packet>(packet: &P, case: &mut Case) -> u32 {
    case.clear();
    let ended = parse::parse_into(packet, &mut case.frame);
    case.measure();
    if ended.kind != end::IP {
        case.frame.network_offset = ended.detail;
    }
    ended.kind
}

#[inline(always)]
fn length(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the kernel calls an XDP program with a valid context; the helper takes just that.
    unsafe { bpf_xdp_get_buff_len(ctx) as u32 }
}

/// Index of the interface that the frame came in through.
#[inline(always)]
pub fn ifindex(ctx: &XdpContext) -> u32 {
    // SAFETY: the context is valid for the whole run of the program.
    unsafe { (*ctx.as_ptr().cast::<xdp_md>()).ingress_ifindex }
}

/// Reads from the first buffer.
struct Direct {
    data: usize,
    end: usize,
    length: u32,
}

impl Packet for Direct {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > DIRECT {
            return None;
        }
        let start = self.data + offset as usize;
        if start + N > self.end {
            return None;
        }
        // SAFETY: the comparison above, which the verifier checks again, keeps all N bytes within the buffer.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }
}

/// Reads from anywhere in a multi-buffer frame.
struct Far {
    ctx: *mut xdp_md,
    length: u32,
}

impl Packet for Far {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0u8; N];
        // SAFETY: the helper checks offset and length against the whole frame and writes at most N bytes to `bytes`.
        let failed = unsafe { bpf_xdp_load_bytes(self.ctx, offset, bytes.as_mut_ptr().cast(), N as u32) };
        if failed != 0 {
            return None;
        }
        let mut copy = [0u8; N];
        let mut at = 0;
        while at < N {
            // SAFETY: within the array; volatile keeps the loads single bytes, for the stack allows no misaligned ones.
            copy[at] = unsafe { bytes.as_ptr().add(at).read_volatile() };
            at += 1;
        }
        Some(copy)
    }
}
