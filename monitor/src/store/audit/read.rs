//! Pages of the chain, and whether it is whole.
//!
//! In: the files, which a daemon may be writing at this moment. Out: entries, or the first one that does not follow from
//! the one before. Files are read line by line, so that their size costs time and no memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use api::audit::{AuditBreak, AuditEntry, AuditHead, AuditKind, AuditPage, AuditQuery, AuditVerdict};

use super::FILES;
use super::line::{self, LONGEST, NOTHING};

/// Entries, and bytes of their text, that a page holds.
const LONGEST_PAGE: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;

/// Lines of the files, oldest first.
struct Lines {
    files: Vec<(&'static str, BufReader<File>)>,
    /// In the file that is read now.
    line: u64,
}

struct Line {
    file: &'static str,
    number: u64,
    bytes: Vec<u8>,
    is_whole: bool,
}

impl Lines {
    fn open(directory: &Path) -> Result<Self> {
        let [first, second] = FILES;
        let open = |name: &'static str| -> Result<Option<(u64, BufReader<File>)>> {
            match File::open(directory.join(name)) {
                Ok(file) => Ok(Some((file.metadata()?.ino(), BufReader::new(file)))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| directory.join(name).display().to_string()),
            }
        };
        // The newer one first: if the daemon renames it meanwhile, it is found twice and not missed.
        let (newer, older) = (open(first)?, open(second)?);
        let older = older.filter(|(inode, _)| newer.as_ref().is_none_or(|(other, _)| other != inode));
        ensure!(newer.is_some() || older.is_some(), "there is no audit in {}", directory.display());
        let older = older.map(|(_, file)| (second, file));
        Ok(Self { files: newer.map(|(_, file)| (first, file)).into_iter().chain(older).collect(), line: 0 })
    }

    fn next(&mut self) -> Result<Option<Line>> {
        while let Some((name, file)) = self.files.last_mut() {
            let mut bytes = Vec::new();
            file.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes).context(*name)?;
            if bytes.is_empty() {
                self.files.pop();
                self.line = 0;
                continue;
            }
            self.line += 1;
            let is_whole = bytes.pop_if(|last| *last == b'\n').is_some();
            return Ok(Some(Line { file: name, number: self.line, bytes, is_whole }));
        }
        Ok(None)
    }
}

/// A page, newest first.
pub fn page(directory: &Path, query: &AuditQuery) -> Result<AuditPage> {
    let limit = if query.limit == 0 { 50 } else { query.limit.min(LONGEST_PAGE) };
    let (mut held, mut bytes, mut is_more) = (VecDeque::new(), 0, false);
    let mut lines = Lines::open(directory)?;
    while let Some(line) = lines.next()? {
        // What cannot be read is the verdict's to tell.
        let Ok(entry) = line::read(&line.bytes) else { continue };
        if query.since.is_some_and(|since| entry.at < since) {
            continue;
        }
        if query.before.is_some_and(|before| entry.number >= before) {
            break;
        }
        bytes += line.bytes.len();
        held.push_back((entry, line.bytes.len()));
        while held.len() > limit || (bytes > PAGE_BYTES && held.len() > 1) {
            bytes -= held.pop_front().map_or(0, |(_, length)| length);
            is_more = true;
        }
    }
    let next = held.front().filter(|_| is_more).map(|(entry, _)| entry.number);
    Ok(AuditPage { entries: held.into_iter().rev().map(|(entry, _)| entry).collect(), next })
}

/// Walks the chain. `heads` are entries that must be in it; `is_written` says that a daemon may be writing.
pub fn verify(directory: &Path, heads: &[AuditHead], is_written: bool) -> Result<AuditVerdict> {
    let mut lines = Lines::open(directory)?;
    let mut verdict = AuditVerdict::default();
    // The predecessor that the first entry claims, until an anchor confirms it.
    let mut unproved: Option<AuditHead> = None;
    while let Some(line) = lines.next()? {
        let number = verdict.head.as_ref().map_or(1, |head| head.number + 1);
        let place = format!("{} line {}", line.file, line.number);
        let broken = |number, why: String| Some(AuditBreak { number, place: place.clone(), why });
        if !line.is_whole && is_written {
            break;
        }
        let read = if line.is_whole {
            line::read(&line.bytes).map_err(|error| format!("{error:#}"))
        } else {
            Err("it was not written to its end".to_owned())
        };
        let entry = match read {
            Ok(entry) => entry,
            Err(why) => {
                verdict.broken = broken(number, why);
                break;
            }
        };
        if let Err(why) = follows(&entry, verdict.head.as_ref(), &mut unproved) {
            verdict.broken = broken(entry.number.min(number), why);
            break;
        }
        let differs = |head: &&AuditHead| head.number == entry.number && head.sha256 != entry.sha256;
        if let Some(head) = heads.iter().find(differs) {
            verdict.broken = broken(entry.number, format!("it should have the SHA-256 {}", head.sha256));
            break;
        }
        if entry.kind == AuditKind::Pruned
            && let Some(missing) = &entry.missing
            && unproved.as_ref().is_some_and(|first| {
                (missing.last, missing.sha256.as_deref()) == (Some(first.number), Some(&*first.sha256))
            })
        {
            unproved = None;
        }
        verdict.entries += 1;
        verdict.gaps += u64::from(entry.kind == AuditKind::Gap);
        verdict.first.get_or_insert(entry.number);
        verdict.head = Some(AuditHead { number: entry.number, sha256: entry.sha256 });
    }
    if verdict.broken.is_none() {
        verdict.broken = unproved.map(|first| AuditBreak {
            number: first.number,
            place: "before the first line".to_owned(),
            why: "it and those before it are missing, and no entry says that they were removed".to_owned(),
        });
    }
    if verdict.broken.is_none()
        && let Some(head) = heads.iter().max_by_key(|head| head.number)
        && verdict.head.as_ref().is_none_or(|found| found.number < head.number)
    {
        let (number, place) = (head.number, "behind the last line".to_owned());
        let why = "the newest entries are missing".to_owned();
        let number = verdict.head.as_ref().map_or(number, |found| found.number + 1);
        verdict.broken = Some(AuditBreak { number, place, why });
    }
    Ok(verdict)
}

/// Whether an entry has its place behind another; of the first, what it claims is remembered.
fn follows(
    entry: &AuditEntry,
    before: Option<&AuditHead>,
    unproved: &mut Option<AuditHead>,
) -> Result<(), String> {
    match before {
        Some(before) if entry.number != before.number + 1 => {
            Err(format!("entry {} follows entry {}", entry.number, before.number))
        }
        Some(before) if entry.previous != before.sha256 => {
            Err(format!("it does not carry the SHA-256 of entry {}", before.number))
        }
        Some(_) => Ok(()),
        None if entry.number == 1 && entry.previous == NOTHING => Ok(()),
        None if entry.number <= 1 => Err("it is the first, and names one before it".to_owned()),
        None => {
            *unproved = Some(AuditHead { number: entry.number - 1, sha256: entry.previous.clone() });
            Ok(())
        }
    }
}
