//! The wall clock is set by a day while things last: nothing ends sooner or later.

use super::*;
use crate::core::Ports;
use api::alerts::{AlertSilence, ListSilences};
use api::containments::{ContainmentSet, ListContainments};
use detection::finding::Detector;
use jiff::SignedDuration;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// An exemption, a denial, a ban, a containment, a silence and a change that waits, ten minutes each; all saved.
fn lasting() -> Bench {
    let mut bench = Bench::new();
    for (kind, prefix) in [
        (AccessKind::Exempt, "192.0.2.1/32"),
        (AccessKind::Deny, "192.0.2.2/32"),
        (AccessKind::Ban, "192.0.2.3/32"),
    ] {
        bench.ask(SAVED, access(kind, prefix, Some(600))).unwrap();
    }
    let contain = ContainmentSet {
        subject: "192.0.2.4".to_owned(),
        packets: None,
        bytes: None,
        observe: false,
        for_seconds: Some(600),
        comment: None,
    };
    bench.ask(SAVED, contain).unwrap();
    let silence = AlertSilence {
        detector: Some(Detector::PortScan),
        subject: None,
        reason: "a test".to_owned(),
        for_seconds: Some(600),
    };
    bench.ask(SAVED, silence).unwrap();
    let minutes = ChangeOptions { confirm_within_seconds: Some(600), ..NOW };
    bench.set(minutes, 7).unwrap();
    bench
}

/// How many of the six still hold.
fn hold(bench: &mut Bench) -> [usize; 6] {
    let list = bench.ask(NOW, ListAccess {}).unwrap();
    let contained = bench.ask(NOW, ListContainments {}).unwrap().containments.len();
    let silences = bench.ask(NOW, ListSilences {}).unwrap().silences.len();
    let waits = usize::from(bench.web() == (Mode::Enforce, 7));
    [list.exempt.len(), list.denied.len(), list.banned.len(), contained, silences, waits]
}

fn step(bench: &mut Bench, by: SignedDuration) {
    bench.kernel.state().stepped += by;
    bench.tick();
}

#[test]
fn a_step_of_a_day_either_way_ends_nothing_sooner_and_keeps_nothing_longer() {
    for by in [DAY, -DAY, SignedDuration::from_hours(-24 * 4000)] {
        let mut bench = lasting();
        let bans = bench.kernel.state().bans.clone();
        bench.pass(Duration::from_mins(2));
        step(&mut bench, by);
        assert_eq!(hold(&mut bench), [1; 6], "right after {by:#}");
        // What people read is the end by their clock.
        let until = bench.ask(NOW, ListAccess {}).unwrap().denied[0].until.unwrap();
        assert_eq!(until, bench.kernel.now() + Duration::from_mins(8), "{by:#}");
        let deadline = bench.snapshot.pending.as_ref().unwrap().until;
        assert_eq!(deadline, bench.kernel.now() + Duration::from_mins(8), "{by:#}");
        assert_eq!(bench.kernel.state().bans, bans, "the kernel's own clock was not set");
        bench.pass(Duration::from_secs(479));
        assert_eq!(hold(&mut bench), [1; 6], "a second before its end, {by:#}");
        bench.pass(Duration::from_secs(1));
        assert_eq!(hold(&mut bench), [0; 6], "at its end, {by:#}");
        assert!(bench.snapshot.problems.is_empty(), "{:?}", bench.snapshot.problems);
    }
}

#[test]
fn a_step_while_no_daemon_runs_moves_what_was_saved() {
    for by in [DAY, -DAY] {
        let bench = lasting();
        bench.kernel.state().stepped += by;
        bench.kernel.advance(Duration::from_mins(2));
        let mut bench = bench.restart();
        // What waited is taken back by a restart.
        assert_eq!(hold(&mut bench), [1, 1, 1, 1, 1, 0], "{by:#}");
        bench.pass(Duration::from_secs(479));
        assert_eq!(hold(&mut bench), [1, 1, 1, 1, 1, 0], "{by:#}");
        bench.pass(Duration::from_secs(1));
        assert_eq!(hold(&mut bench), [0; 6], "{by:#}");
    }
}

#[test]
fn many_steps_lose_none() {
    let mut bench = lasting();
    for number in 0..40 {
        step(&mut bench, SignedDuration::from_hours(if number % 2 == 0 { 1 } else { -3 }));
    }
    let mut bench = bench.restart();
    bench.pass(Duration::from_secs(599));
    assert_eq!(hold(&mut bench), [1, 1, 1, 1, 1, 0]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(hold(&mut bench), [0; 6]);
}

#[test]
fn a_reboot_with_a_clock_that_went_back_lets_no_time_pass() {
    let mut bench = lasting();
    bench.pass(Duration::from_mins(2));
    // The daemon's end keeps the time, as it is stopped before a reboot.
    let ports = Ports { kernel: &mut bench.kernel.clone(), store: &mut bench.store, host: &mut bench.host };
    bench.core.end(bench.kernel.moment(), ports);
    {
        let mut state = bench.kernel.state();
        state.boots += 1;
        state.stepped -= DAY;
        state.bans.clear();
        state.contained.clear();
    }
    let mut bench = bench.restart();
    assert_eq!(hold(&mut bench), [1, 1, 1, 1, 1, 0]);
    bench.pass(Duration::from_secs(479));
    assert_eq!(hold(&mut bench), [1, 1, 1, 1, 1, 0]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(hold(&mut bench), [0; 6]);
}
