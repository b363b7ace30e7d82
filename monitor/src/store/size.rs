//! What the store may grow to, in bytes.
//!
//! In: the bound of the configuration, and every write that adds rows. Out: room for it: over seven eighths of the bound the
//! oldest findings that are closed go first, then the oldest changes of the history. What holds (saved limits, access
//! rules, what was learned, open findings, a change that waits) is never removed. `SQLite` itself refuses pages beyond the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;

use api::snapshot::StoreState;

/// Until the configuration says otherwise.
const USUAL: u64 = 256 << 20;
/// A store in memory is given no more than this.
const IN_MEMORY: u64 = 32 << 20;
/// Rows that go at once, and how often within one write: nobody waits for long.
const ROWS: u64 = 100;
const TIMES: usize = 40;

const CLOSED_FINDINGS: &str = "DELETE FROM finding WHERE id IN (
     SELECT id FROM finding WHERE closed IS NOT NULL
     AND CAST(id AS INTEGER) < (SELECT max(CAST(id AS INTEGER)) FROM finding)
     ORDER BY updated LIMIT ?1)";
const CHANGES: &str = "DELETE FROM change WHERE number IN (
     SELECT number FROM change WHERE state <> 'pending'
     AND number < (SELECT max(number) FROM change) ORDER BY number LIMIT ?1)";

/// The bound, and what is known of the size; shared with the store's thread.
#[derive(Clone, Debug, Default)]
pub struct Size(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    most: AtomicU64,
    in_use: AtomicU64,
    findings: AtomicU64,
    changes: AtomicU64,
    is_stuck: AtomicBool,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            most: AtomicU64::new(USUAL),
            in_use: AtomicU64::new(0),
            findings: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
        }
    }
}

impl Size {
    pub fn bound(&self, bytes: u64) {
        self.0.most.store(bytes, Ordering::Relaxed);
    }

    pub fn state(&self) -> StoreState {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        StoreState {
            bytes: read(&self.0.in_use),
            most_bytes: read(&self.0.most),
            shed_findings: read(&self.0.findings),
            shed_changes: read(&self.0.changes),
            full: self.0.is_stuck.load(Ordering::Relaxed),
        }
    }

    /// Before a write of so many bytes. What goes wrong here goes wrong with the write as well.
    pub fn make_room(&self, connection: &Connection, wanted: usize) {
        if let Err(error) = self.shed(connection, wanted as u64) {
            tracing::debug!("the size of the store: {error}");
        }
    }

    fn shed(&self, connection: &Connection, wanted: u64) -> rusqlite::Result<()> {
        let figures = &self.0;
        let most = figures.most.load(Ordering::Relaxed);
        let most = if connection.path().is_none_or(str::is_empty) { most.min(IN_MEMORY) } else { most };
        let page = pragma(connection, "page_size")?.max(1);
        // A file that is larger already keeps its pages until it is written again.
        connection.pragma_update(None, "max_page_count", i64::try_from(most / page).unwrap_or(i64::MAX))?;
        // Rows round up to pages. What takes a quarter by itself is not worth everything else.
        let wanted = if wanted > most / 4 { 0 } else { 2 * wanted };
        let room = (most / 8 * 7).min(most - wanted);
        let mut used = in_use(connection)?;
        let mut gone = [0, 0];
        let transaction = connection.unchecked_transaction()?;
        for _ in 0..TIMES {
            if used <= room {
                break;
            }
            let findings = remove(connection, CLOSED_FINDINGS)?;
            let changes = if findings == 0 { remove(connection, CHANGES)? } else { 0 };
            gone = [gone[0] + findings, gone[1] + changes];
            used = in_use(connection)?;
            if findings + changes == 0 {
                break;
            }
        }
        transaction.commit()?;
        figures.in_use.store(used, Ordering::Relaxed);
        figures.findings.fetch_add(gone[0], Ordering::Relaxed);
        figures.changes.fetch_add(gone[1], Ordering::Relaxed);
        figures.is_stuck.store(used > room && gone == [0, 0], Ordering::Relaxed);
        if gone != [0, 0] {
            let [findings, changes] = gone;
            tracing::info!(
                findings,
                changes,
                "the oldest closed findings or changes went, for state.store_size"
            );
        }
        Ok(())
    }

    /// Writes the file again without its free pages, when it is larger than it may be: the bound was lowered.
    pub fn shrink(&self, connection: &Connection) -> rusqlite::Result<()> {
        let bytes = pragma(connection, "page_count")? * pragma(connection, "page_size")?;
        if bytes > self.0.most.load(Ordering::Relaxed) {
            connection.execute_batch("VACUUM")?;
            self.shed(connection, 0)?;
        }
        Ok(())
    }
}

fn remove(connection: &Connection, oldest: &str) -> rusqlite::Result<u64> {
    connection.execute(oldest, [ROWS]).map(|rows| rows as u64)
}

