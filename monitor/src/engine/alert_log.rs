//! Findings as JSON lines in a file of the state directory, for whatever collects logs.
//!
//! In: alerts. Out: one line each in `alerts.jsonl`, which becomes `alerts.jsonl.1` when it is large. It keeps two files at
//! most and reads none.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::command::Alert;
use super::sinks::Sink;
use crate::core::Told;
use detection::ledger::ChangeKind;

/// A file larger than this is put aside.
const LARGEST: u64 = 32 << 20;

/// The open file, once something was written.
#[derive(Debug)]
pub(super) struct AlertLog {
    path: PathBuf,
    file: Option<(File, u64)>,
}

#[derive(Serialize)]
struct Line<'a> {
    /// `opened`, `updated`, `escalated`, `closed` or `retracted`.
    event: &'static str,
    #[serde(flatten)]
    alert: &'a Alert,
}

/// The line for one moment of an alert's life, without its end.
pub(super) fn line(alert: &Alert, kind: ChangeKind) -> Result<String> {
    let event = match kind {
        ChangeKind::Opened => "opened",
        ChangeKind::Updated => "updated",
        ChangeKind::Escalated => "escalated",
        ChangeKind::Closed => "closed",
        ChangeKind::Retracted => "retracted",
    };
    serde_json::to_string(&Line { event, alert }).context("write a finding as JSON")
}

impl AlertLog {
    /// Beside the store.
    pub fn new(store: &Path) -> Self {
        Self { path: store.with_file_name("alerts.jsonl"), file: None }
    }

    pub fn write(&mut self, line: &str) -> Result<()> {
        let shown = || format!("write {}", self.path.display());
        if self.file.as_ref().is_some_and(|(_, size)| *size >= LARGEST) {
            self.file = None;
            fs::rename(&self.path, self.path.with_extension("jsonl.1")).with_context(shown)?;
        }
        if self.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&self.path)
                .with_context(shown)?;
            let size = file.metadata().with_context(shown)?.len();
            self.file = Some((file, size));
        }
        if let Some((file, size)) = &mut self.file {
            // One write a line, so that no reader sees half of one.
            file.write_all(format!("{line}\n").as_bytes()).with_context(shown)?;
            *size += line.len() as u64 + 1;
        }
        Ok(())
    }
}

impl Sink for AlertLog {
    fn concern(&self) -> &'static str {
        "write the alert log"
    }

    fn take(&mut self, _told: &Told, line: &str) -> Result<()> {
        self.write(line)
    }
}
