//! What an attacker or a machine can do to the limiter beyond sending a lot: collisions, one prefix, many services, exact
//! pacing, a clock that lies, CPUs on one cell, a table that is full.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use monitor_common::{
    names::{capacity, map, program},
    record::Incident,
    sketch, table,
    verdict::Reason::*,
};
use monitor_tests::{
    harness::{
        packet::{packet, packet6},
        program::Program,
        rules::{self, HASH_KEY, MILLISECOND, SECOND, START, TICK_NS},
        traffic::{Mixture, Part},
    },
    or_skip,
};
use policy::Image;

use crate::random::Random;

/// Flood mode begins at once, and hardly any heavy stranger may enter the table: the sketch has to do it alone.
const SKETCH_ALONE: &str = r#"
[access]
inside = []
[flood]
new_sources = "1/s"
burst = 3
hold = "1h"
heavy_sources = "1/s"
heavy_burst = 3
"#;

const LIMIT: &str = "packets = \"1k/s\", packets_burst = 100";

fn service(name: &str, port: u16, limit: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nprotocol = \"udp\"\nports = [{port}]\nmode = \"enforce\"\nlimit = {{ {limit} }}\n"
    )
}

fn dns(limit: &str) -> String {
    service("dns", 53, limit)
}

fn ntp(limit: &str) -> String {
    service("ntp", 123, limit)
}

fn install(program: &Program, text: &str) -> Image {
    let image = rules::compile(text, None).unwrap();
    program.install(&image);
    program.set_clock(START);
    image
}

/// Everything that ended somehow, over all services.
fn ended(program: &Program, image: &Image) -> u64 {
    let services = 0..u32::try_from(image.services.len()).unwrap();
    services.flat_map(|service| program.totals(service).ended).map(|count| count.packets).sum()
}

const VICTIM: u32 = 0x6400_0001;
/// Numbers that the compiler gives to services in the order of the file.
const FIRST: u32 = 1;
const SECOND_SERVICE: u32 = 2;

fn hash(key: [u64; 2], source: u32, service: u32) -> u64 {
    sketch::hash(key, 0, 0xffff_0000_0000 | u64::from(source), service)
}

/// Sources whose packets to the first service raise the cells that the victim has at the second one, if `key` is the key.
fn colliders(key: [u64; 2]) -> Vec<u32> {
    let line = |source: u32, service: u32| sketch::line(hash(key, source, service), capacity::SKETCH_CELLS);
    let wanted = line(VICTIM, SECOND_SERVICE);
    (0x0b00_0000..).filter(|source| line(*source, FIRST) == wanted).take(256).collect()
}

/// What of a light victim's thousand packets is dropped while 256 chosen sources send 40,000 a second.
fn dropped_under_attack(program: &Program, sources: &[u32]) -> anyhow::Result<u64> {
    let image = install(program, &(SKETCH_ALONE.to_owned() + &dns(LIMIT) + &ntp(LIMIT)));
    let ntp = rules::number(&image, "ntp");
    assert_eq!((rules::number(&image, "dns"), ntp), (FIRST, SECOND_SERVICE));
    let mut mixture = Mixture::over(program)?;
    mixture.list(sources)?;
    // All come as strangers to a flood that is on.
    let (_, now) = mixture.run(&[Part::new(1.0, 0, 1 << 32, 53)], 100_000.0, 1000, START)?;
    let victim = Part::new(0.0025, VICTIM, 1, 123);
    let (sent, _) = mixture.run(&[victim, Part::new(1.0, 0, 256, 53).listed()], 40_000.0, 400_000, now)?;
    assert!(sent[0] > 800, "the victim sent {} packets", sent[0]);
    Ok(sent[0] - program.ended(ntp, Accepted))
}

#[test]
fn collisions_cannot_be_crafted_without_the_key() {
    let program = or_skip!("collisions", Program::load());
    let with_the_key = dropped_under_attack(&program, &colliders(HASH_KEY)).unwrap();
    let again = |sources: &[u32]| dropped_under_attack(&Program::load().unwrap(), sources).unwrap();
    let with_another = again(&colliders([1, 2]));
    let by_chance = again(&(0x0b00_0000..0x0b00_0100).collect::<Vec<_>>());
    println!("dropped: {with_the_key} with the key, {with_another} with another, {by_chance} by chance");
    assert!(with_the_key > 400, "{with_the_key}: with the key it does no harm either, so this shows nothing");
    assert!(with_another <= by_chance + 10, "{with_another}, {by_chance} by chance");
}

#[test]
fn all_addresses_of_one_64_are_one_source() {
    let program = or_skip!("one /64", Program::load());
    let image = install(&program, &("[access]\ninside = []\n".to_owned() + &dns(LIMIT)));
    let dns = rules::number(&image, "dns");
    let mut frame = packet6().source("2001:db8:0:7::1").udp(1000, 53).build();
    let mut random = Random::seeded("one /64");
    for _ in 0..20_000 {
        frame[30..38].copy_from_slice(&random.word().to_be_bytes());
        program.judge(&frame, 1);
    }
    assert_eq!(program.entries(), 1);
    let passed = program.ended(dns, Accepted);
    assert!((80..=101).contains(&passed), "{passed} passed of a burst of 100");
    assert_eq!(passed + program.ended(dns, PacketRate), 20_000);
}

