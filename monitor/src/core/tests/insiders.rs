//! Records of conversations become findings that are listed, closed, silenced, kept, and answered.

use super::*;
use crate::core::stand_in::scan_records;
use datapath::Kernel;
use detection::finding::Detector;
use detection::parameters::Silence;
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
    bench.ask(NOW, |reply| Command::AlertList(query, reply)).unwrap()
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
    let closed = bench.ask(NOW, |reply| Command::AlertClose(id, reply)).unwrap();
    assert_eq!(closed.state, AlertState::Closed);
    assert!(alerts(&mut bench, open()).is_empty());
    assert_eq!(bench.ask(NOW, |reply| Command::AlertClose(id, reply)).unwrap_err().code, Code::Conflict);
    assert_eq!(bench.ask(NOW, |reply| Command::AlertShow(id + 9, reply)).unwrap_err().code, Code::NotFound);
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
    bench.ask(NOW, |reply| Command::AlertClose(first, reply)).unwrap();
    bench.configure(&format!("{CONFIG}[detection.scan]\nports = 20\n"));
    bench.ask(NOW, Command::Reload).unwrap();
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
    let everything = bench.ask(SAVED, |reply| Command::AlertSilence(silence(None), reply)).unwrap_err();
    assert_eq!(everything.code, Code::Invalid);
    bench.ask(SAVED, |reply| Command::AlertSilence(silence(Some("10.0.0.5/32")), reply)).unwrap();
    let mut bench = bench.restart();
    scan(&mut bench, 1, 80);
    let found = alerts(&mut bench, open());
    assert!(found.iter().all(|alert| alert.quiet), "{found:?}");
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
    let held = bench.ask(NOW, Command::ContainmentList).unwrap().containments;
    assert!(held.iter().all(|one| one.containment.packets == Some(policy::config::Rate::per_second(70))));
    (bench.banned().len(), held.len())
}

#[test]
fn a_response_limits_who_did_not_prove_its_address() {
    let mut bench = Bench::new();
    bench.configure(&banning(""));
    bench.ask(NOW, Command::Reload).unwrap();
    assert_eq!(responded(&mut bench), (0, 1));
    let held = *bench.kernel.state().contained.values().next().unwrap();
    assert_eq!(held.spares_answers, 1);
}

#[test]
fn a_response_bans_who_proved_its_address_for_new_contacts_only() {
    let mut bench = Bench::new();
    bench.configure(&banning(""));
    bench.ask(NOW, Command::Reload).unwrap();
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
    bench.ask(NOW, Command::Reload).unwrap();
    prove(&mut bench);
    bench.kernel.state().contacted.insert((0, 0xffff_0a00_0005));
    assert_eq!(responded(&mut bench), (0, 1), "contacted");
    let mut bench = Bench::new();
    bench.host.surroundings.lifelines.insert("10.0.0.5".parse().unwrap());
    bench.configure(&banning(""));
    bench.ask(NOW, Command::Reload).unwrap();
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
        bench.ask(NOW, Command::Reload).unwrap();
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
        bench.ask(NOW, Command::Reload).unwrap();
        scan(&mut bench, 1, 80);
        let list = bench.ask(NOW, Command::ContainmentList).unwrap().containments;
        assert_eq!(list.len(), held, "{list:?}");
        assert!(list.iter().all(|one| {
            let told = &one.containment;
            told.packets == Some(policy::config::Rate::per_second(50))
                && told.until.is_some()
                && told.made_by == "detection"
        }));
    }
}
