//! Bad input, wrong callers, missing things: each a clear error with its exit code, and what runs is unharmed.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon, PATIENCE, binary},
        network::{Network, Process, Space, eventually},
        scene::INTERFACE,
    },
    or_skip,
};

const RULES: &str = "[access]\ninside = []\n[default]\nmode = \"off\"\n[[service]]\nname = \"dns\"\nprotocol = \"udp\"\n\
                     ports = [53]\nmode = \"enforce\"\nlimit = { packets = \"1k/s\" }\n";

/// Two namespaces with one wire.
fn pair() -> Result<(Network, Space, Space)> {
    daemon::possible()?;
    let mut network = Network::new()?;
    let (guarded, other) = (network.space()?, network.space()?);
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])])?;
    Ok((network, guarded, other))
}

/// Bad configurations, and what the error must name.
const BAD: [(&str, &str, &[&str]); 14] = [
    ("an unknown key", "[default]\nmoed = \"off\"\n", &["moed", "mode", ":6:"]),
    ("an unknown table", "[defalut]\nmode = \"off\"\n", &["defalut", "default"]),
    ("an unknown mode", "[default]\nmode = \"enforced\"\n", &["enforced", "enforce"]),
    ("a rate without a unit", "[default]\nlimit = { packets = \"100\" }\n", &["100", "/s"]),
    ("a unit that is none", "[default]\nlimit = { packets = \"100/fortnight\" }\n", &["fortnight"]),
    ("an ambiguous unit", "[default]\nlimit = { bytes = \"50 Mb/s\" }\n", &["50 Mb/s", "Mbit/s"]),
    (
        "a burst below the tick",
        "[default]\nlimit = { packets = \"1M/s\", packets_burst = 5 }\n",
        &["packets_burst"],
    ),
    ("a prefix with bits behind its length", "[access]\ndenied = [\"10.0.0.1/8\"]\n", &["10.0.0.1/8"]),
    ("a service without a name", "[[service]]\nprotocol = \"udp\"\n", &["name"]),
    (
        "a service called default",
        "[[service]]\nname = \"default\"\nprotocol = \"udp\"\nports = [1]\n",
        &["default"],
    ),
    (
        "ports of a protocol that has none",
        "[[service]]\nname = \"a\"\nprotocol = \"icmp\"\nports = [1]\n",
        &["port"],
    ),
    (
        "two services of one name",
        "[[service]]\nname = \"a\"\nprotocol = \"udp\"\nports = [1]\n[[service]]\nname = \"a\"\nprotocol = \"udp\"\nports = [2]\n",
        &["a"],
    ),
    (
        "overlapping services",
        "[[service]]\nname = \"low\"\nprotocol = \"udp\"\nports = [\"1-100\"]\n[[service]]\nname = \"high\"\nprotocol = \"udp\"\nports = [\"100-200\"]\n",
        &["low", "high", "100"],
    ),
    ("no TOML at all", "[default\n", &[":5:"]),
];

#[test]
fn every_bad_configuration_is_refused_by_check_run_and_reload_and_changes_nothing() {
    let (_network, guarded, _other) = or_skip!("bad configurations", pair());
    let daemon = Daemon::start(&guarded, &[INTERFACE], RULES).unwrap();
    let before = daemon.json(&["limit", "list"]).unwrap();
    let path = daemon.config().display().to_string();
    for (what, text, names) in BAD {
        daemon.configure(&[INTERFACE], text).unwrap();
        let check = daemon.say(&["config", "check", &path]).unwrap();
        let run = daemon.say(&["run", "--config", &path]).unwrap();
        let reload = daemon.say(&["reload"]).unwrap();
        for (how, said) in [("check", &check), ("run", &run), ("reload", &reload)] {
            assert_eq!(said.code, 5, "{what}, {how}: {}{}", said.error, said.out);
            let words = format!("{}{}", said.error, said.out);
            let missing = names.iter().find(|name| !words.contains(**name));
            assert!(missing.is_none(), "{what}, {how}: `{}` is not in: {words}", missing.unwrap());
        }
        assert_eq!(daemon.json(&["limit", "list"]).unwrap(), before, "{what} changed what runs");
    }
    daemon.configure(&[INTERFACE], RULES).unwrap();
    daemon.tell(&["reload"]).unwrap();
}

