//! The only place that touches packet memory: bounded reads of the frame, multi-buffer frames included.
//!
//! Nearly every header stands in the first buffer and is read directly. A frame whose headers reach into its fragments is
//! parsed once more through the kernel's copying helper.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, xdp_md},
    helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use monitor_common::{
    connection,
    conversation::{embedded, report},
    packet::Packet,
    parse::{self, end},
    request::{self, Counted, Word},
};

use crate::{context::PacketContext, flow_records};

/// In the answer of [`Wire::failure`]: the quoted packet's sender is the higher end of the key.
pub const QUOTED_IS_HIGHER: u32 = 1 << 8;

/// What only the frame itself can say, asked of rare packets. Each hook has its own kind of window.
pub trait Wire {
    /// The sender's MAC; 0 when there is none.
    fn source_mac(&self) -> u64;
    /// An ICMP error's verdict on the conversation it quotes, whose key goes into its context; 0 when it says nothing.
    fn failure(&self, packet: &mut PacketContext) -> u32;
    /// Reports the packet as one outside conversations.
    fn observe(&self, packet: &PacketContext, note: u32);
    /// Reports an ARP request.
    fn observe_arp(&self, packet: &PacketContext);
}

macro_rules! wire {
    ($context:ty, $raw:ty, $direct:ident) => {
        impl Wire for $context {
            #[inline(always)]
            fn source_mac(&self) -> u64 {
                // Not inlined, here and below: rare, with a stack of its own.
                #[inline(never)]
                fn of(ctx: *mut $raw) -> u64 {
                    report::source_mac(&Anchored::new($direct(ctx)))
                }
                of(self.as_ptr().cast())
            }

            #[inline(always)]
            fn failure(&self, packet: &mut PacketContext) -> u32 {
                #[inline(never)]
                fn of(ctx: *mut $raw, packet: &mut PacketContext) -> u32 {
                    failure(&Anchored::new($direct(ctx)), packet)
                }
                of(self.as_ptr().cast(), packet)
            }

            #[inline(always)]
            fn observe(&self, packet: &PacketContext, note: u32) {
                #[inline(never)]
                fn of(ctx: *mut $raw, packet: &PacketContext, note: u32) {
                    flow_records::observation(&Anchored::new($direct(ctx)), packet, note);
                }
                of(self.as_ptr().cast(), packet, note);
            }

            #[inline(always)]
            fn observe_arp(&self, packet: &PacketContext) {
                #[inline(never)]
                fn of(ctx: *mut $raw, packet: &PacketContext) {
                    flow_records::arp(&Anchored::new($direct(ctx)), packet);
                }
                of(self.as_ptr().cast(), packet);
            }
        }
    };
}

wire!(XdpContext, xdp_md, direct);
wire!(TcContext, __sk_buff, direct_egress);

#[inline(always)]
fn failure<P: Packet>(bytes: &P, packet: &mut PacketContext) -> u32 {
    match embedded::failure(bytes, &packet.frame) {
        Some(failure) => {
            packet.key = failure.key;
            failure.outcome | (u32::from(failure.sender_is_higher) * QUOTED_IS_HIGHER)
        }
        None => 0,
    }
}

/// Furthest offset that is read directly; the verifier's own limit for a packet pointer is twice that.
const DIRECT: usize = 0x7fff;

/// Answer of [`parse_direct`]: the headers may reach beyond the first buffer.
const FAR: u32 = u32::MAX;

/// Parses the frame into its context; an [`end`] kind, with its detail in `network_offset` for what is not IP.
#[inline(always)]
pub fn parse(ctx: &XdpContext, packet: &mut PacketContext) -> u32 {
    let ctx = ctx.as_ptr().cast();
    let kind = parse_direct(ctx, packet);
    if kind == FAR { parse_far(ctx, packet) } else { kind }
}

/// Not inlined: the parser's variables have a stack of their own, and the caller reads plain numbers back from the context.
#[inline(never)]
fn parse_direct(ctx: *mut xdp_md, packet: &mut PacketContext) -> u32 {
    near(&direct(ctx), packet)
}

#[inline(always)]
fn near(direct: &Direct, packet: &mut PacketContext) -> u32 {
    let kind = fill(direct, packet);
    if kind >= end::MALFORMED && direct.length as usize > direct.end - direct.data { FAR } else { kind }
}

#[inline(always)]
fn direct(ctx: *mut xdp_md) -> Direct {
    let context = XdpContext::new(ctx);
    Direct { data: context.data(), end: context.data_end(), length: length(ctx) }
}

/// As [`parse`], on egress.
#[inline(always)]
pub fn parse_egress(ctx: &TcContext, packet: &mut PacketContext) -> u32 {
    let ctx = ctx.skb.skb;
    let kind = parse_direct_egress(ctx, packet);
    if kind == FAR { parse_far_egress(ctx, packet) } else { kind }
}

#[inline(never)]
fn parse_direct_egress(ctx: *mut __sk_buff, packet: &mut PacketContext) -> u32 {
    near(&direct_egress(ctx), packet)
}

#[inline(never)]
fn parse_far_egress(ctx: *mut __sk_buff, packet: &mut PacketContext) -> u32 {
    fill(&FarEgress { ctx, length: TcContext::new(ctx).len() }, packet)
}

#[inline(always)]
fn direct_egress(ctx: *mut __sk_buff) -> Direct {
    // SAFETY: the kernel calls a classifier with a valid context; volatile, because otherwise the compiler loads the words
    // in the caller and hands them on as numbers, which the verifier does not take for packet memory.
    let (data, end) =
        unsafe { ((&raw const (*ctx).data).read_volatile(), (&raw const (*ctx).data_end).read_volatile()) };
    Direct { data: data as usize, end: end as usize, length: TcContext::new(ctx).len() }
}

