//! Beacons, guessing, long connections.

use monitor_common::{
    conversation::{Bursts, outcome, record_kind, tracking::HANDSHAKE_REPORTED},
    flow::{protocol, tcp},
};

use super::scene::{Goes, MS, S, Scene, direction};
use crate::finding::{Detector, Severity};

const HOST: &str = "10.0.0.9";
const PEER: &str = "198.51.100.7";

/// Small connections with these gaps in seconds.
fn calls(gaps: impl IntoIterator<Item = u64>, received: u64) -> Scene {
    let mut scene = Scene::default();
    for gap in gaps {
        scene.connect(HOST, PEER, 8443, Goes::Well(300, received, S / 2));
        scene.pass(gap * S);
    }
    scene
}

/// Spread as of a die, the same in every run.
fn die(step: u64, sides: u64) -> u64 {
    step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) % 1_000_003 % sides
}

#[test]
fn ten_regular_calls_are_a_beacon_and_nine_are_not() {
    assert!(calls([60; 10], 200).found(Detector::Beacon, HOST, Severity::Warning));
    assert!(calls([60; 9], 200).silent_about(Detector::Beacon));
}

#[test]
fn jitter_of_a_fifth_does_not_hide_a_beacon() {
    assert!(calls((0..30).map(|step| 54 + die(step, 13)), 200).found(
        Detector::Beacon,
        HOST,
        Severity::Warning
    ));
}

#[test]
fn calls_of_a_person_are_no_beacon() {
    assert!(
        calls((0..60).map(|step| 1 + die(step, 20) * die(step + 99, 20)), 3000)
            .silent_about(Detector::Beacon)
    );
}

#[test]
fn regular_calls_for_bulk_or_to_a_common_service_are_only_worth_knowing() {
    assert!(calls([10; 20], 900_000).quiet());
    let mut scene = Scene::default();
    for _ in 0..20 {
        for host in 1..5 {
            scene.connect(&format!("10.0.0.{host}"), PEER, 8443, Goes::Well(300, 300, S / 2));
        }
        scene.pass(60 * S);
    }
    assert!(scene.quiet());
}

/// One conversation with bursts at these gaps.
fn bursts(port: u16, gaps: impl IntoIterator<Item = u64>) -> Scene {
    sized_bursts(port, gaps, 400, 150)
}

fn sized_bursts(port: u16, gaps: impl IntoIterator<Item = u64>, sent: u64, received: u64) -> Scene {
    drawn_bursts(port, gaps.into_iter().map(|gap| (gap, sent, received)))
}

/// One conversation with bursts at these gaps and with these bytes (sent, received).
fn drawn_bursts(port: u16, bursts: impl IntoIterator<Item = (u64, u64, u64)>) -> Scene {
    let mut scene = Scene::default();
    let mut record = scene.record(HOST, PEER, protocol::TCP, port);
    scene.send(&record);
    record.kind = record_kind::ACTIVE;
    record.outcome = outcome::ESTABLISHED;
    record.forward_flags |= u32::from(tcp::ACK) | HANDSHAKE_REPORTED;
    record.bursts = Bursts { count: 1, ..Bursts::default() };
    scene.again(&mut record, MS);
    for (gap, sent, received) in bursts {
        record.bursts.count += 1;
        record.bursts.last_gap_ms = u32::try_from(gap * 1000).unwrap();
        record.forward = direction(record.forward.packets + 1, record.forward.payload + sent);
        record.backward = direction(record.backward.packets + 1, record.backward.payload + received);
        scene.again(&mut record, gap * S);
    }
    scene
}

#[test]
fn regular_bursts_within_one_conversation_are_a_beacon() {
    assert!(bursts(8888, [10; 12]).found(Detector::Beacon, HOST, Severity::Warning));
    assert!(bursts(8888, [10; 8]).silent_about(Detector::Beacon));
    assert!(
        bursts(8888, (0..40).map(|step| 2 + die(step, 9) * die(step + 7, 30))).silent_about(Detector::Beacon)
    );
}

