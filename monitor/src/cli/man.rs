//! `sluice man`: the grammar as manual pages, one per command, for packages.

use std::path::PathBuf;

use clap::Args;

use super::{Context, Execute, Exit, Failure, grammar};

/// Writes the manual pages into a directory
#[derive(Clone, Debug, Args)]
#[command(hide = true)]
pub struct Man {
    /// An existing directory
    pub directory: PathBuf,
}

impl Execute for Man {
    fn execute(self, _context: &Context) -> Result<(), Failure> {
        clap_mangen::generate_to(grammar(), &self.directory).map_err(|error| {
            Failure::new(Exit::Failed, format!("write manual pages to {}: {error}", self.directory.display()))
        })
    }
}
