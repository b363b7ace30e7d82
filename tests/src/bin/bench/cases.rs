//! The cases: what is run, in which order, and the table of the result.

use std::path::Path;

use anyhow::Result;
use monitor::datapath::Datapath;
use monitor_common::{
    flow::tcp,
    names::{LAYOUT, program},
};
use monitor_tests::harness::packet::{packet, packet6};

use crate::image;
use crate::reference::{Reference, Vary};

const REPEAT: u32 = 20_000;
const WARM_UP: u32 = 1_500_000;

/// Which frame a case sends.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Udp,
    Syn,
    Vlan,
    Ipv6,
}

impl Kind {
    fn frame(self) -> Vec<u8> {
        let packet = match self {
            Self::Udp => packet().udp(12345, 85),
            Self::Syn => packet().tcp(12345, 85, tcp::SYN),
            Self::Vlan => packet().vlan(7).udp(12345, 85),
            Self::Ipv6 => packet6().udp(12345, 85),
        };
        packet.payload_bytes(22).build()
    }

    /// Where the wrapper writes the source, and from where it counts.
    fn vary(self, sources: u64) -> Vary {
        let everywhere = sources > 1 << 31;
        let (offset, base, wide) = match self {
            Self::Udp | Self::Syn => (26, 0xc612_0001, false),
            Self::Vlan => (30, 0xc612_0001, false),
            Self::Ipv6 => (22, 0x2001_0db8_0000_0001, true),
        };
        Vary { offset, mask: sources - 1, base: if everywhere { 0 } else { base }, wide }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is run, in order: program, frame, label, number of sources.
const CASES: [(&str, Kind, &str, u64); 15] = [
    ("drop_at_once", Kind::Udp, "1", 1),
    ("parse_only", Kind::Udp, "1", 1),
    ("lru_count", Kind::Udp, "1 k", 1 << 10),
    ("lru_count", Kind::Udp, "64 k", 1 << 16),
    ("lru_count", Kind::Udp, "4 G", 1 << 32),
    ("lru_gcra", Kind::Udp, "4 G", 1 << 32),
    ("exact_lookup", Kind::Udp, "64 k", 1 << 16),
    ("sluice", Kind::Udp, "1", 1),
    ("sluice", Kind::Syn, "1", 1),
    ("sluice", Kind::Vlan, "1", 1),
    ("sluice", Kind::Ipv6, "1", 1),
    ("sluice", Kind::Udp, "1 k", 1 << 10),
    ("sluice", Kind::Udp, "64 k", 1 << 16),
    ("sluice", Kind::Udp, "4 G", 1 << 32),
    ("sluice", Kind::Ipv6, "2^44", 1 << 44),
];

pub fn run(datapath: &mut Datapath, reference: &mut Reference, pins: &Path, rounds: usize) -> Result<()> {
    let ingress = pins.join(format!("v{LAYOUT}/programs")).join(program::INGRESS);
    let tick = datapath.clock().tick_ns();
    let calm = image::build(tick, datapath.hash_key(), false)?;
    let flood = image::build(tick, datapath.hash_key(), true)?;
    let mut results = vec![Vec::new(); CASES.len()];
    for round in 0..rounds {
        for ((name, kind, _, sources), times) in CASES.into_iter().zip(&mut results) {
            if name == "sluice" {
                datapath.apply(if sources <= 1 << 16 { &calm } else { &flood })?;
                reference.aim_at_pinned(&ingress)?;
            } else {
                reference.aim_at(name)?;
            }
            reference.vary(kind.vary(sources))?;
            let frame = kind.frame();
            // The first round fills the tables: every source has to be seen.
            reference.run(&frame, if round == 0 && sources == 1 << 16 { WARM_UP } else { REPEAT })?;
            times.push(reference.run(&frame, REPEAT)?);
        }
    }
    let medians: Vec<f64> = results.into_iter().map(median).collect();
    println!("program\tframe\tsources\tns\tabove_floor");
    for ((name, kind, label, _), ns) in CASES.into_iter().zip(&medians) {
        println!("{name}\t{kind:?}\t{label}\t{ns:.0}\t{:.0}", ns - medians[0]);
    }
    Ok(())
}