#[test]
fn bursts_that_only_keep_a_conversation_open_or_fetch_content_are_only_worth_knowing() {
    for (sent, received) in [(40, 40), (300, 30_000)] {
        let mut scene = sized_bursts(8888, [30; 30], sent, received);
        assert!(scene.found(Detector::Beacon, HOST, Severity::Info) && scene.quiet());
    }
}

#[test]
fn ends_that_each_speak_by_their_own_timer_are_peers_and_keep_alives_of_one_end_are_not() {
    let gap = |step| 10 + die(step, 11);
    let turns = |step| if step % 2 == 0 { (gap(step), 126, 0) } else { (gap(step), 0, 84) };
    assert!(drawn_bursts(2010, (0..60).map(turns)).quiet());
    let answered = |step| (gap(step), 126, 84);
    assert!(drawn_bursts(2010, (0..60).map(answered)).found(Detector::Beacon, HOST, Severity::Warning));
    let alone = |step| (gap(step), 22, 0);
    assert!(drawn_bursts(2010, (0..60).map(alone)).found(Detector::Beacon, HOST, Severity::Warning));
}

#[test]
fn a_shell_that_was_turned_round_is_a_beacon_and_one_that_somebody_uses_outside_is_not() {
    let gap = |step| 2 + die(step, 9) * die(step + 7, 9);
    let turned = |step| (gap(step), 300 + die(step, 3000), 5 + die(step, 40));
    assert!(drawn_bursts(2010, (0..40).map(turned)).found(Detector::Beacon, HOST, Severity::Warning));
    let used = |step| (gap(step), 5 + die(step, 40), 300 + die(step, 3000));
    assert!(drawn_bursts(2010, (0..40).map(used)).quiet());
}

#[test]
fn inside_hosts_that_are_asked_on_a_timer_are_health_checks() {
    let ask = |hosts: &[&str]| {
        let mut scene = Scene::default();
        for _ in 0..30 {
            for host in hosts {
                scene.connect(HOST, host, 8080, Goes::Well(90, 130, S / 10));
            }
            scene.pass(10 * S);
        }
        scene
    };
    assert!(ask(&["10.0.2.1", "10.0.2.2"]).quiet());
    let mut one = ask(&["10.0.2.1"]);
    assert!(one.quiet() && one.found(Detector::Beacon, HOST, Severity::Info));
}

#[test]
fn ten_fast_beats_are_worth_knowing_and_thirty_a_warning() {
    let beat = |count: u32| {
        let mut scene = Scene::default();
        for _ in 0..count {
            scene.connect(HOST, PEER, 8443, Goes::Well(300, 300, S / 2));
            scene.pass(2 * S);
        }
        scene
    };
    let mut few = beat(12);
    assert!(few.found(Detector::Beacon, HOST, Severity::Info) && few.quiet());
    assert!(beat(32).found(Detector::Beacon, HOST, Severity::Warning));
}

#[test]
fn heartbeats_on_a_port_where_programs_stay_connected_are_only_worth_knowing() {
    let mut scene = bursts(5222, [30; 30]);
    assert!(scene.found(Detector::Beacon, HOST, Severity::Info) && scene.quiet());
}

#[test]
fn time_servers_and_resolvers_never_beacon() {
    let mut scene = Scene::default();
    for _ in 0..40 {
        scene.datagram(HOST, "203.0.113.1", 123, 48, Some(48));
        scene.datagram(HOST, "203.0.113.2", 53, 40, Some(120));
        scene.pass(64 * S);
    }
    assert!(scene.silent_about(Detector::Beacon));
}

fn logins(port: u16, count: u32, received: impl Fn(u32) -> u64) -> Scene {
    let mut scene = Scene::default();
    for attempt in 0..count {
        scene.connect(HOST, "10.0.3.3", port, Goes::Well(1500, received(attempt), 2 * S));
        scene.pass((4 + die(u64::from(attempt), 5)) * S);
    }
    scene
}

#[test]
fn thirty_short_logins_are_brute_force_and_twenty_nine_are_not() {
    assert!(logins(22, 30, |_| 2400).found(Detector::BruteForce, HOST, Severity::Warning));
    let mut fewer = logins(22, 29, |_| 2400);
    assert!(fewer.quiet() && fewer.found(Detector::BruteForce, HOST, Severity::Info));
}

