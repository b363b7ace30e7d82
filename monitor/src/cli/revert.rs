//! `sluice revert`: undoes one change of the history.

use clap::Args;

use api::history;

use super::change::ChangeArgs;
use super::{Context, Execute, Failure, arguments};

/// Undoes one change
#[derive(Clone, Copy, Debug, Args)]
pub struct Revert {
    /// Its number, as `sluice history` shows it
    #[arg(value_parser = arguments::number::<u64>)]
    pub number: u64,
    #[command(flatten)]
    pub change: ChangeArgs,
}

impl Execute for Revert {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        context.change(&history::Revert { number: self.number }, &self.change)
    }
}
