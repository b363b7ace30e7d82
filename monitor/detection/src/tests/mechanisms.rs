//! What detectors tell apart by mechanism: names, jitter, refusals, repetition, spread, agreement.

use monitor_common::{
    conversation::{outcome, record_kind, tracking::HANDSHAKE_REPORTED},
    flow::{protocol, tcp},
};

use super::scene::{Goes, MS, S, Scene, direction};
use crate::finding::{Detector, Severity};

const HOST: &str = "10.0.0.9";
const PEER: &str = "198.51.100.7";
const WELL: Goes = Goes::Well(500, 800, S);

fn ask(scene: &mut Scene) {
    scene.datagram(HOST, "10.0.0.53", 53, 40, Some(90));
}

/// Gaps of a timer with jitter of sixty percent, the same in every run.
fn jittered(step: u64) -> u64 {
    60 - step.wrapping_mul(6_364_136_223_846_793_005).rotate_left(29) % 37
}

/// Calls over HTTPS with these gaps, that are alike or not.
fn calls(gaps: impl Iterator<Item = u64>, vary: u64) -> Scene {
    let mut scene = Scene::default();
    for gap in gaps {
        let sent = 400 + gap.wrapping_mul(7919) % 97 * vary;
        scene.connect(HOST, PEER, 443, Goes::Well(sent, 900, S / 2));
        scene.pass(gap * S);
    }
    scene
}

#[test]
fn wide_jitter_is_a_warning_and_an_exact_poll_that_brings_nothing_is_not() {
    assert!(calls((0..20).map(jittered), 1).found(Detector::Beacon, HOST, Severity::Warning));
    let mut poll = calls([300; 20].into_iter(), 0);
    assert!(poll.quiet() && poll.found(Detector::Beacon, HOST, Severity::Info));
}

#[test]
fn who_never_asks_for_a_name_calls_home_without_a_rhythm() {
    let scene = |by_name: bool| {
        let mut scene = Scene::default();
        for step in 0..14u64 {
            ask(&mut scene);
            scene.pass(if by_name { S } else { 30 * S });
            scene.connect(HOST, PEER, 447, Goes::Well(400, 900, S / 2));
            scene.pass([40, 300, 90, 700, 20, 160, 500][usize::try_from(step % 7).unwrap()] * S);
        }
        scene
    };
    assert!(scene(false).found(Detector::Beacon, HOST, Severity::Warning));
    assert!(scene(true).quiet());
}

#[test]
fn the_same_scan_is_found_again_however_much_later_and_measured_to_its_end() {
    for hours in [1, 24, 8 * 24] {
        scan_twice(hours);
    }
}

fn scan_twice(hours: u64) {
    let mut scene = Scene::default();
    for _ in 0..2 {
        for port in 0..100 {
            scene.connect(HOST, "10.0.5.5", 1000 + port, Goes::Refused);
            scene.pass(20 * MS);
        }
        scene.pass(hours * 3600 * S);
    }
    let scans = scene.findings();
    let measured: Vec<_> = scans.iter().map(|finding| (finding.detector, finding.measured)).collect();
    let wanted = [(Detector::PortScan, 100.0), (Detector::PortScan, 100.0)];
    assert_eq!(measured, wanted, "{hours} hours later");
    let seen = |at: usize| scans[at].last_seen.as_second();
    assert!(seen(1) - seen(0) >= i64::try_from(hours * 3600).unwrap(), "{hours} hours later");
}

#[test]
fn one_dead_server_that_is_tried_all_day_is_one_failure() {
    let mut scene = Scene::default();
    for _ in 0..60 {
        for host in 1..4 {
            scene.connect(HOST, &format!("10.0.5.{host}"), 8080, Goes::Unanswered);
        }
        scene.pass(900 * S);
    }
    assert!(scene.silent_about(Detector::SlowScan) && scene.quiet());
}

#[test]
fn a_slow_scan_over_udp_shows_by_its_refusals() {
    let mut scene = Scene::default();
    for port in 0..20u16 {
        let mut record = scene.record(HOST, "10.0.5.5", protocol::UDP, 1000 + port);
        scene.send(&record);
        record.kind = record_kind::ACTIVE;
        record.outcome = outcome::REFUSED;
        scene.again(&mut record, MS);
        scene.pass(300 * S);
    }
    assert!(scene.found(Detector::UdpScan, HOST, Severity::Warning));
}

#[test]
fn many_protocols_on_one_host_are_a_scan_and_a_tunnel_is_none() {
    let mut scene = Scene::default();
    for number in 40..60 {
        scene.datagram_of(number, HOST, "10.0.5.5", false);
        scene.pass(S);
    }
    assert!(scene.found(Detector::PortScan, HOST, Severity::Warning));
    let mut tunnel = Scene::default();
    for _ in 0..60 {
        tunnel.datagram_of(47, HOST, "10.0.5.5", true);
        tunnel.datagram_of(50, HOST, "10.0.5.5", true);
        tunnel.pass(S);
    }
    assert!(tunnel.quiet());
}

