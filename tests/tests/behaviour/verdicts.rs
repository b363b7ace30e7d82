//! Every fixture through the real object: how it ends, what is counted where, and that no frame ever aborts the program.

use std::collections::BTreeMap;

use monitor_common::{
    names::map,
    parse::Malformed,
    record::Totals,
    verdict::{Action, Reason},
};
use monitor_tests::{
    harness::{
        program::{ABORTED, DROP, PASS, Program},
        rules::{self, SECOND, START},
    },
    or_skip,
};

use crate::{
    fixtures::{self, Fixture, Rules, Seen, policy},
    random::Random,
};

/// Between two rows every bucket runs empty.
const BETWEEN: u64 = 1000 * SECOND;

fn malformed_of(program: &Program, kind: Malformed) -> u64 {
    program.read_per_cpu::<u64>(map::MALFORMED, kind as u32).iter().sum()
}

/// Sends the frame as often as the row says and compares every count of every service.
fn check(program: &Program, image: &::policy::Image, row: &Fixture) -> Result<(), String> {
    let service = rules::number(image, row.service);
    let all = || (0..64).map(|service| program.totals(service)).collect::<Vec<Totals>>();
    let (before, malformed_before) = (all(), Malformed::ALL.map(|kind| malformed_of(program, kind)));
    let times = row.ends.iter().map(|(_, count)| count).sum::<u64>();
    let last = program.judge(&row.frame, u32::try_from(times).unwrap());
    let after = all();
    for (number, (before, after)) in (0u32..).zip(before.iter().zip(&after)) {
        for reason in Reason::ALL {
            let place = *reason as usize;
            let grew = after.ended[place].packets - before.ended[place].packets;
            let bytes = after.ended[place].bytes - before.ended[place].bytes;
            let expected = row.ends.iter().find(|(ends, _)| ends == reason && number == service);
            let expected = expected.map_or(0, |(_, count)| *count);
            if grew != expected || bytes != expected * row.frame.len() as u64 {
                let label = reason.label();
                return Err(format!("service {number}: {grew} ({bytes} B) of {label}, not {expected}"));
            }
            let grew = after.would_drop[place].packets - before.would_drop[place].packets;
            let expected = row.would_drop.filter(|(would, _)| would == reason && number == service);
            let expected = expected.map_or(0, |(_, count)| count);
            if grew != expected {
                return Err(format!(
                    "service {number}: would drop {grew} for {}, not {expected}",
                    reason.label()
                ));
            }
        }
    }
    for (kind, before) in Malformed::ALL.iter().zip(malformed_before) {
        let expected = if row.seen == Seen::Malformed(*kind) { times } else { 0 };
        let grew = malformed_of(program, *kind) - before;
        if grew != expected {
            return Err(format!("{grew} counted as {}, not {expected}", kind.label()));
        }
    }
    // All rows but those of an aggregate end with the drops.
    let drops = row.ends.iter().any(|(reason, _)| reason.action() == Action::Drop);
    let expected = if drops { DROP } else { PASS };
    if last.verdict == expected { Ok(()) } else { Err(format!("verdict {}, not {expected}", last.verdict)) }
}

#[test]
fn every_fixture_ends_as_its_row_says_and_is_counted_there_and_nowhere_else() {
    let mut groups = BTreeMap::<Rules, Vec<Fixture>>::new();
    for row in fixtures::all() {
        groups.entry(row.rules).or_default().push(row);
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (rules, rows) in groups {
        let program = or_skip!("fixtures", Program::load());
        let image = rules::compile(&policy::text(rules), None).unwrap();
        program.install(&image);
        program.ban(policy::BANNED, u64::MAX);
        let mut now = START;
        for row in rows {
            now += BETWEEN;
            program.set_clock(now);
            count += 1;
            if let Err(error) = check(&program, &image, &row) {
                wrong.push(format!("{:?}, {}: {error}", rules, row.says));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} rows\n{}", wrong.len(), wrong.join("\n"));
    println!("{count} fixtures");
}

#[test]
fn before_the_rules_are_written_everything_passes_and_says_so() {
    let program = or_skip!("no rules yet", Program::load());
    for row in fixtures::all() {
        assert_eq!(program.judge(&row.frame, 1).verdict, PASS, "{}", row.says);
    }
    assert_eq!(program.ended(0, Reason::NotReady), fixtures::all().len() as u64);
}

#[test]
fn no_truncation_of_any_fixture_aborts_the_program() {
    let program = or_skip!("truncations", Program::load());
    program.install(&rules::compile(&policy::text(Rules::Guarded), None).unwrap());
    let mut frames = 0;
    for row in fixtures::all() {
        for length in 14..=row.frame.len() {
            let verdict = program.judge(&row.frame[..length], 1).verdict;
            assert!(verdict == PASS || verdict == DROP, "{} cut to {length}: verdict {verdict}", row.says);
            frames += 1;
        }
    }
    println!("{frames} frames");
}

#[test]
fn a_million_random_frames_never_abort_the_program_and_every_one_is_counted() {
    let program = or_skip!("a million random frames", Program::load());
    let image = rules::compile(&policy::text(Rules::Guarded), None).unwrap();
    program.install(&image);
    let mut random = Random::seeded("a million");
    let rows = fixtures::all();
    // An emulated machine takes fewer.
    let frames = std::env::var("SLUICE_RANDOM_FRAMES").map_or(1_000_000u64, |count| count.parse().unwrap());
    for round in 0..frames {
        if round % 1000 == 0 {
            program.set_clock(START + round * 16_000);
        }
        let row = random.below(rows.len());
        let frame = if round % 4 == 0 { random.mutated(&rows[row].frame) } else { random.frame() };
        let verdict = program.judge(&frame, 1).verdict;
        assert_ne!(verdict, ABORTED, "{frame:02x?}");
        assert!(verdict == PASS || verdict == DROP, "verdict {verdict}: {frame:02x?}");
    }
    let counted =
        (0..64).flat_map(|service| program.totals(service).ended).map(|count| count.packets).sum::<u64>();
    assert_eq!(counted, frames);
}

#[test]
fn a_frame_in_several_buffers_is_judged_by_its_headers_and_counted_whole() {
    let program = or_skip!("several buffers", Program::load());
    let image = rules::compile(&policy::text(Rules::Guarded), None).unwrap();
    program.install(&image);
    program.set_clock(START);
    let service = rules::number(&image, "dns");
    let frame = monitor_tests::harness::packet::packet().vlan(7).udp(1000, 53).payload_bytes(3000).build();
    // The cut falls into every header in turn.
    for linear in 14..60 {
        program.judge_in_fragments(&frame, linear);
    }
    let totals = program.totals(service);
    assert_eq!(totals.ended[Reason::Accepted as usize].packets, 9);
    assert_eq!(totals.ended[Reason::PacketRate as usize].packets, 37);
    assert_eq!(totals.ended[Reason::PacketRate as usize].bytes, 37 * frame.len() as u64);
}
