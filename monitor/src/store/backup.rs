//! The store as a file for somebody else: a copy of one moment, handed out in parts while the daemon runs.
//!
//! In: the open database, by a job on its own thread. Out: parts of a copy in the state directory, which goes away with its last part,
//! with the next backup, and with the next hourly copy once nobody has read of it for long. Nothing in it is decided or changed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::backup::{BackupPart, BackupRead};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::worker::Job;
use super::{FILE, copy, ensure_unused};

/// Copies that are handed out, and the one that is written: this, and a number or `new`.
const PREFIX: &str = "sluice.db.backup-";
/// What one answer holds.
const PART: u64 = 1 << 20;
/// How long a copy is waited for.
const PATIENCE: Duration = Duration::from_secs(14);
/// A copy that nobody has read of for so long was left.
const LEFT: Duration = Duration::from_mins(10);

/// Makes copies and reads parts of them. Clone it freely: it keeps nothing open.
#[derive(Clone, Debug)]
pub struct Copier {
    jobs: Weak<SyncSender<Job>>,
    directory: PathBuf,
}

impl Copier {
    pub(super) fn new(jobs: Weak<SyncSender<Job>>, directory: &Path) -> Self {
        Self { jobs, directory: directory.to_owned() }
    }

    /// The same for a store that has no directory.
    #[cfg(test)]
    #[must_use]
    pub fn at(self, directory: &Path) -> Self {
        Self { directory: directory.to_owned(), ..self }
    }

    /// The part that is asked for; `None` when its backup is over.
    pub fn part(&self, asked: &BackupRead) -> Result<Option<BackupPart>> {
        let id = match &asked.id {
            Some(id) if id.is_empty() || !id.bytes().all(|digit| digit.is_ascii_digit()) => return Ok(None),
            Some(id) => id.clone(),
            None => self.begin()?,
        };
        let path = self.directory.join(format!("{PREFIX}{id}"));
        let Ok(file) = File::open(&path) else { return Ok(None) };
        let bytes = file.metadata().context("read the copy of the store")?.len();
        let offset = asked.offset.min(bytes);
        let length = PART.min(bytes - offset);
        let mut part = vec![0; usize::try_from(length)?];
        file.read_exact_at(&mut part, offset).context("read the copy of the store")?;
        if offset + length == bytes {
            fs::remove_file(&path).context("remove the copy of the store")?;
        }
        Ok(Some(BackupPart { id, bytes, offset, data: STANDARD.encode(&part) }))
    }

    /// Copies the store on its own thread, in the place of every older copy.
    fn begin(&self) -> Result<String> {
        let (report, outcome) = sync_channel(1);
        let directory = self.directory.clone();
        let jobs = self.jobs.upgrade().context("the daemon is stopping")?;
        let sent = jobs.try_send(Box::new(move |connection| {
            // The caller may be gone.
            let _ = report.send(hold(connection, &directory));
        }));
        sent.ok().context("the store is busy: its queue is full; try again")?;
        drop(jobs);
        outcome
            .recv_timeout(PATIENCE)
            .context("the store was not copied in time; see whether its disk is slow")?
    }
}

fn hold(connection: &Connection, directory: &Path) -> Result<String> {
    sweep(directory, Duration::ZERO);
    let fresh = directory.join(format!("{PREFIX}new"));
    let done = into(connection, &fresh).and_then(|()| {
        let id = Timestamp::now().as_nanosecond().to_string();
        fs::rename(&fresh, directory.join(format!("{PREFIX}{id}")))?;
        Ok(id)
    });
    done.inspect_err(|_| drop(fs::remove_file(&fresh)))
}

fn into(connection: &Connection, path: &Path) -> Result<()> {
    let name = path.to_str().context("the directory's name is not UTF-8")?;
    connection.execute("VACUUM INTO ?1", [name]).with_context(|| format!("copy the store to {name}"))?;
    Ok(())
}

/// Removes copies that were left for so long.
pub(super) fn sweep(directory: &Path, left: Duration) {
    let Ok(all) = fs::read_dir(directory) else { return };
    for file in all.flatten().filter(|file| file.file_name().to_string_lossy().starts_with(PREFIX)) {
        let age = file.metadata().and_then(|about| about.accessed()).ok().and_then(|at| at.elapsed().ok());
        if age.unwrap_or(Duration::MAX) >= left {
            let _ = fs::remove_file(file.path()).inspect_err(|error| {
                tracing::warn!("remove {}: {error}", file.path().display());
            });
        }
    }
}

/// The same, for the hourly copy.
pub(super) fn sweep_left(directory: &Path) {
    sweep(directory, LEFT);
}

