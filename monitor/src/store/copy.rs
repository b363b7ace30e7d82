//! A checked copy of the store beside it, from which a damaged one is restored.
//!
//! In: the open database, once an hour. Out: a file that was read back and found whole before it took the place of the
//! older copy. What is not whole never replaces what is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};

use super::open::MEMORY;
use super::{Store, backup, schema};

/// Where the copy of the store at `path` lies.
pub(super) fn place(path: &Path) -> PathBuf {
    path.with_extension("db.copy")
}

impl Store {
    /// Begins to copy the store; nobody waits for it. Failures are told by the next call.
    pub fn copy(&mut self) -> Result<()> {
        let failed = self.mending.copy_failed();
        if self.volatile.is_none() && self.path != Path::new(MEMORY) {
            let (path, report) = (self.path.clone(), self.mending.copy_report());
            self.worker.send(move |connection| {
                // The store may be gone before it hears of it.
                let _ = report.send(write(connection, &path).err().map(|error| format!("{error:#}")));
            })?;
        }
        match failed {
            Some(why) => Err(anyhow::anyhow!(why)),
            None => Ok(()),
        }
    }
}

/// Copies, checks the copy, and puts it in the place of the one before.
fn write(connection: &Connection, path: &Path) -> Result<()> {
    path.parent().into_iter().for_each(backup::sweep_left);
    let copy = place(path);
    let fresh = path.with_extension("db.copy-new");
    if fresh.exists() {
        fs::remove_file(&fresh).with_context(|| format!("remove {}", fresh.display()))?;
    }
    let name = fresh.to_str().context("the state directory's name is not UTF-8")?;
    connection.execute("VACUUM INTO ?1", [name]).context("copy the store")?;
    check(&fresh).context("check the copy of the store")?;
    fs::File::open(&fresh).and_then(|file| file.sync_all()).context("write the copy of the store")?;
    fs::rename(&fresh, &copy).with_context(|| format!("rename {}", fresh.display()))
}

/// Whether a file is a whole store that this build can read.
pub(super) fn check(path: &Path) -> Result<()> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    ensure!(!schema::is_foreign(&connection)?, "it is not a store of sluice");
    let found = schema::version(&connection)?;
    ensure!((1..=schema::VERSION).contains(&found), "it has version {found}");
    let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    ensure!(health == "ok", "{health}");
    Ok(())
}
