//! Those who know whom they ask: what fails on one way and works on another, monitoring, routers, clients of a service
//! that went down.

use monitor_common::{
    conversation::note,
    flow::{protocol, tcp},
};

use super::scene::{Goes, MS, S, Scene};
use crate::finding::{Detector, Severity};

const HOST: &str = "10.0.0.9";
const MAC: u64 = 0x0200_0000_0009;

/// Sites tried over IPv6 without an answer; over IPv4 too, a quarter of a second later, if `falls_back`.
fn sites(count: u16, falls_back: bool) -> Scene {
    let mut scene = Scene::default();
    for site in 0..count {
        let mut record = scene.record("fd00::9", &format!("2001:db8::{:x}", site + 1), protocol::TCP, 443);
        record.mac = MAC;
        scene.send(&record);
        scene.pass(S / 4);
        if falls_back {
            let mut record = scene.record(HOST, &format!("203.0.113.{}", site + 1), protocol::TCP, 443);
            record.mac = MAC;
            scene.send(&record);
            record.outcome = monitor_common::conversation::outcome::ESTABLISHED;
            record.forward_flags |= u32::from(tcp::ACK);
            record.backward_flags = u32::from(tcp::SYN | tcp::ACK);
            scene.again(&mut record, 20 * MS);
        }
        scene.pass(S);
    }
    scene.pass(20 * S);
    scene
}

#[test]
fn sites_reached_over_ipv4_after_ipv6_did_not_answer_are_no_scan() {
    assert!(sites(60, true).quiet());
    assert!(sites(60, false).found(Detector::HostScan, "fd00::9", Severity::Warning));
}

#[test]
fn quic_that_does_not_get_through_is_no_udp_scan_while_tcp_does() {
    let browse = |over_tcp: bool| {
        let mut scene = Scene::default();
        for site in 0..60 {
            let server = format!("203.0.113.{}", site + 1);
            scene.datagram(HOST, &server, 443, 1250, None);
            if over_tcp {
                scene.connect(HOST, &server, 443, Goes::Well(500, 8000, S));
            }
            scene.pass(2 * S);
        }
        scene.pass(20 * S);
        scene
    };
    assert!(browse(true).quiet());
    assert!(browse(false).found(Detector::UdpScan, HOST, Severity::Warning));
}

#[test]
fn an_answer_to_the_third_try_is_an_answer() {
    let mut scene = Scene::default();
    let mut all: Vec<_> = (0..40)
        .map(|host| {
            let record = scene.record(HOST, &format!("203.0.113.{}", host + 1), protocol::TCP, 443);
            scene.send(&record);
            record
        })
        .collect();
    scene.pass(7 * S);
    for record in &mut all {
        record.outcome = monitor_common::conversation::outcome::ESTABLISHED;
        record.forward_flags |= u32::from(tcp::ACK);
        scene.again(record, MS);
    }
    scene.pass(20 * S);
    assert!(scene.quiet());
}

/// So many hosts, and one of so many is down.
fn pings(hosts: u32, one_of: u32) -> Scene {
    let mut scene = Scene::default();
    for host in 0..hosts {
        let target = format!("10.0.{}.{}", 1 + host / 200, 1 + host % 200);
        scene.datagram_of(protocol::ICMP, HOST, &target, host % one_of != 0);
        scene.pass(S / 5);
    }
    scene.pass(20 * S);
    scene
}

#[test]
fn monitoring_pings_hosts_that_are_there_and_a_sweep_does_not() {
    let mut monitoring = pings(200, 10);
    assert!(monitoring.found(Detector::IcmpSweep, HOST, Severity::Info) && monitoring.quiet());
    assert!(pings(40, 2).found(Detector::IcmpSweep, HOST, Severity::Warning));
}

#[test]
fn solicited_neighbours_that_advertise_themselves_are_no_sweep() {
    let ask = |answered: bool| {
        let mut scene = Scene::default();
        for host in 1..60 {
            let target = format!("fd00::1:{host}");
            scene.observed(note::SOLICITATION, "fe80::1", &target, (0, 135 << 8), 0);
            if answered {
                scene.observed(note::ICMP_OTHER, &target, "fe80::1", (0, 136 << 8), 0);
            }
            scene.pass(S / 4);
        }
        scene
    };
    assert!(ask(true).quiet());
    assert!(ask(false).found(Detector::NdSweep, "fe80::1", Severity::Warning));
}

#[test]
fn clients_of_a_service_that_went_down_do_not_flood_it() {
    let mut scene = Scene::default();
    let clients: Vec<String> = (1..80).map(|client| format!("10.0.7.{client}")).collect();
    for client in &clients {
        scene.connect(client, "10.0.0.80", 443, Goes::Well(500, 8000, S));
        scene.pass(100 * MS);
    }
    scene.pass(5 * S);
    for _ in 0..5 {
        for client in &clients {
            scene.connect(client, "10.0.0.80", 443, Goes::Unanswered);
            scene.pass(5 * MS);
        }
    }
    assert!(scene.quiet());
}

#[test]
fn a_slow_dns_tunnel_of_long_questions_is_found_and_short_questions_are_not() {
    let ask = |bytes: u64| {
        let mut scene = Scene::default();
        for _ in 0..80 {
            scene.datagram(HOST, "10.0.0.53", 53, bytes, Some(140));
            scene.pass(7 * S);
        }
        scene
    };
    assert!(ask(150).found(Detector::DnsTunnel, HOST, Severity::Warning));
    assert!(ask(45).silent_about(Detector::DnsTunnel));
}

#[test]
fn what_a_host_left_open_before_it_slept_is_no_scan_and_one_port_that_sends_to_many_hosts_is() {
    let strays = |one_port: bool| {
        let mut scene = Scene::default();
        scene.pass(300 * S);
        for host in 1..60u16 {
            let own = if one_port { 40_000 } else { 40_000 + host };
            let (peer, flags) = (format!("203.0.113.{host}"), tcp::FIN | tcp::ACK);
            scene.observed(note::STRAY, HOST, &peer, (own, 443), flags);
            scene.observed(note::RESET, &peer, HOST, (443, own), tcp::RST);
            scene.pass(S / 10);
        }
        scene.pass(20 * S);
        scene
    };
    assert!(strays(false).quiet());
    assert!(strays(true).found(Detector::OutOfStateScan, HOST, Severity::Warning));
}
