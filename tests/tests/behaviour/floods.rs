//! A flood of strangers: memory stays fixed, the known keep their state, the heavy are limited, the light pass.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use monitor_common::{
    names::{map, program},
    record::{EventKind, Incident},
    table,
    verdict::Reason::*,
};
use monitor_tests::{
    harness::{
        packet::packet,
        program::{DROP, PASS, Program},
        rules::{self, MILLISECOND, SECOND, START, TICK_NS},
    },
    or_skip,
};

use crate::random::Random;

const RULES: &str = r#"
[access]
inside = []
[flood]
new_sources = "100/s"
burst = 200
hold = "10s"
known_after = "5s"
heavy_sources = "100/s"
heavy_burst = 50
[[service]]
name = "dns"
protocol = "udp"
ports = [53]
mode = "enforce"
limit = { packets = "1k/s", packets_burst = 100 }
"#;

/// A frame whose source can be set without building it anew; its checksum is not looked at.
struct Spoofed {
    frame: Vec<u8>,
}

impl Spoofed {
    fn new() -> Self {
        Self { frame: packet().udp(1000, 53).build() }
    }

    fn from(&mut self, source: u32) -> &[u8] {
        self.frame[26..30].copy_from_slice(&source.to_be_bytes());
        &self.frame
    }
}

#[test]
fn four_billion_spoofed_sources_fill_no_table_and_flush_nobody() {
    let mut program = or_skip!("spoofed sources", Program::load());
    let image = rules::compile(RULES, None).unwrap();
    program.install(&image);
    let dns = rules::number(&image, "dns");
    program.set_clock(START);
    let known = packet().source("192.0.2.1").udp(1000, 53).build();
    program.judge(&known, 50);
    let before = program.source("192.0.2.1", dns).unwrap();
    let mut random = Random::seeded("spoofed");
    let mut spoofed = Spoofed::new();
    let mut passed = 0;
    for round in 0..300_000u64 {
        if round % 100 == 0 {
            program.set_clock(START + 10 * SECOND + round * MILLISECOND / 100);
        }
        let source = u32::try_from(random.word() >> 32).unwrap();
        passed += u64::from(program.judge(spoofed.from(source), 1).verdict == PASS);
    }
    // The budget is per CPU: at most burst and rate on each, for three seconds, and few heavy ones by collision.
    let cpus = u32::try_from(thread::available_parallelism().unwrap().get()).unwrap();
    let count = program.entries();
    assert!(count <= 1 + cpus * (200 + 300 + 50 + 300), "{count} entries");
    assert_eq!(program.source("192.0.2.1", dns), Some(before));
    assert_eq!(program.judge(&known, 1).verdict, PASS);
    // None of the strangers sent more than a few packets, so nearly all are light.
    assert!(passed > 290_000, "{passed} of 300000 passed");
    assert!(program.incidents(Incident::JudgedBySketch) > 290_000);
    let events = program.events();
    assert_eq!(events.iter().filter(|event| event.kind == EventKind::FloodStarted as u32).count(), 1);
}

#[test]
fn a_heavy_stranger_in_a_flood_gets_no_more_than_its_limit() {
    let program = or_skip!("heavy strangers", Program::load());
    let image = rules::compile(RULES, None).unwrap();
    program.install(&image);
    program.set_clock(START);
    let mut random = Random::seeded("heavy");
    let mut spoofed = Spoofed::new();
    for _ in 0..5000 {
        program.judge(spoofed.from(u32::try_from(random.word() >> 32).unwrap()), 1);
    }
    assert!(program.incidents(Incident::JudgedBySketch) > 4000, "the flood has begun");
    // Ten seconds of 10,000 packets a second from one stranger, strangers all around.
    let heavy = packet().source("198.51.100.1").udp(1000, 53).build();
    let mut passed = 0;
    for tick in 0..2500u64 {
        program.set_clock(START + SECOND + tick * TICK_NS * 16);
        for _ in 0..40 {
            passed += u64::from(program.judge(&heavy, 1).verdict == PASS);
        }
        for _ in 0..4 {
            program.judge(spoofed.from(u32::try_from(random.word() >> 32).unwrap()), 1);
        }
    }
    let cpus = thread::available_parallelism().unwrap().get() as u64;
    assert!(passed <= 10_000 + 100 + cpus, "{passed}");
    assert!(passed >= 9_000, "{passed}: a heavy source must get its rate, not less");
    assert!(program.incidents(Incident::HeavySourceEntered) >= 1);
}

