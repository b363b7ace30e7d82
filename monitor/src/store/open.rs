//! From a state directory to an open [`Store`], or to the reason why not.
//!
//! A file that cannot be used is renamed, never deleted, and the daemon goes on with an empty one: a broken history must
//! not leave a host without its limits.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};
use rustix::fs::{FlockOperation, flock};

use super::{FILE, Store, schema};

/// An open store, and what had to be put out of the way for it.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub set_aside: Option<SetAside>,
}

/// A file that could not be used and where it lies now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub path: PathBuf,
    pub why: String,
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the store could not be used ({}); it was kept as {} and an empty one was begun: saved overrides, bans \
             and learned limits are not in force",
            self.why,
            self.path.display()
        )
    }
}

/// Why there is no store.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the state directory.
    InUse(PathBuf),
    /// The directory or the file could not be made, read or renamed.
    Files(PathBuf, io::Error),
    /// `SQLite` failed for another reason than a broken file (no space, no memory).
    Database(PathBuf, rusqlite::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "{} belongs to a running daemon; stop it, or set another state directory",
                path.display()
            ),
            Self::Files(path, error) => {
                write!(
                    f,
                    "{} cannot hold the state: {error}; check its owner and space, or name another as state.directory",
                    path.display()
                )
            }
            Self::Database(path, error) => {
                write!(f, "{}: {error}; check the state directory's space and permissions", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// Whether only somebody else may use the directory.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Files(_, error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// What stands in the way of using a file as it is.
enum Trouble {
    Unusable(String),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Unusable(error.to_string()),
            _ => Self::Failed(error),
        }
    }
}

impl Store {
    /// Opens the store of a state directory, which is made if it is not there. `stamp` goes into the name of a file
    /// that has to be set aside.
    pub fn open(directory: &Path, stamp: jiff::Timestamp) -> Result<Opened, OpenError> {
        let in_directory = |error| OpenError::Files(directory.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(in_directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(in_directory)?;
        let lock = lock(directory)?;
        let path = directory.join(FILE);
        let mut set_aside = None;
        let connection = match attempt(&path)? {
            Ok(connection) => connection,
            Err(Trouble::Failed(error)) => return Err(OpenError::Database(path, error)),
            Err(Trouble::Unusable(why)) => {
                let kept = put_aside(&path, stamp)?;
                set_aside = Some(SetAside { path: kept, why });
                match attempt(&path)? {
                    Ok(connection) => connection,
                    Err(Trouble::Failed(error)) => return Err(OpenError::Database(path, error)),
                    Err(Trouble::Unusable(why)) => {
                        return Err(OpenError::Files(path, io::Error::other(why)));
                    }
                }
            }
        };
        Ok(Opened { store: Self { connection, path, _lock: Some(lock) }, set_aside })
    }

    /// A store that lives in memory: for a daemon whose state directory cannot be used, and for tests.
    pub fn in_memory() -> anyhow::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        schema::migrate(&mut connection)?;
        Ok(Self { connection, path: PathBuf::from(":memory:"), _lock: None })
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let failed = |error| OpenError::Files(path.clone(), error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(directory.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

fn attempt(path: &Path) -> Result<Result<Connection, Trouble>, OpenError> {
    // SQLite would make the file with the process's umask; its journals copy the mode that they find.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    file.map_err(|error| OpenError::Files(path.to_owned(), error))?;
    Ok(connect(path))
}

fn connect(path: &Path) -> Result<Connection, Trouble> {
    let mut connection = Connection::open(path)?;
    if schema::is_foreign(&connection)? {
        return Err(Trouble::Unusable("it is not a store of sluice".to_owned()));
    }
    let found = schema::version(&connection)?;
    if found > schema::VERSION {
        return Err(Trouble::Unusable(format!(
            "it was written by a newer sluice: version {found}, this build knows {}",
            schema::VERSION
        )));
    }
    // Exclusive: no shared-memory file beside it. Full: what was answered as done survives a power cut as well.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if health != "ok" {
        return Err(Trouble::Unusable(health.lines().next().unwrap_or("damaged").to_owned()));
    }
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// Renames the file and its journals, and tells the new name.
fn put_aside(path: &Path, stamp: jiff::Timestamp) -> Result<PathBuf, OpenError> {
    let suffix = format!(".set-aside-{}", stamp.as_second());
    let renamed = |from: &Path| {
        let mut name = from.as_os_str().to_owned();
        name.push(&suffix);
        PathBuf::from(name)
    };
    for journal in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(journal);
        let journal = PathBuf::from(name);
        if journal.exists() {
            fs::rename(&journal, renamed(&journal)).map_err(|error| OpenError::Files(journal, error))?;
        }
    }
    let kept = renamed(path);
    fs::rename(path, &kept).map_err(|error| OpenError::Files(path.to_owned(), error))?;
    Ok(kept)
}
