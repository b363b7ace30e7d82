//! Standing is earned by proof: packets that anybody could have forged ban nobody and buy no reserved share.

use monitor_common::{
    flow::BanKey,
    names::map,
    record::{Ban, entry},
    verdict::Reason::*,
};
use monitor_tests::{
    harness::{
        packet::{Packet, flag::*, packet, packet6},
        program::{DROP, PASS, Program},
        rules::{self, SECOND, START},
    },
    or_skip,
};

use crate::random::Random;

const RULES: &str = r#"
[access]
inside = []
[[service]]
name = "ssh"
protocol = "tcp"
ports = [22]
mode = "enforce"
limit = { connections = "5/s", connections_burst = 5 }
ban = { after = 100, within = "10s", for = "10m" }
"#;

/// Both families, with the far end's address and the host's.
fn families() -> [(Packet, &'static str, &'static str); 2] {
    [(packet(), "10.1.0.1", "10.2.0.1"), (packet6(), "fd00:1::1", "fd00:2::1")]
}

/// One end and the other of a connection to ssh.
struct Client<'a> {
    program: &'a Program,
    bare: Packet,
    peer: &'static str,
    host: &'static str,
}

impl Client<'_> {
    fn send(&self, port: u16, flags: u8, acknowledged: u32) -> u32 {
        let mut frame = self.bare.clone().tcp(port, 22, flags).build();
        let header = if frame[12] == 0x86 { 54 } else { 34 };
        frame[header + 8..header + 12].copy_from_slice(&acknowledged.to_be_bytes());
        self.program.judge(&frame, 1).verdict
    }

    /// The host answers with a number that only the true owner of the address is told; as on a mirror port, it comes in.
    fn answer(&self, port: u16, sequence: u32) {
        let bare = self.bare.clone().between(self.host, self.peer);
        let mut frame = bare.tcp(22, port, SYN | ACK).build();
        let header = if frame[12] == 0x86 { 54 } else { 34 };
        frame[header + 4..header + 8].copy_from_slice(&sequence.to_be_bytes());
        self.program.judge(&frame, 1);
    }

    /// A connection, if the SYN passes.
    fn connect(&self, port: u16, sequence: u32) -> bool {
        if self.send(port, SYN, 0) == DROP {
            return false;
        }
        self.answer(port, sequence);
        self.send(port, ACK, sequence.wrapping_add(1));
        true
    }

    fn key(&self) -> BanKey {
        let (high, low) = rules::address(self.peer);
        BanKey { high, low: if self.peer.contains(':') { 0 } else { low } }
    }

    fn is_banned(&self) -> bool {
        self.program.find::<BanKey, Ban>(map::BANS, &self.key()).is_some()
    }

    fn flags(&self, service: u32) -> u16 {
        let key = self.key();
        self.program.entry(key.high, key.low, service).map_or(0, |found| found.flags)
    }

    fn is_proven(&self, service: u32) -> bool {
        self.flags(service) & entry::PROVEN != 0
    }
}

