//! What a host cannot be without passes within a safe rate, whatever the limits say.

use monitor_common::verdict::Reason::*;
use monitor_tests::{
    harness::{
        packet::{packet, packet6},
        program::Program,
        rules::{self, SECOND, START},
    },
    or_skip,
};

const RULES: &str = r#"
[access]
inside = []
[default]
mode = "enforce"
limit = { packets = "10/s", packets_burst = 10 }
aggregate = { packets = "20/s", packets_burst = 20 }
"#;

#[test]
fn discovery_path_mtu_and_dhcp_pass_over_a_spent_limit_and_no_more_than_that() {
    let solicitation = packet6().between("fe80::2", "ff02::1:ff00:1").icmp(135, 0);
    let too_big = packet6().between("2001:db8::2", "fd00:2::1").icmp(2, 0);
    let needed = packet().between("192.0.2.2", "10.2.0.1").icmp(3, 4);
    let offer = packet().between("192.0.2.2", "255.255.255.255").udp(67, 68);
    for (what, vital) in
        [("discovery", solicitation), ("too big", too_big), ("needed", needed), ("offer", offer)]
    {
        let program = or_skip!("vital packets", Program::load());
        program.install(&rules::compile(RULES, None).unwrap());
        program.set_clock(START);
        program.judge(&vital.payload_bytes(48).build(), 200);
        // A burst is what fits into it by the clock: nine by the limit, 49 by the safe rate of a source.
        let ends = [Accepted, Vital, PacketRate].map(|reason| program.ended(0, reason));
        assert_eq!(ends, [9, 49, 142], "{what}");
    }
}

#[test]
fn a_safe_rate_is_the_sources_own_and_its_kind_has_one_too() {
    let program = or_skip!("safe rates of many sources", Program::load());
    program.install(&rules::compile(RULES, None).unwrap());
    program.set_clock(START);
    let from = |number: u32| {
        packet6().between(&format!("fe80::{number:x}"), "ff02::1").icmp(136, 0).payload_bytes(24).build()
    };
    for number in 1..=100 {
        program.judge(&from(number), 100);
    }
    let spared = program.ended(0, Vital);
    assert!((990..=1000).contains(&spared), "{spared}");
    program.set_clock(START + SECOND);
    program.judge(&from(200), 60);
    assert!(program.ended(0, Vital) - spared >= 40, "a source that has sent nothing yet");
}

#[test]
fn a_denied_or_banned_source_has_no_safe_rate() {
    let program = or_skip!("vital packets of the denied", Program::load());
    program.install(
        &rules::compile(&RULES.replace("inside = []", "inside = []\ndenied = [\"fe80::2\"]"), None).unwrap(),
    );
    program.set_clock(START);
    program.judge(&packet6().between("fe80::2", "ff02::1").icmp(135, 0).payload_bytes(24).build(), 30);
    assert_eq!((program.ended(0, Denied), program.ended(0, Vital)), (30, 0));
}
