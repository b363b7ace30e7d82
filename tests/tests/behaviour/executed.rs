//! What a packet executes: instructions and cache lines on the usual ways, held by a budget that no load and no clock moves.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use monitor_common::{
    flow::tcp,
    names::{map, program},
};
use monitor_tests::{
    harness::{
        executed::{self, Code, Executed},
        packet::{packet, packet6},
        processor,
        program::Program,
        rules::{self, START, TICK_NS},
    },
    or_skip,
};

use monitor_common::bucket::UNITS_PER_NS;

/// Beside the figures of the benchmark, because it is one.
const BUDGET: &str = "../docs/bench/executed-instructions.tsv";
/// Per cent above the file's figures before somebody has to look.
const MARGIN: u64 = 3;
const PORT: u16 = 85;

fn text(aggregate: &str, more: &str) -> String {
    let mut text = format!(
        "[access]\ndenied = [\"198.51.100.0/24\"]\n[conversations]\nobservations = \"100/s\"\nobservations_burst = 100\n[flood]\nhold = \"1s\"\n{more}"
    );
    for port in 80..100 {
        let _ = write!(
            text,
            "[[service]]\nname = \"service-{port}\"\nprotocol = [\"tcp\", \"udp\"]\nports = [{port}]\nmode = \"enforce\"\n\
             limit = {{ packets = \"1M/s\", bytes = \"4 Gbit/s\", connections = \"1M/s\" }}\n{aggregate}"
        );
    }
    text
}

/// Frames that are judged before: more than are observed in a second.
const BEFORE: u32 = 1000;

/// What the last of the frames executes, after the others were judged by the kernel, each `times` times.
fn way(program: &Program, code: &Code, frames: &[Vec<u8>], times: u32) -> Executed {
    let (last, before) = frames.split_last().expect("a frame");
    for frame in before {
        program.judge(frame, times);
    }
    let executed = executed::run(code, program, last, START / (TICK_NS * UNITS_PER_NS)).unwrap();
    // The machine changes nothing, so the kernel sees what it saw.
    assert_eq!(executed.verdict, program.judge(last, 1).verdict);
    executed
}

fn prepared(text: &str) -> anyhow::Result<Program> {
    let program = Program::load()?;
    program.install(&rules::compile(text, None)?);
    program.set_clock(START);
    // Frames of test runs seem to come in through loopback.
    program.write(map::INTERFACES, 1u32, &[1u32, 1]);
    Ok(program)
}

fn measured() -> anyhow::Result<BTreeMap<&'static str, Executed>> {
    // Budgets of a CPU are read from the first one.
    processor::pin(0, 0)?;
    let code = Code::of(program::INGRESS)?;
    let plain = prepared(&text("", ""))?;
    let mut ways = BTreeMap::new();
    let udp = |source: &str| packet().source(source).udp(12345, PORT).payload_bytes(22).build();
    let known = |frame: Vec<u8>| [frame.clone(), frame];
    ways.insert("known source, UDP", way(&plain, &code, &known(udp("198.18.0.1")), BEFORE));
    let syn = packet().source("198.18.0.2").tcp(12345, PORT, tcp::SYN).payload_bytes(22).build();
    ways.insert("known source, SYN", way(&plain, &code, &known(syn), BEFORE));
    let tagged = packet().vlan(7).source("198.18.0.3").udp(12345, PORT).payload_bytes(22).build();
    ways.insert("known source, UDP, one VLAN tag", way(&plain, &code, &known(tagged), BEFORE));
    let six = packet6().udp(12345, PORT).payload_bytes(22).build();
    ways.insert("known source, UDP over IPv6", way(&plain, &code, &known(six), BEFORE));
    ways.insert("denied prefix, UDP", way(&plain, &code, &known(udp("198.51.100.7")), BEFORE));
    plain.ban("198.18.0.9", u64::MAX);
    ways.insert("banned source, UDP", way(&plain, &code, &known(udp("198.18.0.9")), BEFORE));

    let aggregate = "aggregate = { packets = \"10M/s\" }\n";
    let summed = prepared(&text(aggregate, ""))?;
    ways.insert(
        "known source, UDP, with an aggregate",
        way(&summed, &code, &known(udp("198.18.0.1")), BEFORE),
    );

    // Sources that come once: beyond the budget of new ones the sketch judges them.
    let flood = prepared(&text("", "new_sources = \"1/s\"\nburst = 3\n"))?;
    let strangers: Vec<_> =
        (0..BEFORE).map(|last| udp(&format!("198.19.{}.{}", last / 256, last % 256))).collect();
    ways.insert("new source in a flood, UDP", way(&flood, &code, &strangers, 1));
    Ok(ways)
}

fn budget() -> BTreeMap<String, (u64, usize)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(BUDGET);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let row = |line: &str| {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_owned();
        Some((name, (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn no_packet_executes_more_than_its_budget() {
    let ways = or_skip!("executed instructions", measured());
    let budget = budget();
    let mut over = Vec::new();
    for (way, Executed { instructions, lines, helpers, .. }) in &ways {
        println!("{way}\t{instructions}\t{lines}\t{helpers:?}");
        match budget.get(*way) {
            Some((most, touched)) if *instructions <= most + most * MARGIN / 100 && lines <= touched => {}
            Some((most, touched)) => {
                over.push(format!(
                    "{way}: {instructions} of {most} instructions, {lines} of {touched} lines"
                ));
            }
            None => over.push(format!("{way} has no line")),
        }
    }
    assert!(
        over.is_empty(),
        "what a packet executes grew: {}; or write the new figures into {BUDGET} in a commit that says why",
        over.join("; ")
    );
    assert_eq!(ways.len(), budget.len(), "{BUDGET} has lines that nothing measures");
}

#[test]
fn no_way_of_calls_takes_more_stack_than_the_oldest_kernel_gives() {
    for name in [program::INGRESS, program::EGRESS] {
        let code = or_skip!("stack of the programs", Code::of(name));
        let deepest = code.deepest_stack();
        println!("{name}: {deepest} bytes of stack");
        assert!((64..=512).contains(&deepest), "{name} takes {deepest} bytes of stack on its deepest way");
    }
}
