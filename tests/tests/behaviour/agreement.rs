//! The parser in the kernel reads what the parser on the host reads: fixtures, truncations, captures, random bytes.

use monitor_common::{parse::parse, record::ParsedRecord};
use monitor_tests::{
    harness::{capture, program::Program},
    or_skip,
};

use crate::{fixtures, random::Random};

/// The kernel refuses test runs of less than an Ethernet header.
const SHORTEST: usize = 14;

fn check(program: &Program, says: &str, frame: &[u8], linear: u32) {
    let host = ParsedRecord::from(&parse(frame));
    let kernel = program.parse(frame, linear);
    assert!(host == kernel, "{says}, {linear} linear: {frame:02x?}\n  host   {host:?}\n  kernel {kernel:?}");
}

#[test]
fn the_kernel_reads_every_fixture_and_every_truncation_as_the_host_does() {
    let program = or_skip!("agreement on fixtures", Program::load_parser());
    let mut frames = 0;
    for row in fixtures::all() {
        for length in SHORTEST..=row.frame.len() {
            check(&program, row.says, &row.frame[..length], 0);
            frames += 1;
        }
    }
    println!("{frames} frames");
}

#[test]
fn a_header_that_is_split_between_buffers_is_read_as_if_it_were_whole() {
    let program = or_skip!("agreement on split headers", Program::load_parser());
    for row in fixtures::all().iter().filter(|row| row.frame.len() > SHORTEST + 1) {
        for linear in SHORTEST..row.frame.len().min(150) {
            check(&program, row.says, &row.frame, u32::try_from(linear).unwrap());
        }
    }
}

#[test]
fn two_hundred_thousand_random_and_mutated_frames_are_read_alike() {
    let program = or_skip!("agreement on random frames", Program::load_parser());
    let rows = fixtures::all();
    let mut random = Random::seeded("agreement");
    for _ in 0..100_000 {
        let frame = random.frame();
        check(&program, "random", &frame, 0);
        let row = random.below(rows.len());
        let frame = random.mutated(&rows[row].frame);
        check(&program, "mutated", &frame, 0);
    }
}

#[test]
fn every_odd_capture_is_read_alike() {
    let program = or_skip!("agreement on captures", Program::load_parser());
    let directory = or_skip!("agreement on captures", capture::directory());
    let mut files = 0;
    for file in std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("odd_") {
            continue;
        }
        files += 1;
        let (packets, whole) = capture::packets(&std::fs::read(&file).unwrap()).unwrap();
        // Packets of other links are no frames to an Ethernet parser, but must be read alike all the same.
        for frame in packets.iter().filter(|frame| frame.len() >= SHORTEST) {
            check(&program, &name, frame, 0);
        }
        println!("{name}: {} packets{}", packets.len(), if whole { "" } else { ", not whole" });
    }
    assert!(files >= 15, "{files} captures");
}
