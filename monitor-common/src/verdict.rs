//! Every way a packet can end. The action and the label of the metric both follow from the one [`Reason`], so a drop
//! without a reason cannot be written.

macro_rules! reasons {
    ($($name:ident = $number:literal, $action:ident, $label:literal, $meaning:literal;)+) => {
        /// Why a packet ended as it did.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name = $number,)+
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What is done with the packet.
            #[inline(always)]
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)+ }
            }

            /// The value of the `reason` label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Drop,
    /// Answered in the host's place: it does not reach the host.
    Answer,
}

reasons! {
    Accepted = 0, Pass, "accepted", "within every limit that applies";
    Exempt = 1, Pass, "exempt", "the source lies in an exempt prefix";
    Unlimited = 2, Pass, "unlimited", "no limit is in force for this class and service";
    Arp = 3, Pass, "arp", "ARP, which is not judged";
    NonIp = 4, Pass, "non_ip", "neither IP nor ARP, which is not judged";
    MalformedPassed = 5, Pass, "malformed_passed", "malformed, and the configuration passes such frames";
    MalformedDropped = 6, Drop, "malformed_dropped", "malformed, and the configuration drops such frames";
    Banned = 7, Drop, "banned", "the source is banned for a time";
    Denied = 8, Drop, "denied", "the source lies in a denied prefix";
    PacketRate = 9, Drop, "packet_rate", "the source exceeds its packets per second at this service";
    ByteRate = 10, Drop, "byte_rate", "the source exceeds its bytes per second at this service";
    ConnectionRate = 11, Drop, "connection_rate", "the source exceeds its new connections per second at this service";
    FragmentRate = 12, Drop, "fragment_rate", "the source exceeds its fragments per second at this service";
    AggregatePacketRate = 13, Drop, "aggregate_packet_rate", "all sources together exceed the service's packets per second";
    AggregateByteRate = 14, Drop, "aggregate_byte_rate", "all sources together exceed the service's bytes per second";
    AggregateConnectionRate = 15, Drop, "aggregate_connection_rate", "all sources together exceed the service's new connections per second";
    AggregateFragmentRate = 16, Drop, "aggregate_fragment_rate", "all sources together exceed the service's fragments per second";
    SketchRate = 17, Drop, "sketch_rate", "a source without an entry of its own exceeds its limit by the sketch's estimate";
    Contended = 18, Drop, "contended", "the bucket changed under every attempt to charge it, so the careful verdict stands";
    NotReady = 19, Pass, "not_ready", "the rules are not written yet";
    Contained = 20, Drop, "contained", "the source or the sending workload exceeds its containment";
    ExtensionChain = 21, Drop, "extension_chain", "IPv6 with more extension headers than are walked";
    TinyFragment = 22, Drop, "tiny_fragment", "a first fragment without its whole transport header, or a later one within it";
    TagStack = 23, Drop, "tag_stack", "more VLAN tags than are taken off";
    Encapsulated = 24, Drop, "encapsulated", "a PPPoE session or MPLS, which this host is not said to end";
    StrayFragment = 25, Drop, "stray_fragment", "a later fragment whose first one was dropped, or was not seen and too many such come";
    Answer = 26, Pass, "answer", "it answers a flow that this host began, so it is charged to nothing";
    Reflected = 27, Drop, "reflected", "UDP from a port that reflectors answer from, and this host asked nothing of it";
    Spoofed = 28, Drop, "spoofed", "the source cannot come in through this interface, by the host's routes";
    Vital = 29, Pass, "vital", "over a limit, but neighbour discovery, DHCP or a path MTU message within its safe rate";
    RequestRate = 30, Drop, "request_rate", "the source exceeds its requests per second at this service";
    HandshakeRate = 31, Drop, "handshake_rate", "the source exceeds its handshakes per second at this service";
    AggregateRequestRate = 32, Drop, "aggregate_request_rate", "all sources together exceed the service's requests per second";
    AggregateHandshakeRate = 33, Drop, "aggregate_handshake_rate", "all sources together exceed the service's handshakes per second";
    Challenged = 34, Answer, "challenged", "a connection of an unproven source over a limit, answered with a SYN cookie in the host's place";
    CookieReturned = 35, Pass, "cookie_returned", "it returns a SYN cookie, so its source has proved its address";
    OpenConnections = 36, Drop, "open_connections", "the source holds as many connections open at this service as it may";
    AggregateOpenConnections = 37, Drop, "aggregate_open_connections", "all sources together hold as many connections open as the service takes";
    NotEncrypted = 38, Drop, "not_encrypted", "data of a connection whose first data was not encrypted, and the service takes no other";
}

