//! TCP, UDP, ICMP and SCTP: ports, flags, types and numbers.

use core::ops::ControlFlow;

use super::{Fragment, Frame, Malformed, Step, defective, or_defective};
use crate::{flow::protocol, packet::Packet};

/// Ports, flags or type of the upper header, which has `rest` bytes.
#[inline(always)]
pub fn transport<P: Packet + ?Sized>(packet: &P, frame: &mut Frame, rest: u32) -> Step<()> {
    let offset = frame.transport_offset;
    match frame.protocol {
        protocol::TCP => {
            if rest < 20 {
                return short(frame, Malformed::TcpTruncated);
            }
            let header = or_defective(packet.read::<14>(offset), Malformed::TcpTruncated)?;
            let header_bytes = u32::from(header[12] >> 4) * 4;
            if header_bytes < 20 {
                return defective(Malformed::TcpHeaderLength);
            }
            if header_bytes > rest {
                return short(frame, Malformed::TcpHeaderLength);
            }
            frame.sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            frame.acknowledged = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
            frame.source_port = u16::from_be_bytes([header[0], header[1]]);
            frame.destination_port = u16::from_be_bytes([header[2], header[3]]);
            frame.tcp_flags = header[13];
            frame.payload = rest.saturating_sub(header_bytes);
        }
        protocol::UDP => {
            if rest < 8 {
                return short(frame, Malformed::UdpTruncated);
            }
            let header = or_defective(packet.read::<6>(offset), Malformed::UdpTruncated)?;
            let length = u32::from(u16::from_be_bytes([header[4], header[5]]));
            let whole = matches!(frame.fragment, Fragment::Whole);
            // Zero: a jumbogram or an offloaded frame. A first fragment may announce more than it holds.
            if length != 0 && (length < 8 || (whole && length > rest)) {
                return defective(Malformed::UdpLength);
            }
            frame.source_port = u16::from_be_bytes([header[0], header[1]]);
            frame.destination_port = u16::from_be_bytes([header[2], header[3]]);
            frame.payload = rest - 8;
        }
        protocol::ICMP | protocol::ICMPV6 => {
            if rest < 4 {
                return short(frame, Malformed::IcmpTruncated);
            }
            let header = or_defective(packet.read::<2>(offset), Malformed::IcmpTruncated)?;
            frame.destination_port = u16::from_be_bytes(header);
            frame.payload = rest.saturating_sub(8);
        }
        protocol::SCTP => {
            if rest < 12 {
                return short(frame, Malformed::SctpTruncated);
            }
            let header = or_defective(packet.read::<4>(offset), Malformed::SctpTruncated)?;
            frame.source_port = u16::from_be_bytes([header[0], header[1]]);
            frame.destination_port = u16::from_be_bytes([header[2], header[3]]);
            frame.payload = rest - 12;
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

/// A header that the packet does not hold. In a first fragment it is what evades filters that look no further (RFC 1858,
/// RFC 5722, RFC 7112).
#[inline(always)]
fn short(frame: &Frame, kind: Malformed) -> Step<()> {
    if matches!(frame.fragment, Fragment::First) {
        defective(Malformed::ShortFirstFragment)
    } else {
        defective(kind)
    }
}
