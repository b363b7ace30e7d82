//! The tables, as a list of migrations: the n-th brings version n to version n + 1.
//!
//! A released migration is never edited; a change is a new one at the end.

use rusqlite::Connection;

/// Marks the file as ours (`PRAGMA application_id`): "slce".
pub const APPLICATION: i64 = 0x736c_6365;

const MIGRATIONS: &[&str] = &[
    // 1: the first release.
    "CREATE TABLE override (
         key     TEXT PRIMARY KEY,
         value   TEXT NOT NULL,
         made_by TEXT NOT NULL,
         at      INTEGER NOT NULL
     ) STRICT;
     CREATE TABLE access (
         kind    TEXT NOT NULL,
         prefix  TEXT NOT NULL,
         since   INTEGER NOT NULL,
         until   INTEGER,
         strikes INTEGER NOT NULL,
         comment TEXT,
         made_by TEXT NOT NULL,
         PRIMARY KEY (kind, prefix)
     ) STRICT;
     CREATE TABLE change (
         number      INTEGER PRIMARY KEY AUTOINCREMENT,
         at          INTEGER NOT NULL,
         uid         INTEGER NOT NULL,
         gid         INTEGER NOT NULL,
         pid         INTEGER NOT NULL,
         origin      TEXT NOT NULL,
         what        TEXT NOT NULL,
         before      TEXT NOT NULL,
         after       TEXT NOT NULL,
         evidence    TEXT,
         state       TEXT NOT NULL,
         reverted_by INTEGER
     ) STRICT;
     CREATE TABLE pending (
         only          INTEGER PRIMARY KEY CHECK (only = 1),
         change        INTEGER NOT NULL,
         restore       TEXT NOT NULL,
         deadline      INTEGER NOT NULL,
         boot_id       TEXT NOT NULL,
         boot_deadline INTEGER NOT NULL
     ) STRICT;
     CREATE TABLE learned (
         area  TEXT NOT NULL,
         key   TEXT NOT NULL,
         value BLOB NOT NULL,
         at    INTEGER NOT NULL,
         PRIMARY KEY (area, key)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE finding (
         id     TEXT PRIMARY KEY,
         opened INTEGER NOT NULL,
         updated INTEGER NOT NULL,
         closed INTEGER,
         body   TEXT NOT NULL
     ) STRICT;
     CREATE INDEX finding_by_time ON finding (updated);",
    // 2: the name of the user who made a change.
    "ALTER TABLE change ADD COLUMN user TEXT;",
];

/// The version that this build writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Version of the file; 0 is an empty one.
pub fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether somebody else's database stands here.
pub fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(application != APPLICATION && objects > 0)
}

/// Makes the tables that a file of this version lacks; says which.
pub fn make_missing(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut made = Vec::new();
    for statement in MIGRATIONS.iter().flat_map(|step| step.split(';')) {
        let statement = statement.trim();
        if let Some(rest) = statement.strip_prefix("ALTER TABLE ") {
            add_column(connection, rest, statement)?;
            continue;
        }
        let Some(rest) = statement.strip_prefix("CREATE TABLE ") else {
            // An index is made again without a word: it holds nothing of its own.
            connection.execute_batch(&statement.replace("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS "))?;
            continue;
        };
        let name = rest.split([' ', '(']).next().unwrap_or_default();
        let there: i64 = connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [name],
            |row| row.get(0),
        )?;
        if there == 0 {
            connection.execute_batch(statement)?;
            made.push(name.to_owned());
        }
    }
    Ok(made)
}

/// `table ADD COLUMN name ...`, unless it is there.
fn add_column(connection: &Connection, rest: &str, statement: &str) -> rusqlite::Result<()> {
    let mut words = rest.split_whitespace();
    let (table, column) = (words.next().unwrap_or_default(), words.nth(2).unwrap_or_default());
    let there: i64 = connection.query_row(
        "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2",
        [table, column],
        |row| row.get(0),
    )?;
    if there == 0 { connection.execute_batch(statement) } else { Ok(()) }
}

/// Tables whose rows a copy can lend, and the columns that they are known by.
pub const TABLES: [&str; 6] = ["override", "access", "change", "pending", "learned", "finding"];

