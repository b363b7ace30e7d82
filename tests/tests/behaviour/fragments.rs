//! Later fragments follow the service and the fate of their first one; what comes without a first one has a limit of its own.

use monitor_common::verdict::Reason::*;
use monitor_tests::{
    harness::{
        packet::{Packet, number::UDP, packet, packet6},
        program::{DROP, PASS, Program},
        rules::{self, SECOND, START},
    },
    or_skip,
};
use policy::Image;

const RULES: &str = r#"
[access]
inside = []
[default]
mode = "enforce"
limit = { packets = "100k/s" }
[[service]]
name = "dns"
protocol = "udp"
ports = [53]
mode = "enforce"
limit = { packets = "100/s", packets_burst = 10 }
"#;

fn installed(program: &Program, extra: &str) -> Image {
    let image = rules::compile(&format!("{RULES}{extra}"), None).unwrap();
    program.install(&image);
    program.set_clock(START);
    image
}

fn families() -> [Packet; 2] {
    [packet(), packet6()]
}

fn first(bare: &Packet) -> Vec<u8> {
    bare.clone().fragment(0, true).udp(1000, 53).payload_bytes(16).build()
}

fn later(bare: &Packet) -> Vec<u8> {
    bare.clone().fragment(24, false).protocol(UDP).payload_bytes(16).build()
}

#[test]
fn later_fragments_are_charged_to_the_service_of_their_first() {
    for bare in families() {
        let program = or_skip!("later fragments", Program::load());
        let image = installed(&program, "");
        let dns = rules::number(&image, "dns");
        assert_eq!(program.judge(&first(&bare), 1).verdict, PASS);
        assert_eq!(program.judge(&later(&bare), 30).verdict, DROP);
        assert_eq!((program.ended(dns, Accepted), program.ended(dns, PacketRate)), (9, 22));
        assert_eq!((program.ended(0, Accepted), program.ended(0, StrayFragment)), (0, 0));
    }
}

#[test]
fn the_rest_of_a_dropped_first_fragment_is_dropped() {
    for bare in families() {
        let program = or_skip!("the rest of a dropped datagram", Program::load());
        installed(&program, "");
        program.judge(&bare.clone().udp(1000, 53).build(), 20);
        assert_eq!(program.judge(&first(&bare), 1).verdict, DROP);
        assert_eq!(program.judge(&later(&bare), 5).verdict, DROP);
        assert_eq!(program.ended(0, StrayFragment), 5);
        // A tiny one too: what was cut off its header does not wait in the host's memory.
        let program = or_skip!("the rest of a tiny fragment", Program::load());
        installed(&program, "");
        let tiny = bare.clone().fragment(0, true).protocol(UDP).payload_bytes(7).build();
        assert_eq!(program.judge(&tiny, 1).verdict, DROP);
        assert_eq!(program.judge(&later(&bare), 5).verdict, DROP);
        assert_eq!((program.ended(0, TinyFragment), program.ended(0, StrayFragment)), (1, 5));
    }
}

#[test]
fn fragments_without_a_first_one_have_limits_of_their_own() {
    for bare in families() {
        let program = or_skip!("stray fragments", Program::load());
        installed(&program, "");
        program.judge(&later(&bare), 20_000);
        let passed = program.ended(0, Accepted);
        assert!((40..=50).contains(&passed), "{passed} of one source");
        assert_eq!(passed + program.ended(0, StrayFragment), 20_000);
        // All sources together.
        for number in 0..4000 {
            let (high, low) = (number / 250, 1 + number % 250);
            let source = match bare.build()[12] {
                0x86 => format!("2001:db8:{high:x}:{low:x}::1"),
                _ => format!("198.18.{high}.{low}"),
            };
            program.judge(&later(&bare.clone().source(&source)), 1);
        }
        let passed = program.ended(0, Accepted);
        assert!((990..=1000).contains(&passed), "{passed} of all sources");
        // A datagram whose first fragment is there is none of these.
        program.set_clock(START + SECOND / 100);
        let other = bare.clone().source(if bare.build()[12] == 0x86 { "2001:db8:f::1" } else { "192.0.2.9" });
        assert_eq!(program.judge(&first(&other), 1).verdict, PASS);
        assert_eq!(program.judge(&later(&other), 3).verdict, PASS);
    }
}

#[test]
fn strays_that_are_observed_pass_and_are_told() {
    let program = or_skip!("observed stray fragments", Program::load());
    let image = installed(&program, "[fragments]\nmode = \"observe\"\n");
    assert_eq!(program.judge(&later(&packet()), 200).verdict, PASS);
    let totals = program.totals(rules::number(&image, "default"));
    assert_eq!(totals.ended[StrayFragment as usize].packets, 0);
    assert!(totals.would_drop[StrayFragment as usize].packets >= 150);
}

#[test]
fn bans_and_limits_hold_for_what_is_wrong_behind_the_addresses() {
    for bare in families() {
        let program = or_skip!("defects of the banned", Program::load());
        installed(&program, "[malformed]\nextension_headers = \"pass\"\ntiny_fragments = \"pass\"\n");
        let tiny = bare.clone().fragment(0, true).protocol(UDP).payload_bytes(7).build();
        assert_eq!(program.judge(&tiny, 1).verdict, PASS);
        assert_eq!(program.ended(0, MalformedPassed), 1);
        let source = if bare.build()[12] == 0x86 { "fd00:1::" } else { "10.1.0.1" };
        program.ban(source, u64::MAX);
        assert_eq!(program.judge(&tiny, 3).verdict, DROP);
        assert_eq!(program.ended(0, Banned), 3);
    }
}
