//! The engine with a stand-in for the kernel: what stands, what comes back, what is refused.

mod containment;
mod faults;
mod import;
mod insiders;
mod stand_in;
mod tuning;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::command::*;
use super::delta::{ConfigSetting, Flags};
use super::links::Neighbourhood;
use super::refusal::{Code, Refusal};
use super::start::First;
use super::{Ended, Engine, Handle, Parts, Start, last_good};
use crate::snapshot::{LimitMode, LimitScope};
use crate::store::Store;
use stand_in::StandIn;

const CONFIG: &str = "[interfaces]\nnames = [\"eth0\"]\n\
                      [[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\n\
                      limit = { packets = \"2k/s\" }\n";

/// A daemon's surroundings: its files, its kernel, and the engine that runs now.
struct Bench {
    files: TempDir,
    kernel: StandIn,
    engine: Engine,
    handle: Handle,
}

impl Bench {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("sluice.toml"), CONFIG).unwrap();
        let kernel = StandIn::default();
        let (engine, handle) = start(files.path(), &kernel).unwrap();
        Self { files, kernel, engine, handle }
    }

    fn config(&self) -> PathBuf {
        self.files.path().join("sluice.toml")
    }

    /// The daemon dies and starts again; the kernel and the files stay.
    fn restart(self) -> Self {
        let Self { files, kernel, engine, handle } = self;
        drop((engine, handle));
        let (engine, handle) = start(files.path(), &kernel).unwrap();
        Self { files, kernel, engine, handle }
    }

    fn ask<T>(
        &mut self,
        options: ChangeOptions,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Refusal> {
        self.ask_as(operator(None), options, make)
    }

    fn ask_as<T>(
        &mut self,
        caller: Caller,
        options: ChangeOptions,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        self.engine.answer(Request { caller, options, command: make(reply) });
        answer.try_recv().unwrap()
    }

    fn ban(&mut self, options: ChangeOptions, prefix: &str) -> Result<Applied, Refusal> {
        let add = access(AccessKind::Ban, prefix, Some(600));
        self.ask(options, |reply| Command::AccessAdd(add, reply))
    }

    fn set(&mut self, options: ChangeOptions, per_second: u64) -> Result<Applied, Refusal> {
        let set = LimitSet {
            target: target("web"),
            mode: Some(LimitMode::Enforce),
            packets: Some(RateRequest { per_second, burst: None }),
            bytes: None,
            connections: None,
            fragments: None,
        };
        self.ask(options, |reply| Command::LimitSet(set, reply))
    }

    fn web(&mut self) -> (LimitMode, u64) {
        let limits = self.ask(NOW, Command::LimitList).unwrap();
        let web = limits.iter().find(|l| l.service == "web" && l.scope == LimitScope::Source).unwrap();
        (web.mode, web.packets.unwrap().per_second)
    }

    fn banned(&mut self) -> Vec<String> {
        let list = self.ask(NOW, Command::AccessList).unwrap();
        list.banned.iter().map(|ban| ban.source.to_string()).collect()
    }

    fn tick(&mut self) {
        self.engine.end_what_is_over(Timestamp::now());
        self.engine.roll_back_when_due();
        self.engine.observe(Timestamp::now(), Instant::now());
    }
}

fn start(directory: &Path, kernel: &StandIn) -> anyhow::Result<(Engine, Handle)> {
    start_with(directory, kernel, Flags::default())
}

fn start_with(directory: &Path, kernel: &StandIn, flags: Flags) -> anyhow::Result<(Engine, Handle)> {
    let path = directory.join("sluice.toml");
    let config = ConfigSetting::read(Some(&path), flags)?;
    let store = Store::open(&directory.join("state"), Timestamp::now())?.store;
    let kernel = Box::new(kernel.clone());
    let (parts, network, first) = (Parts::default(), neighbourhood, First::default());
    Start { kernel, store, config, path: Some(path), own: Vec::new(), operator: None, parts, network, first }
        .engine()
}

/// The network that the stand-in's host is in.
fn neighbourhood() -> anyhow::Result<Neighbourhood> {
    let (gateways, networks) = (vec!["198.18.77.1".parse()?], vec!["198.18.77.0/24".parse()?]);
    Ok(Neighbourhood { gateways, networks })
}

