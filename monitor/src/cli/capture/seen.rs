//! A frame of the ring with what was decided of it, in words.

use std::collections::BTreeMap;

use api::snapshot::address_of;
use jiff::Timestamp;
use monitor_common::capture::{Head, NOTHING, flag};
use monitor_common::flow::{from_halves, protocol};
use monitor_common::packet::Packet;
use monitor_common::parse::{Frame, end, parse_into};
use monitor_common::verdict::{Action, Reason};
use serde::Serialize;

use super::super::{Exit, Failure};
use super::filter::Names;

/// Between the kernel's clock and that of the wall.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    offset_ns: i128,
}

impl Clocks {
    pub fn read() -> Result<Self, Failure> {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let monotonic = i128::from(monotonic.tv_sec) * 1_000_000_000 + i128::from(monotonic.tv_nsec);
        let wall = Timestamp::now().as_nanosecond();
        if wall < monotonic {
            return Err(Failure::new(Exit::Failed, "the clock is before 1970"));
        }
        Ok(Self { offset_ns: wall - monotonic })
    }

    /// Nanoseconds since the epoch.
    fn wall(self, at_ns: u64) -> u64 {
        u64::try_from(i128::from(at_ns) + self.offset_ns).unwrap_or_default()
    }
}

/// One frame.
#[derive(Clone, Debug, Serialize)]
pub struct Seen<'a> {
    pub at: Timestamp,
    #[serde(skip)]
    pub at_ns: u64,
    pub interface: String,
    pub outbound: bool,
    pub verdict: &'static str,
    pub reason: &'static str,
    /// The reason that an observing limit would have dropped it for.
    pub would_drop: Option<&'static str>,
    /// A limit on trial would have dropped it.
    pub candidate: bool,
    pub service: String,
    pub length: u32,
    #[serde(skip)]
    pub data: &'a [u8],
    /// Source and destination, where it is IP.
    pub packet: Option<String>,
}

impl<'a> Seen<'a> {
    pub fn new(
        head: &Head,
        data: &'a [u8],
        names: &Names,
        interfaces: &BTreeMap<u32, String>,
        clocks: &Clocks,
    ) -> Self {
        let reason = Reason::from_number(head.reason);
        let at_ns = clocks.wall(head.at_ns);
        let would_drop = (head.would_drop != NOTHING).then(|| Reason::from_number(head.would_drop)).flatten();
        Self {
            at: Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or_default(),
            at_ns,
            // Slot 0 is of all that are not listed.
            interface: interfaces.get(&head.interface).map_or("unlisted", String::as_str).to_owned(),
            outbound: head.flags & flag::EGRESS != 0,
            verdict: match reason.map(Reason::action) {
                Some(Action::Drop) => "dropped",
                Some(Action::Answer) => "answered",
                Some(Action::Pass) if would_drop.is_some() => "would drop",
                Some(Action::Pass) if head.flags & flag::CANDIDATE != 0 => "would drop on trial",
                _ => "passed",
            },
            reason: reason.map_or("unknown", Reason::label),
            would_drop: would_drop.map(Reason::label),
            candidate: head.flags & flag::CANDIDATE != 0,
            service: names.service(head.service),
            length: head.length,
            data,
            packet: ends(head.length, data),
        }
    }

    /// `dropped: packet_rate; service web; interface eth0`.
    pub fn comment(&self) -> String {
        let Self { verdict, service, interface, .. } = self;
        let reason = self.would_drop.unwrap_or(self.reason);
        let way = if self.outbound { "; outbound" } else { "" };
        format!("{verdict}: {reason}; service {service}; interface {interface}{way}")
    }
}

/// The beginning of a frame that may be longer.
struct Cut<'a> {
    length: u32,
    data: &'a [u8],
}

impl Packet for Cut<'_> {
    fn length(&self) -> u32 {
        self.length
    }

    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.data.read(offset)
    }
}

/// `192.0.2.7:40000 > 198.51.100.1:80 tcp`.
fn ends(length: u32, data: &[u8]) -> Option<String> {
    let mut frame = Frame::EMPTY;
    let kind = parse_into(&Cut { length, data }, &mut frame).kind;
    if kind & (end::DEFECTIVE - 1) != end::IP {
        return None;
    }
    let end = |[high, low]: [u64; 2], port: u16| {
        let address = address_of(from_halves(high, low));
        let has_ports = [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&frame.protocol);
        if has_ports && frame.has_ports() {
            std::net::SocketAddr::new(address, port).to_string()
        } else {
            address.to_string()
        }
    };
    let upper = detection::finding::Service::new(frame.protocol, 0).protocol;
    let from = end(frame.source, frame.source_port);
    Some(format!("{from} > {} {upper}", end(frame.destination, frame.destination_port)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::filter::Names;
    use super::{Clocks, Seen};
    use monitor_common::capture::{Head, NOTHING, flag};
    use monitor_common::verdict::Reason;

    const HEAD: Head = Head {
        at_ns: 5,
        length: 1500,
        captured: 0,
        reason: Reason::PacketRate as u32,
        would_drop: NOTHING,
        service: 2,
        interface: 1,
        flags: 0,
        reserved: 0,
    };

    fn comment(head: Head) -> String {
        let interfaces = BTreeMap::from([(1, "eth0".to_owned())]);
        Seen::new(&head, &[], &Names::default(), &interfaces, &Clocks { offset_ns: 10 }).comment()
    }

    #[test]
    fn a_comment_says_verdict_reason_service_and_interface() {
        assert_eq!(comment(HEAD), "dropped: packet_rate; service #2; interface eth0");
        let passed = Head { reason: Reason::Accepted as u32, ..HEAD };
        assert_eq!(comment(passed), "passed: accepted; service #2; interface eth0");
        let would = Head { would_drop: Reason::ByteRate as u32, interface: 0, ..passed };
        assert_eq!(comment(would), "would drop: byte_rate; service #2; interface unlisted");
        let trial = Head { flags: flag::CANDIDATE, ..passed };
        assert_eq!(comment(trial), "would drop on trial: accepted; service #2; interface eth0");
        let out = Head { reason: Reason::Contained as u32, flags: flag::EGRESS, ..HEAD };
        assert_eq!(comment(out), "dropped: contained; service #2; interface eth0; outbound");
        let answered = Head { reason: Reason::Challenged as u32, ..HEAD };
        assert_eq!(comment(answered), "answered: challenged; service #2; interface eth0");
    }

    #[test]
    fn the_ends_of_a_cut_frame_are_read() {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 5, 0xdc - 14, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 198, 51, 100, 1]);
        frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(super::ends(1500, &frame).as_deref(), Some("192.0.2.7:40000 > 198.51.100.1:80 tcp"));
        assert_eq!(super::ends(60, &frame[..13]), None);
    }
}
