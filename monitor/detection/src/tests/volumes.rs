//! Tunnels, exfiltration, lateral movement.

use monitor_common::{
    conversation::{outcome, record_kind},
    flow::protocol,
};

use super::scene::{Goes, MS, S, Scene, direction};
use crate::finding::{Detector, Severity};

const HOST: &str = "10.0.0.9";

fn queries(count: u64, sent: impl Fn(u64) -> u64, received: u64) -> Scene {
    let mut scene = Scene::default();
    for number in 0..count {
        scene.datagram(HOST, "10.0.0.53", 53, sent(number), Some(received));
        scene.pass(300 * MS);
    }
    scene
}

#[test]
fn long_questions_are_a_tunnel_and_short_ones_are_not() {
    assert!(queries(60, |_| 140, 200).found(Detector::DnsTunnel, HOST, Severity::Warning));
    assert!(queries(60, |number| 40 + number % 5 * 45, 180).found(
        Detector::DnsTunnel,
        HOST,
        Severity::Warning
    ));
    assert!(queries(2000, |number| 28 + number % 30, 150).quiet(), "a resolver under load");
    assert!(queries(20, |_| 140, 200).quiet(), "too few to say");
}

/// Echo requests once per `gap`, with these sizes.
fn pings(count: u64, gap: u64, sent: impl Fn(u64) -> u64, received: impl Fn(u64) -> u64) -> Scene {
    let mut scene = Scene::default();
    let mut record = scene.record(HOST, "10.0.3.3", protocol::ICMP, 8 << 8);
    record.forward.payload = sent(0);
    record.forward.payload_squares = sent(0) * sent(0);
    scene.send(&record);
    record.kind = record_kind::ACTIVE;
    record.outcome = outcome::ESTABLISHED;
    for number in 1..count {
        for (direction, size) in
            [(&mut record.forward, sent(number)), (&mut record.backward, received(number))]
        {
            direction.packets += 1;
            direction.payload += size;
            direction.payload_squares += size * size;
        }
        scene.again(&mut record, gap);
    }
    scene
}

#[test]
fn a_constant_ping_is_no_tunnel_and_varied_echoes_are() {
    assert!(pings(600, S, |_| 56, |_| 56).quiet());
    assert!(pings(600, S, |_| 1400, |_| 1400).quiet(), "large but constant");
    let (asks, answers) = (|number| 80 + number * 37 % 900, |number| 60 + number * 91 % 1000);
    assert!(pings(60, S, asks, answers).found(Detector::IcmpTunnel, HOST, Severity::Warning));
}

fn upload(bytes: u64, received: u64) -> Scene {
    let mut scene = Scene::default();
    let mut record = scene.record(HOST, "198.51.100.7", protocol::TCP, 443);
    scene.send(&record);
    record.kind = record_kind::ACTIVE;
    record.outcome = outcome::ESTABLISHED;
    for part in 1..=60 {
        record.forward = direction(part * 1000, bytes / 60 * part);
        record.backward = direction(part * 500, received / 60 * part);
        scene.again(&mut record, 5 * S);
    }
    scene
}

#[test]
fn half_a_gigabyte_to_one_peer_is_exfiltration_and_a_download_is_not() {
    assert!(upload(700_000_000, 1_000_000).found(Detector::Exfiltration, HOST, Severity::Warning));
    assert!(upload(300_000_000, 1_000_000).quiet());
    assert!(upload(700_000_000, 900_000_000).quiet());
}

#[test]
fn a_departure_from_the_own_baseline_is_exfiltration() {
    let mut scene = Scene::default();
    for step in 0..60u64 {
        let sent = if step >= 50 { 90_000_000 } else { 1_000_000 + step * 1000 };
        scene.connect(HOST, &format!("198.51.100.{}", step % 3), 443, Goes::Well(sent, 50_000, S));
        scene.pass(300 * S);
    }
    assert!(scene.found(Detector::Exfiltration, HOST, Severity::Warning));
}

fn meet(count: u32, port: u16, goes: Goes) -> Scene {
    let mut scene = Scene::default();
    for number in 0..count {
        let peer = format!("10.0.{}.{}", 1 + number / 200, 1 + number % 200);
        scene.connect(HOST, &peer, port, goes);
        scene.pass(S);
    }
    scene
}

#[test]
fn a_hundred_new_inside_peers_are_a_fan_out_and_ninety_nine_are_not() {
    let well = Goes::Well(500, 800, S);
    assert!(meet(100, 8080, well).found(Detector::FanOut, HOST, Severity::Info));
    assert!(meet(99, 8080, well).silent_about(Detector::FanOut));
    assert!(meet(100, 8080, well).quiet(), "everything is new to a source that is not learned");
}

#[test]
fn six_hosts_administered_by_one_are_a_fan_out_and_five_are_not() {
    let well = Goes::Well(500, 800, S);
    assert!(meet(6, 445, well).found(Detector::FanOut, HOST, Severity::Info));
    assert!(meet(5, 445, well).silent_about(Detector::FanOut));
    assert!(meet(6, 443, well).silent_about(Detector::FanOut));
}

#[test]
fn a_learned_source_that_administers_for_the_first_time_is_a_warning() {
    let mut scene = Scene::default();
    for step in 0..200 {
        scene.connect(HOST, &format!("10.0.9.{}", step * 7 % 9), 443, Goes::Well(500, 800, S));
        scene.pass((500 + step % 7 * 13) * S);
    }
    for number in 0..6 {
        scene.connect(HOST, &format!("10.0.8.{}", number + 1), 5985, Goes::Well(500, 800, S));
        scene.pass(20 * S);
    }
    assert!(scene.found(Detector::FanOut, HOST, Severity::Warning));
}

#[test]
fn many_outside_peers_are_no_fan_out() {
    let mut scene = Scene::default();
    for number in 0..400 {
        let peer = format!("203.{}.113.{}", number / 200, 1 + number % 200);
        scene.connect(HOST, &peer, 443, Goes::Well(500, 8000, S));
        scene.pass(S / 2);
    }
    assert!(scene.quiet());
}