const NOW: ChangeOptions = ChangeOptions { save: false, confirm_within_seconds: None, yes: false };
const SAVED: ChangeOptions = ChangeOptions { save: true, ..NOW };
/// To be confirmed within no time at all: due at the next tick.
const TIMED: ChangeOptions = ChangeOptions { confirm_within_seconds: Some(0), ..NOW };
const TIMED_LONG: ChangeOptions = ChangeOptions { confirm_within_seconds: Some(600), ..NOW };

fn operator(ssh_peer: Option<&str>) -> Caller {
    let ssh_peer = ssh_peer.map(|peer| peer.parse::<IpAddr>().unwrap());
    Caller { uid: 1000, gid: 1000, pid: 1, role: Role::Admin, ssh_peer }
}

fn access(kind: AccessKind, prefix: &str, for_seconds: Option<u64>) -> AccessAdd {
    AccessAdd { kind, prefix: prefix.parse().unwrap(), for_seconds, comment: None }
}

fn target(service: &str) -> LimitTarget {
    LimitTarget { service: service.to_owned(), class: None, scope: LimitScope::Source }
}

#[test]
fn a_start_that_would_guard_nothing_is_refused_and_leaves_nothing_behind() {
    let files = tempfile::tempdir().unwrap();
    let attempt = |names: &str, flags: &[&str]| {
        let path = files.path().join("sluice.toml");
        std::fs::write(&path, CONFIG.replace("\"eth0\"", names)).unwrap();
        let kernel = StandIn::default();
        let interfaces = flags.iter().map(|name| (*name).to_owned()).collect();
        let started = start_with(files.path(), &kernel, Flags { interfaces, ..Flags::default() });
        let code = started.err().map(|error| error.downcast_ref::<Refusal>().unwrap().code);
        (code, kernel.state().detached)
    };
    assert_eq!(attempt("\"taken0\"", &[]), (Some(Code::Conflict), true));
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
    let gone = AccessTarget { kind: AccessKind::Ban, prefix: "198.51.100.7/32".parse().unwrap() };
    bench.ask(NOW, |reply| Command::AccessRemove(gone, reply)).unwrap();
    assert!(bench.kernel.state().bans.is_empty());
}

#[test]
fn a_ban_is_of_one_source_and_says_so_when_it_takes_more() {
    let mut bench = Bench::new();
    let refusal = bench.ban(NOW, "198.51.100.0/24").unwrap_err();
    assert_eq!(refusal.code, Code::Invalid);
    let applied = bench.ban(NOW, "2001:db8::7/128").unwrap();
    assert!(applied.warnings[0].contains("2001:db8::/64"), "{:?}", applied.warnings);
}

#[test]
fn a_full_ban_table_refuses_and_nothing_is_different() {
    let mut bench = Bench::new();
    bench.kernel.state().ban_capacity = 1;
    bench.ban(NOW, "198.51.100.1/32").unwrap();
    let refusal = bench.ban(NOW, "198.51.100.2/32").unwrap_err();
    assert_eq!(refusal.code, Code::Full);
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
    assert_eq!(bench.web(), (LimitMode::Enforce, 7));
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (LimitMode::Observe, 2000));
    assert!(bench.set(SAVED, 9).unwrap().saved);
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (LimitMode::Enforce, 9));
    bench.ask(SAVED, |reply| Command::LimitUnset(target("web"), reply)).unwrap();
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (LimitMode::Observe, 2000));
}

#[test]
fn bans_outlive_the_daemon_even_unsaved_because_the_kernel_holds_them() {
    let mut bench = Bench::new();
    bench.ban(NOW, "198.51.100.7/32").unwrap();
    let mut bench = bench.restart();
    assert_eq!(bench.banned(), ["198.51.100.7/32"]);
    let gone = AccessTarget { kind: AccessKind::Ban, prefix: "198.51.100.7/32".parse().unwrap() };
    bench.ask(NOW, |reply| Command::AccessRemove(gone, reply)).unwrap();
    assert!(bench.banned().is_empty());
}

