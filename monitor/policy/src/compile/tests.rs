use std::sync::Arc;

use monitor_common::{
    bucket::UNITS_PER_NS,
    rule::{
        BYTES, CONNECTIONS, ENCRYPTION_SHIFT, FOLLOWS_CONNECTIONS, PACKETS, followed_port, mode, setting,
    },
};

use super::{Environment, Image, compile};
use crate::{
    AccessEntry, Automatic, Dimension, LimitKind, LimitName, LimitOverride, Numbering, Permission, Rules,
    config::{Config, DEFAULT_SERVICE, Limits, Mode, Rate},
};

fn environment() -> Environment {
    let now = jiff::Timestamp::from_second(1_800_000_000).expect("in range");
    Environment { tick_ns: 4_000_000, hash_key: [7, 9], now, clock: 1 << 40 }
}

fn rules(text: &str) -> Rules {
    Rules::new(Arc::new(Config::parse(text, "test").expect("a valid configuration")))
}

fn image(rules: &Rules) -> Image {
    compile(rules, &Numbering::default(), &environment()).expect("it compiles")
}

const WEB: &str = r#"
    [[class]]
    name = "gateway"
    prefixes = ["198.51.100.0/24"]
    [[service]]
    name = "web"
    protocol = "tcp"
    ports = [443]
    mode = "enforce"
    limit = { packets = "1k/s", bytes = "80 Mbit/s", connections = "60/min" }
    aggregate = { packets = "10k/s", reserve = 0.25 }
    ban = { after = 100, for = "1m" }
    [service.class.gateway]
    mode = "observe"
    [service.class.inside]
    limit = {}
"#;

#[test]
fn an_empty_file_observes_at_most_and_the_default_service_is_rule_zero() {
    let image = image(&rules(""));
    assert_eq!(image.service_name(0), Some(DEFAULT_SERVICE));
    assert_eq!(image.rules.len(), 1);
    assert!(image.limits.iter().all(|limit| limit.force.mode != mode::ENFORCE));
    assert_eq!(image.settings.flags & setting::TRACK, setting::TRACK);
    assert_eq!(image.settings.tick, 64_000_000);
}

#[test]
fn the_embedded_default_observes_and_drops_nothing() {
    let config = Config::embedded();
    let image = image(&Rules::new(Arc::new(config)));
    assert!(image.limits.iter().all(|limit| limit.force.mode != mode::ENFORCE));
    assert!(image.aggregates.iter().all(|aggregate| aggregate.mode != mode::ENFORCE));
    assert!(image.denials.is_empty());
    assert_eq!(image.settings.flags & setting::DROP_MALFORMED, 0);
}

#[test]
fn each_class_has_its_limit() {
    let image = image(&rules(WEB));
    let web = image.rules.iter().find(|rule| rule.service == 1).expect("a rule");
    let limit = |class: usize| &image.limits[web.limits[class] as usize];
    assert_eq!(limit(0).force.mode, mode::ENFORCE);
    assert_eq!(limit(0).force.dimensions, 1 << PACKETS | 1 << BYTES | 1 << CONNECTIONS);
    assert_eq!(limit(0).ban_after, 100);
    assert_eq!(limit(0).ban_first, 60_000_000_000 * UNITS_PER_NS);
    assert_eq!(limit(1).force.mode, mode::OFF);
    assert_eq!(limit(2).force.mode, mode::OBSERVE);
    assert_eq!(image.class_name(2), Some("gateway"));
}

#[test]
fn strangers_get_what_is_not_reserved() {
    let image = image(&rules(WEB));
    let aggregate = &image.aggregates[1];
    assert_eq!(aggregate.mode, mode::ENFORCE);
    let (total, strangers) = (aggregate.total[PACKETS], aggregate.strangers[PACKETS]);
    assert!(strangers.unit_cost > total.unit_cost);
    let permille = total.unit_cost * 1000 / strangers.unit_cost;
    assert!((749..=750).contains(&permille), "{permille}");
}

