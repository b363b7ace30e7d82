//! How exact the limiter is: the harness's experiments at full length, as figures and goals.

use anyhow::Result;
use monitor_tests::harness::accuracy::{Crowd, crowd, known, single};
use monitor_tests::harness::program::Program;

use crate::goals::{self, Goal, Unit};
use crate::machine::Machine;
use crate::report::{Cell, Report, Section};

/// Strangers in a crowd.
const MILLION: u64 = 1 << 20;
/// Packets of a crowd: twelve seconds at a million a second.
const PACKETS: u32 = 12_000_000;
/// Limits down to where the sketch is too small for a million packets a second of strangers.
const LIMITS: [u32; 6] = [100, 50, 30, 20, 15, 10];

#[expect(clippy::cast_precision_loss, reason = "counts as figures")]
pub fn run(machine: Machine) -> Result<Report> {
    let mut crowds = Section::new(
        "crowds",
        &["limit of a source", "heavy ones", "honest packets", "wrongly dropped", "of 100,000"],
    );
    let mut wanted = Vec::new();
    let cases = [(1000, 0), (1000, 256)].into_iter().chain(LIMITS.map(|limit| (limit, 0)));
    for (limit, heavy) in cases {
        eprintln!("a million strangers, limit {limit}/s, {heavy} heavy ones");
        let packets = if limit == 1000 { PACKETS } else { PACKETS / 2 };
        let honest =
            crowd(&Program::load()?, Crowd { strangers: MILLION, heavy, per_second: 1e6, packets, limit })?;
        crowds.row([
            Cell::text(format!("{limit}/s")),
            Cell::number(heavy as f64, 0),
            Cell::number(honest.sent as f64, 0),
            Cell::number(honest.dropped as f64, 0),
            Cell::number(honest.dropped_per_100_000(), 2),
        ]);
        if limit == 1000 {
            let name =
                format!("light honest among {MILLION} strangers, {heavy} of 1 M heavy: dropped of 100,000");
            wanted.push(Goal::at_most(name, honest.dropped_per_100_000(), 1.0, Unit::Ratio));
        }
    }
    eprintln!("1,024 known sources, 60 s of spoofed sources");
    let through = known(&Program::load()?, 60, 200_000)?;
    let count = |name: &str, measured: u64| Goal::at_most(name, measured as f64, 0.0, Unit::Count);
    wanted.push(count("1,024 known sources through 60 s of 4 G spoofed: packets dropped", through.dropped));
    wanted.push(count("the same: entries lost or begun anew", through.resets));
    let mut singles = Section::new(
        "single flooding source",
        &["limit", "when", "sent", "passed after the burst", "of its limit"],
    );
    for (rate, seconds) in [(100, 60), (1_000, 60), (10_000, 20), (100_000, 3)] {
        for flood in [false, true] {
            eprintln!("one source, limit {rate}/s, flood {flood}");
            let one = single(&Program::load()?, rate, seconds, flood)?;
            let ratio = one.passed as f64 / one.due;
            let when = if flood { "flood" } else { "calm" };
            singles.row([
                Cell::text(format!("{rate}/s")),
                Cell::text(when),
                Cell::number(one.sent as f64, 0),
                Cell::number(one.passed as f64, 0),
                Cell::number(ratio, 4),
            ]);
            let name = format!("one source at ten times {rate}/s, {when}: off its limit by");
            wanted.push(Goal::at_most(name, (ratio - 1.0).abs(), 0.05, Unit::Ratio));
            wanted.push(count("the same: packets beyond rate * t + burst and one a CPU", one.beyond));
        }
    }
    let sections = vec![crowds, singles, goals::section(&wanted)];
    Ok(Report { page: "accuracy", machine, rounds: 1, sections })
}
