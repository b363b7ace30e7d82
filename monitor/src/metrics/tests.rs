//! The page as a golden file, the reference as a file of docs/, and both against the declarations.

use policy::config::Rate;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use monitor_common::parse::Malformed;
use monitor_common::record::Incident;
use monitor_common::verdict::Reason;

use ::tuning::aggregates::{Basis, State};

use super::declaration::ALL;
use super::{page, reference::reference};
use crate::snapshot::{
    AttachMode, AutomaticAggregate, Ban, BanCounts, Build, Count, FindingCount, Findings, Flood, Interface,
    LimitInForce, ListState, MapUse, Memory, Process, ProposedLimit, RateAndBurst, Reload, Rules, Service,
    SinkState, Snapshot, Sources, StoreState, Tally, Total, Tuning,
};
use policy::LimitKind;
use policy::config::Mode;

fn total(interface: &str, service: &str, reason: Reason, packets: u64, would: u64) -> Total {
    Total {
        interface: interface.to_owned(),
        service: service.to_owned(),
        reason,
        ended: Count { packets, bytes: packets * 100 },
        would_drop: Count { packets: would, bytes: would * 100 },
        ended_per_second: 0.0,
        would_drop_per_second: 0.0,
    }
}

fn interface(name: &str, slot: u32, mode: AttachMode, flood: Flood) -> Interface {
    Interface {
        name: name.to_owned(),
        slot,
        ifindex: slot + 1,
        mode,
        egress: slot == 1,
        flood,
        problem: None,
        stands_for: Vec::new(),
    }
}

fn interfaces(at: jiff::Timestamp) -> Vec<Interface> {
    let flood = Flood { active: true, since: Some(at), floods: 3 };
    vec![
        interface("eth0", 1, AttachMode::Native, flood),
        interface("eth1", 2, AttachMode::Absent, Flood::default()),
    ]
}

fn builds() -> Build {
    Build { version: "0.1.0".to_owned(), layout: 1, compiler: "rustc \"x\" 1.96".to_owned() }
}

fn limits() -> Vec<LimitInForce> {
    vec![LimitInForce {
        service: "web".to_owned(),
        class: "outside".to_owned(),
        kind: LimitKind::PerSource,
        mode: Mode::Enforce,
        packets: Some(RateAndBurst { rate: Rate::per_second(2000), burst: 4000 }),
        bytes: None,
        connections: Some(RateAndBurst { rate: Rate::per_second(50), burst: 100 }),
        fragments: None,
        requests: None,
        handshakes: None,
        concurrent: Some(50),
        origin: "config".to_owned(),
    }]
}

fn audit() -> crate::snapshot::Audit {
    crate::snapshot::Audit {
        number: 42,
        sha256: String::new(),
        bytes: 20_000,
        most_bytes: 32 << 20,
        written: 12,
        waiting: 3,
        lost: 2,
        refused: 9,
        unlisted: 4,
    }
}

fn findings() -> Findings {
    Findings {
        open: 1,
        records: 99,
        edges_in_s: 86_400,
        hours_in_s: 0,
        memories: vec![Memory {
            name: "contacts".to_owned(),
            entries: 12,
            capacity: 65_536,
            evicted: 3,
            refused: 1,
        }],
        shed: vec![Tally { label: "merged".to_owned(), count: 7 }],
        raised: vec![FindingCount {
            detector: "port_scan".to_owned(),
            severity: "warning".to_owned(),
            open: 1,
            raised: 2,
        }],
    }
}

fn lists() -> Vec<ListState> {
    vec![
        ListState {
            name: "/etc/drop".to_owned(),
            action: "deny".to_owned(),
            prefixes: 7,
            ..ListState::default()
        },
        ListState {
            name: "feed".to_owned(),
            action: "deny".to_owned(),
            prefixes: 812,
            fetched: Some("2026-11-22T05:30:00Z".parse().unwrap()),
            failures: 1,
            ..ListState::default()
        },
    ]
}

