//! `sluice setup`: starting values for this host, from what listens on it. It changes nothing.
//!
//! In: the sockets of this network namespace, their processes and published container ports, as far as they can be read; what
//! a running daemon has learned. Out: `[[service]]` tables that observe, with why each is there.

mod containers;
mod listening;
mod profile;
mod suggestion;

use clap::Args;

use super::context::{Output, print};
use super::{Context, Execute, Failure};
use api::config::ShowConfig;
use api::tune::TuneQuery;
use policy::config;
use suggestion::{Known, Suggestion};

/// Prints `[[service]]` tables that observe what listens here; changes nothing
///
/// Rates come from the role that a port or a process has (web, API, DNS, SSH, database, mail, game server), or from what the
/// daemon has learned. Append the output to the configuration file, check it, and reload. As root it sees the processes of
/// everybody.
#[derive(Clone, Debug, Args)]
pub struct Setup {}

impl Execute for Setup {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut endpoints = listening::endpoints()?;
        endpoints.extend(containers::published());
        let suggestion = Suggestion::of(&endpoints, &known(context));
        match context.output {
            Output::Json => context.show(&suggestion, |_, _| {}),
            Output::Table => print(&suggestion.toml()),
        }
    }
}

/// What the daemon has in force and has learned; nothing without one.
fn known(context: &Context) -> Known {
    let text = context.ask(&ShowConfig {}).ok();
    let parsed = text.and_then(|text| config::Config::parse(&text.answer.toml, "the daemon's").ok());
    let learned = context.ask(&TuneQuery::default()).ok();
    Known {
        services: parsed.map(|config| config.services).unwrap_or_default(),
        learned: learned.map(|list| list.answer.limits).unwrap_or_default(),
    }
}
