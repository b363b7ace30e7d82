//! What the maps take with default capacities, by the kernel's own account.

use monitor::datapath::Status;

use crate::goals::{self, Goal, Unit};
use crate::machine::Machine;
use crate::report::{Cell, Report, Section};

const MIB: f64 = 1_048_576.0;

#[expect(clippy::cast_precision_loss, reason = "bytes as figures")]
pub fn report(machine: Machine, status: &Status) -> Report {
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
    Report { page: "memory", machine, rounds: 1, sections: vec![maps, goals::section(&[all]), programs] }
}
