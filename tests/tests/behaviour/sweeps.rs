//! What the daemon does to the table of sources while packets come: sweeps.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use datapath::{Capacities, Kept, Simulator, SweptTo};
use monitor_common::verdict::Reason::*;
use monitor_tests::{
    harness::{
        packet::packet,
        rules::{self, HASH_KEY, MILLISECOND, SECOND, START, TICK_NS},
    },
    or_skip,
};

fn rules(flood: &str) -> String {
    format!(
        "[access]\ninside = []\n[flood]\n{flood}\n[[service]]\nname = \"dns\"\nprotocol = \"udp\"\nports = [53]\n\
         mode = \"enforce\"\nlimit = {{ packets = \"1k/s\" }}\n"
    )
}

/// Frames from so many sources, beginning with 192.0.0.0.
fn frames(sources: u32) -> Vec<Vec<u8>> {
    let from = |source: u32| std::net::Ipv4Addr::from_bits(0xc000_0000 + source).to_string();
    (0..sources).map(|source| packet().source(&from(source)).udp(1000, 53).build()).collect()
}

fn all_idle_for(idle: u64) -> Kept {
    Kept { idle, from_flood: idle }
}

#[test]
fn a_sweep_that_races_with_admission_loses_no_packet_and_no_place() {
    const SOURCES: u32 = 64;
    let capacities = Capacities { sources: 4 * SOURCES, ..Default::default() };
    let mut simulator = or_skip!("the sweep", Simulator::open(capacities, Some(HASH_KEY)));
    let image = rules::compile(&rules("new_sources = \"1M/s\"\nburst = 1000000"), None).unwrap();
    simulator.apply(&image).unwrap();
    let frames = frames(2 * SOURCES);
    let sources = simulator.sources();
    let (over, clock) = (AtomicBool::new(false), AtomicU64::new(START));
    let (mut sent, mut swept) = (0, 0);
    thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            let (mut cursor, mut swept) = (SweptTo::default(), 0);
            while !over.load(Ordering::Relaxed) {
                // Idle for no more than a tick: every entry that is not hit right now goes.
                let now = clock.load(Ordering::Relaxed);
                swept += sources.sweep(&mut cursor, now, all_idle_for(TICK_NS * 16), 1024);
            }
            swept
        });
        for round in 0..1500u64 {
            let at = START + round * 4 * MILLISECOND;
            clock.store(at, Ordering::Relaxed);
            for source in 0..SOURCES {
                // Half of the sources at a time, and others after a while.
                let source = (u64::from(source) + round / 16 * 17) % u64::from(2 * SOURCES);
                simulator.run(&frames[usize::try_from(source).unwrap()], at).unwrap();
                sent += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
        swept = sweeper.join().unwrap();
    });
    assert!(swept > 100, "{swept} swept: there was no race");
    // Every packet passed (all were light) and was counted once.
    let totals = simulator.counters().unwrap().totals;
    let passed: u64 = totals.iter().map(|total| total.totals.ended[Accepted as usize].packets).sum();
    assert_eq!(passed, sent);
    // No place is lost: once all is swept, the table takes as many as ever.
    let late = START + 3600 * SECOND;
    let mut cursor = SweptTo::default();
    for _ in 0..10 {
        sources.sweep(&mut cursor, late, all_idle_for(SECOND), 1024);
    }
    assert!(sources.read_all().is_empty());
    for frame in frames.iter().take(SOURCES as usize) {
        assert_eq!(simulator.run(frame, late).unwrap().reason, Accepted);
    }
    assert_eq!(sources.read_all().len(), SOURCES as usize);
}

#[test]
fn whom_a_flood_brought_is_soon_forgotten_unless_something_is_known_of_him() {
    let mut simulator =
        or_skip!("the sweep after a flood", Simulator::open(Capacities::default(), Some(HASH_KEY)));
    let text = rules("new_sources = \"100/s\"\nburst = 200\nhold = \"2s\"\nknown_after = \"5s\"")
        + "aggregate = { packets = \"100k/s\" }\n";
    let image = rules::compile(&text, None).unwrap();
    simulator.apply(&image).unwrap();
    let kept = Kept::under(&image);
    assert_eq!((kept.from_flood, kept.idle), (5 * SECOND, 300 * SECOND));
    let sources = simulator.sources();
    let swept_at = |now: u64| sources.sweep(&mut SweptTo::default(), now, kept, u32::MAX);
    let frame = |source: &str| packet().source(source).udp(1000, 53).build();
    let known = frame("198.51.100.1");
    simulator.run(&known, START).unwrap();
    // Each of 400 sources comes twice: who has an entry by then is marked as brought by the flood.
    let flood_at = START + 20 * SECOND;
    for frame in frames(400).iter().chain(&frames(400)) {
        simulator.run(frame, flood_at).unwrap();
    }
    let all = sources.read_all().len();
    assert!(all > 100, "{all} entries");
    let first = frames(1).remove(0);
    for _ in 0..1200 {
        simulator.run(&first, flood_at).unwrap();
    }
    assert_eq!(swept_at(flood_at + 4 * SECOND), 0);
    assert_eq!(swept_at(flood_at + 6 * SECOND), all - 2, "all but the known and who is over its limit");
    simulator.run(&known, flood_at + 7 * SECOND).unwrap();
    let left = sources.read_all();
    assert_eq!(left.len(), 2);
    assert_eq!(left.iter().map(|(_, entry)| entry.packets).min(), Some(2), "the known one's count goes on");
    assert_eq!(swept_at(flood_at + 400 * SECOND), 2);
}
