use std::sync::Arc;

use proptest::prelude::*;

use super::{ImportedList, ListPolicy, import};
use crate::{
    Rules,
    config::{AccessList, Config, ListAction},
};

fn policy() -> ListPolicy {
    let config = Config::parse("[access]\nexempt = [\"198.51.100.7\"]\n", "test").expect("valid");
    let list = AccessList::new("/etc/sluice/drop.txt".into(), ListAction::Deny);
    let operators = ["203.0.113.50".parse().expect("an address")];
    ListPolicy::of(&list, &Rules::new(Arc::new(config)), &operators)
}

fn taken(text: &str) -> ImportedList {
    import("drop.txt", ListAction::Deny, text, &policy()).expect("it is within its share")
}

fn check(text: &str, expected: &[&str]) {
    let list = taken(text);
    let prefixes: Vec<String> = list.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, expected, "{:?}", list.skipped);
    assert!(list.skipped.is_empty(), "{:?}", list.skipped);
}

fn check_skipped(line: &str, problem: &str) {
    let list = taken(&format!("# heading\n{line}\n"));
    assert_eq!(list.prefixes, []);
    assert_eq!((list.skipped[0].line, list.skipped[0].problem.as_str()), (2, problem));
}

#[test]
fn plain_lines_of_both_families() {
    check("192.0.2.0/24\n2001:db8::/32\n198.18.0.1\n", &["192.0.2.0/24", "198.18.0.1/32", "2001:db8::/32"]);
}

#[test]
fn comments_of_every_style() {
    check(
        "# FireHOL\n; Spamhaus\n// other\n\n192.0.2.0/24 ; SBL123\n198.18.0.0/16 # why\r\n",
        &["192.0.2.0/24", "198.18.0.0/16"],
    );
}

#[test]
fn ranges_become_prefixes() {
    check("192.0.2.0-192.0.2.255\n", &["192.0.2.0/24"]);
    check(
        "192.0.2.1 - 192.0.2.6 , 000 , somebody\n",
        &["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32"],
    );
    check("2001:db8::-2001:db8::ffff\n", &["2001:db8::/112"]);
}

#[test]
fn columns_of_first_last_and_length() {
    check("192.0.2.0\t192.0.2.255\t24\t1234\tname\n", &["192.0.2.0/24"]);
}

#[test]
fn objects_with_a_cidr() {
    check(
        "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\"}\n{\"type\":\"metadata\",\"records\":1}\n",
        &["192.0.2.0/24"],
    );
}

#[test]
fn neighbours_are_joined_and_what_lies_within_another_is_gone() {
    check("192.0.2.0/25\n192.0.2.128/25\n192.0.2.7\n192.0.2.0/24\n", &["192.0.2.0/24"]);
}

#[test]
fn host_bits_are_cut() {
    check("192.0.2.77/24\n", &["192.0.2.0/24"]);
}

#[test]
fn lines_that_mean_nothing_are_told_with_their_number() {
    check_skipped("hello", "neither a prefix, an address nor a range");
    check_skipped("192.0.2.0/33", "neither a prefix, an address nor a range");
    check_skipped("192.0.2.9-192.0.2.1", "the range is upside down");
    check_skipped("192.0.2.9-2001:db8::", "the ends of the range are of two families");
}

#[test]
fn what_covers_too_much_is_not_taken() {
    check_skipped("64.0.0.0/2", "64.0.0.0/2 covers too much: the shortest prefix that is taken is /8");
    check_skipped("2000::/3", "2000::/3 covers too much: the shortest prefix that is taken is /16");
    check_skipped("0.0.0.0/0", "0.0.0.0/0 covers too much: the shortest prefix that is taken is /8");
}

#[test]
fn inside_exempt_operator_and_loopback_are_protected() {
    check_skipped("10.9.0.0/16", "10.9.0.0/16 meets 10.0.0.0/8, which is protected");
    check_skipped("198.51.100.0/24", "198.51.100.0/24 meets 198.51.100.7/32, which is protected");
    check_skipped("203.0.113.0/24", "203.0.113.0/24 meets 203.0.113.50/32, which is protected");
    check_skipped("127.0.0.1", "127.0.0.1/32 meets 127.0.0.0/8, which is protected");
    check_skipped("::1", "::1/128 meets ::1/128, which is protected");
}

#[test]
fn a_list_that_covers_too_large_a_share_is_refused_as_a_whole() {
    let text = (11..60).map(|n| format!("{n}.0.0.0/8\n")).collect::<Vec<_>>().concat();
    let error = import("drop.txt", ListAction::Deny, &text, &policy()).expect_err("too large");
    assert_eq!(
        error,
        "drop.txt covers 19.1 % of the IPv4 address space, more than largest_share = 0.15 permits: nothing of it was taken"
    );
}

#[test]
fn an_exempting_list_may_name_inside_networks() {
    let list = import("friends.txt", ListAction::Exempt, "10.1.0.0/16\n", &policy()).expect("fine");
    assert_eq!(list.prefixes.len(), 1);
}

#[test]
fn the_difference_names_both_sides() {
    let (old, new) = (taken("192.0.2.0/24\n192.0.4.0/24\n"), taken("192.0.4.0/24\n192.0.6.0/24\n"));
    let (added, removed) = old.difference(&new);
    assert_eq!(
        (added[0].to_string().as_str(), removed[0].to_string().as_str()),
        ("192.0.6.0/24", "192.0.2.0/24")
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_fail(text in "(?s).{0,400}") {
        let _ = import("any", ListAction::Deny, &text, &policy());
    }

    #[test]
    fn nothing_protected_is_ever_covered(addresses in prop::collection::vec((any::<u32>(), 1..=32u8), 0..50)) {
        let text: String = addresses
            .iter()
            .map(|(bits, length)| format!("{}/{length}\n", std::net::Ipv4Addr::from(*bits)))
            .collect::<Vec<_>>()
            .concat();
        let policy = ListPolicy { largest_share: 1.0, ..policy() };
        let list = import("any", ListAction::Deny, &text, &policy).expect("any share is permitted");
        for prefix in &list.prefixes {
            for protected in &policy.protected {
                prop_assert!(!prefix.contains(protected) && !protected.contains(prefix), "{} {}", prefix, protected);
            }
        }
    }
}
