//! What a source owes is never worth more than the burst of the limit in force, and neighbours on a link owe for themselves.

use std::thread;

use monitor_common::verdict::Reason::*;
use monitor_tests::{
    harness::{
        packet::{packet, packet6},
        program::{DROP, PASS, Program},
        rules::{self, MILLISECOND, SECOND, START},
    },
    or_skip,
};

use crate::limiter::stay_on;

fn dns(limit: &str) -> String {
    format!(
        "[access]\ninside = []\n[[service]]\nname = \"dns\"\nprotocol = \"udp\"\nports = [53]\nmode = \"enforce\"\n\
         limit = {limit}\n"
    )
}

const SLOW: &str = "{ packets = \"60/h\", packets_burst = 60 }";
const FAST: &str = "{ packets = \"1k/s\", packets_burst = 1000 }";

#[test]
fn who_owes_under_a_slow_limit_is_served_under_the_raised_one_within_a_tick() {
    let program = or_skip!("a raised limit", Program::load());
    let cpus = thread::available_parallelism().unwrap().get();
    // The owner of an entry alone, and an entry that two CPUs share.
    for (round, visitors) in (0u64..).zip([0, 1usize.min(cpus - 1)]) {
        for frame in [packet().udp(1000, 53).build(), packet6().udp(1000, 53).build()] {
            let slow = rules::compile(&dns(SLOW), None).unwrap();
            program.install(&slow);
            let now = START + round * 100_000 * SECOND;
            program.set_clock(now);
            for cpu in 0..=visitors {
                stay_on(cpu);
                program.judge(&frame, 100);
            }
            assert_eq!(program.judge(&frame, 1).verdict, DROP);
            program.set_clock(now + 20 * SECOND);
            assert_eq!(program.judge(&frame, 3).verdict, DROP, "20 of 3600 seconds are paid");
            program.install(&rules::compile(&dns(FAST), Some(&slow)).unwrap());
            for cpu in 0..=visitors {
                stay_on(cpu);
                program.judge(&frame, 1);
            }
            for step in 1..50 {
                program.set_clock(now + 20 * SECOND + step * 4 * MILLISECOND);
                for cpu in 0..=visitors {
                    stay_on(cpu);
                    assert_eq!(program.judge(&frame, 1).verdict, PASS, "tick {step}, round {round}");
                }
            }
        }
    }
}

#[test]
fn the_raised_limit_holds_what_it_says() {
    let program = or_skip!("a raised limit's own promise", Program::load());
    let slow = rules::compile(&dns(SLOW), None).unwrap();
    program.install(&slow);
    program.set_clock(START);
    let frame = packet().udp(1000, 53).build();
    program.judge(&frame, 100);
    let fast = rules::compile(&dns(FAST), Some(&slow)).unwrap();
    program.install(&fast);
    let service = rules::number(&fast, "dns");
    let before = program.ended(service, Accepted);
    for step in 0..250 {
        program.set_clock(START + step * 4 * MILLISECOND);
        program.judge(&frame, 50);
    }
    // The whole burst is owed at first, so a second admits what the rate says.
    let passed = program.ended(service, Accepted) - before;
    assert!((950..=1001).contains(&passed), "{passed} in a second at 1000/s");
}

#[test]
fn a_noisy_neighbour_on_the_link_leaves_the_router_its_own_limit() {
    let program = or_skip!("link-local sources", Program::load());
    let image = rules::compile(&dns("{ packets = \"100/s\", packets_burst = 10 }"), None).unwrap();
    program.install(&image);
    program.set_clock(START);
    let from = |source: &str| packet6().between(source, "fe80::99").udp(1000, 53).build();
    program.judge(&from("fe80::bad"), 100);
    assert_eq!(program.judge(&from("fe80::bad"), 1).verdict, DROP);
    assert_eq!(program.judge(&from("fe80::1"), 1).verdict, PASS);
    assert_eq!(program.judge(&from("febf::2"), 1).verdict, PASS);
    // Elsewhere a /64 is one source.
    program.judge(&from("2001:db8::bad"), 100);
    assert_eq!(program.judge(&from("2001:db8::1"), 1).verdict, DROP);
    program.ban("fe80::bad", u64::MAX);
    assert_eq!(program.judge(&from("fe80::1"), 1).verdict, PASS);
    assert_eq!(program.judge(&from("fe80::bad"), 1).verdict, DROP);
    assert!(program.ended(0, Banned) >= 1);
}
