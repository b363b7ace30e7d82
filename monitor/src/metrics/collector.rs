//! Fills the declared metrics from one snapshot.
//!
//! In: a snapshot. Out: families for the registry. It keeps no series, so one that is gone is gone from the page too.

use std::collections::HashMap;
use std::sync::Arc;

use monitor_common::record::Incident;
use monitor_common::verdict::Action;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::declaration::{self as declared, Family, Kind};
use crate::snapshot::{
    AttachMode, BanCounts, LimitInForce, ListState, Memory, SinkState, Snapshot, StoreState,
};
use policy::config::Mode;

/// One snapshot as a collector.
#[derive(Debug)]
pub struct SnapshotCollector {
    snapshot: Arc<Snapshot>,
    descriptions: Vec<Desc>,
}

impl SnapshotCollector {
    pub fn new(snapshot: Arc<Snapshot>) -> prometheus::Result<Self> {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
        };
        let descriptions = declared::ALL.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { snapshot, descriptions })
    }
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::default();
        page.traffic(&self.snapshot);
        page.interfaces(&self.snapshot);
        page.kernel(&self.snapshot);
        page.rules(&self.snapshot);
        page.tuning(&self.snapshot);
        page.daemon(&self.snapshot);
        page.families
    }
}

/// A family of one value.
pub(super) fn single(family: Family, value: f64) -> MetricFamily {
    family_of(family, vec![metric(family, [], value)])
}

fn family_of(family: Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut made = MetricFamily::default();
    made.set_name(family.name.to_owned());
    made.set_help(family.help.to_owned());
    made.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    });
    made.set_metric(metrics);
    made
}

#[derive(Default)]
struct Page {
    families: Vec<MetricFamily>,
}

impl Page {
    /// Adds one family; each row has one value per declared label.
    fn add<const N: usize>(&mut self, family: Family, rows: impl IntoIterator<Item = ([String; N], f64)>) {
        debug_assert_eq!(N, family.labels.len(), "{} has other labels", family.name);
        let metrics: Vec<_> = rows.into_iter().map(|(labels, value)| metric(family, labels, value)).collect();
        if !metrics.is_empty() {
            self.families.push(family_of(family, metrics));
        }
    }

    fn single(&mut self, family: Family, value: f64) {
        self.add(family, [([], value)]);
    }

    fn traffic(&mut self, snapshot: &Snapshot) {
        let ended = || snapshot.totals.iter().filter(|total| total.ended.packets > 0);
        let labels = |total: &crate::snapshot::Total| {
            let verdict = match total.reason.action() {
                Action::Pass => "pass",
                Action::Drop => "drop",
                Action::Answer => "answer",
            };
            [
                total.interface.clone(),
                total.service.clone(),
                verdict.to_owned(),
                total.reason.label().to_owned(),
            ]
        };
        self.add(declared::PACKETS, ended().map(|total| (labels(total), float(total.ended.packets))));
        self.add(declared::BYTES, ended().map(|total| (labels(total), float(total.ended.bytes))));
        let would = || snapshot.totals.iter().filter(|total| total.would_drop.packets > 0);
        let labels = |total: &crate::snapshot::Total| {
            [total.interface.clone(), total.service.clone(), total.reason.label().to_owned()]
        };
        self.add(
            declared::WOULD_DROP_PACKETS,
            would().map(|total| (labels(total), float(total.would_drop.packets))),
        );
        self.add(
            declared::WOULD_DROP_BYTES,
            would().map(|total| (labels(total), float(total.would_drop.bytes))),
        );
        let requests = || snapshot.requests.iter();
        let labels = |row: &crate::snapshot::Requests, verdict: &str| {
            [row.service.clone(), row.dimension.clone(), verdict.to_owned()]
        };
        self.add(
            declared::REQUESTS,
            requests().flat_map(|row| {
                [(labels(row, "pass"), float(row.passed)), (labels(row, "drop"), float(row.dropped))]
            }),
        );
        self.add(
            declared::WOULD_DROP_REQUESTS,
            requests().map(|row| ([row.service.clone(), row.dimension.clone()], float(row.would_drop))),
        );
        let connections = || snapshot.connections.iter();
        self.add(
            declared::OPEN_CONNECTIONS,
            connections().map(|row| ([row.service.clone()], float(row.open))),
        );
        self.add(
            declared::FIRST_DATA,
            connections().filter(|row| row.encryption != Mode::Off).flat_map(|row| {
                [("yes", row.encrypted), ("no", row.in_clear)]
                    .map(|(encrypted, count)| ([row.service.clone(), encrypted.to_owned()], float(count)))
            }),
        );
        self.add(
            declared::SPOKEN,
            snapshot.spoken.iter().map(|row| {
                let labels = [&row.service, &row.application, &row.encryption].map(Clone::clone);
                (labels, float(row.conversations))
            }),
        );
        self.add(
            declared::MALFORMED,
            snapshot.malformed.iter().map(|tally| ([tally.label.clone()], float(tally.count))),
        );
    }

