//! Who sends to whom: addresses, protocols, and the identity of a source, a service and a flow.
//!
//! Every address is 16 bytes in network order; IPv4 stands at `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).

use crate::plain;

/// An address of either family, 16 bytes in network order.
pub type Address = [u8; 16];

/// IP protocol numbers (IANA) that sluice names.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
}

/// TCP flag bits, as they stand in byte 13 of the header (RFC 9293, 3.1).
pub mod tcp {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An IPv4 address as an [`Address`].
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> Address {
    let [a, b, c, d] = v4;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// The halves of an IPv4 address.
#[inline(always)]
pub const fn mapped_halves(v4: [u8; 4]) -> [u64; 2] {
    [0, 0xffff_0000_0000 | u32::from_be_bytes(v4) as u64]
}

/// Whether an address with these halves is an IPv4 one.
#[inline(always)]
pub const fn is_mapped(high: u64, low: u64) -> bool {
    high == 0 && low >> 32 == 0xffff
}

/// The IPv4 address in `address`, if it is one.
#[inline(always)]
pub fn v4_of(address: &Address) -> Option<[u8; 4]> {
    if address[..12] == MAPPED { Some([address[12], address[13], address[14], address[15]]) } else { None }
}

/// The two halves of an address as big-endian numbers: what the kernel compares and hashes.
#[inline(always)]
pub const fn halves(address: &Address) -> (u64, u64) {
    let a = address;
    (
        u64::from_be_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_be_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    )
}

/// The address whose halves are `high` and `low`.
#[inline(always)]
pub const fn from_halves(high: u64, low: u64) -> Address {
    let h = high.to_be_bytes();
    let l = low.to_be_bytes();
    [h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]]
}

/// The halves of a source's network: the address with all but its first bits cleared.
///
/// `v4_bits` is 0..=32, `v6_bits` is 0..=128; larger values count as the largest. Link-local addresses of IPv6 all lie in one
/// /64, which is the whole link: there, a source is its full address.
#[inline(always)]
pub const fn aggregate(high: u64, low: u64, is_v4: bool, v4_bits: u32, v6_bits: u32) -> (u64, u64) {
    if is_v4 {
        let keep = if v4_bits >= 32 { u64::MAX } else { !((1u64 << (32 - v4_bits)) - 1) };
        (high, low & keep)
    } else if v6_bits >= 128 || is_link_local(high) {
        (high, low)
    } else if v6_bits > 64 {
        (high, low & !((1u64 << (128 - v6_bits)) - 1))
    } else if v6_bits == 64 {
        (high, 0)
    } else if v6_bits == 0 {
        (0, 0)
    } else {
        (high & !((1u64 << (64 - v6_bits)) - 1), 0)
    }
}

/// Whether an IPv6 address with this upper half lies in `fe80::/10`.
#[inline(always)]
pub const fn is_link_local(high: u64) -> bool {
    high >> 54 == 0xfe80 >> 6
}

/// One source (aggregated) at one service: whose an entry of the exact table is.
///
/// The halves are big-endian numbers of the aggregated address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey {
    pub high: u64,
    pub low: u64,
    pub service: u32,
}

impl SourceKey {
    #[inline(always)]
    pub const fn new(high: u64, low: u64, service: u32) -> Self {
        Self { high, low, service }
    }

    /// The aggregated address.
    pub const fn address(&self) -> Address {
        from_halves(self.high, self.low)
    }
}

/// The key of the ban table: one source, whatever it speaks to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BanKey {
    pub high: u64,
    pub low: u64,
}
plain!(BanKey { high: u64, low: u64 } = 16);

impl BanKey {
    pub const fn address(&self) -> Address {
        from_halves(self.high, self.low)
    }
}
