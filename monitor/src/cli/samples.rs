//! Values as the daemon answers them, for tests of what is printed.

use api::Origin;
use api::alerts::Alert;
use api::containments::{Contained, Containment, Subject};
use api::flows::{Flow, FlowEncryption, FlowEnd, FlowOutcome, GraphEdge};
use api::history::Change;
use api::tune::{TuneList, Tuned};
use jiff::Timestamp;
use policy::LimitKind;
use policy::config::{Mode, Rate};
use tuning::proposal::{Confidence, Current, Dimension, Evidence, Hit, Proposal};
use tuning::quantiles::{Excess, RELATIVE_ERROR};
use tuning::trial::{self, Report, WouldDrop};
use tuning::{self, Advice, Limit};

use crate::snapshot::{
    AttachMode, Ban, BanCounts, Build, Count, Findings, Flood, Interface, LimitInForce, MapUse, RateAndBurst,
    Reload, Rules, Service, Snapshot, Source, Sources, Tally, Total,
};

/// One proposal with everything that a proposal can say.
pub fn tuned() -> TuneList {
    let limit = |per_second, burst| Limit { per_second, burst };
    let excess = |at_least, at_most| Excess { at_least, at_most, of: 1e6, seconds: 3.0 };
    let source = "192.0.2.7".parse().unwrap();
    let subject = tuning::Subject { service: "web".to_owned(), class: "outside".to_owned() };
    let current = Current { limit: limit(100, 200), would_have_dropped: excess(200_000.0, 250_000.0) };
    let packets = Dimension {
        limit: limit(640, 1280),
        observed: 320.0,
        between: [300.0, 340.0],
        busiest_hour: Some("Tue 13:00 UTC".to_owned()),
        highest: 900.0,
        carriers: 7.5,
        would_have_dropped: excess(0.0, 100.0),
        current: Some(current),
    };
    let evidence = Evidence {
        sources: 41,
        hours_covered: 168,
        learned_hours: 200.0,
        source_seconds: 2_500_000.0,
        left_out_seconds: 12.0,
        median: 20.0,
        confidence: Confidence::High,
        relative_error: RELATIVE_ERROR,
    };
    let hit = Hit { source, dimension: "packets".to_owned(), peak: 900.0, at: 1_795_392_000, certain: false };
    let proposal = Proposal {
        subject: subject.clone(),
        quantile: 0.999,
        headroom: 2.0,
        packets: Some(packets),
        bytes: None,
        connections: None,
        evidence,
        hit: vec![hit],
        hit_is_complete: true,
        locked_out: Vec::new(),
    };
    let trial = Report {
        subject,
        limits: proposal.limits(),
        since: noon().as_second() - 600,
        calm: trial::Count { seconds: 600.0, packets: 9_000, would_drop: 3 },
        trouble: trial::Count::default(),
        sources: vec![WouldDrop { source, packets: 3 }],
        locked_out: Vec::new(),
    };
    let tuned = Tuned {
        service: "web".to_owned(),
        class: "outside".to_owned(),
        tuning: tuning::Mode::Propose,
        mode: Mode::Enforce,
        limits: tuning::Limits { packets: Some(limit(100, 200)), ..tuning::Limits::default() },
        advice: Advice::Proposal(Box::new(proposal)),
        trial: Some(trial),
        decisions: None,
    };
    TuneList { at: noon(), freeze: None, limits: vec![tuned] }
}

pub fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub fn change() -> Change {
    Change {
        number: 7,
        at: noon(),
        made_by: "uid 1000".to_owned(),
        origin: Origin::Socket { uid: 1000, gid: 1000, pid: 1 },
        what: "limit web".to_owned(),
        before: "off".to_owned(),
        after: "enforce 1000/s".to_owned(),
        state: "applied".to_owned(),
        evidence: None,
    }
}

pub fn ban() -> Ban {
    Ban {
        source: "198.51.100.9/32".parse().unwrap(),
        since: noon(),
        until: Some("2026-11-22T12:10:00Z".parse().unwrap()),
        dropped: Count { packets: 5, bytes: 320 },
        strikes: 1,
        made_by: "kernel".to_owned(),
        service: Some("web".to_owned()),
        comment: None,
    }
}

pub fn limit() -> LimitInForce {
    LimitInForce {
        service: "web".to_owned(),
        class: "outside".to_owned(),
        kind: LimitKind::PerSource,
        mode: Mode::Enforce,
        packets: Some(RateAndBurst { rate: Rate::per_second(2000), burst: 4000 }),
        bytes: None,
        connections: None,
        fragments: None,
        requests: None,
        handshakes: None,
        concurrent: None,
        origin: "config".to_owned(),
    }
}

pub fn source() -> Source {
    Source {
        source: "198.51.100.9/32".parse().unwrap(),
        service: "web".to_owned(),
        class: "outside".to_owned(),
        interface: "eth0".to_owned(),
        total: Count { packets: 1_250_000, bytes: 80_000_000 },
        dropped: Count { packets: 1_200_000, bytes: 76_800_000 },
        would_drop: Count::default(),
        connections: 3,
        packets_per_second: 50_000.0,
        bytes_per_second: 3_200_000.0,
        dropped_per_second: 48_000.0,
        would_drop_per_second: 0.0,
        first_seen: noon(),
        last_seen: noon(),
        exceeding: true,
        workload: None,
    }
}

