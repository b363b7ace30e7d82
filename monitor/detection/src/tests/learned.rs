//! What needs a past: new edges, odd hours, shifts of rates, throttled insiders, addresses that cannot be.

use monitor_common::conversation::note;

use super::scene::{Goes, S, Scene};
use crate::{
    Learned, Parameters,
    detect::ServiceRate,
    finding::{Detector, Severity},
};

const HOST: &str = "10.0.0.9";
const DAY: u64 = 86_400 * S;

fn use_service(scene: &mut Scene, port: u16) {
    scene.connect(HOST, "10.0.3.3", port, Goes::Well(500, 800, S));
}

#[test]
fn an_edge_first_seen_after_the_learning_period_is_new_and_an_old_one_is_not() {
    let mut scene = Scene::default();
    use_service(&mut scene, 5432);
    assert!(scene.silent_about(Detector::NewEdge), "it is still learning");
    let learned = Learned { observed_ns: 8 * DAY, ..scene.detection.learned() };
    assert_eq!(learned.edges.edges.len(), 1);
    let text = serde_json::to_string(&learned).unwrap();
    let learned: Learned = serde_json::from_str(&text).unwrap();
    let mut scene = Scene::learned(&Parameters::default(), &learned);
    assert_eq!(scene.detection.learning().edges_in_s, 0);
    use_service(&mut scene, 5432);
    assert!(scene.silent_about(Detector::NewEdge));
    use_service(&mut scene, 6379);
    assert!(scene.found(Detector::NewEdge, HOST, Severity::Info) && scene.quiet());
}

#[test]
fn use_in_an_hour_of_the_week_that_never_saw_any_is_odd() {
    let mut scene =
        Scene::learned(&Parameters::default(), &Learned { observed_ns: 20 * DAY, ..Learned::default() });
    for number in 0..400u64 {
        use_service(&mut scene, 5432);
        scene.pass((1 + number * number % 19) * S);
    }
    assert!(scene.silent_about(Detector::OffHours));
    scene.pass(12 * 3600 * S);
    use_service(&mut scene, 5432);
    assert!(scene.found(Detector::OffHours, HOST, Severity::Info));
}

/// A service at a steady rate, and then at another for so many windows.
fn service(then: u64, windows: u32) -> Scene {
    let mut scene = Scene::default();
    for window in 0..120 + windows {
        let packets = if window < 120 { 10_000 + u64::from(window % 7) * 100 } else { then };
        scene.detection.service_rate(
            "web",
            ServiceRate { packets, bytes: packets * 100, new_sources: 3 },
            scene.now,
        );
        scene.now += 10 * S;
    }
    scene
}

#[test]
fn a_rate_that_triples_for_three_windows_is_a_shift() {
    assert!(service(80_000, 5).found(Detector::RateShift, "web", Severity::Warning));
    assert!(service(12_000, 5).silent_about(Detector::RateShift));
    assert!(service(80_000, 2).silent_about(Detector::RateShift), "two windows are a peak");
}

#[test]
fn a_slow_ramp_is_a_shift_too() {
    let mut scene = Scene::default();
    let mut packets = 20_000.0f64;
    for window in 0..900 {
        if window > 300 {
            packets *= 1.01;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of packets"
        )]
        let rate = ServiceRate { packets: packets as u64, bytes: 0, new_sources: 0 };
        scene.detection.service_rate("web", rate, scene.now);
        scene.now += 10 * S;
    }
    assert!(scene.found(Detector::RateShift, "web", Severity::Info));
}

#[test]
fn an_insider_that_exceeds_its_limit_in_three_windows_is_throttled() {
    let exceed = |windows: u64| {
        let mut scene = Scene::default();
        for _ in 0..windows {
            scene.detection.exceeded(HOST.parse().unwrap(), scene.now);
            scene.detection.exceeded("203.0.113.9".parse().unwrap(), scene.now);
            scene.pass(60 * S);
        }
        scene
    };
    assert!(exceed(3).found(Detector::ThrottledInsider, HOST, Severity::Warning));
    assert_eq!(exceed(9).findings().len(), 1, "outsiders are the limiter's business");
    assert!(exceed(2).findings().is_empty());
}

#[test]
fn sources_that_nobody_can_have_are_spoofed() {
    let mut scene = Scene::default();
    scene.observed(note::UDP, "224.0.0.9", "10.0.0.5", (5, 6), 0);
    assert!(scene.found(Detector::SpoofedSource, "interface 0", Severity::Info) && scene.quiet());
    for _ in 0..100 {
        scene.observed(note::UDP, "127.0.0.9", "10.0.0.5", (5, 6), 0);
        scene.pass(S);
    }
    assert!(scene.found(Detector::SpoofedSource, "interface 0", Severity::Warning));
}

#[test]
fn an_inside_source_on_an_outside_interface_is_spoofed() {
    let mut parameters = Parameters::default();
    parameters.spoofed_source.outside_interfaces = vec![0];
    let mut scene = Scene::with(&parameters);
    scene.observed(note::UDP, HOST, "10.0.0.5", (5, 6), 0);
    assert!(scene.found(Detector::SpoofedSource, "interface 0", Severity::Info));
}
