//! The chain on a disk: what is written is found again, and whatever is changed, removed or forged is named.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use api::Origin;
use api::audit::{AuditEntry, AuditHead, AuditKind, AuditQuery, AuditVerdict};
use jiff::Timestamp;
use serde_json::json;

use super::{Audit, FILES, NewEntry, verify};

/// What is done, the lines then, the first broken entry, and a word of why.
type Change<'a> = (&'a str, Vec<String>, u64, &'a str);

fn entry(what: &str) -> NewEntry {
    let origin = Origin::Socket { uid: 1000, gid: 100, pid: 7 };
    NewEntry::new("2026-11-28T06:00:00Z".parse().unwrap(), AuditKind::Call, origin, what)
}

fn audit(directory: &Path) -> Audit {
    Audit::start(Some(directory), true).unwrap()
}

fn written(directory: &Path, count: usize) -> Vec<String> {
    let mut audit = audit(directory);
    (0..count).for_each(|number| audit.write(entry(&format!("call {number}"))).unwrap());
    drop(audit);
    let text = fs::read_to_string(directory.join(FILES[0])).unwrap();
    text.lines().map(|line| format!("{line}\n")).collect()
}

fn of_files(directory: &Path) -> AuditVerdict {
    verify(directory, &[], false).unwrap()
}

fn entries(directory: &Path) -> Vec<AuditEntry> {
    let audit = audit(directory);
    audit.auditor().page(&AuditQuery { limit: 1000, ..AuditQuery::default() }).unwrap().entries
}

#[test]
fn entries_are_found_again_after_a_restart_and_prove_each_other() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 3);
    written(directory.path(), 2);
    let verdict = of_files(directory.path());
    assert_eq!((verdict.entries, verdict.first, verdict.gaps, verdict.broken), (5, Some(1), 0, None));
    let found = entries(directory.path());
    assert_eq!(found.iter().map(|entry| entry.number).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    assert_eq!((found[0].what.as_str(), found[0].previous.as_str()), ("call 1", found[1].sha256.as_str()));
    // Without this program: the digits before the entry are those of sha256sum.
    let text = fs::read_to_string(directory.path().join(FILES[0])).unwrap();
    let (digits, json) = text.lines().next().unwrap().split_once(' ').unwrap();
    assert_eq!(digits, super::line::sha256(json.as_bytes()));
}

#[test]
fn a_page_is_bounded_and_goes_on_where_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 7);
    let audit = audit(directory.path());
    let page = |before, since| audit.auditor().page(&AuditQuery { limit: 3, before, since }).unwrap();
    let numbers =
        |page: &api::audit::AuditPage| page.entries.iter().map(|entry| entry.number).collect::<Vec<_>>();
    let first = page(None, None);
    assert_eq!((numbers(&first), first.next), (vec![7, 6, 5], Some(5)));
    let last = page(Some(3), None);
    assert_eq!((numbers(&last), last.next), (vec![2, 1], None));
    assert!(page(None, Some("2026-11-28T06:00:01Z".parse().unwrap())).entries.is_empty());
}

#[test]
fn whatever_is_done_to_the_file_is_named_by_its_entry() {
    let directory = tempfile::tempdir().unwrap();
    let lines = written(directory.path(), 5);
    // As another program would write it, with the right digits before it.
    let forged = |line: &str| {
        let json = line[65..].trim_end().replace("call ", "cell ");
        format!("{} {json}\n", super::line::sha256(json.as_bytes()))
    };
    let head = of_files(directory.path()).head;
    let all = || lines.clone();
    let with = |at: usize, line: String| {
        let mut changed = all();
        changed[at] = line;
        changed
    };
    let without = |at: usize| {
        let mut changed = all();
        changed.remove(at);
        changed
    };
    let mut swapped = all();
    swapped.swap(1, 2);
    let cases: [Change<'_>; 8] = [
        ("a letter is changed", with(2, lines[2].replace("call", "cell")), 3, "its text was changed"),
        ("an entry is written anew", with(2, forged(&lines[2])), 4, "does not carry the SHA-256 of entry 3"),
        ("an entry is taken out", without(2), 3, "entry 4 follows entry 2"),
        ("the first is taken out", without(0), 1, "are missing, and no entry says"),
        ("two change places", swapped, 2, "follows entry 1"),
        ("a line is put in", with(1, format!("{}forged\n", lines[1])), 3, "too short"),
        ("the last is written anew", with(4, forged(&lines[4])), 5, "should have the SHA-256"),
        ("the last is taken out", without(4), 5, "newest entries are missing"),
    ];
    for (what, changed, number, why) in cases {
        fs::write(directory.path().join(FILES[0]), changed.concat()).unwrap();
        let verdict = verify(directory.path(), head.as_slice(), false).unwrap();
        let broken = verdict.broken.unwrap_or_else(|| panic!("{what} is not seen"));
        assert_eq!(broken.number, number, "{what}: {broken:?}");
        assert!(broken.why.contains(why), "{what}: {broken:?}");
    }
    fs::write(directory.path().join(FILES[0]), lines.concat()).unwrap();
    let wrong = AuditHead { number: 3, sha256: super::line::NOTHING.to_owned() };
    assert_eq!(verify(directory.path(), &[wrong], false).unwrap().broken.unwrap().number, 3);
    assert_eq!(of_files(directory.path()).broken, None);
}

#[test]
fn a_line_that_was_cut_off_is_removed_and_told_and_the_chain_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let lines = written(directory.path(), 3);
    let cut = format!("{}{}", lines[..2].concat(), &lines[2][..90]);
    fs::write(directory.path().join(FILES[0]), cut).unwrap();
    assert_eq!(of_files(directory.path()).broken.unwrap().number, 3);
    written(directory.path(), 1);
    let verdict = of_files(directory.path());
    assert_eq!((verdict.entries, verdict.gaps, verdict.broken), (4, 1, None));
    assert!(entries(directory.path())[1].what.contains("not written to its end"));
}

