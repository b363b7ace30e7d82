//! `sluice tune`: limits that the daemon found, with what they rest on and what they would have done.

use clap::{Args, Subcommand};
use serde_json::json;

use super::change::{ChangeArgs, render as render_change};
use super::path::{escape, with_query};
use super::{Context, Execute, Failure};
use crate::control::protocol::{TuneBody, Versioned};
use crate::engine::command::{Applied, TuneList};

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
                let list: Versioned<TuneList> = context.get(&show.path())?;
                context.show(&list, |list, page| page::render(&list.answer, page))
            }
            Action::Try(which) => which.ask("try", context),
            Action::End(which) => which.ask("end", context),
            Action::Apply(which) => which.ask("apply", context),
            Action::Forget(Forget { service }) => {
                let path = format!("/v1/tune/{}/forget", escape(&service));
                let applied: Applied = context.post(&path, &json!({}))?;
                context.show(&applied, render_change)
            }
        }
    }
}

impl Show {
    fn path(&self) -> String {
        let mut pairs = Vec::new();
        pairs.extend(self.service.clone().map(|service| ("service", service)));
        pairs.extend(self.class.clone().map(|class| ("class", class)));
        pairs.extend(self.aim.quantile.map(|quantile| ("quantile", quantile.to_string())));
        pairs.extend(self.aim.headroom.map(|headroom| ("headroom", headroom.to_string())));
        with_query("/v1/tune", &pairs)
    }
}

impl Which {
    fn ask(self, what: &str, context: &Context) -> Result<(), Failure> {
        let path = self.change.path(&format!("/v1/tune/{}/{what}", escape(&self.service)), &[]);
        let Aim { quantile, headroom } = self.aim;
        let applied: Applied = context.post(&path, &TuneBody { class: self.class, quantile, headroom })?;
        context.show(&applied, render_change)
    }
}
