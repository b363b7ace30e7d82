//! `sluice detach`: removes everything from the kernel and ends the daemon; without a daemon, what one left.

use std::path::PathBuf;

use clap::Args;

use super::{Context, Execute, Exit, Failure};
use crate::control::protocol::Done;
use crate::daemon;
use crate::engine::delta::Flags;

/// Removes programs, maps and pins from the kernel, and ends the daemon
#[derive(Clone, Debug, Default, Args)]
pub struct Detach {
    /// Without a daemon: the configuration that it ran with
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Without a daemon: where it pinned programs and maps
    #[arg(long, value_name = "DIRECTORY")]
    pub pin_directory: Option<PathBuf>,
}

impl Execute for Detach {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match context.post::<Done>("/v1/detach", &serde_json::json!({})) {
            Ok(done) => context.show(&done, |_, page| page.line("nothing is guarded any more")),
            Err(failure) if failure.exit == Exit::NotRunning => self.left_behind(context),
            Err(failure) => Err(failure),
        }
    }
}

impl Detach {
    fn left_behind(self, context: &Context) -> Result<(), Failure> {
        let Self { config, pin_directory } = self;
        let flags = Flags { pin_directory, ..Flags::default() };
        let interfaces =
            daemon::remove_pinned(&daemon::Options { config, flags }).map_err(|error| Failure::of(&error))?;
        context.show(&interfaces, |interfaces, page| {
            if interfaces.is_empty() {
                page.line("no daemon runs, and none left anything behind");
            } else {
                page.line(format!("no daemon runs; {} not guarded any more", interfaces.join(", ")));
            }
        })
    }
}
