//! From a state directory to an open [`Store`], or to the reason why not.
//!
//! A file that cannot be used is renamed, never deleted, and the daemon goes on with the checked copy beside it, or with
//! an empty one: a broken history must not leave a host without its limits. A directory that cannot be used leaves a store
//! in memory, which is tried again later.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FlockOperation, flock};

use super::audit::Audit;
use super::worker::Worker;
use super::{FILE, Store, backup, copy, examine, mend, schema, size};

/// In the place of a path: the store is no file.
pub(super) const MEMORY: &str = ":memory:";
/// How long a lock of another process is waited for.
const BUSY: Duration = Duration::from_millis(50);

/// An open store, and what had to be put out of the way for it.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub set_aside: Option<SetAside>,
    /// What was wrong within it and was put right.
    pub notes: Vec<String>,
}

/// A database on the disk, with its directory's lock.
pub(super) struct OnDisk {
    pub connection: Connection,
    pub lock: File,
    pub set_aside: Option<SetAside>,
    pub notes: Vec<String>,
}

/// A file that could not be used and where it lies now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub path: PathBuf,
    pub why: String,
    /// Whether the checked copy took its place.
    pub restored: bool,
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, kept) = (&self.why, self.path.display());
        let then = if self.restored {
            "its last checked copy is in force: what was changed since that copy is lost"
        } else {
            "an empty one was begun: saved overrides, bans and learned limits are not in force"
        };
        write!(f, "the store could not be used ({why}); it was kept as {kept} and {then}")
    }
}

/// Why there is no store.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the state directory.
    InUse(PathBuf),
    /// The directory or the file could not be made, read or renamed.
    Files(PathBuf, io::Error),
    /// The directory belongs to another user.
    Foreign(PathBuf, u32),
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
            Self::Foreign(path, owner) => write!(
                f,
                "{} belongs to user {owner}, who could change what is kept there; give it to the daemon's user",
                path.display()
            ),
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
        let OnDisk { connection, lock, set_aside, notes } = on_disk(directory, stamp)?;
        let mut store = Self::over(connection, directory, directory.join(FILE))
            .map_err(|error| OpenError::Files(directory.to_owned(), io::Error::other(error)))?;
        store.lock = Some(lock);
        Ok(Opened { store, set_aside, notes })
    }

    /// The same, and a store in memory where the directory cannot be used: with what can be read there, and until
    /// [`Store::mend`] has moved it to the disk. An error is only that there is no memory or no thread.
    pub fn open_or_remember(directory: &Path, stamp: jiff::Timestamp) -> anyhow::Result<Opened> {
        let why = match Self::open(directory, stamp) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let mut memory = Connection::open_in_memory()?;
        schema::migrate(&mut memory)?;
        let mut notes = Vec::new();
        if !matches!(why, OpenError::Foreign(..)) && read_into(&memory, &directory.join(FILE)).is_ok() {
            notes.extend(examine::examine(&memory)?);
        }
        let mut store = Self::over(memory, directory, PathBuf::from(MEMORY))?;
        store.volatile = Some(why.to_string());
        Ok(Opened { store, set_aside: None, notes })
    }

    /// A store that lives in memory: for tests.
    pub fn in_memory() -> anyhow::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        schema::migrate(&mut connection)?;
        Self::over(connection, Path::new(""), PathBuf::from(MEMORY))
    }

    fn over(connection: Connection, directory: &Path, path: PathBuf) -> anyhow::Result<Self> {
        let in_memory = path == Path::new(MEMORY);
        let audit = Audit::start(Some(directory).filter(|at| !at.as_os_str().is_empty()), !in_memory)?;
        Ok(Self {
            worker: Worker::start(connection)?,
            directory: directory.to_owned(),
            path,
            unwritten: std::collections::BTreeMap::new(),
            shed: 0,
            volatile: None,
            mending: mend::Mending::default(),
            size: size::Size::default(),
            audit,
            lock: None,
        })
    }
}

