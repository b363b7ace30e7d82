//! Whatever comes from outside -> what must hold of its reading. The fuzzers run these, and on stable a bounded test.
//!
//! In: bytes. Out: nothing; a violation panics.

use api::access::AccessAdd;
use api::history::Confirm;
use api::limits::LimitSet;
use api::schema::parse_prefix;
use api::tune::TuneTarget;
use capture::{Capture, LONGEST_FRAME, Link, SHORTEST_FRAME};
use ipnet::IpNet;
use monitor_common::{
    application::{Recognition, encryption, flag, lead::Lead},
    flow::{aggregate, from_halves, halves, protocol},
    parse::{Parsed, parse},
};
use policy::ListPolicy;
use policy::config::{Config, ListAction};
use serde::{Serialize, de::DeserializeOwned};

/// A frame is read within its bounds, and always in the same way.
///
/// # Panics
/// When that does not hold; so for all below.
pub fn frame(bytes: &[u8]) {
    let parsed = parse(bytes);
    assert_eq!(parsed, parse(bytes));
    let Parsed::Ip(ip) = parsed else { return };
    assert_eq!(ip.length as usize, bytes.len());
    assert!(ip.network_offset < ip.transport_offset && ip.transport_offset <= ip.length);
    assert!(ip.transport_offset + ip.payload <= ip.length);
    let [high, low] = ip.source;
    assert_eq!(halves(&from_halves(high, low)), (high, low));
    let (v4_bits, v6_bits) = (u32::from(bytes[0] % 34), u32::from(bytes[1] % 130));
    let (high, low) = aggregate(high, low, ip.is_v4, v4_bits, v6_bits);
    assert_eq!(
        aggregate(high, low, ip.is_v4, v4_bits, v6_bits),
        (high, low),
        "aggregating twice changes nothing"
    );
}

/// A list is read alike twice, every entry is taken or skipped, and nothing that is protected or too wide is denied.
pub fn list(bytes: &[u8]) {
    let protected: Vec<IpNet> =
        ["10.0.0.0/8", "fe80::/10"].map(|text| text.parse().expect("a prefix")).to_vec();
    let policy =
        ListPolicy { shortest_ipv4: 8, shortest_ipv6: 16, largest_share: 0.15, protected: protected.clone() };
    let read = || policy::import("list", ListAction::Deny, bytes, &policy);
    let taken = read();
    assert_eq!(taken, read());
    let Ok(taken) = taken else { return };
    assert_eq!(taken.taken_lines + taken.skipped_lines, taken.lines);
    assert!(taken.skipped.len() <= taken.skipped_lines);
    for (prefix, next) in taken.prefixes.iter().zip(taken.prefixes.iter().skip(1)) {
        assert!(prefix < next && !prefix.contains(next), "{prefix} and {next}");
    }
    for prefix in &taken.prefixes {
        // Neighbours are joined, so a prefix may be wider than each that it was made of.
        assert!(!protected.iter().any(|other| prefix.contains(other) || other.contains(prefix)), "{prefix}");
    }
}

/// Segments of a conversation, each behind its length with the direction in the upper bit: read alike twice, never less known
/// than before, never in clear with a password inside TLS, and at an end after a bounded number of looks.
pub fn segments(bytes: &[u8]) {
    let (upper, mut rest) = match bytes {
        [first, rest @ ..] if first & 1 == 0 => (protocol::TCP, rest),
        [_, rest @ ..] => (protocol::UDP, rest),
        [] => return,
    };
    let (mut known, mut looks) = (Recognition::default(), 0);
    while let [length, behind @ ..] = rest {
        let (forward, length) = (length & 0x80 != 0, usize::from(length & 0x7f).min(behind.len()));
        let (segment, next) = behind.split_at(length);
        rest = next;
        if segment.is_empty() || !known.is_open(forward) {
            continue;
        }
        let lead = Lead::of(segment);
        let seen = known.see(&lead, upper, forward);
        assert_eq!(seen, known.see(&lead, upper, forward));
        assert!(!known.is_named() || seen.protocol() == known.protocol() || seen.is_encrypted());
        assert!(seen.encryption() >= known.encryption());
        let gave_away = seen.has(flag::CREDENTIALS) && !known.has(flag::CREDENTIALS);
        assert!(!gave_away || seen.encryption() == encryption::CLEAR);
        (known, looks) = (seen, looks + 1);
    }
    assert!(looks <= 16, "{looks} looks");
}

/// A configuration is refused with a place, or can be written out and read again.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Config::parse(&text, "fuzzed.toml") {
        Err(error) => assert!(error.to_string().contains("fuzzed.toml"), "{error}"),
        Ok(config) => {
            let written = config.to_toml().expect("what was read can be written");
            let again = Config::parse(&written, "written.toml").expect("what was written can be read");
            assert_eq!(config, again, "{written}");
        }
    }
}

/// The body of a request is refused, or means the same when it is written and read again.
pub fn request(bytes: &[u8]) {
    fn check<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        let Ok(body) = serde_json::from_slice::<T>(bytes) else { return };
        let written = serde_json::to_vec(&body).expect("what was read can be written");
        assert_eq!(body, serde_json::from_slice(&written).expect("what was written can be read"));
    }
    check::<LimitSet>(bytes);
    check::<AccessAdd>(bytes);
    check::<Confirm>(bytes);
    check::<TuneTarget>(bytes);
    if let Ok(prefix) = parse_prefix(&String::from_utf8_lossy(bytes)) {
        assert_eq!(parse_prefix(&prefix.to_string()), Ok(prefix));
    }
}

/// A capture is refused, or its packets are no longer than the file, and the frame of each is read within its bounds.
pub fn capture(bytes: &[u8]) {
    let Ok(mut capture) = Capture::new(bytes) else { return };
    let mut made = Vec::new();
    while let Ok(Some(packet)) = capture.read() {
        // What is compressed may be longer than the file.
        assert!(packet.data.len() <= bytes.len() || bytes.starts_with(&[0x1f, 0x8b]));
        assert!(packet.data.len() <= packet.length as usize);
        made.clear();
        let link = packet.link_type.and_then(Link::of);
        if link.is_some_and(|link| link.append(&packet, &mut made)) {
            assert!((SHORTEST_FRAME..=LONGEST_FRAME).contains(&made.len()));
            frame(&made);
        }
    }
    assert!(capture.read().is_ok_and(|packet| packet.is_none()), "the end is the end");
}