#[test]
fn an_automatic_aggregate_holds_strangers_only_and_no_harder_than_its_service() {
    let without = WEB.replace("aggregate = { packets = \"10k/s\", reserve = 0.25 }", "");
    let compiled = |text: &str, mode: Mode| {
        let mut rules = rules(text);
        let strangers = Limits { packets: Some(Rate::per_second(500)), ..Limits::default() };
        rules.automatic.insert("web".to_owned(), Automatic { mode, strangers });
        let image = image(&rules);
        (image.aggregates[1], image.rules.iter().find(|rule| rule.service == 1).unwrap().has_aggregate)
    };
    let (aggregate, asked) = compiled(&without, Mode::Enforce);
    assert_eq!((aggregate.mode, asked), (mode::ENFORCE, 1));
    assert!(aggregate.strangers[PACKETS].unit_cost > 0 && aggregate.strangers[CONNECTIONS].unit_cost == 0);
    assert!(aggregate.total.iter().all(|rate| rate.unit_cost == 0), "the known are held to their own limits");
    // At rest, packets within their limits pay nothing for it.
    assert_eq!(compiled(&without, Mode::Off).1, 0);
    assert_eq!(compiled(&without, Mode::Observe).0.mode, mode::OBSERVE);
    for (word, expected) in [
        ("aggregate = \"auto\"", mode::ENFORCE),
        ("aggregate = \"off\"", mode::OFF),
        ("aggregate = { mode = \"observe\" }", mode::OBSERVE),
    ] {
        let text = without.replace("ban = {", &format!("{word}\nban = {{"));
        assert_eq!(compiled(&text, Mode::Enforce).0.mode, expected, "{word}");
    }
    let observing = without.replace("mode = \"enforce\"", "mode = \"observe\"");
    assert_eq!(compiled(&observing, Mode::Enforce).0.mode, mode::OBSERVE);
    // An operator's own rates win.
    assert!(compiled(WEB, Mode::Observe).0.total[PACKETS].unit_cost > 0);
}

#[test]
fn a_limit_set_at_run_time_wins_over_the_file() {
    let mut rules = rules(WEB);
    let name = LimitName { service: "web".to_owned(), class: None, kind: LimitKind::PerSource };
    let limits = Limits { packets: Some("50/s".parse().expect("a rate")), ..Limits::default() };
    let set = LimitOverride { mode: Some(Mode::Observe), limits, ..LimitOverride::default() };
    rules.limits.insert(name, set);
    let image = image(&rules);
    let web = image.rules.iter().find(|rule| rule.service == 1).expect("a rule");
    let force = &image.limits[web.limits[0] as usize].force;
    assert_eq!(force.mode, mode::OBSERVE);
    assert_eq!(force.rates[PACKETS].unit_cost >> 16, 20_000_000 * UNITS_PER_NS);
    assert_eq!(force.dimensions, 1 << PACKETS | 1 << BYTES | 1 << CONNECTIONS);
}

#[test]
fn a_candidate_observes_beside_the_limit_in_force() {
    let mut rules = rules(WEB);
    let name = LimitName { service: "web".to_owned(), class: None, kind: LimitKind::Trial };
    let limits = Limits { packets: Some("50/s".parse().expect("a rate")), ..Limits::default() };
    rules.limits.insert(name, LimitOverride { limits, ..LimitOverride::default() });
    let image = image(&rules);
    let web = image.rules.iter().find(|rule| rule.service == 1).expect("a rule");
    let limit = &image.limits[web.limits[0] as usize];
    assert_eq!((limit.force.mode, limit.candidate.mode), (mode::ENFORCE, mode::OBSERVE));
}

#[test]
fn a_denial_ends_on_the_kernels_clock() {
    let mut rules = rules("[access]\ndenied = [\"203.0.113.0/24\"]\n");
    let now = environment().now;
    rules.access.push(AccessEntry {
        prefix: "192.0.2.0/24".parse().expect("a prefix"),
        permission: Permission::Deny,
        until: Some(now + jiff::SignedDuration::from_secs(10)),
        reason: String::new(),
        origin: String::new(),
    });
    let image = image(&rules);
    let until = |prefix: &str| {
        let number = image.numbering.denial(&prefix.parse().expect("a prefix")).expect("numbered");
        image.denials[&number].until
    };
    assert_eq!(until("203.0.113.0/24"), u64::MAX);
    assert_eq!(until("192.0.2.0/24"), (1 << 40) + 10_000_000_000 * UNITS_PER_NS);
}

#[test]
fn a_tree_that_does_not_fit_says_what_it_needs() {
    let text = "[capacity]\nprefix_nodes = 8193\n[access]\ndenied = [\"192.0.2.0/24\"]\n";
    let error = compile(&rules(text), &Numbering::default(), &environment()).expect_err("does not fit");
    assert!(error.0.starts_with("capacity.prefix_nodes = 8193 is too small: "), "{error}");
}