#[test]
fn a_timed_change_comes_back_by_itself() {
    let mut bench = Bench::new();
    let applied = bench.set(TIMED, 7).unwrap();
    assert!(applied.confirm_by.is_some());
    assert_eq!(bench.web(), (LimitMode::Enforce, 7));
    bench.tick();
    assert_eq!(bench.web(), (LimitMode::Observe, 2000));
    let history =
        bench.ask(NOW, |reply| Command::History(HistoryQuery { limit: 0, before: None }, reply)).unwrap();
    assert_eq!(history[0].state, "rolled back");
}

#[test]
fn a_timed_change_that_is_confirmed_stays_and_is_saved_if_asked() {
    let mut bench = Bench::new();
    bench.set(ChangeOptions { save: true, ..TIMED_LONG }, 7).unwrap();
    assert_eq!(bench.set(TIMED_LONG, 8).unwrap_err().code, Code::Conflict);
    assert_eq!(bench.ask(NOW, |reply| Command::Confirm(Some(99), reply)).unwrap_err().code, Code::NotFound);
    assert!(bench.ask(NOW, |reply| Command::Confirm(None, reply)).unwrap().saved);
    bench.tick();
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (LimitMode::Enforce, 7));
}

#[test]
fn a_timed_change_is_taken_back_when_the_daemon_dies_before_it_is_confirmed() {
    let mut bench = Bench::new();
    bench.set(ChangeOptions { save: true, ..TIMED_LONG }, 7).unwrap();
    let mut bench = bench.restart();
    assert_eq!(bench.web(), (LimitMode::Observe, 2000));
    assert_eq!(bench.ask(NOW, |reply| Command::Confirm(None, reply)).unwrap_err().code, Code::NotFound);
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
    std::fs::write(bench.config(), CONFIG.replace("2k/s", "3k/s")).unwrap();
    bench.ask(TIMED_LONG, Command::Reload).unwrap();
    assert_eq!(bench.web().1, 3000);
    let mut bench = bench.restart();
    assert_eq!(bench.web().1, 2000);
    bench.tick();
    assert!(bench.handle.snapshot().problems.iter().any(|problem| problem.contains("never confirmed")));
}

#[test]
fn a_change_is_reverted_once_and_only_while_it_stands() {
    let mut bench = Bench::new();
    let first = bench.set(NOW, 7).unwrap().change.unwrap();
    let second = bench.set(NOW, 8).unwrap().change.unwrap();
    assert_eq!(bench.ask(NOW, |reply| Command::Revert(first, reply)).unwrap_err().code, Code::Conflict);
    bench.ask(NOW, |reply| Command::Revert(second, reply)).unwrap();
    assert_eq!(bench.web().1, 7);
    assert_eq!(bench.ask(NOW, |reply| Command::Revert(second, reply)).unwrap_err().code, Code::Conflict);
    bench.ask(NOW, |reply| Command::Revert(first, reply)).unwrap();
    assert_eq!(bench.web(), (LimitMode::Observe, 2000));
}

#[test]
fn a_bad_file_changes_nothing_and_says_so() {
    let mut bench = Bench::new();
    std::fs::write(bench.config(), "[[service]]\nnaem = \"web\"\n").unwrap();
    let refusal = bench.ask(NOW, Command::Reload).unwrap_err();
    assert_eq!(refusal.code, Code::Invalid);
    assert!(refusal.message.contains("sluice.toml:"), "{refusal}");
    assert_eq!(bench.web().1, 2000);
    bench.tick();
    let reload = bench.handle.snapshot().reload.clone();
    assert_eq!((reload.failures, reload.error.is_some()), (1, true));
    std::fs::write(bench.config(), CONFIG.replace("2k/s", "3k/s")).unwrap();
    bench.ask(NOW, Command::Reload).unwrap();
    assert_eq!(bench.web().1, 3000);
    bench.tick();
    assert_eq!(bench.handle.snapshot().reload.error, None);
}

#[test]
fn cutting_the_callers_own_session_must_be_asked_twice() {
    let mut bench = Bench::new();
    for kind in [AccessKind::Ban, AccessKind::Deny] {
        let cut = || access(kind, "203.0.113.9/32", Some(60));
        let caller = operator(Some("203.0.113.9"));
        let refusal =
            bench.ask_as(caller.clone(), NOW, |reply| Command::AccessAdd(cut(), reply)).unwrap_err();
        assert_eq!(refusal.code, Code::NeedsConfirmation, "{kind:?}");
        let twice = ChangeOptions { yes: true, ..NOW };
        bench.ask_as(caller, twice, |reply| Command::AccessAdd(cut(), reply)).unwrap();
    }
    assert_eq!(bench.banned(), ["203.0.113.9/32"]);
}

