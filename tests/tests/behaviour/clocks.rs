//! The wall clock of a running daemon is set by a day. A time namespace does not reach the wall clock, so the daemon gets a
//! clock of its own by a preloaded library; the kernel side and the boot clock are the machine's.

use std::time::{Duration, Instant};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Scene},
    },
    or_skip,
};

const DAY: i64 = 86_400;
/// How long everything lasts here.
const LASTS: Duration = Duration::from_secs(20);

const KINDS: [(&str, &str); 3] = [("exempt", "203.0.113.1"), ("deny", "203.0.113.2"), ("ban", "203.0.113.3")];

fn hold(daemon: &Daemon) -> Vec<&'static str> {
    let list = daemon.json(&["access", "list"]).unwrap().to_string();
    KINDS.iter().filter(|(_, prefix)| list.contains(&format!("{prefix}/32"))).map(|(kind, _)| *kind).collect()
}

#[test]
fn a_clock_that_is_set_by_a_day_ends_nothing_sooner_and_keeps_nothing_longer() {
    let scene = or_skip!("a clock that is set", Scene::to_guard());
    for off in [DAY, -DAY] {
        let mut guarded = Daemon::new(&scene.guarded, &[INTERFACE], "").unwrap();
        if let Err(error) = guarded.give_clock() {
            eprintln!("SKIPPED a clock that is set: {error:#}");
            return;
        }
        guarded.run().unwrap();
        let start = Instant::now();
        for (kind, prefix) in KINDS {
            let time = format!("{}s", LASTS.as_secs());
            guarded.tell(&["access", kind, prefix, "--for", &time, "--save"]).unwrap();
        }
        guarded.set_clock(off).unwrap();
        let told = || guarded.logged().contains("the clock was set by");
        eventually("the step is told", PATIENCE, || told().then_some(())).unwrap();
        assert_eq!(hold(&guarded), ["exempt", "deny", "ban"], "{off}: {}", guarded.logged());
        // Once more while no daemon runs.
        assert_eq!(guarded.terminate().unwrap(), 0);
        guarded.set_clock(-off).unwrap();
        guarded.run().unwrap();
        assert!(start.elapsed() + Duration::from_secs(2) < LASTS, "the machine is too slow for this test");
        assert_eq!(hold(&guarded), ["exempt", "deny", "ban"], "{off}: {}", guarded.logged());
        let over =
            eventually("all of it is over", PATIENCE, || hold(&guarded).is_empty().then(|| start.elapsed()));
        let over = over.unwrap_or_else(|error| panic!("{off}: {error:#}: {:?}", hold(&guarded)));
        let allowed = LASTS..LASTS + Duration::from_secs(8);
        assert!(allowed.contains(&over), "{off}: over after {over:?}");
    }
}