#[test]
fn a_flood_is_over_when_its_hold_is_and_strangers_enter_again() {
    let mut program = or_skip!("the end of a flood", Program::load());
    let image = rules::compile(RULES, None).unwrap();
    program.install(&image);
    let dns = rules::number(&image, "dns");
    program.set_clock(START);
    let mut spoofed = Spoofed::new();
    for source in 0..2000 {
        program.judge(spoofed.from(0x0b00_0000 + source), 1);
    }
    let during = packet().source("198.51.100.1").udp(1000, 53).build();
    program.set_clock(START + 9 * SECOND);
    program.judge(&during, 1);
    assert!(program.source("198.51.100.1", dns).is_none(), "a light stranger enters during a flood");
    program.set_clock(START + 21 * SECOND);
    program.judge(&during, 1);
    assert!(program.source("198.51.100.1", dns).is_some(), "a stranger does not enter after the flood");
    let kinds = program.events().iter().map(|event| event.kind).collect::<Vec<_>>();
    assert_eq!(kinds, [EventKind::FloodStarted as u32, EventKind::FloodEnded as u32]);
}

/// The rules with half of an aggregate reserved for the known; the number of the service.
fn reserve_half(program: &Program) -> u32 {
    let text = RULES.to_owned() + "aggregate = { packets = \"1k/s\", packets_burst = 200, reserve = 0.5 }\n";
    let image = rules::compile(&text, None).unwrap();
    program.install(&image);
    rules::number(&image, "dns")
}

#[test]
fn what_is_reserved_for_the_known_is_not_taken_by_strangers() {
    let program = or_skip!("the share of the known", Program::load());
    let dns = reserve_half(&program);
    program.set_clock(START);
    let known = packet().source("192.0.2.1").udp(1000, 53).build();
    program.judge(&known, 1);
    // Ten seconds later it is known; then strangers come with twice the aggregate for ten seconds.
    let mut random = Random::seeded("reserve");
    let mut spoofed = Spoofed::new();
    let (mut served, mut offered) = (0u64, 0u64);
    for tick in 0..2500u64 {
        program.set_clock(START + 10 * SECOND + tick * TICK_NS * 16);
        for _ in 0..8 {
            program.judge(spoofed.from(u32::try_from(random.word() >> 32).unwrap()), 1);
        }
        if tick % 2 == 0 {
            offered += 1;
            served += u64::from(program.judge(&known, 1).verdict == PASS);
        }
    }
    assert_eq!(served, offered, "the known source was dropped");
    let passed = program.ended(dns, Accepted) - served;
    assert!(passed <= 5000 + 200 + 2, "{passed} packets of strangers, whose share is half");
    assert!(passed >= 4500, "{passed} packets of strangers");
}

#[test]
fn in_a_flood_the_sketch_is_not_charged_for_strangers_whose_share_is_spent() {
    let program = or_skip!("a share that is spent", Program::load());
    let dns = reserve_half(&program);
    program.set_clock(START);
    // Calm: two have spent the strangers' share, and a newcomer gets its entry all the same.
    for address in ["198.51.100.1", "198.51.100.4"] {
        program.judge(&packet().source(address).udp(1000, 53).build(), 100);
    }
    let newcomer = packet().source("198.51.100.2").udp(1000, 53).build();
    assert_eq!(program.judge(&newcomer, 1).verdict, DROP);
    assert!(program.source("198.51.100.2", dns).is_some(), "it cannot become known without an entry");
    // A flood begins while the share is spent.
    let mut spoofed = Spoofed::new();
    for source in 0..2000 {
        assert_eq!(program.judge(spoofed.from(0x0b00_0000 + source), 1).verdict, DROP);
    }
    assert!(program.entries() < 1000, "a flood");
    assert_eq!(program.incidents(Incident::JudgedBySketch), 0);
    // Far more than its own limit, of which nothing was served: it owes nothing, and enters no table.
    let stranger = packet().source("198.51.100.3").udp(1000, 53).build();
    let before = program.ended(dns, AggregatePacketRate);
    assert_eq!(program.judge(&stranger, 300).verdict, DROP);
    assert_eq!(program.ended(dns, AggregatePacketRate), before + 300);
    assert!(program.source("198.51.100.3", dns).is_none());
    // Where there is room again, the sketch judges.
    program.set_clock(START + SECOND);
    assert_eq!(program.judge(&stranger, 10).verdict, PASS);
    assert_eq!(program.incidents(Incident::JudgedBySketch), 10);
}

