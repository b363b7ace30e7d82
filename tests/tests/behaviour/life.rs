//! The daemon's life from outside: killed, restarted, stopped, detached, reloaded, its interface gone and back.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::{eventually, run},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

/// The attacker's UDP is limited to little; nothing else is.
pub const RULES: &str = r#"
[access]
inside = []
[default]
mode = "off"
[[service]]
name = "trap"
protocol = "udp"
ports = [9999]
mode = "enforce"
limit = { packets = "100/s", packets_burst = 50 }
"#;

/// Datagrams of the flood that came through to the guarded host's stack: nobody listens, so each is counted there.
fn came_through(scene: &Scene) -> u64 {
    let text = scene.guarded.run("cat", &["/proc/net/snmp"]).unwrap();
    let line = text.lines().filter(|line| line.starts_with("Udp:")).nth(1).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// What comes through of a flood of two seconds, how much was sent, and what a limit of 100/s, burst 50, lets pass: on a
/// busy machine the two seconds may be more.
pub fn leak(scene: &Scene) -> (u64, u64, f64) {
    let (before, start) = (came_through(scene), Instant::now());
    let sent = scene.flood(5000, Duration::from_secs(2)).unwrap().wait().unwrap();
    (came_through(scene) - before, sent, allowed(start))
}

/// What may pass from `start` on, with one more for each of up to 64 processors.
fn allowed(start: Instant) -> f64 {
    100.0 * start.elapsed().as_secs_f64() + 50.0 + 64.0
}

/// Whether the limit holds, and lets something pass.
pub fn assert_limited(scene: &Scene, when: &str) {
    let (leaked, sent, allowed) = leak(scene);
    assert!(sent > 2000, "{when}: only {sent} sent");
    assert!(leaked > 50 && leaked as f64 <= allowed, "{when}: {leaked} of {sent} came through");
}

/// How many were dropped once more than so many were.
fn dropped(guarded: &Daemon, more_than: f64) -> f64 {
    let labels = ["service=\"trap\"", "reason=\"packet_rate\""];
    guarded.reaches("sluice_packets_total", &labels, |dropped| dropped > more_than).unwrap();
    guarded.settles("sluice_packets_total", &labels).unwrap()
}

#[test]
fn a_killed_daemon_leaves_its_limits_and_the_next_one_takes_over_with_counters_unbroken() {
    let scene = or_skip!("kill -9", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    assert_limited(&scene, "guarded");
    let before = dropped(&guarded, 1000.0);
    guarded.kill();
    assert_limited(&scene, "without a daemon");
    guarded.run().unwrap();
    // As many as before, and those that nobody was there to see.
    dropped(&guarded, before + 1000.0);
    assert_limited(&scene, "taken over");
}

#[test]
fn a_restart_under_fire_lets_nothing_through() {
    let scene = or_skip!("restart under fire", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let before = came_through(&scene);
    let start = Instant::now();
    let flood = scene.flood(5000, Duration::from_secs(40)).unwrap();
    for _ in 0..2 {
        assert_eq!(guarded.terminate().unwrap(), 0, "{}", guarded.logged());
        guarded.run().unwrap();
    }
    let sent = flood.stop().unwrap();
    let (leaked, allowed) = (came_through(&scene) - before, allowed(start));
    assert!(leaked as f64 <= allowed, "{leaked} of {sent} in {:?}, {allowed} allowed", start.elapsed());
}

#[test]
fn stop_keeps_protecting_and_detach_removes_everything() {
    let scene = or_skip!("stop and detach", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    guarded.tell(&["stop"]).unwrap();
    assert_eq!(guarded.ended(PATIENCE).unwrap(), 0);
    assert_limited(&scene, "stopped");
    let pins = guarded.pins().to_str().unwrap().to_owned();
    let stopped = guarded.say(&["status", "--pin-directory", &pins]).unwrap();
    assert_eq!(stopped.code, 3, "{stopped:?}");
    assert!(stopped.error.contains(&format!("in force in the kernel on {INTERFACE}")), "{stopped:?}");
    guarded.run().unwrap();
    guarded.tell(&["detach", "--yes"]).unwrap();
    assert_eq!(guarded.ended(PATIENCE).unwrap(), 0);
    let detached = guarded.say(&["status", "--pin-directory", &pins]).unwrap();
    assert!(detached.error.contains("no interface is guarded"), "{detached:?}");
    let (leaked, sent, allowed) = leak(&scene);
    assert!(leaked as f64 > 2.0 * allowed, "detached: only {leaked} of {sent} came through");
    let left = fs::read_dir(guarded.pins()).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "pins are left in {}", guarded.pins().display());
    let link = scene.guarded.ip(&["link", "show", "dev", INTERFACE]).unwrap();
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn sigterm_ends_cleanly_and_sighup_reloads() {
    let scene = or_skip!("signals", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    // Those of sources: the share of strangers has rates of its own.
    let limit = |guarded: &Daemon, rate: &str| {
        let listed = guarded.json(&["limit", "list"]).unwrap();
        let limits = listed["limits"].as_array().unwrap();
        limits.iter().any(|limit| limit["kind"] == "per_source" && limit["packets"]["rate"] == rate)
    };
    assert!(limit(&guarded, "100/s"));
    guarded.configure(&[INTERFACE], &RULES.replace("100/s", "200/s")).unwrap();
    guarded.signal(libc::SIGHUP).unwrap();
    eventually("the reload", PATIENCE, || (!limit(&guarded, "100/s")).then_some(())).unwrap();
    // A bad file changes nothing and says so.
    guarded.configure(&[INTERFACE], &RULES.replace("packets =", "packtes =")).unwrap();
    guarded.signal(libc::SIGHUP).unwrap();
    let failed = || guarded.metric("sluice_config_last_reload_successful", &[]).is_ok_and(|ok| ok < 0.5);
    eventually("the failed reload", PATIENCE, || failed().then_some(())).unwrap();
    assert!(limit(&guarded, "200/s"));
    assert_eq!(guarded.terminate().unwrap(), 0, "{}", guarded.logged());
}

#[test]
fn a_start_that_is_stopped_and_continued_all_the_time_ends_guarded() {
    let scene = or_skip!("an interrupted start", Scene::to_guard());
    let mut guarded = Daemon::new(&scene.guarded, &[INTERFACE], RULES).unwrap();
    guarded.spawn().unwrap();
    // As a frozen control group or a debugger does: no process can hold SIGSTOP back, and it interrupts the verifier.
    for _ in 0..40 {
        guarded.signal(libc::SIGSTOP).unwrap();
        thread::sleep(Duration::from_millis(10));
        guarded.signal(libc::SIGCONT).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    let answer = eventually("the daemon answers", PATIENCE, || guarded.json(&["status"]).ok());
    assert!(answer.is_ok(), "{}", guarded.logged());
    scene.warm_up(Over::Ipv4).unwrap();
    assert_limited(&scene, "after an interrupted start");
    assert_eq!(guarded.terminate().unwrap(), 0, "{}", guarded.logged());
}

#[test]
fn an_interface_that_is_deleted_and_made_again_is_guarded_again() {
    let scene = or_skip!("an interface that comes back", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    assert_limited(&scene, "before");
    scene.guarded.ip(&["link", "delete", INTERFACE]).unwrap();
    let absent = || {
        let absent = guarded.metric("sluice_interface_mode", &["mode=\"absent\""]);
        absent.is_ok_and(|absent| absent > 0.5).then_some(())
    };
    eventually("the interface is missed", PATIENCE, absent).unwrap();
    scene
        .guarded
        .ip(&[
            "link",
            "add",
            INTERFACE,
            "type",
            "veth",
            "peer",
            "name",
            "guarded",
            "netns",
            scene.wire.name(),
        ])
        .unwrap();
    scene.wire.ip(&["link", "set", "guarded", "master", "br0", "up"]).unwrap();
    scene.guarded.address(INTERFACE, "10.77.0.1/24").unwrap();
    scene.guarded.ip(&["link", "set", INTERFACE, "up"]).unwrap();
    let native = || {
        let native = guarded.metric("sluice_interface_mode", &["mode=\"native\""]);
        native.is_ok_and(|native| native > 0.5).then_some(())
    };
    eventually("the interface is guarded again", PATIENCE, native).unwrap();
    // Its address on the wire is another one now.
    for space in [&scene.client, &scene.attacker] {
        space.ip(&["neighbour", "flush", "dev", INTERFACE]).unwrap();
    }
    scene.warm_up(Over::Ipv4).unwrap();
    assert_limited(&scene, "after");
}

#[test]
fn the_metrics_page_satisfies_promtool() {
    let scene = or_skip!("promtool", Scene::to_guard());
    or_skip!("promtool", run("promtool", &["--version"]));
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let page = guarded.metrics().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("page");
    fs::write(&file, &page).unwrap();
    let check = format!("promtool check metrics < {}", file.display());
    let said = run("sh", &["-c", &check]).unwrap();
    assert!(said.trim().is_empty(), "{said}");
    assert!(!page.contains("10.77.0."), "an address is a label");
}
