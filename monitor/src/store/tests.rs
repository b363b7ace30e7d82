//! The store over files of its own in temporary directories: what is written is there after a restart, a kill, a newer
//! or a broken file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::pending::Expiry;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn moment(second: i64, boot: &str) -> Moment {
    Moment {
        wall: at(second),
        since_boot: Duration::from_secs(u64::try_from(second).unwrap()),
        boot_id: boot.to_owned(),
    }
}

fn open(directory: &Path) -> Store {
    let opened = Store::open(directory, at(77)).unwrap();
    assert_eq!(opened.set_aside, None);
    opened.store
}

fn change(what: &str) -> NewChange {
    NewChange {
        at: at(1_000),
        author: Author {
            uid: 1000,
            gid: 100,
            pid: 4242,
            user: Some("alice".to_owned()),
            origin: "control".to_owned(),
        },
        what: what.to_owned(),
        before: json!({"web": 100}),
        after: json!({"web": 50}),
        evidence: None,
        state: ChangeState::Applied,
    }
}

fn ban(prefix: &str, until: Option<i64>) -> AccessRule {
    AccessRule {
        kind: AccessRuleKind::Ban,
        prefix: prefix.parse().unwrap(),
        since: at(10),
        until: until.map(at),
        strikes: 2,
        comment: Some("noisy".to_owned()),
        made_by: "uid 0".to_owned(),
    }
}

#[test]
fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let finding = StoredFinding {
        id: "port_scan/10.0.0.1/-".to_owned(),
        opened: at(1),
        updated: at(2),
        closed: None,
        body: json!({"measured": 57}),
    };
    {
        let mut store = open(directory.path());
        store.set_override("limit/web/outside/source", &json!({"packets": 10}), "uid 0", at(5)).unwrap();
        store.set_access(&ban("192.0.2.1/32", None)).unwrap();
        assert_eq!(store.record(&change("limit web")).unwrap(), 1);
        store.learn("tuning", [("web/outside", &[1u8, 2, 3][..])], at(6)).unwrap();
        store.keep_findings(std::slice::from_ref(&finding)).unwrap();
    }
    let store = open(directory.path());
    let overrides: BTreeMap<String, Value> = store.overrides().unwrap();
    assert_eq!(overrides["limit/web/outside/source"], json!({"packets": 10}));
    assert_eq!(store.access(at(11)).unwrap(), [ban("192.0.2.1/32", None)]);
    let history = store.history(10, None).unwrap();
    assert_eq!((history.len(), history[0].number, history[0].what.as_str()), (1, 1, "limit web"));
    assert_eq!(history[0].author.pid, 4242);
    assert_eq!(history[0].before, json!({"web": 100}));
    assert_eq!(store.learned("tuning").unwrap(), [("web/outside".to_owned(), vec![1, 2, 3])]);
    assert_eq!(store.findings(at(0), 10).unwrap(), [finding]);
}

#[test]
fn directory_and_file_are_closed_to_others_even_when_they_were_open() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let _store = open(&state);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_second_daemon_is_refused_and_told_why() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let error = Store::open(directory.path(), at(1)).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)));
    assert!(error.to_string().contains("running daemon"), "{error}");
    drop(first);
    open(directory.path());
}

#[test]
fn a_damaged_file_is_kept_aside_and_an_empty_one_begins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    fs::write(&path, b"this is no database, but it may be somebody's only copy").unwrap();
    let opened = Store::open(directory.path(), at(1_234)).unwrap();
    let aside = opened.set_aside.unwrap();
    assert_eq!(aside.path, directory.path().join("sluice.db.set-aside-1234"));
    assert!(fs::read(&aside.path).unwrap().starts_with(b"this is no database"));
    assert!(opened.store.history(1, None).unwrap().is_empty());
}

