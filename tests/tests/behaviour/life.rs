//! The daemon's life from outside: killed, restarted, stopped, detached, reloaded, its interface gone and back.

use std::{fs, time::Duration};

use monitor_tests::{
    harness::{
        daemon::Daemon,
        network::{eventually, run},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

/// The attacker's UDP is limited to little; nothing else is.
const RULES: &str = r#"
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

/// Sends a flood for this long; the number of frames sent.
fn flood(scene: &Scene, time: Duration) -> u64 {
    scene.flood(5000, time).unwrap().wait().unwrap()
}

/// Datagrams of the flood that came through to the guarded host's stack: nobody listens, so each is counted there.
fn came_through(scene: &Scene) -> u64 {
    let text = scene.guarded.run("cat", &["/proc/net/snmp"]).unwrap();
    let line = text.lines().filter(|line| line.starts_with("Udp:")).nth(1).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// The share of a flood of two seconds that comes through.
fn leak(scene: &Scene) -> (u64, u64) {
    let before = came_through(scene);
    let sent = flood(scene, Duration::from_secs(2));
    (came_through(scene) - before, sent)
}

/// Whether the limit of 100/s, burst 50, holds over two seconds (and a bit).
fn assert_limited(scene: &Scene, when: &str) {
    let (leaked, sent) = leak(scene);
    assert!(sent > 3000, "{when}: only {sent} sent");
    assert!(leaked > 50 && leaked < 450, "{when}: {leaked} of {sent} came through");
}

fn dropped(guarded: &Daemon) -> f64 {
    guarded.metric("sluice_packets_total", &["service=\"trap\"", "reason=\"packet_rate\""]).unwrap()
}

/// The figures that the daemon knows are up to a second old.
fn settle() {
    std::thread::sleep(Duration::from_millis(2500));
}

#[test]
fn a_killed_daemon_leaves_its_limits_and_the_next_one_takes_over_with_counters_unbroken() {
    let scene = or_skip!("kill -9", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    assert_limited(&scene, "guarded");
    settle();
    let before = dropped(&guarded);
    assert!(before > 2000.0, "{before}");
    guarded.kill();
    assert_limited(&scene, "without a daemon");
    guarded.run().unwrap();
    settle();
    let after = dropped(&guarded);
    assert!(after > before + 2000.0, "{before} dropped before, {after} after");
    assert_limited(&scene, "taken over");
}

#[test]
fn a_restart_under_fire_lets_nothing_through() {
    let scene = or_skip!("restart under fire", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let before = came_through(&scene);
    let start = std::time::Instant::now();
    let flood = scene.flood(5000, Duration::from_secs(40)).unwrap();
    for _ in 0..2 {
        assert_eq!(guarded.terminate().unwrap(), 0, "{}", guarded.logged());
        guarded.run().unwrap();
    }
    let sent = flood.stop().unwrap();
    let (leaked, seconds) = (came_through(&scene) - before, start.elapsed().as_secs_f64());
    let allowed = 100.0 * seconds + 50.0 + 2.0;
    assert!(leaked as f64 <= allowed, "{leaked} of {sent} in {seconds} s, {allowed} allowed");
}

#[test]
fn stop_keeps_protecting_and_detach_removes_everything() {
    let scene = or_skip!("stop and detach", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    guarded.tell(&["stop"]).unwrap();
    assert_eq!(guarded.ended(Duration::from_secs(20)).unwrap(), 0);
    assert_limited(&scene, "stopped");
    guarded.run().unwrap();
    guarded.tell(&["detach"]).unwrap();
    assert_eq!(guarded.ended(Duration::from_secs(20)).unwrap(), 0);
    let (leaked, sent) = leak(&scene);
    assert!(leaked > sent / 2, "detached: only {leaked} of {sent} came through");
    let left = fs::read_dir(guarded.pins()).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "pins are left in {}", guarded.pins().display());
    let link = scene.guarded.ip(&["link", "show", "dev", INTERFACE]).unwrap();
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn sigterm_ends_cleanly_and_sighup_reloads() {
    let scene = or_skip!("signals", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let limit = |guarded: &Daemon| {
        let limits = guarded.json(&["limit", "list"]).unwrap().to_string();
        limits.contains("\"per_second\":100}")
    };
    assert!(limit(&guarded));
    guarded.configure(&[INTERFACE], &RULES.replace("100/s", "200/s")).unwrap();
    guarded.signal(libc::SIGHUP).unwrap();
    eventually("the reload", Duration::from_secs(10), || (!limit(&guarded)).then_some(())).unwrap();
    // A bad file changes nothing and says so.
    guarded.configure(&[INTERFACE], &RULES.replace("packets =", "packtes =")).unwrap();
    guarded.signal(libc::SIGHUP).unwrap();
    let failed = || guarded.metric("sluice_config_last_reload_successful", &[]).is_ok_and(|ok| ok < 0.5);
    eventually("the failed reload", Duration::from_secs(10), || failed().then_some(())).unwrap();
    assert!(guarded.json(&["limit", "list"]).unwrap().to_string().contains("\"per_second\":200}"));
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
    eventually("the interface is missed", Duration::from_secs(15), absent).unwrap();
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
    eventually("the interface is guarded again", Duration::from_secs(20), native).unwrap();
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
