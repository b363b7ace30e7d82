//! Implants, guesses and movement as captures of one host show them, each beside the honest program that looks alike.

use monitor_common::application::{Recognition, encryption, protocol as spoken};
use monitor_common::{
    conversation::{Bursts, outcome, record_kind, tracking::HANDSHAKE_REPORTED},
    flow::{protocol, tcp},
};

use super::scene::{Goes, MS, S, Scene, direction};
use crate::finding::{Detector, Severity};

const HOST: &str = "10.0.0.9";
const PEER: &str = "198.51.100.7";

/// Five servers by address, each called three times within half an hour, by a host that goes by names otherwise.
fn list(ports: [u16; 5], besides: impl Fn(&mut Scene)) -> Scene {
    let mut scene = Scene::default();
    for _ in 0..3 {
        for (number, port) in ports.iter().enumerate() {
            let server = format!("198.51.100.{}", 10 + number);
            let goes = if number == 1 { Goes::Unanswered } else { Goes::Well(900, 2500, S) };
            scene.connect(HOST, &server, *port, goes);
            scene.pass(50 * S);
            scene.datagram(HOST, "10.0.0.53", 53, 40, Some(90));
            scene.pass(S / 10);
            scene.connect(HOST, &format!("203.0.113.{}", 10 + number), 443, Goes::Well(700, 9000, S));
            scene.pass(37 * S);
        }
        besides(&mut scene);
    }
    scene
}

#[test]
fn a_list_of_servers_by_address_is_called_though_no_pair_beats() {
    let nothing = |_: &mut Scene| {};
    assert!(list([443, 8080, 7080, 443, 449], nothing).found(Detector::Beacon, HOST, Severity::Warning));
    // One program's servers share a usual port; a program that shares files meets many over UDP.
    assert!(list([443; 5], nothing).quiet());
    let shares = |scene: &mut Scene| {
        for peer in 0..6 {
            scene.datagram(HOST, &format!("192.0.2.{}", peer + 1), 6881 + peer, 100, Some(200));
        }
    };
    assert!(list([6881, 6882, 51_413, 6889, 443], shares).quiet());
}

/// Bursts of one conversation on port 443 that speaks this.
fn bursts(recognised: Recognition, (sent, received): (u64, u64)) -> Scene {
    let mut scene = Scene { recognised, ..Scene::default() };
    let mut record = scene.record(HOST, PEER, protocol::TCP, 443);
    scene.send(&record);
    record.kind = record_kind::ACTIVE;
    record.outcome = outcome::ESTABLISHED;
    record.forward_flags |= u32::from(tcp::ACK) | HANDSHAKE_REPORTED;
    record.bursts = Bursts { count: 1, ..Bursts::default() };
    scene.again(&mut record, MS);
    for _ in 0..30 {
        record.bursts.count += 1;
        record.bursts.last_gap_ms = 60_000;
        record.forward = direction(record.forward.packets + 1, record.forward.payload + sent);
        record.backward = direction(record.backward.packets + 1, record.backward.payload + received);
        scene.again(&mut record, 60 * S);
    }
    scene
}

#[test]
fn what_a_port_of_tls_does_not_speak_is_weighed_and_reports_are_not() {
    let http = Recognition::new(spoken::HTTP, encryption::CLEAR);
    let tls = Recognition::new(spoken::TLS, encryption::TLS);
    assert!(bursts(http, (260, 130)).found(Detector::Beacon, HOST, Severity::Warning));
    assert!(bursts(tls, (260, 130)).quiet());
    assert!(bursts(http, (900, 12)).silent_about(Detector::BruteForce));
    let own = Recognition::new(spoken::BINARY, encryption::UNKNOWN);
    assert!(bursts(own, (260, 130)).found(Detector::Beacon, HOST, Severity::Warning));
    assert!(bursts(own, (900, 12)).quiet());
}

/// Forty sessions of the same size, but for a password's length, on this port.
fn sessions(recognised: Recognition, port: u16, hosts: usize) -> Scene {
    let mut scene = Scene { recognised, ..Scene::default() };
    for number in 0..40usize {
        let to = format!("10.0.3.{}", 1 + number % hosts);
        let sent = 1300 + (number as u64).wrapping_mul(7919) % 11;
        scene.connect(HOST, &to, port, Goes::Well(sent, 1800, 2 * S));
        scene.pass((3 + (number as u64).wrapping_mul(31) % 17) * S);
    }
    scene
}

#[test]
fn a_login_service_is_known_by_what_it_speaks_and_guesses_by_their_repetition() {
    let ssh = Recognition::new(spoken::SSH, encryption::NATIVE);
    assert!(sessions(ssh, 50_022, 1).found(Detector::BruteForce, HOST, Severity::Warning));
    assert!(sessions(Recognition::default(), 50_022, 1).silent_about(Detector::BruteForce));
    assert!(sessions(ssh, 22, 4).found(Detector::BruteForce, HOST, Severity::Warning));
}

#[test]
fn hosts_that_are_only_checked_are_not_entered() {
    let visit = |sent: u64| {
        let mut scene = Scene::default();
        for host in 0..20 {
            scene.connect(HOST, &format!("10.0.4.{}", host + 1), 445, Goes::Well(sent, 400, S));
            scene.connect(HOST, &format!("10.0.4.{}", host + 1), 22, Goes::Well(sent / 8, 90, S));
            scene.pass(5 * S);
        }
        scene
    };
    assert!(visit(180).quiet());
    assert!(visit(2400).found(Detector::FanOut, HOST, Severity::Warning));
}

#[test]
fn a_command_to_one_host_and_a_call_that_is_nearly_a_beacon_are_a_story() {
    let scene = |calls: bool, manages: bool| {
        let mut scene = Scene::default();
        for step in 0..24u64 {
            if calls {
                let sent = 300 + step.wrapping_mul(7919) % 90;
                scene.connect(HOST, PEER, 443, Goes::Well(sent, 400, S / 2));
            }
            if manages && step == 20 {
                scene.connect(HOST, "10.0.0.44", 5985, Goes::Well(9000, 3000, 2 * S));
            }
            scene.pass(60 * S);
        }
        scene
    };
    assert!(scene(true, false).quiet() && scene(false, true).quiet());
    let mut both = scene(true, true);
    assert!(!both.quiet());
    let told = both.findings();
    assert!(told.iter().any(|one| one.evidence.contains_key("incident")), "{told:?}");
}

#[test]
fn the_client_of_a_service_with_a_high_port_is_its_client() {
    let mut scene = Scene::default();
    let mut record = scene.record(PEER, HOST, protocol::TCP, 22_022);
    record.outcome = outcome::MIDSTREAM;
    record.forward_flags = u32::from(tcp::ACK);
    record.backward = direction(1, 0);
    record.bursts = Bursts { count: 1, ..Bursts::default() };
    scene.send(&record);
    record.kind = record_kind::ACTIVE;
    for _ in 0..40 {
        record.bursts.count += 1;
        record.bursts.last_gap_ms = 5000;
        record.forward = direction(record.forward.packets + 1, record.forward.payload + 300);
        record.backward = direction(record.backward.packets + 1, record.backward.payload + 200);
        scene.again(&mut record, 5 * S);
    }
    assert!(scene.quiet());
}