#[test]
fn a_truncated_file_is_kept_aside() {
    let directory = tempfile::tempdir().unwrap();
    {
        let mut store = open(directory.path());
        for number in 0..200 {
            store.record(&change(&format!("change {number} {}", "x".repeat(500)))).unwrap();
        }
    }
    let path = directory.path().join(FILE);
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 40_000, "the journal was folded in on closing");
    fs::write(&path, &bytes[..20_000]).unwrap();
    let opened = Store::open(directory.path(), at(1)).unwrap();
    assert!(opened.set_aside.is_some());
}

#[test]
fn a_newer_file_is_kept_aside_with_both_versions_named() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path());
        store.worker.call(|connection| Ok(connection.pragma_update(None, "user_version", 99)?)).unwrap();
    }
    let opened = Store::open(directory.path(), at(1)).unwrap();
    let why = opened.set_aside.unwrap().why;
    assert!(why.contains("99") && why.contains(&schema::VERSION.to_string()), "{why}");
}

#[test]
fn somebody_elses_database_is_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let opened = Store::open(directory.path(), at(1)).unwrap();
    assert!(opened.set_aside.unwrap().why.contains("not a store of sluice"));
}

#[test]
fn a_kill_between_apply_and_rollback_is_taken_back_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    {
        let mut store = open(directory.path());
        let pending = store
            .begin(&change("limit web"), json!({"web": 100}), Duration::from_mins(1), &moment(1_000, "a"))
            .unwrap();
        assert_eq!((pending.change, pending.deadline), (1, at(1_060)));
        // What a kill leaves: the files as they are, journal and all, with nobody to close them.
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let mut store = open(copy.path());
    let pending = store.pending().unwrap().expect("it survived the kill");
    assert_eq!(pending.restore, json!({"web": 100}));
    assert_eq!(pending.found_at_start(&moment(1_010, "a")), Expiry::Restarted);
    assert_eq!(pending.found_at_start(&moment(1_500, "a")), Expiry::NotConfirmed);
    assert_eq!(pending.found_at_start(&moment(5, "b")), Expiry::Rebooted);
    store.settle(pending.change, ChangeState::RolledBack).unwrap();
    assert_eq!(store.pending().unwrap(), None);
    assert_eq!(store.change(1).unwrap().unwrap().state, ChangeState::RolledBack);
    assert!(store.settle(1, ChangeState::Confirmed).is_err(), "it cannot be confirmed any more");
}

#[test]
fn a_change_is_due_by_the_boot_clock_whatever_the_wall_clock_does() {
    let mut store = Store::in_memory().unwrap();
    let begun = moment(1_000, "a");
    let pending = store.begin(&change("x"), json!(null), Duration::from_mins(1), &begun).unwrap();
    let mut now = begun;
    now.wall = at(999_999);
    assert_eq!(pending.due(&now), None);
    assert_eq!(pending.left(&now), Duration::from_mins(1));
    now.wall = at(0);
    now.since_boot += Duration::from_mins(1);
    assert_eq!(pending.due(&now), Some(Expiry::NotConfirmed));
}

#[test]
fn only_one_change_waits_at_a_time() {
    let mut store = Store::in_memory().unwrap();
    let now = moment(1, "a");
    store.begin(&change("one"), json!(1), Duration::from_mins(1), &now).unwrap();
    let error = store.begin(&change("two"), json!(2), Duration::from_mins(1), &now).unwrap_err();
    assert!(error.to_string().contains("change 1"), "{error}");
    assert_eq!(store.history(10, None).unwrap().len(), 1, "the refused one left no trace");
    store.settle(1, ChangeState::Confirmed).unwrap();
    store.begin(&change("two"), json!(2), Duration::from_mins(1), &now).unwrap();
}

#[test]
fn numbers_of_changes_are_never_reused() {
    let mut store = Store::in_memory().unwrap();
    for _ in 0..5 {
        store.record(&change("x")).unwrap();
    }
    store.prune(at(0), at(0), 0).unwrap();
    assert!(store.history(10, None).unwrap().is_empty());
    assert_eq!(store.record(&change("y")).unwrap(), 6);
}

