//! For tests: one finding, one conversation, one edge.

use super::noon;
use crate::engine::command::containment::{Contained, Containment, Subject};
use crate::engine::command::{Alert, Flow, FlowEnd, FlowOutcome, GraphEdge};
use crate::snapshot::Count;
use policy::config::Mode;

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
