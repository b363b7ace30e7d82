//! `sluice reload`: reads the configuration file anew; a bad one changes nothing.

use clap::Args;

use super::change::ChangeArgs;
use super::{Context, Execute, Failure};

/// Reads the configuration file anew; a bad one changes nothing
#[derive(Clone, Copy, Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    pub change: ChangeArgs,
}

impl Execute for Reload {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        context.change(&api::config::Reload {}, &self.change)
    }
}
