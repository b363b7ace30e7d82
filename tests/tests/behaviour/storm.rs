//! Detection under more than it can remember: its memory is bounded, and what a record costs is measured on demand.

use std::{fs, time::Instant};

use detection::{Detection, Learned, Parameters, contact::default_inside};
use monitor_common::{
    bucket::UNITS_PER_NS,
    conversation::{Direction, Record, note, outcome, record_kind},
    flow::{mapped, protocol, tcp},
    plain::Plain as _,
};

const PER_MINUTE: u64 = 100_000;
const BEGIN: u64 = 1_800_000_000 * 1_000_000_000;

/// What comes in.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// New conversations of 2,000 insiders with a million pairs of ends, three records each.
    Insiders,
    /// Connection attempts from outside, each from another forged address.
    Forged,
}

fn spread(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

fn address(bytes: [u8; 4]) -> [u8; 16] {
    mapped(bytes)
}

/// Feeds so many conversations or attempts; the number of records and the microseconds that each took.
fn feed(detection: &mut Detection, load: Load, count: u64) -> (u64, f64) {
    let (start, mut fed) = (Instant::now(), 0);
    for number in 0..count {
        let (random, at) = (spread(number), BEGIN + number * 60_000_000_000 / PER_MINUTE);
        let mut record = Record::zeroed();
        let at_random = random.to_be_bytes();
        (record.initiator, record.responder) = match load {
            Load::Insiders => {
                let source = u16::try_from(random % 2000).unwrap().to_be_bytes();
                (address([10, 1, source[0], source[1]]), address([10, 2, at_random[0] & 1, at_random[1]]))
            }
            Load::Forged => (
                address([11 + (at_random[0] & 63), at_random[1], at_random[2], at_random[3]]),
                address([10, 2, 0, at_random[4] & 3]),
            ),
        };
        (record.initiator_port, record.responder_port) =
            (1024 + u16::from(at_random[5]), [80, 443, 5432, 6379][usize::from(at_random[2] & 3)]);
        record.protocol = u32::from(protocol::TCP);
        record.weight = 1;
        record.forward_flags = u32::from(tcp::SYN);
        record.forward = Direction { packets: 1, bytes: 60, ..Direction::default() };
        record.opens = 1;
        let clock = (at - BEGIN) * UNITS_PER_NS;
        (record.at, record.first_seen, record.last_seen) = (clock, clock, clock);
        let kinds: &[u32] = match load {
            Load::Insiders => &[record_kind::STARTED, record_kind::ACTIVE, record_kind::ENDED],
            Load::Forged => &[record_kind::OBSERVED],
        };
        for (kind, number) in kinds.iter().zip(1..) {
            record.kind = *kind;
            if *kind == record_kind::OBSERVED {
                (record.note, record.number) = (note::SYN, 0);
            } else {
                record.number = number;
            }
            if number > 1 {
                record.outcome = outcome::ESTABLISHED;
                record.forward_flags |= u32::from(tcp::ACK);
                record.forward = Direction { packets: 5, bytes: 900, payload: 600, payload_squares: 120_000 };
                record.backward =
                    Direction { packets: 5, bytes: 3000, payload: 2700, payload_squares: 2_000_000 };
            }
            detection.observe(&record, at, None);
            fed += 1;
        }
        if number.is_multiple_of(PER_MINUTE / 60) {
            detection.tick(at);
            detection.drain_findings();
        }
    }
    (fed, start.elapsed().as_secs_f64() * 1e6 / fed as f64)
}

fn resident_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64 / 1_000_000
}

fn detection() -> Detection {
    Detection::new(&Parameters::default(), default_inside(), &Learned::default())
}

#[test]
fn every_memory_keeps_its_bound_under_a_storm() {
    for load in [Load::Insiders, Load::Forged] {
        let mut detection = detection();
        feed(&mut detection, load, 40_000);
        for size in detection.state_sizes() {
            assert!(size.entries <= size.capacity, "{load:?}: {size:?}");
        }
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p monitor-tests --test behaviour storm -- --ignored --nocapture"]
fn what_a_record_costs_and_what_twenty_minutes_of_storm_take() {
    for load in [Load::Insiders, Load::Forged] {
        let before = resident_megabytes();
        let mut detection = detection();
        let (fed, each) = feed(&mut detection, load, 20 * PER_MINUTE);
        let grown = resident_megabytes() - before;
        println!("{load:?}: {fed} records, {each:.2} µs each, {:.0} records/s, {grown} MB", 1e6 / each);
        let fullest = detection.state_sizes().into_iter().filter(|size| size.entries == size.capacity);
        println!("full: {:?}", fullest.map(|size| size.name).collect::<Vec<_>>());
    }
}
