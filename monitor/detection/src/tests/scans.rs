//! Scans and sweeps.

use monitor_common::{
    conversation::{note, outcome, record_kind},
    flow::tcp,
};

use super::scene::{Goes, MS, S, Scene};
use crate::finding::{Detector, Severity};

const HOST: &str = "10.0.0.9";
const PEER: &str = "10.0.7.1";

fn ports(count: u16, goes: Goes) -> Scene {
    let mut scene = Scene::default();
    for port in 1..=count {
        scene.connect(HOST, PEER, 1000 + port, goes);
        scene.pass(100 * MS);
    }
    scene
}

#[test]
fn fifteen_refused_ports_of_a_host_are_a_port_scan_and_fourteen_are_not() {
    assert!(ports(15, Goes::Refused).found(Detector::PortScan, HOST, Severity::Warning));
    assert!(ports(14, Goes::Refused).silent_about(Detector::PortScan));
}

#[test]
fn unanswered_ports_are_a_port_scan_and_served_ones_are_not() {
    assert!(ports(15, Goes::Unanswered).found(Detector::PortScan, HOST, Severity::Warning));
    assert!(ports(200, Goes::Well(100, 200, S)).quiet());
}

fn hosts(count: u8, goes: Goes) -> Scene {
    let mut scene = Scene::default();
    for host in 0..count {
        scene.connect(HOST, &format!("10.0.5.{host}"), 8080, goes);
        scene.pass(200 * MS);
    }
    scene
}

#[test]
fn twenty_five_failed_hosts_on_a_port_are_a_host_scan_and_twenty_four_are_not() {
    assert!(hosts(25, Goes::Refused).found(Detector::HostScan, HOST, Severity::Warning));
    assert!(hosts(24, Goes::Unanswered).silent_about(Detector::HostScan));
    assert!(hosts(60, Goes::Well(500, 5000, S)).silent_about(Detector::HostScan));
}

#[test]
fn a_host_scan_needs_most_contacts_to_fail() {
    let mut scene = Scene::default();
    for host in 0..120u8 {
        let goes = if host % 3 == 0 { Goes::Unanswered } else { Goes::Well(300, 900, S) };
        scene.connect(HOST, &format!("203.0.113.{host}"), 443, goes);
        scene.pass(500 * MS);
    }
    assert!(scene.quiet());
}

#[test]
fn ten_probes_in_three_hours_are_a_slow_scan() {
    let mut scene = Scene::default();
    for host in 0..10 {
        scene.connect(HOST, &format!("10.0.5.{host}"), 445, Goes::Unanswered);
        scene.pass(1080 * S);
    }
    assert!(scene.found(Detector::SlowScan, HOST, Severity::Warning));
}

#[test]
fn failures_among_successes_are_no_slow_scan() {
    let mut scene = Scene::default();
    for host in 0..40 {
        let goes = if host % 2 == 0 { Goes::Unanswered } else { Goes::Well(300, 300, S) };
        scene.connect(HOST, &format!("10.0.5.{host}"), 445, goes);
        scene.pass(300 * S);
    }
    assert!(scene.silent_about(Detector::SlowScan));
}

#[test]
fn a_slow_scan_and_a_fast_scan_of_one_source_are_one_finding() {
    let loud = |mut scene: Scene| scene.findings().len();
    assert_eq!(loud(ports(100, Goes::Refused)), 1);
    assert_eq!(loud(hosts(100, Goes::Unanswered)), 1);
}

#[test]
fn a_scan_from_outside_shows_in_observed_packets() {
    let mut scene = Scene::default();
    for port in 0..40 {
        scene.observed(note::SYN, "203.0.113.7", PEER, (50_000, port), tcp::SYN);
        if port % 2 == 0 {
            scene.observed(note::RESET, PEER, "203.0.113.7", (port, 50_000), tcp::RST);
        }
        scene.pass(50 * MS);
    }
    scene.pass(10 * S);
    assert!(scene.found(Detector::PortScan, "203.0.113.7", Severity::Warning));
    assert_eq!(scene.findings().len(), 1, "the refusing host is not blamed");
}

#[test]
fn udp_ports_without_an_answer_are_a_udp_scan() {
    let scan = |count| {
        let mut scene = Scene::default();
        for port in 0..count {
            scene.datagram(HOST, PEER, 2000 + port, 0, None);
            scene.pass(100 * MS);
        }
        scene
    };
    assert!(scan(25).found(Detector::UdpScan, HOST, Severity::Warning));
    assert!(scan(24).silent_about(Detector::UdpScan));
}

