//! The command line: what people type, and how answers look.
//!
//! In: arguments. Out: text or JSON on standard output, one line on standard error when it fails, and an exit code
//! (docs/reference/cli.md). A command is one file with its arguments and its [`Execute`], and one line below.

pub mod arguments;
pub mod change;
pub mod context;
pub mod failure;
pub mod figures;
pub mod reference;
#[cfg(test)]
pub mod samples;
pub mod session;
pub mod table;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};

pub use context::Context;
pub use failure::{Exit, Failure};

/// What a command does.
pub trait Execute {
    fn execute(self, context: &Context) -> Result<(), Failure>;
}

macro_rules! commands {
    ($($module:ident::$Command:ident;)+) => {
        $(pub mod $module;)+

        /// Every command; what it does stands at its arguments.
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $($Command($module::$Command),)+
        }

        impl Execute for Command {
            fn execute(self, context: &Context) -> Result<(), Failure> {
                match self {
                    $(Self::$Command(command) => command.execute(context),)+
                }
            }
        }
    };
}

commands! {
    run::Run;
    status::Status;
    doctor::Doctor;
    setup::Setup;
    top::Top;
    sources::Sources;
    explain::Explain;
    limit::Limit;
    access::Access;
    contain::Contain;
    alerts::Alerts;
    flows::Flows;
    graph::Graph;
    posture::Posture;
    replay::Replay;
    capture::Capture;
    tune::Tune;
    confirm::Confirm;
    history::History;
    audit::Audit;
    backup::Backup;
    restore::Restore;
    revert::Revert;
    reload::Reload;
    config::Config;
    panic::Panic;
    stop::Stop;
    detach::Detach;
    generate::Generate;
}

/// Guards this machine: limits every source in the kernel, and watches those that are trusted.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub global: context::Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The whole grammar, for completions, manual pages and tests.
pub fn grammar() -> clap::Command {
    Arguments::command()
}

/// The program: parses, executes, and says in one line what went wrong.
pub fn main() -> ExitCode {
    let grammar = generate::with_examples(grammar(), "sluice");
    let arguments = Arguments::from_arg_matches(&grammar.get_matches()).unwrap_or_else(|error| error.exit());
    let context = Context::new(arguments.global);
    match arguments.command.execute(&context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit.code())
        }
    }
}

#[cfg(test)]
mod tests;
