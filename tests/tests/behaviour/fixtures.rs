//! The one table of packets: what each is, how it must be read, and how it must end under which rules.
//!
//! The same rows go through the parser on the host and, whole and truncated, through the object in the kernel.

pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod link;
pub mod policy;
pub mod tcp;
pub mod udp;
pub mod upper;

use monitor_common::{
    parse::{Fragment, Malformed},
    verdict::Reason,
};
use monitor_tests::harness::packet::Packet;

/// How a frame must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Ip(Ends),
    Arp,
    NonIp(u16),
    Malformed(Malformed),
}

/// What must be read of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub v4: bool,
    pub protocol: u8,
    pub ports: (u16, u16),
    pub flags: u8,
    pub fragment: Fragment,
    pub vlans: [u16; 2],
    pub payload: u32,
}

/// The rules that a row is judged by; their text is in [`policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rules {
    /// Services with generous limits, malformed frames pass.
    Standard,
    /// The same, malformed frames drop.
    Strict,
    /// Exemptions, denials, classes and small limits.
    Guarded,
    /// Small limits that only observe.
    Observed,
    /// IPv4 sources by /24, IPv6 by /128.
    Grouped,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Fixture {
    pub says: &'static str,
    pub frame: Vec<u8>,
    pub seen: Seen,
    pub rules: Rules,
    /// The service whose totals must move.
    pub service: &'static str,
    /// How the frame ends when it is sent as often as these counts add up to, at one instant.
    pub ends: Vec<(Reason, u64)>,
    /// How many of those an observing limit would have dropped, and for what.
    pub would_drop: Option<(Reason, u64)>,
}

/// Every row.
pub fn all() -> Vec<Fixture> {
    [
        link::rows(),
        ipv4::rows(),
        ipv6::rows(),
        tcp::rows(),
        udp::rows(),
        icmp::rows(),
        upper::rows(),
        policy::rows(),
    ]
    .concat()
}

/// A frame that is read as `seen` and accepted at `service`.
pub fn accepted(says: &'static str, packet: &Packet, seen: Ends, service: &'static str) -> Fixture {
    judged(says, packet, Seen::Ip(seen), service, Reason::Accepted)
}

/// A frame that is malformed in this way, and passes or drops by default.
pub fn malformed(says: &'static str, packet: &Packet, kind: Malformed) -> Fixture {
    let reason = match kind {
        Malformed::TooManyExtensions => Reason::ExtensionChain,
        Malformed::ShortFirstFragment | Malformed::FragmentInHeader => Reason::TinyFragment,
        Malformed::TooManyTags => Reason::TagStack,
        Malformed::Pppoe | Malformed::Mpls => Reason::Encapsulated,
        _ => Reason::MalformedPassed,
    };
    judged(says, packet, Seen::Malformed(kind), "default", reason)
}

/// A frame that is not IP.
pub fn non_ip(says: &'static str, packet: &Packet, ethertype: u16) -> Fixture {
    judged(says, packet, Seen::NonIp(ethertype), "default", Reason::NonIp)
}

/// One frame, one end, under the standard rules.
pub fn judged(
    says: &'static str,
    packet: &Packet,
    seen: Seen,
    service: &'static str,
    reason: Reason,
) -> Fixture {
    Fixture {
        says,
        frame: packet.build(),
        seen,
        rules: Rules::Standard,
        service,
        ends: vec![(reason, 1)],
        would_drop: None,
    }
}

impl Fixture {
    pub fn under(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Where a defective packet is judged: at the service that could still be read.
    pub fn at(mut self, service: &'static str) -> Self {
        self.service = service;
        self
    }

    pub fn ends(mut self, ends: &[(Reason, u64)]) -> Self {
        self.ends = ends.to_vec();
        self
    }

    pub fn would_drop(mut self, reason: Reason, count: u64) -> Self {
        self.would_drop = Some((reason, count));
        self
    }
}

/// A whole IPv4 packet of `protocol`, without ports.
pub const fn v4(protocol: u8) -> Ends {
    Ends { v4: true, protocol, ports: (0, 0), flags: 0, fragment: Fragment::Whole, vlans: [0; 2], payload: 0 }
}

/// A whole IPv6 packet of `protocol`, without ports.
pub const fn v6(protocol: u8) -> Ends {
    Ends { v4: false, ..v4(protocol) }
}

impl Ends {
    pub const fn ports(self, source: u16, destination: u16) -> Self {
        Self { ports: (source, destination), ..self }
    }

    pub const fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    pub const fn payload(self, payload: u32) -> Self {
        Self { payload, ..self }
    }

    pub const fn vlans(self, outer: u16, inner: u16) -> Self {
        Self { vlans: [outer, inner], ..self }
    }

    pub const fn first(self) -> Self {
        Self { fragment: Fragment::First, ..self }
    }

    pub const fn later(self) -> Self {
        Self { fragment: Fragment::Later, ..self }
    }
}