/// Attackers who come back find the entries that they got before their first flood was noticed.
#[test]
fn a_flood_that_comes_again_from_the_same_addresses_is_a_flood_of_strangers() {
    let program = or_skip!("a flood that comes again", Program::load());
    let dns = reserve_half(&program);
    let known = packet().source("192.0.2.1").udp(1000, 53).build();
    let newcomer = packet().source("192.0.2.2").udp(1000, 53).build();
    let mut spoofed = Spoofed::new();
    let mut now = START;
    // The honest one asks twice a second all the time.
    let calm = |now: &mut u64, seconds: u64, who: &[u8]| {
        for _ in 0..2 * seconds {
            *now += SECOND / 2;
            program.set_clock(*now);
            assert_eq!(program.judge(who, 1).verdict, PASS, "in calm times");
        }
    };
    calm(&mut now, 8, &known);
    for wave in 0..3u32 {
        let before = program.ended(dns, Accepted);
        let mut served = 0;
        for tick in 0..1250u32 {
            now += TICK_NS * 16;
            program.set_clock(now);
            // 2,000 a second, each of 1,024 addresses twice a second; 200 of them got an entry at first.
            for packet in 0..8 {
                program.judge(spoofed.from(0x0b00_0000 + (tick * 8 + packet) % 1024), 1);
            }
            if tick % 2 == 0 {
                assert_eq!(program.judge(&known, 1).verdict, PASS, "wave {wave}, tick {tick}");
                served += 1;
            }
        }
        let passed = program.ended(dns, Accepted) - before - served;
        assert!(passed <= 2500 + 400, "wave {wave}: {passed} packets of strangers, whose share is half");
        calm(&mut now, 30, &known);
    }
    assert!(program.entries() > 150, "{} entries: none of the flood got one", program.entries());
    // Somebody new, whom a flood finds there: a stranger, and known after calm times like everybody.
    calm(&mut now, 2, &newcomer);
    let known_now = |now: u64, who: &[u8]| {
        program.set_clock(now);
        // The strangers' share is spent first, so only a known one passes.
        let mut strangers = Spoofed::new();
        for packet in 0..1000 {
            program.judge(strangers.from(0x0c00_0000 + packet % 512), 1);
        }
        program.judge(who, 1).verdict == PASS
    };
    assert!(!known_now(now, &newcomer), "two seconds are too few");
    now += 11 * SECOND;
    calm(&mut now, 8, &newcomer);
    assert!(known_now(now, &newcomer), "it was there for long enough");
}

#[test]
fn a_full_table_is_counted_and_strangers_are_still_limited() {
    let sizes = [(map::SOURCES, 64)];
    let program = or_skip!("a full table", Program::load_with(&sizes, &[program::INGRESS]));
    let text = RULES.replace("\"100/s\"\nburst = 200", "\"1M/s\"\nburst = 100000");
    let image = rules::compile(&text, None).unwrap();
    program.install(&image);
    program.set_clock(START);
    let mut spoofed = Spoofed::new();
    for source in 0..200 {
        assert_eq!(program.judge(spoofed.from(0x0b00_0000 + source), 1).verdict, PASS);
    }
    assert_eq!(program.entries(), 64);
    assert!(program.incidents(Incident::SourceTableFull) >= 136);
    // The last one has no entry; its own packets are limited all the same.
    let mut passed = 0;
    for _ in 0..1000 {
        passed += u64::from(program.judge(spoofed.from(0x0b00_00c7), 1).verdict == PASS);
    }
    assert!(passed <= 100, "{passed}");
    assert!(passed >= 50, "{passed}");
    assert_eq!(program.judge(spoofed.from(0x0b00_00c7), 1).verdict, DROP);
    assert!(program.ended(rules::number(&image, "dns"), SketchRate) > 800);
}

#[test]
fn several_threads_of_one_stranger_get_no_more_from_the_sketch_than_one() {
    let sizes = [(map::SOURCES, table::WAYS)];
    let program = or_skip!("the sketch on several CPUs", Program::load_with(&sizes, &[program::INGRESS]));
    let image = rules::compile(RULES, None).unwrap();
    program.install(&image);
    let dns = rules::number(&image, "dns");
    program.set_clock(START);
    // The stranger stays with the sketch.
    program.leave_no_room();
    let cpus = thread::available_parallelism().unwrap().get() as u64;
    let frame = packet().source("198.51.100.1").udp(1000, 53).build();
    let (over, offered) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut taken = vec![program.ended(dns, Accepted)];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    program.judge(&frame, 5_000);
                    offered.fetch_add(5_000, Ordering::Relaxed);
                }
            });
        }
        for step in 0..250u64 {
            program.set_clock(START + step * TICK_NS * 16);
            // Far more than a tick's worth of packets, however busy the machine is.
            let enough = offered.load(Ordering::Relaxed) + 10_000;
            while offered.load(Ordering::Relaxed) < enough {
                thread::sleep(Duration::from_micros(200));
            }
            taken.push(program.ended(dns, Accepted));
        }
        over.store(true, Ordering::Relaxed);
    });
    let passed = taken[250] - taken[0];
    println!("{passed} passed, {} contended", program.incidents(Incident::Contended));
    assert!(program.source("198.51.100.1", dns).is_none(), "the stranger has an entry");
    assert!(passed <= 1000 + 100 + cpus, "{passed} passed in a second, {} are allowed", 1000 + 100 + cpus);
    assert!(passed >= 900, "{passed}");
}
