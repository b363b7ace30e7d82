//! Whole commands, typed as people type them, against a server on a real socket with a scripted engine behind it.

use clap::Parser;

use crate::cli::{Arguments, Context, Execute, Exit};
use crate::control::scripted::{Scripted, own_roles, start};
use crate::control::server::Limits;

/// Runs one command line; the exit it ends with, and what the engine heard.
fn run(scripted: &Scripted, line: &str) -> (Exit, String) {
    scripted.heard.lock().unwrap().clear();
    let socket = scripted.socket.to_str().unwrap();
    let words = ["sluice", "--socket", socket].into_iter().chain(line.split(' '));
    let arguments = Arguments::try_parse_from(words).unwrap();
    let context = Context::new(arguments.global);
    let exit = arguments.command.execute(&context).map_or_else(|failure| failure.exit, |()| Exit::Success);
    let heard = scripted.heard.lock().unwrap();
    (exit, heard.iter().map(|(command, ..)| command.as_str()).collect::<Vec<_>>().join("; "))
}

#[test]
fn each_command_asks_the_engine_for_what_was_typed() {
    // The server needs a runtime of its own: commands block on theirs.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let scripted = runtime.block_on(async { start(own_roles(), Limits::default()) });
    for (line, wanted) in [
        ("status", ""),
        ("status -o json", ""),
        (
            "top --pages 2 --every 100ms",
            "Sources(SourceQuery { order: Rate, prefix: None, service: None, limit: 10, after: 0, senders: false }",
        ),
        (
            "sources --by drops --prefix 10.0.0.0/8 -n 3",
            "order: Drops, prefix: Some(10.0.0.0/8), service: None, limit: 3",
        ),
        ("sources -o json", "order: Rate, prefix: None, service: None, limit: 20"),
        ("explain 2001:db8::1", "Explain(2001:db8::1"),
        ("limit list", "LimitList"),
        (
            "limit set web --packets 2k/s --mode enforce",
            "mode: Some(Enforce), packets: Some(RateRequest { rate: Rate { amount: 2000",
        ),
        ("limit set a/b --mode off", "service: \"a/b\""),
        (
            "limit unset web --aggregate",
            "LimitUnset(LimitTarget { service: \"web\", class: None, kind: Aggregate }",
        ),
        ("access list", "AccessList"),
        (
            "access ban 198.51.100.9 --for 10m --reason flood",
            "kind: Ban, prefix: 198.51.100.9/32, for_seconds: Some(600), comment: Some(\"flood\")",
        ),
        ("access deny 2001:db8::/32", "kind: Deny, prefix: 2001:db8::/32, for_seconds: None"),
        ("access exempt 10.0.0.0/8", "kind: Exempt, prefix: 10.0.0.0/8"),
        ("access unban 198.51.100.9", "AccessRemove(AccessTarget { kind: Ban, prefix: 198.51.100.9/32 }"),
        ("access undeny 2001:db8::/32", "AccessRemove(AccessTarget { kind: Deny, prefix: 2001:db8::/32 }"),
        ("alerts list --open --severity warning", "open: true, detector: None, severity: Some(Warning)"),
        ("alerts show 3", "AlertShow(3"),
        ("alerts follow --looks 1 -o json", "AlertList"),
        ("alerts silence --subject 10.0.0.5 --reason check", "AlertSilence(Silence { detector: None"),
        ("alerts close 3", "AlertClose(3"),
        ("flows --address 10.0.0.5 --outcome refused", "address: Some(10.0.0.5/32)"),
        ("graph", "Graph"),
        ("graph --dot", "Graph"),
        ("confirm", "Confirm(None"),
        ("confirm 7", "Confirm(Some(7)"),
        ("history -n 3", "History(HistoryQuery { limit: 3, before: None }"),
        ("revert 7", "Revert(7"),
        ("reload", "Reload"),
        ("config show", "ConfigShow"),
        ("stop", "Stop"),
        ("detach", "Detach"),
    ] {
        let (exit, heard) = run(&scripted, line);
        assert_eq!(exit, Exit::Success, "{line}");
        assert!(heard.contains(wanted), "{line}: the engine heard {heard}");
    }
    assert_eq!(run(&scripted, "limit set nowhere --mode off").0, Exit::NotFound);
    assert_eq!(run(&scripted, "limit set cutting --mode off").0, Exit::NeedsConfirmation);
}

#[test]
fn a_change_carries_its_options() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let scripted = runtime.block_on(async { start(own_roles(), Limits::default()) });
    let (exit, _) = run(&scripted, "access deny 203.0.113.0/24 --save --yes --confirm-within 2m");
    assert_eq!(exit, Exit::Success);
    let heard = scripted.heard.lock().unwrap();
    let (_, _, options) = &heard[0];
    assert!(options.save && options.yes);
    assert_eq!(options.confirm_within_seconds, Some(120));
}

#[test]
fn without_a_daemon_the_exit_code_is_3() {
    let arguments =
        Arguments::try_parse_from(["sluice", "--socket", "/nonexistent/sluice.sock", "status"]).unwrap();
    let failure = arguments.command.execute(&Context::new(arguments.global)).unwrap_err();
    assert_eq!(failure.exit.code(), 3);
    assert!(failure.message.contains("/nonexistent/sluice.sock"), "{}", failure.message);
}
