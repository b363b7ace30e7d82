//! A backup in the place of the store of a state directory that no daemon holds.
//!
//! In: a file. Out: the same rows as the store, with one more change that says so, and the store of before beside it; or a reason,
//! and nothing is different. The file is copied and checked as a whole before anything else is touched.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::audit::{Audit, FILES, NewEntry};
use super::backup::Inventory;
use super::{FILE, NewChange, copy, examine, history, open, schema};

/// A backup that was found whole and lies ready in the state directory.
#[derive(Debug)]
pub struct Ready {
    directory: PathBuf,
    fresh: Fresh,
    /// What the backup holds.
    pub holds: Inventory,
    /// What it would replace; why not, where the store of now cannot be read; `None` without one.
    pub present: Option<Result<Inventory, String>>,
    /// What was put right in it.
    pub notes: Vec<String>,
    /// A change that waited for its confirmation: the start takes it back.
    pub waits: Option<u64>,
    /// Keeps every daemon out.
    _lock: File,
}

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// Its number in the history.
    pub change: u64,
    /// Where the store of before lies.
    pub kept: Option<PathBuf>,
    /// Why the audit does not have it.
    pub unaudited: Option<String>,
}

/// A file that goes away unless it is put in its place.
#[derive(Debug)]
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        // It is not there any more once it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Why a file is no backup that this build can put in force.
#[derive(Debug)]
struct Refused(PathBuf, String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; nothing was changed", self.0.display(), self.1)
    }
}

impl std::error::Error for Refused {}

impl Ready {
    /// Copies `file` into the state directory and checks the copy.
    pub fn of(file: &Path, directory: &Path) -> Result<Self> {
        ensure_place(directory)?;
        let lock = open::lock(directory)?;
        give(&directory.join("lock"), &fs::metadata(directory)?)?;
        let refused = |why: &str| anyhow!(Refused(file.to_owned(), why.to_owned()));
        let mut source = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(file)
            .with_context(|| format!("read {}", file.display()))?;
        if !source.metadata()?.is_file() {
            return Err(refused("is no regular file; name a file that `sluice backup` wrote"));
        }
        let journal = beside(file, "-wal");
        if journal.metadata().is_ok_and(|about| about.len() > 0) {
            return Err(refused(
                "has a journal beside it, so it was in use when it was copied; take it with `sluice backup`",
            ));
        }
        let fresh = Fresh(directory.join(format!("{FILE}.restore-new")));
        let _ = fs::remove_file(&fresh.0);
        write(&mut source, &fresh.0).with_context(|| {
            format!(
                "copy {} into {}: nothing was changed; make room there",
                file.display(),
                directory.display()
            )
        })?;
        if let Some(why) = unfit(&fresh.0) {
            return Err(refused(&why));
        }
        let (holds, notes, waits) = take_over(&fresh.0)
            .map_err(|error| refused(&format!("cannot be brought to this layout ({error:#})")))?;
        let store = directory.join(FILE);
        let present = store.exists().then(|| Inventory::of(&store).map_err(|error| format!("{error:#}")));
        Ok(Self { directory: directory.to_owned(), fresh, holds, present, notes, waits, _lock: lock })
    }

    /// Puts it in the place of the store, with `change` in its history and `entry` in the audit.
    pub fn put(self, change: &NewChange, entry: impl FnOnce(u64) -> NewEntry) -> Result<Restored> {
        let owner = fs::metadata(&self.directory)?;
        let number = record(&self.fresh.0, change, self.present.as_ref())
            .context("write into the copy of the backup: nothing was changed")?;
        give(&self.fresh.0, &owner)?;
        File::open(&self.fresh.0)?.sync_all()?;
        let store = self.directory.join(FILE);
        let kept = store.exists().then(|| keep(&store)).transpose()?;
        fs::rename(&self.fresh.0, &store)
            .with_context(|| format!("put the backup in the place of {}", store.display()))?;
        // It is a copy of the store of before.
        let _ = fs::remove_file(copy::place(&store));
        File::open(&self.directory)?.sync_all()?;
        let unaudited = tell(&self.directory, entry(number), &owner).err().map(|error| format!("{error:#}"));
        Ok(Restored { change: number, kept, unaudited })
    }
}

/// Whether it is a state directory, or an empty one that may become one.
fn ensure_place(directory: &Path) -> Result<()> {
    let found = fs::read_dir(directory).with_context(|| {
        format!("read the state directory {}: name it with --directory", directory.display())
    })?;
    let is_ours = [FILE, "lock"].iter().any(|name| directory.join(name).exists());
    let is_free = is_ours || found.into_iter().next().is_none();
    let at = directory.display();
    ensure!(
        is_free,
        "{at} is no state directory of a daemon: it holds other files; name it with --directory"
    );
    Ok(())
}

