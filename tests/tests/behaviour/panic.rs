//! `sluice panic` from outside: everything passes at once, with a daemon, past one that hangs, without one and without a
//! configuration that can be read, until somebody switches it off.

use std::{
    fs,
    time::{Duration, Instant},
};

use monitor_common::names::LAYOUT;
use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

use crate::life::{RULES, assert_limited, leak};

fn assert_open(scene: &Scene, when: &str) {
    let (leaked, sent, allowed) = leak(scene);
    assert!(
        leaked as f64 > 2.0 * allowed && leaked * 10 > sent * 9,
        "{when}: {leaked} of {sent} came through"
    );
}

fn made_by(guarded: &Daemon) -> Vec<(String, String)> {
    let history = guarded.json(&["history"]).unwrap();
    let told = |change: &serde_json::Value, key: &str| change[key].as_str().unwrap_or_default().to_owned();
    let changes = history["changes"].as_array().unwrap().iter();
    changes.map(|change| (told(change, "what"), told(change, "made_by"))).collect()
}

fn begun(guarded: &Daemon) -> bool {
    guarded.metric("sluice_panic", &[]).is_ok_and(|on| on > 0.5)
}

#[test]
fn panic_lets_everything_pass_over_restarts_until_it_is_switched_off() {
    let scene = or_skip!("panic", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    assert_limited(&scene, "before");
    let refused = guarded.say(&["panic", "on"]).unwrap();
    assert_eq!(refused.code, 6, "{refused:?}");
    assert_limited(&scene, "not confirmed");
    let start = Instant::now();
    guarded.tell(&["panic", "on", "--yes"]).unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    let would = ["service=\"trap\"", "reason=\"packet_rate\""];
    assert_open(&scene, "on");
    // What would have been dropped is counted.
    guarded.reaches("sluice_would_drop_packets_total", &would, |count| count > 1000.0).unwrap();
    guarded.reaches("sluice_panic", &[], |on| on > 0.5).unwrap();
    let status = guarded.tell(&["status"]).unwrap();
    assert!(status.starts_with("PANIC: EVERYTHING PASSES since"), "{status}");
    assert!(guarded.logged().contains("panic: everything passes since"), "{}", guarded.logged());
    let explained = guarded.tell(&["explain", "10.77.0.3"]).unwrap();
    assert!(explained.contains("panic is on"), "{explained}");
    guarded.configure(&[INTERFACE], &RULES.replace("100/s", "101/s")).unwrap();
    guarded.tell(&["reload"]).unwrap();
    guarded.kill();
    assert_open(&scene, "killed");
    guarded.run().unwrap();
    assert_open(&scene, "started again");
    // The kernel side is gone, as after a reboot or an upgrade to another layout.
    guarded.kill();
    let pins = guarded.pins().to_str().unwrap().to_owned();
    let config = guarded.config().to_str().unwrap().to_owned();
    guarded.tell(&["detach", "--config", &config, "--yes"]).unwrap();
    assert!(!fs::exists(format!("{pins}/v{LAYOUT}")).unwrap());
    guarded.run().unwrap();
    assert_open(&scene, "the maps are new");
    guarded.tell(&["panic", "off"]).unwrap();
    assert_limited(&scene, "off");
    let steps: Vec<_> = made_by(&guarded).into_iter().filter(|(what, _)| what.starts_with("panic")).collect();
    let wanted = ["panic off: the rules hold again", "panic on: everything passes"];
    assert_eq!(steps.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(), wanted);
    assert!(steps.iter().all(|(_, by)| by == "root (uid 0)"), "{steps:?}");
}

#[test]
fn root_switches_it_without_a_daemon_and_without_a_readable_configuration() {
    let scene = or_skip!("panic without a daemon", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    guarded.kill();
    let good = fs::read_to_string(guarded.config()).unwrap();
    let config = guarded.config().to_str().unwrap().to_owned();
    fs::write(&config, format!("{good}nonsense = [\n")).unwrap();
    assert_eq!(guarded.say(&["panic", "on", "--config", &config]).unwrap().code, 6);
    assert_limited(&scene, "not confirmed");
    let told = guarded.tell(&["panic", "on", "--yes", "--config", &config]).unwrap();
    assert!(told.contains("without the daemon") && told.contains("pinned maps"), "{told}");
    assert_open(&scene, "on");
    fs::write(&config, &good).unwrap();
    let status = guarded.say(&["status", "--config", &config]).unwrap();
    assert!(status.error.contains("PANIC: EVERYTHING PASSES"), "{status:?}");
    guarded.run().unwrap();
    assert_open(&scene, "the next daemon");
    let (what, by) = made_by(&guarded).remove(0);
    assert!(what.starts_with("panic on: everything passes (at "), "{what}");
    assert_eq!(by, "uid 0, without the daemon");
    guarded.kill();
    guarded.tell(&["panic", "off", "--config", &config]).unwrap();
    assert_limited(&scene, "off");
    guarded.run().unwrap();
    assert!(!begun(&guarded));
    assert_limited(&scene, "off for the next daemon too");
}

#[test]
fn a_daemon_that_hangs_is_passed_by_and_takes_it_over() {
    let scene = or_skip!("panic past a daemon that hangs", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    guarded.signal(libc::SIGSTOP).unwrap();
    let config = guarded.config().to_str().unwrap().to_owned();
    let told = guarded.say(&["panic", "on", "--yes", "--config", &config]);
    let open = leak(&scene);
    guarded.signal(libc::SIGCONT).unwrap();
    let told = told.unwrap().ok().unwrap();
    assert!(told.contains("did not answer in time"), "{told}");
    let (leaked, sent, _) = open;
    assert!(leaked * 10 > sent * 9, "{leaked} of {sent}");
    eventually("the daemon takes it over", PATIENCE, || begun(&guarded).then_some(())).unwrap();
    guarded.tell(&["panic", "off"]).unwrap();
    assert_limited(&scene, "off");
}
