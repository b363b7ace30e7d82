//! The six panes: which rows an answer makes, and what each row is about.

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

use api::access::AccessList;
use api::alerts::Alert;
use api::flows::{Flow, FlowList};
use api::history::Change;
use api::sources::SourceList;
use jiff::Timestamp;

use super::grid::{Cell, Row};
use super::theme::{Theme, Tone};
use super::trend::Trends;
use crate::cli::sources::address;
use crate::cli::{alerts, figures, flows, status};
use crate::snapshot::{AttachMode, Ban, Snapshot, Source, Total};
use detection::finding::Severity;

/// Everything that was asked at one time.
#[derive(Debug)]
pub struct Answers {
    pub status: Snapshot,
    pub sources: SourceList,
    pub access: AccessList,
    pub flows: FlowList,
    pub alerts: Vec<Alert>,
    pub changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Interfaces,
    Services,
    Sources,
    Flows,
    Findings,
    Changes,
}

/// What a row is about.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    Interface(String),
    Service(String),
    Source { source: IpNet, service: String, class: String },
    Flow { initiator: IpAddr, responder: IpAddr },
    Finding(Box<Alert>),
    Change(Box<Change>),
}

impl Pane {
    pub const ALL: [Self; 6] =
        [Self::Interfaces, Self::Services, Self::Sources, Self::Flows, Self::Findings, Self::Changes];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Interfaces => "Interfaces",
            Self::Services => "Services",
            Self::Sources => "Sources",
            Self::Flows => "Flows",
            Self::Findings => "Findings",
            Self::Changes => "Changes",
        }
    }

    /// With the marks of [`super::grid`].
    pub const fn headings(self) -> &'static [&'static str] {
        match self {
            Self::Interfaces => {
                &["INTERFACE", "MODE", "FLOOD", ">PASSED/S", ">DROPPED/S", "~>WOULD DROP/S", "~TREND", "*NOTE"]
            }
            Self::Services => {
                &["SERVICE", "MODE", ">PASSED/S", ">DROPPED/S", "~>WOULD DROP/S", "~TREND", "*DROPPED FOR"]
            }
            Self::Sources => {
                &["SOURCE", "SERVICE", ">PACKETS/S", "~>BITS/S", ">DROPPED/S", "~TREND", "~CLASS", "*STATE"]
            }
            Self::Flows => {
                &["FROM", "TO", "PROTOCOL", ">PORT", "OUTCOME", "~>BYTES", "~SEEN", "*WORKLOAD"]
            }
            Self::Findings => {
                &[">NUMBER", "SEVERITY", "DETECTOR", "SUBJECT", "~TARGET", "~UPDATED", "*MEASURED"]
            }
            Self::Changes => &[">NUMBER", "AT", "~BY", "STATE", "*WHAT"],
        }
    }

    /// What stands there when there is nothing.
    pub const fn nothing(self) -> &'static str {
        match self {
            Self::Interfaces => "no interface is guarded; name some under [interfaces]",
            Self::Services => "no service is known",
            Self::Sources => "no source is tracked",
            Self::Flows => "no conversation of insiders within the last hour",
            Self::Findings => "nothing was found",
            Self::Changes => "nothing was changed",
        }
    }

    /// The pane in a few words, for its title.
    pub fn summary(self, answers: &Answers) -> String {
        match self {
            Self::Interfaces => {
                let guarded = answers.status.interfaces.iter().filter(|one| one.mode != AttachMode::Absent);
                let unguarded = match answers.status.unguarded.len() {
                    0 => String::new(),
                    some => format!(", {some} with traffic not guarded"),
                };
                format!("{} guarded{unguarded}", guarded.count())
            }
            Self::Services => format!("{} known", answers.status.services.len()),
            Self::Sources => {
                let sources = &answers.status.sources;
                let banned = answers.access.banned.len();
                format!("{} tracked, {} over a limit, {banned} banned", sources.tracked, sources.exceeding)
            }
            Self::Flows => format!("{} within the last hour", answers.flows.matched),
            Self::Findings => format!("{} open", answers.status.findings.open),
            Self::Changes => match &answers.status.pending {
                Some(pending) => format!("change {} waits for `sluice confirm`", pending.change),
                None => format!("last {}", answers.changes.len()),
            },
        }
    }

    pub fn rows(self, answers: &Answers, trends: &Trends, theme: Theme) -> Vec<Row<About>> {
        match self {
            Self::Interfaces => interfaces(&answers.status, trends, theme),
            Self::Services => services(&answers.status, trends, theme),
            Self::Sources => {
                let sources = &answers.sources.sources;
                sources.iter().map(|one| source(one, answers.sources.at, &answers.access.banned, trends, theme)).collect()
            }
            Self::Flows => answers.flows.flows.iter().map(|one| flow(one, answers.flows.at)).collect(),
            Self::Findings => answers.alerts.iter().map(|one| finding(one, answers.status.at)).collect(),
            Self::Changes => answers.changes.iter().map(change).collect(),
        }
    }
}

