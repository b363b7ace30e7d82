//! `sluice detach`: removes everything from the kernel and ends the daemon; without a daemon, what one left.

use std::path::PathBuf;

use api::ChangeOptions;
use clap::Args;

use super::{Context, Execute, Exit, Failure};
use crate::daemon;
use crate::engine::delta::Flags;

/// Removes programs, maps and pins from the kernel, and ends the daemon
#[derive(Clone, Debug, Default, Args)]
pub struct Detach {
    /// The configuration of the daemon that is meant: it is asked at its socket, or what it left is removed
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Without a daemon: where it pinned programs and maps
    #[arg(long, value_name = "DIRECTORY")]
    pub pin_directory: Option<PathBuf>,
    /// Do it: nothing is guarded afterwards
    #[arg(long)]
    pub yes: bool,
}

impl Execute for Detach {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let options = ChangeOptions { yes: self.yes, ..ChangeOptions::default() };
        // Whoever names a configuration means its daemon, and no other that may run.
        let named = self.config.as_deref().filter(|_| context.named_socket.is_none());
        let socket = named.map(|file| Ok::<_, Failure>(super::config::read_file(file)?.control.socket));
        let asked = match socket.transpose()? {
            Some(socket) => context.at(socket).ask_with(&api::life::Detach {}, &options),
            None => context.ask_with(&api::life::Detach {}, &options),
        };
        match asked {
            Ok(done) => context.show(&done, |_, page| page.line("nothing is guarded any more")),
            Err(failure) if failure.exit == Exit::NotRunning => self.left_behind(context),
            Err(failure) => Err(failure),
        }
    }
}

impl Detach {
    fn left_behind(self, context: &Context) -> Result<(), Failure> {
        let Self { config, pin_directory, .. } = self;
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