/// Bytes of the pages that are in use.
fn in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = pragma(connection, "page_count")?.saturating_sub(pragma(connection, "freelist_count")?);
    Ok(pages * pragma(connection, "page_size")?)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use jiff::Timestamp;
    use policy::config::{self, Bytes};
    use serde_json::{Value, json};

    use crate::store::{Author, ChangeState, FILE, NewChange, Store, StoredFinding};

    const MOST: u64 = 1 << 20;

    fn bound(store: &mut Store, bytes: u64) {
        store.bound(&config::State { store_size: Bytes(bytes), ..config::State::default() });
    }

    fn open(directory: &Path) -> Store {
        let mut store = Store::open(directory, Timestamp::UNIX_EPOCH).unwrap().store;
        bound(&mut store, MOST);
        store
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
    }

    fn findings(ids: std::ops::Range<u64>, is_closed: bool) -> Vec<StoredFinding> {
        let body = json!({ "text": "x".repeat(2000) });
        let finding = |id| StoredFinding {
            id: format!("{id}"),
            opened: at(id),
            updated: at(id),
            closed: is_closed.then(|| at(id)),
            body: body.clone(),
        };
        ids.map(finding).collect()
    }

    fn change(length: usize) -> NewChange {
        NewChange {
            at: at(1),
            author: Author { uid: 0, gid: 0, pid: 1, user: None, origin: "control".to_owned() },
            what: "limit".to_owned(),
            before: Value::Null,
            after: json!("x".repeat(length)),
            evidence: None,
            state: ChangeState::Applied,
        }
    }

    /// The numbers of the findings, and how many changes there are.
    fn kept(store: &Store) -> (Vec<u64>, usize) {
        let found = store.findings(Timestamp::MIN, usize::MAX).unwrap();
        let mut ids: Vec<u64> = found.iter().map(|finding| finding.id.parse().unwrap()).collect();
        ids.sort_unstable();
        (ids, store.history(10_000, None).unwrap().len())
    }

    #[test]
    fn a_store_that_fills_sheds_the_oldest_closed_findings_then_the_oldest_changes_and_nothing_that_holds() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        let largest = || fs::metadata(directory.path().join(FILE)).unwrap().len();
        for _ in 0..20 {
            store.record(&change(100)).unwrap();
        }
        store.keep_findings(&findings(0..10, false)).unwrap();
        for batch in 1..30 {
            store.keep_findings(&findings(batch * 100..batch * 100 + 100, true)).unwrap();
            assert!(largest() <= MOST, "{} after batch {batch}", largest());
        }
        let (ids, changes) = kept(&store);
        assert_eq!(
            (&ids[..10], changes),
            (&(0..10).collect::<Vec<_>>()[..], 20),
            "open ones and changes stay"
        );
        assert!(ids[10] > 2000 && ids.ends_with(&[2999]), "the newest closed ones stay: {ids:?}");
        let state = store.size();
        assert_eq!(
            (state.shed_findings, state.shed_changes, state.full),
            (2900 - (ids.len() as u64 - 10), 0, false)
        );
        // Before the last batch, which takes two fifths of so small a store.
        assert!((MOST / 4..=MOST).contains(&state.bytes), "{state:?}");

        for _ in 0..400 {
            store.record(&change(5000)).unwrap();
        }
        let (ids, changes) = kept(&store);
        assert_eq!(ids[..10], (0..10).collect::<Vec<_>>(), "open ones stay");
        // The one of the highest number stays, so that no number is given twice.
        assert_eq!(ids[10..], [2999]);
        assert!(
            (20..400).contains(&changes) && store.size().shed_changes == 420 - changes as u64,
            "{changes}"
        );
        assert_eq!(store.history(1, None).unwrap()[0].number, 420);
        assert!(largest() <= MOST);
    }

    #[test]
    fn what_finds_no_room_waits_until_there_is_some_and_a_lowered_bound_makes_the_file_smaller() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        assert!(
            (0..20).any(|batch| store.keep_findings(&findings(batch * 50..batch * 50 + 50, false)).is_err())
        );
        assert!(store.size().full && store.unwritten().0 > 0, "{:?}", store.size());
        let told = store.findings(Timestamp::MIN, usize::MAX).unwrap().len();
        bound(&mut store, 8 * MOST);
        store.write_findings().unwrap();
        assert_eq!((store.unwritten().0, store.size().full, kept(&store).0.len()), (0, false, told));
        store.keep_findings(&findings(10_000..12_000, true)).unwrap();
        let file = directory.path().join(FILE);
        store.prune(at(0), Timestamp::MIN, 10_000).unwrap();
        drop(store);
        assert!(fs::metadata(&file).unwrap().len() > 4 * MOST);
        let mut store = open(directory.path());
        bound(&mut store, 3 * MOST);
        store.prune(at(0), Timestamp::MIN, 10_000).unwrap();
        drop(store);
        assert!(fs::metadata(&file).unwrap().len() <= 3 * MOST, "{}", fs::metadata(&file).unwrap().len());
    }
}