    fn interfaces(&mut self, snapshot: &Snapshot) {
        let all = &snapshot.interfaces;
        self.add(
            declared::INTERFACE_MODE,
            all.iter().flat_map(|interface| {
                AttachMode::ALL.map(|mode| {
                    ([interface.name.clone(), mode.label().to_owned()], truth(interface.mode == mode))
                })
            }),
        );
        self.add(
            declared::INTERFACE_EGRESS,
            all.iter().map(|interface| ([interface.name.clone()], truth(interface.egress))),
        );
        self.add(
            declared::FLOOD_ACTIVE,
            all.iter().map(|interface| ([interface.name.clone()], truth(interface.flood.active))),
        );
        self.add(
            declared::FLOODS,
            all.iter().map(|interface| ([interface.name.clone()], float(interface.flood.floods))),
        );
    }

    fn kernel(&mut self, snapshot: &Snapshot) {
        let maps = &snapshot.maps;
        self.add(
            declared::MAP_ENTRIES,
            maps.iter().filter_map(|map| map.entries.map(|entries| ([map.name.clone()], float(entries)))),
        );
        self.add(declared::MAP_CAPACITY, maps.iter().map(|map| ([map.name.clone()], float(map.capacity))));
        let (mut failed, mut lost, mut other) = (Vec::new(), Vec::new(), Vec::new());
        for tally in &snapshot.incidents {
            let (rows, label) = match tally.label.as_str() {
                label if label == Incident::SourceTableFull.label() => (&mut failed, "SOURCES"),
                label if label == Incident::BanTableFull.label() => (&mut failed, "BANS"),
                label if label == Incident::ConversationTableFull.label() => (&mut failed, "CONVERSATIONS"),
                label if label == Incident::EventLost.label() => (&mut lost, "EVENTS"),
                label if label == Incident::RecordLost.label() => (&mut lost, "RECORDS"),
                label => (&mut other, label),
            };
            rows.push(([label.to_owned()], float(tally.count)));
        }
        self.add(declared::FAILED_INSERTIONS, failed);
        self.add(declared::LOST, lost);
        self.add(declared::INCIDENTS, other);
        self.add(
            declared::EVENTS,
            snapshot.events.iter().map(|tally| ([tally.label.clone()], float(tally.count))),
        );
        self.single(declared::SOURCES_EXCEEDING, float(snapshot.sources.exceeding));
    }

    fn sinks(&mut self, sinks: &[SinkState]) {
        self.add(
            declared::SINK_DELIVERIES,
            sinks.iter().flat_map(|sink| {
                [("delivered", sink.delivered), ("failed", sink.failures), ("lost", sink.lost)]
                    .map(|(result, count)| ([sink.name.clone(), result.to_owned()], float(count)))
            }),
        );
        let of =
            |value: fn(&SinkState) -> f64| sinks.iter().map(move |sink| ([sink.name.clone()], value(sink)));
        self.add(declared::SINK_WAITING, of(|sink| float(sink.waiting)));
        self.add(declared::SINK_FAILING, of(|sink| truth(sink.failing.is_some())));
    }

