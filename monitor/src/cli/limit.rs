//! `sluice limit`: what each source, and all of them together, may send to a service.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::change::ChangeArgs;
use super::table::Page;
use super::{Context, Execute, Exit, Failure};
use policy::config::{Bytes, Mode, Rate, Unit};
use api::limits::{LimitSet, LimitTarget, LimitUnset, ListLimits, RateRequest};
use crate::snapshot::{LimitInForce, RateAndBurst};
use policy::LimitKind;

/// Shows and changes limits
#[derive(Clone, Debug, Args)]
pub struct Limit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Lists every limit as it holds now
    List,
    /// Sets rates or mode of one limit; what is not named stays, but a rate takes its usual burst
    Set(Box<Set>),
    /// Takes one limit back to what the configuration says
    Unset(Unset),
}

/// Which of a service's limits.
#[derive(Clone, Debug, Args)]
struct Which {
    /// Name of a service; `default` for what no service names
    service: String,
    /// Class of sources [default: every class that has no limit of its own]
    #[arg(long, value_name = "NAME", conflicts_with = "aggregate")]
    class: Option<String>,
    /// The limit over all sources of the service together
    #[arg(long)]
    aggregate: bool,
    /// The limit on trial beside the one in force; it never drops
    #[arg(long, conflicts_with = "aggregate")]
    trial: bool,
}

impl Which {
    fn kind(&self) -> LimitKind {
        match (self.aggregate, self.trial) {
            (true, _) => LimitKind::Aggregate,
            (_, true) => LimitKind::Trial,
            _ => LimitKind::PerSource,
        }
    }

    fn target(&self) -> LimitTarget {
        LimitTarget { service: self.service.clone(), class: self.class.clone(), kind: self.kind() }
    }
}

#[derive(Clone, Debug, Args)]
struct Set {
    #[command(flatten)]
    which: Which,
    /// What the limit does
    #[arg(long, value_parser = mode())]
    mode: Option<Mode>,
    /// Packets, as in 2k/s
    #[arg(long, value_name = "RATE", value_parser = Rate::counted)]
    packets: Option<Rate>,
    /// Packets at once
    #[arg(long, value_name = "N", requires = "packets")]
    packets_burst: Option<u64>,
    /// Bytes, as in "50 Mbit/s"
    #[arg(long, value_name = "RATE", value_parser = Rate::of_bytes)]
    bytes: Option<Rate>,
    /// Bytes at once, as in "1 MB"
    #[arg(long, value_name = "BYTES", requires = "bytes")]
    bytes_burst: Option<Bytes>,
    /// New connections, as in 100/s
    #[arg(long, value_name = "RATE", value_parser = Rate::counted)]
    connections: Option<Rate>,
    /// New connections at once
    #[arg(long, value_name = "N", requires = "connections")]
    connections_burst: Option<u64>,
    /// Fragments, as in 50/s
    #[arg(long, value_name = "RATE", value_parser = Rate::counted)]
    fragments: Option<Rate>,
    /// Fragments at once
    #[arg(long, value_name = "N", requires = "fragments")]
    fragments_burst: Option<u64>,
    /// Requests, as in 100/s
    #[arg(long, value_name = "RATE", value_parser = Rate::counted)]
    requests: Option<Rate>,
    /// Requests at once
    #[arg(long, value_name = "N", requires = "requests")]
    requests_burst: Option<u64>,
    /// Beginnings of TLS and QUIC, as in 20/s
    #[arg(long, value_name = "RATE", value_parser = Rate::counted)]
    handshakes: Option<Rate>,
    /// Beginnings at once
    #[arg(long, value_name = "N", requires = "handshakes")]
    handshakes_burst: Option<u64>,
    /// TCP connections that are open at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrent: Option<u32>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, Debug, Args)]
struct Unset {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Reads a mode by its label; help and completion list all of them.
fn mode() -> impl TypedValueParser<Value = Mode> {
    let about = |mode: Mode| match mode {
        Mode::Off => "Neither evaluate nor count",
        Mode::Observe => "Count what it would drop, let it pass",
        Mode::Enforce => "Drop what exceeds it",
    };
    PossibleValuesParser::new(Mode::ALL.map(|mode| PossibleValue::new(mode.label()).help(about(mode))))
        .map(|label| Mode::ALL.into_iter().find(|mode| mode.label() == label).unwrap_or_default())
}

impl Execute for Limit {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List => {
                let limits = context.ask(&ListLimits {})?;
                context.show(&limits, |limits, page| render(&limits.answer.limits, page))
            }
            Action::Set(set) => context.change(&set.command()?, &set.change),
            Action::Unset(Unset { which, change }) => context.change(&LimitUnset(which.target()), &change),
        }
    }
}