/// Bad requests to a daemon that runs: arguments, exit code, and what the error must name.
const REQUESTS: [(&[&str], i32, &str); 14] = [
    (&["limit", "set", "dnss", "--mode", "off"], 7, "dnss"),
    (&["limit", "set", "dns", "--class", "nobody", "--mode", "off"], 7, "nobody"),
    (&["limit", "set", "dns", "--packets", "many"], 2, "many"),
    (&["limit", "set", "dns", "--packets", "1M/s", "--packets-burst", "1"], 5, "burst"),
    (&["limit", "set"], 2, "SERVICE"),
    (&["limit", "unset", "nothing"], 7, "nothing"),
    (&["access", "ban", "10.0.0.300"], 2, "10.0.0.300"),
    (&["access", "unban", "192.0.2.9"], 7, "192.0.2.9"),
    (&["access", "deny", "127.0.0.1"], 6, "--yes"),
    (&["explain", "nobody"], 7, "nobody"),
    (&["sources", "--service", "nothing"], 7, "nothing"),
    (&["revert", "4711"], 7, "4711"),
    (&["confirm"], 7, "confirm"),
    (&["frobnicate"], 2, "frobnicate"),
];

#[test]
fn every_bad_request_is_refused_with_its_exit_code_and_changes_nothing() {
    let (_network, guarded, _other) = or_skip!("bad requests", pair());
    let daemon = Daemon::start(&guarded, &[INTERFACE], RULES).unwrap();
    let state = || (daemon.json(&["limit", "list"]).unwrap(), daemon.json(&["access", "list"]).unwrap());
    let before = state();
    let mut wrong = Vec::new();
    for (arguments, code, names) in REQUESTS {
        let said = daemon.say(arguments).unwrap();
        if said.code != code || !said.error.contains(names) {
            wrong.push(format!("{}: exit {} (not {code}): {}", arguments.join(" "), said.code, said.error));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(state(), before);
}

#[test]
fn without_a_daemon_every_command_says_so() {
    let (_network, guarded, _other) = or_skip!("no daemon", pair());
    let daemon = Daemon::new(&guarded, &[INTERFACE], RULES).unwrap();
    for arguments in
        [&["status"][..], &["sources"], &["limit", "list"], &["access", "list"], &["reload"], &["stop"]]
    {
        let said = daemon.say(arguments).unwrap();
        assert_eq!(said.code, 3, "{}: {}{}", arguments.join(" "), said.error, said.out);
        assert!(said.error.contains("control.sock") && said.error.lines().count() == 1, "{}", said.error);
    }
}

#[test]
fn a_missing_interface_is_named_and_guarded_as_soon_as_it_is_there() {
    let (_network, guarded, other) = or_skip!("a missing interface", pair());
    let unstarted = Daemon::new(&guarded, &[INTERFACE], RULES).unwrap();
    let path = unstarted.config().display().to_string();
    let said = unstarted.say(&["run", "--config", &path, "--interface", "eth9"]).unwrap();
    assert!(said.code == 7 && said.error.contains("eth9"), "exit {}: {}", said.code, said.error);
    drop(unstarted);
    let daemon = Daemon::start(&guarded, &["eth7"], RULES).unwrap();
    assert!(daemon.logged().contains("eth7"), "{}", daemon.logged());
    assert!(daemon.json(&["status"]).unwrap()["problems"].to_string().contains("eth7"));
    let mode =
        |mode: &str| daemon.metric("sluice_interface_mode", &["\"eth7\"", mode]).is_ok_and(|on| on > 0.5);
    assert!(mode("absent"));
    guarded
        .ip(&["link", "add", "eth7", "type", "veth", "peer", "name", "eth7", "netns", other.name()])
        .unwrap();
    guarded.ip(&["link", "set", "eth7", "up"]).unwrap();
    eventually("eth7 is guarded", PATIENCE, || mode("native").then_some(())).unwrap();
}

#[test]
fn an_interface_with_the_program_of_another_is_named_and_left_alone() {
    let (_network, guarded, _other) = or_skip!("a taken interface", pair());
    let first = Daemon::start(&guarded, &[INTERFACE], RULES).unwrap();
    let program = || {
        let link = guarded.ip(&["-d", "link", "show", "dev", INTERFACE]).unwrap();
        link.lines().find(|line| line.contains("prog/xdp")).map(str::to_owned)
    };
    let before = program();
    assert!(before.is_some());
    // Its own pins, state and socket, so that only the interface is taken.
    let rules = format!("metrics.enabled = false\n{RULES}");
    let second = Daemon::new(&guarded, &[INTERFACE], &rules).unwrap();
    // Who names it on the command line waits for an answer; what the configuration names is tried again.
    let path = second.config().display().to_string();
    let said = second.say(&["run", "--config", &path, "--interface", INTERFACE]).unwrap();
    assert_eq!(said.code, 8, "{}", said.error);
    assert!(said.error.contains(INTERFACE), "{}", said.error);
    assert_eq!(program(), before, "the program of another was touched");
    let problems = first.json(&["status"]).unwrap()["problems"].to_string();
    assert_eq!(problems, "[]");
}

#[test]
fn a_second_daemon_on_the_same_pins_is_refused() {
    let (_network, guarded, _other) = or_skip!("a second daemon", pair());
    let daemon = Daemon::start(&guarded, &[INTERFACE], RULES).unwrap();
    let path = daemon.config().display().to_string();
    let said = daemon.say(&["run", "--config", &path]).unwrap();
    assert!(said.code == 8 || said.code == 1, "exit {}: {}", said.code, said.error);
    daemon.tell(&["status"]).unwrap();
}

/// Runs a command of the command line as another user and group.
fn say_as(daemon: &Daemon, user: u32, arguments: &[&str]) -> (i32, String) {
    let mut command = daemon.command(arguments).unwrap();
    // Capabilities go with the user, so nsenter has to come first: the client needs no namespace for a Unix socket.
    let mut plain = Command::new(binary().unwrap());
    plain.args(arguments).env("SLUICE_SOCKET", daemon.socket()).uid(user).gid(user);
    plain.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    std::mem::swap(&mut command, &mut plain);
    let output = Process::start(&mut command).unwrap().wait(PATIENCE).unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_caller_without_a_role_is_refused_and_a_user_without_privilege_cannot_run_it() {
    let (_network, guarded, _other) = or_skip!("wrong callers", pair());
    let daemon = Daemon::start(&guarded, &[INTERFACE], RULES).unwrap();
    let before = daemon.json(&["access", "list"]).unwrap();
    for arguments in [&["status"][..], &["access", "deny", "192.0.2.1"], &["stop"]] {
        let (code, error) = say_as(&daemon, 65534, arguments);
        assert_eq!(code, 4, "{}: {error}", arguments.join(" "));
    }
    assert_eq!(daemon.json(&["access", "list"]).unwrap(), before);

    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let at = directory.path().display();
    let config = directory.path().join("sluice.toml");
    let text = format!(
        "interfaces.names = [\"lo\"]\ncontrol.socket = \"{at}/s\"\nstate.directory = \"{at}/state\"\nmetrics.enabled = false\n{RULES}"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (code, error) = say_as(&daemon, 65534, &["run", "--config", &config.display().to_string()]);
    assert_eq!(code, 4, "{error}");
}

#[test]
fn a_full_table_of_bans_is_refused_with_its_own_exit_code() {
    let (_network, guarded, _other) = or_skip!("full tables", pair());
    let daemon = Daemon::start(&guarded, &[INTERFACE], &format!("capacity.bans = 16\n{RULES}")).unwrap();
    let mut last = None;
    for host in 1..=17 {
        last = Some(daemon.say(&["access", "ban", &format!("192.0.2.{host}"), "--for", "10m"]).unwrap());
    }
    let last = last.unwrap();
    assert_eq!(last.code, 9, "{}{}", last.error, last.out);
    daemon.tell(&["access", "unban", "192.0.2.1"]).unwrap();
    daemon.tell(&["access", "ban", "192.0.2.17", "--for", "10m"]).unwrap();
}