#[test]
fn segments_without_a_connection_are_an_out_of_state_scan_and_backscatter_is_not() {
    let strays = |what, flags: u8, count: u16| {
        let mut scene = Scene::default();
        for port in 0..count {
            scene.observed(what, "203.0.113.7", PEER, (50_000, 1000 + port), flags);
            scene.pass(100 * MS);
        }
        scene.pass(20 * S);
        scene
    };
    for flags in [0, tcp::FIN, tcp::FIN | tcp::PSH | tcp::URG] {
        assert!(strays(note::STRAY, flags, 25).found(
            Detector::OutOfStateScan,
            "203.0.113.7",
            Severity::Warning
        ));
    }
    assert!(strays(note::STRAY, 0, 24).silent_about(Detector::OutOfStateScan));
    assert!(strays(note::STRAY, tcp::ACK, 60).quiet(), "connections from before the watch look like this");
    assert!(strays(note::SYN_ACK, tcp::SYN | tcp::ACK, 200).quiet());
    assert!(strays(note::RESET, tcp::RST, 200).quiet());
}

#[test]
fn refused_acknowledgements_are_an_out_of_state_scan_at_once() {
    let mut scene = Scene::default();
    for port in 0..30 {
        scene.observed(note::STRAY, "203.0.113.7", PEER, (50_000, 1000 + port), tcp::ACK);
        scene.observed(note::RESET, PEER, "203.0.113.7", (1000 + port, 50_000), tcp::RST);
        scene.pass(100 * MS);
    }
    assert!(scene.found(Detector::OutOfStateScan, "203.0.113.7", Severity::Warning));
}

#[test]
fn an_ack_scan_of_an_insider_shows_in_its_refusals() {
    let mut scene = Scene::default();
    for port in 0..30 {
        let mut record = scene.record(HOST, PEER, 6, 1 + port);
        (record.outcome, record.forward_flags, record.opens) = (outcome::MIDSTREAM, u32::from(tcp::ACK), 0);
        scene.send(&record);
        (record.outcome, record.kind) = (outcome::REFUSED, record_kind::ENDED);
        scene.again(&mut record, MS);
    }
    assert!(scene.found(Detector::OutOfStateScan, HOST, Severity::Warning));
}

#[test]
fn an_outage_is_no_scan() {
    let mut scene = Scene::default();
    for number in 0..160u8 {
        let goes = if number < 100 { Goes::Well(500, 9000, S) } else { Goes::Unanswered };
        scene.connect(HOST, &format!("203.0.113.{number}"), 443, goes);
        scene.pass(2 * S);
    }
    assert!(scene.quiet());
}

#[test]
fn echo_requests_to_many_silent_addresses_are_a_sweep_and_a_few_are_not() {
    let sweep = |count: u8| {
        let mut scene = Scene::default();
        for host in 0..count {
            let record = scene.record(HOST, &format!("10.0.5.{host}"), 1, 8 << 8);
            scene.send(&record);
            scene.pass(200 * MS);
        }
        scene
    };
    assert!(sweep(10).found(Detector::IcmpSweep, HOST, Severity::Warning));
    assert!(sweep(9).silent_about(Detector::IcmpSweep));
}

#[test]
fn solicitations_and_arp_requests_for_many_addresses_are_sweeps() {
    let ask = |what, count: u16| {
        let mut scene = Scene::default();
        for host in 0..count {
            let (from, to) = if what == note::SOLICITATION {
                ("fe80::9".to_owned(), format!("fe80::5:{host:x}"))
            } else {
                (HOST.to_owned(), format!("10.0.{}.{}", host / 250, host % 250))
            };
            scene.observed(what, &from, &to, (0, 0), 0);
            scene.pass(100 * MS);
        }
        scene
    };
    assert!(ask(note::SOLICITATION, 25).found(Detector::NdSweep, "fe80::9", Severity::Warning));
    assert!(ask(note::SOLICITATION, 24).silent_about(Detector::NdSweep));
    assert!(ask(note::ARP_REQUEST, 100).found(Detector::ArpSweep, "02:00:00:00:00:01", Severity::Warning));
    assert!(ask(note::ARP_REQUEST, 24).silent_about(Detector::ArpSweep));
}
