//! `sluice revert`: undoes one change of the history.

use clap::Args;

use super::change::{ChangeArgs, render};
use super::{Context, Execute, Failure};
use crate::engine::command::Applied;

/// Undoes one change
#[derive(Clone, Copy, Debug, Args)]
pub struct Revert {
    /// Its number, as `sluice history` shows it
    pub number: u64,
    #[command(flatten)]
    pub change: ChangeArgs,
}

impl Execute for Revert {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let path = self.change.path(&format!("/v1/history/{}/revert", self.number), &[]);
        let applied: Applied = context.post(&path, &serde_json::json!({}))?;
        context.show(&applied, render)
    }
}