    fn lists(&mut self, lists: &[ListState]) {
        let labels = |list: &ListState| [list.name.clone(), list.action.clone()];
        self.add(declared::LIST_PREFIXES, lists.iter().map(|list| (labels(list), float(list.prefixes))));
        let at = |list: &ListState| Some(([list.name.clone()], seconds(list.fetched?)));
        self.add(declared::LIST_FETCHED, lists.iter().filter_map(at));
        let fetched = || lists.iter().filter(|list| list.is_fetched());
        self.add(declared::LIST_FAILURES, fetched().map(|list| ([list.name.clone()], float(list.failures))));
        self.add(
            declared::LIST_FAILING,
            fetched().map(|list| ([list.name.clone()], truth(list.failing.is_some()))),
        );
    }

    fn memories(&mut self, memories: &[Memory]) {
        let of = |value: fn(&Memory) -> u64| {
            memories.iter().map(move |memory| ([memory.name.clone()], float(value(memory))))
        };
        self.add(declared::MEMORY_ENTRIES, of(|memory| memory.entries));
        self.add(declared::MEMORY_CAPACITY, of(|memory| memory.capacity));
        self.add(declared::MEMORY_EVICTED, of(|memory| memory.evicted));
        self.add(declared::MEMORY_REFUSED, of(|memory| memory.refused));
    }

    fn rules(&mut self, snapshot: &Snapshot) {
        let BanCounts { by_kernel, by_operator } = snapshot.banned;
        self.add(
            declared::BANS,
            [("kernel", by_kernel), ("operator", by_operator)]
                .map(|(origin, bans)| ([origin.to_owned()], float(bans))),
        );
        self.single(declared::CONTAINMENTS, float(snapshot.containments));
        self.add(declared::LIMIT, snapshot.limits.iter().flat_map(rates));
        self.add(
            declared::LIMIT_OPEN,
            snapshot.limits.iter().filter_map(|limit| {
                let labels = [&limit.service, &limit.class, limit.kind.label()].map(str::to_owned);
                limit.concurrent.map(|most| (labels, f64::from(most)))
            }),
        );
        self.add(
            declared::LIMIT_MODE,
            snapshot.limits.iter().map(|limit| {
                let mode = match limit.mode {
                    Mode::Off => 0.0,
                    Mode::Observe => 1.0,
                    Mode::Enforce => 2.0,
                };
                ([limit.service.clone(), limit.class.clone(), limit.kind.label().to_owned()], mode)
            }),
        );
        self.single(declared::PANIC, truth(snapshot.panic.is_some()));
        self.single(declared::RULE_CHANGES, f64::from(snapshot.rules.flips));
        self.single(declared::CHANGE_PENDING, truth(snapshot.pending.is_some()));
    }

    fn tuning(&mut self, snapshot: &Snapshot) {
        let tuning = &snapshot.tuning;
        let labels = |row: &crate::snapshot::ProposedLimit| {
            [row.service.clone(), row.class.clone(), row.dimension.clone()]
        };
        self.add(
            declared::TUNING_PROPOSAL,
            tuning.proposals.iter().filter_map(|row| Some((labels(row), float(row.per_second?)))),
        );
        let state = |row: &crate::snapshot::ProposedLimit| {
            let [service, class, dimension] = labels(row);
            ([service, class, dimension, row.state.clone()], 1.0)
        };
        self.add(declared::TUNING_STATE, tuning.proposals.iter().map(state));
        self.single(declared::TUNING_FROZEN, truth(tuning.frozen.is_some()));
        self.single(declared::TUNING_MEMORY, float(tuning.memory_bytes));
        self.single(declared::TUNING_NOT_LEARNED, float(tuning.not_learned));
        let acts = |row: &crate::snapshot::AutomaticAggregate| {
            ([row.service.clone(), row.basis.label().to_owned(), row.state.label().to_owned()], 1.0)
        };
        self.add(declared::AGGREGATE_STATE, tuning.aggregates.iter().map(acts));
        self.single(declared::DEFENCE_RUNG, float(tuning.defence_rung));
    }

    fn store(&mut self, store: &StoreState) {
        self.single(declared::STORE_BYTES, float(store.bytes));
        self.single(declared::STORE_MOST_BYTES, float(store.most_bytes));
        self.add(
            declared::STORE_SHED,
            [("changes", store.shed_changes), ("findings", store.shed_findings)]
                .map(|(what, count)| ([what.to_owned()], float(count))),
        );
    }