/// Columns of a trend.
const TREND: usize = 12;

/// What is offered, by the name that its trend has.
pub fn offered(answers: &Answers) -> impl Iterator<Item = (String, f64)> {
    let mut by_name: BTreeMap<String, f64> = BTreeMap::new();
    for Total { interface, service, ended_per_second, reason, .. } in &answers.status.totals {
        for name in ["offered".to_owned(), format!("interface {interface}"), format!("service {service}")] {
            *by_name.entry(name).or_default() += ended_per_second;
        }
        if reason.action() != monitor_common::verdict::Action::Pass {
            *by_name.entry("dropped".to_owned()).or_default() += ended_per_second;
        }
    }
    for source in &answers.sources.sources {
        by_name.insert(trend_of(source), source.packets_per_second);
    }
    by_name.into_iter()
}

fn trend_of(source: &Source) -> String {
    format!("source {} {}", source.source, source.service)
}

fn rate(value: f64) -> Cell {
    Cell::figure(figures::rate(value), value)
}

fn interfaces(status: &Snapshot, trends: &Trends, theme: Theme) -> Vec<Row<About>> {
    let row = |interface: &crate::snapshot::Interface| {
        let of_it = |total: &&Total| total.interface == interface.name;
        let flows = status::Flows::of(status.totals.iter().filter(of_it));
        let cells = vec![
            Cell::text(&interface.name),
            Cell::text(interface.mode.label()),
            Cell::text(if interface.flood.active { "flood" } else { "calm" }),
            rate(flows.passed_per_second),
            rate(flows.dropped_per_second),
            rate(flows.would_drop_per_second),
            Cell::text(trends.bars(&format!("interface {}", interface.name), TREND, theme.unicode)),
            Cell::text(interface.problem.clone().unwrap_or_default()),
        ];
        let tone = match interface.mode {
            AttachMode::Absent => Tone::Alarm,
            _ if interface.flood.active => Tone::Warning,
            _ => Tone::Plain,
        };
        Row { key: interface.name.clone(), cells, tone, about: About::Interface(interface.name.clone()) }
    };
    status.interfaces.iter().map(row).collect()
}

fn services(status: &Snapshot, trends: &Trends, theme: Theme) -> Vec<Row<About>> {
    let by_service = status::by_service(status);
    let row = |(service, totals): (&str, Vec<&Total>)| {
        let flows = status::Flows::of(totals.iter().copied());
        let cells = vec![
            Cell::text(service),
            Cell::text(status.modes(service)),
            rate(flows.passed_per_second),
            rate(flows.dropped_per_second),
            rate(flows.would_drop_per_second),
            Cell::text(trends.bars(&format!("service {service}"), TREND, theme.unicode)),
            Cell::text(status::reasons(&totals)),
        ];
        let tone = if flows.dropped_per_second > 0.0 { Tone::Warning } else { Tone::Plain };
        Row { key: service.to_owned(), cells, tone, about: About::Service(service.to_owned()) }
    };
    by_service.into_iter().map(row).collect()
}