#[test]
fn one_source_gets_its_limit_at_each_of_many_services_and_has_an_entry_for_each() {
    const SERVICES: u16 = 30;
    let program = or_skip!("many services", Program::load());
    let mut text = format!("[access]\ninside = []\n[default]\nmode = \"enforce\"\nlimit = {{ {LIMIT} }}\n");
    for port in 1024..1024 + SERVICES {
        text += &service(&format!("s{port}"), port, LIMIT);
    }
    let image = install(&program, &text);
    let mut mixture = Mixture::over(&program).unwrap();
    let everywhere = Part { ports: 1024, ..Part::new(1.0, VICTIM, 1, 1024) };
    let (sent, end) = mixture.run(&[everywhere], 8e6, 2_000_000, START).unwrap();
    let due = (end - START) as f64 / SECOND as f64 * 1000.0;
    for service in 0..=u32::from(SERVICES) {
        let passed = program.ended(service, Accepted) as f64;
        assert!(passed >= 0.9 * due && passed <= due + 101.0, "{passed} at service {service}, {due} due");
    }
    assert_eq!(program.entries(), u32::from(SERVICES) + 1);
    assert_eq!(ended(&program, &image), sent[0]);
}

#[test]
fn a_million_sources_at_exactly_their_limit_take_nothing_from_the_known() {
    let program = or_skip!("exactly the limit", Program::load());
    let slow = "packets = \"10/s\", packets_burst = 3";
    let image =
        install(&program, &("[access]\ninside = []\n".to_owned() + &dns(slow) + &ntp("packets = \"1k/s\"")));
    let (dns, ntp) = (rules::number(&image, "dns"), rules::number(&image, "ntp"));
    let mut mixture = Mixture::over(&program).unwrap();
    let known = Part::new(1.0, VICTIM, 64, 123);
    let (first, now) = mixture.run(&[known], 1000.0, 1000, START).unwrap();
    let before = program.entries();
    let exact = Part::new(1.0, 0x0b00_0000, 1 << 20, 53).in_turn();
    let per_second = 10.0 * f64::from(1 << 20);
    let (sent, end) = mixture
        .run(&[Part { share: 0.002, ..known }, exact], per_second, 3_300_000, now + 20 * SECOND)
        .unwrap();
    // The known have lost nothing, and everything else is accounted for.
    assert_eq!(program.ended(ntp, Accepted), first[0] + sent[0]);
    let dropped = program.ended(dns, SketchRate) + program.ended(dns, PacketRate);
    assert_eq!(program.ended(dns, Accepted) + dropped, sent[1]);
    println!("{} of {} at exactly the limit passed", program.ended(dns, Accepted), sent[1]);
    // The table holds what the budgets let in, not a million sources.
    let seconds = (end - now) as f64 / SECOND as f64 - 20.0;
    let budget = 4000.0 + 500.0 + 2500.0 * seconds;
    assert!(
        f64::from(program.entries()) <= f64::from(before) + budget + 10.0,
        "{} entries",
        program.entries()
    );
}

#[test]
fn a_clock_that_stands_still_gives_the_burst_and_nothing_else() {
    let program = or_skip!("a standing clock", Program::load());
    let image = install(&program, &("[access]\ninside = []\n".to_owned() + &dns(LIMIT)));
    let dns = rules::number(&image, "dns");
    program.judge(&packet().udp(1000, 53).build(), 100_000);
    let passed = program.ended(dns, Accepted);
    assert!((80..=101).contains(&passed), "{passed} passed of a burst of 100");
    assert_eq!(passed + program.ended(dns, PacketRate), 100_000);
}

#[test]
fn a_clock_that_jumps_never_gives_more_than_a_burst_and_heals() {
    const YEAR: u64 = 365 * 24 * 3600 * SECOND;
    let frame = packet().udp(1000, 53).build();
    for jump in [SECOND, 3600 * SECOND, YEAR, 10 * YEAR, 18 * YEAR] {
        let program = or_skip!("a jumping clock", Program::load());
        let image = install(&program, &("[access]\ninside = []\n".to_owned() + &dns(LIMIT)));
        let dns = rules::number(&image, "dns");
        let start = START;
        let burst = |at: u64| {
            program.set_clock(at);
            let before = program.ended(dns, Accepted);
            program.judge(&frame, 500);
            program.ended(dns, Accepted) - before
        };
        assert!((80..=101).contains(&burst(start)), "a fresh burst");
        // Forward: once more a burst, as after any pause. Back again: what was admitted stands in the future, and nothing
        // passes until the clock has caught up.
        assert!((80..=101).contains(&burst(start + jump)), "forward by {} s", jump / SECOND);
        assert_eq!(burst(start + MILLISECOND), 0, "back by {} s", jump / SECOND);
        let healed = burst(start + jump + SECOND);
        assert!((80..=101).contains(&healed), "{healed} after the clock caught up");
    }
}

