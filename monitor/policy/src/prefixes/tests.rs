use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use monitor_common::{
    flow,
    rule::{FIRST_INNER_NODE, INSIDE, filter_place, leaf, lookup},
};
use proptest::prelude::*;

use super::{Ruling, build, filter};
use crate::access::{Grant, Permission, Source, Statement};

fn say(prefix: &str, grant: Grant) -> Statement<'static> {
    Statement { prefix: prefix.parse().expect("a prefix"), grant, source: Source::Place("") }
}

fn exempt(prefix: &str) -> Statement<'static> {
    say(prefix, Grant::Permission { permission: Permission::Exempt, until: None })
}

fn deny(prefix: &str) -> Statement<'static> {
    say(prefix, Grant::Permission { permission: Permission::Deny, until: None })
}

fn deny_until(prefix: &str, second: i64) -> Statement<'static> {
    let until = Some(jiff::Timestamp::from_second(second).expect("in range"));
    say(prefix, Grant::Permission { permission: Permission::Deny, until })
}

fn class(prefix: &str, number: u32) -> Statement<'static> {
    say(prefix, Grant::Class(number))
}

/// Denials are numbered by the position of the first statement with the prefix.
fn number(statements: &[Statement<'_>], prefix: &IpNet) -> u32 {
    u32::try_from(statements.iter().position(|one| one.prefix == *prefix).expect("it is there")).expect("few")
}

fn leaf_of(statements: &[Statement<'_>], address: IpAddr) -> u32 {
    let nodes = build(statements, |prefix| number(statements, prefix));
    look(nodes.nodes(), address)
}

fn look(nodes: &[monitor_common::rule::PrefixNode], address: IpAddr) -> u32 {
    let (octets, is_v4) = match address {
        IpAddr::V4(v4) => (flow::mapped(v4.octets()), true),
        IpAddr::V6(v6) => (v6.octets(), false),
    };
    let (high, low) = flow::halves(&octets);
    let beginning = if is_v4 { low >> 16 } else { high >> 48 };
    let (word, bit) = filter_place(u32::try_from(beginning & 0xffff).expect("sixteen bits"), is_v4);
    let leaf =
        lookup(|number| nodes.get(number as usize).copied(), high, low, is_v4).expect("the tree is whole");
    // The kernel asks the filter first: what it has no bit for has no leaf.
    if filter(nodes)[word as usize] & bit == 0 {
        assert_eq!(leaf, 0, "the filter hides {address}");
    }
    leaf
}

fn check(statements: &[Statement<'_>], address: &str, expected: u32) {
    let address = address.parse().expect("an address");
    assert_eq!(leaf_of(statements, address), expected, "{address} in {statements:?}");
}

const fn classed(number: u32) -> u32 {
    leaf::CLASSED | number << leaf::CLASS_SHIFT
}

#[test]
fn nothing_is_said_about_anybody() {
    check(&[], "192.0.2.1", 0);
    check(&[], "2001:db8::1", 0);
}

#[test]
fn exempt_wins_over_a_longer_denial() {
    let statements = [exempt("10.0.0.0/8"), deny("10.1.2.3/32")];
    check(&statements, "10.1.2.3", leaf::EXEMPT);
    check(&statements, "11.1.2.3", 0);
}

#[test]
fn the_longest_lasting_denial_wins_and_then_the_widest() {
    let statements =
        [deny_until("10.0.0.0/8", 100), deny_until("10.1.0.0/16", 200), deny_until("10.1.1.0/24", 150)];
    check(&statements, "10.1.1.1", leaf::DENIED | 1);
    check(&statements, "10.2.1.1", leaf::DENIED);
    let equal = [deny("10.0.0.0/8"), deny("10.1.0.0/16")];
    check(&equal, "10.1.1.1", leaf::DENIED);
}

#[test]
fn the_longest_class_prefix_wins_whatever_the_order() {
    let statements = [class("192.0.2.0/25", 4), class("192.0.2.0/24", 3), class("192.0.0.0/16", 2)];
    check(&statements, "192.0.2.5", classed(4));
    check(&statements, "192.0.2.200", classed(3));
    check(&statements, "192.0.9.9", classed(2));
}

#[test]
fn at_equal_length_the_later_class_wins() {
    check(&[class("192.0.2.0/24", 2), class("192.0.2.0/24", 3)], "192.0.2.5", classed(3));
}

#[test]
fn who_is_inside_stays_so_under_a_class_of_his_own() {
    let statements = [class("10.0.0.0/8", INSIDE), class("10.7.0.0/16", 2)];
    check(&statements, "10.1.1.1", classed(INSIDE) | leaf::INSIDE);
    check(&statements, "10.7.1.1", classed(2) | leaf::INSIDE);
    check(&statements, "11.7.1.1", 0);
}

#[test]
fn everything_and_one_address_are_prefixes_too() {
    let statements = [class("0.0.0.0/0", 2), deny("::/0"), class("2001:db8::7/128", 3)];
    check(&statements, "203.0.113.9", classed(2));
    check(&statements, "2001:db8::7", leaf::DENIED | 1 | classed(3));
    check(&statements, "2001:db8::8", leaf::DENIED | 1);
}

#[test]
fn the_families_do_not_mix() {
    check(&[deny("::/0")], "192.0.2.1", 0);
    check(&[deny("0.0.0.0/0")], "2001:db8::1", 0);
}

#[test]
fn equal_subtrees_are_stored_once() {
    // The same class in the same place of a thousand /16 networks: two nodes of four bits serve them all.
    let statements: Vec<Statement<'_>> =
        (0..1000u32).map(|n| class(&format!("{}.{}.7.0/24", 11 + n / 250, n % 250), 2)).collect();
    let nodes = build(&statements, |_| 0);
    assert_eq!(nodes.nodes().len(), FIRST_INNER_NODE as usize + 2);
}

#[test]
fn neighbours_that_say_the_same_need_no_node() {
    let statements = [deny("192.0.0.0/8"), class("198.51.100.0/25", 2), class("198.51.100.128/25", 2)];
    let halves = build(&statements, |_| 0).nodes().len();
    let whole = build(&[deny("192.0.0.0/8"), class("198.51.100.0/24", 2)], |_| 0).nodes().len();
    assert_eq!(halves, whole);
}

#[test]
fn ten_thousand_denied_and_a_thousand_classed_prefixes_fit_the_default_capacity() {
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let mut statements = Vec::new();
    for n in 0..11_000 {
        let grant = match n % 11 {
            0 => Grant::Class(2),
            _ => Grant::Permission { permission: Permission::Deny, until: None },
        };
        let prefix = if n % 2 == 0 {
            let address = Ipv4Addr::from(u32::try_from(next() << 1 & 0xffff_ffff).expect("masked"));
            IpNet::new(address.into(), 24).expect("a length")
        } else {
            let address = 0x2000_u128 << 112 | u128::from(next()) << 84 | u128::from(next()) << 64;
            IpNet::new(Ipv6Addr::from(address).into(), 48).expect("a length")
        };
        statements.push(Statement { prefix: prefix.trunc(), grant, source: Source::Place("") });
    }
    let mut numbers = 0..;
    let numbers: std::collections::HashMap<IpNet, u32> =
        statements.iter().map(|one| (one.prefix, numbers.next().expect("endless"))).collect();
    let nodes = build(&statements, |prefix| numbers[prefix]);
    assert!(
        nodes.nodes().len() <= monitor_common::names::capacity::PREFIX_NODES as usize,
        "{} nodes",
        nodes.nodes().len()
    );
}

/// What the tree should say, found the slow way.
fn naive(statements: &[Statement<'_>], address: IpAddr) -> u32 {
    let ruling = statements
        .iter()
        .enumerate()
        .filter(|(_, statement)| statement.prefix.contains(&address))
        .fold(Ruling::default(), |ruling, (position, statement)| ruling.with(position, statement));
    ruling.leaf(statements, &|prefix: &IpNet| number(statements, prefix))
}

fn any_statement() -> impl Strategy<Value = Statement<'static>> {
    // Few distinct bits at the top, so that prefixes nest and meet.
    let v4 = (any::<u32>(), 0..=32u8).prop_map(|(bits, length)| {
        IpNet::new(Ipv4Addr::from(bits & 0xc10f_13ff).into(), length).expect("a length").trunc()
    });
    let v6 = (any::<u128>(), 0..=128u8).prop_map(|(bits, length)| {
        let narrow = bits & 0xc000_0101_0000_0000_8000_0000_0000_10ff;
        IpNet::new(Ipv6Addr::from(narrow).into(), length).expect("a length").trunc()
    });
    let grant = prop_oneof![
        Just(Grant::Permission { permission: Permission::Exempt, until: None }),
        Just(Grant::Permission { permission: Permission::Deny, until: None }),
        (1i64..5).prop_map(|second| Grant::Permission {
            permission: Permission::Deny,
            until: Some(jiff::Timestamp::from_second(second).expect("in range")),
        }),
        (1..16u32).prop_map(Grant::Class),
    ];
    (prop_oneof![v4, v6], grant).prop_map(|(prefix, grant)| Statement {
        prefix,
        grant,
        source: Source::Place(""),
    })
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))),
        any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits & 0xc10f_13ff))),
        any::<u128>()
            .prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits & 0xc000_0101_0000_0000_8000_0000_0000_10ff))),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_tree_says_what_the_statements_say(
        statements in prop::collection::vec(any_statement(), 0..40),
        addresses in prop::collection::vec(any_address(), 64),
    ) {
        let nodes = build(&statements, |prefix| number(&statements, prefix));
        // The statements' own ends are where mistakes would show.
        let ends = statements.iter().flat_map(|one| [one.prefix.network(), one.prefix.broadcast()]);
        for address in addresses.into_iter().chain(ends) {
            prop_assert_eq!(look(nodes.nodes(), address), naive(&statements, address), "{}", address);
        }
    }
}