#[test]
fn sessions_of_all_sizes_and_busy_services_are_no_brute_force() {
    assert!(logins(22, 60, |attempt| 3000 * u64::from(attempt % 7)).silent_about(Detector::BruteForce));
    assert!(
        logins(443, 150, |attempt| 2000 + die(u64::from(attempt), 900)).silent_about(Detector::BruteForce)
    );
}

#[test]
fn slow_guessing_on_the_web_is_worth_knowing_and_a_poll_on_a_timer_is_not_called_so() {
    let guess = |count: u64| {
        let mut scene = Scene::default();
        for number in 0..count {
            scene.connect(HOST, "10.0.3.3", 443, Goes::Well(1500, 2400, S / 5));
            scene.pass(
                [2, 40, 9, 3, 25, 70, 5, 14][usize::try_from(number * number % 8 + number / 9).unwrap() % 8]
                    * S,
            );
        }
        scene
    };
    let mut guesses = guess(70);
    assert!(guesses.quiet() && guesses.found(Detector::BruteForce, HOST, Severity::Info));
    assert!(guess(59).silent_about(Detector::BruteForce));
    let mut polls = Scene::default();
    for _ in 0..150 {
        polls.connect(HOST, "10.0.3.3", 443, Goes::Well(1500, 2400, S / 5));
        polls.pass(10 * S);
    }
    assert!(polls.silent_about(Detector::BruteForce));
}

#[test]
fn one_password_on_many_hosts_is_spraying() {
    let spray = |source: &str, sent| {
        let mut scene = Scene::default();
        for attempt in 0..36u32 {
            let host = format!("10.0.3.{}", 1 + attempt % 12);
            scene.connect(source, &host, 22, Goes::Well(sent, 2400, 2 * S));
            scene.pass((40 + die(u64::from(attempt), 15)) * S);
        }
        scene
    };
    assert!(spray("198.51.100.7", 1500).found(Detector::BruteForce, "198.51.100.7", Severity::Warning));
    let mut inside = spray(HOST, 1500);
    assert!(inside.quiet() && inside.found(Detector::BruteForce, HOST, Severity::Info));
    assert!(spray("198.51.100.7", 30).silent_about(Detector::BruteForce), "it only looks for banners");
}

#[test]
fn connections_at_all_distances_are_no_beat() {
    let mut scene = Scene::default();
    for number in 0..80u64 {
        scene.connect(HOST, "10.0.3.3", 8080, Goes::Well(200, 3000, 20 * MS));
        scene.pass(
            [60, 900, 300, 1400, 150, 700, 1100, 450]
                [usize::try_from(number * number + number / 5).unwrap() % 8]
                * MS,
        );
    }
    assert!(scene.silent_about(Detector::Beacon));
}

#[test]
fn brute_force_is_not_called_a_beacon_as_well() {
    let mut scene = Scene::default();
    for _ in 0..60 {
        scene.connect(HOST, "10.0.3.3", 3389, Goes::Well(1500, 2400, 2 * S));
        scene.pass(5 * S);
    }
    let kinds: Vec<_> = scene.findings().into_iter().map(|finding| finding.detector).collect();
    assert_eq!(kinds, [Detector::BruteForce]);
}

#[test]
fn a_connection_of_an_hour_is_long_and_only_worth_knowing() {
    let mut scene = bursts(9999, [700; 6]);
    assert!(scene.found(Detector::LongConnection, HOST, Severity::Info));
    assert!(bursts(9999, [700; 5]).silent_about(Detector::LongConnection));
}

#[test]
fn a_connectivity_check_is_only_worth_knowing() {
    let mut scene = Scene::default();
    for _ in 0..20 {
        scene.connect(HOST, PEER, 80, Goes::Well(90, 200, S / 2));
        scene.pass(300 * S);
    }
    assert!(scene.quiet() && scene.found(Detector::Beacon, HOST, Severity::Info));
}
