//! How exact the limiter is, measured with the simulated clock: whom it drops wrongly, and what it lets through.
//!
//! In: a program that was just loaded, and how large and long the experiment is to be. Out: counts. The honest and the
//! flood go to services of their own with equal limits; the sketch's cells are shared by all services, so they collide
//! there as if they had one.

use anyhow::{Context as _, Result, ensure};
use monitor_common::{record::Incident, verdict::Reason};

use super::{
    program::Program,
    rules::{self, SECOND, START},
    traffic::{Mixture, Part},
};

/// Ports of the two services.
const FLOODED: u16 = 53;
const HONEST: u16 = 123;

/// Sources of the flood begin here, honest ones there.
const STRANGERS: u32 = 0x0b00_0000;
const LIGHT: u32 = 0x6400_0000;
const KNOWN: u32 = 0xc612_0000;
const HEAVY: u32 = 0x3000_0000;

fn rules_of(limit: &str) -> String {
    let service = |name: &str, port: u16| {
        format!(
            "[[service]]\nname = \"{name}\"\nprotocol = \"udp\"\nports = [{port}]\nmode = \"enforce\"\nlimit = {{ {limit} }}\n"
        )
    };
    format!("[access]\ninside = []\n{}{}", service("flooded", FLOODED), service("honest", HONEST))
}

/// Puts a fresh program under these rules; the numbers of both services.
fn guard(program: &Program, limit: &str) -> Result<(u32, u32)> {
    let image = rules::compile(&rules_of(limit), None)?;
    program.install(&image);
    Ok((rules::number(&image, "flooded"), rules::number(&image, "honest")))
}

/// What became of honest packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Honest {
    pub sent: u64,
    pub dropped: u64,
    /// Entries that were lost or begun anew.
    pub resets: u64,
    /// Packets of the flood that the sketch judged.
    pub judged_by_sketch: u64,
}

impl Honest {
    /// Dropped packets among 100,000.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn dropped_per_100_000(&self) -> f64 {
        self.dropped as f64 * 100_000.0 / self.sent.max(1) as f64
    }
}

/// A flood by strangers, and light honest ones among them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd {
    /// Strangers that send at random: a power of two.
    pub strangers: u64,
    /// Sources that send far more than their limit: a power of two, or 0.
    pub heavy: u64,
    /// Packets a second by all together, a tenth of them honest, a fifth by the heavy ones if there are any.
    pub per_second: f64,
    pub packets: u32,
    /// Of each source, packets a second, with a burst of a second.
    pub limit: u32,
}

/// Honest strangers (64 k of them) that come with a crowd.
pub fn crowd(program: &Program, crowd: Crowd) -> Result<Honest> {
    let (_, honest) = guard(program, &format!("packets = \"{}/s\"", crowd.limit))?;
    let mut mixture = Mixture::over(program)?;
    let flood = Part::new(1.0, STRANGERS, crowd.strangers, FLOODED);
    // A second of nothing but strangers, so that the flood is on when the honest come.
    let (_, now) = mixture.run(&[flood], 200_000.0, 200_000, START)?;
    let before = program.incidents(Incident::JudgedBySketch);
    ensure!(before > 100_000, "no flood began: {before} packets judged by the sketch");
    let mut parts = vec![Part::new(0.1, LIGHT, 1 << 16, HONEST)];
    if crowd.heavy != 0 {
        parts.push(Part::new(0.2, HEAVY, crowd.heavy, FLOODED));
    }
    parts.push(flood);
    let (sent, _) = mixture.run(&parts, crowd.per_second, crowd.packets, now)?;
    let passed = program.ended(honest, Reason::Accepted);
    Ok(Honest {
        sent: sent[0],
        dropped: sent[0] - passed,
        resets: 0,
        judged_by_sketch: program.incidents(Incident::JudgedBySketch) - before,
    })
}

