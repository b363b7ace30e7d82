//! The only place that touches packet memory: bounded reads of the frame, multi-buffer frames included.
//!
//! Nearly every header stands in the first buffer and is read directly. A frame whose headers reach into its fragments is
//! parsed once more through the kernel's copying helper, out of line, so that the common way stays short.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use monitor_common::{
    packet::Packet,
    parse::{self, Parsed},
};

/// Furthest offset that is read directly; the verifier's own limit for a packet pointer is twice that.
const DIRECT: u32 = 0x7fff;

/// The frame that a program was called with.
pub struct Window {
    ctx: *mut xdp_md,
    data: usize,
    end: usize,
    length: u32,
}

impl Window {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        let md = ctx.as_ptr().cast::<xdp_md>();
        // SAFETY: the kernel calls an XDP program with a valid context; the helper takes just that.
        let length = unsafe { bpf_xdp_get_buff_len(md) } as u32;
        Self { ctx: md, data: ctx.data(), end: ctx.data_end(), length }
    }

    /// Index of the interface that the frame came in through.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid for the whole run of the program.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// Bytes of the whole frame.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Parses the frame.
    #[inline(always)]
    pub fn parse(&self) -> Parsed {
        let mut parsed = parse::parse(&Direct(self));
        if matches!(parsed, Parsed::Malformed(_)) && self.length as usize > self.end - self.data {
            parse_far(self.ctx, self.length, &mut parsed);
        }
        parsed
    }
}

#[inline(never)]
fn parse_far(ctx: *mut xdp_md, length: u32, parsed: &mut Parsed) {
    *parsed = parse::parse(&Far { ctx, length });
}

/// Reads from the first buffer.
struct Direct<'a>(&'a Window);

impl Packet for Direct<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > DIRECT {
            return None;
        }
        let start = self.0.data + offset as usize;
        if start + N > self.0.end {
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
        if failed == 0 { Some(bytes) } else { None }
    }
}
