//! A bounded round of what the fuzzers do, from seeds that are nearly right.

use monitor_common::flow::protocol::UDP;
use monitor_tests::harness::{
    capture::{self, Written},
    dialogues, inputs,
    packet::packet,
};

use crate::{
    fixtures::{self, Rules, policy},
    random::Random,
};

/// Runs `check` over mutations of `seeds`, each of which must hold as well.
fn round(name: &str, seeds: &[Vec<u8>], times: usize, check: impl Fn(&[u8])) {
    let mut random = Random::seeded(name);
    for seed in seeds {
        check(seed);
    }
    for _ in 0..times {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(3) {
            let (at, other) = (random.below(bytes.len()), random.below(bytes.len()));
            let word = random.word().to_le_bytes();
            match random.below(6) {
                0 => bytes[at] = word[0],
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at, word[0]),
                4 => drop(bytes.remove(at)),
                _ => bytes.swap(at, other),
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        check(&bytes);
    }
}

#[test]
fn frames_are_read_within_their_bounds() {
    let seeds = fixtures::all().into_iter().map(|row| row.frame).collect::<Vec<_>>();
    round("frames", &seeds, 200_000, inputs::frame);
}

#[test]
fn configurations_are_refused_with_a_place_or_survive_a_round_trip() {
    let mut seeds = [Rules::Standard, Rules::Strict, Rules::Guarded, Rules::Observed, Rules::Grouped]
        .map(|rules| policy::text(rules).into_bytes())
        .to_vec();
    seeds.push(::policy::config::Config::default_file().as_bytes().to_vec());
    round("configurations", &seeds, 3000, inputs::config);
}

#[test]
fn lists_are_taken_entry_by_entry_and_never_cover_what_is_protected() {
    let seeds = [
        "# drop\n192.0.2.0/24 ; SBL1\n198.51.100.1-198.51.100.9\n2001:db8::/32\n10.1.2.3\n0.0.0.0/1\n",
        "Start\tEnd\tNetmask\n192.0.2.0\t192.0.2.255\t24\n",
        "{\"cidr\":\"192.0.2.0/24\"}\n[{\"prefixes\":[{\"ipv4Prefix\":\"198.51.100.0/24\"}]}]",
        "add drop 192.0.2.7\nelements = { 198.51.100.0/24, 203.0.113.1-203.0.113.7 }\n",
        "name:192.0.2.0-192.0.2.9\n\"ip\",\"asn\"\n\"::ffff:198.51.100.7\",\"AS1\"\n",
    ];
    round("lists", &seeds.map(|text| text.as_bytes().to_vec()), 20_000, inputs::list);
}

#[test]
fn requests_are_refused_or_survive_a_round_trip() {
    let seeds = [
        r#"{"mode":"enforce","packets":{"rate":"2k/s","burst":4000},"kind":"aggregate"}"#,
        r#"{"prefix":"198.51.100.9","for_seconds":600,"comment":"ticket 4711"}"#,
        r#"{"change":7}"#,
        r#"{"class":"inside","quantile":0.99,"headroom":2.0}"#,
        // A fuzzer found that this number was not read as what it is.
        r#"{"class":"inside","headroom":-2E-254}"#,
        "2001:db8::/32",
        "10.0.0.0/8",
    ]
    .map(|seed| seed.as_bytes().to_vec());
    round("requests", &seeds, 50_000, inputs::request);
}

#[test]
fn captures_are_refused_or_read_within_their_bounds() {
    let frame = packet().udp(1000, 53).build();
    let frames = [(1_700_000_000_000_000_001, frame.clone()), (0, frame.clone())];
    let plain = Written::default();
    let mut seeds = Vec::new();
    for big_endian in [false, true] {
        let ways =
            [1, 101, 0, 113, 276, 239, 107].map(|link_type| Written { big_endian, link_type, ..plain });
        seeds.extend(ways.iter().flat_map(|way| [way.pcap(&frames), way.pcapng(&frames)]));
        let short = Written { big_endian, nanoseconds: true, snap_length: 20, ..plain };
        seeds.extend([short.pcap(&frames), short.pcapng(&frames)]);
    }
    for seed in &seeds {
        let (packets, whole) = capture::packets(seed).unwrap();
        assert!(whole && packets.iter().all(|packet| frame.starts_with(packet)));
        assert_eq!(packets.len(), 2);
    }
    round("captures", &seeds, 30_000, inputs::capture);
}

#[test]
fn segments_are_recognised_in_bounds_and_nothing_that_was_known_is_lost() {
    let seeds: Vec<Vec<u8>> = dialogues::all()
        .into_iter()
        .map(|dialogue| {
            let mut seed = vec![u8::from(dialogue.upper == UDP)];
            for (forward, bytes) in dialogue.segments {
                let bytes = &bytes[..bytes.len().min(0x7f)];
                seed.push(u8::try_from(bytes.len()).unwrap() | u8::from(forward) << 7);
                seed.extend(bytes);
            }
            seed
        })
        .collect();
    round("segments", &seeds, 200_000, inputs::segments);
}