/// A [`Reason`] by its number: what stages break with in the kernel, where a number is cheaper to verify than an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u32);

impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self(reason as u32)
    }
}

impl Verdict {
    /// One bit for each reason whose packets do not reach the host.
    const DROPS: u64 = {
        let mut drops = 0;
        let mut number = 0;
        while number < Reason::ALL.len() {
            if !matches!(Reason::ALL[number].action(), Action::Pass) {
                drops |= 1 << number;
            }
            number += 1;
        }
        drops
    };

    /// Exceeded dimension `dimension` (0..4) of a source's limit.
    #[inline(always)]
    pub const fn of_source(dimension: u32) -> Self {
        Self(Reason::PacketRate as u32 + dimension)
    }

    /// Exceeded dimension `dimension` (0..4) of a service's aggregate limit.
    #[inline(always)]
    pub const fn of_aggregate(dimension: u32) -> Self {
        Self(Reason::AggregatePacketRate as u32 + dimension)
    }

    /// Exceeded requests (0) or handshakes (1) of a source's limit.
    #[inline(always)]
    pub const fn of_source_requests(what: u32) -> Self {
        Self(Reason::RequestRate as u32 + what)
    }

    /// The same of a service's aggregate limit.
    #[inline(always)]
    pub const fn of_aggregate_requests(what: u32) -> Self {
        Self(Reason::AggregateRequestRate as u32 + what)
    }

    /// What [`Self::number`] gave.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Banned, denied, contained, or with a forged source address.
    #[inline(always)]
    pub const fn is_exclusion(self) -> bool {
        const EXCLUSIONS: u64 =
            1 << Reason::Banned as u32 | 1 << Reason::Denied as u32 | 1 << Reason::Spoofed as u32;
        (EXCLUSIONS >> (self.0 & 63)) & 1 != 0
    }

    /// Over a limit of its source or of its service.
    #[inline(always)]
    pub const fn is_over_a_limit(self) -> bool {
        (self.0 >= Reason::PacketRate as u32 && self.0 <= Reason::Contended as u32)
            || (self.0 >= Reason::RequestRate as u32 && self.0 <= Reason::AggregateHandshakeRate as u32)
    }

    /// Whether the packet does not reach the host.
    #[inline(always)]
    pub const fn drops(self) -> bool {
        (Self::DROPS >> (self.0 & 63)) & 1 != 0
    }
}

/// Room for reasons in the maps; more than there are, so that adding one changes no layout.
pub const REASONS: usize = 40;

/// Where `Totals::would_drop` counts what limits on trial would have dropped.
pub const CANDIDATE: usize = REASONS - 1;

const _: () = assert!(Reason::ALL.len() < REASONS);

impl Reason {
    /// The reason with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Reason, Verdict};

    #[test]
    fn a_dimension_names_its_reason() {
        let source = [Reason::PacketRate, Reason::ByteRate, Reason::ConnectionRate, Reason::FragmentRate];
        let aggregate = [
            Reason::AggregatePacketRate,
            Reason::AggregateByteRate,
            Reason::AggregateConnectionRate,
            Reason::AggregateFragmentRate,
        ];
        for dimension in 0..4 {
            assert_eq!(Verdict::of_source(dimension), source[dimension as usize].into());
            assert_eq!(Verdict::of_aggregate(dimension), aggregate[dimension as usize].into());
        }
    }

    #[test]
    fn numbers_are_positions_and_verdicts_agree_with_reasons() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            assert_eq!(Verdict::from(*reason).drops(), reason.action() != Action::Pass);
            let over = reason.label().ends_with("_rate") || *reason == Reason::Contended;
            assert_eq!(Verdict::from(*reason).is_over_a_limit(), over, "{}", reason.label());
        }
    }
}
