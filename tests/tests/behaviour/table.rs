//! The exact table: sources that share their tags have entries of their own, and CPUs that meet a source at once make one.

use std::{
    collections::BTreeSet,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use monitor_common::{
    names::{capacity, map},
    record::Incident,
    sketch,
    table::{self, Slot, WAYS, state},
    verdict::Reason::*,
};
use monitor_tests::{
    harness::{
        packet::packet,
        program::{PASS, Program},
        rules::{self, HASH_KEY, START},
        traffic::{Mixture, Part},
    },
    or_skip,
};

const RULES: &str = "[access]\ninside = []\n[conversations]\ntrack = \"off\"\n[flood]\nnew_sources = \"10M/s\"\nburst = 1000000\n\
                     [[service]]\nname = \"dns\"\nprotocol = \"udp\"\nports = [53]\nmode = \"enforce\"\nlimit = { packets = \"1k/s\" }\n";
/// The number of the service.
const DNS: u32 = 1;

fn from(source: u32) -> Vec<u8> {
    packet().source(&std::net::Ipv4Addr::from_bits(source).to_string()).udp(1000, 53).build()
}

const fn low(source: u32) -> u64 {
    0xffff_0000_0000 | source as u64
}

fn loaded() -> anyhow::Result<Program> {
    let program = Program::load()?;
    let image = rules::compile(RULES, None)?;
    assert_eq!(rules::number(&image, "dns"), DNS);
    program.install(&image);
    program.set_clock(START);
    Ok(program)
}

#[test]
fn sources_of_one_set_and_one_tag_have_entries_of_their_own() {
    let program = or_skip!("equal tags", loaded());
    let place = |source: u32| {
        let hash = sketch::hash(HASH_KEY, 0, low(source), DNS);
        (table::sets(hash, capacity::SOURCES / WAYS)[0], table::tag(hash))
    };
    let mut seen = std::collections::HashMap::new();
    let mut alike = Vec::new();
    for source in 0x0b00_0000..0x0b00_0000 + 200_000u32 {
        if let Some(twin) = seen.insert(place(source), source) {
            alike.push((twin, source));
        }
    }
    assert!(alike.len() > 10, "{} pairs", alike.len());
    for (packets, (one, other)) in (2..).zip(alike.iter().take(40)) {
        assert_eq!(program.judge(&from(*one), packets).verdict, PASS);
        assert_eq!(program.judge(&from(*other), 2 * packets).verdict, PASS);
        let counted = |source: u32| program.entry(0, low(source), DNS).map(|entry| entry.total().packets);
        assert_eq!((counted(*one), counted(*other)), (Some(packets.into()), Some((2 * packets).into())));
    }
    assert_eq!(program.incidents(Incident::JudgedBySketch), 0);
}

#[test]
fn cpus_that_meet_a_source_at_once_make_one_entry_of_it() {
    const SOURCES: u32 = 1 << 15;
    let program = or_skip!("one entry", loaded());
    let cpus = thread::available_parallelism().unwrap().get();
    let (together, sent) = (Barrier::new(cpus), AtomicU64::new(0));
    thread::scope(|scope| {
        for cpu in 0..cpus {
            let (program, together, sent) = (&program, &together, &sent);
            scope.spawn(move || {
                // As in the kernel's own packet work, no two programs share a CPU at the same moment.
                let mut alone = rustix::thread::CpuSet::new();
                alone.set(cpu);
                rustix::thread::sched_setaffinity(None, &alone).unwrap();
                let mut mixture = Mixture::over(program).unwrap();
                // All send from the same sources in the same order.
                let part = Part::new(1.0, 0x0b00_0000, SOURCES.into(), 53).in_turn();
                together.wait();
                let (counts, _) = mixture.run(&[part], 1e6, 4 * SOURCES, START).unwrap();
                sent.fetch_add(counts[0], Ordering::Relaxed);
            });
        }
    });
    let sent = sent.into_inner();
    let slots = (0..capacity::SOURCES).map(|number| program.read::<Slot>(map::SOURCES, number));
    let live = slots.filter(|slot| slot.state == state::LIVE).collect::<Vec<_>>();
    let keys = live.iter().map(|slot| (slot.high, slot.low)).collect::<BTreeSet<_>>();
    assert_eq!(live.len(), keys.len(), "a source has two entries");
    assert_eq!(keys.len(), SOURCES as usize);
    // Who gave way was judged by the sketch; its packet passed, and is in no entry.
    let by_sketch = program.incidents(Incident::JudgedBySketch);
    let counted = live.iter().map(|slot| slot.entry.total().packets).sum::<u64>();
    println!("{by_sketch} packets of {sent} judged by the sketch, {} slots taken", program.entries());
    assert_eq!(counted + by_sketch, sent);
    assert_eq!(program.ended(DNS, Accepted), sent);
}

#[test]
fn a_source_whose_sets_are_full_is_judged_by_the_sketch_and_told() {
    let program = or_skip!("full sets", loaded());
    program.leave_no_room();
    assert_eq!(program.judge(&from(0x0b00_0001), 3).verdict, PASS);
    assert_eq!(program.incidents(Incident::SourceTableFull), 3);
    assert_eq!(program.incidents(Incident::JudgedBySketch), 3);
}
