//! Limits, bans, exemptions and denials changed by the command line while packets come.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    ops::Range,
    thread,
    time::Duration,
};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        flood::Flood,
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

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

/// A flood of 5000 a second that goes on for a minute at most.
fn flood(scene: &Scene) -> Flood {
    scene.flood(5000, Duration::from_mins(1)).unwrap()
}

/// So many packets of the flood a second end in this way, sooner or later.
fn ends(guarded: &Daemon, reason: &str, per_second: Range<f64>) {
    guarded.grows("sluice_packets_total", &[&format!("reason=\"{reason}\"")], per_second).unwrap();
}

fn pings(scene: &Scene) -> bool {
    scene.attacker.run("ping", &["-c", "1", "-W", "1", "10.77.0.1"]).is_ok()
}

/// The attacker is answered, now or in a while.
fn is_let_in(scene: &Scene, otherwise: &str) {
    eventually(otherwise, PATIENCE, || pings(scene).then_some(())).unwrap();
}

/// What the ban of the attacker says, if there is one.
fn ban(guarded: &Daemon) -> Option<Value> {
    let access = guarded.json(&["access", "list"]).unwrap();
    access["banned"].as_array().unwrap().iter().find(|ban| ban.to_string().contains("10.77.0.3")).cloned()
}

#[test]
fn a_limit_changes_under_fire_and_goes_back_when_it_is_unset() {
    let scene = or_skip!("limits under fire", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _flood = flood(&scene);
    ends(&guarded, "accepted", 50.0..200.0);
    guarded.tell(&["limit", "set", "trap", "--packets", "1k/s", "--packets-burst", "100"]).unwrap();
    ends(&guarded, "accepted", 500.0..1750.0);
    guarded.tell(&["limit", "set", "trap", "--mode", "observe"]).unwrap();
    ends(&guarded, "packet_rate", 0.0..0.1);
    guarded.tell(&["limit", "unset", "trap"]).unwrap();
    ends(&guarded, "accepted", 50.0..200.0);
}

#[test]
fn a_ban_made_by_hand_shuts_a_source_out_until_its_end_or_until_it_is_taken_back() {
    let scene = or_skip!("bans by hand", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    guarded.tell(&["access", "ban", "10.77.0.3", "--for", "10m", "--reason", "a test"]).unwrap();
    assert!(!pings(&scene), "the banned source is answered");
    let why = guarded.tell(&["explain", "10.77.0.3"]).unwrap();
    assert!(why.contains("ban"), "{why}");
    assert!(ban(&guarded).is_some());
    guarded.tell(&["access", "unban", "10.77.0.3"]).unwrap();
    is_let_in(&scene, "the ban is not taken back");
    guarded.tell(&["access", "ban", "10.77.0.3", "--for", "4s"]).unwrap();
    is_let_in(&scene, "the ban does not end");
}

#[test]
fn violations_of_a_live_flood_earn_a_ban() {
    let scene = or_skip!("bans by violations", Scene::to_guard());
    let rules = RULES.to_owned()
        + "ban = { after = 1000, within = \"5s\", for = \"10s\", growth = 1, unproven = true }\n";
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], &rules).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let flood = flood(&scene);
    ends(&guarded, "banned", 1500.0..20_000.0);
    // Between two bans it is answered for a moment, so the same one has to stand before and after.
    let shut_out = || {
        let before = ban(&guarded)?;
        let answered = pings(&scene);
        (ban(&guarded)?["until"] == before["until"]).then_some(!answered)
    };
    let shut_out = eventually("a ban that stands", PATIENCE, shut_out).unwrap();
    assert!(shut_out, "the banned source is answered");
    flood.stop().unwrap();
    is_let_in(&scene, "the ban does not end");
}

