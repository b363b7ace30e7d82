//! The parser on the host: every fixture, every truncation, random bytes, and a second opinion.

use monitor_common::{
    flow,
    packet::Packet as _,
    parse::{Parsed, parse},
};

use crate::fixtures::{self, Ends, Seen};

fn seen(frame: &[u8]) -> Seen {
    match parse(frame) {
        Parsed::Ip(ip) => Seen::Ip(Ends {
            v4: ip.is_v4,
            protocol: ip.protocol,
            ports: (ip.source_port, ip.destination_port),
            flags: ip.tcp_flags,
            fragment: ip.fragment,
            vlans: ip.vlans,
            payload: ip.payload,
        }),
        Parsed::Arp(_) => Seen::Arp,
        Parsed::NonIp(ethertype) => Seen::NonIp(ethertype),
        Parsed::Malformed(kind) | Parsed::Defective(_, kind) => Seen::Malformed(kind),
    }
}

#[test]
fn every_fixture_is_read_as_its_row_says() {
    let rows = fixtures::all();
    let wrong = rows
        .iter()
        .filter(|row| seen(&row.frame) != row.seen)
        .map(|row| format!("{}:\n  read     {:?}\n  expected {:?}", row.says, seen(&row.frame), row.seen))
        .collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{} of {} rows\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    println!("{} fixtures", rows.len());
}

#[test]
fn there_are_at_least_170_fixtures_and_no_two_say_the_same() {
    let mut says = fixtures::all().iter().map(|row| row.says).collect::<Vec<_>>();
    assert!(says.len() >= 170, "{} fixtures", says.len());
    says.sort_unstable();
    let twice = says.windows(2).filter(|pair| pair[0] == pair[1]).collect::<Vec<_>>();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn every_kind_of_malformed_frame_has_a_fixture() {
    let rows = fixtures::all();
    for kind in monitor_common::parse::Malformed::ALL {
        // Fewer than 14 bytes never reach a test run: the kernel refuses them.
        let short = matches!(kind, monitor_common::parse::Malformed::EthernetTruncated);
        assert!(short || rows.iter().any(|row| row.seen == Seen::Malformed(kind)), "{}", kind.label());
    }
    assert_eq!(seen(&[0; 13]), Seen::Malformed(monitor_common::parse::Malformed::EthernetTruncated));
    assert_eq!(seen(&[]), Seen::Malformed(monitor_common::parse::Malformed::EthernetTruncated));
}

/// What is read must lie within the frame, whatever the frame.
fn check_bounds(frame: &[u8]) {
    if let Parsed::Defective(ip, _) = parse(frame) {
        assert!(ip.network_offset + 20 <= ip.length, "{ip:?}");
    }
    if let Parsed::Ip(ip) = parse(frame) {
        assert_eq!(ip.length, frame.length());
        assert!(ip.network_offset < ip.transport_offset, "{ip:?}");
        assert!(ip.transport_offset <= ip.length, "{ip:?}");
        assert!(ip.transport_offset + ip.payload <= ip.length, "{ip:?}");
    }
}

#[test]
fn no_truncation_of_a_fixture_is_read_beyond_its_end() {
    for row in fixtures::all() {
        for length in 0..row.frame.len() {
            check_bounds(&row.frame[..length]);
        }
    }
}

#[test]
fn a_second_parser_agrees_on_every_well_formed_fixture() {
    let mut compared = 0;
    for row in fixtures::all() {
        let Parsed::Ip(ip) = parse(row.frame.as_slice()) else { continue };
        let Ok(other) = etherparse::SlicedPacket::from_ethernet(&row.frame) else { continue };
        let Some(net) = &other.net else { continue };
        let (source, destination) = match net {
            etherparse::NetSlice::Ipv4(v4) => {
                let header = v4.header();
                (flow::mapped(header.source()), flow::mapped(header.destination()))
            }
            etherparse::NetSlice::Ipv6(v6) => (v6.header().source(), v6.header().destination()),
            etherparse::NetSlice::Arp(_) => continue,
        };
        assert_eq!(flow::from_halves(ip.source[0], ip.source[1]), source, "{}", row.says);
        assert_eq!(flow::from_halves(ip.destination[0], ip.destination[1]), destination, "{}", row.says);
        let ports = match &other.transport {
            Some(etherparse::TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
            Some(etherparse::TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
            _ => None,
        };
        if let Some(ports) = ports {
            assert_eq!((ip.source_port, ip.destination_port), ports, "{}", row.says);
            compared += 1;
        }
    }
    assert!(compared > 50, "only {compared} rows could be compared");
}