#[inline(never)]
fn parse_far(ctx: *mut xdp_md, packet: &mut PacketContext) -> u32 {
    fill(&Far { ctx, length: length(ctx) }, packet)
}

#[inline(always)]
fn fill<P: Packet>(bytes: &P, packet: &mut PacketContext) -> u32 {
    let ended = parse::parse_into(bytes, &mut packet.frame);
    packet.measure();
    packet.piece = packet.frame.fragment as u32;
    if ended.kind == end::DEFECTIVE {
        packet.defect = ended.detail;
    } else if ended.kind != end::IP {
        packet.frame.network_offset = ended.detail;
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

/// Index of the interface that the frame leaves through.
#[inline(always)]
pub fn egress_ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: the context is valid for the whole run of the program.
    unsafe { (*ctx.skb.skb).ifindex }
}

/// What a packet begins, given its connection's word; [`request::begin`].
#[inline(always)]
pub fn request(ctx: *mut xdp_md, packet: &PacketContext, word: u64, counted: &mut Counted) {
    if is_cut(ctx) {
        request_far(ctx, packet, word, counted)
    } else {
        request_direct(ctx, packet, word, counted)
    }
}

/// The next of [`request::step`].
#[inline(always)]
pub fn request_step(ctx: *mut xdp_md, packet: &PacketContext, counted: &mut Counted) {
    if is_cut(ctx) {
        request_step_far(ctx, packet, counted)
    } else {
        request_step_direct(ctx, packet, counted)
    }
}

/// The beginning of a packet's data; [`connection::first_data`].
#[inline(always)]
pub fn first_data(ctx: *mut xdp_md, packet: &PacketContext) -> u64 {
    if is_cut(ctx) { first_data_far(ctx, packet) } else { first_data_direct(ctx, packet) }
}

#[inline(never)]
fn first_data_direct(ctx: *mut xdp_md, packet: &PacketContext) -> u64 {
    connection::first_data(&Anchored::new(direct(ctx)), &packet.frame)
}

#[inline(never)]
fn first_data_far(ctx: *mut xdp_md, packet: &PacketContext) -> u64 {
    connection::first_data(&Far { ctx, length: length(ctx) }, &packet.frame)
}

/// Whether the frame goes on behind the first buffer. Not inlined, here and below: each has a stack of its own.
#[inline(never)]
fn is_cut(ctx: *mut xdp_md) -> bool {
    let direct = direct(ctx);
    direct.length as usize > direct.end - direct.data
}

#[inline(never)]
fn request_direct(ctx: *mut xdp_md, packet: &PacketContext, word: u64, counted: &mut Counted) {
    *counted = request::begin(&Anchored::new(direct(ctx)), &packet.frame, Word(word));
}

#[inline(never)]
fn request_far(ctx: *mut xdp_md, packet: &PacketContext, word: u64, counted: &mut Counted) {
    *counted = request::begin(&Far { ctx, length: length(ctx) }, &packet.frame, Word(word));
}

#[inline(never)]
fn request_step_direct(ctx: *mut xdp_md, packet: &PacketContext, counted: &mut Counted) {
    request::step(&Anchored::new(direct(ctx)), &packet.frame, counted);
}

#[inline(never)]
fn request_step_far(ctx: *mut xdp_md, packet: &PacketContext, counted: &mut Counted) {
    request::step(&Far { ctx, length: length(ctx) }, &packet.frame, counted);
}

/// Reads from the first buffer.
struct Direct {
    data: usize,
    end: usize,
    length: u32,
}

/// The same number, of which the compiler knows nothing any more. Left to itself it compares one copy of a number and
/// uses another, and the verifier (before Linux 6.10 at least) does not know the two for the same.
#[inline(always)]
fn anchor(mut number: usize) -> usize {
    // SAFETY: moves a register onto itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nostack, preserves_flags)) };
    number
}

impl Direct {
    /// The only read of packet memory. The offset that is added is the one that was compared, and so is the address that is read.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > DIRECT {
            return None;
        }
        let start = anchor(self.data + offset);
        if start + N > self.end {
            return None;
        }
        // SAFETY: the comparison above, which the verifier checks again, keeps all N bytes within the buffer.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }
}

impl Packet for Direct {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        const { assert!(N > 1, "of an optional single byte the compiler shifts what it did not read: read two") };
        // A constant needs no anchor, and its comparison is done when the program is built.
        if core::intrinsics::is_val_statically_known(offset) {
            return self.at(offset as usize);
        }
        self.at(anchor(offset as usize))
    }
}

/// The same where a frame is read late, in a function that is handed the context: there the compiler may work the ends of the
/// buffer out a second time as well.
struct Anchored(Direct);

impl Anchored {
    #[inline(always)]
    fn new(direct: Direct) -> Self {
        Self(Direct { data: anchor(direct.data), end: anchor(direct.end), length: direct.length })
    }
}

impl Packet for Anchored {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.read(offset)
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
        // SAFETY: the helper checks offset and length against the whole frame and writes at most N bytes.
        copied(|bytes| unsafe { bpf_xdp_load_bytes(self.ctx, offset, bytes.cast(), N as u32) })
    }
}

/// The same on egress.
struct FarEgress {
    ctx: *mut __sk_buff,
    length: u32,
}

impl Packet for FarEgress {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: as above.
        copied(|bytes| unsafe { bpf_skb_load_bytes(self.ctx.cast(), offset, bytes.cast(), N as u32) })
    }
}

/// The bytes that a copying helper writes.
#[inline(always)]
fn copied<const N: usize>(load: impl FnOnce(*mut u8) -> i64) -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    if load(bytes.as_mut_ptr()) != 0 {
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