fn write(source: &mut File, path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::copy(source, &mut file)?;
    file.sync_all()
}

/// What is wrong with a file, and what to do about it.
fn unfit(path: &Path) -> Option<String> {
    const OTHER: &str = "name a file that `sluice backup` wrote";
    const OLDER: &str = "use another backup";
    let looked = || -> rusqlite::Result<Option<String>> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let (version, is_foreign) = (schema::version(&connection)?, schema::is_foreign(&connection)?);
        let is_empty = fs::metadata(path).is_ok_and(|about| about.len() == 0);
        if is_foreign || version < 1 {
            let what = if is_empty { "is empty" } else { "is no store of sluice, but another database" };
            return Ok(Some(format!("{what}; {OTHER}")));
        }
        if version > schema::VERSION {
            let known = schema::VERSION;
            return Ok(Some(format!(
                "was written by a newer sluice: it has layout {version}, this build knows {known}; restore it with that version"
            )));
        }
        let health: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        let first = health.lines().find(|line| !line.starts_with("***")).unwrap_or("damaged");
        Ok((health != "ok").then(|| format!("is damaged ({first}); {OLDER}")))
    };
    match looked() {
        Ok(found) => found,
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            Some(format!("is no store of sluice; {OTHER}"))
        }
        Err(error) => Some(format!("is damaged ({error}); {OLDER}")),
    }
}

/// Brings the copy to the layout of this build, and says what it holds.
fn take_over(path: &Path) -> Result<(Inventory, Vec<String>, Option<u64>)> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    schema::migrate(&mut connection)?;
    let notes = examine::examine(&connection)?;
    let waits = connection.query_row("SELECT change FROM pending", [], |row| row.get(0)).optional()?;
    let holds = Inventory::count(&connection)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    Ok((holds, notes, waits))
}

/// Writes the change. Numbers that the store of now gave are not given again.
fn record(path: &Path, change: &NewChange, present: Option<&Result<Inventory, String>>) -> Result<u64> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    let newest = present.and_then(|present| present.as_ref().ok()).map_or(0, |present| present.newest);
    let own = Inventory::count(&transaction)?.newest;
    transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'change'", [])?;
    transaction.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('change', ?1)",
        [i64::try_from(newest.max(own))?],
    )?;
    let number = history::insert(&transaction, change)?;
    transaction.commit()?;
    Ok(number)
}

/// The store of before under another name; until the backup is in its place, it stands under both.
fn keep(store: &Path) -> Result<PathBuf> {
    let names = (1..1000).map(|number| match number {
        1 => beside(store, ".before-restore"),
        _ => beside(store, &format!(".before-restore-{number}")),
    });
    let kept = names.into_iter().find(|name| !name.exists()).context("too many stores of before are kept")?;
    // What its journal holds belongs into the file. One that is damaged keeps its journal.
    let whole = Connection::open(store).and_then(|connection| {
        connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0))
    });
    if let Err(error) = whole {
        tracing::warn!("{}: {error}", store.display());
        for journal in ["-wal", "-shm"].map(|end| (beside(store, end), beside(&kept, end))) {
            if journal.0.exists() {
                fs::rename(&journal.0, &journal.1)?;
            }
        }
    }
    ensure!(!beside(store, "-wal").exists(), "{} is in use; stop what uses it", store.display());
    if fs::hard_link(store, &kept).is_err() {
        fs::rename(store, &kept)
            .with_context(|| format!("keep {} as {}", store.display(), kept.display()))?;
    }
    Ok(kept)
}

/// The file has the owner of its directory.
fn give(path: &Path, owner: &fs::Metadata) -> Result<()> {
    let about = fs::metadata(path)?;
    if (about.uid(), about.gid()) != (owner.uid(), owner.gid()) {
        let given = std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()));
        given.with_context(|| format!("give {} to user {}", path.display(), owner.uid()))?;
    }
    Ok(())
}

/// Writes the entry of the audit, as the daemon would.
fn tell(directory: &Path, entry: NewEntry, owner: &fs::Metadata) -> Result<()> {
    let mut audit = Audit::start(Some(directory), true)?;
    audit.write(entry)?;
    drop(audit);
    for file in FILES.map(|name| directory.join(name)) {
        if file.exists() {
            give(&file, owner)?;
        }
    }
    Ok(())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