fn with_clients(name: &str, text: &str, check: impl Fn(&Client<'_>, u32)) {
    for (bare, client, host) in families() {
        let program = or_skip!(name, Program::load());
        let image = rules::compile(text, None).unwrap();
        program.install(&image);
        program.set_clock(START);
        check(&Client { program: &program, bare, peer: client, host }, rules::number(&image, "ssh"));
    }
}

#[test]
fn forged_connections_are_limited_and_ban_nobody() {
    with_clients("forged connections", RULES, |victim, ssh| {
        for number in 0..5000u16 {
            victim.program.set_clock(START + u64::from(number) * SECOND / 500);
            victim.send(1000 + number, SYN, 0);
            victim.answer(1000 + number, u32::from(number) << 9);
            // Whoever forges sees none of the answers.
            victim.send(1000 + number, ACK, u32::from(number));
        }
        assert!(!victim.is_banned() && !victim.is_proven(ssh));
        assert!(victim.program.ended(ssh, ConnectionRate) > 4800);
    });
}

#[test]
fn a_client_that_connects_now_and_then_is_not_banned_by_forged_packets() {
    with_clients("a proven victim", RULES, |victim, ssh| {
        assert!(victim.connect(1000, 77) && victim.is_proven(ssh));
        let flood = victim.bare.clone().tcp(2000, 22, SYN).build();
        for second in 0..30 {
            victim.program.set_clock(START + second * SECOND);
            victim.program.judge(&flood, 1000);
            if second % 10 == 5 {
                victim.connect(3000 + u16::try_from(second).unwrap(), 78);
            }
        }
        assert!(!victim.is_banned());
    });
}

#[test]
fn who_exceeds_a_limit_by_connections_of_its_own_is_banned() {
    with_clients("an offender", RULES, |offender, ssh| {
        let mut made = 0;
        for attempt in 0..600u16 {
            offender.program.set_clock(START + u64::from(attempt) * SECOND / 100);
            made += u32::from(offender.connect(1000 + attempt, u32::from(attempt) * 7919));
            if offender.is_banned() {
                break;
            }
        }
        assert!(offender.is_banned() && offender.is_proven(ssh), "{made} connections");
        assert_eq!(offender.send(9, ACK, 0), DROP);
    });
}

#[test]
fn a_service_that_opts_in_bans_the_unproven_too() {
    let text = RULES.replace("for = \"10m\"", "for = \"10m\", unproven = true");
    with_clients("unproven bans", &text, |victim, _| {
        victim.program.judge(&victim.bare.clone().tcp(2000, 22, SYN).build(), 200);
        assert!(victim.is_banned());
    });
}

#[test]
fn an_acknowledgement_proves_once_and_for_its_own_connection() {
    with_clients("wrong numbers", RULES, |client, ssh| {
        client.send(1000, SYN, 0);
        client.answer(1000, u32::MAX);
        for wrong in [1, 2, u32::MAX, 1 << 31] {
            client.send(1000, ACK, wrong);
        }
        client.send(1001, ACK, 0);
        client.send(1000, ACK | RST, 0);
        client.send(1000, ACK | SYN, 0);
        assert!(!client.is_proven(ssh));
        client.send(1000, ACK, 0);
        assert!(client.is_proven(ssh));
        let proofs = || client.flags(ssh) >> 8;
        let before = proofs();
        client.send(1000, ACK, 0);
        assert_eq!(proofs(), before);
    });
}

#[test]
fn what_is_reserved_for_the_known_is_not_bought_with_a_forged_packet_each() {
    let text = RULES
        .replace("ban = ", "aggregate = { packets = \"200/s\", packets_burst = 50, reserve = 0.5 }\n#")
        + "[flood]\nnew_sources = \"1k/s\"\nburst = 100\nknown_after = \"5s\"\n";
    with_clients("a bought share", &text, |client, ssh| {
        assert!(client.connect(1000, 5));
        let seeded = |number: u32| {
            let source = if client.peer.contains(':') {
                format!("2001:db8:0:{number:x}::1")
            } else {
                format!("198.18.0.{number}")
            };
            client.bare.clone().source(&source).tcp(1000, 22, ACK).build()
        };
        // Seeded below the budget, and there for as long as the known are.
        for number in 1..=50 {
            client.program.set_clock(START + u64::from(number) * SECOND / 10);
            client.program.judge(&seeded(number), 1);
        }
        let (mut served, mut now) = (0, START + 20 * SECOND);
        let mut random = Random::seeded("a bought share");
        for _ in 0..500 {
            now += SECOND / 250;
            client.program.set_clock(now);
            for _ in 0..10 {
                client.program.judge(&seeded(1 + u32::try_from(random.below(50)).unwrap()), 1);
            }
            served += u32::from(client.send(1000, ACK, 1) == PASS);
        }
        assert!(client.program.ended(ssh, AggregatePacketRate) > 4000);
        // Half of 200 a second is its own for two seconds.
        assert!(served >= 190, "{served} of 500");
    });
}

fn below(random: &mut Random, bound: u32) -> u32 {
    u32::try_from(random.word() % u64::from(bound)).unwrap()
}

/// Anything that a sender without an answer can make of an address: any flags, numbers, ports, sizes and protocols.
fn forged(victim: &Client<'_>, random: &mut Random) -> Vec<u8> {
    let port = [1000, 1001, 1002, 1003, 1004, 1005][random.below(6)];
    let service = [22, 22, 22, 80, 40_000][random.below(5)];
    if random.below(8) == 0 {
        return victim.bare.clone().udp([53, port][random.below(2)], service).build();
    }
    let flags = u8::try_from(below(random, 64)).unwrap();
    let mut frame = victim.bare.clone().tcp(port, service, flags).build();
    let header = if frame[12] == 0x86 { 54 } else { 34 };
    // Numbers near those in use, and any others; never the one that was told, which nobody guesses twice in 2^32.
    let spread = if random.below(2) == 0 { 64 } else { u32::MAX };
    let number = below(random, spread);
    frame[header + 8..header + 12].copy_from_slice(&number.to_be_bytes());
    frame
}

#[test]
fn no_sequence_of_forged_packets_changes_the_standing_of_the_proven() {
    // Its own limit is all that others can spend: 50 packets a second, 5 connections.
    let text = RULES
        .replace("limit = { connections", "limit = { packets = \"50/s\", packets_burst = 50, connections");
    with_clients("sequences of forged packets", &text, |victim, ssh| {
        let mut random = Random::seeded("sequences of forged packets");
        let mut now = START;
        assert!(victim.connect(1000, 1 << 20));
        for round in 0..60u16 {
            let before = victim.flags(ssh);
            for _ in 0..random.below(400) {
                now += random.word() % (SECOND / 100);
                victim.program.set_clock(now);
                victim.program.judge(&forged(victim, &mut random), 1);
            }
            let after = victim.flags(ssh);
            assert!(after & entry::PROVEN != 0, "round {round}: the proof is lost");
            assert!(after >> 8 <= before >> 8, "round {round}: a forged packet counts as proof");
            assert!(!victim.is_banned(), "round {round}");
            // A second of silence, and it is served again, whatever was sent in its name.
            now += 2 * SECOND;
            victim.program.set_clock(now);
            if random.below(3) == 0 {
                let sequence = (1 << 20) + below(&mut random, 1 << 30);
                assert!(victim.connect(1000 + round % 6, sequence), "round {round}");
            } else {
                assert_eq!(victim.send(1000, ACK, 1), PASS, "round {round}");
            }
        }
    });
}
