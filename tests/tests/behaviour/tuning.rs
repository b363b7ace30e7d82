//! The daemon learns from real traffic, proposes, tries, applies, and takes back what nobody confirmed, also after a kill.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

/// A quarter of a minute is enough here, and the quantile needs a hundred source-seconds.
const RULES: &str = r#"
[access]
inside = []
[default]
mode = "off"
[tuning]
quantile = 0.9
least_learning_hours = 0.004
[[service]]
name = "game"
protocol = "udp"
ports = [9999]
mode = "enforce"
limit = { packets = "1k/s" }
"#;

/// What may be proposed for players of 40 a second: room for them, and far less than the configured limit.
const USUAL: std::ops::Range<u64> = 41..160;

/// Plays from `address` at so many packets a second until `over`, for five minutes at most.
fn play(scene: &Scene, address: &str, per_second: u32, over: &Arc<AtomicBool>) {
    scene.client.address(INTERFACE, &format!("{address}/24")).unwrap();
    let (address, over) = (format!("{address}:0"), Arc::clone(over));
    let playing = move || {
        let socket = UdpSocket::bind(&address).unwrap();
        let (pace, mut due) = (Duration::from_secs(1) / per_second, Instant::now());
        for _ in 0..300 * per_second {
            if over.load(Ordering::Relaxed) {
                return;
            }
            // Nobody listens, and an answer that says so is no news.
            let _ = socket.send_to(b"move", "10.77.0.1:9999");
            // Who wakes up late on a busy machine makes good for a fifth of a second and forgets the rest.
            due = (due + pace).max(Instant::now().checked_sub(Duration::from_millis(200)).unwrap_or(due));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    };
    drop(scene.client.enter(playing).unwrap());
}

fn shown(guarded: &Daemon) -> Value {
    guarded.json(&["tune", "show", "--service", "game"]).unwrap()["limits"][0].clone()
}

fn proposed(guarded: &Daemon) -> Option<u64> {
    shown(guarded)["advice"]["packets"]["limit"]["per_second"].as_u64()
}

/// A counted rate by the second.
fn per_second(rate: &Value) -> u64 {
    let rate = ::policy::config::Rate::counted(rate.as_str().unwrap()).unwrap();
    assert_eq!(rate.period, ::policy::config::Period::Second);
    rate.amount
}

/// The rate of the limit of each source that holds for outside sources, and where it comes from.
fn in_force(guarded: &Daemon) -> (u64, String) {
    let limits = guarded.json(&["limit", "list"]).unwrap();
    let rows = limits["limits"].as_array().unwrap();
    let of = |class: &str| {
        rows.iter()
            .find(|row| row["service"] == "game" && row["kind"] == "per_source" && row["class"] == class)
    };
    let row = of("outside").or_else(|| of("any")).unwrap();
    (per_second(&row["packets"]["rate"]), row["origin"].as_str().unwrap().to_owned())
}

fn last_state(guarded: &Daemon) -> String {
    guarded.json(&["history", "-n", "1"]).unwrap()["changes"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn what_players_usually_send_becomes_a_limit_that_can_be_tried_applied_and_taken_back() {
    let scene = or_skip!("tuning", Scene::to_guard());
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    assert_eq!(shown(&guarded)["advice"]["answer"], "too_little_data");
    let too_early = guarded.say(&["tune", "apply", "game"]).unwrap();
    assert!(too_early.code != 0 && too_early.error.contains("too little"), "{too_early:?}");

    let over = Arc::new(AtomicBool::new(false));
    for player in 100..110 {
        play(&scene, &format!("10.77.0.{player}"), 40, &over);
    }
    let rate = eventually("a proposal", 2 * PATIENCE, || proposed(&guarded));
    let rate = rate.unwrap_or_else(|_| panic!("{}\n{}", shown(&guarded), guarded.logged()));
    assert!(USUAL.contains(&rate), "players of about 40/s each, headroom 2: {rate}/s proposed");

    guarded.tell(&["tune", "try", "game"]).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    play(&scene, "10.77.0.99", 600, &enough);
    let hit = eventually("the trial names whom it would hit", PATIENCE, || {
        Some(shown(&guarded)["trial"]["sources"].to_string()).filter(|sources| sources.contains("10.77.0.99"))
    });
    enough.store(true, Ordering::Relaxed);
    let hit = hit.unwrap_or_else(|_| panic!("{}", shown(&guarded)));
    assert!(!hit.contains("10.77.0.100"), "a usual player would be hit: {hit}");
    assert_eq!(in_force(&guarded), (1000, "config".to_owned()));

    // What was learned survives an orderly restart.
    assert_eq!(guarded.terminate().unwrap(), 0);
    guarded.run().unwrap();
    assert!(proposed(&guarded).is_some(), "{}", shown(&guarded));

    guarded.tell(&["tune", "apply", "game", "--confirm-within", "6s"]).unwrap();
    let (applied, _) = in_force(&guarded);
    assert!(USUAL.contains(&applied), "{applied}/s in force");
    assert_eq!(last_state(&guarded), "pending");
    let over_again = || (last_state(&guarded) == "rolled back").then_some(());
    eventually("it is taken back", PATIENCE, over_again).unwrap();
    assert_eq!(in_force(&guarded).0, 1000);

    guarded.tell(&["tune", "apply", "game", "--confirm-within", "60s"]).unwrap();
    guarded.kill();
    guarded.run().unwrap();
    assert_eq!((in_force(&guarded).0, last_state(&guarded)), (1000, "rolled back".to_owned()));
    over.store(true, Ordering::Relaxed);
}
