//! The core with stand-ins for the kernel and the host, and a clock that the test moves: what stands, what comes back,
//! what is refused.

mod aggregates;
pub(crate) mod bench;
mod containment;
mod faults;
mod import;
mod insiders;
mod panic;
mod steps;
mod time;
mod tuning;

use std::net::IpAddr;
use std::time::Duration;

use super::command::*;
use super::delta::Flags;
use super::stand_in::{StandHost, StandIn, reply};
use super::{Ended, Input};
use crate::store::Store;
use api::{Code, Error};
use bench::{Bench, CONFIG, start};
use policy::LimitKind;
use policy::config::{Mode, Rate};

const NOW: ChangeOptions = ChangeOptions { save: false, confirm_within_seconds: None, yes: false };
const SAVED: ChangeOptions = ChangeOptions { save: true, ..NOW };
/// To be confirmed within no time at all: due at the next tick.
const TIMED: ChangeOptions = ChangeOptions { confirm_within_seconds: Some(0), ..NOW };
const TIMED_LONG: ChangeOptions = ChangeOptions { confirm_within_seconds: Some(600), ..NOW };

fn operator(ssh_peer: Option<&str>) -> Caller {
    let ssh_peer = ssh_peer.map(|peer| peer.parse::<IpAddr>().unwrap());
    Caller { uid: 1000, gid: 1000, pid: 1, user: None, role: Role::Admin, ssh_peer }
}

fn access(kind: AccessKind, prefix: &str, for_seconds: Option<u64>) -> AccessAdd {
    AccessAdd { kind, prefix: prefix.parse().unwrap(), for_seconds, comment: None }
}

fn target(service: &str) -> LimitTarget {
    LimitTarget { service: service.to_owned(), class: None, kind: LimitKind::PerSource }
}

#[test]
fn only_an_interface_of_the_command_line_that_cannot_be_guarded_ends_the_start() {
    let attempt = |names: &str, flags: &[&str]| {
        let configuration = CONFIG.replace("\"eth0\"", names);
        let mut host = StandHost { configuration, ..StandHost::default() };
        let kernel = StandIn::default();
        let interfaces = flags.iter().map(|name| (*name).to_owned()).collect();
        let mut store = Store::in_memory().unwrap();
        let started = start(&kernel, &mut host, &mut store, Flags { interfaces, ..Flags::default() });
        let code = started.err().map(|error| error.downcast_ref::<Error>().unwrap().code);
        (code, kernel.state().detached)
    };
    assert_eq!(attempt("\"taken0\"", &[]), (None, false));
    assert_eq!(attempt("\"eth0\"", &["taken0"]), (Some(Code::Conflict), true));
    assert_eq!(attempt("\"eth0\", \"taken0\"", &[]), (None, false));
    assert_eq!(attempt("\"missing0\"", &[]), (None, false));
    assert_eq!(attempt("\"eth0\"", &["missing0"]), (Some(Code::NotFound), true));
    assert_eq!(attempt("\"eth0\"", &["eth1", "taken0"]), (Some(Code::Conflict), false));
}

#[test]
fn a_ban_stands_in_the_kernel_until_it_is_lifted() {
    let mut bench = Bench::new();
    let applied = bench.ban(NOW, "198.51.100.7/32").unwrap();
    assert_eq!((applied.change, applied.summary.len()), (Some(1), 1));
    assert_eq!(bench.banned(), ["198.51.100.7/32"]);
    let gone = AccessRemove { kind: AccessKind::Ban, prefix: "198.51.100.7/32".parse().unwrap() };
    bench.ask(NOW, gone).unwrap();
    assert!(bench.kernel.state().bans.is_empty());
}

#[test]
fn a_ban_is_of_one_source_and_says_so_when_it_takes_more() {
    let mut bench = Bench::new();
    let error = bench.ban(NOW, "198.51.100.0/24").unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    let applied = bench.ban(NOW, "2001:db8::7/128").unwrap();
    assert!(applied.warnings[0].contains("2001:db8::/64"), "{:?}", applied.warnings);
}

#[test]
fn a_full_ban_table_refuses_and_nothing_is_different() {
    let mut bench = Bench::new();
    bench.kernel.state().ban_capacity = 1;
    bench.ban(NOW, "198.51.100.1/32").unwrap();
    let error = bench.ban(NOW, "198.51.100.2/32").unwrap_err();
    assert_eq!(error.code, Code::Full);
    assert_eq!(bench.banned(), ["198.51.100.1/32"]);
}

#[test]
fn rules_that_the_kernel_refuses_change_nothing() {
    let mut bench = Bench::new();
    let before = bench.web();
    bench.kernel.state().refuses_rules = true;
    assert_eq!(bench.set(SAVED, 7).unwrap_err().code, Code::Failed);
    assert_eq!(bench.web(), before);
    bench.kernel.state().refuses_rules = false;
    let mut bench = bench.restart();
    assert_eq!(bench.web(), before);
}

