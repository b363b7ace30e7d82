//! A store that lives in memory because its directory cannot be used is tried again, and what it holds is carried over.
//!
//! In: the time that passes. Out: the store on the disk, once that works; until then the reason why not. Tries are made on
//! the store's own thread, further and further apart.

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::open::{self, SetAside};
use super::{FILE, Store, schema};

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_mins(1);

/// The store is on the disk from now on.
#[derive(Debug)]
pub struct Mended {
    pub set_aside: Option<SetAside>,
    pub notes: Vec<String>,
}

type Outcome = Result<(File, Option<SetAside>, Vec<String>), String>;

/// Tries that are on their way.
#[derive(Debug)]
pub(super) struct Mending {
    pause: Duration,
    next: Instant,
    outcome: Option<Receiver<Outcome>>,
    copied: (SyncSender<Option<String>>, Receiver<Option<String>>),
}

impl Default for Mending {
    fn default() -> Self {
        Self { pause: FIRST, next: Instant::now() + FIRST, outcome: None, copied: sync_channel(4) }
    }
}

impl Mending {
    pub fn copy_report(&self) -> SyncSender<Option<String>> {
        self.copied.0.clone()
    }

    pub fn copy_failed(&self) -> Option<String> {
        self.copied.1.try_iter().last().flatten()
    }
}

impl Store {
    /// Tries again when it is time to; `Some` once the store is on the disk.
    pub fn mend(&mut self, stamp: Timestamp) -> Option<Mended> {
        self.volatile.as_ref()?;
        if let Some(outcome) = &self.mending.outcome {
            let outcome = outcome.try_recv().ok()?;
            self.mending.outcome = None;
            return match outcome {
                Ok((lock, set_aside, notes)) => {
                    self.lock = Some(lock);
                    self.volatile = None;
                    self.path = self.directory.join(FILE);
                    self.mending.pause = FIRST;
                    self.audit.use_disk();
                    Some(Mended { set_aside, notes })
                }
                Err(why) => {
                    self.volatile = Some(why);
                    None
                }
            };
        }
        if Instant::now() < self.mending.next {
            return None;
        }
        self.mending.pause = (self.mending.pause * 2).min(LONGEST);
        self.mending.next = Instant::now() + self.mending.pause;
        let (report, outcome) = sync_channel(1);
        let directory = self.directory.clone();
        let sent = self.worker.send(move |memory| {
            let moved =
                open::on_disk(&directory, stamp).map_err(|error| error.to_string()).and_then(|disk| {
                    let carried = carry(memory, &disk.connection).map_err(|error| error.to_string());
                    carried.map(|()| {
                        *memory = disk.connection;
                        (disk.lock, disk.set_aside, disk.notes)
                    })
                });
            // The store may be gone before it hears of it.
            let _ = report.send(moved);
        });
        if sent.is_ok() {
            self.mending.outcome = Some(outcome);
        }
        None
    }
}

/// Writes the rows of `from` into `to`: changes under new numbers, what was learned only where nothing is known.
fn carry(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    let transaction = to.unchecked_transaction()?;
    for table in schema::TABLES.into_iter().filter(|table| *table != "pending") {
        lend(from, &transaction, table, if table == "learned" { "IGNORE" } else { "REPLACE" })?;
    }
    transaction.commit()
}

/// Copies every row of one table.
pub(super) fn lend(from: &Connection, to: &Connection, table: &str, conflict: &str) -> rusqlite::Result<()> {
    let mut rows = from.prepare(&format!("SELECT * FROM {table}"))?;
    let columns: Vec<String> = rows.column_names().into_iter().map(str::to_owned).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT OR {conflict} INTO {table} ({}) VALUES ({marks})", columns.join(", "));
    let mut insert = to.prepare(&insert)?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let value = |(at, name): (usize, &String)| {
            // `change` numbers its rows by itself.
            if name == "number" && conflict == "REPLACE" { Ok(Value::Null) } else { row.get::<_, Value>(at) }
        };
        let values = columns.iter().enumerate().map(value).collect::<rusqlite::Result<Vec<_>>>()?;
        insert.execute(rusqlite::params_from_iter(values))?;
    }
    Ok(())
}
