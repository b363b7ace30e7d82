//! `sluice tune`: limits that the daemon found, with what they rest on and what they would have done.

use clap::{Args, Subcommand};
use api::tune::{TuneApply, TuneEnd, TuneForget, TuneQuery, TuneTarget, TuneTry};

use super::change::ChangeArgs;
use super::{Context, Execute, Failure};

mod page;

/// Proposes limits from what sources usually do
#[derive(Clone, Debug, Args)]
pub struct Tune {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Shows proposals with their evidence, beside the limits in force
    Show(Show),
    /// Puts a proposal on trial: it counts what it would drop, beside the limit in force
    Try(Which),
    /// Ends a trial
    End(Which),
    /// Puts a proposal in force
    Apply(Which),
    /// Forgets what was learned of a service, for one that was rebuilt
    Forget(Forget),
}

#[derive(Clone, Debug, Args)]
struct Show {
    /// Only this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only this class of sources [default: outside, and every class that something is known of]
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    #[command(flatten)]
    aim: Aim,
}

#[derive(Clone, Copy, Debug, Args)]
struct Aim {
    /// Share of the active source-seconds of the busiest hour that must fit, as in 0.999
    #[arg(long, value_name = "SHARE")]
    quantile: Option<f64>,
    /// How much more than that is allowed, as in 2
    #[arg(long, value_name = "FACTOR")]
    headroom: Option<f64>,
}

#[derive(Clone, Debug, Args)]
struct Which {
    /// Name of a service; `default` for what no service names
    service: String,
    /// Class of sources [default: outside]
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    #[command(flatten)]
    aim: Aim,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, Debug, Args)]
struct Forget {
    /// Name of a service
    service: String,
}

impl Execute for Tune {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Show(show) => {
                let list = context.ask(&show.query())?;
                context.show(&list, |list, page| page::render(&list.answer, page))
            }
            Action::Try(which) => context.change(&TuneTry(which.target()), &which.change),
            Action::End(which) => context.change(&TuneEnd(which.target()), &which.change),
            Action::Apply(which) => context.change(&TuneApply(which.target()), &which.change),
            Action::Forget(Forget { service }) => {
                context.change(&TuneForget { service }, &ChangeArgs::default())
            }
        }
    }
}

impl Show {
    fn query(self) -> TuneQuery {
        let Aim { quantile, headroom } = self.aim;
        TuneQuery { service: self.service, class: self.class, quantile, headroom }
    }
}

impl Which {
    fn target(&self) -> TuneTarget {
        let Aim { quantile, headroom } = self.aim;
        TuneTarget { service: self.service.clone(), class: self.class.clone(), quantile, headroom }
    }
}
