//! Detection in the engine: records in, findings out, kept and told.
//!
//! In: records of conversations, events of the limiter, what services carried. Out: alerts in the store and the log,
//! responses where the configuration allows them. What was learned outlives the process.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::conversation::Record;

use super::alert_log::{self, AlertLog};
use super::alerts::{close_old_alerts, number_of_the_moment, stored, stored_silences};
use super::answer::Asking;
use super::command::containment::{Containment, Subject};
use super::command::{Alert, AlertState};
use super::delta::{self, BanSetting, Delta};
use super::webhook::Webhook;
use super::workloads::Workloads;
use super::{Engine, containment, operators};
use crate::snapshot::{FindingCount, Findings, LimitMode, Memory};
use crate::store::{Store, StoredFinding};
use detection::finding::{Finding, Severity};
use detection::ledger::{ChangeKind, FindingChange};
use detection::parameters::{Action, Parameters, Silence};
use detection::rate_shift::ServiceRate;
use detection::{Detection, Learned};
use policy::Rules;
use policy::config::Config;

/// Where detection's memory lies in the store.
const AREA: &str = "detection";
const LEARNED: &str = "learned";
pub(super) const SILENCES: &str = "silences";
/// How often what was learned is kept.
const KEEP: Duration = Duration::from_mins(5);

/// Detection with what it needs of the host.
#[derive(Debug)]
pub(super) struct Watch {
    detection: Detection,
    parameters: Parameters,
    inside: Vec<IpNet>,
    pub workloads: Workloads,
    /// Added to detection's own numbers, so that a number is never used twice.
    base: u64,
    kept_at: Instant,
    /// Packets, bytes and sources of each service at the last tick.
    services: HashMap<u32, (u64, u64, u64)>,
    log: AlertLog,
    webhook: Option<Webhook>,
}

impl Watch {
    /// Takes up where the store says that the last process ended.
    /// What the store cannot tell is told in `troubles`, and begins anew.
    pub fn begin(store: &mut Store, rules: &Rules, troubles: &mut Vec<String>) -> Self {
        let config = &rules.config;
        let mut tell = |error: anyhow::Error| troubles.push(format!("{error:#}"));
        let learned = store.learned_one(AREA, LEARNED).map_err(&mut tell).ok().flatten();
        let learned = learned.and_then(|bytes| match serde_json::from_slice::<Learned>(&bytes) {
            Ok(learned) => Some(learned),
            Err(error) => {
                tracing::warn!("what detection learned cannot be read, so it begins anew: {error}");
                None
            }
        });
        let base = close_old_alerts(store).unwrap_or_else(|error| {
            tell(error);
            number_of_the_moment()
        });
        let silences = stored_silences(store).map_err(&mut tell).unwrap_or_default();
        let parameters = parameters(config, &silences);
        let inside = inside(config, &rules.own);
        Self {
            detection: Detection::new(&parameters, inside.clone(), &learned.unwrap_or_default()),
            parameters,
            inside,
            workloads: Workloads::default(),
            base,
            kept_at: Instant::now(),
            services: HashMap::new(),
            log: AlertLog::new(store),
            webhook: None,
        }
    }

    /// The store is on the disk now, and the alert log with it.
    pub fn follow_store(&mut self, store: &Store) {
        self.log = AlertLog::new(store);
    }

    /// The alert log's file may have been moved away.
    pub fn reopen_log(&mut self) {
        self.log.reopen();
    }

    /// Findings that are in no alert log yet.
    pub fn unlogged(&self) -> Option<String> {
        self.log.waiting()
    }
}

fn parameters(config: &Config, silences: &[Silence]) -> Parameters {
    let mut parameters = config.detectors();
    parameters.silences.extend(silences.iter().cloned());
    parameters
}

fn inside(config: &Config, own: &[IpAddr]) -> Vec<IpNet> {
    let loopback = operators::LOOPBACK.iter();
    config
        .access
        .inside
        .iter()
        .copied()
        .chain(own.iter().chain(loopback).map(|address| IpNet::from(*address)))
        .collect()
}

