//! `sluice panic`: in the kernel at once, in the history with its origin, over restarts, reloads and rollbacks.

use super::*;
use crate::core::panic::Step;
use api::history::HistoryQuery;
use api::panic::PanicSwitch;
use api::{Code, Origin};
use std::time::Duration;

const YES: ChangeOptions = ChangeOptions { yes: true, ..NOW };

fn history(bench: &mut Bench) -> Vec<(String, Origin)> {
    let changes = bench.ask(NOW, HistoryQuery { limit: 10, before: None }).unwrap().changes;
    changes.into_iter().map(|change| (change.what, change.origin)).collect()
}

fn is_on(bench: &mut Bench) -> (bool, bool) {
    bench.tick();
    (bench.kernel.state().passes_everything, bench.snapshot.panic.is_some())
}

#[test]
fn on_needs_a_yes_and_off_needs_none() {
    let mut bench = Bench::new();
    let refused = bench.ask(NOW, PanicSwitch { on: true }).unwrap_err();
    assert_eq!(refused.code, Code::NeedsConfirmation);
    assert_eq!(is_on(&mut bench), (false, false));
    bench.ask(YES, PanicSwitch { on: true }).unwrap();
    assert_eq!(is_on(&mut bench), (true, true));
    assert!(bench.snapshot.problems.iter().any(|told| told.starts_with("panic: everything passes since")));
    assert!(matches!(history(&mut bench)[0].1, Origin::Socket { .. }));
    bench.ask(NOW, PanicSwitch { on: false }).unwrap();
    assert_eq!(is_on(&mut bench), (false, false));
    assert!(bench.snapshot.problems.is_empty(), "{:?}", bench.snapshot.problems);
    let told: Vec<_> = history(&mut bench).into_iter().map(|(what, _)| what).collect();
    assert_eq!(told, ["panic off: the rules hold again", "panic on: everything passes"]);
}

#[test]
fn no_change_reload_expiry_or_restart_switches_it_off() {
    let mut bench = Bench::new();
    bench.ask(YES, PanicSwitch { on: true }).unwrap();
    bench.set(ChangeOptions { confirm_within_seconds: Some(60), ..NOW }, 7).unwrap();
    bench.pass(Duration::from_mins(2));
    assert_eq!(is_on(&mut bench), (true, true));
    bench.configure(&CONFIG.replace("2k/s", "3k/s"));
    bench.ask(NOW, Reload {}).unwrap();
    bench.pass(Duration::from_hours(100));
    assert_eq!(is_on(&mut bench), (true, true));
    let mut bench = bench.restart();
    assert_eq!(is_on(&mut bench), (true, true));
    // A reboot: the kernel forgot it, the state directory did not.
    bench.kernel.state().passes_everything = false;
    let mut bench = bench.restart();
    assert_eq!(is_on(&mut bench), (true, true));
    assert_eq!(history(&mut bench).iter().filter(|(what, _)| what.starts_with("panic")).count(), 1);
}

#[test]
fn what_root_switched_past_the_daemon_is_taken_over_with_its_origin() {
    let mut bench = Bench::new();
    let direct = Origin::Direct { uid: 0, gid: 0, pid: 77 };
    let step = |on, bench: &Bench| Step {
        on,
        at: bench.kernel.now(),
        origin: Some(direct),
        user: None,
        recorded: false,
    };
    for on in [true, false] {
        let step = step(on, &bench);
        bench.host.panic.push(step);
        bench.kernel.state().passes_everything = on;
        assert_eq!(is_on(&mut bench), (on, on));
    }
    let told = history(&mut bench);
    assert_eq!([told[0].1, told[1].1], [direct, direct]);
    assert!(told[0].0.starts_with("panic off") && told[1].0.starts_with("panic on"), "{told:?}");
    // While no daemon runs, and the file is lost.
    bench.host.panic.clear();
    bench.kernel.state().passes_everything = true;
    let mut bench = bench.restart();
    assert_eq!(is_on(&mut bench), (true, true));
    assert_eq!(bench.host.panic.last().map(|step| step.on), Some(true));
}

#[test]
fn a_full_disk_keeps_nobody_from_switching_it_and_is_a_problem() {
    let mut bench = Bench::new();
    bench.host.full = true;
    let applied = bench.ask(YES, PanicSwitch { on: true }).unwrap();
    assert_eq!(applied.warnings.len(), 1);
    assert_eq!(is_on(&mut bench), (true, true));
    let told = |bench: &Bench| bench.snapshot.problems.iter().any(|told| told.starts_with("panic file: "));
    assert!(told(&bench), "{:?}", bench.snapshot.problems);
    bench.host.full = false;
    bench.tick();
    assert!(!told(&bench), "{:?}", bench.snapshot.problems);
    assert_eq!(bench.host.panic.len(), 1);
}
