//! What the page shows at one moment.
//!
//! In: a snapshot and a viewer's answers. Out: a value that becomes JSON. Where addresses are not to be shown, none is in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use api::alerts::{Alert, AlertQuery};
use api::flows::{Flow, FlowEnd, FlowQuery};
use api::{ChangeOptions, Role};
use detection::finding::Finding;
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::verdict::Action;
use policy::LimitKind;
use policy::config::PageDetail;
use serde::Serialize;

use crate::engine::Handle;
use crate::engine::command::Caller;
use crate::snapshot::{Ban, Interface, LimitInForce, RateAndBurst, Snapshot, Source, Total};

/// Rows of a list.
const ROWS: usize = 20;
/// Flows of which pairs are made.
const FLOWS: usize = 500;
/// Flows are asked for this often: it is a walk through all of them.
const FLOWS_EVERY: Duration = Duration::from_secs(10);

/// Who asks for the page: nobody in particular, who may read.
const READER: Caller =
    Caller { uid: u32::MAX, gid: u32::MAX, pid: 0, user: None, role: Role::Viewer, ssh_peer: None };

/// What is not in a snapshot.
#[derive(Debug, Default)]
pub struct Asked {
    alerts: Vec<Alert>,
    edges: Vec<EdgeRow>,
    flows_at: Option<Instant>,
    bans_at: Option<Timestamp>,
    /// What bans dropped so far, and packets per second since the snapshot before.
    banned: HashMap<IpNet, (u64, f64)>,
}

impl Asked {
    /// Takes what bans dropped since the snapshot before: a banned source has no rate of its own, because it is dropped
    /// before a service is looked for.
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn count_bans(&mut self, snapshot: &Snapshot) {
        let seconds =
            self.bans_at.map_or(0.0, |at| (snapshot.at - at).total(jiff::Unit::Second).unwrap_or(0.0));
        let before = std::mem::take(&mut self.banned);
        self.bans_at = Some(snapshot.at);
        self.banned = snapshot
            .bans
            .iter()
            .map(|ban| {
                let packets = ban.dropped.packets;
                let since = before.get(&ban.source).map_or(0, |(before, _)| packets.saturating_sub(*before));
                let rate = if seconds > 0.0 { since as f64 / seconds } else { 0.0 };
                (ban.source, (packets, rate))
            })
            .collect();
    }

    /// Asks anew. What the engine does not answer stays as it was.
    pub async fn ask(&mut self, engine: &Handle, snapshot: &Snapshot, detail: PageDetail) {
        if detail != PageDetail::Addresses {
            return;
        }
        self.count_bans(snapshot);
        let alerts = AlertQuery { open: true, limit: ROWS, ..AlertQuery::default() };
        if let Ok(answer) = engine.ask(READER, ChangeOptions::default(), alerts).await {
            self.alerts = answer.alerts;
        }
        let flows = FlowQuery { limit: FLOWS, ..FlowQuery::default() };
        if self.flows_at.is_none_or(|at| at.elapsed() >= FLOWS_EVERY)
            && let Ok(answer) = engine.ask(READER, ChangeOptions::default(), flows).await
        {
            (self.edges, self.flows_at) = (edges(&answer.flows), Some(Instant::now()));
        }
    }
}

/// Packets per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    offered: f64,
    passed: f64,
    dropped: f64,
    would_drop: f64,
}

impl Rates {
    pub fn of<'a>(totals: impl Iterator<Item = &'a Total>) -> Self {
        let mut rates = Self::default();
        for total in totals {
            rates.offered += total.ended_per_second;
            rates.would_drop += total.would_drop_per_second;
            match total.reason.action() {
                Action::Pass => rates.passed += total.ended_per_second,
                Action::Drop | Action::Answer => rates.dropped += total.ended_per_second,
            }
        }
        rates
    }
}

#[derive(Debug, Serialize)]
struct InterfaceRow {
    name: String,
    mode: &'static str,
    flood: bool,
    #[serde(flatten)]
    rates: Rates,
    note: String,
}

#[derive(Debug, Serialize)]
struct ServiceRow {
    name: String,
    modes: String,
    #[serde(flatten)]
    rates: Rates,
    reasons: String,
}

/// One dimension of a limit beside its proposal.
#[derive(Debug, Serialize)]
struct LimitRow {
    service: String,
    class: String,
    kind: &'static str,
    mode: &'static str,
    dimension: &'static str,
    in_force: String,
    proposed: String,
}

