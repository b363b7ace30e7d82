//! Containments: made, changed, kept over a restart, lifted, ended, and refused when they would cut an operator.

use monitor_common::rule::{PACKETS, mode};

use super::*;
use crate::core::command::ContainmentSet;

fn set(subject: &str) -> ContainmentSet {
    ContainmentSet {
        subject: subject.to_owned(),
        packets: None,
        bytes: None,
        observe: false,
        for_seconds: None,
        comment: None,
    }
}

fn contain(bench: &mut Bench, options: ChangeOptions, set: ContainmentSet) -> Result<Applied, Error> {
    bench.ask(options, set)
}

fn contained(bench: &mut Bench) -> Vec<String> {
    let list = bench.ask(NOW, ListContainments {}).unwrap();
    list.containments.iter().map(|one| one.containment.subject.to_string()).collect()
}

#[test]
fn a_source_is_cut_off_limited_and_let_go() {
    let mut bench = Bench::new();
    contain(&mut bench, NOW, set("10.0.0.5")).unwrap();
    let value = *bench.kernel.state().contained.values().next().unwrap();
    assert_eq!((value.cut_off, value.mode, value.until), (1, mode::ENFORCE, u64::MAX));
    contain(
        &mut bench,
        NOW,
        ContainmentSet {
            packets: Some(policy::config::Rate::per_second(100)),
            observe: true,
            ..set("10.0.0.5")
        },
    )
    .unwrap();
    let value = *bench.kernel.state().contained.values().next().unwrap();
    assert_eq!((value.cut_off, value.mode), (0, mode::OBSERVE));
    assert!(value.rates[PACKETS].unit_cost > 0);
    assert_eq!(contained(&mut bench), ["10.0.0.5"]);
    bench.ask(NOW, ContainmentLift { subject: "10.0.0.5".to_owned() }).unwrap();
    assert!(bench.kernel.state().contained.is_empty() && contained(&mut bench).is_empty());
    let again = bench.ask(NOW, ContainmentLift { subject: "10.0.0.5".to_owned() }).unwrap_err();
    assert_eq!(again.code, Code::NotFound);
}

#[test]
fn a_containment_outlives_the_daemon_and_ends_in_time() {
    let mut bench = Bench::new();
    contain(&mut bench, NOW, ContainmentSet { for_seconds: Some(600), ..set("10.0.0.5") }).unwrap();
    let mut bench = bench.restart();
    assert_eq!(contained(&mut bench), ["10.0.0.5"]);
    assert_eq!(bench.kernel.state().contained.len(), 1);
    bench.pass(Duration::from_mins(11));
    assert!(contained(&mut bench).is_empty() && bench.kernel.state().contained.is_empty());
}

#[test]
fn an_unconfirmed_containment_is_taken_back_also_by_the_next_daemon() {
    let mut bench = Bench::new();
    contain(&mut bench, TIMED, set("10.0.0.5")).unwrap();
    assert_eq!(bench.kernel.state().contained.len(), 1);
    bench.tick();
    assert!(bench.kernel.state().contained.is_empty());
    contain(&mut bench, TIMED_LONG, set("10.0.0.6")).unwrap();
    let mut bench = bench.restart();
    assert!(contained(&mut bench).is_empty() && bench.kernel.state().contained.is_empty());
}

#[test]
fn a_workload_that_does_not_run_is_noted_and_what_cannot_be_is_refused() {
    let mut bench = Bench::new();
    let applied = contain(&mut bench, NOW, set("no-such-unit.service")).unwrap();
    assert!(applied.warnings.iter().any(|warning| warning.contains("runs at present")), "{applied:?}");
    assert_eq!(contained(&mut bench), ["no-such-unit.service"]);
    assert!(bench.kernel.state().contained.is_empty());
    for bad in [
        set("10.0.0.0/8"),
        set(""),
        ContainmentSet { packets: Some(policy::config::Rate::per_second(0)), ..set("10.0.0.5") },
        ContainmentSet { for_seconds: Some(0), ..set("10.0.0.5") },
    ] {
        assert_eq!(contain(&mut bench, NOW, bad).unwrap_err().code, Code::Invalid);
    }
    let loopback = contain(&mut bench, NOW, set("127.0.0.1")).unwrap_err();
    assert_eq!(loopback.code, Code::NeedsConfirmation);
}

#[test]
fn a_full_table_refuses_and_leaves_what_stood() {
    let mut bench = Bench::new();
    contain(&mut bench, NOW, set("10.0.0.5")).unwrap();
    bench.kernel.state().ban_capacity = 1;
    assert_eq!(contain(&mut bench, NOW, set("10.0.0.6")).unwrap_err().code, Code::Full);
    assert_eq!(contained(&mut bench), ["10.0.0.5"]);
    assert_eq!(bench.kernel.state().contained.len(), 1);
}
