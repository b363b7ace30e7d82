//! Records of conversations become findings that are listed, closed, silenced, kept, and answered.

use super::*;
use crate::core::stand_in::scan_records;
use datapath::Kernel;
use detection::finding::Detector;
use detection::parameters::Silence;

/// Refused connections from the scanner to many ports of one host.
fn scan(bench: &mut Bench, first: u16, count: u16) {
    let at = bench.kernel.clock(bench.kernel.now());
    bench.kernel.state().records.extend(scan_records(at, first, count));
    bench.drain();
    bench.tick();
}

fn alerts(bench: &mut Bench, query: AlertQuery) -> Vec<Alert> {
    bench.ask(NOW, query).unwrap().alerts
}

fn open() -> AlertQuery {
    AlertQuery { open: true, ..AlertQuery::default() }
}

#[test]
fn a_port_scan_is_one_finding_that_is_listed_and_closed() {
    let mut bench = Bench::new();
    scan(&mut bench, 1, 80);
    let found = alerts(&mut bench, open());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].finding.detector, found[0].finding.subject.as_str()),
        (Detector::PortScan, "10.0.0.5")
    );
    let (id, snapshot) = (found[0].id, bench.snapshot.clone());
    assert_eq!((snapshot.findings.open, snapshot.findings.raised[0].detector.as_str()), (1, "port_scan"));
    let closed = bench.ask(NOW, AlertClose { number: id }).unwrap();
    assert_eq!(closed.state, AlertState::Closed);
    assert!(alerts(&mut bench, open()).is_empty());
    assert_eq!(bench.ask(NOW, AlertClose { number: id }).unwrap_err().code, Code::Conflict);
    assert_eq!(bench.ask(NOW, AlertShow { number: id + 9 }).unwrap_err().code, Code::NotFound);
}

#[test]
fn numbers_go_on_over_a_restart_and_old_findings_are_closed() {
    let mut bench = Bench::new();
    scan(&mut bench, 1, 80);
    let first = alerts(&mut bench, open())[0].id;
    let mut bench = bench.restart();
    assert!(alerts(&mut bench, open()).is_empty());
    assert!(alerts(&mut bench, AlertQuery::default()).iter().any(|alert| alert.id == first));
    scan(&mut bench, 1, 80);
    assert!(alerts(&mut bench, open())[0].id > first);
}

#[test]
fn numbers_go_on_over_a_change_of_parameters() {
    let mut bench = Bench::new();
    scan(&mut bench, 1, 80);
    let first = alerts(&mut bench, open())[0].id;
    bench.ask(NOW, AlertClose { number: first }).unwrap();
    bench.configure(&format!("{CONFIG}[detection.scan]\nports = 20\n"));
    bench.ask(NOW, Reload {}).unwrap();
    scan(&mut bench, 1, 80);
    assert!(alerts(&mut bench, open())[0].id > first);
}

#[test]
fn a_saved_silence_keeps_findings_quiet_over_a_restart() {
    let mut bench = Bench::new();
    let silence = |subject: Option<&str>| Silence {
        detector: None,
        subject: subject.map(|subject| subject.parse().unwrap()),
        reason: "our scanner".to_owned(),
    };
    let everything = bench.ask(SAVED, AlertSilence(silence(None))).unwrap_err();
    assert_eq!(everything.code, Code::Invalid);
    bench.ask(SAVED, AlertSilence(silence(Some("10.0.0.5/32")))).unwrap();
    let mut bench = bench.restart();
    scan(&mut bench, 1, 80);
    let found = alerts(&mut bench, open());
    assert!(found.iter().all(|alert| alert.quiet), "{found:?}");
}

#[test]
fn a_response_bans_for_a_time_but_never_the_exempt() {
    for (exempt, banned) in [("", vec!["10.0.0.5/32"]), ("[access]\nexempt = [\"10.0.0.5/32\"]\n", vec![])] {
        let mut bench = Bench::new();
        let respond = "[detection.respond]\nport_scan = { action = \"ban\", for_s = 60 }\n";
        bench.configure(&format!("{CONFIG}{exempt}{respond}"));
        bench.ask(NOW, Reload {}).unwrap();
        scan(&mut bench, 1, 80);
        assert_eq!(bench.banned(), banned);
    }
}

#[test]
fn a_response_limits_for_a_time_but_never_the_exempt() {
    for (exempt, held) in [("", 1), ("[access]\nexempt = [\"10.0.0.5/32\"]\n", 0)] {
        let mut bench = Bench::new();
        let respond =
            "[detection.respond]\nport_scan = { action = \"limit\", for_s = 60, packets_per_second = 50 }\n";
        bench.configure(&format!("{CONFIG}{exempt}{respond}"));
        bench.ask(NOW, Reload {}).unwrap();
        scan(&mut bench, 1, 80);
        let list = bench.ask(NOW, ListContainments {}).unwrap().containments;
        assert_eq!(list.len(), held, "{list:?}");
        assert!(list.iter().all(|one| {
            let told = &one.containment;
            told.packets == Some(policy::config::Rate::per_second(50))
                && told.until.is_some()
                && told.made_by == "detection"
        }));
    }
}