    fn audit(&mut self, audit: &crate::snapshot::Audit) {
        self.single(declared::AUDIT_WRITTEN, float(audit.written));
        self.single(declared::AUDIT_WAITING, float(audit.waiting));
        self.single(declared::AUDIT_LOST, float(audit.lost));
        let listed = audit.refused.saturating_sub(audit.unlisted);
        self.add(
            declared::AUDIT_REFUSED,
            [("no", audit.unlisted), ("yes", listed)]
                .map(|(label, count)| ([label.to_owned()], float(count))),
        );
        self.single(declared::AUDIT_BYTES, float(audit.bytes));
        self.single(declared::AUDIT_MOST_BYTES, float(audit.most_bytes));
    }

    fn daemon(&mut self, snapshot: &Snapshot) {
        let reload = &snapshot.reload;
        self.single(declared::RELOAD_SUCCESSFUL, truth(reload.error.is_none()));
        if let Some(at) = reload.succeeded_at {
            self.single(declared::RELOAD_TIME, seconds(at));
        }
        self.add(
            declared::RELOADS,
            [("failure", reload.failures), ("success", reload.successes)]
                .map(|(result, count)| ([result.to_owned()], float(count))),
        );
        let findings = &snapshot.findings;
        let labels = |count: &crate::snapshot::FindingCount| [count.detector.clone(), count.severity.clone()];
        self.add(declared::FINDINGS_OPEN, findings.raised.iter().map(|row| (labels(row), float(row.open))));
        self.add(declared::FINDINGS, findings.raised.iter().map(|row| (labels(row), float(row.raised))));
        let shed = findings.shed.iter().map(|row| ([row.label.clone()], float(row.count)));
        self.add(declared::SHED, shed);
        self.store(&snapshot.store);
        self.audit(&snapshot.audit);
        self.sinks(&snapshot.sinks);
        self.lists(&snapshot.lists);
        self.single(declared::RECORDS, float(findings.records));
        self.add(
            declared::LEARNING,
            [("edges", findings.edges_in_s), ("hours", findings.hours_in_s)]
                .map(|(of, seconds)| ([of.to_owned()], float(seconds))),
        );
        self.memories(&findings.memories);
        self.single(declared::PROBLEMS, float(snapshot.problems.len() as u64));
        let build = &snapshot.build;
        self.add(
            declared::BUILD,
            [([build.version.clone(), build.layout.to_string(), build.compiler.clone()], 1.0)],
        );
        self.single(declared::STARTED, seconds(snapshot.started));
        self.single(declared::SNAPSHOT_TIME, seconds(snapshot.at));
        self.single(declared::READ_DURATION, snapshot.read_seconds);
        let process = &snapshot.process;
        self.single(declared::MEMORY, float(process.resident_bytes));
        self.single(declared::VIRTUAL_MEMORY, float(process.virtual_bytes));
        self.single(declared::CPU, process.cpu_seconds);
        self.single(declared::FILES, float(process.open_files));
        self.single(declared::MOST_FILES, float(process.most_files));
        self.single(declared::THREADS, float(process.threads));
        self.single(declared::PROCESS_STARTED, process.started_seconds);
    }
}

fn rates(limit: &LimitInForce) -> impl Iterator<Item = ([String; 4], f64)> + '_ {
    let dimensions = [
        ("packets", limit.packets),
        ("bytes", limit.bytes),
        ("connections", limit.connections),
        ("fragments", limit.fragments),
        ("requests", limit.requests),
        ("handshakes", limit.handshakes),
    ];
    dimensions.into_iter().filter_map(|(dimension, rate)| {
        let labels = [&limit.service, &limit.class, limit.kind.label(), dimension].map(str::to_owned);
        rate.map(|rate| (labels, rate.rate.amount_per_second()))
    })
}

fn metric<const N: usize>(family: Family, labels: [String; N], value: f64) -> Metric {
    let pairs = family.labels.iter().zip(labels).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = Metric::from_label(pairs.collect());
    match family.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floats; counts are exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
