//! `sluice confirm`: keeps a change that would be taken back.

use clap::Args;

use super::{Context, Execute, Failure, change};
use crate::control::protocol::ConfirmBody;
use crate::engine::command::Applied;

/// Keeps the change that waits for confirmation
#[derive(Clone, Copy, Debug, Args)]
pub struct Confirm {
    /// Its number, as `sluice history` shows it [default: the one that waits]
    #[arg(value_name = "NUMBER")]
    pub change: Option<u64>,
}

impl Execute for Confirm {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let applied: Applied = context.post("/v1/confirm", &ConfirmBody { change: self.change })?;
        context.show(&applied, change::render)
    }
}