/// 1,024 sources that were known before a flood from any address, each 20 packets a second, through so many seconds of
/// `per_second` packets each.
pub fn known(program: &Program, seconds: u32, per_second: u32) -> Result<Honest> {
    const MANY: u64 = 1024;
    let (_, honest) = guard(program, "packets = \"1k/s\"")?;
    let mut mixture = Mixture::over(program)?;
    let known = Part::new(1.0, KNOWN, MANY, HONEST).in_turn();
    let (first, began) = mixture.run(&[known], 20.0 * 1024.0, 4096, START)?;
    let share = 20.0 * 1024.0 / f64::from(per_second);
    let parts = [Part { share, ..known }, Part::new(1.0 - share, 0, 1 << 32, FLOODED)];
    let (sent, _) = mixture.run(&parts, per_second.into(), seconds * per_second, began + 20 * SECOND)?;
    let mut resets = MANY;
    let (mut counted, mut dropped) = (0, 0);
    for source in 0..u32::try_from(MANY)? {
        let low = 0xffff_0000_0000 | u64::from(KNOWN + source);
        if let Some(entry) = program.entry(0, low, honest) {
            resets -= u64::from(entry.first_seen <= began);
            counted += entry.total().packets;
            dropped += entry.dropped.packets;
        }
    }
    ensure!(
        resets != 0 || counted == first[0] + sent[0],
        "{counted} packets counted of {}",
        first[0] + sent[0]
    );
    let lost = first[0] + sent[0] - program.ended(honest, Reason::Accepted);
    Ok(Honest {
        sent: first[0] + sent[0],
        dropped: lost.max(dropped),
        resets,
        judged_by_sketch: program.incidents(Incident::JudgedBySketch),
    })
}

/// What one flooding source gets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Through {
    pub sent: u64,
    /// Passed after the burst was spent, and what the rate admits in that time.
    pub passed: u64,
    pub due: f64,
    /// Packets beyond `rate * t + burst`, and one for each CPU, from the first one on.
    pub beyond: u64,
}

/// One source that sends ten times its limit of `rate` packets a second, for four seconds to spend the burst and `seconds`
/// more. In a flood, strangers are all around it, and it has no entry when it begins.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates"
)]
pub fn single(program: &Program, rate: u64, seconds: u32, flood: bool) -> Result<Through> {
    let (flooded, _) = guard(program, &format!("packets = \"{rate}/s\""))?;
    let mut mixture = Mixture::over(program)?;
    let mut now = START;
    if flood {
        let strangers = Part::new(1.0, 0, 1 << 32, HONEST);
        (_, now) = mixture.run(&[strangers], 200_000.0, 100_000, now)?;
        ensure!(program.incidents(Incident::JudgedBySketch) > 50_000, "no flood began");
    }
    let strangers_per_second = if flood { 10_000.0 } else { 0.0 };
    let per_second = 10.0 * rate as f64 + strangers_per_second;
    let one = Part::new(10.0 * rate as f64 / per_second, HEAVY, 1, FLOODED);
    let parts: &[Part] = if flood { &[one, Part::new(1.0, 0, 1 << 32, HONEST)] } else { &[one] };
    let begin = now;
    let (first, middle) = mixture.run(parts, per_second, (4.0 * per_second) as u32, now)?;
    let burst = program.ended(flooded, Reason::Accepted);
    let (sent, end) = mixture.run(parts, per_second, (f64::from(seconds) * per_second) as u32, middle)?;
    let all = program.ended(flooded, Reason::Accepted);
    let time = |from: u64, to: u64| (to - from) as f64 / SECOND as f64;
    let cpus = std::thread::available_parallelism().context("CPUs")?.get() as f64;
    let allowed = rate as f64 * time(begin, end) + rate as f64 + cpus;
    Ok(Through {
        sent: first[0] + sent[0],
        passed: all - burst,
        due: rate as f64 * time(middle, end),
        beyond: (all as f64 - allowed).max(0.0).ceil() as u64,
    })
}