#[test]
fn what_ended_is_pruned_and_what_waits_is_not() {
    let mut store = Store::in_memory().unwrap();
    store.set_access(&ban("192.0.2.1/32", Some(100))).unwrap();
    store.set_access(&ban("192.0.2.2/32", Some(300))).unwrap();
    store.set_access(&ban("2001:db8::/64", None)).unwrap();
    assert_eq!(store.access(at(200)).unwrap().len(), 2);
    store.begin(&change("x"), json!(1), Duration::from_mins(1), &moment(1, "a")).unwrap();
    store.prune(at(200), at(0), 0).unwrap();
    assert_eq!(store.access(at(0)).unwrap().len(), 2);
    assert_eq!(store.history(10, None).unwrap().len(), 1);
}

#[test]
fn findings_that_ended_long_ago_are_pruned_but_for_the_last_number() {
    let mut store = Store::in_memory().unwrap();
    let finding = |id: u32, closed| StoredFinding {
        id: id.to_string(),
        opened: at(1),
        updated: at(100),
        closed,
        body: json!({}),
    };
    let all =
        [finding(8, Some(at(100))), finding(9, None), finding(10, Some(at(100))), finding(7, Some(at(300)))];
    store.keep_findings(&all).unwrap();
    store.prune(at(0), at(200), 10).unwrap();
    let mut left: Vec<_> =
        store.findings(Timestamp::MIN, 10).unwrap().into_iter().map(|one| one.id).collect();
    left.sort();
    assert_eq!(left, ["10", "7", "9"]);
}

#[test]
fn a_revert_names_the_change_that_did_it() {
    let mut store = Store::in_memory().unwrap();
    let first = store.record(&change("limit web")).unwrap();
    let second = store.record(&change("revert 1")).unwrap();
    store.mark(first, ChangeState::Reverted, Some(second)).unwrap();
    let record = store.change(first).unwrap().unwrap();
    assert_eq!((record.state, record.reverted_by), (ChangeState::Reverted, Some(second)));
    assert!(store.mark(99, ChangeState::Reverted, None).is_err());
}

#[test]
fn forgetting_takes_only_the_named_keys() {
    let mut store = Store::in_memory().unwrap();
    let blobs: [(&str, &[u8]); 3] = [("web/1", b"a"), ("web/2", b"b"), ("web%/1", b"c")];
    store.learn("tuning", blobs, at(1)).unwrap();
    assert_eq!(store.forget("tuning", "web/").unwrap(), 2);
    assert_eq!(store.learned("tuning").unwrap(), [("web%/1".to_owned(), b"c".to_vec())]);
    assert_eq!(store.learned_one("tuning", "web/1").unwrap(), None);
}

fn database(directory: &Path) -> Connection {
    Connection::open(directory.join(FILE)).unwrap()
}

#[test]
fn a_damaged_file_is_replaced_by_its_checked_copy_and_this_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    {
        let mut store = open(directory.path());
        store.set_access(&ban("192.0.2.1/32", None)).unwrap();
        store.copy().unwrap();
        // Jobs are done in their order, so the copy stands once this one is answered.
        while store.access(at(1)).is_err() {}
    }
    for damaged in [b"this is no database".to_vec(), Vec::new(), vec![0; 8192]] {
        fs::write(&path, &damaged).unwrap();
        let opened = Store::open(directory.path(), at(9)).unwrap();
        let aside = opened.set_aside.unwrap();
        assert!(aside.restored && opened.notes[0].contains("checked copy"), "{:?}", opened.notes);
        assert_eq!(fs::read(&aside.path).unwrap(), damaged);
        assert_eq!(opened.store.access(at(11)).unwrap(), [ban("192.0.2.1/32", None)]);
    }
}

