//! What happens by itself as time passes: rollbacks, expiry, responses that end. Only the test moves the clock.

use super::*;
use crate::core::stand_in::scan_records;
use api::containments::Subject;
use datapath::Kernel;

const MINUTE: ChangeOptions = ChangeOptions { confirm_within_seconds: Some(60), ..NOW };

#[test]
fn a_timed_change_is_taken_back_at_its_deadline_and_not_before() {
    let mut bench = Bench::new();
    let applied = bench.set(MINUTE, 7).unwrap();
    assert_eq!(applied.confirm_by, Some(bench.kernel.now() + Duration::from_mins(1)));
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.web(), (Mode::Enforce, 7));
    bench.read();
    assert_eq!(bench.snapshot.pending.as_ref().map(|pending| pending.change), applied.change);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.web(), (Mode::Observe, 2000));
    bench.read();
    assert_eq!(bench.snapshot.pending, None);
}

#[test]
fn a_rollback_that_the_kernel_refuses_is_tried_again() {
    let mut bench = Bench::new();
    bench.set(MINUTE, 7).unwrap();
    bench.kernel.state().refuses_rules = true;
    bench.pass(Duration::from_mins(1));
    bench.read();
    assert_eq!(bench.web(), (Mode::Enforce, 7));
    assert!(bench.snapshot.problems.iter().any(|problem| problem.starts_with("roll back")));
    bench.kernel.state().refuses_rules = false;
    bench.pass(Duration::from_secs(1));
    bench.read();
    assert_eq!(bench.web(), (Mode::Observe, 2000));
    assert!(bench.snapshot.problems.is_empty(), "{:?}", bench.snapshot.problems);
}

#[test]
fn a_restart_takes_a_waiting_change_back_before_anything_is_guarded_by_it() {
    let mut bench = Bench::new();
    bench.set(MINUTE, 7).unwrap();
    bench.kernel.advance(Duration::from_secs(5));
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Observe, 2000));
    let history = bench.ask(NOW, HistoryQuery { limit: 1, before: None }).unwrap().changes;
    assert_eq!(history[0].state, "rolled back");
}

#[test]
fn a_ban_ends_with_its_time_and_may_be_made_again() {
    let mut bench = Bench::new();
    bench.ban(NOW, "198.51.100.7/32").unwrap();
    bench.pass(Duration::from_secs(599));
    assert_eq!(bench.banned(), ["198.51.100.7/32"]);
    bench.pass(Duration::from_secs(1));
    assert!(bench.banned().is_empty() && bench.kernel.state().bans.is_empty());
    assert!(bench.ban(NOW, "198.51.100.7/32").unwrap().change.is_some());
}

#[test]
fn a_response_contains_the_workload_that_the_finding_names_and_ends() {
    let mut bench = Bench::new();
    bench.host.workloads.insert(7, "copy.service".to_owned());
    bench.configure(&format!(
        "{CONFIG}[detection.respond]\nport_scan = {{ action = \"limit\", for_s = 60, packets_per_second = 50 }}\n"
    ));
    bench.ask(NOW, Reload {}).unwrap();
    let at = bench.kernel.clock(bench.kernel.now());
    let mut records = scan_records(at, 1, 80);
    for record in &mut records {
        record.cgroup = 7;
    }
    bench.kernel.state().records.extend(records);
    bench.drain();
    let list = bench.ask(NOW, ListContainments {}).unwrap().containments;
    let subjects: Vec<_> = list.iter().map(|one| one.containment.subject.clone()).collect();
    assert_eq!(subjects, [Subject::Workload("copy.service".to_owned())]);
    assert!(list[0].in_force && bench.kernel.state().contained.len() == 1);
    let history = bench.ask(NOW, HistoryQuery { limit: 1, before: None }).unwrap().changes;
    assert_eq!(history[0].made_by, "detection");
    bench.pass(Duration::from_mins(1));
    assert!(bench.ask(NOW, ListContainments {}).unwrap().containments.is_empty());
    assert!(bench.kernel.state().contained.is_empty());
}

#[test]
fn a_response_that_would_cut_an_operator_is_not_made() {
    let mut bench = Bench::new();
    bench.host.sessions.insert("10.0.0.5".parse().unwrap());
    let respond = "[detection.respond]\nport_scan = { action = \"ban\", for_s = 60 }\n";
    bench.configure(&format!("{CONFIG}{respond}"));
    bench.ask(NOW, Reload {}).unwrap();
    let at = bench.kernel.clock(bench.kernel.now());
    bench.kernel.state().records.extend(scan_records(at, 1, 80));
    bench.drain();
    assert!(!bench.told.is_empty(), "it is a finding all the same");
    assert!(bench.banned().is_empty());
}

#[test]
fn no_change_waits_longer_than_thirty_days() {
    let mut bench = Bench::new();
    for (seconds, wanted) in
        [(u64::MAX, false), (api::LONGEST_WAIT_SECONDS + 1, false), (api::LONGEST_WAIT_SECONDS, true)]
    {
        let options = ChangeOptions { confirm_within_seconds: Some(seconds), ..NOW };
        let set = bench.set(options, 1000);
        assert_eq!(set.is_ok(), wanted, "{seconds}: {set:?}");
        assert!(set.is_ok_and(|applied| applied.confirm_by.is_some()) == wanted);
    }
}
