//! The cases: what is run, in which order, and the table of the result.

use std::path::Path;

use anyhow::Result;
use monitor::datapath::Datapath;
use monitor_common::names::{LAYOUT, program};

use crate::image;
use crate::reference::{Reference, Vary};

const REPEAT: u32 = 20_000;

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

pub fn run(datapath: &mut Datapath, reference: &mut Reference, pins: &Path, rounds: usize) -> Result<()> {
    let ingress = pins.join(format!("v{LAYOUT}/programs")).join(program::INGRESS);
    let tick = datapath.clock().tick_ns();
    println!("tick {tick} ns");
    let calm = image::build(tick, datapath.hash_key(), false)?;
    let flood = image::build(tick, datapath.hash_key(), true)?;
    let frame = udp();
    let mut results: Vec<(String, Vec<f64>)> = Vec::new();
    for round in 0..rounds {
        let mut n = 0;
        let mut note = |name: String, ns: f64| {
            if round == 0 {
                results.push((name, vec![ns]))
            } else {
                results[n].1.push(ns)
            }
            n += 1;
        };
        for name in ["drop_at_once", "parse_only", "lru_count", "lru_gcra", "exact_lookup", "sluice"] {
            for (label, sources) in [("1", 1u64), ("1k", 1024), ("64k", 65536), ("4G", 1 << 32)] {
                if name == "sluice" {
                    datapath.apply(if sources <= 65536 { &calm } else { &flood })?;
                    reference.aim_at_pinned(&ingress)?;
                } else {
                    reference.aim_at(name)?;
                }
                reference.vary(vary(sources))?;
                reference.run(&frame, if sources == 65536 { REPEAT * 3 } else { REPEAT })?;
                let (ns, verdict) = reference.run(&frame, REPEAT)?;
                let _ = verdict;
                note(format!("{name} {label}"), ns);
            }
        }
    }
    for (name, values) in results {
        println!("{name:24} {:6.1}", median(values));
    }
    let c = datapath.counters()?;
    println!("{:?}", c);
    Ok(())
}