#[test]
fn a_change_is_kept_over_a_restart_only_when_asked() {
    let mut bench = Bench::new();
    bench.set(NOW, 7).unwrap();
    assert_eq!(bench.web(), (Mode::Enforce, 7));
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Observe, 2000));
    assert!(bench.set(SAVED, 9).unwrap().saved);
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Enforce, 9));
    bench.ask(SAVED, LimitUnset(target("web"))).unwrap();
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Observe, 2000));
}

#[test]
fn a_saved_limit_saves_what_was_asked_for_and_nothing_that_was_set_before() {
    let packets = |per_second| LimitSet {
        service: "web".to_owned(),
        packets: Some(RateRequest { rate: Rate::per_second(per_second), burst: None }),
        ..LimitSet::default()
    };
    let mut bench = Bench::new();
    bench.set(NOW, 7).unwrap();
    assert!(bench.ask(SAVED, packets(9)).unwrap().saved);
    assert_eq!(bench.web(), (Mode::Enforce, 9));
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Observe, 9), "the mode was never saved");
    // What holds already is saved when it is said again, and what was saved before stays.
    let enforce = LimitSet { service: "web".to_owned(), mode: Some(Mode::Enforce), ..LimitSet::default() };
    bench.ask(NOW, enforce.clone()).unwrap();
    assert!(bench.ask(SAVED, enforce).unwrap().saved);
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Enforce, 9));
}

#[test]
fn bans_outlive_the_daemon_even_unsaved_because_the_kernel_holds_them() {
    let mut bench = Bench::new();
    bench.ban(NOW, "198.51.100.7/32").unwrap();
    let mut bench = bench.restart();
    assert_eq!(bench.banned(), ["198.51.100.7/32"]);
    let gone = AccessRemove { kind: AccessKind::Ban, prefix: "198.51.100.7/32".parse().unwrap() };
    bench.ask(NOW, gone).unwrap();
    assert!(bench.banned().is_empty());
}

#[test]
fn a_timed_change_comes_back_by_itself() {
    let mut bench = Bench::new();
    let applied = bench.set(TIMED, 7).unwrap();
    assert!(applied.confirm_by.is_some());
    assert_eq!(bench.web(), (Mode::Enforce, 7));
    bench.tick();
    assert_eq!(bench.web(), (Mode::Observe, 2000));
    let history = bench.ask(NOW, HistoryQuery::default()).unwrap().changes;
    assert_eq!(history[0].state, "rolled back");
}

#[test]
fn a_timed_change_that_is_confirmed_stays_and_is_saved_if_asked() {
    let mut bench = Bench::new();
    bench.set(ChangeOptions { save: true, ..TIMED_LONG }, 7).unwrap();
    assert_eq!(bench.set(TIMED_LONG, 8).unwrap_err().code, Code::Conflict);
    assert_eq!(bench.ask(NOW, Confirm { change: Some(99) }).unwrap_err().code, Code::NotFound);
    assert!(bench.ask(NOW, Confirm { change: None }).unwrap().saved);
    bench.tick();
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Enforce, 7));
}

