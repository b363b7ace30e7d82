use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::flow;
use monitor_common::rule::{leaf, lookup};
use proptest::prelude::*;

use super::Edit;
use crate::compile::{Environment, Image, compile};
use crate::config::{Config, ListAction};
use crate::{AccessEntry, ImportedList, Numbering, Permission, Rules};

const FILE: &str = r#"
    [access]
    denied = ["193.1.0.0/16", "193.15.3.0/24"]
    exempt = ["193.15.1.1"]
    [[class]]
    name = "gateway"
    prefixes = ["193.1.2.0/24"]
"#;

const fn environment() -> Environment {
    Environment::assumed(Timestamp::UNIX_EPOCH)
}

fn rules(list: &[IpNet]) -> Rules {
    let mut rules = Rules::new(Arc::new(Config::parse(FILE, "test").expect("valid")));
    let mut list = list.to_vec();
    list.sort_unstable();
    rules.lists = Arc::new(vec![ImportedList::of("drop", ListAction::Deny, list)]);
    rules
}

fn entry(prefix: IpNet, permission: Permission, second: Option<i64>) -> AccessEntry {
    let until = second.map(|second| Timestamp::from_second(second).expect("in range"));
    AccessEntry { prefix, permission, until, reason: String::new(), origin: String::new() }
}

fn compiled(rules: &Rules, numbering: &Numbering) -> Image {
    compile(rules, numbering, &environment()).expect("fits")
}

/// What the tree says of an address, with the denied prefix instead of its number.
fn look(image: &Image, address: IpAddr) -> (u32, Option<IpNet>) {
    let (octets, is_v4) = match address {
        IpAddr::V4(v4) => (flow::mapped(v4.octets()), true),
        IpAddr::V6(v6) => (v6.octets(), false),
    };
    let (high, low) = flow::halves(&octets);
    let node = |number: u32| image.nodes().get(number as usize).copied();
    let found = lookup(node, high, low, is_v4).expect("the tree is whole");
    if found & leaf::DENIED == 0 {
        return (found, None);
    }
    let denied = image.numbering.denials().iter().find(|(_, number)| **number == found & leaf::DENIAL_MASK);
    (found & !leaf::DENIAL_MASK, denied.map(|(prefix, _)| *prefix))
}

fn ends(image: &Image) -> BTreeMap<IpNet, u64> {
    let numbers = image.numbering.denials().iter();
    numbers.map(|(prefix, number)| (*prefix, image.denials[number].until)).collect()
}

fn any_prefix() -> impl Strategy<Value = IpNet> {
    // Few distinct bits, so that prefixes nest and meet.
    let v4 = (any::<u32>(), 17..=32u8).prop_map(|(bits, length)| {
        IpNet::new(Ipv4Addr::from(0xc100_0000 | bits & 0x010f_13ff).into(), length).expect("a length").trunc()
    });
    let v6 = (any::<u128>(), 17..=128u8).prop_map(|(bits, length)| {
        let narrow = bits & 0xc000_0101_0000_0000_8000_0000_0000_10ff;
        IpNet::new(Ipv6Addr::from(narrow).into(), length).expect("a length").trunc()
    });
    prop_oneof![v4, v6]
}

fn any_entries() -> impl Strategy<Value = Vec<AccessEntry>> {
    let one = (any_prefix(), prop::option::of(-2..5i64));
    prop::collection::btree_map(any_prefix(), one, 0..24).prop_map(|entries| {
        let deny = |(prefix, (_, second))| entry(prefix, Permission::Deny, second);
        entries.into_iter().map(deny).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever sequence of edits led there, the image says what a compilation says.
    #[test]
    fn an_edited_image_says_what_a_compiled_one_says(
        list in prop::collection::vec(any_prefix(), 0..12),
        steps in prop::collection::vec(any_entries(), 1..5),
    ) {
        let mut now = rules(&IpNet::aggregate(&list));
        let mut image = compiled(&now, &Numbering::default());
        for step in steps {
            let next = Rules { access: step, ..now.clone() };
            let edit = Edit::between(&now, &next, &image).expect("only denials differ");
            let before = image.clone();
            let edited = image.edit(&edit, &next, &environment());
            let fresh = compiled(&next, &Numbering::default());
            prop_assert_eq!(ends(&image), ends(&fresh));
            let prefixes = [&now, &next].map(|rules| rules.access.iter().map(|entry| entry.prefix));
            for prefix in prefixes.into_iter().flatten().chain(list.iter().copied()) {
                for address in [prefix.network(), prefix.broadcast()] {
                    prop_assert_eq!(look(&image, address), look(&fresh, address), "{}", address);
                }
            }
            // Nobody who held the image before misses anything.
            for (number, node) in (0..).zip(image.nodes()) {
                let old = before.nodes().get(number as usize);
                prop_assert!(old == Some(node) || edited.nodes.contains(&number), "node {}", number);
            }
            let retired = image.numbering.retired_denials();
            image.numbering.swept_denials(&retired);
            now = next;
        }
        // What was let go is used again: nothing is left of the steps.
        let empty = Rules { access: Vec::new(), ..now.clone() };
        let edit = Edit::between(&now, &empty, &image).expect("only denials differ");
        image.edit(&edit, &empty, &environment());
        let (room, fresh) = (image.tree.room(1 << 20), compiled(&empty, &Numbering::default()));
        prop_assert_eq!(room, fresh.tree.room(1 << 20));
    }
}

#[test]
fn one_denial_among_thousands_writes_a_handful_of_nodes() {
    let spread = |n: u32| IpNet::from(IpAddr::from(Ipv4Addr::from(n.wrapping_mul(2_654_435_761))));
    let mut list: Vec<_> = (1..20_000).map(spread).collect();
    list.sort_unstable();
    let toml = format!("{FILE}[capacity]\nprefix_nodes = 400000\ndenials = 200000\n");
    let mut now = rules(&list);
    now.config = Arc::new(Config::parse(&toml, "test").expect("valid"));
    let mut image = compiled(&now, &Numbering::default());
    for step in 0..8 {
        let access =
            if step % 2 == 0 { vec![entry(spread(200_000 + step), Permission::Deny, None)] } else { vec![] };
        let next = Rules { access, ..now.clone() };
        let edit = Edit::between(&now, &next, &image).expect("only a denial differs");
        let edited = image.edit(&edit, &next, &environment());
        assert!(!edited.nodes.is_empty() && edited.nodes.len() <= 24, "{} nodes", edited.nodes.len());
        assert_eq!(edited.denials.len() + edited.forgotten.len(), 1);
        let retired = image.numbering.retired_denials();
        image.numbering.swept_denials(&retired);
        now = next;
    }
}

#[test]
fn what_is_more_than_denials_is_compiled() {
    let deny: IpNet = "203.0.113.7/32".parse().expect("a prefix");
    let now = rules(&[]);
    let image = compiled(&now, &Numbering::default());
    let with = |entry: AccessEntry| Rules { access: vec![entry], ..now.clone() };
    let edit = |next: &Rules| Edit::between(&now, next, &image);
    assert!(edit(&with(entry(deny, Permission::Deny, None))).is_some());
    assert!(edit(&with(entry(deny, Permission::Exempt, None))).is_none(), "routes depend on exemptions");
    let wide = "203.0.0.0/16".parse().expect("a prefix");
    assert!(edit(&with(entry(wide, Permission::Deny, None))).is_none(), "it covers whole blocks");
    assert!(edit(&Rules { own: vec![deny.addr()], ..now.clone() }).is_none());
    let other = Rules { lists: Arc::new(Vec::new()), ..now.clone() };
    assert!(edit(&other).is_none());
}
