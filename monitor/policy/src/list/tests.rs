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
    import("drop.txt", ListAction::Deny, text.as_bytes(), &policy()).expect("it is within its share")
}

fn check(text: &str, expected: &[&str]) {
    let list = taken(text);
    let prefixes: Vec<String> = list.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, expected, "{:?}", list.skipped);
    assert!(list.skipped.is_empty(), "{:?}", list.skipped);
    assert_eq!((list.skipped_lines, list.taken_lines), (0, list.lines));
}

/// What is taken, and each entry that is not with its line.
fn check_both(text: &str, expected: &[&str], skipped: &[(usize, &str)]) {
    let list = taken(text);
    let prefixes: Vec<String> = list.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, expected, "{:?}", list.skipped);
    let told: Vec<_> = list.skipped.iter().map(|line| (line.line, line.problem.as_str())).collect();
    assert_eq!(told, skipped);
    assert_eq!(list.taken_lines + list.skipped_lines, list.lines);
    assert_eq!(list.skipped_lines, skipped.len());
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

/// Fixtures of every format are made here, from what their publishers document: each names the same three networks.
const THREE: [&str; 3] = ["192.0.2.0/24", "198.18.0.7/32", "198.51.100.128/25"];

#[test]
fn every_published_format_names_the_same_networks() {
    let formats = [
        ("plain", "192.0.2.0/24\n198.18.0.7\n198.51.100.128/25\n"),
        ("FireHOL", "#\n# firehol_level1\n#\n192.0.2.0/24\n198.18.0.7\n198.51.100.128/25\n"),
        (
            "Spamhaus text",
            "; Spamhaus DROP List 2026/11/27\n192.0.2.0/24 ; SBL1\n198.18.0.7/32 ; SBL2\n198.51.100.128/25 ; SBL3\n",
        ),
        (
            "Spamhaus JSON",
            "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\",\"rir\":\"x\"}\n{\"cidr\":\"198.18.0.7/32\"}\n{\"cidr\":\"198.51.100.128/25\"}\n{\"type\":\"metadata\",\"size\":1,\"copyright\":\"c\"}\n",
        ),
        (
            "DShield",
            "#\n# DShield.org Recommended Block List\nStart\tEnd\tNetmask\tAttacks\tName\tCountry\temail\n192.0.2.0\t192.0.2.255\t24\t47\tA-B No.3\tUS\ta-b@example.net\n198.18.0.7\t198.18.0.7\t32\t8\tB\tDE\tx@y-z.example\n198.51.100.128\t198.51.100.255\t25\t9\tC\t\t\n",
        ),
        (
            "DShield without its heading",
            "192.0.2.0\t192.0.2.255\t24\t47\tA-B\n198.18.0.7\n198.51.100.128\t198.51.100.255\t25\t9\tC\n",
        ),
        (
            "ipset save",
            "create drop hash:net family inet hashsize 1024 maxelem 65536\nadd drop 192.0.2.0/24\nadd drop 198.18.0.7 timeout 300\nadd drop 198.51.100.128/25 comment \"a, b\"\n",
        ),
        (
            "nft list",
            "table inet filter {\n\tset drop {\n\t\ttype ipv4_addr\n\t\tflags interval,timeout\n\t\telements = { 192.0.2.0/24, 198.18.0.7 timeout 5m expires 3m,\n\t\t\t     198.51.100.128-198.51.100.255 comment \"x, y\" }\n\t}\n}\n",
        ),
        (
            "nft file",
            "define BAD = { 192.0.2.0/24, 198.18.0.7, 198.51.100.128/25 }\nadd element inet filter drop { 192.0.2.1 }\n",
        ),
        (
            "P2P",
            "Some Org, Inc:192.0.2.0-192.0.2.255\nA: b-c:198.18.0.7-198.18.0.7\nx:198.51.100.128-198.51.100.255\n",
        ),
        (
            "ipfilter.dat",
            "192.000.002.000 - 192.000.002.255 , 000 , Org-Name\n198.018.000.007 - 198.018.000.007 , 000 , b\n198.051.100.128 - 198.051.100.255 , 000 , c\n",
        ),
        (
            "quoted CSV",
            "\"192.0.2.0/24\",\"US\",\"a, b\"\n\"198.18.0.7\",\"x\"\n\"198.51.100.128/25\",\"\"\n",
        ),
        (
            "CSV with named columns",
            "first_seen,ip_address,score\n2026-11-22T08:11:12+00:00,192.0.2.0/24,9\n2026-11-22,198.18.0.7,8\n,198.51.100.128/25,1\n",
        ),
        ("CSV with semicolons", "id;network;why\n1;192.0.2.0/24;a\n2;198.18.0.7;b\n3;198.51.100.128/25;c\n"),
        ("CSV without names", "192.0.2.0/24,US,100\n1,198.18.0.7,2026-11-22\n198.51.100.128/25|x\n"),
        ("first and last", "192.0.2.0 192.0.2.255\n198.18.0.7\n198.51.100.128,198.51.100.255,US\n"),
        ("with masks", "192.0.2.0/255.255.255.0\n198.18.0.7\n198.51.100.128 255.255.255.128\n"),
        ("JSON array of texts", "[\"192.0.2.0/24\", \"198.18.0.7\",\n \"198.51.100.128/25\"]\n"),
        (
            "JSON array, one object a line",
            "[{\"cidr\":\"192.0.2.0/24\"},\n{\"ip\":\"198.18.0.7\"},\n{\"network\":\"198.51.100.128/25\"}]\n",
        ),
        (
            "googlebot.json",
            "{\"creationTime\":\"2026-11-27T00:00:00\",\"prefixes\":[{\"ipv4Prefix\":\"192.0.2.0/24\"},{\"ipv4Prefix\":\"198.18.0.7/32\"},{\"ipv4Prefix\":\"198.51.100.128/25\"}]}",
        ),
        (
            "AWS ranges",
            "{\"syncToken\":\"1\",\"prefixes\":[{\"ip_prefix\":\"192.0.2.0/24\",\"region\":\"a\"},{\"ip_prefix\":\"198.18.0.7/32\"},{\"ip_prefix\":\"198.51.100.128/25\"}],\"ipv6_prefixes\":[]}",
        ),
        (
            "Azure ranges",
            "{\"values\":[{\"name\":\"A\",\"properties\":{\"region\":\"\",\"addressPrefixes\":[\"192.0.2.0/24\",\"198.18.0.7\",\"198.51.100.128/25\"]}}]}",
        ),
        (
            "within IPv6",
            "::ffff:192.0.2.0/120\n::ffff:198.18.0.7\n::ffff:198.51.100.128-::ffff:198.51.100.255\n",
        ),
        ("wildcard, port and directive", "192.0.2.*\n198.18.0.7:443\ndeny from 198.51.100.128/25;\n"),
        ("words with dashes", "192.0.2.0/24 known-scanner\n198.18.0.7\tx-y\n198.51.100.128/25 # a-b\n"),
    ];
    for (format, text) in formats {
        for text in [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
            let list = taken(&text);
            let prefixes: Vec<String> = list.prefixes.iter().map(ToString::to_string).collect();
            assert_eq!(prefixes, THREE, "{format}: {:?}", list.skipped);
            assert_eq!((list.skipped_lines, list.taken_lines), (0, list.lines), "{format}");
        }
    }
}

