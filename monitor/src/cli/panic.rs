//! `sluice panic on|off`: everything passes until it is switched off, with a daemon, past one that hangs, or without one.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use api::panic::PanicSwitch;
use api::{ChangeOptions, Code, Error};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Context, Execute, Exit, Failure, change};
use crate::engine::delta::Flags;
use crate::engine::panic_file::{self, Turned};

/// A daemon that has not answered by then hangs.
const PATIENCE: Duration = Duration::from_secs(3);

/// Lets everything pass until it is switched off
///
/// Nothing is dropped any more; what would have been is still counted. It stays over restarts, reloads and upgrades. Without a
/// daemon, or past one that hangs, root switches it in the kernel's maps; that needs no configuration.
#[derive(Clone, Debug, Args)]
pub struct Panic {
    #[command(subcommand)]
    turn: Turn,
}

#[derive(Clone, Debug, Subcommand)]
enum Turn {
    /// Everything passes from the next packet on
    On {
        #[command(flatten)]
        places: Places,
        /// Do it without a question
        #[arg(long)]
        yes: bool,
    },
    /// The rules hold again
    Off {
        #[command(flatten)]
        places: Places,
    },
}

#[derive(Clone, Debug, Args)]
struct Places {
    /// Without a daemon: the configuration that it ran with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without a daemon: where it pinned programs and maps
    #[arg(long, value_name = "DIRECTORY")]
    pin_directory: Option<PathBuf>,
}

impl Execute for Panic {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let (on, places, yes) = match self.turn {
            Turn::On { places, yes } => (true, places, yes || is_meant()?),
            Turn::Off { places } => (false, places, true),
        };
        let options = ChangeOptions { yes, ..ChangeOptions::default() };
        let failure = match context.ask_within(PATIENCE, &PanicSwitch { on }, &options) {
            Ok(applied) => {
                return context.show(&applied, |applied, page| change::render(&applied.answer, page));
            }
            Err(failure) => failure,
        };
        if !is_past_the_daemon(failure.exit) {
            return Err(failure);
        }
        if on && !yes {
            let what = "the daemon does not answer, and everything would pass: no limit, ban or denial drops anything";
            let error = Error::new(Code::NeedsConfirmation, what).next("nothing was changed; add --yes if it is meant");
            return Err(Failure::of(&error.into()));
        }
        let flags = Flags { pin_directory: places.pin_directory, ..Flags::default() };
        let turned = panic_file::turn(places.config.as_deref(), &flags, on).map_err(|error| {
            let direct = Failure::of(&error.context("switch it in the kernel's maps"));
            Failure::new(direct.exit, format!("{}; {}", failure.message, direct.message))
        })?;
        let told = Told::of(on, &turned, &failure);
        context.show(&told, |told, page| told.lines.iter().for_each(|line| page.line(line)))
    }
}

/// Failures that say nothing about who asks or what is asked: the maps are there all the same.
fn is_past_the_daemon(exit: Exit) -> bool {
    matches!(exit, Exit::NotRunning | Exit::Failed | Exit::Unavailable)
}

/// On a terminal, by a question.
fn is_meant() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut error = std::io::stderr().lock();
    write!(error, "Everything will pass: no limit, ban or denial drops anything until `sluice panic off`. Type yes: ")?;
    error.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["yes", "y"].contains(&answer.trim().to_lowercase().as_str()))
}

/// What was done without the daemon.
#[derive(Debug, Serialize)]
struct Told {
    on: bool,
    in_kernel: bool,
    file: Option<PathBuf>,
    lines: Vec<String>,
}

impl Told {
    fn of(on: bool, Turned { in_kernel, kept }: &Turned, failure: &Failure) -> Self {
        let mut lines = vec![format!("without the daemon ({}):", failure.message)];
        lines.push(match (in_kernel, on) {
            (true, true) => "everything passes: the pinned maps of the kernel are switched".to_owned(),
            (true, false) => "the rules in the kernel hold again".to_owned(),
            (false, _) => "the kernel holds no rules of sluice, so nothing drops".to_owned(),
        });
        lines.push(match kept {
            Ok(file) => format!("the next daemon reads it in {}, and writes it into its history", file.display()),
            Err(why) => format!("warning: it does not outlive a reboot: {why}"),
        });
        Self { on, in_kernel: *in_kernel, file: kept.as_ref().ok().cloned(), lines }
    }
}