/// Brings the file to [`VERSION`], each step whole or not at all.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let mut at = version(connection)?;
    while let Some(step) = usize::try_from(at).ok().and_then(|index| MIGRATIONS.get(index)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        at += 1;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", at)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use rusqlite::Connection;

    use super::super::audit::NewEntry;
    use super::super::restore::Ready;
    use super::super::{AccessRuleKind, Author, ChangeState, FILE, NewChange, Store};
    use super::{APPLICATION, MIGRATIONS, VERSION};

    /// A store as the version after `steps` migrations wrote it.
    fn written(directory: &Path, steps: usize) {
        let old = Connection::open(directory.join(FILE)).unwrap();
        MIGRATIONS[..steps].iter().for_each(|step| old.execute_batch(step).unwrap());
        old.pragma_update(None, "application_id", APPLICATION).unwrap();
        old.pragma_update(None, "user_version", i64::try_from(steps).unwrap()).unwrap();
        old.execute_batch(
            "INSERT INTO override VALUES ('\"web\"', '{\"mode\":\"enforce\"}', 'uid 0', 1000);
             INSERT INTO access VALUES ('ban', '198.51.100.9/32', 10, NULL, 2, 'noisy', 'uid 0');
             INSERT INTO change (at, uid, gid, pid, origin, what, before, after, state)
                 VALUES (1000, 1000, 100, 7, 'control', 'limit web', '{}', '{}', 'applied');",
        )
        .unwrap();
    }

    fn change() -> NewChange {
        NewChange {
            at: Timestamp::UNIX_EPOCH,
            author: Author { uid: 0, gid: 0, pid: 1, user: None, origin: "direct".to_owned() },
            what: "restore".to_owned(),
            before: serde_json::Value::Null,
            after: serde_json::Value::Null,
            evidence: None,
            state: ChangeState::Applied,
        }
    }

    #[test]
    fn every_earlier_layout_is_taken_over_with_bans_overrides_and_history() {
        for steps in 1..=MIGRATIONS.len() {
            let directory = tempfile::tempdir().unwrap();
            written(directory.path(), steps);
            for start in 0..2 {
                let opened = Store::open(directory.path(), Timestamp::UNIX_EPOCH).unwrap();
                assert_eq!(
                    (opened.set_aside, opened.notes.len()),
                    (None, 0),
                    "layout {steps}, start {start}"
                );
                let store = opened.store;
                let access = store.access(Timestamp::UNIX_EPOCH).unwrap();
                assert_eq!((access.len(), access[0].kind, access[0].strikes), (1, AccessRuleKind::Ban, 2));
                assert_eq!(store.overrides::<serde_json::Value>().unwrap()["\"web\""]["mode"], "enforce");
                let history = store.history(10, None).unwrap();
                assert_eq!((history.len(), history[0].author.uid, &history[0].author.user), (1, 1000, &None));
            }
            let newer = Connection::open(directory.path().join(FILE)).unwrap();
            assert_eq!(super::version(&newer).unwrap(), VERSION);
        }
    }

    #[test]
    fn a_backup_of_every_earlier_layout_is_restored_and_no_number_is_given_twice() {
        for steps in 1..=MIGRATIONS.len() {
            let (old, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            written(old.path(), steps);
            let mut store = Store::open(state.path(), Timestamp::UNIX_EPOCH).unwrap().store;
            let change = change();
            let newest = (0..5).map(|_| store.record(&change).unwrap()).last().unwrap();
            store.copy().unwrap();
            drop(store);
            let ready = Ready::of(&old.path().join(FILE), state.path()).unwrap();
            assert_eq!((ready.holds.bans, ready.holds.overrides, ready.notes.len()), (1, 1, 0));
            assert_eq!(ready.present.as_ref().unwrap().as_ref().unwrap().changes, 5);
            let origin = api::Origin::Direct { uid: 0, gid: 0, pid: 1 };
            let entry =
                |_| NewEntry::new(Timestamp::UNIX_EPOCH, api::audit::AuditKind::Call, origin, "restore");
            let done = ready.put(&change, entry).unwrap();
            assert_eq!((done.change, done.unaudited), (newest + 1, None), "layout {steps}");
            assert!(done.kept.unwrap().ends_with("sluice.db.before-restore"));
            let opened = Store::open(state.path(), Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(
                (opened.set_aside, opened.store.access(Timestamp::UNIX_EPOCH).unwrap().len()),
                (None, 1)
            );
            let numbers: Vec<_> =
                opened.store.history(10, None).unwrap().iter().map(|one| one.number).collect();
            assert_eq!(numbers, [newest + 1, 1]);
            // The copy of the store of before would be put in force over a damaged one.
            assert!(!state.path().join("sluice.db.copy").exists());
        }
    }

    #[test]
    fn a_store_of_now_that_is_damaged_is_replaced_and_kept() {
        let (old, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        written(old.path(), MIGRATIONS.len());
        std::fs::write(state.path().join(FILE), [7; 9000]).unwrap();
        let ready = Ready::of(&old.path().join(FILE), state.path()).unwrap();
        assert!(ready.present.as_ref().unwrap().is_err());
        let origin = api::Origin::Direct { uid: 0, gid: 0, pid: 1 };
        let entry = |_| NewEntry::new(Timestamp::UNIX_EPOCH, api::audit::AuditKind::Call, origin, "restore");
        let kept = ready.put(&change(), entry).unwrap().kept.unwrap();
        assert_eq!(std::fs::read(kept).unwrap(), [7; 9000]);
        let opened = Store::open(state.path(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((opened.set_aside, opened.store.access(Timestamp::UNIX_EPOCH).unwrap().len()), (None, 1));
    }

    #[test]
    fn a_column_that_a_table_lacks_is_made() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), MIGRATIONS.len());
        let broken = Connection::open(directory.path().join(FILE)).unwrap();
        broken.execute_batch("ALTER TABLE change DROP COLUMN user; DROP TABLE finding").unwrap();
        drop(broken);
        let opened = Store::open(directory.path(), Timestamp::UNIX_EPOCH).unwrap();
        assert!(opened.notes.iter().any(|note| note.contains("`finding` was missing")), "{:?}", opened.notes);
        assert_eq!(opened.store.history(10, None).unwrap().len(), 1);
    }
}
