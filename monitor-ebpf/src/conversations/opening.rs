//! The beginning of a data segment: copied into this CPU's own memory, and what it says taken into its conversation. Only the
//! first data segments of a conversation come here.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_skb_load_bytes, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use monitor_common::{
    application::lead::{LEAD_BYTES, ZEROED_BYTES, extent},
    flow::protocol,
};

use crate::{
    context::{PacketContext, fresh, hook},
    maps,
};

/// A packet of which bytes can be copied, wherever they lie: the data of what leaves stands outside the first buffer.
pub trait Copied {
    /// Where it is judged, a constant of [`hook`].
    const HOOK: u32;

    /// Copies the beginning of the packet's data; false when it has none that could be read.
    fn copy_lead(&self, packet: &PacketContext) -> bool;
}

macro_rules! copied {
    ($context:ty, $helper:ident, $hook:expr) => {
        impl Copied for $context {
            const HOOK: u32 = $hook;

            #[inline(always)]
            fn copy_lead(&self, packet: &PacketContext) -> bool {
                let ctx = self.as_ptr();
                // SAFETY: the helper checks offset and length against the whole frame, and writes `length` bytes.
                copy(packet, $hook, |from, to, length| unsafe {
                    $helper(ctx.cast(), from, to.cast(), length)
                })
            }
        }
    };
}

copied!(XdpContext, bpf_xdp_load_bytes, hook::INGRESS);
copied!(TcContext, bpf_skb_load_bytes, hook::EGRESS);

#[inline(always)]
fn copy(packet: &PacketContext, hook: u32, load: impl Fn(u32, *mut u8, u32) -> i64) -> bool {
    let Some(opening) = maps::OPENINGS.get_ptr_mut(hook) else {
        return false;
    };
    // SAFETY: the pointer is to this CPU's own value.
    let lead = unsafe { &raw mut (*opening).lead };
    let bytes = lead.cast::<u8>();
    let mut word = 0;
    while word < ZEROED_BYTES as usize / 8 {
        // SAFETY: the pointer is to this CPU's own value; volatile keeps the stores apart from a call of memset.
        unsafe { (&raw mut (*lead).words[word]).write_volatile(0) };
        word += 1;
    }
    let header = packet.frame.transport_offset;
    if packet.frame.protocol == protocol::TCP && load(header + 12, bytes, 2) != 0 {
        return false;
    }
    // SAFETY: as above; the two bytes were just written.
    let second_half = unsafe { [bytes.read_volatile(), bytes.add(1).read_volatile()] };
    let Some((start, available)) = extent(&packet.frame, second_half) else {
        return false;
    };
    // Bounded once more where the verifier sees it: the number that is compared is the one that is handed on.
    let length = bounded(available);
    // SAFETY: as above.
    unsafe {
        bytes.write_volatile(0);
        bytes.add(1).write_volatile(0);
        if load(start, bytes, length) != 0 {
            return false;
        }
        // What is read eight bytes at a time ends in zeros.
        let mut behind = 0;
        while behind < 8 {
            if length + behind < LEAD_BYTES {
                bytes.add(within(length + behind)).write_volatile(0);
            }
            behind += 1;
        }
        (&raw mut (*lead).available).write_volatile(length);
        (&raw mut (*lead).payload).write_volatile(packet.frame.payload);
    }
    true
}

/// The number, at least 1 and at most [`LEAD_BYTES`]. In assembly: of two comparisons the compiler makes one on a copy.
#[inline(always)]
fn bounded(number: u32) -> u32 {
    let mut less = u64::from(number).wrapping_sub(1);
    // SAFETY: arithmetic on one register.
    unsafe { core::arch::asm!("{0} &= 511", inout(reg) less, options(nostack, preserves_flags)) };
    const { assert!(LEAD_BYTES == 512) };
    less as u32 + 1
}

/// The number, which is below [`LEAD_BYTES`], as an index of which the verifier sees that.
#[inline(always)]
fn within(number: u32) -> usize {
    let mut index = u64::from(number);
    // SAFETY: arithmetic on one register.
    unsafe { core::arch::asm!("{0} &= 511", inout(reg) index, options(nostack, preserves_flags)) };
    index as usize
}

/// Takes what the copied beginning says into the conversation that the context names.
///
/// Not inlined: few packets come here, and the recogniser has a stack of its own.
#[inline(never)]
pub fn recognise(packet: &PacketContext, hook: u32) {
    let Some(opening) = maps::OPENINGS.get_ptr_mut(hook) else {
        return;
    };
    let Some(found) = maps::CONVERSATIONS.get_ptr_mut(&packet.key) else {
        return;
    };
    let upper = packet.frame.protocol;
    // SAFETY: the pointers are to map values that are valid for the whole run; two CPUs that look at one conversation at the
    // same moment may lose one look.
    unsafe {
        (*found).recognise(&(*opening).lead, upper, fresh(&packet.sender_is_higher) != 0, |number| {
            let plain = &raw mut (*opening).plain;
            plain.write_volatile(number);
            plain.read_volatile()
        });
    }
}