#[test]
fn loopback_is_never_denied_without_being_asked_twice() {
    let mut bench = Bench::new();
    for prefix in ["127.0.0.0/8", "::/0"] {
        let deny = access(AccessKind::Deny, prefix, None);
        let refusal = bench.ask(NOW, |reply| Command::AccessAdd(deny, reply)).unwrap_err();
        assert_eq!(refusal.code, Code::NeedsConfirmation, "{prefix}");
    }
}

#[test]
fn a_denial_ends_by_itself() {
    let mut bench = Bench::new();
    let deny = access(AccessKind::Deny, "192.0.2.0/24", Some(1));
    bench.ask(NOW, |reply| Command::AccessAdd(deny, reply)).unwrap();
    assert_eq!(bench.ask(NOW, Command::AccessList).unwrap().denied.len(), 1);
    let later = Timestamp::now() + Duration::from_secs(2);
    bench.engine.end_what_is_over(later);
    assert!(bench.ask(NOW, Command::AccessList).unwrap().denied.is_empty());
}

#[test]
fn denials_that_come_and_go_never_use_up_the_table() {
    let bench = Bench::new();
    let few = format!("{CONFIG}[capacity]\ndenials = 16\n");
    std::fs::write(bench.config(), few).unwrap();
    let mut bench = bench.restart();
    for network in 0..40 {
        let prefix = format!("198.51.{network}.0/24");
        bench.ask(NOW, |reply| Command::AccessAdd(access(AccessKind::Deny, &prefix, None), reply)).unwrap();
        let gone = AccessTarget { kind: AccessKind::Deny, prefix: prefix.parse().unwrap() };
        bench.ask(NOW, |reply| Command::AccessRemove(gone, reply)).unwrap();
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let mut bench = Bench::new();
    let refusal = bench.ask(NOW, |reply| Command::LimitUnset(target("wbe"), reply)).unwrap_err();
    assert_eq!(refusal.code, Code::NotFound);
    assert!(refusal.to_string().contains("\"web\""), "{refusal}");
    let query = SourceQuery { service: Some("nope".to_owned()), ..SourceQuery::default() };
    assert_eq!(bench.ask(NOW, |reply| Command::Sources(query, reply)).unwrap_err().code, Code::NotFound);
}

#[test]
fn what_has_no_rate_or_no_time_is_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.set(NOW, 0).unwrap_err().code, Code::Invalid);
    let never = access(AccessKind::Deny, "192.0.2.0/24", Some(0));
    assert_eq!(bench.ask(NOW, |reply| Command::AccessAdd(never, reply)).unwrap_err().code, Code::Invalid);
}

#[test]
fn stopping_leaves_the_kernel_alone_and_detaching_does_not() {
    let mut bench = Bench::new();
    bench.ask(NOW, Command::Stop).unwrap();
    assert_eq!((bench.engine.ending, bench.kernel.state().detached), (Some(Ended::Stopped), false));
    bench.ask(ChangeOptions { yes: true, ..NOW }, Command::Detach).unwrap();
    assert_eq!((bench.engine.ending, bench.kernel.state().detached), (Some(Ended::Detached), true));
}

#[test]
fn a_viewer_changes_nothing_even_past_the_handle() {
    let mut bench = Bench::new();
    let viewer = Caller { role: Role::Viewer, ..operator(None) };
    let (reply, mut answer) = oneshot::channel();
    let command = Command::AccessAdd(access(AccessKind::Ban, "198.51.100.7/32", None), reply);
    bench.engine.answer(Request { caller: viewer, options: NOW, command });
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
    let web = bench.engine.image.numbering.service("web").unwrap();
    bench.kernel.state().counters.totals = vec![(1, web, totals)];
    bench.tick();
    let snapshot = bench.handle.snapshot();
    let row = &snapshot.totals[0];
    assert_eq!((row.interface.as_str(), row.service.as_str(), row.ended.packets), ("eth0", "web", 5));
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
}