#[test]
fn strangers_that_share_both_cells_get_together_what_one_may_on_any_number_of_cpus() {
    const STEPS: u64 = 125;
    // A table that is full leaves them with the sketch.
    let sizes = [(map::SOURCES, table::WAYS)];
    let program = or_skip!("shared cells", Program::load_with(&sizes, &[program::INGRESS]));
    let image = install(&program, &(SKETCH_ALONE.to_owned() + &dns(LIMIT)));
    let dns = rules::number(&image, "dns");
    program.leave_no_room();
    let cells = |source: u32| {
        let hash = hash(HASH_KEY, source, FIRST);
        let mut places = sketch::places(hash);
        places.sort_unstable();
        (sketch::line(hash, capacity::SKETCH_CELLS), places)
    };
    let twin = (0x0b00_0000..0x2000_0000u32).find(|source| cells(*source) == cells(VICTIM)).unwrap();
    let frames = [VICTIM, twin].map(|source| {
        packet().source(&std::net::Ipv4Addr::from_bits(source).to_string()).udp(1000, 53).build()
    });
    let over = AtomicBool::new(false);
    let offered = AtomicU64::new(0);
    let before = program.ended(dns, Accepted);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (frame, program, over, offered) = (&frames[thread % 2], &program, &over, &offered);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    program.judge(frame, 50);
                    offered.fetch_add(50, Ordering::Relaxed);
                }
            });
        }
        for step in 0..STEPS {
            program.set_clock(START + step * TICK_NS * 16);
            let enough = offered.load(Ordering::Relaxed) + 400;
            while offered.load(Ordering::Relaxed) < enough {
                thread::sleep(Duration::from_micros(100));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let passed = program.ended(dns, Accepted) - before;
    let cpus = thread::available_parallelism().unwrap().get() as u64;
    let allowed = 1000 * STEPS * TICK_NS / 1_000_000_000 + 100 + cpus;
    println!("{passed} of at most {allowed} passed, {} contended", program.incidents(Incident::Contended));
    assert!(passed <= allowed, "{passed} passed, {allowed} allowed");
    assert!(passed >= 400, "{passed} passed");
}

#[test]
fn a_table_full_of_live_sources_keeps_them_and_judges_the_rest_by_the_sketch_aloud() {
    let sizes = [(map::SOURCES, 1024)];
    let program = or_skip!("a full table", Program::load_with(&sizes, &[program::INGRESS]));
    let text = "[access]\ninside = []\n[flood]\nnew_sources = \"1M/s\"\nburst = 1000000\n".to_owned();
    let image = install(&program, &(text + &dns("packets = \"1k/s\"") + &ntp("packets = \"1k/s\"")));
    let (dns, ntp) = (rules::number(&image, "dns"), rules::number(&image, "ntp"));
    let mut mixture = Mixture::over(&program).unwrap();
    let live = Part::new(1.0, 0xc612_0000, 1024, 123).in_turn();
    let (first, now) = mixture.run(&[live], 100_000.0, 10_240, START).unwrap();
    // Two sets may be full before the table is; who finds no place is a stranger.
    let with_entry = |program: &Program| {
        let low = |source: u32| 0xffff_0000_0000 | u64::from(0xc612_0000 + source);
        (0..1024).filter(|source| program.entry(0, low(*source), ntp).is_some()).collect::<Vec<_>>()
    };
    let live_ones = with_entry(&program);
    assert!(live_ones.len() > 920, "{} of 1024 live sources found a place", live_ones.len());
    // Light strangers, and one that sends ten times its limit, beside the live ones.
    let heavy = Part::new(0.1, VICTIM, 1, 53);
    let light = Part::new(1.0, 0x0b00_0000, 1 << 16, 123);
    let (sent, end) =
        mixture.run(&[Part { share: 0.4, ..live }, heavy, light], 100_000.0, 500_000, now).unwrap();
    assert_eq!(program.entries(), 1024);
    let kept = with_entry(&program);
    assert!(live_ones.iter().all(|source| kept.contains(source)), "the live ones keep their entries");
    // A light one may share both of its cells with the heavy one.
    let (passed, light) = (program.ended(ntp, Accepted), first[0] + sent[0] + sent[2]);
    assert!(passed >= light - light / 50_000, "{passed} of {light} packets of the live and the light passed");
    let due = (end - now) as f64 / SECOND as f64 * 1000.0;
    let passed = program.ended(dns, Accepted) as f64;
    assert!(passed >= 0.9 * due && passed <= due + 1001.0, "{passed} of the heavy one passed, {due} due");
    assert_eq!(program.ended(dns, SketchRate) + program.ended(dns, Accepted), sent[1]);
    let full = program.incidents(Incident::SourceTableFull);
    assert!(full > 100_000, "{full} packets told that the table is full");
}
