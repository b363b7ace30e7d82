//! What was to be reached: the figures of a run against what they must be and what they aim at.

use anyhow::Result;

use crate::cases::{Case, Kind, LOOKUP, MAIN, Measured, PEER};
use crate::report::{Cell, Section};

/// A figure, and the bounds that it is held against.
#[derive(Clone, Debug)]
pub struct Goal {
    pub name: String,
    pub measured: f64,
    pub must: f64,
    pub aim: Option<f64>,
    pub unit: Unit,
    pub bound: Bound,
}

/// Which side of a bound is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    AtMost,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Ratio,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::Ratio => format!("{value:.2}"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

impl Goal {
    pub fn at_most(name: impl Into<String>, measured: f64, must: f64, unit: Unit) -> Self {
        Self { name: name.into(), measured, must, aim: None, unit, bound: Bound::AtMost }
    }

    pub fn at_least(name: impl Into<String>, measured: f64, must: f64) -> Self {
        let (unit, bound) = (Unit::Ratio, Bound::AtLeast);
        Self { name: name.into(), measured, must, aim: None, unit, bound }
    }

    fn aiming(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    pub fn judged(&self) -> &'static str {
        let within = |bound: f64| match self.bound {
            Bound::AtMost => self.measured <= bound,
            Bound::AtLeast => self.measured >= bound,
        };
        if self.aim.is_some_and(within) {
            "aim reached"
        } else if within(self.must) {
            "met"
        } else {
            "**missed**"
        }
    }
}

/// The goals as a table.
pub fn section(goals: &[Goal]) -> Section {
    let mut section = Section::new("goals", &["goal", "must", "aim", "measured", "judged"]);
    for goal in goals {
        let sign = if goal.bound == Bound::AtMost { "<=" } else { ">=" };
        let aim = goal.aim.map(|aim| format!("{sign} {}", goal.unit.show(aim))).unwrap_or_default();
        section.row([
            Cell::text(&goal.name),
            Cell::text(format!("{sign} {}", goal.unit.show(goal.must))),
            Cell::text(aim),
            Cell::shown(goal.measured, goal.unit.show(goal.measured)),
            Cell::text(goal.judged()),
        ]);
    }
    section
}

fn at_most(name: impl Into<String>, measured: f64, bounds: (f64, f64), unit: Unit) -> Goal {
    Goal::at_most(name, measured, bounds.0, unit).aiming(bounds.1)
}

/// The goals of the datapath's cost, from one run.
pub fn of_datapath(measured: &Measured) -> Result<Vec<Goal>> {
    let of = |kind, sources| {
        measured.above_floor(Case { program: crate::cases::SLUICE, kind, sources, loaded: false })
    };
    let one = of(Kind::Udp, 1)?;
    let few = of(Kind::Udp, 1 << 10)?;
    let (ns, ratio) = (Unit::Nanoseconds, Unit::Ratio);
    let mut goals = vec![
        at_most("one known source, UDP", one, (70.0, 45.0), ns),
        at_most("one known source, SYN", of(Kind::Syn, 1)?, (70.0, 45.0), ns),
        at_most("IPv6 against IPv4", of(Kind::Ipv6, 1)? / one, (1.3, 1.15), ratio),
        at_most("one VLAN tag against none", of(Kind::Vlan, 1)? / one, (1.3, 1.15), ratio),
        at_most(
            "one known source against a simple limiter",
            one / measured.reference(PEER, 1)?,
            (2.0, 1.0),
            ratio,
        ),
        at_most(
            "4 G spoofed sources against a simple limiter",
            of(Kind::Udp, 1 << 32)? / measured.reference(PEER, 1 << 32)?,
            (0.5, 0.25),
            ratio,
        ),
        at_most(
            "64 k known sources against the bare lookup",
            of(Kind::Udp, 1 << 16)? / measured.reference(LOOKUP, 1 << 16)?,
            (2.0, 1.5),
            ratio,
        ),
        at_most("4 G spoofed sources against 1 k", of(Kind::Udp, 1 << 32)? / few, (2.5, 1.5), ratio),
        at_most("2^44 spoofed /64s against 1 k", of(Kind::Ipv6, 1 << 44)? / few, (2.5, 1.5), ratio),
        at_most("banned source", of(Kind::Banned, 1)?, (50.0, 35.0), ns),
        at_most("denied prefix", of(Kind::Denied, 1)?, (50.0, 35.0), ns),
    ];
    for case in MAIN {
        let more = measured.above_floor(Case { loaded: true, ..case })? - measured.above_floor(case)?;
        let sources = if case.sources == 1 { "source" } else { "sources" };
        let name = format!("{}, {} {sources}: more with 11,000 prefixes", case.kind.label(), case.label());
        goals.push(at_most(name, more, (30.0, 15.0), ns));
    }
    Ok(goals)
}
