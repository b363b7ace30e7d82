//! What conversations speak: the kernel recognises what the host does, of fixtures, pieces, mutations and captures.

use std::collections::BTreeMap;

use datapath::{Capacities, Simulator};
use monitor_common::{
    application::{Recognition, encryption, flag, protocol},
    conversation::ConversationKey,
    flow::protocol::TCP,
};
use monitor_tests::{
    harness::{
        dialogues::{self, Dialogue, follow},
        packet::{flag as tcp, packet, packet6},
        rules::{self, HASH_KEY, MILLISECOND, START},
    },
    or_skip,
};

use crate::random::Random;

const RULES: &str = "[access]\ninside = [\"192.0.2.0/24\", \"198.51.100.0/24\", \"2001:db8::/32\"]\n";

fn simulator() -> anyhow::Result<Simulator> {
    let mut simulator = Simulator::open(Capacities::default(), Some(HASH_KEY))?;
    simulator.apply(&rules::compile(RULES, None)?)?;
    Ok(simulator)
}

/// The frames of a conversation of the client at this port: a handshake before it when it is TCP.
fn frames(dialogue: &Dialogue, client: u16, v6: bool) -> Vec<Vec<u8>> {
    let server = 700;
    let base = || if v6 { packet6() } else { packet() };
    let (one, other) = if v6 { ("2001:db8::9", "2001:db8::1") } else { ("192.0.2.9", "198.51.100.1") };
    let between = |forward: bool| {
        let (from, to) = if forward { (one, other) } else { (other, one) };
        base().between(from, to)
    };
    let ports = |forward: bool| if forward { (client, server) } else { (server, client) };
    let mut frames = Vec::new();
    if dialogue.upper == TCP {
        for (forward, flags) in [(true, tcp::SYN), (false, tcp::SYN | tcp::ACK), (true, tcp::ACK)] {
            let (from, to) = ports(forward);
            frames.push(between(forward).tcp(from, to, flags).build());
        }
    }
    for (forward, bytes) in &dialogue.segments {
        let (from, to) = ports(*forward);
        let start = between(*forward);
        let start = if dialogue.upper == TCP {
            start.tcp(from, to, tcp::ACK | tcp::PSH)
        } else {
            start.udp(from, to)
        };
        frames.push(start.payload(bytes).build());
    }
    frames
}

/// What the kernel knows of each client's conversation.
fn known(simulator: &Simulator) -> BTreeMap<u16, Recognition> {
    let client = |key: &ConversationKey| key.lower_port.max(key.higher_port);
    let all = simulator.conversations().unwrap().read_all().unwrap();
    all.iter().map(|(key, value)| (client(key), Recognition(value.recognised))).collect()
}

#[test]
fn the_kernel_recognises_every_fixture_as_the_host_does() {
    for v6 in [false, true] {
        let mut simulator = or_skip!("recognition", simulator());
        let mut now = START;
        let all = dialogues::all();
        for (number, dialogue) in (10_000..).zip(&all) {
            for frame in frames(dialogue, number, v6) {
                now += MILLISECOND;
                simulator.run(&frame, now).unwrap();
            }
        }
        let known = known(&simulator);
        for (number, dialogue) in (10_000..).zip(&all) {
            let found = known[&number];
            let told = (protocol::label(found.protocol()), encryption::label(found.encryption()));
            assert_eq!(told, dialogue.speaks, "{}", dialogue.says);
            assert_eq!(found, dialogue.recognised(), "{}", dialogue.says);
        }
        assert_eq!(known.values().filter(|found| found.has(flag::CREDENTIALS)).count(), 11);
    }
}

#[test]
fn the_kernel_recognises_what_is_mutated_and_cut_as_the_host_does() {
    let mut simulator = or_skip!("recognition at random", simulator());
    let all = dialogues::all();
    let mut random = Random::seeded("recognition");
    let mut now = START;
    let mut sent = Vec::new();
    for number in 2000..22_000_u16 {
        let mut dialogue = all[random.below(all.len())].clone();
        for _ in 0..=random.below(3) {
            let one = random.below(dialogue.segments.len());
            let bytes = &mut dialogue.segments[one].1;
            let (at, other) = (random.below(bytes.len()), random.below(bytes.len()));
            match random.below(5) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes.truncate(at + 1),
                2 => bytes[at] = random.word().to_le_bytes()[0],
                3 => bytes.extend_from_within(other..),
                _ => bytes.swap(at, other),
            }
        }
        for frame in frames(&dialogue, number, false) {
            now += MILLISECOND / 100;
            simulator.run(&frame, now).unwrap();
        }
        sent.push((number, dialogue));
    }
    let known = known(&simulator);
    assert_eq!(known.len(), sent.len());
    for (number, dialogue) in sent {
        let segments = || dialogue.segments.iter().map(|(forward, bytes)| (*forward, &bytes[..]));
        let host = follow(dialogue.upper, segments());
        let shown: Vec<_> =
            segments().map(|(forward, bytes)| (forward, &bytes[..bytes.len().min(48)])).collect();
        assert_eq!(known[&number], host, "{} of {shown:02x?}", dialogue.says);
    }
}
