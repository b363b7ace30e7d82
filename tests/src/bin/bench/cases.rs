//! The cases: what is run, in which order, and the table of the result.

use std::path::Path;

use anyhow::Result;
use monitor::datapath::Datapath;
use monitor_common::names::{LAYOUT, program};

use crate::image;
use crate::reference::{Reference, Vary};

const REPEAT: u32 = 20_000;
const WARM_UP: u32 = 1_500_000;

pub fn udp() -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    f.extend([0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 10, 0, 0, 1]);
    f.extend([0x30, 0x39, 0, 85, 0, 30, 0, 0]);
    f.resize(64, 0);
    f
}

fn vary(sources: u64) -> Vary {
    Vary { offset: 26, mask: sources - 1, base: if sources > 1 << 31 { 0 } else { 0xc612_0001 }, wide: false }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is run, in order: program, label, number of sources.
const CASES: [(&str, &str, u64); 11] = [
    ("drop_at_once", "1", 1),
    ("parse_only", "1", 1),
    ("lru_count", "1 k", 1 << 10),
    ("lru_count", "64 k", 1 << 16),
    ("lru_count", "4 G", 1 << 32),
    ("lru_gcra", "4 G", 1 << 32),
    ("exact_lookup", "64 k", 1 << 16),
    ("sluice", "1", 1),
    ("sluice", "1 k", 1 << 10),
    ("sluice", "64 k", 1 << 16),
    ("sluice", "4 G", 1 << 32),
];

pub fn run(datapath: &mut Datapath, reference: &mut Reference, pins: &Path, rounds: usize) -> Result<()> {
    let ingress = pins.join(format!("v{LAYOUT}/programs")).join(program::INGRESS);
    let tick = datapath.clock().tick_ns();
    let calm = image::build(tick, datapath.hash_key(), false)?;
    let flood = image::build(tick, datapath.hash_key(), true)?;
    let frame = udp();
    let mut results = vec![Vec::new(); CASES.len()];
    for round in 0..rounds {
        for ((name, _, sources), times) in CASES.into_iter().zip(&mut results) {
            if name == "sluice" {
                datapath.apply(if sources <= 1 << 16 { &calm } else { &flood })?;
                reference.aim_at_pinned(&ingress)?;
            } else {
                reference.aim_at(name)?;
            }
            reference.vary(vary(sources))?;
            // The first round fills the tables: every source has to be seen.
            reference.run(&frame, if round == 0 && sources == 1 << 16 { WARM_UP } else { REPEAT })?;
            times.push(reference.run(&frame, REPEAT)?.0);
        }
    }
    let medians: Vec<f64> = results.into_iter().map(median).collect();
    println!("{:14} {:>6} {:>8} {:>12}", "program", "sources", "ns", "above floor");
    for ((name, label, _), ns) in CASES.into_iter().zip(&medians) {
        println!("{name:14} {label:>6} {ns:8.1} {:12.1}", ns - medians[0]);
    }
    Ok(())
}
