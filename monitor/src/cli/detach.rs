//! `sluice detach`: removes everything from the kernel and ends the daemon.

use clap::Args;

use super::{Context, Execute, Failure};
use crate::control::protocol::Done;

/// Removes programs, maps and pins from the kernel, and ends the daemon
#[derive(Clone, Copy, Debug, Args)]
pub struct Detach;

impl Execute for Detach {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let done: Done = context.post("/v1/detach", &serde_json::json!({}))?;
        context.show(&done, |_, page| page.line("nothing is guarded any more"))
    }
}
