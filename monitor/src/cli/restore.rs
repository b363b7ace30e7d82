//! `sluice restore FILE`: a backup in the place of the store of a daemon that is stopped.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use api::Origin;
use api::audit::{AuditChange, AuditKind};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, Execute, Exit, Failure, config};
use crate::control::peer;
use crate::engine::delta::Delta;
use crate::engine::{NewEntry, configuration_path};
use crate::store::backup::Inventory;
use crate::store::restore::Ready;
use crate::store::{Author, ChangeState, NewChange, OpenError};

/// Puts a backup in the place of the store of a daemon that is stopped
///
/// The kernel goes on protecting with the rules that it has; the next start puts those of the backup in force at once. The
/// store of before is kept beside it as `sluice.db.before-restore`.
#[derive(Clone, Debug, Args)]
pub struct Restore {
    /// What `sluice backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The state directory [default: that of the configuration]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// The configuration that the daemon runs with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do it without a question
    #[arg(long)]
    yes: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Told {
    file: PathBuf,
    restored: Inventory,
    replaced: Option<Inventory>,
    kept: Option<PathBuf>,
    change: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Execute for Restore {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let Self { file, directory, config, yes } = self;
        let directory = directory.map_or_else(|| state_directory(config.as_deref()), Ok)?;
        let ready = Ready::of(&file, &directory).map_err(|error| refused(&error))?;
        let question = question(&file, &directory, &ready);
        if !yes && !is_meant(&question)? {
            let what = format!("{question}; nothing was changed: add --yes if it is meant");
            return Err(Failure::new(Exit::NeedsConfirmation, what));
        }
        let (restored, replaced) = (ready.holds, ready.present.clone().and_then(Result::ok));
        let mut warnings = ready.notes.clone();
        warnings.extend(ready.waits.map(|change| {
            format!("change {change} waited for its confirmation in the backup: the start takes it back")
        }));
        let (change, entry) = records(&file, restored, replaced)?;
        let done = ready.put(&change, entry).map_err(|error| Failure::of(&error.context("restore")))?;
        warnings.extend(done.unaudited.map(|why| format!("the audit does not have it: {why}")));
        let told = Told { file, restored, replaced, kept: done.kept, change: done.change, warnings };
        context.show(&told, |told, page| {
            page.line(format!("restored as change {}: {}", told.change, told.restored.sentence()));
            if let Some(kept) = &told.kept {
                page.line(format!("the store of before is kept as {}", kept.display()));
            }
            told.warnings.iter().for_each(|warning| page.line(format!("warning: {warning}")));
            page.line("it is in force once the daemon runs again: `systemctl start sluice`");
        })
    }
}

/// Where the configuration has the state.
fn state_directory(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let read = configuration_path(named).map(config::read_file).transpose()?;
    Ok(read.unwrap_or_default().state.directory)
}

fn refused(error: &anyhow::Error) -> Failure {
    if let Some(OpenError::InUse(directory)) = error.downcast_ref() {
        let next = "stop it first (`systemctl stop sluice`, or `sluice stop`): the kernel goes on protecting";
        return Failure::new(
            Exit::Conflict,
            format!("restore: {} belongs to a running daemon; {next}", directory.display()),
        );
    }
    let failure = Failure::of(error);
    let exit = if failure.exit == Exit::Failed { Exit::Invalid } else { failure.exit };
    Failure::new(exit, format!("restore: {}", failure.message))
}

fn question(file: &Path, directory: &Path, ready: &Ready) -> String {
    let now = match &ready.present {
        None => "no store".to_owned(),
        Some(Ok(present)) => present.sentence(),
        Some(Err(why)) => format!("a store that cannot be read ({why})"),
    };
    format!(
        "{} would be replaced: {now}; {} holds {}",
        directory.display(),
        file.display(),
        ready.holds.sentence()
    )
}

/// On a terminal, by a question.
fn is_meant(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut error = std::io::stderr().lock();
    write!(error, "{question}. Type yes: ")?;
    error.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["yes", "y"].contains(&answer.trim().to_lowercase().as_str()))
}

/// The line of the history, and the entry of the audit for its number.
fn records(
    file: &Path,
    restored: Inventory,
    replaced: Option<Inventory>,
) -> Result<(NewChange, impl FnOnce(u64) -> NewEntry + use<>), Failure> {
    let (at, what) = (Timestamp::now(), format!("restore {}", file.display()));
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let origin = Origin::Direct { uid, gid, pid };
    let user = peer::Users::default().name(uid);
    let value = |value: Result<Value, serde_json::Error>| {
        value.map_err(|error| Failure::new(Exit::Failed, format!("restore: {error}")))
    };
    let (before, after) = (value(serde_json::to_value(replaced))?, value(serde_json::to_value(restored))?);
    // It changes no rule by itself, so there is nothing that `revert` could take back.
    let nothing = value(serde_json::to_value(Delta::default()))?;
    let change = NewChange {
        at,
        author: Author { user: user.clone(), ..origin.into() },
        what: what.clone(),
        before: nothing.clone(),
        after: nothing,
        evidence: Some(json!({ "replaced": before, "restored": after })),
        state: ChangeState::Applied,
    };
    let request = json!({ "file": file.display().to_string() });
    let entry = move |number| {
        let changes = vec![AuditChange { number: Some(number), what, before, after }];
        let entry = NewEntry::new(at, AuditKind::Call, origin, "restore");
        NewEntry { user, request: Some(request), changes, ..entry }
    };
    Ok((change, entry))
}
