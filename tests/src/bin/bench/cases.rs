//! The cases: which program sees which frames from how many sources, under which rules; and their interleaved run.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use datapath::{Datapath, Upkeep};
use monitor_common::{
    flow::{BanKey, mapped_halves, tcp},
    names::{LAYOUT, map, program},
};
use monitor_tests::harness::packet::{packet, packet6};

use crate::image::{self, DENIED_SOURCE, PORT, Setting};
use crate::reference::{Reference, Vary};

const REPEAT: u32 = 20_000;
const WARM_UP: u32 = 1_500_000;
/// Sources from this many on count as spoofed: too many to be known.
const SPOOFED: u64 = 1 << 31;
/// The source that is banned while its case runs.
const BANNED_SOURCE: u32 = 0xc612_ff07;

/// What a case sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Udp,
    Syn,
    Vlan,
    Ipv6,
    Banned,
    Denied,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Syn => "SYN",
            Self::Vlan => "UDP, one VLAN tag",
            Self::Ipv6 => "UDP over IPv6",
            Self::Banned => "UDP, banned source",
            Self::Denied => "UDP, denied prefix",
        }
    }

    fn frame(self) -> Vec<u8> {
        let packet = match self {
            Self::Udp | Self::Banned | Self::Denied => packet().udp(12345, PORT),
            Self::Syn => packet().tcp(12345, PORT, tcp::SYN),
            Self::Vlan => packet().vlan(7).udp(12345, PORT),
            Self::Ipv6 => packet6().udp(12345, PORT),
        };
        packet.payload_bytes(22).build()
    }

    /// Where the wrapper writes the source, and from where it counts.
    fn vary(self, sources: u64) -> Vary {
        let (offset, base, wide) = match self {
            Self::Udp | Self::Syn => (26, 0xc612_0001, false),
            Self::Vlan => (30, 0xc612_0001, false),
            Self::Ipv6 => (22, 0x2001_0db8_0000_0001, true),
            Self::Banned => (26, u64::from(BANNED_SOURCE), false),
            Self::Denied => (26, u64::from(DENIED_SOURCE), false),
        };
        Vary { offset, mask: sources - 1, base: if sources > SPOOFED { 0 } else { base }, wide }
    }
}

/// A program, what it gets, and how many sources that comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub program: &'static str,
    pub kind: Kind,
    pub sources: u64,
    /// With 10,000 denied and 1,000 classed prefixes.
    pub loaded: bool,
}

impl Case {
    pub const fn label(&self) -> &'static str {
        match self.sources {
            1 => "1",
            0x400 => "1 k",
            0x1_0000 => "64 k",
            0x1_0000_0000 => "4 G",
            _ => "2^44",
        }
    }

    const fn setting(&self) -> Setting {
        Setting { flood: self.sources > SPOOFED, loaded: self.loaded }
    }

    const fn sluice(kind: Kind, sources: u64) -> Self {
        Self { program: SLUICE, kind, sources, loaded: false }
    }

    const fn reference(program: &'static str, sources: u64) -> Self {
        Self { program, kind: Kind::Udp, sources, loaded: false }
    }
}

pub const SLUICE: &str = "sluice";
pub const FLOOR: &str = "drop_at_once";
pub const LOOKUP: &str = "exact_lookup";
/// A bucket for each source in a table of those used least recently: the whole of a simple limiter.
pub const PEER: &str = "lru_gcra";

const REFERENCES: [Case; 10] = [
    Case::reference(FLOOR, 1),
    Case::reference("parse_only", 1),
    Case::reference("lru_count", 1),
    Case::reference("lru_count", 1 << 10),
    Case::reference("lru_count", 1 << 16),
    Case::reference("lru_count", 1 << 32),
    Case::reference(PEER, 1),
    Case::reference(PEER, 1 << 16),
    Case::reference(PEER, 1 << 32),
    Case::reference(LOOKUP, 1 << 16),
];

/// Those in calm times first: in the first round the table of sources is filled before a flood begins.
pub const MAIN: [Case; 11] = [
    Case::sluice(Kind::Udp, 1),
    Case::sluice(Kind::Syn, 1),
    Case::sluice(Kind::Vlan, 1),
    Case::sluice(Kind::Ipv6, 1),
    Case::sluice(Kind::Banned, 1),
    Case::sluice(Kind::Denied, 1),
    Case::sluice(Kind::Udp, 1 << 10),
    Case::sluice(Kind::Udp, 1 << 16),
    Case::sluice(Kind::Udp, 1 << 32),
    Case::sluice(Kind::Syn, 1 << 32),
    Case::sluice(Kind::Ipv6, 1 << 44),
];