fn source(source: &Source, now: Timestamp, banned: &[Ban], trends: &Trends, theme: Theme) -> Row<About> {
    let ban = banned.iter().find(|ban| ban.source == source.source);
    let state = match ban {
        Some(Ban { until: Some(until), .. }) => format!("banned, over {}", figures::until(*until, now)),
        Some(_) => "banned for ever".to_owned(),
        None if source.exceeding => "over its limit".to_owned(),
        None => source.workload.clone().unwrap_or_default(),
    };
    let cells = vec![
        Cell::text(address(&source.source)),
        Cell::text(&source.service),
        rate(source.packets_per_second),
        Cell::figure(figures::bits(source.bytes_per_second), source.bytes_per_second),
        rate(source.dropped_per_second),
        Cell::text(trends.bars(&trend_of(source), TREND, theme.unicode)),
        Cell::text(&source.class),
        Cell::text(state),
    ];
    let tone = match ban {
        Some(_) => Tone::Alarm,
        None if source.exceeding => Tone::Warning,
        None => Tone::Plain,
    };
    let (address, service, class) = (source.source, source.service.clone(), source.class.clone());
    Row { key: trend_of(source), cells, tone, about: About::Source { source: address, service, class } }
}

#[expect(clippy::cast_precision_loss, reason = "it is sorted by")]
fn flow(flow: &Flow, now: Timestamp) -> Row<About> {
    let bytes = flow.forward.bytes.saturating_add(flow.backward.bytes);
    let cells = vec![
        Cell::text(flow.initiator.to_string()),
        Cell::text(flow.responder.to_string()),
        Cell::text(&flow.protocol),
        Cell::figure(flow.responder_port.to_string(), flow.responder_port.into()),
        Cell::text(flows::outcome(flow)),
        Cell::figure(figures::bytes(bytes), bytes as f64),
        Cell::figure(figures::ago(flow.last_seen, now), flow.last_seen.as_second() as f64),
        Cell::text(flows::workload(flow)),
    ];
    let Flow { initiator, responder, initiator_port, responder_port, protocol, .. } = flow;
    let key = format!("{initiator} {initiator_port} {responder} {responder_port} {protocol} {}", flow.open);
    let tone = if flow.open { Tone::Plain } else { Tone::Faint };
    Row { key, cells, tone, about: About::Flow { initiator: *initiator, responder: *responder } }
}

#[expect(clippy::cast_precision_loss, reason = "it is sorted by")]
fn finding(alert: &Alert, now: Timestamp) -> Row<About> {
    let finding = &alert.finding;
    let cells = vec![
        Cell::figure(alert.id.to_string(), alert.id as f64),
        Cell::text(finding.severity.label()),
        Cell::text(finding.detector.label()),
        Cell::text(&finding.subject),
        Cell::text(finding.target.clone().unwrap_or_default()),
        Cell::figure(figures::ago(alert.updated, now), alert.updated.as_second() as f64),
        Cell::text(alerts::measured(alert)),
    ];
    let tone = match finding.severity {
        _ if alert.quiet => Tone::Faint,
        Severity::Info => Tone::Plain,
        Severity::Warning => Tone::Warning,
        Severity::Critical => Tone::Alarm,
    };
    Row { key: alert.id.to_string(), cells, tone, about: About::Finding(Box::new(alert.clone())) }
}

#[expect(clippy::cast_precision_loss, reason = "it is sorted by")]
fn change(change: &Change) -> Row<About> {
    let cells = vec![
        Cell::figure(change.number.to_string(), change.number as f64),
        Cell::figure(figures::moment(change.at), change.at.as_second() as f64),
        Cell::text(&change.made_by),
        Cell::text(&change.state),
        Cell::text(&change.what),
    ];
    let tone = if change.state == "pending" { Tone::Warning } else { Tone::Plain };
    Row { key: change.number.to_string(), cells, tone, about: About::Change(Box::new(change.clone())) }
}
