//! One finding where there is one attack; what is expected, silenced, held back and closed.

use monitor_common::{conversation::note, flow::tcp};

use super::scene::{Goes, MS, S, Scene};
use crate::{
    Parameters,
    finding::{Detector, Report, Severity},
    ledger::ChangeKind,
    parameters::{Expected, Silence},
};

const HOST: &str = "10.0.0.9";

fn scan(scene: &mut Scene, source: &str, count: u16) {
    for port in 0..count {
        scene.connect(source, "10.0.7.1", 1000 + port, Goes::Refused);
        scene.pass(50 * MS);
    }
}

fn kinds(scene: &Scene) -> Vec<ChangeKind> {
    let of_scan = |change: &&crate::ledger::FindingChange| change.finding.detector == Detector::PortScan;
    scene.changes.iter().filter(of_scan).map(|change| change.kind).collect()
}

#[test]
fn a_scan_that_goes_on_is_one_finding_that_grows_and_closes() {
    let mut scene = Scene::default();
    scan(&mut scene, HOST, 400);
    scene.pass(1000 * S).pass(2 * S);
    scene.changes.extend(scene.detection.drain_findings());
    let kinds = kinds(&scene);
    assert_eq!((kinds.first(), kinds.last()), (Some(&ChangeKind::Opened), Some(&ChangeKind::Closed)));
    assert_eq!(
        kinds.iter().filter(|kind| **kind == ChangeKind::Escalated).count(),
        1,
        "growth by ten: {kinds:?}"
    );
    assert!(kinds.len() <= 4, "{kinds:?}");
    assert_eq!(scene.detection.open_findings().count(), 0);
}

#[test]
fn an_expected_scanner_is_counted_and_not_alerted() {
    let expected = Expected {
        detector: Detector::PortScan,
        subject: Some("10.0.0.9/32".parse().unwrap()),
        target: None,
        port: None,
        reason: "the weekly inventory".into(),
        until: None,
    };
    let slow = Expected { detector: Detector::SlowScan, ..expected.clone() };
    let mut scene = Scene::with(&Parameters { expected: vec![expected, slow], ..Parameters::default() });
    scan(&mut scene, HOST, 40);
    scan(&mut scene, "10.0.0.10", 40);
    assert_eq!(scene.findings().len(), 1, "only the other one");
    assert!(scene.detection.dropped().expected > 0);
}

#[test]
fn a_silenced_finding_is_kept_and_not_told() {
    let silence = Silence {
        detector: None,
        subject: Some("10.0.0.0/24".parse().unwrap()),
        reason: "maintenance".into(),
    };
    let mut scene = Scene::with(&Parameters { silences: vec![silence], ..Parameters::default() });
    scan(&mut scene, HOST, 40);
    assert_eq!(scene.findings().len(), 1);
    assert!(scene.changes.iter().all(|change| !change.notify));
}

#[test]
fn a_detector_that_is_off_raises_nothing() {
    let off = vec![Detector::PortScan, Detector::SlowScan];
    let mut scene = Scene::with(&Parameters { off, ..Parameters::default() });
    scan(&mut scene, HOST, 40);
    assert!(scene.findings().is_empty());
}

#[test]
fn more_findings_than_people_read_are_summarised() {
    let mut scene = Scene::default();
    for host in 0..150u8 {
        for port in 0..20 {
            scene.connect(&format!("10.0.1.{host}"), "10.0.7.1", 1000 + port, Goes::Refused);
        }
    }
    let told =
        scene.changes.iter().filter(|change| change.notify && change.kind == ChangeKind::Opened).count();
    assert!((1..=60).contains(&told), "{told}");
    scene.pass(61 * S);
    let held_back: u64 =
        scene.detection.drain_summaries().iter().flat_map(|summary| summary.held_back.values()).sum();
    assert!(held_back > 50, "{held_back}");
}

#[test]
fn forty_thousand_forged_sources_are_few_findings_in_bounded_memory() {
    let mut scene = Scene::default();
    for number in 0..40_000u32 {
        let source =
            format!("{}.{}.{}.{}", 20 + number % 150, number / 7 % 250, number / 3 % 250, number % 250);
        scene.observed(note::SYN, &source, "10.0.0.5", (1000, 80), tcp::SYN);
        scene.now += S / 5000;
    }
    assert!(scene.found(Detector::SynFlood, "10.0.0.5", Severity::Critical));
    assert!(scene.findings().len() <= 3, "{}", scene.findings().len());
    for size in scene.detection.state_sizes() {
        assert!(size.entries <= size.capacity, "{size:?}");
    }
}

#[test]
fn a_finding_prints_as_the_document_says() {
    let mut scene = Scene::default();
    scan(&mut scene, HOST, 57);
    let report = Report {
        schema_version: Report::SCHEMA_VERSION,
        capture: crate::finding::CaptureSummary::default(),
        verdicts: std::collections::BTreeMap::new(),
        sources: Vec::new(),
        findings: scene.findings(),
    };
    let json = serde_json::to_value(&report).unwrap();
    let finding = &json["findings"][0];
    let measured = finding["measured"].as_u64().unwrap();
    assert!((55..=57).contains(&measured), "{measured}");
    assert_eq!(
        (finding["detector"].as_str(), finding["severity"].as_str()),
        (Some("port_scan"), Some("warning"))
    );
    assert_eq!((finding["measured"].as_u64(), finding["threshold"].as_u64()), (Some(measured), Some(15)));
    assert_eq!((finding["subject"].as_str(), finding["target"].as_str()), (Some(HOST), Some("10.0.7.1")));
    assert_eq!(finding["containment"].as_str(), Some("sluice contain 10.0.0.9 --for 1h"));
    let names =
        ["service", "first_seen", "raised_at", "last_seen", "unit", "window_s", "confidence", "evidence"];
    assert!(names.iter().all(|name| finding.get(*name).is_some()));
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}

#[test]
fn the_finding_names_the_workload_of_a_local_sender() {
    let mut scene = Scene::default();
    for port in 0..20 {
        let mut record = scene.record(HOST, "10.0.7.1", 6, 1000 + port);
        record.outcome = monitor_common::conversation::outcome::REFUSED;
        scene.detection.observe(&record, scene.now, Some("payments.service"));
    }
    assert_eq!(scene.findings()[0].evidence["workload"], "payments.service");
}

#[test]
fn unknown_keys_are_refused_and_the_defaults_survive_a_round_trip() {
    let text = toml::to_string(&Parameters::default()).unwrap();
    assert_eq!(toml::from_str::<Parameters>(&text).unwrap(), Parameters::default());
    assert!(toml::from_str::<Parameters>("[scan]\nportz = 3").is_err());
    assert_eq!(toml::from_str::<Parameters>("[scan]\nports = 3").unwrap().scan.ports, 3);
}
