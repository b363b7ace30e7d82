use monitor_common::rule::{BLOCKS, CLASSES};

use super::{Entry, build, find};
use crate::config::{Match, Protocol};

fn matching(protocols: &[&str], ports: &[&str], destinations: &[&str]) -> Match {
    Match {
        protocols: protocols.iter().map(|text| text.parse().expect("a protocol")).collect(),
        ports: ports.iter().map(|text| text.parse().expect("ports")).collect(),
        destinations: destinations.iter().map(|text| text.parse().expect("a prefix")).collect(),
    }
}

/// Names of the services that are tried for a packet, found as the kernel finds them; the last is the one that applies.
fn applies(services: &[(&str, Match)], protocol: Protocol, port: Option<u16>, destination: &str) -> String {
    let mut entries = vec![Entry {
        name: "default",
        matches: None,
        number: 0,
        limits: [0; CLASSES],
        has_aggregate: false,
        challenges: false,
    }];
    let mut number = 0;
    for (name, matches) in services {
        number += 1;
        entries.push(Entry {
            name,
            matches: Some(matches),
            number,
            limits: [number; CLASSES],
            has_aggregate: false,
            challenges: false,
        });
    }
    let (blocks, rules) = build(&entries, 1024).expect("it fits");
    assert_eq!(blocks.len(), BLOCKS as usize);
    let destination = destination.parse().expect("an address");
    let number = find(&blocks, &rules, u32::from(protocol.0), port, destination);
    entries[number as usize].name.to_owned()
}

#[test]
fn a_port_belongs_to_its_service_and_its_neighbours_to_the_default() {
    let services = [("web", matching(&["tcp"], &["443"], &[]))];
    assert_eq!(applies(&services, Protocol::TCP, Some(443), "192.0.2.1"), "web");
    assert_eq!(applies(&services, Protocol::TCP, Some(442), "192.0.2.1"), "default");
    assert_eq!(applies(&services, Protocol::TCP, Some(444), "192.0.2.1"), "default");
    assert_eq!(applies(&services, Protocol::UDP, Some(443), "192.0.2.1"), "default");
}

#[test]
fn a_port_beats_a_range_beats_the_whole_protocol() {
    let services = [
        ("all", matching(&["udp"], &[], &[])),
        ("range", matching(&["udp"], &["5000-6000"], &[])),
        ("one", matching(&["udp"], &["5353"], &[])),
    ];
    assert_eq!(applies(&services, Protocol::UDP, Some(5353), "192.0.2.1"), "one");
    assert_eq!(applies(&services, Protocol::UDP, Some(5354), "192.0.2.1"), "range");
    assert_eq!(applies(&services, Protocol::UDP, Some(53), "192.0.2.1"), "all");
    assert_eq!(applies(&services, Protocol::UDP, Some(65_535), "192.0.2.1"), "all");
}

#[test]
fn later_fragments_belong_to_the_service_of_the_whole_protocol() {
    let services = [("all", matching(&["udp"], &[], &[])), ("dns", matching(&["udp"], &["53"], &[]))];
    assert_eq!(applies(&services, Protocol::UDP, None, "192.0.2.1"), "all");
    assert_eq!(applies(&services[1..], Protocol::UDP, None, "192.0.2.1"), "default");
}

#[test]
fn the_longest_destination_wins_whatever_the_port_says() {
    let services = [
        ("anywhere", matching(&["tcp"], &["443"], &[])),
        ("network", matching(&["tcp"], &["400-500"], &["192.0.2.0/24"])),
        ("host", matching(&["tcp"], &[], &["192.0.2.7/32", "2001:db8::7/128"])),
    ];
    assert_eq!(applies(&services, Protocol::TCP, Some(443), "198.51.100.1"), "anywhere");
    assert_eq!(applies(&services, Protocol::TCP, Some(443), "192.0.2.1"), "network");
    assert_eq!(applies(&services, Protocol::TCP, Some(443), "192.0.2.7"), "host");
    assert_eq!(applies(&services, Protocol::TCP, Some(443), "2001:db8::7"), "host");
    assert_eq!(applies(&services, Protocol::TCP, Some(443), "2001:db8::8"), "anywhere");
}

#[test]
fn all_of_ipv4_is_a_destination_that_ipv6_does_not_match() {
    let services = [("four", matching(&["icmp", "47"], &[], &["0.0.0.0/0"]))];
    assert_eq!(applies(&services, Protocol(47), None, "192.0.2.1"), "four");
    assert_eq!(applies(&services, Protocol(47), None, "2001:db8::1"), "default");
}

#[test]
fn a_chain_that_is_too_long_names_the_place_and_the_services() {
    let destinations: Vec<String> = (0..9).map(|n| format!("192.0.2.{n}/32")).collect();
    let destinations: Vec<&str> = destinations.iter().map(String::as_str).collect();
    let matches = matching(&["tcp"], &["443"], &destinations);
    let entries = [
        Entry {
            name: "default",
            matches: None,
            number: 0,
            limits: [0; CLASSES],
            has_aggregate: false,
            challenges: false,
        },
        Entry {
            name: "web",
            matches: Some(&matches),
            number: 1,
            limits: [0; CLASSES],
            has_aggregate: false,
            challenges: false,
        },
    ];
    let error = build(&entries, 1024).expect_err("too long");
    assert_eq!(error.to_string(), "9 destinations are too many for tcp port 443: at most 8 (services web)");
}

#[test]
fn a_range_of_all_ports_takes_one_rule() {
    let matches = matching(&["tcp", "udp", "sctp"], &["1-65535"], &[]);
    let entries = [
        Entry {
            name: "default",
            matches: None,
            number: 0,
            limits: [0; CLASSES],
            has_aggregate: false,
            challenges: false,
        },
        Entry {
            name: "all",
            matches: Some(&matches),
            number: 1,
            limits: [0; CLASSES],
            has_aggregate: false,
            challenges: false,
        },
    ];
    let (_, rules) = build(&entries, 2).expect("it fits");
    assert_eq!(rules.len(), 2);
}
