//! Bans: earned by violations, growing on repetition, over when they are over, decided in the kernel.

use monitor_common::{
    flow::BanKey,
    names::map,
    record::{Ban, EventKind, Incident, origin},
    verdict::Reason::*,
};
use monitor_tests::{
    harness::{
        packet::packet,
        program::{DROP, PASS, Program},
        rules::{self, SECOND, START},
    },
    or_skip,
};

use crate::limiter::stay_on;

const RULES: &str = r#"
[access]
inside = []
[[service]]
name = "dns"
protocol = "udp"
ports = [53]
mode = "enforce"
limit = { packets = "100/s", packets_burst = 10 }
ban = { after = 20, within = "10s", for = "10s", growth = 3, longest = "50s", unproven = true }
"#;

fn ban_of(program: &Program, source: &str) -> Option<Ban> {
    let (high, low) = rules::address(source);
    program.find(map::BANS, &BanKey { high, low })
}

#[test]
fn enough_violations_earn_a_ban_that_ends_and_grows_up_to_its_longest() {
    let mut program = or_skip!("bans", Program::load());
    let image = rules::compile(RULES, None).unwrap();
    program.install(&image);
    let dns = rules::number(&image, "dns");
    let frame = packet().udp(1000, 53).build();
    let other = packet().udp(1000, 9).build();
    let mut now = START;
    for (strike, seconds) in (1..).zip([10, 30, 50, 50]) {
        program.set_clock(now);
        assert_eq!(program.judge(&frame, 1).verdict, PASS, "strike {strike}");
        // Nine pass; the twentieth violation makes the ban; the rest meet it.
        program.judge(&frame, 8 + 19);
        assert!(
            ban_of(&program, "10.1.0.1").is_none_or(|ban| ban.until <= now),
            "strike {strike} came too early"
        );
        program.judge(&frame, 1);
        let ban = ban_of(&program, "10.1.0.1").unwrap();
        assert_eq!((ban.strikes, ban.origin, ban.service), (strike, origin::KERNEL, dns));
        assert_eq!((ban.since, ban.until), (now, now + seconds * SECOND), "strike {strike}");
        assert_eq!(program.events().last().unwrap().kind, EventKind::Banned as u32);
        let banned = program.ended(0, Banned);
        // Banned everywhere, to the last moment, and not a tick longer.
        assert_eq!(program.judge(&other, 3).verdict, DROP);
        program.set_clock(now + seconds * SECOND - 1);
        assert_eq!(program.judge(&frame, 4).verdict, DROP);
        assert_eq!(program.ended(0, Banned), banned + 7);
        assert_eq!(ban_of(&program, "10.1.0.1").unwrap().dropped().packets, 7);
        now += seconds * SECOND;
        program.set_clock(now);
        assert_eq!(program.judge(&other, 1).verdict, PASS, "strike {strike} lasts too long");
        now += 20 * SECOND;
    }
    assert_eq!(program.incidents(Incident::BanMade), 4);
}

#[test]
fn violations_that_are_spread_over_time_earn_none() {
    let program = or_skip!("spread violations", Program::load());
    program.install(&rules::compile(RULES, None).unwrap());
    let frame = packet().udp(1000, 53).build();
    for round in 0..20 {
        program.set_clock(START + round * 11 * SECOND);
        program.judge(&frame, 9 + 19);
    }
    assert!(ban_of(&program, "10.1.0.1").is_none());
}

#[test]
fn a_neighbour_is_not_banned() {
    let program = or_skip!("neighbours of the banned", Program::load());
    program.install(&rules::compile(RULES, None).unwrap());
    program.set_clock(START);
    program.judge(&packet().udp(1000, 53).build(), 100);
    for last in 2..250 {
        let frame = packet().source(&format!("10.1.0.{last}")).udp(1000, 53).build();
        assert_eq!(program.judge(&frame, 1).verdict, PASS, "10.1.0.{last}");
    }
}

#[test]
fn an_exempt_source_earns_no_ban() {
    let program = or_skip!("bans of the exempt", Program::load());
    let text = RULES.replace("inside = []", "inside = []\nexempt = [\"10.1.0.0/16\"]");
    program.install(&rules::compile(&text, None).unwrap());
    program.set_clock(START);
    assert_eq!(program.judge(&packet().udp(1000, 53).build(), 1000).verdict, PASS);
    assert!(ban_of(&program, "10.1.0.1").is_none());
}

#[test]
fn a_full_table_of_bans_is_counted_and_the_limit_still_holds() {
    let program = or_skip!(
        "a full table of bans",
        Program::load_with(&[(map::BANS, 8)], &[monitor_common::names::program::INGRESS])
    );
    let image = rules::compile(RULES, None).unwrap();
    program.install(&image);
    program.set_clock(START);
    for last in 1..=20 {
        program.judge(&packet().source(&format!("10.1.0.{last}")).udp(1000, 53).build(), 50);
    }
    assert_eq!(program.keys::<BanKey>(map::BANS).len(), 8);
    assert_eq!(program.incidents(Incident::BanMade), 8);
    assert!(program.incidents(Incident::BanTableFull) >= 12);
    assert_eq!(program.ended(rules::number(&image, "dns"), Accepted), 20 * 9);
}

#[test]
fn a_ban_counts_what_every_cpu_dropped() {
    let program = or_skip!("a ban on two CPUs", Program::load());
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    program.install(&rules::compile(RULES, None).unwrap());
    program.set_clock(START);
    program.ban("10.1.0.1", u64::MAX);
    let frame = packet().udp(1000, 53).build();
    for (cpu, times) in [(0, 3), (1, 5), (0, 7)] {
        stay_on(cpu);
        assert_eq!(program.judge(&frame, times).verdict, DROP);
    }
    let ban = ban_of(&program, "10.1.0.1").unwrap();
    let length = u64::try_from(frame.len()).unwrap();
    assert_eq!((ban.owner, ban.owned.packets, ban.others.packets), (1, 10, 5));
    assert_eq!((ban.dropped().packets, ban.dropped().bytes), (15, 15 * length));
}