#[test]
fn a_file_that_cannot_be_read_is_kept_under_another_name() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILES[0]), "nonsense\n").unwrap();
    written(directory.path(), 1);
    let verdict = of_files(directory.path());
    assert_eq!((verdict.entries, verdict.gaps, verdict.broken), (2, 1, None));
    let kept = |name: String| name.starts_with("audit.log.set-aside-");
    assert!(
        fs::read_dir(directory.path())
            .unwrap()
            .any(|at| kept(at.unwrap().file_name().into_string().unwrap()))
    );
}

#[test]
fn both_files_are_bounded_and_what_was_removed_is_anchored() {
    let directory = tempfile::tempdir().unwrap();
    let mut audit = audit(directory.path());
    audit.bound(8000);
    for number in 0..200 {
        audit.write(entry(&format!("call {number}"))).unwrap();
        let size: u64 = FILES
            .iter()
            .filter_map(|name| fs::metadata(directory.path().join(name)).ok())
            .map(|about| about.len())
            .sum();
        assert!(size < 10_000, "{size}");
    }
    assert_eq!(audit.auditor().verdict(None).unwrap().broken, None);
    drop(audit);
    let verdict = of_files(directory.path());
    assert_eq!(verdict.broken, None);
    assert!(verdict.first.unwrap() > 150, "{verdict:?}");
    // A file of the middle that somebody removes is no removal that the chain knows of.
    let older = directory.path().join(FILES[1]);
    let text = fs::read_to_string(&older).unwrap();
    fs::write(&older, text.split_once('\n').unwrap().1).unwrap();
    assert_eq!(of_files(directory.path()).broken.unwrap().number, verdict.first.unwrap());
    fs::remove_file(&older).unwrap();
    assert!(of_files(directory.path()).broken.unwrap().why.contains("no entry says"));
}

#[test]
fn control_characters_make_no_line_and_no_text_is_endless() {
    let directory = tempfile::tempdir().unwrap();
    let mut audit = audit(directory.path());
    let mut forged = entry("limit set\n0000 {\"number\":1}\u{1b}[2J\u{202e}");
    forged.user = Some("eve\r\nroot".to_owned());
    forged.detail = Some("x".repeat(100_000));
    forged.request = Some(json!({"text": "y\n".repeat(2_000_000), "n": 1}));
    audit.write(forged).unwrap();
    drop(audit);
    let text = fs::read_to_string(directory.path().join(FILES[0])).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.len() < 4000, "{}", text.len());
    assert!(!text.trim_end().contains(|letter: char| letter.is_control() || letter == '\u{202e}'));
    let told = &entries(directory.path())[0];
    assert_eq!(told.request.as_ref().unwrap()["bytes"], 6_000_017);
    assert_eq!(of_files(directory.path()).broken, None);
}

/// Waits for something that the thread does.
fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_cannot_be_written_waits_in_bounded_memory_and_the_loss_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    let mut audit = audit(&place);
    let began = Instant::now();
    for number in 0..1100 {
        assert!(audit.write(entry(&format!("call {number}"))).is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let waits = || audit.auditor().state();
    // Some found no room in the queue of the thread, which is shorter.
    until("all of them are counted", || waits().waiting + waits().lost == 1100);
    let state = audit.auditor().state();
    assert_eq!(state.written, 0);
    assert!(state.waiting <= 1000 && state.lost >= 100, "{state:?}");
    assert!(state.failing.as_ref().unwrap().contains("state"), "it names the directory");
    fs::create_dir(&place).unwrap();
    until("they are written", || audit.auditor().state().waiting == 0);
    assert_eq!(audit.auditor().state().failing, None);
    audit.write(entry("the next")).unwrap();
    drop(audit);
    let verdict = of_files(&place);
    assert_eq!((verdict.entries, verdict.gaps, verdict.broken), (state.waiting + 2, 1, None));
    let found = entries(&place);
    assert!(found[1].what.starts_with(&format!("{} entries are lost", state.lost)), "{:?}", found[1]);
}

#[test]
fn refused_calls_of_one_user_neither_fill_the_disk_nor_push_out_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut audit = audit(directory.path());
    let auditor = audit.auditor();
    for _ in 0..50_000 {
        let mut refused = entry("GET /v1/config");
        refused.kind = AuditKind::Refused;
        auditor.refused(refused);
    }
    audit.write(entry("limit set")).unwrap();
    drop(audit);
    let (all, unlisted) = auditor.refusals();
    assert_eq!(all, 50_000);
    let found = entries(directory.path());
    let listed = found.iter().filter(|entry| entry.kind == AuditKind::Refused).count();
    assert!(found.len() < 30 && listed > 1, "{}", found.len());
    let summary = found.iter().find(|entry| entry.outcome == "too_many").unwrap();
    assert_eq!(summary.missing.as_ref().unwrap().count, Some(unlisted));
    assert_eq!(listed as u64 - 1 + unlisted, all);
    assert!(found.iter().any(|entry| entry.what == "limit set"));
}

#[test]
fn a_file_that_another_program_touches_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut audit = audit(directory.path());
    audit.write(entry("one")).unwrap();
    fs::remove_file(directory.path().join(FILES[0])).unwrap();
    audit.write(entry("two")).unwrap();
    let found = audit.auditor().page(&AuditQuery::default()).unwrap().entries;
    assert!(
        found.iter().any(|entry| entry.kind == AuditKind::Gap && entry.what.contains("removed")),
        "{found:?}"
    );
    assert!(Timestamp::now() > found[0].at);
}