#[expect(clippy::too_many_lines, reason = "one value of everything that is on the page")]
fn example() -> Snapshot {
    let at: jiff::Timestamp = "2026-11-22T06:00:00Z".parse().unwrap();
    let tally = |label: &str, count| Tally { label: label.to_owned(), count };
    Snapshot {
        at,
        started: "2026-11-22T05:00:00Z".parse().unwrap(),
        build: builds(),
        panic: None,
        sinks: vec![SinkState {
            name: "webhook".to_owned(),
            delivered: 3,
            failures: 2,
            ..SinkState::default()
        }],
        lists: lists(),
        interfaces: interfaces(at),
        unguarded: Vec::new(),
        services: vec![Service { number: 0, name: "default".to_owned() }],
        totals: vec![
            total("eth0", "default", Reason::Accepted, 1000, 0),
            total("eth0", "web", Reason::Accepted, 500, 0),
            total("eth0", "web", Reason::PacketRate, 70, 30),
            total("eth0", "web", Reason::ByteRate, 0, 5),
        ],
        spoken: vec![crate::snapshot::Spoken {
            service: "web".to_owned(),
            application: "http".to_owned(),
            encryption: "clear".to_owned(),
            conversations: 7,
        }],
        connections: vec![crate::snapshot::ServiceConnections {
            service: "web".to_owned(),
            encryption: policy::config::Mode::Enforce,
            open: 12,
            encrypted: 900,
            in_clear: 3,
        }],
        requests: vec![crate::snapshot::Requests {
            service: "web".to_owned(),
            dimension: "requests".to_owned(),
            passed: 400,
            dropped: 60,
            would_drop: 5,
        }],
        maps: vec![
            MapUse { name: "SOURCES".to_owned(), entries: Some(12), capacity: 131_072 },
            MapUse { name: "EVENTS".to_owned(), entries: None, capacity: 262_144 },
        ],
        incidents: Incident::ALL.iter().zip(1..).map(|(kind, n)| tally(kind.label(), n)).collect(),
        malformed: Malformed::ALL.iter().zip(0..).map(|(kind, n)| tally(kind.label(), n)).collect(),
        events: vec![tally("exceed_started", 4)],
        rules: Rules { generation: 1, flips: 7 },
        sources: Sources { tracked: 12, exceeding: 2, ..Sources::default() },
        bans: vec![Ban {
            source: "192.0.2.7/32".parse().unwrap(),
            since: at,
            until: None,
            dropped: Count::default(),
            strikes: 1,
            made_by: "kernel".to_owned(),
            service: Some("web".to_owned()),
            comment: None,
        }],
        banned: BanCounts { by_kernel: 1, by_operator: 0 },
        containments: 2,
        limits: limits(),
        findings: findings(),
        reload: Reload { at, succeeded_at: Some(at), error: None, successes: 2, failures: 1, path: None },
        pending: None,
        tuning: Tuning {
            frozen: None,
            proposals: vec![
                ProposedLimit {
                    service: "web".to_owned(),
                    class: "outside".to_owned(),
                    dimension: "packets".to_owned(),
                    per_second: Some(640),
                    state: "steady".to_owned(),
                },
                ProposedLimit {
                    service: "web".to_owned(),
                    class: "inside".to_owned(),
                    dimension: "packets".to_owned(),
                    per_second: None,
                    state: "too_little_data".to_owned(),
                },
            ],
            memory_bytes: 300_000,
            not_learned: 0,
            defence_rung: 1,
            defence_factor: 0.75,
            aggregates: vec![AutomaticAggregate {
                service: "dns".to_owned(),
                state: State::Enforces,
                basis: Basis::Learned,
                strangers_packets_per_second: 20_000,
                strangers_connections_per_second: 800,
            }],
        },
        process: Process {
            resident_bytes: 12_000_000,
            cpu_seconds: 1.5,
            open_files: 31,
            virtual_bytes: 90_000_000,
            threads: 6,
            most_files: 1024,
            started_seconds: 1_795_327_000.5,
        },
        confinement: crate::snapshot::Confinement::default(),
        store: StoreState { bytes: 70_000, most_bytes: 256 << 20, shed_findings: 8, ..StoreState::default() },
        audit: audit(),
        read_seconds: 0.004,
        problems: vec!["eth1 is not there".to_owned()],
    }
}

/// The page without the one value that is measured while it is made.
fn example_page() -> String {
    let page = page(Arc::new(example())).unwrap();
    let steady = |line: &str| match line.strip_prefix("sluice_scrape_duration_seconds ") {
        Some(_) => "sluice_scrape_duration_seconds 0.001\n".to_owned(),
        None => format!("{line}\n"),
    };
    page.lines().map(steady).collect()
}

fn check_file(path: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == text,
        "{} is not what the declarations say: run SLUICE_WRITE_DOCS=1 cargo test -p monitor --lib metrics",
        path.display()
    );
}

#[test]
fn the_page_is_the_golden_page() {
    check_file("src/metrics/tests/page.prom", &example_page());
}

#[test]
fn as_openmetrics_families_of_counters_have_no_ending_and_the_end_is_marked() {
    let text = super::openmetrics(&example_page());
    assert!(text.contains("# TYPE sluice_packets counter\nsluice_packets_total{"), "{text}");
    assert!(text.contains("# TYPE process_open_fds gauge\nprocess_open_fds 31\n"), "{text}");
    assert!(text.ends_with("\n# EOF\n"));
    let families: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let distinct: BTreeSet<_> = families.iter().collect();
    assert_eq!(distinct.len(), families.len(), "{families:?}");
}

#[test]
fn the_reference_is_what_is_declared() {
    check_file("../docs/reference/metrics.md", &reference());
}

#[test]
fn every_declared_metric_is_on_the_page_and_no_other() {
    let page = example_page();
    let shown: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let declared: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
    assert_eq!(shown, declared);
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for family in ALL {
        let total = family.name.ends_with("_total");
        assert_eq!(total, family.kind == super::declaration::Kind::Counter, "{}", family.name);
        let is_standard = family.name.starts_with("process_");
        assert!(
            (is_standard || family.name.starts_with("sluice_")) && family.help.ends_with('.'),
            "{}",
            family.name
        );
        assert!(!family.labels.contains(&"address") && !family.labels.contains(&"source"), "{}", family.name);
    }
}
