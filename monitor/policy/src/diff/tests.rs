use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::diff;
use crate::{
    AccessEntry, ImportedList, LimitKind, LimitName, LimitOverride, Permission, Rules,
    config::{Config, ListAction, Mode},
};

fn rules(text: &str) -> Rules {
    Rules::new(Arc::new(Config::parse(text, "test").expect("valid")))
}

fn check(old: &str, new: &str, expected: &[&str]) {
    let change = diff(&rules(old), &rules(new));
    let lines: Vec<String> = change.items.iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected);
}

const WEB: &str = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [443]\n";

#[test]
fn the_same_file_changes_nothing() {
    check(WEB, WEB, &[]);
}

#[test]
fn a_new_service_is_told_with_its_limit() {
    let limited = format!("{WEB}mode = \"enforce\"\nlimit = {{ packets = \"2k/s\", packets_burst = 500 }}\n");
    check("", &limited, &["+ limit web: enforce packets 2k/s (burst 500)", "+ service web: tcp port 443"]);
    check(&limited, "", &["- limit web: enforce packets 2k/s (burst 500)", "- service web: tcp port 443"]);
}

#[test]
fn a_changed_limit_shows_both_values() {
    let old = format!("{WEB}limit = {{ packets = \"2k/s\" }}\n");
    let new = format!("{WEB}mode = \"enforce\"\nlimit = {{ packets = \"3k/s\" }}\n");
    check(&old, &new, &["~ limit web: observe packets 2k/s -> enforce packets 3k/s"]);
}

#[test]
fn prefixes_are_told_one_by_one() {
    check(
        "[access]\ndenied = [\"192.0.2.0/24\"]\n",
        "[access]\ndenied = [\"198.51.100.0/24\"]\n",
        &["- access.denied 192.0.2.0/24", "+ access.denied 198.51.100.0/24"],
    );
}

#[test]
fn what_waits_for_a_restart_says_so() {
    check("", "[capacity]\nbans = 100\n", &["~ capacity.bans: 16384 -> 100 (after a restart)"]);
    check("", "[flood]\nhold = \"5s\"\n", &["~ flood.hold: 10s -> 5s"]);
}

#[test]
fn a_limit_set_at_run_time_is_a_change() {
    let old = rules(WEB);
    let mut new = old.clone();
    let name = LimitName { service: "web".to_owned(), class: None, kind: LimitKind::PerSource };
    new.limits.insert(name, LimitOverride { mode: Some(Mode::Off), ..LimitOverride::default() });
    assert_eq!(diff(&old, &new).to_string(), "~ limit web: observe no limit -> off no limit");
}

#[test]
fn lists_are_counted() {
    let mut old = rules("");
    let list = |prefixes: &[&str]| {
        let prefixes = prefixes.iter().map(|text| text.parse().expect("a prefix")).collect();
        ImportedList::of("drop.txt", ListAction::Deny, prefixes)
    };
    Arc::make_mut(&mut old.lists).push(list(&["192.0.2.0/24"]));
    let mut new = old.clone();
    Arc::make_mut(&mut new.lists)[0] = list(&["198.51.100.0/24", "203.0.113.0/24"]);
    assert_eq!(
        diff(&old, &new).to_string(),
        "~ list drop.txt: denies 1 prefixes -> denies 2 prefixes (+2 -1)"
    );
}

#[test]
fn very_many_entries_are_counted() {
    let entry = |n: u32, reason: &str| AccessEntry {
        prefix: IpNet::from(IpAddr::from(Ipv4Addr::from(n))),
        permission: Permission::Deny,
        until: None,
        reason: reason.to_owned(),
        origin: String::new(),
    };
    let with = |access| Rules { access, ..rules("") };
    let old = with((0..1500).map(|n| entry(n, "")).collect());
    let new =
        with((500..1000).map(|n| entry(n, "again")).chain((1000..3000).map(|n| entry(n, ""))).collect());
    let lines: Vec<_> = diff(&old, &new).items.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["+ deny 1500 prefixes", "~ deny 500 prefixes", "- deny 500 prefixes"]);
    let one = with(vec![entry(7, "scan")]);
    assert_eq!(diff(&with(Vec::new()), &one).items[0].to_string(), "+ deny 0.0.0.7/32: for good (scan)");
}