#[test]
fn a_timed_change_is_taken_back_when_the_daemon_dies_before_it_is_confirmed() {
    let mut bench = Bench::new();
    bench.set(ChangeOptions { save: true, ..TIMED_LONG }, 7).unwrap();
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (Mode::Observe, 2000));
    assert_eq!(bench.ask(NOW, Confirm { change: None }).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_timed_ban_is_taken_back_when_the_daemon_dies_although_the_kernel_holds_it() {
    let mut bench = Bench::new();
    bench.ban(TIMED_LONG, "198.51.100.7/32").unwrap();
    let mut bench = bench.restart();
    assert!(bench.banned().is_empty());
}

#[test]
fn a_timed_reload_that_nobody_confirms_leaves_the_old_configuration_in_force_over_a_restart() {
    let mut bench = Bench::new();
    bench.configure(&CONFIG.replace("2k/s", "3k/s"));
    bench.ask(TIMED_LONG, Reload {}).unwrap();
    assert_eq!(bench.web().1, 3000);
    let mut bench = bench.restart();
    assert_eq!(bench.web().1, 2000);
    bench.tick();
    assert!(bench.snapshot.problems.iter().any(|problem| problem.contains("never confirmed")));
}

#[test]
fn a_change_is_reverted_once_and_only_while_it_stands() {
    let mut bench = Bench::new();
    let first = bench.set(NOW, 7).unwrap().change.unwrap();
    let second = bench.set(NOW, 8).unwrap().change.unwrap();
    assert_eq!(bench.ask(NOW, Revert { number: first }).unwrap_err().code, Code::Conflict);
    bench.ask(NOW, Revert { number: second }).unwrap();
    assert_eq!(bench.web().1, 7);
    assert_eq!(bench.ask(NOW, Revert { number: second }).unwrap_err().code, Code::Conflict);
    bench.ask(NOW, Revert { number: first }).unwrap();
    assert_eq!(bench.web(), (Mode::Observe, 2000));
}

#[test]
fn a_bad_file_changes_nothing_and_says_so() {
    let mut bench = Bench::new();
    bench.configure("[[service]]\nnaem = \"web\"\n");
    let error = bench.ask(NOW, Reload {}).unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    assert!(error.message.contains("sluice.toml:"), "{error}");
    assert_eq!(bench.web().1, 2000);
    bench.tick();
    let reload = bench.snapshot.reload.clone();
    assert_eq!((reload.failures, reload.error.is_some()), (1, true));
    bench.configure(&CONFIG.replace("2k/s", "3k/s"));
    bench.ask(NOW, Reload {}).unwrap();
    assert_eq!(bench.web().1, 3000);
    bench.tick();
    assert_eq!(bench.snapshot.reload.error, None);
}

#[test]
fn cutting_the_callers_own_session_must_be_asked_twice() {
    let mut bench = Bench::new();
    for kind in [AccessKind::Ban, AccessKind::Deny] {
        let cut = || access(kind, "203.0.113.9/32", Some(60));
        let caller = operator(Some("203.0.113.9"));
        let error = bench.ask_as(caller.clone(), NOW, cut()).unwrap_err();
        assert_eq!(error.code, Code::NeedsConfirmation, "{kind:?}");
        let twice = ChangeOptions { yes: true, ..NOW };
        bench.ask_as(caller, twice, cut()).unwrap();
    }
    assert_eq!(bench.banned(), ["203.0.113.9/32"]);
}

#[test]
fn loopback_is_never_denied_without_being_asked_twice() {
    let mut bench = Bench::new();
    for prefix in ["127.0.0.0/8", "::/0"] {
        let deny = access(AccessKind::Deny, prefix, None);
        let error = bench.ask(NOW, deny).unwrap_err();
        assert_eq!(error.code, Code::NeedsConfirmation, "{prefix}");
    }
}

#[test]
fn a_denial_ends_by_itself() {
    let mut bench = Bench::new();
    let deny = access(AccessKind::Deny, "192.0.2.0/24", Some(1));
    bench.ask(NOW, deny).unwrap();
    assert_eq!(bench.ask(NOW, ListAccess {}).unwrap().denied.len(), 1);
    bench.pass(Duration::from_secs(2));
    assert!(bench.ask(NOW, ListAccess {}).unwrap().denied.is_empty());
}

#[test]
fn denials_that_come_and_go_never_use_up_the_table() {
    let mut bench = Bench::new();
    let few = format!("{CONFIG}[capacity]\ndenials = 16\n");
    bench.configure(&few);
    let mut bench = bench.restart();
    for network in 0..40 {
        let prefix = format!("198.51.{network}.0/24");
        bench.ask(NOW, access(AccessKind::Deny, &prefix, None)).unwrap();
        let gone = AccessRemove { kind: AccessKind::Deny, prefix: prefix.parse().unwrap() };
        bench.ask(NOW, gone).unwrap();
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let mut bench = Bench::new();
    let error = bench.ask(NOW, LimitUnset(target("wbe"))).unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert!(error.to_string().contains("\"web\""), "{error}");
    let query = SourceQuery { service: Some("nope".to_owned()), ..SourceQuery::default() };
    assert_eq!(bench.ask(NOW, query).unwrap_err().code, Code::NotFound);
}

#[test]
fn what_has_no_rate_or_no_time_is_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.set(NOW, 0).unwrap_err().code, Code::Invalid);
    let never = access(AccessKind::Deny, "192.0.2.0/24", Some(0));
    assert_eq!(bench.ask(NOW, never).unwrap_err().code, Code::Invalid);
}

#[test]
fn stopping_leaves_the_kernel_alone_and_detaching_does_not() {
    let mut bench = Bench::new();
    bench.ask(NOW, Stop {}).unwrap();
    assert_eq!((bench.ended, bench.kernel.state().detached), (Some(Ended::Stopped), false));
    bench.ask(ChangeOptions { yes: true, ..NOW }, Detach {}).unwrap();
    assert_eq!((bench.ended, bench.kernel.state().detached), (Some(Ended::Detached), true));
}

#[test]
fn a_viewer_changes_nothing_even_past_the_handle() {
    let mut bench = Bench::new();
    let viewer = Caller { role: Role::Viewer, ..operator(None) };
    let (reply, answer) = reply();
    let command = access(AccessKind::Ban, "198.51.100.7/32", None);
    bench.feed(Input::Command(Box::new(Request::new(viewer, NOW, command, reply))));
    assert!(answer.try_recv().is_err());
    assert!(bench.banned().is_empty());
}

#[test]
fn a_snapshot_names_what_the_kernel_numbers() {
    use monitor_common::plain::Plain;
    use monitor_common::record::Totals;
    use monitor_common::verdict::Reason;
    let mut bench = Bench::new();
    let mut totals = Totals::zeroed();
    totals.ended[Reason::PacketRate as usize].packets = 5;
    let web = bench.kernel.state().image.as_ref().unwrap().numbering.service("web").unwrap();
    bench.kernel.state().counters.totals = vec![datapath::Total { slot: 1, service: web, totals }];
    bench.tick();
    let snapshot = bench.snapshot;
    let row = &snapshot.totals[0];
    assert_eq!((row.interface.as_str(), row.service.as_str(), row.ended.packets), ("eth0", "web", 5));
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
}
