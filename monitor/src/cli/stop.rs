//! `sluice stop`: ends the daemon; the kernel keeps protecting.

use clap::Args;

use super::{Context, Execute, Failure};

/// Ends the daemon; the limits stay in force in the kernel
#[derive(Clone, Copy, Debug, Args)]
pub struct Stop;

impl Execute for Stop {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let done = context.ask(&api::life::Stop {})?;
        context.show(&done, |_, page| {
            page.line("the daemon stops; the kernel keeps protecting until `sluice detach`");
        })
    }
}
