//! `sluice limit`: what each source, and all of them together, may send to a service.

use clap::{Args, Subcommand, ValueEnum};

use super::change::{ChangeArgs, render as render_change};
use super::path::escape;
use super::table::Page;
use super::{Context, Execute, Exit, Failure};
use policy::config::{ByteRate, Bytes, PacketRate, Period};
use crate::control::protocol::{LimitBody, Limits, Versioned};
use crate::engine::command::{Applied, RateRequest};
use crate::snapshot::{LimitInForce, LimitMode, LimitScope, RateAndBurst};

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
    /// Sets rates or mode of one limit; what is not named stays
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
    candidate: bool,
}

impl Which {
    fn scope(&self) -> LimitScope {
        match (self.aggregate, self.candidate) {
            (true, _) => LimitScope::Aggregate,
            (_, true) => LimitScope::Candidate,
            _ => LimitScope::Source,
        }
    }

    fn path(&self) -> String {
        format!("/v1/limits/{}", escape(&self.service))
    }
}

#[derive(Clone, Debug, Args)]
struct Set {
    #[command(flatten)]
    which: Which,
    /// What the limit does
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Packets, as in 2k/s
    #[arg(long, value_name = "RATE")]
    packets: Option<PacketRate>,
    /// Packets at once
    #[arg(long, value_name = "N", requires = "packets")]
    packets_burst: Option<u64>,
    /// Bytes, as in "50 Mbit/s"
    #[arg(long, value_name = "RATE")]
    bytes: Option<ByteRate>,
    /// Bytes at once, as in "1 MB"
    #[arg(long, value_name = "BYTES", requires = "bytes")]
    bytes_burst: Option<Bytes>,
    /// New connections, as in 100/s
    #[arg(long, value_name = "RATE")]
    connections: Option<PacketRate>,
    /// New connections at once
    #[arg(long, value_name = "N", requires = "connections")]
    connections_burst: Option<u64>,
    /// Fragments, as in 50/s
    #[arg(long, value_name = "RATE")]
    fragments: Option<PacketRate>,
    /// Fragments at once
    #[arg(long, value_name = "N", requires = "fragments")]
    fragments_burst: Option<u64>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Neither judge nor count
    Off,
    /// Count what it would drop, let it pass
    Observe,
    /// Drop what exceeds it
    Enforce,
}

impl From<Mode> for LimitMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Observe => Self::Observe,
            Mode::Enforce => Self::Enforce,
        }
    }
}

impl Execute for Limit {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List => {
                let limits: Versioned<Limits> = context.get("/v1/limits")?;
                context.show(&limits, |limits, page| render(&limits.answer.limits, page))
            }
            Action::Set(set) => {
                let path = set.change.path(&set.which.path(), &[]);
                let applied: Applied = context.put(&path, &set.body()?)?;
                context.show(&applied, render_change)
            }
            Action::Unset(Unset { which, change }) => {
                let mut keys = vec![("scope", which.scope().label().to_owned())];
                keys.extend(which.class.clone().map(|class| ("class", class)));
                let applied: Applied = context.delete(&change.path(&which.path(), &keys))?;
                context.show(&applied, render_change)
            }
        }
    }
}

impl Set {
    fn body(&self) -> Result<LimitBody, Failure> {
        let body = LimitBody {
            class: self.which.class.clone(),
            scope: self.which.scope(),
            mode: self.mode.map(LimitMode::from),
            packets: request("limit set", "packets", self.packets, self.packets_burst)?,
            bytes: self.bytes.map(|ByteRate(per_second)| RateRequest {
                per_second,
                burst: self.bytes_burst.map(|Bytes(bytes)| bytes),
            }),
            connections: request("limit set", "connections", self.connections, self.connections_burst)?,
            fragments: request("limit set", "fragments", self.fragments, self.fragments_burst)?,
        };
        let LimitBody { mode, packets, bytes, connections, fragments, .. } = body;
        if mode.is_none() && packets.is_none() && bytes.is_none() && connections.is_none() && fragments.is_none() {
            return Err(Failure::new(
                Exit::Usage,
                "limit set: nothing to set; give --mode, --packets, --bytes, --connections or --fragments",
            ));
        }
        Ok(body)
    }
}

/// The running limits count by the second.
pub fn request(
    command: &str,
    name: &str,
    rate: Option<PacketRate>,
    burst: Option<u64>,
) -> Result<Option<RateRequest>, Failure> {
    let Some(rate) = rate else { return Ok(None) };
    let seconds = rate.period.nanoseconds() / Period::Second.nanoseconds();
    if rate.count % seconds != 0 {
        return Err(Failure::new(
            Exit::Usage,
            format!("{command}: --{name} {rate} is no whole number per second; say it per second"),
        ));
    }
    Ok(Some(RateRequest { per_second: rate.count / seconds, burst }))
}

/// The four dimensions of a limit by name.
pub fn rates(limit: &LimitInForce) -> [(&'static str, Option<RateAndBurst>); 4] {
    [
        ("packets", limit.packets),
        ("bytes", limit.bytes),
        ("connections", limit.connections),
        ("fragments", limit.fragments),
    ]
}

/// Rate and burst of one dimension as people write them.
pub fn rate_of(dimension: &str, rate: &RateAndBurst) -> (String, String) {
    if dimension == "bytes" {
        (ByteRate(rate.per_second).to_string(), Bytes(rate.burst).to_string())
    } else {
        (PacketRate::per_second(rate.per_second).to_string(), rate.burst.to_string())
    }
}

pub fn render(limits: &[LimitInForce], page: &mut Page) {
    let headings =
        ["SERVICE", "CLASS", "LIMIT", "MODE", ">PACKETS", ">BYTES", ">CONNECTIONS", ">FRAGMENTS", "FROM"];
    let rows = limits.iter().map(|limit| {
        let mut row = vec![
            limit.service.clone(),
            limit.class.clone(),
            limit.scope.label().to_owned(),
            limit.mode.label().to_owned(),
        ];
        row.extend(rates(limit).map(|(dimension, rate)| {
            rate.map_or_else(
                || "-".to_owned(),
                |rate| {
                    let (rate, burst) = rate_of(dimension, &rate);
                    format!("{rate} +{burst}")
                },
            )
        }));
        row.push(limit.origin.clone());
        row
    });
    page.table(&headings, rows.collect(), "no limit is set; set one with `sluice limit set`");
}

#[cfg(test)]
mod tests;
