//! `sluice backup FILE`: the store of a daemon that runs, or of one that is stopped, as a file.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::backup::BackupRead;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;

use super::{Context, Execute, Exit, Failure};
use crate::store::backup::{self, Inventory};

/// What is not in a backup.
const NOT_IN_IT: &str = "not in it: the configuration and its lists, the files of the audit, alerts.jsonl";

/// Writes saved changes, history, findings and what was learned to a file, while the daemon runs
///
/// The configuration, its lists and the files of the audit are not in it: copy those as files. Who reads it learns addresses
/// and names: the file is for its owner only.
#[derive(Clone, Debug, Args)]
pub struct Backup {
    /// Where to; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Without a daemon: the state directory that it left
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Told {
    file: PathBuf,
    bytes: u64,
    holds: Inventory,
}

impl Execute for Backup {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let Self { file, force, directory } = self;
        if file == Path::new("-") {
            if directory.is_some() {
                return Err(Failure::new(Exit::Usage, "backup: with --directory, name a file"));
            }
            let mut stdout = std::io::stdout().lock();
            read(context, |part| Ok(stdout.write_all(part)?))?;
            return Ok(stdout.flush()?);
        }
        let mut draft = Draft::of(file, force)?;
        match directory {
            None => read(context, |part| draft.write(part))?,
            Some(directory) => backup::of_stopped(&directory, &draft.path)
                .map_err(|error| Failure::of(&error.context("backup: nothing was written")))?,
        }
        let holds = Inventory::of(&draft.path).map_err(|error| {
            Failure::of(&error.context("backup: what was written is not whole, and was removed; try again"))
        })?;
        let told = draft.keep(holds)?;
        context.show(&told, |told, page| {
            page.line(format!("{} holds {}", told.file.display(), told.holds.sentence()));
            page.line(NOT_IN_IT);
        })
    }
}

/// Hands every part of the daemon's store to `take`.
fn read(context: &Context, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut asked = BackupRead::default();
    loop {
        let part = context.ask(&asked)?.answer;
        let bytes = STANDARD
            .decode(&part.data)
            .map_err(|error| Failure::new(Exit::Failed, format!("backup: the daemon's answer: {error}")))?;
        take(&bytes)?;
        let offset = part.offset + bytes.len() as u64;
        if offset >= part.bytes {
            return Ok(());
        }
        if bytes.is_empty() {
            return Err(Failure::new(Exit::Failed, "backup: the daemon's answer broke off; try again"));
        }
        asked = BackupRead { id: Some(part.id), offset };
    }
}

/// A file that is not in its place yet, and goes away unless it is put there.
struct Draft {
    place: PathBuf,
    path: PathBuf,
    file: File,
    force: bool,
}

impl Draft {
    fn of(place: PathBuf, force: bool) -> Result<Self, Failure> {
        // Anything else than a file (a device, a directory) is not replaced in any case.
        if let Ok(about) = fs::symlink_metadata(&place)
            && (!force || !about.is_file())
        {
            return Err(taken(&place, about.is_file()));
        }
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let path = place.with_file_name(format!(".{name}.part-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| unwritten(&place, &error))?;
        Ok(Self { place, path, file, force })
    }

    fn write(&mut self, part: &[u8]) -> Result<(), Failure> {
        self.file.write_all(part).map_err(|error| unwritten(&self.place, &error))
    }

    fn keep(self, holds: Inventory) -> Result<Told, Failure> {
        let Self { place, path, .. } = &self;
        let flags = if self.force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        // By its name: without a daemon another descriptor wrote it.
        let written = File::open(path).and_then(|file| {
            file.sync_all()?;
            file.metadata()
        });
        let bytes = written.map_err(|error| unwritten(place, &error))?.len();
        match renameat_with(CWD, path, CWD, place, flags) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken(place, true)),
            Err(error) => return Err(unwritten(place, &error.into())),
        }
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
        synced.map_err(|error| unwritten(place, &error))?;
        Ok(Told { file: place.clone(), bytes, holds })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more once it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

fn taken(place: &Path, is_file: bool) -> Failure {
    let next = if is_file { "name another, or add --force" } else { "it is no file: name one" };
    Failure::new(Exit::Conflict, format!("backup: {} is there already; {next}", place.display()))
}

fn unwritten(place: &Path, error: &std::io::Error) -> Failure {
    let exit =
        if error.kind() == ErrorKind::PermissionDenied { Exit::NotPermitted } else { Exit::Failed };
    let what = format!("backup: write {}: {error}; no file was left: make room, or name another", place.display());
    Failure::new(exit, what)
}
