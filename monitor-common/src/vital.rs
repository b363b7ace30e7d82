//! Packets that a host cannot be without, whatever its limits say: neighbour discovery, path MTU messages, DHCP.
//!
//! They are charged like all others. When a limit would drop one, it passes within a safe rate of its source and of its kind.

use crate::{
    flow::protocol,
    parse::{Fragment, Frame},
};

/// Kinds of [`kind`].
pub const KINDS: u32 = 3;
/// No vital packet.
pub const NONE: u32 = u32::MAX;

const DISCOVERY: u32 = 0;
const PATH_MTU: u32 = 1;
const DHCP: u32 = 2;

/// The kind of a vital packet, or [`NONE`].
#[inline(always)]
pub const fn kind(frame: &Frame) -> u32 {
    if !matches!(frame.fragment, Fragment::Whole) {
        return NONE;
    }
    match frame.protocol {
        protocol::ICMPV6 => match frame.destination_port >> 8 {
            // RFC 4861: solicitations, advertisements and redirects.
            133..=137 => DISCOVERY,
            2 => PATH_MTU,
            _ => NONE,
        },
        // RFC 1191: destination unreachable, fragmentation needed.
        protocol::ICMP if frame.destination_port == 3 << 8 | 4 => PATH_MTU,
        protocol::UDP => match (frame.source_port, frame.destination_port) {
            (67, 67 | 68) | (68, 67) | (546, 547) | (547, 546 | 547) => DHCP,
            _ => NONE,
        },
        _ => NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::{DHCP, DISCOVERY, KINDS, NONE, PATH_MTU, kind};
    use crate::{
        flow::protocol::{self, *},
        parse::{Fragment, Frame},
    };

    #[test]
    fn what_a_host_cannot_be_without_has_a_kind() {
        let frame = |upper: u8, from: u16, to: u16| Frame {
            protocol: upper,
            source_port: from,
            destination_port: to,
            ..Frame::EMPTY
        };
        for (upper, from, to, expected) in [
            (ICMPV6, 0, 135 << 8, DISCOVERY),
            (ICMPV6, 0, 134 << 8, DISCOVERY),
            (ICMPV6, 0, 2 << 8, PATH_MTU),
            (ICMPV6, 0, 128 << 8, NONE),
            (ICMP, 0, 3 << 8 | 4, PATH_MTU),
            (ICMP, 0, 3 << 8 | 3, NONE),
            (ICMP, 0, 8 << 8, NONE),
            (protocol::UDP, 67, 68, DHCP),
            (protocol::UDP, 547, 546, DHCP),
            (protocol::UDP, 53, 68, NONE),
            (protocol::TCP, 67, 68, NONE),
        ] {
            assert_eq!(kind(&frame(upper, from, to)), expected, "{upper} {from} {to}");
            assert!(expected == NONE || expected < KINDS);
        }
        assert_eq!(kind(&Frame { fragment: Fragment::First, ..frame(protocol::UDP, 67, 68) }), NONE);
    }
}
