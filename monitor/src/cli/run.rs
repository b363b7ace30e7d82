//! `sluice run`: the daemon in the foreground.

use std::path::PathBuf;

use clap::Args;

use super::{Context, Execute, Failure};
use crate::daemon;
use crate::engine::delta::Flags;

/// Runs the daemon in the foreground
#[derive(Clone, Debug, Default, Args)]
pub struct Run {
    /// The configuration [default: /etc/sluice/sluice.toml if it exists, else the embedded default, which drops nothing]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// An interface to guard instead of those of the configuration; may be repeated
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Where programs and maps are pinned, on a BPF file system
    #[arg(long, value_name = "DIRECTORY")]
    pub pin_directory: Option<PathBuf>,
    /// Judge and count, drop nothing whatever the limits say
    #[arg(long)]
    pub watch_only: bool,
}

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let Self { config, interfaces, pin_directory, watch_only } = self;
        let flags = Flags { interfaces, pin_directory, socket: context.named_socket.clone(), watch_only };
        daemon::run(daemon::Options { config, flags })
            .map_err(|error| Failure::of(&error))
    }
}