#[test]
fn a_slow_tick_needs_larger_bursts_and_says_so() {
    let text = "[default]\nlimit = { packets = \"1k/s\", packets_burst = 10 }\n";
    let slow = Environment { tick_ns: 10_000_000, ..environment() };
    assert!(compile(&rules(text), &Numbering::default(), &environment()).is_ok());
    let error = compile(&rules(text), &Numbering::default(), &slow).expect_err("too small");
    assert_eq!(
        error.to_string(),
        "the default service, class outside: the burst of packets is too small for this kernel's tick of 10000 us: \
         the smallest is 22"
    );
}

#[test]
fn a_hundred_thousand_denied_addresses_compile() {
    let mut rules = rules("[capacity]\nprefix_nodes = 2000000\ndenials = 200000\n");
    let prefixes = (0..100_000u32).map(|n| {
        let address = std::net::Ipv4Addr::from(n.wrapping_mul(2_654_435_761));
        ipnet::IpNet::from(std::net::IpAddr::from(address))
    });
    let action = crate::config::ListAction::Deny;
    Arc::make_mut(&mut rules.lists).push(crate::ImportedList::of("drop", action, prefixes.collect()));
    let image = image(&rules);
    assert_eq!(image.denials.len(), 100_000);
}

#[test]
fn a_service_has_its_connections_followed_for_their_number_or_their_encryption() {
    let service = |keys: &str| {
        image(&rules(&format!("[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [443]\n{keys}")))
    };
    let of_web = |image: &Image| {
        let number = image.numbering.service("web").expect("numbered");
        let rule = image.rules.iter().find(|rule| rule.service == number).expect("a rule");
        let limit = image.limits[rule.limits[0] as usize];
        (limit, image.aggregates[number as usize], limit.force.dimensions & FOLLOWS_CONNECTIONS != 0)
    };
    let plain = service("limit = { packets = \"1k/s\" }");
    assert!(!of_web(&plain).2 && plain.settings.followed_ports == 0);
    let limited = service("mode = \"enforce\"\nlimit = { concurrent = 20 }\ntrial = { concurrent = 5 }");
    let (limit, _, follows) = of_web(&limited);
    assert!(follows && limited.settings.followed_ports == followed_port(443));
    assert_eq!((limit.force.mode, limit.concurrent), (mode::ENFORCE, 20));
    assert_eq!((limit.candidate.mode, limit.candidate_concurrent), (mode::OBSERVE, 5));
    let (limit, together, follows) = of_web(&service(
        "mode = \"off\"\naggregate = { concurrent = 10, reserve = 0.25, mode = \"enforce\" }",
    ));
    assert!(follows && limit.force.mode == mode::OFF);
    assert_eq!((together.mode, together.concurrent, together.strangers_concurrent), (mode::ENFORCE, 10, 8));
    let (limit, _, follows) = of_web(&service("mode = \"off\"\nencryption = \"enforce\""));
    assert!(follows);
    assert_eq!(limit.force.dimensions >> ENCRYPTION_SHIFT & 3, mode::ENFORCE);
    assert!(!of_web(&service("encryption = \"off\"")).2);
    let blind = service("encryption = \"enforce\"\n[interfaces]\negress = false");
    assert_eq!(blind.settings.followed_ports, 0, "no server's answer is seen");
}

#[test]
fn a_number_of_open_connections_is_set_lifted_and_merged_like_a_rate() {
    let mut rules = rules(
        "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nlimit = { packets = \"1k/s\" }",
    );
    let name = LimitName { service: "web".to_owned(), class: None, kind: LimitKind::PerSource };
    let limits = Limits { concurrent: Some(7), ..Limits::default() };
    rules.limits.insert(name.clone(), LimitOverride { limits, ..LimitOverride::default() });
    let limit = |rules: &Rules| rules.services()[1].protection.limit;
    assert_eq!((limit(&rules).concurrent, limit(&rules).packets.is_some()), (Some(7), true));
    let lifted = LimitOverride { lifted: vec![Dimension::Concurrent], ..LimitOverride::default() };
    rules.limits.insert(name, lifted);
    assert_eq!(limit(&rules).concurrent, None);
}