/// Requests that differ by `varies` bytes, each answered with the same.
fn guess(port: u16, varies: u64, every: u64) -> Scene {
    let mut scene = Scene::default();
    for number in 0..150u64 {
        let sent = 240 + number.wrapping_mul(31) % (varies + 1);
        scene.connect(HOST, "10.0.3.3", port, Goes::Well(sent, 1900, S / 5));
        scene.pass((every + number * number % 7) * S);
    }
    scene
}

/// A console that is asked for names and passwords, one try after the other.
fn short_guess(varies: u64) -> Scene {
    let mut scene = Scene::default();
    for number in 0..150u64 {
        let sent = 14 + number.wrapping_mul(31) % (varies + 1);
        scene.connect(HOST, "10.0.3.3", 5038, Goes::Well(sent, 84, S / 5));
        scene.pass(3 * S);
    }
    scene
}

#[test]
fn guesses_differ_by_a_password_and_are_refused_alike_on_any_port() {
    assert!(guess(80, 9, 1).found(Detector::BruteForce, HOST, Severity::Warning));
    assert!(guess(18_080, 9, 1).found(Detector::BruteForce, HOST, Severity::Warning));
    assert!(short_guess(9).found(Detector::BruteForce, HOST, Severity::Warning));
    assert!(short_guess(0).quiet());
    assert!(guess(80, 0, 3).quiet(), "a program asks the same each time");
}

#[test]
fn remote_desktops_of_many_hosts_are_movement() {
    let mut scene = Scene::default();
    for host in 1..9 {
        scene.connect(HOST, &format!("10.0.6.{host}"), 3389, Goes::Well(3000, 9000, 2 * S));
        scene.pass(20 * S);
    }
    assert!(scene.found(Detector::FanOut, HOST, Severity::Warning));
}

#[test]
fn a_program_that_is_copied_to_a_host_and_started_is_movement() {
    let scene = |copied: u64, directory: bool| {
        let mut scene = Scene::default();
        if directory {
            scene.connect(HOST, "10.0.8.1", 88, WELL);
        }
        for (port, sent) in [(135, 300), (49_670, 900), (445, copied)] {
            scene.connect(HOST, "10.0.8.1", port, Goes::Well(sent, 900, S));
            scene.pass(S);
        }
        scene
    };
    assert!(scene(150_000, false).found(Detector::FanOut, HOST, Severity::Warning));
    assert!(scene(2000, false).quiet() && scene(150_000, true).quiet());
}

#[test]
fn mail_to_many_is_a_bot_unless_mail_is_received_too() {
    let scene = |receives: bool| {
        let mut scene = Scene::default();
        if receives {
            scene.connect(PEER, HOST, 25, WELL);
        }
        for number in 0..60 {
            scene.connect(HOST, &format!("203.0.113.{}", number + 1), 25, Goes::Well(3000, 600, S));
            scene.pass(S);
        }
        scene
    };
    assert!(scene(false).found(Detector::FanOut, HOST, Severity::Warning));
    assert!(scene(true).quiet());
}

#[test]
fn connections_that_are_held_and_hardly_used_are_a_flood() {
    let hold = |source: &str, sent: u64, received: u64| {
        let mut scene = Scene::default();
        let mut open = Vec::new();
        for _ in 0..150 {
            let mut record = scene.record(source, "10.0.0.8", protocol::TCP, 80);
            scene.send(&record);
            record.kind = record_kind::ACTIVE;
            record.outcome = outcome::ESTABLISHED;
            record.forward_flags |= u32::from(tcp::ACK) | HANDSHAKE_REPORTED;
            record.forward = direction(3, sent);
            record.backward = direction(2, received);
            scene.again(&mut record, MS);
            open.push(record);
        }
        scene.pass(20 * S);
        scene
    };
    assert!(hold(PEER, 200, 0).found(Detector::SynFlood, PEER, Severity::Warning));
    assert!(hold(PEER, 40_000, 0).quiet());
    assert!(hold(HOST, 200, 0).found(Detector::SynFlood, HOST, Severity::Warning));
    assert!(hold(HOST, 90, 420).quiet(), "a pool that is welcomed");
}

#[test]
fn weak_signs_that_agree_and_lead_out_are_one_warning() {
    let scene = |calls_home: bool| {
        let mut scene = Scene::default();
        if calls_home {
            for _ in 0..12 {
                scene.connect(HOST, PEER, 443, Goes::Well(300, 200, S / 2));
                scene.pass(60 * S);
            }
        }
        for number in 0..10 {
            scene.connect(HOST, "10.0.3.3", 22, Goes::Well(1500, 2400, S));
            scene.pass((4 + number * 7 % 5) * S);
        }
        for number in 0..100 {
            scene.connect(HOST, &format!("10.0.7.{}", number + 1), 8080, WELL);
            scene.pass(S);
        }
        scene
    };
    assert!(scene(false).quiet());
    let mut story = scene(true);
    assert!(!story.quiet());
    let warnings: Vec<_> =
        story.findings().into_iter().filter(|one| one.severity >= Severity::Warning).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].evidence.contains_key("incident"), "{warnings:?}");
}