impl Engine {
    /// Other parameters or networks from now on; what was learned stays.
    pub(super) fn follow_detection(&mut self) {
        self.follow_webhook();
        let config = self.standing.rules.config.clone();
        let silences =
            self.fallible("read the silences", |engine| stored_silences(&engine.store)).unwrap_or_default();
        let parameters = parameters(&config, &silences);
        let inside = inside(&config, &self.standing.rules.own);
        let watch = &mut self.watch;
        if watch.parameters != parameters || watch.inside != inside {
            let learned = watch.detection.learned();
            let open: Vec<_> = watch.detection.open_findings().map(|(id, _)| id).collect();
            for id in open {
                watch.detection.close(id);
            }
            let changes = watch.detection.drain_findings();
            self.keep_alerts(&changes);
            let watch = &mut self.watch;
            watch.base += watch.detection.last_number() + 1;
            watch.detection = Detection::new(&parameters, inside.clone(), &learned);
            (watch.parameters, watch.inside) = (parameters, inside);
        }
    }

    /// Judges what the kernel reported.
    pub(super) fn judge(&mut self, records: &[Record]) {
        let now = Instant::now();
        for record in records {
            let at = nanoseconds(self.kernel.wall(record.at));
            let Watch { detection, workloads, .. } = &mut self.watch;
            detection.observe(record, at, workloads.name(record.cgroup, now));
        }
        self.heed();
    }

    /// The limiter says that a source exceeds its limit.
    pub(super) fn judge_excess(&mut self, source: IpAddr) {
        self.watch.detection.exceeded(source, nanoseconds(Timestamp::now()));
    }

    /// Once a tick: what services carried, what waits for an answer, what is to be kept.
    pub(super) fn judge_tick(&mut self, now: Timestamp) {
        let at = nanoseconds(now);
        let mut carried: HashMap<u32, (u64, u64, u64)> = HashMap::new();
        for (_, service, totals) in &self.measured.counters.totals {
            let row = carried.entry(*service).or_default();
            for ended in &totals.ended {
                row.0 += ended.packets;
                row.1 += ended.bytes;
            }
        }
        for row in &self.sources.rows {
            carried.entry(row.key.service).or_default().2 += 1;
        }
        for (service, (packets, bytes, sources)) in &carried {
            let Some(name) = self.image.service_name(*service) else { continue };
            if let Some(before) = self.watch.services.get(service) {
                let rate = ServiceRate {
                    packets: packets.saturating_sub(before.0),
                    bytes: bytes.saturating_sub(before.1),
                    new_sources: sources.saturating_sub(before.2),
                };
                self.watch.detection.service_rate(name, rate, at);
            }
        }
        self.watch.services = carried;
        let exceeding: Vec<_> = self
            .sources
            .rows
            .iter()
            .filter(|row| row.exceeding())
            .map(super::sources::Row::address)
            .take(1000)
            .collect();
        for source in exceeding {
            self.judge_excess(source);
        }
        self.watch.detection.tick(at);
        self.heed();
        if self.watch.kept_at.elapsed() >= KEEP {
            self.keep_detection();
        }
    }

    /// Addresses that an open finding is about, and whether an attack goes on that concerns everybody.
    pub(super) fn suspects(&self) -> (HashSet<IpAddr>, bool) {
        let (mut suspects, mut attack) = (HashSet::new(), false);
        for (_, finding) in self.watch.detection.open_findings() {
            if finding.severity == Severity::Info {
                continue;
            }
            suspects.extend(finding.subject.parse::<IpAddr>().ok());
            attack |= finding.severity == Severity::Critical || finding.detector.is_of_volume();
        }
        (suspects, attack)
    }