/// Every case in the order of a round: neighbours share their rules, so that these are written but four times.
fn all() -> Vec<Case> {
    let mut cases = REFERENCES.to_vec();
    for flood in [false, true] {
        for loaded in [false, true] {
            let those = MAIN.iter().filter(|case| case.setting().flood == flood);
            cases.extend(those.map(|case| Case { loaded, ..*case }));
        }
    }
    cases
}

/// What a case took over the rounds: nanoseconds per packet.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub quartile: f64,
    pub median: f64,
}

impl Spread {
    fn over(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| values[values.len() * share / 4];
        Self { least: values[0], quartile: at(1), median: at(2) }
    }
}

/// What every case took.
#[derive(Debug)]
pub struct Measured(pub Vec<(Case, Spread)>);

impl Measured {
    fn of(&self, wanted: Case) -> Result<Spread> {
        let found = self.0.iter().find(|(case, _)| *case == wanted);
        Ok(found.with_context(|| format!("{wanted:?} was not measured"))?.1)
    }

    /// What a case took above the floor, median against median.
    pub fn above_floor(&self, wanted: Case) -> Result<f64> {
        Ok(self.of(wanted)?.median - self.of(REFERENCES[0])?.median)
    }

    /// The same for a reference program.
    pub fn reference(&self, program: &'static str, sources: u64) -> Result<f64> {
        self.above_floor(Case::reference(program, sources))
    }
}

/// Runs all cases in turn, so often.
pub fn run(
    datapath: &mut Datapath,
    reference: &mut Reference,
    pins: &Path,
    rounds: usize,
) -> Result<Measured> {
    let ingress = pins.join(format!("v{LAYOUT}/programs")).join(program::INGRESS);
    list_loopback(pins)?;
    let cases = all();
    let mut times = vec![Vec::new(); cases.len()];
    let mut images = Vec::new();
    for flood in [false, true] {
        for loaded in [false, true] {
            let setting = Setting { flood, loaded };
            images.push((setting, image::build(datapath, setting)?));
        }
    }
    for round in 0..rounds.max(1) {
        let mut applied = None;
        for (case, times) in cases.iter().zip(&mut times) {
            if case.program == SLUICE {
                if applied.replace(case.setting()) != Some(case.setting()) {
                    let image = images.iter().find(|(setting, _)| *setting == case.setting());
                    datapath.apply(&image.context("an image for every setting")?.1)?;
                }
                reference.aim_at_pinned(&ingress)?;
            } else {
                reference.aim_at(case.program)?;
            }
            times.push(with_ban(datapath, *case, || measure(reference, *case, round == 0))?);
        }
        eprint!("\rround {} of {rounds}", round + 1);
    }
    eprintln!();
    Ok(Measured(cases.into_iter().zip(times.into_iter().map(Spread::over)).collect()))
}

/// Frames of test runs seem to come in through loopback, which is never guarded. Where sluice judges, an interface is listed.
fn list_loopback(pins: &Path) -> Result<()> {
    const LOOPBACK: u32 = 1;
    let pin = pins.join(format!("v{LAYOUT}/maps")).join(map::INTERFACES);
    let map = MapData::from_pin(&pin).with_context(|| format!("open {}", pin.display()))?;
    let mut interfaces: Array<_, [u32; 2]> = Array::try_from(Map::Array(map))?;
    interfaces.set(LOOPBACK, [LOOPBACK, 1], 0).context("list loopback as an interface")
}

fn measure(reference: &mut Reference, case: Case, first: bool) -> Result<f64> {
    reference.vary(case.kind.vary(case.sources))?;
    let frame = case.kind.frame();
    // The first round fills the tables: every source has to be seen.
    reference.run(&frame, if first && case.sources == 1 << 16 { WARM_UP } else { REPEAT })?;
    reference.run(&frame, REPEAT)
}

/// The ban exists only while its case runs: an empty table of bans is not asked.
fn with_ban<T>(datapath: &Datapath, case: Case, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if case.kind != Kind::Banned {
        return work();
    }
    let [high, low] = mapped_halves(BANNED_SOURCE.to_be_bytes());
    let (key, now, hash_key) = (BanKey { high, low }, datapath.clock().now(), datapath.hash_key());
    let bans = datapath.bans()?;
    bans.add(key, u64::MAX, now, hash_key)?;
    let result = work();
    let mut upkeep = Upkeep::default();
    bans.remove(&key, &mut upkeep)?;
    bans.tighten_when_due(&mut upkeep, hash_key)?;
    result
}