/// Writes the store of a state directory that no daemon holds to `path`, which is empty or not there.
pub fn of_stopped(directory: &Path, path: &Path) -> Result<()> {
    ensure_unused(directory)?;
    let store = directory.join(FILE);
    let about = fs::metadata(&store).with_context(|| format!("read {}", store.display()))?;
    ensure!(about.is_file(), "{} is no file; name the state directory of a daemon", store.display());
    copy::check(&store).with_context(|| format!("{} cannot be copied", store.display()))?;
    into(&Connection::open(&store)?, path)
}

/// How much of what a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inventory {
    pub overrides: u64,
    pub exemptions: u64,
    pub denials: u64,
    pub bans: u64,
    pub changes: u64,
    pub findings: u64,
    /// Entries of what was learned.
    pub learned: u64,
    /// The highest number that a change had.
    #[serde(skip)]
    pub(super) newest: u64,
}

impl Inventory {
    /// Of a file that is a whole store of this version.
    pub fn of(path: &Path) -> Result<Self> {
        copy::check(path)?;
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        Ok(Self::count(&Connection::open_with_flags(path, flags)?)?)
    }

    pub(super) fn count(connection: &Connection) -> rusqlite::Result<Self> {
        let count =
            |of: &str| connection.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0));
        let newest = "SELECT seq FROM sqlite_sequence WHERE name = 'change'";
        Ok(Self {
            overrides: count("override")?,
            exemptions: count("access WHERE kind = 'exempt'")?,
            denials: count("access WHERE kind = 'deny'")?,
            bans: count("access WHERE kind = 'ban'")?,
            changes: count("change")?,
            findings: count("finding")?,
            learned: count("learned")?,
            newest: connection.query_row(newest, [], |row| row.get(0)).optional()?.unwrap_or(0),
        })
    }

    /// For people.
    pub fn sentence(&self) -> String {
        let Self { overrides, exemptions, denials, bans, changes, findings, learned, .. } = self;
        format!(
            "{overrides} saved limits, {denials} denials, {exemptions} exemptions, {bans} bans, {changes} changes of the \
             history, {findings} findings, {learned} entries of what was learned"
        )
    }
}

#[cfg(test)]
mod tests {
    use api::backup::BackupRead;
    use base64::Engine as _;

    use super::super::Store;
    use super::{Inventory, PART, STANDARD};

    #[test]
    fn parts_make_the_store_of_the_first_request_and_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), jiff::Timestamp::UNIX_EPOCH).unwrap().store;
        let large = vec![7; 3 * usize::try_from(PART).unwrap()];
        store.learn("tuning", [("large", large.as_slice())], jiff::Timestamp::UNIX_EPOCH).unwrap();
        let copier = store.copier();
        let mut asked = BackupRead::default();
        let (mut whole, mut parts) = (Vec::new(), 0);
        loop {
            let part = copier.part(&asked).unwrap().unwrap();
            assert_eq!(part.offset, asked.offset);
            whole.extend(STANDARD.decode(&part.data).unwrap());
            parts += 1;
            // It is not in the copy.
            store.learn("tuning", [("later", &b"x"[..])], jiff::Timestamp::UNIX_EPOCH).unwrap();
            if whole.len() as u64 == part.bytes {
                break;
            }
            asked = BackupRead { id: Some(part.id), offset: whole.len() as u64 };
        }
        assert!(parts > 3, "{parts}");
        let file = directory.path().join("copy");
        std::fs::write(&file, whole).unwrap();
        assert_eq!(Inventory::of(&file).unwrap().learned, 1);
        assert_eq!(copier.part(&asked).unwrap(), None, "its backup is over");
        for id in ["", "../sluice.db", "new"] {
            let asked = BackupRead { id: Some(id.to_owned()), offset: 0 };
            assert_eq!(copier.part(&asked).unwrap(), None, "{id}");
        }
        let left = std::fs::read_dir(directory.path()).unwrap().flatten();
        assert_eq!(left.filter(|file| file.file_name().to_string_lossy().contains("backup")).count(), 0);
    }

    #[test]
    fn a_backup_ends_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), jiff::Timestamp::UNIX_EPOCH).unwrap().store;
        let large = vec![7; 3 * usize::try_from(PART).unwrap()];
        store.learn("tuning", [("large", large.as_slice())], jiff::Timestamp::UNIX_EPOCH).unwrap();
        let copier = store.copier();
        let first = copier.part(&BackupRead::default()).unwrap().unwrap();
        copier.part(&BackupRead::default()).unwrap().unwrap();
        assert_eq!(copier.part(&BackupRead { id: Some(first.id), offset: PART }).unwrap(), None);
    }
}
