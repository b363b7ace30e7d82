//! What the kernel side may cost at most: memory of its maps, and work for the kernel's verifier.

use std::{collections::BTreeMap, fs, path::Path, thread};

use anyhow::Result;
use datapath::{Datapath, Options, Status};
use monitor_tests::{harness::pins::PinDirectory, or_skip};

const MIB: u64 = 1 << 20;
/// All maps with default capacities, on a machine of few CPUs.
const MEMORY: u64 = 64 * MIB;
/// Counters that each CPU has of its own; what CPUs beyond these add is not held against the budget.
const CPUS: u64 = 4;
const MEMORY_PER_CPU: u64 = MIB;

/// Beside the figures of the benchmark, because it is one.
const INSTRUCTIONS: &str = "../docs/bench/verified-instructions.tsv";
/// Per cent above the file's figures before somebody has to look.
const MARGIN: u32 = 10;
/// On another kernel the verifier counts otherwise; then only this bound holds, half of the kernel's own.
const ANYWHERE: u32 = 500_000;

fn loaded() -> Result<Status> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "loading programs needs root");
    let pins = PinDirectory::new()?;
    Datapath::open(&Options { pin_directory: pins.path().to_owned(), ..Options::default() })?.status()
}

#[test]
fn all_maps_with_default_capacities_take_no_more_than_64_mib() {
    let status = or_skip!("memory of the maps", loaded());
    let mut sum = 0;
    for map in &status.maps {
        let bytes =
            map.memory_bytes.unwrap_or_else(|| panic!("the kernel does not say what {} takes", map.name));
        println!("{:>20} {:>9} KiB", map.name, bytes / 1024);
        sum += bytes;
    }
    let cpus = thread::available_parallelism().map_or(1, usize::from) as u64;
    let allowed = MEMORY + MEMORY_PER_CPU * cpus.saturating_sub(CPUS);
    println!("{:>20} {:>9} KiB of {}", "all", sum / 1024, allowed / 1024);
    assert!(sum > 20 * MIB, "{sum} bytes: that is not all of them");
    assert!(
        sum <= allowed,
        "all maps take {} KiB of {} KiB; docs/bench/memory.md says what each took",
        sum / 1024,
        allowed / 1024
    );
}

/// The kernel that was counted on (as in `6.18`), and the instructions of each program.
fn budget() -> (String, BTreeMap<String, u32>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(INSTRUCTIONS);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut rows = BTreeMap::new();
    let mut kernel = String::new();
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("# kernel: ") {
            named.clone_into(&mut kernel);
        } else if let Some((program, count)) = line.split_once('\t')
            && let Ok(count) = count.parse()
        {
            rows.insert(program.to_owned(), count);
        }
    }
    (kernel, rows)
}

#[test]
fn no_program_asks_more_of_the_verifier_than_its_budget() {
    let status = or_skip!("verified instructions", loaded());
    let (kernel, budget) = budget();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let same_kernel = release.starts_with(&(kernel.clone() + "."));
    for program in &status.programs {
        let (name, count) = (program.name, program.verified_instructions);
        let planned =
            *budget.get(name).unwrap_or_else(|| panic!("{name} ({count}) has no line in {INSTRUCTIONS}"));
        let most = if same_kernel { planned + planned * MARGIN / 100 } else { ANYWHERE };
        println!("{name}: {count} verified instructions of {most}");
        assert!(
            count <= most,
            "{name} takes {count} verified instructions, {planned} were planned on Linux {kernel} and {MARGIN} % are given on top: \
             find out what made the verifier follow more states (docs/adr/0008), or, if it is worth that, write {count} \
             into {INSTRUCTIONS} in a commit that says why"
        );
    }
}
