//! What the maps take with default capacities, by the kernel's own account.

use std::time::Instant;

use datapath::{Datapath, Kept, Status, SweptTo};

use crate::goals::{self, Goal, Unit};
use crate::machine::Machine;
use crate::report::{Cell, Report, Section};

const MIB: f64 = 1_048_576.0;
/// Slots that one second's sweep looks at, as the daemon has it.
const STEP: u32 = 16_384;

/// What it takes to read the table of sources, and to sweep it: first when nobody is idle, then when everybody is.
#[expect(clippy::cast_precision_loss, reason = "counts as figures")]
pub fn sweeping(datapath: &Datapath) -> Section {
    let mut section = Section::new("sweeping", &["what", "slots", "entries", "ms"]);
    let (sources, now) = (datapath.sources(), datapath.clock().now());
    let mut row = |what: &str, slots: u32, entries: usize, began: Instant| {
        let slots = Cell::number(slots.into(), 0);
        let ms = Cell::number(began.elapsed().as_secs_f64() * 1e3, 1);
        section.row([Cell::text(what), slots, Cell::number(entries as f64, 0), ms]);
    };
    let began = Instant::now();
    row("read all", sources.capacity(), sources.read_all().len(), began);
    for (what, idle) in [("sweep, nobody idle", u64::MAX >> 2), ("sweep, everybody idle", 0)] {
        let (mut at, began) = (SweptTo::default(), Instant::now());
        let removed = sources.sweep(&mut at, now, Kept { idle, from_flood: idle }, STEP);
        row(what, STEP, removed, began);
    }
    section
}

#[expect(clippy::cast_precision_loss, reason = "bytes as figures")]
pub fn report(machine: Machine, status: &Status, sweeping: Section) -> Report {
    let mut maps = Section::new("maps", &["map", "capacity", "key bytes", "value bytes", "KiB"]);
    let mut by_size: Vec<_> = status.maps.iter().collect();
    by_size.sort_by_key(|map| std::cmp::Reverse(map.memory_bytes));
    let bytes: u64 = by_size.iter().filter_map(|map| map.memory_bytes).sum();
    for map in by_size {
        maps.row([
            Cell::text(map.name),
            Cell::number(map.capacity.into(), 0),
            Cell::number(map.key_bytes.into(), 0),
            Cell::number(map.value_bytes.into(), 0),
            Cell::number(map.memory_bytes.unwrap_or_default() as f64 / 1024.0, 0),
        ]);
    }
    let all = Goal::at_most("all maps with default capacities, MiB", bytes as f64 / MIB, 64.0, Unit::Ratio);
    let mut programs = Section::new("programs", &["program", "verified instructions"]);
    for program in &status.programs {
        programs.row([Cell::text(program.name), Cell::number(program.verified_instructions.into(), 0)]);
    }
    Report {
        page: "memory",
        machine,
        rounds: 1,
        sections: vec![maps, goals::section(&[all]), programs, sweeping],
    }
}
