//! The files of the chain: the one that is written, and the one before it.
//!
//! In: entries. Out: lines at the end of a file, whole or not at all. When the first file is half as large as both may
//! be, it takes the place of the second, whose last entry stays known by an entry that says what was removed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use api::Origin;
use api::audit::{AuditKind, AuditMissing};
use jiff::Timestamp;

use super::FILES;
use super::line::{self, LONGEST, NOTHING, NewEntry};

/// Where the next entry goes, and what it follows.
#[derive(Debug)]
pub struct Chain {
    directory: PathBuf,
    /// What both files may grow to.
    largest: u64,
    file: File,
    inode: u64,
    length: u64,
    number: u64,
    sha256: String,
}

/// The last entry of a file.
struct Last {
    number: u64,
    sha256: String,
}

impl Chain {
    /// Goes on with the chain in `directory`, or begins one. Second: what has to be told in it first.
    pub fn open(directory: &Path, largest: u64, now: Timestamp) -> Result<(Self, Vec<NewEntry>)> {
        let about = fs::metadata(directory).with_context(|| directory.display().to_string())?;
        let own = rustix::process::geteuid().as_raw();
        ensure!(about.uid() == own, "{} belongs to user {}", directory.display(), about.uid());
        let path = directory.join(FILES[0]);
        let mut told = Vec::new();
        let mut file = opened(&path)?;
        let mut length = file.metadata()?.len();
        let mut last = None;
        if length > 0 {
            let (end, cut) = whole_lines(&mut file, length)?;
            if let Some(cut) = cut {
                file.set_len(end).with_context(|| format!("cut {}", path.display()))?;
                length = end;
                told.push(gap(
                    now,
                    format!("the last line was not written to its end, and is removed: {cut}"),
                ));
            }
        }
        if length > 0 {
            match last_entry(&mut file, length) {
                Ok(found) => last = Some(found),
                Err(error) => {
                    let kept = directory.join(format!("{}.set-aside-{}", FILES[0], now.as_second()));
                    fs::rename(&path, &kept).with_context(|| format!("rename {}", path.display()))?;
                    let name = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    told.push(gap(
                        now,
                        format!("the last line could not be read ({error:#}); the file is kept as {name}"),
                    ));
                    file = opened(&path)?;
                    length = 0;
                }
            }
        }
        let last = match last {
            Some(last) => last,
            None => before(directory)?.unwrap_or(Last { number: 0, sha256: NOTHING.to_owned() }),
        };
        let inode = file.metadata()?.ino();
        let Last { number, sha256 } = last;
        let directory = directory.to_owned();
        Ok((Self { directory, largest, file, inode, length, number, sha256 }, told))
    }

    pub const fn bound(&mut self, largest: u64) {
        self.largest = largest;
    }

    /// The newest entry and its SHA-256.
    pub fn head(&self) -> (u64, &str) {
        (self.number, &self.sha256)
    }

    /// Bytes of both files.
    pub fn bytes(&self) -> u64 {
        self.length + fs::metadata(self.directory.join(FILES[1])).map_or(0, |about| about.len())
    }

    /// Whether the file is still the one that was opened, and as long as it was left.
    pub fn is_untouched(&self) -> bool {
        let there = fs::symlink_metadata(self.directory.join(FILES[0]));
        there.is_ok_and(|about| about.ino() == self.inode && about.len() == self.length)
    }

    /// Appends an entry; what is only half written is taken back.
    pub fn append(&mut self, entry: &NewEntry) -> Result<()> {
        if self.length >= self.largest / 2 {
            self.turn(entry.at)?;
        }
        self.put(entry)
    }

    /// What was appended is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().context("write the audit to the disk")
    }

    fn put(&mut self, entry: &NewEntry) -> Result<()> {
        let (line, sha256) = line::write(&entry.after(self.number + 1, &self.sha256))?;
        if let Err(error) = self.file.write_all(&line) {
            let taken_back = self.file.set_len(self.length);
            return Err(error).with_context(|| match taken_back {
                Ok(()) => "write the audit".to_owned(),
                Err(error) => format!("write the audit, and take back what was half written: {error}"),
            });
        }
        self.length += line.len() as u64;
        (self.number, self.sha256) = (self.number + 1, sha256);
        Ok(())
    }

    /// The first file becomes the second; what was the second is removed, and the chain says so.
    fn turn(&mut self, now: Timestamp) -> Result<()> {
        let (first, second) = (self.directory.join(FILES[0]), self.directory.join(FILES[1]));
        if let Some(Last { number, sha256 }) = before(&self.directory)? {
            let what =
                format!("entries up to {number} were removed, as both files may have {} bytes", self.largest);
            let mut told = NewEntry::new(now, AuditKind::Pruned, Origin::Timer, what);
            told.missing = Some(AuditMissing { count: None, last: Some(number), sha256: Some(sha256) });
            self.put(&told)?;
            self.sync()?;
        }
        fs::rename(&first, &second).with_context(|| format!("rename {}", first.display()))?;
        self.file = opened(&first)?;
        self.inode = self.file.metadata()?.ino();
        self.length = self.file.metadata()?.len();
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.with_context(|| format!("write {}", self.directory.display()))
    }
}

/// An entry that says that others are missing.
pub fn gap(now: Timestamp, what: impl Into<String>) -> NewEntry {
    NewEntry::new(now, AuditKind::Gap, Origin::Timer, what)
}

fn opened(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path).with_context(|| path.display().to_string())?;
    ensure!(file.metadata()?.is_file(), "{} is no regular file", path.display());
    Ok(file)
}

/// Where the last whole line ends, and the bytes behind it, if there are any.
fn whole_lines(file: &mut File, length: u64) -> Result<(u64, Option<String>)> {
    let tail = tail(file, length)?;
    let behind = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => tail.len() - end - 1,
        None if tail.len() as u64 == length => tail.len(),
        None => bail!("{} has a line that is too long", FILES[0]),
    };
    let cut = &tail[tail.len() - behind..];
    let shown = (behind > 0).then(|| String::from_utf8_lossy(cut).chars().take(200).collect());
    Ok((length - behind as u64, shown))
}

fn last_entry(file: &mut File, length: u64) -> Result<Last> {
    let tail = tail(file, length)?;
    let line = tail.strip_suffix(b"\n").context("it has no end")?;
    let begin = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    ensure!(begin > 0 || tail.len() as u64 == length, "it is too long");
    let entry = line::read(&line[begin..])?;
    Ok(Last { number: entry.number, sha256: entry.sha256 })
}

/// The last entry of the second file; `None` when there is no such file.
fn before(directory: &Path) -> Result<Option<Last>> {
    let path = directory.join(FILES[1]);
    if !path.exists() {
        return Ok(None);
    }
    let mut file = File::open(&path).with_context(|| path.display().to_string())?;
    let length = file.metadata()?.len();
    // One that cannot be read proves nothing, and is removed without an anchor: the verdict says so.
    Ok(last_entry(&mut file, length).ok())
}

/// The end of a file, as long as a line can be.
fn tail(file: &mut File, length: u64) -> Result<Vec<u8>> {
    let most = LONGEST as u64 * 2;
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
