//! Whole commands, typed as people type them, against a server on a real socket with the real core behind it.

use clap::Parser;

use crate::cli::{Arguments, Context, Execute, Exit};
use crate::control::served::Served;
use crate::control::server::Limits;

/// Runs one command line; the exit it ends with, and what the engine heard.
fn run(served: &Served, line: &str) -> (Exit, String) {
    served.heard.lock().unwrap().clear();
    let socket = served.socket.to_str().unwrap();
    let words = ["sluice", "--socket", socket].into_iter().chain(line.split(' '));
    let arguments = Arguments::try_parse_from(words).unwrap();
    let context = Context::new(arguments.global);
    let exit = arguments.command.execute(&context).map_or_else(|failure| failure.exit, |()| Exit::Success);
    let heard = served.heard.lock().unwrap();
    (exit, heard.join("; "))
}

#[test]
fn each_command_asks_the_engine_for_what_was_typed() {
    use Exit::{Conflict, NeedsConfirmation, NotFound, Success};
    // The server needs a runtime of its own: commands block on theirs.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let served = runtime.block_on(async { Served::start(Limits::default()) });
    // The core has one service, `web`, one finding, with the number 3, and no change that waits.
    for (line, exit, wanted) in [
        ("status", Success, ""),
        ("status -o json", Success, ""),
        (
            "top --pages 2 --every 100ms",
            Success,
            "SourceQuery { order: Rate, prefix: None, service: None, limit: 10, after: 0, senders: false }",
        ),
        (
            "sources --by drops --prefix 10.0.0.0/8 -n 3",
            Success,
            "order: Drops, prefix: Some(10.0.0.0/8), service: None, limit: 3",
        ),
        ("sources -o json", Success, "order: Rate, prefix: None, service: None, limit: 20"),
        ("sources --service nope", NotFound, "service: Some(\"nope\")"),
        ("explain 2001:db8::1", Success, "Explain { address: 2001:db8::1 }"),
        ("limit list", Success, "ListLimits"),
        (
            "limit set web --packets 2k/s --mode enforce",
            Success,
            "mode: Some(Enforce), packets: Some(RateRequest { rate: Rate { amount: 2000",
        ),
        ("limit set a/b --mode off", NotFound, "service: \"a/b\""),
        (
            "limit unset web --aggregate",
            NotFound,
            "LimitUnset(LimitTarget { service: \"web\", class: None, kind: Aggregate })",
        ),
        ("access list", Success, "ListAccess"),
        (
            "access ban 198.51.100.9 --for 10m --reason flood",
            Success,
            "kind: Ban, prefix: 198.51.100.9/32, for_seconds: Some(600), comment: Some(\"flood\")",
        ),
        ("access deny 2001:db8::/32", Success, "kind: Deny, prefix: 2001:db8::/32, for_seconds: None"),
        ("access deny 198.18.77.1", NeedsConfirmation, "kind: Deny, prefix: 198.18.77.1/32"),
        ("access exempt 10.0.0.0/8", Success, "kind: Exempt, prefix: 10.0.0.0/8"),
        ("access unban 198.51.100.9", Success, "AccessRemove { kind: Ban, prefix: 198.51.100.9/32 }"),
        ("access undeny 2001:db8::/32", Success, "AccessRemove { kind: Deny, prefix: 2001:db8::/32 }"),
        (
            "alerts list --open --severity warning",
            Success,
            "open: true, detector: None, severity: Some(Warning)",
        ),
        ("alerts show 3", Success, "AlertShow { number: 3 }"),
        ("alerts follow --looks 1 -o json", Success, "AlertQuery"),
        ("alerts silence --subject 10.0.0.5 --reason check", Success, "AlertSilence { detector: None"),
        ("alerts silences", Success, "ListSilences"),
        ("alerts unsilence 1", Success, "SilenceLift { number: 1 }"),
        ("alerts close 3", Success, "AlertClose { number: 3 }"),
        ("flows --address 10.0.0.5 --outcome refused", Success, "address: Some(10.0.0.5/32)"),
        ("graph", Success, "ShowGraph"),
        ("graph --dot", Success, "ShowGraph"),
        ("posture", Success, "ShowPosture"),
        ("posture --csv", Success, "ShowPosture"),
        ("contain 10.0.0.7 --packets 10/s", Success, "ContainmentSet { subject: \"10.0.0.7\""),
        ("contain", Success, "ListContainments"),
        ("contain 10.0.0.7 --lift", Success, "ContainmentLift { subject: \"10.0.0.7\" }"),
        (
            "tune show --service web --quantile 0.99",
            Success,
            "service: Some(\"web\"), class: None, quantile: Some(0.99)",
        ),
        ("tune try web", Conflict, "TuneTry(TuneTarget { service: \"web\""),
        ("tune forget web", NotFound, "TuneForget { service: \"web\" }"),
        ("limit set web --mode off --confirm-within 5m", Success, "confirm_within_seconds: Some(300)"),
        ("confirm", Success, "Confirm { change: None }"),
        ("confirm 7000", NotFound, "Confirm { change: Some(7000) }"),
        ("history -n 3", Success, "HistoryQuery { limit: 3, before: None }"),
        ("audit", Success, ""),
        ("audit list --since 1h -n 3 -o json", Success, ""),
        ("audit verify", Success, ""),
        ("revert 1", Conflict, "Revert { number: 1 }"),
        ("revert 1 --yes", Success, "Revert { number: 1 }"),
        ("reload", Success, "Reload"),
        ("config show", Success, "ShowConfig"),
        ("panic on", NeedsConfirmation, "PanicSwitch { on: true }"),
        ("panic on --yes", Success, "yes: true"),
        ("panic off", Success, "PanicSwitch { on: false }"),
        ("stop", Success, "Stop"),
        ("detach", NeedsConfirmation, "Detach"),
        ("detach --yes", Success, "yes: true"),
    ] {
        let (ended, heard) = run(&served, line);
        assert!(heard.contains(wanted), "{line}: the core heard {heard}");
        assert_eq!(ended, exit, "{line}");
    }
}

#[test]
fn a_change_carries_its_options() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let served = runtime.block_on(async { Served::start(Limits::default()) });
    let (exit, heard) = run(&served, "access deny 203.0.113.0/24 --save --yes --confirm-within 2m");
    assert_eq!(exit, Exit::Success);
    assert!(heard.contains("save: true, confirm_within_seconds: Some(120), yes: true"), "{heard}");
}

#[test]
fn without_a_daemon_the_exit_code_is_3() {
    let arguments =
        Arguments::try_parse_from(["sluice", "--socket", "/nonexistent/sluice.sock", "status"]).unwrap();
    let failure = arguments.command.execute(&Context::new(arguments.global)).unwrap_err();
    assert_eq!(failure.exit.code(), 3);
    assert!(failure.message.contains("/nonexistent/sluice.sock"), "{}", failure.message);
}

#[test]
fn a_backup_is_for_its_owner_and_is_written_over_no_file_unasked() {
    use std::os::unix::fs::PermissionsExt;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let served = runtime.block_on(async { Served::start(Limits::default()) });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("taken.db");
    let line = format!("backup {}", file.display());
    assert_eq!(run(&served, &line).0, Exit::Success);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&file, "mine").unwrap();
    assert_eq!(run(&served, &line).0, Exit::Conflict);
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert_eq!(run(&served, &format!("{line} --force")).0, Exit::Success);
    assert!(std::fs::read(&file).unwrap().starts_with(b"SQLite format 3"));
    assert_eq!(run(&served, &format!("backup {} --force", directory.path().display())).0, Exit::Conflict);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
}
