//! The engine over a stand-in for the kernel: what it performs of what the core wants done.

use jiff::Timestamp;
use tempfile::TempDir;

use super::command::{Alert, AlertQuery, Caller, ChangeOptions, Request};
use super::start::First;
use super::{Engine, Handle, Parts, Start};
use crate::core::Input;
use crate::core::delta::{ConfigSetting, Flags};
use crate::core::stand_in::{StandIn, reply, scan_records};
use crate::store::Store;
use datapath::Kernel;
use detection::finding::Detector;

struct Bench {
    files: TempDir,
    kernel: StandIn,
    engine: Engine,
    handle: Handle,
}

impl Bench {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let kernel = StandIn::default();
        let toml = "[interfaces]\nnames = [\"eth0\"]\n".to_owned();
        let config = ConfigSetting { path: None, toml, flags: Flags::default() };
        let store = Store::open(&files.path().join("state"), Timestamp::now()).unwrap().store;
        let start = Start {
            kernel: Box::new(kernel.clone()),
            store,
            config,
            path: None,
            own: Vec::new(),
            operator: None,
            parts: Parts::default(),
            first: First::default(),
        };
        let (engine, handle) = start.engine().unwrap();
        Self { files, kernel, engine, handle }
    }

    /// A port scan, one reading of the rings and one second.
    fn scan(&mut self) {
        let at = self.kernel.clock(self.kernel.now());
        self.kernel.state().records.extend(scan_records(at, 1, 80));
        self.engine.drain(&self.kernel.moment());
        self.engine.tick(&self.kernel.moment());
    }

    fn alerts(&mut self) -> Vec<Alert> {
        let (reply, answer) = reply();
        let request = Request::new(Caller::DAEMON, ChangeOptions::default(), AlertQuery::default(), reply);
        self.engine.feed(Input::Command(Box::new(request)), &self.kernel.moment());
        answer.try_recv().unwrap().unwrap().alerts
    }
}

#[test]
fn every_finding_is_a_line_of_the_alert_log() {
    let mut bench = Bench::new();
    bench.scan();
    let log = std::fs::read_to_string(bench.files.path().join("state/alerts.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut scans = lines.filter(|line| line["finding"]["detector"] == "port_scan");
    let line = scans.next().unwrap();
    assert_eq!(
        (line["event"].as_str(), line["finding"]["subject"].as_str()),
        (Some("opened"), Some("10.0.0.5"))
    );
}

#[test]
fn what_is_retracted_in_the_same_reading_of_the_ring_is_told_to_nobody() {
    let mut bench = Bench::new();
    // The sequential test speaks first, then the rule that says more: both within one reading.
    bench.scan();
    let log = std::fs::read_to_string(bench.files.path().join("state/alerts.jsonl")).unwrap();
    assert!(log.contains("port_scan") && !log.contains("slow_scan"), "{log}");
    let kept = bench.alerts();
    assert!(kept.iter().all(|alert| alert.finding.detector == Detector::PortScan), "{kept:?}");
    let raised = bench.handle.snapshot().findings.raised.clone();
    let of = |name: &str| raised.iter().filter(|one| one.detector == name).map(|one| one.raised).sum::<u64>();
    assert_eq!((of("slow_scan"), of("port_scan")), (0, 1), "{raised:?}");
}