#[test]
fn a_prefix_is_denied_exempted_and_forgotten() {
    let scene = or_skip!("access by prefix", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    guarded.tell(&["access", "deny", "10.77.0.3/32"]).unwrap();
    assert!(!pings(&scene), "the denied prefix is answered");
    guarded.tell(&["access", "exempt", "10.77.0.3/32"]).unwrap();
    is_let_in(&scene, "exempt does not win over denied");
    let _flood = flood(&scene);
    ends(&guarded, "exempt", 2500.0..20_000.0);
    guarded.tell(&["access", "unexempt", "10.77.0.3/32"]).unwrap();
    assert!(!pings(&scene), "the denial is lost");
    guarded.tell(&["access", "undeny", "10.77.0.3/32"]).unwrap();
    is_let_in(&scene, "the denial stays");
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back() {
    let scene = or_skip!("confirmation", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let state = || guarded.json(&["history", "-n", "1"]).unwrap()["changes"][0]["state"].clone();
    // On a machine that is busy the change may be taken back before anybody could look.
    let acts = || {
        guarded.tell(&["access", "deny", "10.77.0.3", "--confirm-within", "3s"]).unwrap();
        let answered = pings(&scene);
        (state() == "pending").then_some(!answered)
    };
    assert!(eventually("a look in time", PATIENCE, acts).unwrap(), "the change does not act at once");
    is_let_in(&scene, "the change stays without confirmation");
    let confirmed = || {
        guarded.tell(&["access", "deny", "10.77.0.3", "--confirm-within", "3s"]).unwrap();
        guarded.tell(&["confirm"]).ok()
    };
    eventually("a word in time", PATIENCE, confirmed).unwrap();
    thread::sleep(Duration::from_secs(5));
    assert!(!pings(&scene), "the confirmed change is taken back");
}

/// The connection of whoever made the change stalls while it holds, and goes on once the daemon has taken it back.
#[test]
fn a_change_that_cuts_its_callers_connection_is_taken_back_and_the_connection_goes_on() {
    let scene = or_skip!("a caller that cuts itself off", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let service = scene.service(Over::Ipv4, 2222);
    let listener = scene.guarded.enter(move || TcpListener::bind(service)).unwrap().join().unwrap().unwrap();
    let echo = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut word = [0; 4];
        while connection.read_exact(&mut word).is_ok() && connection.write_all(&word).is_ok() {}
    });
    let caller = scene.client.enter(move || TcpStream::connect(service)).unwrap().join().unwrap();
    let mut caller = caller.unwrap();
    let mut answered = |within: Duration| {
        caller.set_read_timeout(Some(within)).unwrap();
        let mut word = [0; 4];
        caller.write_all(b"ping").unwrap();
        caller.read_exact(&mut word).is_ok()
    };
    assert!(answered(PATIENCE), "the connection works before the change");
    guarded.tell(&["access", "deny", "10.77.0.2", "--confirm-within", "5s"]).unwrap();
    assert!(!answered(Duration::from_secs(1)), "the change does not cut the connection");
    assert!(answered(PATIENCE), "the connection does not come back by itself");
    let history = guarded.tell(&["history", "1"]).unwrap();
    assert!(history.contains("rolled back") && history.contains("10.77.0.2"), "{history}");
    drop(caller);
    echo.join().unwrap();
}

#[test]
fn saved_changes_outlive_the_daemon_and_others_do_not() {
    let scene = or_skip!("saved changes", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    guarded.tell(&["access", "deny", "192.0.2.0/24", "--save"]).unwrap();
    guarded.tell(&["access", "deny", "198.51.100.0/24"]).unwrap();
    guarded.tell(&["limit", "set", "trap", "--packets", "777/s", "--save"]).unwrap();
    assert_eq!(guarded.terminate().unwrap(), 0);
    guarded.run().unwrap();
    let access = guarded.json(&["access", "list"]).unwrap().to_string();
    assert!(access.contains("192.0.2.0/24") && !access.contains("198.51.100.0/24"), "{access}");
    let limits = guarded.json(&["limit", "list"]).unwrap().to_string();
    assert!(limits.contains("\"rate\":\"777/s\""), "{limits}");
}
