//! What people may type, and that the pages say the same.

mod against_a_daemon;
mod readme;

use clap::Parser;

use super::{Arguments, grammar};

#[test]
fn the_grammar_is_sound() {
    grammar().debug_assert();
}

#[test]
fn what_people_type_is_understood() {
    for line in [
        "status",
        "status -o json",
        "-o json status",
        "--socket /tmp/x.sock status",
        "top --by drops -n 5 --every 2s --pages 3",
        "sources --by bytes --prefix 10.0.0.0/8 --service web -n 5",
        "sources --prefix 2001:db8::1",
        "explain 2001:db8::1",
        "limit list",
        "limit set web --packets 2k/s --save --confirm-within 60s",
        "limit unset web --class inside --yes",
        "access list",
        "access exempt 10.0.0.0/8 --reason office",
        "access deny 203.0.113.0/24 --for 2h",
        "access ban 198.51.100.9 --for 10m --yes",
        "access unban 198.51.100.9",
        "access undeny 203.0.113.0/24",
        "access unexempt 10.0.0.0/8",
        "access import blocklist.txt --dry-run",
        "access import - --exempt --for 12h",
        "tune show",
        "tune show --service web --quantile 0.99 --headroom 1.5",
        "tune try web --class inside",
        "tune apply web --confirm-within 60s --save",
        "tune end web",
        "tune forget web",
        "alerts list --open --detector port_scan --severity warning --subject 10.0.0.0/8 -n 5",
        "alerts follow --looks 1",
        "alerts silence --detector beacon --reason check",
        "flows --address 10.0.0.5 --port 443 --protocol tcp --workload backup --outcome refused",
        "graph --dot",
        "replay capture.pcap",
        "capture --only would-drop --sample 100 --reason banned --reason denied -n 5 --size 1MiB",
        "capture -w - --service web --interface eth0 --snap 1500 --rate 10 --for 5m",
        "replay - --inside 10.0.0.0/8 2001:db8::/32 --config ./sluice.toml -o json",
        "confirm",
        "confirm 7",
        "history -n 3",
        "revert 7",
        "reload --confirm-within 2m",
        "config check ./sluice.toml",
        "config check --config ./sluice.toml",
        "audit",
        "audit --since 1h -n 3",
        "audit list --since 1h",
        "audit verify --directory /var/lib/sluice",
        "config show",
        "config default",
        "stop",
        "detach",
        "generate man --out /tmp",
    ] {
        let words = std::iter::once("sluice").chain(line.split(' '));
        if let Err(error) = Arguments::try_parse_from(words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_exit_code_2() {
    for line in [
        "",
        "fly",
        "sources --by colour",
        "sources --prefix 10.0.0.0/33",
        "access ban",
        "access ban 10.0.0.0/8 --for soon",
        "limit set web --confirm-within 60",
        "confirm seven",
        "alerts list --detector nose",
        "alerts silence --reason nothing",
        "config check a.toml --config b.toml",
        "audit verify --head 7",
        "replay",
        "-o yaml status",
    ] {
        let words = std::iter::once("sluice").chain(line.split(' ').filter(|word| !word.is_empty()));
        let error = Arguments::try_parse_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        if line.starts_with("alerts silence") {
            let told = error.to_string();
            assert!(told.contains("--detector <NAME>") && told.contains("--subject <PREFIX>"), "{told}");
        }
    }
}

#[test]
fn every_command_says_what_it_does() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no description");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let is_generated = ["shell"].contains(&argument.get_id().as_str());
            assert!(argument.get_help().is_some() || is_generated, "{path}: {}", argument.get_id());
        }
        command
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
            .for_each(|sub| check(sub, &path));
    }
    check(&grammar(), "");
}
