//! Ways for a frame to be malformed, and what becomes of each: a switch of the settings, and a reason of its own.

use crate::{rule::setting, verdict::Reason};

macro_rules! kinds {
    ($($name:ident = $number:literal, $label:literal;)+) => {
        /// Ways to be malformed; the number is the index of the count.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Malformed {
            $($name = $number,)+
        }

        impl Malformed {
            /// How many kinds there are.
            pub const COUNT: usize = [$($number,)+].len();

            /// Every kind, in the order of its number.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$name,)+];

            /// The value of the metric's `kind` label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

kinds! {
    EthernetTruncated = 0, "ethernet_truncated";
    VlanTruncated = 1, "vlan_truncated";
    Ipv4Truncated = 2, "ipv4_truncated";
    Ipv4Version = 3, "ipv4_version";
    Ipv4HeaderLength = 4, "ipv4_header_length";
    Ipv4TotalLength = 5, "ipv4_total_length";
    Ipv6Truncated = 6, "ipv6_truncated";
    Ipv6Version = 7, "ipv6_version";
    Ipv6PayloadLength = 8, "ipv6_payload_length";
    ExtensionTruncated = 9, "extension_truncated";
    TooManyExtensions = 10, "too_many_extensions";
    TcpTruncated = 11, "tcp_truncated";
    TcpHeaderLength = 12, "tcp_header_length";
    UdpTruncated = 13, "udp_truncated";
    UdpLength = 14, "udp_length";
    IcmpTruncated = 15, "icmp_truncated";
    SctpTruncated = 16, "sctp_truncated";
    ShortFirstFragment = 17, "short_first_fragment";
    FragmentInHeader = 18, "fragment_in_header";
    TooManyTags = 19, "too_many_tags";
    Pppoe = 20, "pppoe";
    Mpls = 21, "mpls";
    MappedSource = 22, "mapped_source";
}

/// What the configuration says of a kind of malformed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The bit of the settings' flags that says "drop".
    pub drops: u32,
    /// The reason when it is dropped.
    pub reason: Reason,
}

impl Malformed {
    /// The treatment of the kind with this number. What Linux itself refuses is one kind of frame for the configuration;
    /// what it delivers is a kind by itself.
    #[inline(always)]
    pub const fn treatment(number: u32) -> Treatment {
        const EXTENSIONS: u32 = Malformed::TooManyExtensions as u32;
        const SHORT: u32 = Malformed::ShortFirstFragment as u32;
        const INNER: u32 = Malformed::FragmentInHeader as u32;
        const TAGS: u32 = Malformed::TooManyTags as u32;
        const PPPOE: u32 = Malformed::Pppoe as u32;
        const MPLS: u32 = Malformed::Mpls as u32;
        let (drops, reason) = match number {
            EXTENSIONS => (setting::DROP_EXTENSIONS, Reason::ExtensionChain),
            SHORT | INNER => (setting::DROP_TINY_FRAGMENTS, Reason::TinyFragment),
            TAGS => (setting::DROP_TAGS, Reason::TagStack),
            PPPOE | MPLS => (setting::DROP_ENCAPSULATED, Reason::Encapsulated),
            _ => (setting::DROP_MALFORMED, Reason::MalformedDropped),
        };
        Treatment { drops, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::Malformed;
    use crate::verdict::{Action, Reason};

    #[test]
    fn numbers_are_positions_and_every_kind_has_a_switch_and_a_reason_that_drops() {
        for (position, kind) in Malformed::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, position);
            let treatment = Malformed::treatment(*kind as u32);
            assert_eq!(treatment.drops.count_ones(), 1, "{}", kind.label());
            assert_eq!(treatment.reason.action(), Action::Drop, "{}", kind.label());
        }
        assert_eq!(Malformed::treatment(Malformed::UdpLength as u32).reason, Reason::MalformedDropped);
        assert_eq!(Malformed::treatment(Malformed::TooManyExtensions as u32).reason, Reason::ExtensionChain);
    }
}
