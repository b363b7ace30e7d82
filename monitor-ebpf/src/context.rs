//! What is known of the packet under judgement, on this CPU.
//!
//! It lives in a per-CPU map value rather than on the stack: there is too little stack for it, and what is read back from
//! a map is an unknown number to the verifier, which so has one state to follow where constants would make it many.

use monitor_common::{
    conversation::ConversationKey,
    parse::Frame,
    rule::{BYTES, CONNECTIONS, DIMENSIONS, FRAGMENTS, PACKETS},
    verdict::Verdict,
};

/// What a packet costs in each dimension.
pub type Units = [u32; DIMENSIONS];

const NOTHING: u32 = u32::MAX;

/// Where a packet is judged; each hook has a packet of its own, for one may run while the other has not ended.
pub mod hook {
    pub const INGRESS: u32 = 0;
    pub const EGRESS: u32 = 1;
}

/// One packet, filled in along its way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PacketContext {
    pub frame: Frame,
    /// The conversation that the packet belongs to, once it was asked for.
    pub key: ConversationKey,
    /// Cgroup of the sender, on egress; 0 unknown.
    pub cgroup: u64,
    pub units: Units,
    /// Clock units.
    pub now: u64,
    /// Halves of the aggregated source address.
    pub high: u64,
    pub low: u64,
    /// Hash of the source; from the service on, of the source at the service.
    pub hash: u64,
    pub class: u32,
    pub service: u32,
    pub interface: u32,
    /// 1 when the source lies in an exempt prefix.
    pub exempt: u32,
    /// 1 when the service has an aggregate limit.
    pub has_aggregate: u32,
    /// 1 when the service challenges.
    pub challenges: u32,
    /// The number of a limit that looks further than at headers: it counts requests, or has connections followed, of which the bit
    /// [`FOLLOWS_CONNECTIONS`](monitor_common::rule::FOLLOWS_CONNECTIONS) says; or 0.
    pub further: u32,
    /// 1 when limits may drop at all.
    pub enforce: u32,
    /// What the prefix tree says of the source.
    pub leaf: u32,
    /// Not 0 when the host depends on the source.
    pub lifeline: u32,
    /// 1 when the packet answers a flow that this host began; only of a source that is banned or contained.
    pub answer: u32,
    /// 1 when the source lies within the trust boundary.
    pub inside: u32,
    /// 1 when the source has no entry of its own, as in a flood.
    pub stranger: u32,
    /// 1 when the sender is the higher end of the key.
    pub sender_is_higher: u32,
    /// How parsing ended, a constant of [`monitor_common::parse::end`].
    pub kind: u32,
    /// A [`Fragment`](monitor_common::parse::Fragment); of a later one, `Whole` once it has its first one's destination port.
    pub piece: u32,
    /// Number of what is wrong behind the addresses of a defective packet.
    pub defect: u32,
    /// Number of the verdict.
    pub verdict: u32,
    /// Number of the reason an observing limit would have given, or [`NOTHING`].
    would_drop: u32,
    /// 1 when the limit on trial would have dropped.
    pub candidate: u32,
}

impl PacketContext {
    /// The context in this CPU's own memory at a [`hook`], for a new packet.
    #[inline(always)]
    pub fn open(memory: Option<*mut Self>, interface: u32) -> Option<&'static mut Self> {
        let packet = memory?;
        // SAFETY: the value is this CPU's own, and a program is not interrupted by itself.
        let packet = unsafe { &mut *packet };
        packet.interface = interface;
        packet.service = 0;
        packet.would_drop = NOTHING;
        packet.candidate = 0;
        packet.stranger = 0;
        packet.answer = 0;
        Some(packet)
    }

    /// Works out what the packet costs.
    #[inline(always)]
    pub fn measure(&mut self) {
        self.units[PACKETS] = 1;
        self.units[BYTES] = self.frame.length;
        self.units[CONNECTIONS] = u32::from(self.frame.opens_connection());
        self.units[FRAGMENTS] = u32::from(self.frame.is_fragment());
    }

    /// Notes what an observing limit would have done. The first one stands: enforcing, the packet would not have come to
    /// the next.
    #[inline(always)]
    pub fn note_would_drop(&mut self, verdict: Verdict) {
        if fresh(&self.would_drop) == NOTHING {
            self.would_drop = verdict.number();
        }
    }

    /// Number of the reason an observing limit would have given.
    #[inline(always)]
    pub fn would_drop(&self) -> Option<u32> {
        let number = fresh(&self.would_drop);
        if number == NOTHING { None } else { Some(number) }
    }
}

/// Reads a field back from the map, whatever the compiler believes to know of it.
#[inline(always)]
pub fn fresh(field: &u32) -> u32 {
    // SAFETY: a reference is valid to read; volatile, so that the verifier sees an unknown number.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}
