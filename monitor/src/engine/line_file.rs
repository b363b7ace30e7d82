//! Lines at the end of a file that others may move away.
//!
//! In: lines. Out: each whole at the end of the file that stands at the path, or an error and nothing of it. It follows no
//! link, waits for no reader, and goes on in a new file when the one it writes was moved or removed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The open file, once something was written.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    mode: u32,
    file: Option<(File, u64)>,
}

impl LineFile {
    pub const fn new(path: PathBuf, mode: u32) -> Self {
        Self { path, mode, file: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file that is open.
    pub fn size(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, size)| *size)
    }

    /// The next line opens it again.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// `line` without its end.
    pub fn append(&mut self, line: &str) -> Result<()> {
        let path = &self.path;
        let shown = || format!("write {}", path.display());
        // A file that was moved away is somebody's archive: later lines belong where people look for them.
        self.file.take_if(|(file, _)| !stands_at(file, path));
        if self.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(self.mode)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
                .with_context(shown)?;
            let about = file.metadata().with_context(shown)?;
            ensure!(about.is_file(), "{} is no regular file", path.display());
            self.file = Some((file, about.len()));
        }
        if let Some((file, size)) = &mut self.file {
            // One write a line, so that no reader sees half of one.
            let line = format!("{line}\n");
            // Somebody may have cut it, as log rotation can.
            *size = file.metadata().with_context(shown)?.len();
            let written = file.write(line.as_bytes()).with_context(shown)?;
            if written < line.len() {
                // The disk is full in the middle of it: what is there of it goes, and the line waits.
                file.set_len(*size).with_context(shown)?;
                bail!("{}: the disk is full", path.display());
            }
            *size += line.len() as u64;
        }
        Ok(())
    }
}

fn stands_at(file: &File, path: &Path) -> bool {
    let identity = |about: std::io::Result<fs::Metadata>| about.map(|about| (about.dev(), about.ino())).ok();
    let there = identity(fs::symlink_metadata(path));
    there.is_some() && there == identity(file.metadata())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_or_cut_is_gone_on_with_at_its_path() {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("findings.jsonl");
        let mut lines = LineFile::new(path.clone(), 0o600);
        lines.append("one").unwrap();
        fs::rename(&path, files.path().join("moved")).unwrap();
        lines.append("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        lines.append("three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(lines.size(), 6);
    }

    #[test]
    fn a_full_disk_leaves_no_half_of_a_line() {
        // Every write to it answers that the disk is full; it is no regular file, and said so.
        let mut full = LineFile::new(PathBuf::from("/dev/full"), 0o600);
        assert!(full.append("one").unwrap_err().to_string().contains("no regular file"));
        let mut absent = LineFile::new(PathBuf::from("/nonexistent/file"), 0o600);
        assert!(format!("{:#}", absent.append("one").unwrap_err()).starts_with("write /nonexistent/file: "));
    }
}
