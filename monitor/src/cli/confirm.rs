//! `sluice confirm`: keeps a change that would be taken back.

use clap::Args;

use api::history;

use super::change::ChangeArgs;
use super::{Context, Execute, Failure, arguments};

/// Keeps the change that waits for confirmation
#[derive(Clone, Copy, Debug, Args)]
pub struct Confirm {
    /// Its number, as `sluice history` shows it [default: the one that waits]
    #[arg(value_name = "NUMBER", value_parser = arguments::number::<u64>)]
    pub change: Option<u64>,
}

impl Execute for Confirm {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        context.change(&history::Confirm { change: self.change }, &ChangeArgs::default())
    }
}
