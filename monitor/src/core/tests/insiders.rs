//! Records of conversations become findings that are listed, closed, silenced, kept, and answered.

use super::*;
use crate::core::stand_in::scan_records;
use api::alerts::{ListSilences, SilenceLift};
use datapath::Kernel;
use detection::finding::Detector;

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
fn open_findings_go_on_over_a_restart_under_their_numbers() {
    let mut bench = Bench::new();
    scan(&mut bench, 1, 80);
    let first = alerts(&mut bench, open())[0].clone();
    let mut bench = bench.restart();
    assert_eq!(alerts(&mut bench, open())[0].id, first.id);
    scan(&mut bench, 1, 80);
    let again = alerts(&mut bench, open());
    assert_eq!((again.len(), again[0].id), (1, first.id), "{again:?}");
    assert_eq!(again[0].finding.raised_at, first.finding.raised_at);
    bench.ask(NOW, AlertClose { number: first.id }).unwrap();
    assert!(alerts(&mut bench, open()).is_empty());
}

#[test]
fn what_is_not_found_again_after_a_restart_is_closed_after_the_hold() {
    let mut bench = Bench::new();
    scan(&mut bench, 1, 80);
    let first = alerts(&mut bench, open())[0].id;
    let mut bench = bench.restart();
    bench.pass(Duration::from_hours(2));
    assert!(alerts(&mut bench, open()).is_empty());
    let all = alerts(&mut bench, AlertQuery::default());
    assert!(all.iter().any(|alert| alert.id == first && alert.state == AlertState::Closed), "{all:?}");
    let mut bench = bench.restart();
    assert_eq!(bench.ask(NOW, AlertClose { number: first }).unwrap_err().code, Code::Conflict);
}

#[test]
fn a_finding_that_waits_to_be_found_again_can_be_closed() {
    let mut bench = Bench::new();
    scan(&mut bench, 1, 80);
    let first = alerts(&mut bench, open())[0].id;
    let mut bench = bench.restart();
    assert_eq!(bench.ask(NOW, AlertClose { number: first }).unwrap().state, AlertState::Closed);
    assert!(alerts(&mut bench, open()).is_empty());
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

fn silence(subject: Option<&str>, for_seconds: Option<u64>) -> AlertSilence {
    let subject = subject.map(|subject| subject.parse().unwrap());
    AlertSilence { detector: None, subject, reason: "our scanner".to_owned(), for_seconds }
}

#[test]
fn a_saved_silence_keeps_findings_quiet_over_a_restart_until_it_is_lifted() {
    let mut bench = Bench::new();
    let everything = bench.ask(SAVED, silence(None, None)).unwrap_err();
    assert_eq!(everything.code, Code::Invalid);
    let made = bench.ask(SAVED, silence(Some("10.0.0.5/32"), None)).unwrap();
    assert!(made.saved && made.summary[1].contains("unsilence 1"), "{made:?}");
    assert!(bench.ask(NOW, HistoryQuery::default()).unwrap().changes[0].what.contains("our scanner"));
    let mut bench = bench.restart();
    scan(&mut bench, 1, 80);
    let found = alerts(&mut bench, open());
    assert!(found.iter().all(|alert| alert.quiet), "{found:?}");
    let list = bench.ask(NOW, ListSilences {}).unwrap().silences;
    assert_eq!((list.len(), list[0].number, list[0].silence.reason.as_str()), (1, 1, "our scanner"));
    bench.ask(NOW, SilenceLift { number: 1 }).unwrap();
    assert_eq!(bench.ask(NOW, SilenceLift { number: 1 }).unwrap_err().code, Code::NotFound);
    let mut bench = bench.restart();
    assert!(bench.ask(NOW, ListSilences {}).unwrap().silences.is_empty());
}

#[test]
fn a_silence_ends_by_itself_and_outlives_a_reload() {
    let mut bench = Bench::new();
    bench.ask(NOW, silence(Some("10.0.0.5/32"), Some(60))).unwrap();
    bench.configure(&format!("{CONFIG}[detection.scan]\nports = 20\n"));
    bench.ask(NOW, Reload {}).unwrap();
    scan(&mut bench, 1, 80);
    let found = alerts(&mut bench, open());
    assert!(!found.is_empty() && found.iter().all(|alert| alert.quiet), "{found:?}");
    bench.pass(Duration::from_mins(2));
    assert!(bench.ask(NOW, ListSilences {}).unwrap().silences.is_empty());
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
