//! `sluice reload`: reads the configuration file anew; a bad one changes nothing.

use clap::Args;

use super::change::{ChangeArgs, render};
use super::{Context, Execute, Failure};
use crate::engine::command::Applied;

/// Reads the configuration file anew; a bad one changes nothing
#[derive(Clone, Copy, Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    pub change: ChangeArgs,
}

impl Execute for Reload {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let path = self.change.path("/v1/reload", &[]);
        let applied: Applied = context.post(&path, &serde_json::json!({}))?;
        context.show(&applied, render)
    }
}