    pub(super) fn keep_detection(&mut self) {
        self.watch.kept_at = Instant::now();
        self.fallible("keep what detection learned", |engine| {
            let learned = serde_json::to_vec(&engine.watch.detection.learned())?;
            engine.store.learn(AREA, [(LEARNED, learned.as_slice())], Timestamp::now())
        });
    }

    /// Keeps and tells what detection found.
    fn heed(&mut self) {
        let changes = self.watch.detection.drain_findings();
        for summary in self.watch.detection.drain_summaries() {
            let told: Vec<_> =
                summary.held_back.iter().map(|(detector, count)| format!("{count} {detector}")).collect();
            tracing::warn!("more findings than one minute can tell, held back: {}", told.join(", "));
        }
        if changes.is_empty() {
            return;
        }
        self.keep_alerts(&changes);
        for change in &changes {
            if matches!(change.kind, ChangeKind::Opened | ChangeKind::Escalated) {
                self.respond(&change.finding);
            }
        }
    }

    fn keep_alerts(&mut self, changes: &[FindingChange]) {
        let now = Timestamp::now();
        let base = self.watch.base;
        let mut rows: Vec<StoredFinding> = Vec::with_capacity(changes.len());
        for change in changes {
            let alert = Alert {
                id: base + change.id,
                state: match change.kind {
                    ChangeKind::Opened | ChangeKind::Updated | ChangeKind::Escalated => AlertState::Open,
                    ChangeKind::Closed => AlertState::Closed,
                    ChangeKind::Retracted => AlertState::Retracted,
                },
                updated: now,
                quiet: !change.notify,
                finding: change.finding.clone(),
            };
            tell(&alert, change.kind);
            self.hand_on(&alert, change.kind);
            rows.extend(stored(&alert));
        }
        self.fallible("keep the findings", |engine| engine.store.keep_findings(&rows));
    }

    /// Into the alert log, and to the webhook what is grave enough and not quiet.
    fn hand_on(&mut self, alert: &Alert, kind: ChangeKind) {
        let lowest = self.standing.rules.config.alerts.webhook_severity;
        self.fallible("write the alert log", |engine| {
            let line = alert_log::line(alert, kind)?;
            engine.watch.log.write(&line)?;
            let posted = !alert.quiet && kind != ChangeKind::Updated && alert.finding.severity >= lowest;
            if let Some(webhook) = engine.watch.webhook.as_ref().filter(|_| posted) {
                webhook.send(line);
            }
            Ok(())
        });
    }

    /// The webhook that the configuration names, from now on.
    pub(super) fn follow_webhook(&mut self) {
        let wanted = self.standing.rules.config.alerts.webhook.clone();
        let present = self.watch.webhook.as_ref().map(|webhook| webhook.address().to_owned());
        if wanted != present {
            let made = self.fallible("webhook", |_| wanted.as_deref().map(Webhook::new).transpose());
            self.watch.webhook = made.flatten();
        }
    }

    /// Findings that the webhook's receiver did not take, if there are any.
    pub(super) fn unposted(&self) -> Option<String> {
        let lost = self.watch.webhook.as_ref().map_or(0, Webhook::lost);
        (lost > 0).then(|| {
            format!("{lost} findings could not be posted to the webhook; `sluice alerts list` has them")
        })
    }