pub fn snapshot() -> Snapshot {
    use monitor_common::verdict::Reason;
    let total = |reason, packets, rate| Total {
        interface: "eth0".to_owned(),
        service: "web".to_owned(),
        reason,
        ended: Count { packets, bytes: packets * 64 },
        would_drop: Count::default(),
        ended_per_second: rate,
        would_drop_per_second: 0.0,
    };
    Snapshot {
        at: noon(),
        started: "2026-11-22T10:58:30Z".parse().unwrap(),
        panic: None,
        sinks: Vec::new(),
        lists: Vec::new(),
        build: Build { version: "0.1.0".to_owned(), layout: 1, compiler: "none".to_owned() },
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            slot: 1,
            ifindex: 2,
            mode: AttachMode::Native,
            egress: false,
            flood: Flood::default(),
            problem: None,
            stands_for: Vec::new(),
        }],
        unguarded: Vec::new(),
        services: vec![
            Service { number: 0, name: "default".to_owned() },
            Service { number: 1, name: "web".to_owned() },
        ],
        totals: vec![
            total(Reason::Accepted, 100_000, 2000.0),
            total(Reason::PacketRate, 1_200_000, 48_000.0),
        ],
        requests: Vec::new(),
        connections: Vec::new(),
        spoken: Vec::new(),
        maps: vec![MapUse { name: "SOURCES".to_owned(), entries: Some(1), capacity: 131_072 }],
        incidents: vec![Tally { label: "source_table_full".to_owned(), count: 0 }],
        malformed: Vec::new(),
        events: Vec::new(),
        rules: Rules { generation: 1, flips: 3 },
        sources: Sources { tracked: 1, exceeding: 1, by_rate: vec![source()], ..Sources::default() },
        bans: vec![ban()],
        banned: BanCounts { by_kernel: 1, by_operator: 0 },
        containments: 1,
        limits: vec![limit()],
        findings: Findings::default(),
        reload: Reload {
            at: noon(),
            succeeded_at: Some(noon()),
            error: None,
            successes: 1,
            failures: 0,
            path: None,
        },
        pending: None,
        tuning: crate::snapshot::Tuning::default(),
        process: crate::snapshot::Process::default(),
        store: crate::snapshot::StoreState::default(),
        audit: crate::snapshot::Audit::default(),
        confinement: crate::snapshot::Confinement {
            user: "sluice".to_owned(),
            uid: 998,
            no_capabilities: true,
            not_dumpable: true,
            landlock: Some(6),
            seccomp: true,
            missing: Vec::new(),
        },
        read_seconds: 0.002,
        problems: Vec::new(),
    }
}

/// As the API prints it, so that its shape is tried as well.
pub fn alert() -> Alert {
    let alert = serde_json::json!({
        "id": 3,
        "state": "open",
        "updated": noon(),
        "quiet": false,
        "finding": {
            "detector": "port_scan",
            "severity": "warning",
            "subject": "10.0.0.5",
            "target": "10.0.0.9",
            "service": {"protocol": "tcp", "port": 22},
            "first_seen": noon(),
            "raised_at": noon(),
            "last_seen": noon(),
            "measured": 57,
            "threshold": 15,
            "unit": "ports",
            "window_s": 300,
            "confidence": 0.99,
            "evidence": {"ports": [22, 23, 25], "workload": "backup.service"},
            "containment": "sluice access deny 10.0.0.5 --for 10m",
        },
    });
    serde_json::from_value(alert).unwrap()
}

pub fn flow() -> Flow {
    Flow {
        initiator: "10.0.0.5".parse().unwrap(),
        initiator_port: 40_000,
        responder: "10.0.0.9".parse().unwrap(),
        responder_port: 443,
        protocol: "tcp".to_owned(),
        outcome: FlowOutcome::Established,
        application: "tls".to_owned(),
        encryption: FlowEncryption::Tls,
        tls_version: Some("tls1.3".to_owned()),
        credentials_in_clear: false,
        signed: false,
        conversations: 1,
        open: true,
        forward: Count { packets: 10, bytes: 1500 },
        backward: Count { packets: 20, bytes: 30_000 },
        first_seen: noon(),
        last_seen: noon(),
        interface: "eth0".to_owned(),
        workload: Some("backup.service".to_owned()),
        workload_end: Some(FlowEnd::Initiator),
    }
}

pub fn edge() -> GraphEdge {
    GraphEdge {
        from: "backup.service".to_owned(),
        to: "10.0.0.9".to_owned(),
        protocol: "tcp".to_owned(),
        port: 443,
        conversations: 4,
        bytes: 31_500,
        application: "http".to_owned(),
        in_clear: 1,
        encrypted: 3,
        new: true,
    }
}

/// A workload that is held to a rate.
pub fn contained() -> Contained {
    let containment = Containment {
        subject: Subject::Workload("copy.service".to_owned()),
        packets: Some(policy::config::Rate::per_second(100)),
        bytes: None,
        mode: Mode::Enforce,
        since: noon(),
        until: noon().checked_add(jiff::SignedDuration::from_mins(10)).ok(),
        comment: Some("exfiltration".to_owned()),
        made_by: "uid 0".to_owned(),
    };
    let count = |packets| Count { packets, bytes: packets * 100 };
    Contained { containment, in_force: true, judged: count(250), over: count(50) }
}
