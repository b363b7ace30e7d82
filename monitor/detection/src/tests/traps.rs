//! What looks like an attack and is none, and clocks that lie.

use monitor_common::{
    conversation::{note, outcome, record_kind},
    flow::{protocol, tcp},
};
use proptest::prelude::*;

use super::scene::{Goes, MS, S, Scene, direction};
use crate::finding::{Detector, Severity};

const HOST: &str = "10.0.0.9";

fn die(step: u64, sides: u64) -> u64 {
    step.wrapping_add(17).wrapping_mul(6_364_136_223_846_793_005).rotate_left(29) % sides
}

fn peer(number: u64) -> String {
    format!(
        "{}.{}.{}.{}",
        20 + die(number, 150),
        die(number + 1, 250),
        die(number + 2, 250),
        1 + die(number + 3, 250)
    )
}

#[test]
fn a_peer_to_peer_program_with_dead_peers_is_no_scanner() {
    let mut scene = Scene::default();
    for number in 0..1500 {
        let goes = match die(number * 31, 10) {
            0..=2 => Goes::Well(4000, 60_000, 20 * S),
            3..=4 => Goes::Refused,
            _ => Goes::Unanswered,
        };
        scene.connect(HOST, &peer(number), 1024 + u16::try_from(die(number * 7, 60_000)).unwrap(), goes);
        let port = 1024 + u16::try_from(die(number * 13, 60_000)).unwrap();
        let answer = (die(number * 3, 10) < 4).then_some(300);
        scene.datagram(HOST, &peer(number + 9000), port, 100, answer);
        scene.pass(400 * MS);
    }
    assert!(scene.quiet());
}

#[test]
fn a_peer_to_peer_program_with_a_usual_port_is_no_scanner_while_peers_answer() {
    let mut scene = Scene::default();
    for number in 0..600 {
        let port =
            if number % 3 == 0 { 6881 } else { 1024 + u16::try_from(die(number * 7, 60_000)).unwrap() };
        let goes = if die(number * 31, 10) < 4 { Goes::Well(4000, 60_000, 20 * S) } else { Goes::Unanswered };
        scene.connect(HOST, &peer(number), port, goes);
        scene.pass(700 * MS);
    }
    assert!(scene.quiet());
}

#[test]
fn a_recursive_resolver_asks_thousands_of_servers() {
    let mut scene = Scene::default();
    for number in 0..2000 {
        let answer = (die(number * 3, 20) > 1).then_some(200);
        scene.datagram(HOST, &peer(number), 53, 40 + die(number, 20), answer);
        scene.pass(50 * MS);
    }
    assert!(scene.quiet());
}

#[test]
fn a_day_of_backscatter_names_nobody() {
    let mut scene = Scene::default();
    for number in 0..20_000 {
        let (what, flags) = match die(number, 3) {
            0 => (note::SYN_ACK, tcp::SYN | tcp::ACK),
            1 => (note::RESET, tcp::RST | tcp::ACK),
            _ => (note::ICMP_ERROR, 0),
        };
        let from = peer(die(number * 5, 40));
        let target = format!("10.{}.{}.{}", die(number, 200), die(number + 7, 250), die(number + 9, 250));
        scene.observed(what, &from, &target, (80, u16::try_from(die(number, 60_000)).unwrap()), flags);
        scene.pass(4 * S);
    }
    assert!(scene.quiet());
}

#[test]
fn a_route_trace_is_no_udp_scan() {
    let mut scene = Scene::default();
    for probe in 0..60 {
        let mut record = scene.record(HOST, "203.0.113.80", protocol::UDP, 33_434 + probe);
        scene.send(&record);
        record.outcome = outcome::EXPIRED;
        record.kind = record_kind::ACTIVE;
        scene.again(&mut record, 20 * MS);
    }
    assert!(scene.quiet());
}

#[test]
fn only_one_direction_is_seen_and_nobody_is_blamed_for_it() {
    let mut scene = Scene::default();
    for number in 0..400 {
        let mut record = scene.record(HOST, &peer(number), protocol::TCP, 443);
        scene.send(&record);
        record.kind = record_kind::ACTIVE;
        record.outcome = outcome::ESTABLISHED;
        record.forward_flags |= u32::from(tcp::ACK);
        record.forward = direction(3, 600);
        scene.again(&mut record, 30 * MS);
    }
    assert!(scene.quiet());
}

#[test]
fn a_capture_that_starts_in_mid_flow_has_no_strays() {
    let mut scene = Scene::default();
    for number in 0..300 {
        let mut record = scene.record(HOST, &peer(number), protocol::TCP, 443);
        record.outcome = outcome::MIDSTREAM;
        record.forward_flags = u32::from(tcp::ACK);
        record.opens = 0;
        scene.send(&record);
        record.kind = record_kind::ACTIVE;
        record.backward = direction(1, 1200);
        scene.again(&mut record, 10 * MS);
    }
    scene.pass(60 * S);
    assert!(scene.quiet());
}

#[test]
fn multicast_discovery_is_nobodys_scan() {
    let mut scene = Scene::default();
    for number in 0..500u64 {
        scene.datagram(HOST, "239.255.255.250", 1900, 130, None);
        scene.datagram(HOST, "224.0.0.251", 5353, 90, None);
        scene.datagram(HOST, "10.0.0.255", 137, 50, None);
        let port = u16::try_from(49_000 + number).unwrap();
        scene.observed(note::UDP, &format!("10.0.0.{}", 1 + number % 200), HOST, (1900, port), 0);
        scene.pass(S);
    }
    assert!(scene.quiet());
}

#[test]
fn a_scan_is_found_while_time_runs_backwards_and_jumps_by_years() {
    let mut scene = Scene::default();
    for host in 0..20 {
        scene.connect(HOST, &format!("10.0.5.{host}"), 445, Goes::Unanswered);
        scene.now -= 300 * S;
    }
    assert!(scene.found(Detector::SlowScan, HOST, Severity::Warning));
    scene.pass(10 * 365 * 86_400 * S);
    scene.connect(HOST, "10.0.5.200", 445, Goes::Unanswered);
    assert!(scene.detection.learning().observed_s < 7200, "a jump is not learned from");
}

proptest! {
    /// Whatever the records say, nothing breaks and memory stays within its bounds.
    #[test]
    fn any_records_in_any_order_are_survived(seed in any::<u64>(), steps in prop::collection::vec((0u8..8, any::<u32>(), any::<i32>()), 1..200)) {
        let mut scene = Scene::default();
        for (index, (kind, number, time)) in steps.into_iter().enumerate() {
            let salt = seed.wrapping_add(index as u64);
            let mut record = scene.record(&peer(salt), &peer(u64::from(number)), [6, 17, 1, 58, 132][number as usize % 5], u16::try_from(number >> 16).unwrap());
            record.kind = 1 + u32::from(kind % 4);
            record.note = number % 15;
            record.outcome = number >> 3 & 7;
            record.weight = number & 0xffff;
            record.number = number & 7;
            record.forward = direction(u64::from(number), u64::from(number) << (kind * 4));
            record.backward = direction(u64::from(number >> 4), salt);
            record.forward_flags = number >> 5;
            record.bursts.count = number & 0xff;
            record.bursts.last_gap_ms = number;
            record.first_seen = salt;
            record.last_seen = salt.rotate_left(7);
            scene.now = scene.now.wrapping_add_signed(i64::from(time) * 1_000_000);
            scene.send(&record);
        }
        scene.findings();
    }
}