    /// What the configuration says shall follow, never against the exempt or an operator.
    fn respond(&mut self, finding: &Finding) {
        let Some(response) = self.watch.parameters.respond.get(&finding.detector).copied() else { return };
        let Ok(address) = finding.subject.parse::<IpAddr>() else { return };
        let now = Timestamp::now();
        let source = self.names(&|_| now).prefix(address);
        if response.action != Action::Alert && self.exempting(source, now).is_some() {
            tracing::warn!(%source, detector = %finding.detector, "nothing is done about it: it is exempt");
            return;
        }
        let until = now.checked_add(Duration::from_secs(response.for_s)).ok();
        let comment = Some(format!("{}: {} {}", finding.detector, finding.measured, finding.unit));
        let made_by = "detection".to_owned();
        let (what, delta) = match response.action {
            Action::Alert => return,
            Action::Limit => {
                let subject = match finding.evidence.get("workload").and_then(serde_json::Value::as_str) {
                    Some(workload) => Subject::Workload(workload.to_owned()),
                    None => Subject::Source(source),
                };
                if self.standing.containments.contains_key(&subject) {
                    return;
                }
                let containment = Containment {
                    subject: subject.clone(),
                    packets: Some(response.packets_per_second),
                    bytes: None,
                    mode: LimitMode::Enforce,
                    since: now,
                    until,
                    comment,
                    made_by,
                };
                let what = format!("contain {subject} for {}", finding.detector);
                (what, containment::of(subject, Some(containment)))
            }
            Action::Ban => {
                let ban = delta::Ban { since: now, until, comment, made_by };
                let bans = vec![BanSetting { source, ban: Some(ban) }];
                (format!("ban {source} for {}", finding.detector), Delta { bans, ..Delta::default() })
            }
        };
        // The guard refuses what would cut an operator; that is its answer here too.
        if let Err(refusal) = self.make(&Asking::daemon("detection"), &what, delta) {
            tracing::warn!(%source, "no response to {}: {refusal}", finding.detector);
        }
    }

    /// The part of the snapshot.
    pub(super) fn findings(&self) -> Findings {
        let detection = &self.watch.detection;
        let raised = detection.counts().into_iter().map(|count| FindingCount {
            detector: count.detector.label().to_owned(),
            severity: count.severity.label().to_owned(),
            open: count.open,
            raised: count.raised,
        });
        let memories = detection.state_sizes().into_iter().map(|size| Memory {
            name: size.name.to_owned(),
            entries: size.entries as u64,
            capacity: size.capacity as u64,
            evicted: size.evicted,
            refused: size.refused,
        });
        let learning = detection.learning();
        Findings {
            open: detection.open_findings().count() as u64,
            raised: raised.collect(),
            records: detection.records(),
            edges_in_s: learning.edges_in_s,
            hours_in_s: learning.hours_in_s,
            memories: memories.collect(),
        }
    }

    /// Open findings as detection has them now, fresher than the store.
    pub(super) fn open_alerts(&self) -> impl Iterator<Item = (u64, &Finding)> {
        let base = self.watch.base;
        self.watch.detection.open_findings().map(move |(id, finding)| (base + id, finding))
    }

    /// Ends a finding by its public number.
    pub(super) fn end_alert(&mut self, number: u64) -> bool {
        let ended = number.checked_sub(self.watch.base).is_some_and(|id| self.watch.detection.close(id));
        if ended {
            self.heed();
        }
        ended
    }

    pub(super) fn quieten(&mut self, silence: Silence) {
        self.watch.parameters.silences.push(silence.clone());
        self.watch.detection.silence(silence);
    }
}

/// One line of the daemon's log.
fn tell(alert: &Alert, kind: ChangeKind) {
    let Alert { id, quiet, finding, .. } = alert;
    let Finding { detector, severity, subject, target, measured, threshold, unit, containment, .. } = finding;
    let target = target.as_deref().unwrap_or("-");
    let severity = severity.label();
    if *quiet {
        tracing::debug!(id, %detector, severity, subject, target, "finding (quiet): {kind:?}");
        return;
    }
    match kind {
        ChangeKind::Opened | ChangeKind::Escalated => tracing::warn!(
            id, %detector, severity, subject, target, measured, threshold, unit, containment, "finding {}",
            if kind == ChangeKind::Opened { "raised" } else { "escalated" }
        ),
        ChangeKind::Updated => tracing::debug!(id, %detector, subject, target, measured, "finding goes on"),
        ChangeKind::Closed | ChangeKind::Retracted => {
            tracing::info!(id, %detector, subject, target, "finding is {}", if kind == ChangeKind::Closed { "closed" } else { "retracted" });
        }
    }
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