#[test]
fn what_does_not_say_what_it_means_is_skipped_and_told() {
    check_both(
        "192.0.2.1 198.51.100.9\n",
        &[],
        &[(1, "two addresses that are far apart: say it as a range, or in two lines")],
    );
    check_both(
        "!192.0.2.1\nallow 192.0.2.2;\n192.0.2.3\n",
        &["192.0.2.3/32"],
        &[(1, "an exception, which a list cannot make"), (2, "an exception, which a list cannot make")],
    );
    check_both(
        "add drop 192.0.2.1,tcp:80\nadd drop 192.0.2.2 nomatch\n",
        &[],
        &[
            (1, "it names more than an address, such as a port"),
            (2, "an exception, which a list cannot make"),
        ],
    );
    check_both(
        "table ip x {\n set y {\n  elements = { 192.0.2.1 . 80, 192.0.2.2 }\n }\n}\n",
        &["192.0.2.2/32"],
        &[(3, "it names more than an address, such as a port")],
    );
    check_both(
        "Start\tEnd\tNetmask\n192.0.2.0\t192.0.2.127\t24\n",
        &[],
        &[(2, "192.0.2.0/24 does not end with 192.0.2.127")],
    );
    check_both(
        "[\"192.0.2.1\", \"nobody\"]",
        &["192.0.2.1/32"],
        &[(2, "neither a prefix, an address nor a range")],
    );
}

#[test]
fn bytes_that_are_no_utf8_spoil_only_what_they_stand_in() {
    let bytes = b"# Prov\xe9dor\n198.18.0.1 Jos\xe9\n\xff\xfe\n";
    let list = import("latin", ListAction::Deny, bytes, &policy()).expect("within its share");
    assert_eq!((list.prefixes.len(), list.taken_lines, list.skipped_lines), (1, 1, 1));
    let mut long = vec![b'1'; 5_000_000];
    long.extend_from_slice(b"\n198.18.0.1\n");
    let list = import("long", ListAction::Deny, &long, &policy()).expect("within its share");
    assert_eq!((list.prefixes.len(), list.skipped[0].problem.as_str()), (1, "longer than 4096 bytes"));
}

#[test]
fn taken_and_skipped_are_all_lines_of_a_large_list() {
    let line = |n: u32| format!("198.{}.{}.{}", 18 + n % 2, n / 2 % 256, n / 512 % 256);
    let lines: Vec<_> = (0..200_000).map(line).collect();
    let list = taken(&(lines.join("\n") + "\nnonsense\n"));
    assert_eq!((list.lines, list.taken_lines, list.skipped_lines), (200_001, 200_000, 1));
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
    let error = import("drop.txt", ListAction::Deny, text.as_bytes(), &policy()).expect_err("too large");
    assert_eq!(
        error,
        "drop.txt covers 19.1 % of the IPv4 address space, more than largest_share = 0.15 permits: nothing of it was taken"
    );
}

#[test]
fn an_exempting_list_may_name_inside_networks() {
    let list = import("friends.txt", ListAction::Exempt, b"10.1.0.0/16\n", &policy()).expect("fine");
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
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = import("any", ListAction::Deny, &bytes, &policy());
    }

    #[test]
    fn no_text_makes_it_fail(text in "(?s).{0,400}") {
        let _ = import("any", ListAction::Deny, text.as_bytes(), &policy());
    }

    #[test]
    fn nothing_protected_is_ever_covered(addresses in prop::collection::vec((any::<u32>(), 1..=32u8), 0..50)) {
        let text: String = addresses
            .iter()
            .map(|(bits, length)| format!("{}/{length}\n", std::net::Ipv4Addr::from(*bits)))
            .collect::<Vec<_>>()
            .concat();
        let policy = ListPolicy { largest_share: 1.0, ..policy() };
        let list = import("any", ListAction::Deny, text.as_bytes(), &policy).expect("any share is permitted");
        for prefix in &list.prefixes {
            for protected in &policy.protected {
                prop_assert!(!prefix.contains(protected) && !protected.contains(prefix), "{} {}", prefix, protected);
            }
        }
    }
}
