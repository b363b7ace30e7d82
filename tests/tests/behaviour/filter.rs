//! The filter before the exact table: it hides no entry in a flood, and the daemon makes it anew without a gap.

use std::{collections::BTreeSet, os::fd::AsFd as _, sync::Arc};

use anyhow::Result;
use aya::{
    maps::{Array, Map, MapData},
    programs::ProgramInfo,
};
use monitor::{
    config::Config,
    datapath::{Datapath, Options},
    policy::{self, Environment, Rules},
};
use monitor_common::{
    flow::SourceKey,
    names::{LAYOUT, map, program},
    record::Incident,
    sketch::{self, ENTERED_CHOICE},
};
use monitor_tests::{
    harness::{
        kernel::{self, Run},
        packet::packet,
        pins::PinDirectory,
        program::Program,
        rules::{self, HASH_KEY, SECOND, START},
    },
    or_skip,
};

const RULES: &str = "[access]\ninside = []\n[conversations]\ntrack = \"off\"\n[flood]\nnew_sources = \"100/s\"\nburst = 400\nhold = \"10s\"\n\
                     [[service]]\nname = \"dns\"\nprotocol = \"udp\"\nports = [53]\nmode = \"enforce\"\nlimit = { packets = \"1k/s\", packets_burst = 100 }\n";

const BANK: u32 = ENTERED_CHOICE / 2;

fn from(source: u32) -> Vec<u8> {
    packet().source(&std::net::Ipv4Addr::from_bits(source).to_string()).udp(1000, 53).build()
}

#[test]
fn a_flood_hides_no_known_source_whichever_bank_is_asked() {
    let program = or_skip!("the filter in a flood", Program::load());
    let image = rules::compile(RULES, None).unwrap();
    program.install(&image);
    let dns = rules::number(&image, "dns");
    program.set_clock(START);
    let known = from(0xc000_0201);
    program.judge(&known, 1);
    program.set_clock(START + 10 * SECOND);
    for source in 0..2000 {
        program.judge(&from(0x0b00_0000 + source), 1);
    }
    let (high, low) = rules::address("192.0.2.1");
    let (word, bit) = sketch::entered(sketch::hash(HASH_KEY, high, low, dns));
    let by_sketch = program.incidents(Incident::JudgedBySketch);
    assert!(by_sketch > 0, "the flood has not begun");
    for bank in 0..2 {
        program.write(map::ENTERED, ENTERED_CHOICE, &u64::from(bank));
        assert_ne!(program.read::<u64>(map::ENTERED, bank * BANK + word) & bit, 0, "bank {bank}");
        program.judge(&known, 5);
    }
    assert_eq!(program.source("192.0.2.1", dns).unwrap().total().packets, 11);
    assert_eq!(program.incidents(Incident::JudgedBySketch), by_sketch);
    // That it was the filter that was asked: without the bit, the source is a stranger.
    program.write(map::ENTERED, BANK + word, &0u64);
    program.judge(&known, 1);
    assert_eq!(program.incidents(Incident::JudgedBySketch), by_sketch + 1);
}

/// A datapath that guards nothing, and its program.
struct Kept {
    pins: PinDirectory,
    /// One at a time holds the directory.
    datapath: Option<Datapath>,
}

impl Kept {
    fn new() -> Result<Self> {
        let pins = PinDirectory::new()?;
        let mut datapath = Self::open(&pins)?;
        let environment = Environment {
            tick_ns: datapath.clock().tick_ns(),
            hash_key: datapath.hash_key(),
            now: "2026-01-01T00:00:00Z".parse()?,
            clock: datapath.clock().now(),
        };
        let config = Config::parse(RULES, "the test's rules").map_err(|error| anyhow::anyhow!("{error}"))?;
        let image =
            policy::compile(&Rules::new(Arc::new(config)), &policy::Numbering::default(), &environment)
                .map_err(|error| anyhow::anyhow!("{error}"))?;
        datapath.apply(&image)?;
        Ok(Self { pins, datapath: Some(datapath) })
    }

    fn open(pins: &PinDirectory) -> Result<Datapath> {
        Datapath::open(&Options { pin_directory: pins.path().to_owned(), ..Options::default() })
    }

    fn datapath(&self) -> &Datapath {
        self.datapath.as_ref().expect("it is held")
    }

    fn send(&self, source: u32) -> Result<()> {
        let pin = self.pins.path().join(format!("v{LAYOUT}/programs")).join(program::INGRESS);
        let fd = ProgramInfo::from_pin(pin)?.fd()?;
        kernel::run(fd.as_fd(), &from(source), Run::default())?;
        Ok(())
    }

    /// The bank that is asked, and its bits.
    fn filter(&self) -> Result<(u32, BTreeSet<(u32, u64)>)> {
        let pin = self.pins.path().join(format!("v{LAYOUT}/maps")).join(map::ENTERED);
        let words: Array<_, u64> = Array::try_from(Map::Array(MapData::from_pin(pin)?))?;
        let bank = u32::try_from(words.get(&ENTERED_CHOICE, 0)? & 1)?;
        let mut bits = BTreeSet::new();
        for word in 0..BANK {
            let there = words.get(&(bank * BANK + word), 0)?;
            bits.extend((0..64).map(|bit| 1 << bit).filter(|bit| there & bit != 0).map(|bit| (word, bit)));
        }
        Ok((bank, bits))
    }

    /// The bits that the table needs.
    fn needed(&self) -> Result<BTreeSet<(u32, u64)>> {
        let key = self.datapath().hash_key();
        let place =
            |key: [u64; 2], of: &SourceKey| sketch::entered(sketch::hash(key, of.high, of.low, of.service));
        Ok(self.datapath().sources()?.read_all()?.iter().map(|(source, _)| place(key, source)).collect())
    }
}

#[test]
fn the_daemon_makes_the_filter_anew_from_the_table_and_at_every_start() {
    let mut kept = or_skip!("the filter in the daemon's hand", Kept::new());
    for source in 0..300 {
        kept.send(0x0b00_0000 + source).unwrap();
    }
    let (first, bits) = kept.filter().unwrap();
    assert_eq!(bits, kept.needed().unwrap(), "the kernel's own bits");
    assert!(bits.len() > 290, "{}", bits.len());
    let sources = kept.datapath().sources().unwrap();
    for (key, _) in sources.read_all().unwrap().iter().take(200) {
        assert!(sources.remove(key).unwrap());
    }
    kept.datapath().entered().unwrap().renew(&sources).unwrap();
    let (second, bits) = kept.filter().unwrap();
    assert_ne!(second, first, "the idle bank is made anew, then asked");
    assert_eq!(bits, kept.needed().unwrap(), "stale bits");
    assert!(bits.len() <= 100);
    // Another daemon takes the maps over.
    kept.datapath = None;
    kept.datapath = Some(Kept::open(&kept.pins).unwrap());
    let (third, bits) = kept.filter().unwrap();
    assert_ne!(third, second);
    assert_eq!(bits, kept.needed().unwrap());
}