impl Set {
    fn command(&self) -> Result<LimitSet, Failure> {
        let LimitTarget { service, class, kind } = self.which.target();
        let set = LimitSet {
            service,
            class,
            kind,
            mode: self.mode,
            packets: request(self.packets, self.packets_burst),
            bytes: request(self.bytes, self.bytes_burst.map(|Bytes(bytes)| bytes)),
            connections: request(self.connections, self.connections_burst),
            fragments: request(self.fragments, self.fragments_burst),
            requests: request(self.requests, self.requests_burst),
            handshakes: request(self.handshakes, self.handshakes_burst),
            concurrent: self.concurrent,
        };
        if set.mode.is_none() && set.concurrent.is_none() && set.rates().iter().all(|(_, rate)| rate.is_none()) {
            return Err(Failure::new(
                Exit::Usage,
                "limit set: nothing to set; give --mode, --packets, --bytes, --connections, --fragments, --requests, --handshakes or --concurrent",
            ));
        }
        Ok(set)
    }
}

fn request(rate: Option<Rate>, burst: Option<u64>) -> Option<RateRequest> {
    rate.map(|rate| RateRequest { rate, burst })
}

/// The dimensions of a limit by name.
pub fn rates(limit: &LimitInForce) -> [(&'static str, Option<RateAndBurst>); 6] {
    [
        ("packets", limit.packets),
        ("bytes", limit.bytes),
        ("connections", limit.connections),
        ("fragments", limit.fragments),
        ("requests", limit.requests),
        ("handshakes", limit.handshakes),
    ]
}

/// Rate and burst as people write them.
pub fn rate_of(limit: &RateAndBurst) -> (String, String) {
    let burst = match limit.rate.unit {
        Unit::Count => limit.burst.to_string(),
        Unit::Bytes | Unit::Bits => Bytes(limit.burst).to_string(),
    };
    (limit.rate.to_string(), burst)
}

pub fn render(limits: &[LimitInForce], page: &mut Page) {
    let headings = [
        "SERVICE",
        "CLASS",
        "LIMIT",
        "MODE",
        ">PACKETS",
        ">BYTES",
        ">CONNECTIONS",
        "~>FRAGMENTS",
        "~>REQUESTS",
        "~>HANDSHAKES",
        "~>OPEN",
        "~FROM",
    ];
    let rows = limits.iter().map(|limit| {
        let mut row = vec![
            limit.service.clone(),
            limit.class.clone(),
            limit.kind.label().to_owned(),
            limit.mode.label().to_owned(),
        ];
        row.extend(rates(limit).map(|(_, limit)| match limit {
            Some(limit) => {
                let (rate, burst) = rate_of(&limit);
                format!("{rate} +{burst}")
            }
            None => "-".to_owned(),
        }));
        row.push(limit.concurrent.map_or_else(|| "-".to_owned(), |most| most.to_string()));
        row.push(limit.origin.clone());
        row
    });
    page.table(&headings, rows.collect(), "no limit is set; set one with `sluice limit set`");
}

#[cfg(test)]
mod tests;