#[test]
fn a_row_that_cannot_be_read_and_a_table_that_is_missing_are_told_and_cost_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    {
        let mut store = open(directory.path());
        store.set_access(&ban("192.0.2.1/32", None)).unwrap();
        store.set_access(&ban("192.0.2.2/32", None)).unwrap();
        store.set_override("\"good\"", &json!(1), "uid 0", at(5)).unwrap();
    }
    database(directory.path())
        .execute_batch(
            "UPDATE access SET prefix = 'nonsense' WHERE prefix = '192.0.2.2/32';
             INSERT INTO override VALUES ('bad', '{', 'uid 0', 1);
             DROP TABLE finding;",
        )
        .unwrap();
    let opened = Store::open(directory.path(), at(9)).unwrap();
    let told = opened.notes.join("; ");
    assert!(told.contains("`finding` was missing") && told.contains("1 rows of `access`"), "{told}");
    assert!(told.contains("nonsense") && told.contains("1 rows of `override`"), "{told}");
    assert_eq!(opened.store.access(at(11)).unwrap(), [ban("192.0.2.1/32", None)]);
    assert_eq!(opened.store.overrides::<Value>().unwrap().len(), 1);
    assert!(opened.store.findings(at(0), 10).unwrap().is_empty());
    let kept = opened.store.worker.call(|connection| {
        Ok(connection.query_row("SELECT count(*) FROM unreadable", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(kept.unwrap(), 2);
}

#[test]
fn a_directory_that_cannot_be_used_leaves_a_store_in_memory_that_moves_to_the_disk_later() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    fs::write(&state, "a file is in the way").unwrap();
    let mut store = Store::open_or_remember(&state, at(1)).unwrap().store;
    assert!(store.volatile().unwrap().contains("cannot hold the state"), "{:?}", store.volatile());
    store.set_access(&ban("192.0.2.1/32", None)).unwrap();
    store.record(&change("limit web")).unwrap();
    fs::remove_file(&state).unwrap();
    let began = std::time::Instant::now();
    while store.mend(at(2)).is_none() {
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", store.volatile());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((store.volatile(), store.path()), (None, state.join(FILE).as_path()));
    drop(store);
    let store = open(&state);
    assert_eq!(store.access(at(11)).unwrap(), [ban("192.0.2.1/32", None)]);
    assert_eq!(store.history(10, None).unwrap().len(), 1);
}

#[test]
fn findings_wait_for_a_store_that_can_write_and_are_listed_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let query_only = |store: &Store, on: bool| {
        store.worker.call(move |connection| Ok(connection.pragma_update(None, "query_only", on)?)).unwrap();
    };
    query_only(&store, true);
    let finding = StoredFinding {
        id: "7".to_owned(),
        opened: at(1),
        updated: at(2),
        closed: None,
        body: json!({"measured": 57}),
    };
    assert!(store.keep_findings(std::slice::from_ref(&finding)).is_err());
    assert_eq!(store.unwritten().0, 1);
    assert_eq!(
        store.findings(at(0), 10).unwrap(),
        std::slice::from_ref(&finding),
        "it is listed all the same"
    );
    query_only(&store, false);
    store.write_findings().unwrap();
    assert_eq!(store.unwritten(), (0, 0));
    assert_eq!(store.findings(at(0), 10).unwrap(), [finding]);
}

#[test]
fn a_lock_of_another_process_delays_no_start_and_the_store_is_read_once_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).set_access(&ban("192.0.2.1/32", None)).unwrap();
    let other = database(directory.path());
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let began = std::time::Instant::now();
    let mut store = Store::open_or_remember(directory.path(), at(1)).unwrap().store;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(store.volatile().is_some());
    drop(other);
    while store.mend(at(2)).is_none() {
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", store.volatile());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(store.access(at(11)).unwrap(), [ban("192.0.2.1/32", None)]);
}

#[test]
fn a_page_of_the_history_ends_where_its_text_grows_too_long_and_the_next_one_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let mut long = change("long");
    long.before = json!("x".repeat(400_000));
    for _ in 0..5 {
        store.record(&long).unwrap();
    }
    let numbers = |before| -> Vec<u64> {
        store.history(100, before).unwrap().iter().map(|record| record.number).collect()
    };
    assert_eq!(numbers(None), [5, 4]);
    assert_eq!(numbers(Some(4)), [3, 2]);
    assert_eq!(numbers(Some(2)), [1]);
    assert!(numbers(Some(1)).is_empty());
}
