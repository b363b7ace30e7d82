//! `sluice replay` from outside: captures of the project's own making in, the documented JSON out, or one clear sentence.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use monitor_tests::{
    harness::{
        capture::Written,
        daemon::{self, Daemon, Said, binary},
        network::Network,
        packet::{Packet, flag, packet},
        program::Program,
        scene::INTERFACE,
    },
    or_skip,
};
use serde_json::Value;
use tempfile::TempDir;

const SECOND: u64 = 1_000_000_000;
/// 2023-11-14 22:13:20 UTC.
const BEGINS: u64 = 1_700_000_000 * SECOND;

const SCANNER: &str = "10.9.0.5";
const VICTIM: &str = "10.9.0.9";

type Timed = (u64, Vec<u8>);

/// What this machine lacks for a replay.
fn possible() -> Result<TempDir> {
    Program::load_parser()?;
    binary()?;
    Ok(tempfile::tempdir()?)
}

/// Adds a packet of `from` to `to`, so many milliseconds after the beginning.
fn put(frames: &mut Vec<Timed>, ms: u64, (from, to): (&str, &str), upper: impl FnOnce(Packet) -> Packet) {
    frames.push((BEGINS + ms * 1_000_000, upper(packet().between(from, to)).build()));
}

/// Somebody who tries forty ports of a host that refuses them, and others who fetch pages meanwhile.
fn scan_among_others() -> Vec<Timed> {
    let mut frames = Vec::new();
    for port in 1..=40_u16 {
        let at = u64::from(port) * 100;
        put(&mut frames, at, (SCANNER, VICTIM), |p| p.tcp(50_000, port, flag::SYN));
        put(&mut frames, at + 1, (VICTIM, SCANNER), |p| p.tcp(port, 50_000, flag::RST | flag::ACK));
    }
    for visit in 0..20_u16 {
        let (at, port) = (u64::from(visit) * 210 + 7, 40_000 + visit);
        let ends = ("10.9.0.20", "10.9.0.80");
        let back = (ends.1, ends.0);
        put(&mut frames, at, ends, |p| p.tcp(port, 443, flag::SYN));
        put(&mut frames, at + 1, back, |p| p.tcp(443, port, flag::SYN | flag::ACK));
        put(&mut frames, at + 2, ends, |p| p.tcp(port, 443, flag::ACK));
        put(&mut frames, at + 3, ends, |p| p.tcp(port, 443, flag::ACK).payload_bytes(200));
        put(&mut frames, at + 20, back, |p| p.tcp(443, port, flag::ACK).payload_bytes(1200));
        put(&mut frames, at + 30, ends, |p| p.tcp(port, 443, flag::FIN | flag::ACK));
        put(&mut frames, at + 31, back, |p| p.tcp(443, port, flag::FIN | flag::ACK));
    }
    frames.sort_by_key(|(at, _)| *at);
    frames
}

fn gzip(directory: &TempDir, file: &Path) -> PathBuf {
    let compressed = directory.path().join("compressed");
    let output = Command::new("gzip").arg("--stdout").arg(file).output().unwrap();
    fs::write(&compressed, output.stdout).unwrap();
    compressed
}

fn replay(arguments: &[&str]) -> Said {
    Said::of(&Command::new(binary().unwrap()).arg("replay").args(arguments).output().unwrap())
}

fn report(arguments: &[&str]) -> Value {
    let said = replay(&[arguments, &["-o", "json"]].concat()).ok().unwrap();
    serde_json::from_str(&said).unwrap()
}

