//! The defence ladder, live: a flood of strangers tightens the limit of everybody, aloud, and calm gives it back.

use std::time::Duration;

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        flood::Sources,
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

/// A busy machine must not climb by itself, so flood mode is the only thing that calls for the rung.
const RULES: &str = r#"
[access]
inside = []
[default]
mode = "off"
[flood]
new_sources = "100/s"
burst = 100
hold = "2s"
[[service]]
name = "trap"
protocol = "udp"
ports = [9999]
mode = "enforce"
limit = { packets = "1k/s", packets_burst = 100 }
[[service]]
name = "lure"
protocol = "udp"
ports = [9998]
mode = "observe"
limit = { packets = "1k/s" }
[tuning.defence]
enabled = true
climb_after_seconds = 1
relax_after_seconds = 2
rungs = [{ limits = 0.2, in_flood_mode = true }]
"#;

/// The port of the service that only observes.
const LURE: u16 = 9998;

/// While one known source sends three times its limit, so much of that passes a second.
fn passes(scene: &Scene, guarded: &Daemon, per_second: std::ops::Range<f64>) {
    let _heavy = scene.flood(3000, Duration::from_mins(1)).unwrap();
    let accepted = ["service=\"trap\"", "reason=\"accepted\""];
    guarded.grows("sluice_packets_total", &accepted, per_second).unwrap();
}

#[test]
fn a_flood_tightens_limits_aloud_and_calm_relaxes_them_again() {
    let scene = or_skip!("the defence ladder", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let last_change = || guarded.json(&["history", "-n", "1"]).unwrap()["changes"][0].clone();
    let problems = || guarded.json(&["status"]).unwrap()["problems"].to_string();
    let told = |change: &str| {
        let told =
            || last_change()["what"].as_str().is_some_and(|what| what.starts_with(change)).then_some(());
        eventually(change, PATIENCE, told).unwrap();
        assert!(guarded.logged().contains(change), "{}", guarded.logged());
    };
    passes(&scene, &guarded, 500.0..1750.0);
    assert!(!guarded.logged().contains("defence rung"), "{}", guarded.logged());

    // Anybody, to a service that drops nothing.
    let flood = scene.flood_from(Sources::Spoofed, LURE, 10_000, Duration::from_mins(1)).unwrap();
    guarded.reaches("sluice_defence_rung", &[], |rung| rung > 0.5).unwrap();
    told("defence rung 0 -> 1: limits x 0.2");
    assert!(problems().contains("defence rung 1"), "{}", problems());
    passes(&scene, &guarded, 100.0..350.0);
    // A rung is no decision: what was configured stands.
    let limits = guarded.json(&["limit", "list"]).unwrap().to_string();
    assert!(limits.contains("\"rate\":\"1k/s\""), "{limits}");

    flood.stop().unwrap();
    guarded.reaches("sluice_defence_rung", &[], |rung| rung < 0.5).unwrap();
    told("defence rung 1 -> 0: limits x 1");
    passes(&scene, &guarded, 500.0..1750.0);
    assert!(!problems().contains("defence rung"), "{}", problems());
}
