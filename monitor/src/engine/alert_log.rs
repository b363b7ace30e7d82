//! Findings as JSON lines in a file of the state directory, for whatever collects logs.
//!
//! In: alerts. Out: one line each in `alerts.jsonl`, which becomes `alerts.jsonl.1` when it is large. It keeps two files at
//! most and reads none. A file that was moved away, as log rotation does, is left; lines that cannot be written wait.

use std::collections::VecDeque;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::command::Alert;
use super::line_file::LineFile;
use super::sinks::{Sink, wording};
use crate::core::Told;
use crate::store::Store;
use detection::ledger::ChangeKind;

/// A file larger than this is put aside.
const LARGEST: u64 = 32 << 20;
/// Lines that wait for a file that can be written; then the oldest go.
const WAITING: usize = 10_000;

/// The open file, once something was written, and what could not be written yet.
#[derive(Debug)]
pub(super) struct AlertLog {
    /// `None`: the state directory cannot be used.
    file: Option<LineFile>,
    waiting: VecDeque<String>,
    lost: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    /// The name of this machine, for receivers of several.
    host: String,
    /// `opened`, `updated`, `escalated`, `closed` or `retracted`.
    event: &'static str,
    #[serde(flatten)]
    alert: &'a Alert,
}

/// The line for one moment of an alert's life, without its end.
pub(super) fn line(alert: &Alert, kind: ChangeKind) -> Result<String> {
    let (event, host) = (wording::event(kind), wording::host());
    serde_json::to_string(&Line { schema_version: api::command::SCHEMA_VERSION, host, event, alert })
        .context("write a finding as JSON")
}

impl AlertLog {
    /// Beside the store.
    pub fn new(store: &Store) -> Self {
        let path = || store.path().with_file_name("alerts.jsonl");
        let file = store.volatile().is_none().then(|| LineFile::new(path(), 0o600));
        Self { file, waiting: VecDeque::new(), lost: 0 }
    }

    /// Writes a line, behind those that wait. One that cannot be written waits.
    pub fn write(&mut self, line: &str) -> Result<()> {
        self.waiting.push_back(line.to_owned());
        if self.waiting.len() > WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        while let Some(line) = self.waiting.front() {
            let line = line.clone();
            self.append(&line)?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn append(&mut self, line: &str) -> Result<()> {
        let Some(file) = &mut self.file else { bail!("the state directory cannot be used") };
        if file.size() >= LARGEST {
            let path = file.path().to_owned();
            file.close();
            fs::rename(&path, path.with_extension("jsonl.1"))
                .with_context(|| format!("write {}", path.display()))?;
        }
        file.append(line)
    }
}

impl Sink for AlertLog {
    fn concern(&self) -> &'static str {
        "write the alert log"
    }

    fn take(&mut self, _told: &Told, line: &str) -> Result<()> {
        self.write(line)
    }

    fn waiting(&self) -> Option<String> {
        let Self { waiting, lost, .. } = self;
        let lines = waiting.len();
        (lines > 0 || *lost > 0).then(|| {
            format!("alert log: {lines} lines wait for a file that can be written, {lost} were given up")
        })
    }

    fn reopen(&mut self, store: &Store) {
        self.file = Self::new(store).file;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn log(directory: &Path) -> AlertLog {
        AlertLog::new(&Store::open(directory, jiff::Timestamp::UNIX_EPOCH).unwrap().store)
    }

    #[test]
    fn lines_go_where_people_look_for_them_after_the_file_was_moved() {
        let files = tempfile::tempdir().unwrap();
        let mut log = log(files.path());
        let path = files.path().join("alerts.jsonl");
        log.write("one").unwrap();
        fs::rename(&path, files.path().join("moved")).unwrap();
        log.write("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        fs::remove_file(&path).unwrap();
        log.write("three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_link_is_not_followed_and_what_could_not_be_written_comes_first_later() {
        let files = tempfile::tempdir().unwrap();
        let mut log = log(files.path());
        let (path, target) = (files.path().join("alerts.jsonl"), files.path().join("precious"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(log.write("one").is_err() && log.write("two").is_err());
        assert!(log.waiting().unwrap().contains("2 lines"));
        fs::remove_file(&path).unwrap();
        log.write("three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert_eq!(log.waiting(), None);
    }
}