#[derive(Debug, Serialize)]
struct SourceRow {
    source: String,
    service: String,
    packets: f64,
    bytes: f64,
    dropped: f64,
    state: String,
}

#[derive(Debug, Serialize)]
struct FindingRow {
    id: u64,
    #[serde(flatten)]
    finding: Finding,
}

/// Who talks to whom: all flows of two ends and a port.
#[derive(Clone, Debug, Serialize)]
struct EdgeRow {
    from: String,
    to: String,
    protocol: String,
    port: u16,
    conversations: u64,
    bytes: u64,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Now {
    host: String,
    version: String,
    up_seconds: i64,
    configuration: String,
    /// What is wrong or waits, one sentence each.
    alarms: Vec<String>,
    tracked: u64,
    exceeding: u64,
    banned: u64,
    open: u64,
    rates: Rates,
    interfaces: Vec<InterfaceRow>,
    services: Vec<ServiceRow>,
    limits: Vec<LimitRow>,
    /// Whether the rest may name addresses; it is empty otherwise.
    addresses: bool,
    sources: Vec<SourceRow>,
    findings: Vec<FindingRow>,
    edges: Vec<EdgeRow>,
}

impl Now {
    pub fn of(snapshot: &Snapshot, asked: &Asked, detail: PageDetail) -> Self {
        let addresses = detail == PageDetail::Addresses;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let configuration = snapshot.reload.path.as_deref().unwrap_or("embedded default");
        Self {
            host,
            version: snapshot.build.version.clone(),
            up_seconds: snapshot.at.as_second().saturating_sub(snapshot.started.as_second()),
            configuration: configuration.to_owned(),
            alarms: alarms(snapshot, addresses),
            tracked: snapshot.sources.tracked,
            exceeding: snapshot.sources.exceeding,
            banned: snapshot.banned.all(),
            open: snapshot.findings.open,
            rates: Rates::of(snapshot.totals.iter()),
            interfaces: snapshot.interfaces.iter().map(|one| interface(snapshot, one)).collect(),
            services: services(snapshot),
            limits: snapshot.limits.iter().flat_map(|limit| limit_rows(snapshot, limit)).collect(),
            addresses,
            sources: if addresses { sources(snapshot, asked) } else { Vec::new() },
            findings: if addresses { findings(&asked.alerts) } else { Vec::new() },
            edges: if addresses { asked.edges.clone() } else { Vec::new() },
        }
    }
}

/// Sentences may name addresses: where these are not shown, only how many there are is.
fn alarms(snapshot: &Snapshot, addresses: bool) -> Vec<String> {
    let mut alarms = Vec::new();
    if let Some(panic) = &snapshot.panic {
        alarms.push(format!("PANIC: EVERYTHING PASSES since {:.0}; `sluice panic off` ends it", panic.since));
    }
    if let Some(pending) = &snapshot.pending {
        let what = if addresses { format!(" ({})", pending.summary) } else { String::new() };
        let seconds = pending.until.as_second().saturating_sub(snapshot.at.as_second()).max(0);
        alarms.push(format!(
            "Change {}{what} is taken back in {seconds} s unless it is confirmed",
            pending.change
        ));
    }
    if addresses {
        alarms.extend(snapshot.problems.iter().cloned());
    } else if !snapshot.problems.is_empty() {
        alarms.push(format!("{} problems; `sluice status` lists them", snapshot.problems.len()));
    }
    alarms
}

fn interface(snapshot: &Snapshot, interface: &Interface) -> InterfaceRow {
    let of_it = |total: &&Total| total.interface == interface.name;
    let members = if interface.stands_for.is_empty() {
        String::new()
    } else {
        format!("for {}", interface.stands_for.join(", "))
    };
    InterfaceRow {
        name: interface.name.clone(),
        mode: interface.mode.label(),
        flood: interface.flood.active,
        rates: Rates::of(snapshot.totals.iter().filter(of_it)),
        note: interface.problem.clone().unwrap_or(members),
    }
}

fn services(snapshot: &Snapshot) -> Vec<ServiceRow> {
    let row = |name: &str| {
        let of_it = |total: &&Total| total.service == name;
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for total in
            snapshot.totals.iter().filter(of_it).filter(|total| total.reason.action() != Action::Pass)
        {
            *reasons.entry(total.reason.label()).or_default() += total.ended.packets;
        }
        let reasons: Vec<_> =
            reasons.into_iter().filter(|(_, packets)| *packets > 0).map(|(label, _)| label).collect();
        ServiceRow {
            name: name.to_owned(),
            modes: snapshot.modes(name),
            rates: Rates::of(snapshot.totals.iter().filter(of_it)),
            reasons: reasons.join(", "),
        }
    };
    let names: BTreeSet<&str> = snapshot.services.iter().map(|service| service.name.as_str()).collect();
    names.into_iter().map(row).collect()
}

/// A row for each dimension that is limited or has a proposal.
fn limit_rows(snapshot: &Snapshot, limit: &LimitInForce) -> Vec<LimitRow> {
    let dimensions: [(&str, Option<RateAndBurst>); 4] = [
        ("packets", limit.packets),
        ("bytes", limit.bytes),
        ("connections", limit.connections),
        ("fragments", limit.fragments),
    ];
    let row = |(dimension, in_force): (&'static str, Option<RateAndBurst>)| {
        let proposal = snapshot.tuning.proposals.iter().find(|proposal| {
            limit.kind == LimitKind::PerSource
                && proposal.service == limit.service
                && (proposal.class == limit.class || limit.class == "any")
                && proposal.dimension == dimension
        });
        let proposed = proposal.and_then(|proposal| proposal.per_second);
        (in_force.is_some() || proposed.is_some()).then(|| LimitRow {
            service: limit.service.clone(),
            class: limit.class.clone(),
            kind: limit.kind.label(),
            mode: limit.mode.label(),
            dimension,
            in_force: in_force.map_or_else(|| "-".to_owned(), |limit| limit.rate.to_string()),
            proposed: proposed.map_or_else(|| "-".to_owned(), |rate| format!("{rate}/s")),
        })
    };
    dimensions.into_iter().filter_map(row).collect()
}

/// The fastest, those who lose most, and those whose ban drops something.
fn sources(snapshot: &Snapshot, asked: &Asked) -> Vec<SourceRow> {
    let mut seen = BTreeSet::new();
    let lists = [&snapshot.sources.by_drops, &snapshot.sources.by_rate];
    let mut all: Vec<&Source> = lists
        .into_iter()
        .flatten()
        .filter(|source| seen.insert((source.source, source.service.as_str())))
        .collect();
    all.retain(|source| !asked.banned.contains_key(&source.source));
    let mut rows: Vec<_> = all.into_iter().map(source_row).collect();
    let banned = snapshot.bans.iter().filter_map(|ban| {
        let (_, rate) = asked.banned.get(&ban.source).filter(|(_, rate)| *rate > 0.0)?;
        Some(ban_row(ban, *rate))
    });
    rows.extend(banned);
    rows.sort_by(|one, other| other.packets.total_cmp(&one.packets));
    rows.truncate(ROWS);
    rows
}

fn source_row(source: &Source) -> SourceRow {
    let over = if source.exceeding { "over its limit".to_owned() } else { String::new() };
    SourceRow {
        source: address(&source.source),
        service: source.service.clone(),
        packets: source.packets_per_second,
        bytes: source.bytes_per_second,
        dropped: source.dropped_per_second,
        state: if over.is_empty() { source.workload.clone().unwrap_or_default() } else { over },
    }
}

fn ban_row(ban: &Ban, rate: f64) -> SourceRow {
    let until =
        ban.until.map_or_else(|| "for ever".to_owned(), |at| at.strftime("until %H:%M:%SZ").to_string());
    let each = ban.dropped.bytes.checked_div(ban.dropped.packets).unwrap_or(0);
    SourceRow {
        source: address(&ban.source),
        service: ban.service.clone().unwrap_or_else(|| "any".to_owned()),
        packets: rate,
        bytes: rate * f64::from(u32::try_from(each).unwrap_or(u32::MAX)),
        dropped: rate,
        state: format!("banned {until} by {}", ban.made_by),
    }
}

/// A prefix that is one address is written as one.
fn address(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// The root of all cgroups: it says nothing about who it is.
const ROOT: &str = "/";

/// Pairs of ends with the workload at its own end, most bytes first.
fn edges(flows: &[Flow]) -> Vec<EdgeRow> {
    let mut pairs: BTreeMap<(String, String, &str, u16), (u64, u64)> = BTreeMap::new();
    for flow in flows {
        let name = |end: FlowEnd, address: std::net::IpAddr| match &flow.workload {
            Some(workload) if flow.workload_end.unwrap_or(FlowEnd::Initiator) == end && workload != ROOT => {
                format!("{address} ({workload})")
            }
            _ => address.to_string(),
        };
        let from = name(FlowEnd::Initiator, flow.initiator);
        let to = name(FlowEnd::Responder, flow.responder);
        let (count, bytes) = pairs.entry((from, to, &flow.protocol, flow.responder_port)).or_default();
        *count += flow.conversations;
        *bytes += flow.forward.bytes + flow.backward.bytes;
    }
    let row =
        |((from, to, protocol, port), (conversations, bytes)): ((String, String, &str, u16), (u64, u64))| {
            EdgeRow { from, to, protocol: protocol.to_owned(), port, conversations, bytes }
        };
    let mut rows: Vec<_> = pairs.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    rows.truncate(ROWS);
    rows
}

fn findings(alerts: &[Alert]) -> Vec<FindingRow> {
    let loud = alerts.iter().filter(|alert| !alert.quiet);
    loud.map(|alert| FindingRow { id: alert.id, finding: alert.finding.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Asked, Now};
    use crate::cli::samples::{alert, flow, snapshot};
    use policy::config::PageDetail;

    fn asked() -> Asked {
        Asked { alerts: vec![alert()], edges: super::edges(&[flow(), flow()]), ..Asked::default() }
    }

    #[test]
    fn the_page_has_what_is_guarded_dropped_found_and_proposed() {
        let mut snapshot = snapshot();
        snapshot.tuning.proposals.push(crate::snapshot::ProposedLimit {
            service: "web".to_owned(),
            class: "outside".to_owned(),
            dimension: "packets".to_owned(),
            per_second: Some(640),
            state: "proposed".to_owned(),
        });
        snapshot.problems.push("eth1 is absent".to_owned());
        let now = serde_json::to_value(Now::of(&snapshot, &asked(), PageDetail::Addresses)).unwrap();
        assert_eq!(now["rates"]["offered"], 50_000.0);
        assert_eq!(now["rates"]["dropped"], 48_000.0);
        assert_eq!(now["interfaces"][0]["mode"], "native");
        assert_eq!(now["services"][1]["reasons"], "packet_rate");
        assert_eq!(
            (&now["limits"][0]["in_force"], &now["limits"][0]["proposed"]),
            (&"2k/s".into(), &"640/s".into())
        );
        assert_eq!(now["sources"][0]["source"], "198.51.100.9");
        assert_eq!(now["findings"][0]["evidence"]["ports"][0], 22);
        let edge = &now["edges"][0];
        assert_eq!((&edge["from"], &edge["to"]), (&"10.0.0.5 (backup.service)".into(), &"10.0.0.9".into()));
        assert_eq!((&edge["conversations"], &edge["bytes"]), (&2.into(), &63_000.into()));
        assert_eq!(now["alarms"][0], "eth1 is absent");
    }

    #[test]
    fn a_banned_source_is_listed_with_what_its_ban_drops_now() {
        let mut snapshot = snapshot();
        let mut asked = asked();
        asked.count_bans(&snapshot);
        snapshot.at += jiff::SignedDuration::from_secs(2);
        snapshot.bans[0].dropped.packets += 3000;
        asked.count_bans(&snapshot);
        let now = serde_json::to_value(Now::of(&snapshot, &asked, PageDetail::Addresses)).unwrap();
        assert_eq!(now["sources"].as_array().unwrap().len(), 1, "{now}");
        assert_eq!(now["sources"][0]["dropped"], 1500.0);
        assert_eq!(now["sources"][0]["state"], "banned until 12:10:00Z by kernel");
    }

    #[test]
    fn without_addresses_there_is_none() {
        let mut snapshot = snapshot();
        snapshot.problems.push("10.0.0.1 is banned and is the gateway".to_owned());
        snapshot.sources.by_drops = snapshot.sources.by_rate.clone();
        let text = serde_json::to_string(&Now::of(&snapshot, &asked(), PageDetail::Figures)).unwrap();
        for hidden in ["198.51.100.9", "10.0.0.", "backup.service", "port_scan"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
        assert!(text.contains("\"addresses\":false") && text.contains("1 problems"), "{text}");
    }
}
