//! Records of conversations become findings that are listed, closed, silenced, kept, and answered.

use super::*;
use crate::core::stand_in::scan_records;
use api::alerts::{ListSilences, SilenceLift};
use datapath::Kernel;
use detection::finding::Detector;
use monitor_common::flow::SourceKey;
use monitor_common::plain::Plain as _;
use monitor_common::record::{SourceEntry, entry, scope};

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
fn a_silence_of_an_earlier_version_goes_on_and_can_be_lifted() {
    let mut bench = Bench::new();
    let row: &[u8] = br#"{"detector":null,"subject":"10.0.0.5/32","reason":"our scanner"}"#;
    bench.store.learn("silences", [("[null,\"10.0.0.5/32\"]", row)], bench.kernel.now()).unwrap();
    let mut bench = bench.restart();
    for number in 1..12 {
        assert_eq!(
            bench.ask(SAVED, silence(Some("10.0.0.6/32"), None)).unwrap().summary.len(),
            2,
            "{number}"
        );
    }
    bench.ask(NOW, SilenceLift { number: 1 }).unwrap();
    let mut bench = bench.restart();
    let left: Vec<_> =
        bench.ask(NOW, ListSilences {}).unwrap().silences.iter().map(|one| one.number).collect();
    assert_eq!(left, (2..=12).collect::<Vec<_>>(), "lifting 1 lifts neither 10 nor 11");
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

/// The scanner completed a handshake with a service here.
fn prove(bench: &mut Bench) {
    let key = SourceKey::new(0, 0xffff_0a00_0005, 1);
    let proven = SourceEntry { flags: entry::PROVEN, packets: 3, ..SourceEntry::zeroed() };
    bench.kernel.state().sources.push((key, proven));
    bench.read();
}

fn banning(more: &str) -> String {
    format!(
        "{CONFIG}{more}[detection.respond]\nport_scan = {{ action = \"ban\", for_s = 60, packets_per_second = 70 }}\n"
    )
}

/// What a response did: bans and containments.
fn responded(bench: &mut Bench) -> (usize, usize) {
    scan(bench, 1, 80);
    let held = bench.ask(NOW, ListContainments {}).unwrap().containments;
    assert!(held.iter().all(|one| one.containment.packets == Some(policy::config::Rate::per_second(70))));
    (bench.banned().len(), held.len())
}

#[test]
fn a_response_limits_who_did_not_prove_its_address() {
    let mut bench = Bench::new();
    bench.configure(&banning(""));
    bench.ask(NOW, Reload {}).unwrap();
    assert_eq!(responded(&mut bench), (0, 1));
    let held = *bench.kernel.state().contained.values().next().unwrap();
    assert_eq!(held.spares_answers, 1);
}

#[test]
fn a_response_bans_who_proved_its_address_for_new_contacts_only() {
    let mut bench = Bench::new();
    bench.configure(&banning(""));
    bench.ask(NOW, Reload {}).unwrap();
    prove(&mut bench);
    assert_eq!(responded(&mut bench), (1, 0));
    let scope_of = |bench: &Bench| bench.kernel.state().bans.values().next().unwrap().scope;
    assert_eq!(scope_of(&bench), scope::NEW_CONTACTS);
    assert_eq!(scope_of(&bench.restart()), scope::NEW_CONTACTS);
}

#[test]
fn a_response_bans_nobody_whom_the_host_contacted_or_depends_on() {
    let mut bench = Bench::new();
    bench.configure(&banning(""));
    bench.ask(NOW, Reload {}).unwrap();
    prove(&mut bench);
    bench.kernel.state().contacted.insert((0, 0xffff_0a00_0005));
    assert_eq!(responded(&mut bench), (0, 1), "contacted");
    let mut bench = Bench::new();
    bench.host.surroundings.lifelines.insert("10.0.0.5".parse().unwrap());
    bench.configure(&banning(""));
    bench.ask(NOW, Reload {}).unwrap();
    bench.look();
    prove(&mut bench);
    assert_eq!(responded(&mut bench), (0, 0), "a lifeline");
}

#[test]
fn a_response_bans_for_a_time_but_never_the_exempt() {
    for (exempt, banned) in [("", vec!["10.0.0.5/32"]), ("[access]\nexempt = [\"10.0.0.5/32\"]\n", vec![])] {
        let mut bench = Bench::new();
        prove(&mut bench);
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