/// Writes a file and gives its path as text.
fn write(directory: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_scan_is_found_and_the_report_is_as_documented() {
    let directory = or_skip!("a scan replayed", possible());
    let frames = scan_among_others();
    let bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
    let file = write(&directory, "scan", &Written::default().pcap(&frames));
    let report = report(&[&file]);
    assert_eq!(keys(&report), ["capture", "findings", "schema_version", "sources", "verdicts"]);
    assert_eq!(report["schema_version"], 1);
    let capture = &report["capture"];
    assert_eq!(keys(capture), ["bytes", "first", "last", "link_type", "packets", "skipped"]);
    assert_eq!((&capture["link_type"], &capture["packets"]), (&"ethernet".into(), &frames.len().into()));
    assert_eq!((&capture["bytes"], &capture["skipped"]), (&bytes.into(), &0.into()));
    assert_eq!(capture["first"], "2023-11-14T22:13:20.007Z");
    assert_eq!(capture["last"], "2023-11-14T22:13:24.028Z");
    assert_eq!(keys(&report["verdicts"]), ["accepted"]);
    let accepted = &report["verdicts"]["accepted"];
    assert_eq!(keys(accepted), ["bytes", "packets", "would_drop"]);
    assert_eq!((&accepted["packets"], &accepted["bytes"]), (&frames.len().into(), &bytes.into()));
    let sources = report["sources"].as_array().unwrap();
    assert_eq!(keys(&sources[0]), ["address", "bytes", "dropped", "packets", "would_drop"]);
    let order: Vec<_> =
        sources.iter().map(|row| (row["address"].as_str().unwrap(), &row["packets"])).collect();
    let wanted = [("10.9.0.20", 80), (SCANNER, 40), (VICTIM, 40), ("10.9.0.80", 60)];
    for (address, packets) in wanted {
        assert!(order.contains(&(address, &packets.into())), "{order:?}");
    }
    assert!(order.is_sorted_by_key(|(_, packets)| std::cmp::Reverse(packets.as_u64())), "{order:?}");

    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = &findings[0];
    let documented = [
        "confidence",
        "containment",
        "detector",
        "evidence",
        "first_seen",
        "last_seen",
        "measured",
        "raised_at",
        "service",
        "severity",
        "subject",
        "target",
        "threshold",
        "unit",
        "window_s",
    ];
    assert_eq!(keys(finding), documented);
    assert_eq!((&finding["detector"], &finding["severity"]), (&"port_scan".into(), &"warning".into()));
    assert_eq!((&finding["subject"], &finding["target"]), (&SCANNER.into(), &VICTIM.into()));
    assert!(finding["containment"].as_str().unwrap().starts_with("sluice "));
    let moment = |name: &str| finding[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let first = jiff::Timestamp::from_nanosecond((BEGINS + 100_000_000).into()).unwrap();
    assert_eq!(moment("first_seen"), first);
    // The fifteenth refusal came at 1.5 s.
    let raised = moment("raised_at").duration_since(first).as_millis();
    assert!((1400..3000).contains(&raised), "raised after {raised} ms");
    assert!(moment("last_seen") >= moment("raised_at"));

    let table = replay(&[&file]).ok().unwrap();
    for wanted in ["port_scan", SCANNER, VICTIM, "accepted", "220 packets"] {
        assert!(table.contains(wanted), "{wanted}: {table}");
    }
}

#[test]
fn the_same_traffic_says_the_same_however_it_was_recorded() {
    let directory = or_skip!("one capture in many forms", possible());
    let frames = scan_among_others();
    let plain = Written::default();
    let first = write(&directory, "plain", &plain.pcap(&frames));
    let said = |file: &str| replay(&[file, "-o", "json"]).ok().unwrap();
    let wanted = said(&first);
    assert_eq!(said(&first), wanted, "a second run says something else");
    let compressed = gzip(&directory, Path::new(&first)).display().to_string();
    assert_eq!(said(&compressed), wanted, "gzip");
    let fine = Written { nanoseconds: true, ..plain };
    let big = Written { big_endian: true, ..plain };
    // Headers are all that is looked at.
    let short = Written { snap_length: 54, ..plain };
    for (name, file) in [
        ("nanoseconds", fine.pcap(&frames)),
        ("big endian", big.pcap(&frames)),
        ("cut", short.pcap(&frames)),
        ("pcapng", plain.pcapng(&frames)),
        ("pcapng in nanoseconds", fine.pcapng(&frames)),
        ("pcapng, big endian", Written { big_endian: true, ..fine }.pcapng(&frames)),
        ("pcapng, cut", short.pcapng(&frames)),
    ] {
        assert_eq!(said(&write(&directory, "form", &file)), wanted, "{name}");
    }
    // Without Ethernet headers, and through a pipe.
    let bare: Vec<Timed> = frames.iter().map(|(at, frame)| (*at, frame[14..].to_vec())).collect();
    let raw = Written { link_type: 101, ..plain }.pcap(&bare);
    let raw: Value = serde_json::from_str(&piped(&raw, None).ok().unwrap()).unwrap();
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    assert_eq!(raw["capture"]["link_type"], "raw_ip");
    for part in ["verdicts", "sources", "findings"] {
        assert_eq!(raw[part], wanted[part], "{part}");
    }
}

/// A capture on standard input, as another user if there is one.
fn piped(file: &[u8], user: Option<u32>) -> Said {
    let mut command = Command::new(binary().unwrap());
    command.args(["replay", "-", "-o", "json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let file = file.to_vec();
    // Whoever is refused may not read to the end.
    let writing = std::thread::spawn(move || drop(input.write_all(&file)));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    Said::of(&output)
}

#[test]
fn the_limits_and_the_networks_that_are_named_judge() {
    let directory = or_skip!("a replay under other rules", possible());
    let file = write(&directory, "scan", &Written::default().pcap(&scan_among_others()));
    let rules = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [443]\nmode = \"enforce\"\n\
                 limit = { packets = \"1/s\", packets_burst = 10 }\n\
                 [default]\nmode = \"observe\"\nlimit = { connections = \"1/s\", connections_burst = 10 }\n\
                 [access]\ninside = [\"10.9.0.20/32\"]\ndenied = [\"10.9.0.9/32\"]\n";
    let rules = write(&directory, "sluice.toml", rules.as_bytes());
    let judged = report(&[&file, "--config", &rules]);
    let packets = |reason: &str, what: &str| judged["verdicts"][reason][what].as_u64().unwrap();
    // Eighty packets in four seconds, of which ten and one a second pass; forty new connections.
    assert!((64..=68).contains(&packets("packet_rate", "packets")), "{judged}");
    assert!((24..=28).contains(&packets("connection_rate", "would_drop")), "{judged}");
    assert_eq!(packets("denied", "packets"), 40);
    let dropped = |judged: &Value, address: &str, what: &str| {
        let rows = judged["sources"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["address"] == address).unwrap()[what].as_u64().unwrap()
    };
    assert_eq!(dropped(&judged, "10.9.0.20", "dropped"), packets("packet_rate", "packets"));
    assert_eq!(dropped(&judged, SCANNER, "would_drop"), packets("connection_rate", "would_drop"));
    assert_eq!(dropped(&judged, SCANNER, "dropped"), 0);
    assert_eq!(dropped(&judged, VICTIM, "dropped"), 40);

    // Whoever is inside is contained on its way out, everybody else is banned.
    let containment = |inside: &[&str]| {
        let judged = report(&[&[file.as_str()], inside].concat());
        judged["findings"][0]["containment"].as_str().unwrap().to_owned()
    };
    assert!(containment(&[]).starts_with("sluice contain 10.9.0.5"));
    assert!(containment(&["--inside", "10.9.0.9/32", "--inside", "192.0.2.0/24"]).contains("ban 10.9.0.5"));
    let said = replay(&[&file, "--config", &write(&directory, "bad.toml", b"[defalut]\n")]);
    assert_eq!(said.code, 5);
    assert!(said.error.contains("defalut"), "{}", said.error);
}

#[test]
fn what_cannot_be_replayed_is_refused_in_one_sentence() {
    let directory = or_skip!("captures that are refused", possible());
    let frames = scan_among_others();
    let frame_relay = Written { link_type: 107, ..Written::default() };
    for (name, bytes, wanted) in [
        ("relay", frame_relay.pcap(&frames), "frame relay (link type 107)"),
        ("empty-relay", frame_relay.pcap(&[]), "frame relay (link type 107)"),
        ("relay-ng", frame_relay.pcapng(&frames), "frame relay (link type 107)"),
        ("nothing", Vec::new(), "it is empty"),
        ("text", b"hello, world\n".to_vec(), "neither pcap nor pcapng"),
    ] {
        let file = write(&directory, name, &bytes);
        let said = replay(&[&file, "-o", "json"]);
        assert_eq!((said.code, said.out.as_str()), (5, ""), "{name}: {}", said.error);
        assert!(said.error.contains(wanted) && said.error.contains(&file), "{name}: {}", said.error);
        assert_eq!(said.error.lines().count(), 1, "{name}: {}", said.error);
    }
    let said = replay(&["/nowhere/at.pcap"]);
    assert_eq!(said.code, 7, "{}", said.error);
    assert!(said.error.contains("/nowhere/at.pcap"), "{}", said.error);
}

#[test]
fn an_empty_capture_is_a_report_of_nothing() {
    let directory = or_skip!("an empty capture", possible());
    for (file, link_type) in [
        (Written::default().pcap(&[]), "ethernet"),
        (Written::default().pcapng(&[]), "ethernet"),
        (Written::default().pcapng(&[])[..28].to_vec(), "none"),
    ] {
        let report = report(&[&write(&directory, "empty", &file)]);
        assert_eq!(report["capture"]["link_type"], link_type);
        assert_eq!((&report["capture"]["packets"], &report["capture"]["first"]), (&0.into(), &Value::Null));
        assert_eq!(
            (&report["verdicts"], &report["findings"]),
            (&serde_json::json!({}), &serde_json::json!([]))
        );
    }
}

#[test]
fn of_a_broken_capture_what_can_be_read_is_judged_and_the_rest_is_said() {
    let directory = or_skip!("a broken capture", possible());
    let mut frames = scan_among_others();
    let packets = frames.len();
    // One that is shorter than its header.
    frames[7].1.truncate(9);
    let whole = Written::default().pcap(&frames);
    let file = write(&directory, "cut", &whole[..whole.len() - 3]);
    let said = replay(&[&file, "-o", "json"]);
    assert_eq!(said.code, 0, "{}", said.error);
    for wanted in
        ["1 packet was skipped: shorter than a header", "ends within a packet; 219 packets were read"]
    {
        assert!(said.error.contains(wanted), "{wanted}: {}", said.error);
    }
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&report["capture"]["packets"], &report["capture"]["skipped"]),
        (&(packets - 1).into(), &2.into())
    );
    assert_eq!(report["verdicts"]["accepted"]["packets"], packets - 2);
    assert_eq!(report["findings"][0]["detector"], "port_scan");
}

#[test]
fn times_that_make_no_sense_are_survived() {
    let _directory = or_skip!("odd times", possible());
    let frames = scan_among_others();
    let year = 365 * 86_400 * SECOND;
    let jump = |number: usize| [0, year * 50, BEGINS, 5, u64::from(u32::MAX) * SECOND][number / 50];
    let odd: Vec<Timed> =
        (0..).zip(&frames).map(|(number, (_, frame))| (jump(number), frame.clone())).collect();
    let mut backwards = frames.clone();
    backwards.reverse();
    for (at, _) in &mut backwards {
        *at = 2 * BEGINS - *at;
    }
    let reversed: Vec<Timed> = backwards.iter().rev().cloned().collect();
    for frames in [odd, reversed, backwards] {
        let said = piped(&Written::default().pcap(&frames), None).ok().unwrap();
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(report["verdicts"]["accepted"]["packets"], 220);
        assert_eq!(report["verdicts"]["accepted"]["would_drop"], 0);
        for finding in report["findings"].as_array().unwrap() {
            assert_eq!(finding["subject"], SCANNER, "{finding}");
        }
    }
}

#[test]
fn a_user_without_privilege_is_told_what_it_needs() {
    let _directory = or_skip!("a replay without privilege", possible());
    let said = piped(&Written::default().pcap(&scan_among_others()), Some(65534));
    assert_eq!((said.code, said.out.as_str()), (4, ""), "{}", said.error);
    assert!(said.error.contains("CAP_BPF"), "{}", said.error);
}

#[test]
fn a_replay_beside_a_running_daemon_leaves_it_alone() {
    let directory = or_skip!("a replay beside a daemon", possible());
    or_skip!("a replay beside a daemon", daemon::possible());
    let mut network = Network::new().unwrap();
    let (guarded, other) = (network.space().unwrap(), network.space().unwrap());
    let ends = [(INTERFACE, &["10.77.0.1/24"][..]), (INTERFACE, &["10.77.0.2/24"])];
    network.link(&guarded, &other, ends).unwrap();
    let rules = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nmode = \"observe\"\n";
    let daemon = Daemon::start(&guarded, &[INTERFACE], rules).unwrap();
    let before = daemon.json(&["limit", "list"]).unwrap();
    let file = write(&directory, "scan", &Written::default().pcap(&scan_among_others()));
    let said = daemon.json(&["replay", &file]).unwrap();
    assert_eq!(said["findings"][0]["detector"], "port_scan");
    assert_eq!(daemon.json(&["limit", "list"]).unwrap(), before);
    let sources = daemon.json(&["sources"]).unwrap().to_string();
    assert!(!sources.contains(SCANNER), "{sources}");
}
