//! Floods, from the victim's side and from the attacker's.

use monitor_common::{
    conversation::{note, record_kind},
    flow::{protocol, tcp},
};

use super::scene::{Goes, MS, S, Scene, direction};
use crate::finding::{Detector, Severity};

const VICTIM: &str = "10.0.0.5";

/// `count` packets over a second, each from the source that `source` names.
fn storm(what: u32, count: u32, ports: (u16, u16), source: impl Fn(u32) -> String) -> Scene {
    let mut scene = Scene::default();
    for number in 0..count {
        scene.observed(what, &source(number), VICTIM, ports, if what == note::SYN { tcp::SYN } else { 0 });
        scene.now += 1000 * MS / u64::from(count);
    }
    scene
}

fn forged(number: u32) -> String {
    format!("203.{}.{}.{}", number / 60_000 % 250, number / 250 % 240, number % 250)
}

#[test]
fn forged_syns_are_one_finding_about_the_victim() {
    let mut scene = storm(note::SYN, 3000, (1000, 80), forged);
    assert!(scene.found(Detector::SynFlood, VICTIM, Severity::Warning));
    assert_eq!(scene.findings().len(), 1);
    assert!(storm(note::SYN, 70, (1000, 80), forged).quiet());
}

#[test]
fn syns_of_one_source_name_the_source() {
    let mut scene = storm(note::SYN, 300, (1000, 80), |_| "203.0.113.9".to_owned());
    assert!(scene.found(Detector::SynFlood, "203.0.113.9", Severity::Warning));
}

#[test]
fn connections_that_are_completed_are_no_flood() {
    let mut scene = Scene::default();
    for number in 0..2000 {
        scene.connect(&forged(number), VICTIM, 443, Goes::Well(400, 4000, 30 * MS));
        scene.now += 2 * MS;
    }
    assert!(scene.quiet());
}

#[test]
fn syns_with_forged_sources_and_targets_are_a_finding_about_the_interface() {
    let mut scene = Scene::default();
    for number in 0..100u32 {
        scene.observed(note::SYN, &forged(number * 7919), &forged(number * 104_729), (1000, 80), tcp::SYN);
        scene.now += MS / 5;
    }
    assert!(scene.found(Detector::SynFlood, "interface 0", Severity::Warning));
}

#[test]
fn answers_of_many_amplifiers_are_a_reflection() {
    assert!(storm(note::UDP, 400, (11_211, 5000), forged).found(
        Detector::Reflection,
        VICTIM,
        Severity::Warning
    ));
    assert!(storm(note::UDP, 150, (11_211, 5000), forged).quiet());
}

#[test]
fn datagrams_of_many_sources_are_a_flood_from_a_thousand_per_second() {
    assert!(storm(note::UDP, 1300, (40_000, 5000), forged).found(
        Detector::UdpFlood,
        VICTIM,
        Severity::Warning
    ));
    assert!(storm(note::UDP, 900, (40_000, 5000), forged).quiet());
    assert!(storm(note::UDP, 3500, (40_000, 5000), |_| "203.0.113.9".to_owned()).quiet(), "one stream");
}

#[test]
fn a_busy_resolver_is_not_flooded() {
    let mut scene = Scene::default();
    for number in 0..3000 {
        scene.datagram(&forged(number), VICTIM, 53, 40, Some(120));
        scene.now += MS / 2;
    }
    assert!(scene.quiet());
}

#[test]
fn pings_and_fragments_flood_from_a_thousand_per_second() {
    for (what, detector) in [(note::ECHO, Detector::IcmpFlood), (note::FRAGMENT, Detector::FragmentFlood)] {
        let one = |_| "203.0.113.9".to_owned();
        assert!(storm(what, 1300, (0, 8 << 8), one).found(detector, "203.0.113.9", Severity::Warning));
        assert!(storm(what, 800, (0, 8 << 8), one).quiet());
    }
}

/// An inside source that sends `packets` of `bytes` each in a second over one conversation.
fn stream(packets: u64, bytes: u64, answered: bool) -> Scene {
    let mut scene = Scene::default();
    let mut record = scene.record("10.0.0.9", "203.0.113.9", protocol::UDP, 5000);
    scene.send(&record);
    record.kind = record_kind::ACTIVE;
    for second in 1..=6 {
        record.forward = direction(packets * second, packets * second * bytes);
        if answered {
            record.backward = direction(packets * second / 2, 100);
        }
        scene.again(&mut record, S);
    }
    scene
}

#[test]
fn an_inside_source_that_floods_is_named_and_a_file_copy_is_not() {
    assert!(stream(30_000, 100, false).found(Detector::OutboundFlood, "10.0.0.9", Severity::Critical));
    assert!(stream(8000, 100, false).silent_about(Detector::OutboundFlood));
    assert!(stream(80_000, 1400, true).silent_about(Detector::OutboundFlood));
}