/// Fails when another daemon holds the directory; whatever else is wrong with it is found out later.
pub fn ensure_unused(directory: &Path) -> Result<(), OpenError> {
    let Ok(file) = File::open(directory.join("lock")) else { return Ok(()) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(directory.to_owned())),
        _ => Ok(()),
    }
}

/// The database of a state directory.
pub(super) fn on_disk(directory: &Path, stamp: jiff::Timestamp) -> Result<OnDisk, OpenError> {
    let in_directory = |error| OpenError::Files(directory.to_owned(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(in_directory)?;
    let about = fs::metadata(directory).map_err(in_directory)?;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(OpenError::Foreign(directory.to_owned(), about.uid()));
    }
    if about.mode() & 0o777 != 0o700 {
        fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(in_directory)?;
    }
    let lock = lock(directory)?;
    backup::sweep(directory, Duration::ZERO);
    let path = directory.join(FILE);
    let mut set_aside = None;
    // A file of nothing beside a copy was cut off, not begun.
    let cut = fs::metadata(&path).is_ok_and(|about| about.len() == 0) && copy::place(&path).exists();
    let first = if cut { Ok(Err(Trouble::Unusable("it is empty".to_owned()))) } else { attempt(&path) };
    let (connection, mut notes) = match first? {
        Ok(connection) => connection,
        Err(Trouble::Failed(error)) => return Err(OpenError::Database(path, error)),
        Err(Trouble::Unusable(why)) => {
            let kept = put_aside(&path, stamp)?;
            let restored = restore(&path);
            set_aside = Some(SetAside { path: kept, why, restored });
            match attempt(&path)? {
                Ok(connection) => connection,
                Err(Trouble::Failed(error)) => return Err(OpenError::Database(path, error)),
                Err(Trouble::Unusable(why)) => {
                    return Err(OpenError::Files(path, io::Error::other(why)));
                }
            }
        }
    };
    if let Some(aside) = &set_aside {
        notes.insert(0, aside.to_string());
    }
    Ok(OnDisk { connection, lock, set_aside, notes })
}

/// Puts the checked copy in the place of what was set aside, if there is one.
fn restore(path: &Path) -> bool {
    let copy = copy::place(path);
    if let Err(error) = copy::check(&copy) {
        tracing::error!("{} cannot be used either: {error:#}", copy.display());
        return false;
    }
    let fresh = path.with_extension("db.restored");
    let done = fs::copy(&copy, &fresh).and_then(|_| fs::rename(&fresh, path));
    done.inspect_err(|error| tracing::error!("restore {}: {error}", path.display())).is_ok()
}

/// Reads what a file holds without writing to its directory.
fn read_into(memory: &Connection, path: &Path) -> rusqlite::Result<()> {
    let look = |name: &str, flags| -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(name, flags)?;
        connection.busy_timeout(BUSY)?;
        schema::version(&connection)?;
        Ok(connection)
    };
    let name = path.to_string_lossy();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    // Without its journal when that cannot be opened: what was written last may be missing then.
    let disk = look(&name, flags)
        .or_else(|_| look(&format!("file:{name}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI))?;
    for table in schema::TABLES {
        mend::lend(&disk, memory, table, "IGNORE")?;
    }
    Ok(())
}

pub(super) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let failed = |error| OpenError::Files(path.clone(), error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(directory.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// An open database and what was put right in it.
type Usable = (Connection, Vec<String>);

fn attempt(path: &Path) -> Result<Result<Usable, Trouble>, OpenError> {
    // SQLite would make the file with the process's umask; its journals copy the mode that they find.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    file.map_err(|error| OpenError::Files(path.to_owned(), error))?;
    Ok(connect(path))
}

fn connect(path: &Path) -> Result<Usable, Trouble> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
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
    // Beside the state directory there may be no place that it can write to.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if health != "ok" {
        return Err(Trouble::Unusable(health.lines().next().unwrap_or("damaged").to_owned()));
    }
    schema::migrate(&mut connection)?;
    let notes = examine::examine(&connection)?;
    Ok((connection, notes))
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
