//! What is in clear, weak, or something else than its port says: both sides of every line.

use monitor_common::application::{Recognition, encryption, flag, protocol, version};

use super::scene::{Goes, MS, Scene};
use crate::finding::{Detector, Severity};

const CLIENT: &str = "10.0.0.5";
const SERVER: &str = "10.0.0.9";
const OUTSIDE: &str = "198.51.100.7";

/// Connections that speak this, all followed to their end.
fn speaks(known: Recognition, destination: &str, port: u16, times: usize) -> Scene {
    let mut scene = Scene { recognised: known, ..Scene::default() };
    for _ in 0..times {
        scene.connect(CLIENT, destination, port, Goes::Well(2000, 5000, 300 * MS));
        scene.pass(1000 * MS);
    }
    scene
}

fn clear(protocol: u32) -> Recognition {
    Recognition::new(protocol, encryption::CLEAR).with(flag::SETTLED)
}

const NEW: [Detector; 4] = [
    Detector::PlaintextService,
    Detector::CleartextCredentials,
    Detector::WeakTls,
    Detector::ProtocolMismatch,
];

/// The severities at which a detector was found.
fn severities(mut scene: Scene, detector: Detector) -> Vec<Severity> {
    let all = scene.findings();
    all.iter().filter(|finding| finding.detector == detector).map(|finding| finding.severity).collect()
}

#[track_caller]
fn silent(mut scene: Scene) {
    let all = scene.findings();
    let found = all.iter().find(|finding| NEW.contains(&finding.detector));
    assert!(found.is_none(), "{found:#?}");
}

#[test]
fn a_service_in_clear_on_a_port_of_tls_is_found_at_the_third_connection() {
    silent(speaks(clear(protocol::HTTP), SERVER, 443, 2));
    let inside = speaks(clear(protocol::HTTP), SERVER, 443, 3);
    assert_eq!(severities(inside, Detector::PlaintextService), [Severity::Warning]);
    let outward = speaks(clear(protocol::LDAP), OUTSIDE, 636, 3);
    assert_eq!(severities(outward, Detector::PlaintextService), [Severity::Info]);
    silent(speaks(clear(protocol::HTTP), SERVER, 80, 9));
    silent(speaks(clear(protocol::POSTGRESQL), SERVER, 5432, 9));
    let tls = Recognition::new(protocol::TLS, encryption::TLS).with_version(version::TLS13);
    silent(speaks(tls.with(flag::SETTLED), SERVER, 443, 9));
    silent(speaks(Recognition::default(), SERVER, 443, 9));
}

#[test]
fn a_password_in_clear_is_told_with_its_protocol_and_is_a_warning_on_the_way_out() {
    let scene = speaks(clear(protocol::FTP).with(flag::CREDENTIALS), SERVER, 21, 1);
    let change =
        scene.changes.iter().find(|change| change.finding.detector == Detector::CleartextCredentials);
    let finding = &change.expect("a finding").finding;
    assert_eq!((finding.severity, finding.subject.as_str()), (Severity::Info, CLIENT));
    assert_eq!(finding.evidence["application"], "ftp");
    assert_eq!(finding.evidence["technique"], "T1040");
    silent(speaks(clear(protocol::FTP), SERVER, 21, 5));
    let outward = speaks(clear(protocol::FTP).with(flag::CREDENTIALS), OUTSIDE, 21, 1);
    assert_eq!(severities(outward, Detector::CleartextCredentials), [Severity::Warning]);
}

#[test]
fn versions_of_tls_below_1_2_are_weak() {
    let of =
        |version| Recognition::new(protocol::TLS, encryption::TLS).with_version(version).with(flag::SETTLED);
    for weak in [version::SSL3, version::TLS10, version::TLS11] {
        for server in [SERVER, OUTSIDE] {
            assert_eq!(severities(speaks(of(weak), server, 443, 1), Detector::WeakTls), [Severity::Info]);
        }
    }
    for strong in [version::UNKNOWN, version::TLS12, version::TLS13] {
        silent(speaks(of(strong), SERVER, 443, 3));
    }
}

#[test]
fn another_protocol_on_a_port_of_the_web_or_of_names_is_a_tunnel() {
    let native = |protocol| Recognition::new(protocol, encryption::NATIVE).with(flag::SETTLED);
    for (known, port) in [
        (native(protocol::SSH), 443),
        (native(protocol::SSH), 80),
        (native(protocol::SSH), 53),
        (Recognition::new(protocol::TLS, encryption::TLS).with(flag::SETTLED), 53),
        (clear(protocol::HTTP), 53),
        (clear(protocol::RDP), 443),
    ] {
        let scene = speaks(known, OUTSIDE, port, 1);
        assert_eq!(severities(scene, Detector::ProtocolMismatch), [Severity::Warning], "{port}");
    }
    silent(speaks(native(protocol::SSH), SERVER, 22, 3));
    silent(speaks(native(protocol::SSH), SERVER, 2222, 3));
    silent(speaks(clear(protocol::DNS), SERVER, 53, 3));
    silent(speaks(clear(protocol::HTTP), SERVER, 8080, 3));
    silent(speaks(native(protocol::QUIC), OUTSIDE, 443, 3));
}

#[test]
fn a_pair_is_told_once_a_minute_and_not_for_every_connection() {
    let scene = speaks(clear(protocol::FTP).with(flag::CREDENTIALS), SERVER, 21, 30);
    let told =
        scene.changes.iter().filter(|change| change.finding.detector == Detector::CleartextCredentials);
    assert_eq!(told.count(), 1);
}
