//! `sluice completions`: the grammar as a shell's completion script.

use clap::Args;
use clap_complete::Shell;

use super::context::print;
use super::{Context, Execute, Failure, grammar};

/// Prints a completion script for a shell
#[derive(Clone, Copy, Debug, Args)]
#[command(hide = true)]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: Shell,
}

impl Execute for Completions {
    fn execute(self, _context: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut grammar(), "sluice", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
