//! Detection in the daemon: what the kernel reports in, findings out.
//!
//! In: flow records, sources over their limit, what services carried. Out: changes of findings with their public numbers.
//! It keeps and sends nothing itself; what was learned is written to the store every few minutes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::conversation::Record;
use monitor_common::verdict::Reason;

use super::continued::Continued;
use super::feed;
use super::meter::Meter;
use super::ports::Turn;
use super::recent::Recent;
use super::sessions::LOOPBACK;
use super::sources::SourceTable;
use crate::snapshot::{FindingCount, Findings, Memory, Tally};
use crate::store::Storage;
use api::alerts::Alert;
use datapath::Counters;
use detection::finding::{About, Detector, Finding, Service, Severity};
use detection::ledger::FindingChange;
use detection::parameters::{Response, Silence};
use detection::{Detection, Learned, Parameters};
use policy::config::Config;
use policy::{Image, Rules};

/// Where detection's memory lies in the store.
const AREA: &str = "detection";
const LEARNED: &str = "learned";
/// How often what was learned is kept.
const KEEP: Duration = Duration::from_mins(5);
/// Sources over their limit that one second names.
const EXCEEDING: usize = 1000;

/// What became of a finding that somebody closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Detection reports its end.
    Open,
    /// It waited to be found again: only the store knows it.
    Waiting,
    /// There is no such open finding.
    Unknown,
}

/// Detection with what it needs to follow the configuration.
#[derive(Debug)]
pub struct Watch {
    detection: Detection,
    parameters: Parameters,
    inside: Vec<IpNet>,
    /// Added to detection's own numbers, so that a number is never used twice.
    base: u64,
    kept_at: Duration,
    meter: Meter,
    recent: Recent,
    continued: Continued,
    /// Packets and bytes of each service at the last second.
    carried: HashMap<u32, (u64, u64)>,
    /// The last source of each interface that cannot come in there, and how many packets of such it had.
    misplaced: HashMap<u32, IpAddr>,
    misplaced_packets: HashMap<u32, u64>,
    /// The first reading of the source table says nothing of who is new.
    has_read: bool,
}

impl Watch {
    /// Takes up where the store says that the last process ended. `base` is the first number of this one's findings,
    /// `open` are those of the last one.
    pub fn begin(
        store: &dyn Storage,
        rules: &Rules,
        silences: &[Silence],
        (base, open): (u64, &[Alert]),
        since_boot: Duration,
        troubles: &mut Vec<String>,
    ) -> Self {
        let learned = store.learned_one(AREA, LEARNED);
        let learned = learned.map_err(|error| troubles.push(format!("{error:#}"))).ok().flatten();
        let learned = learned.and_then(|bytes| match serde_json::from_slice::<Learned>(&bytes) {
            Ok(learned) => Some(learned),
            Err(error) => {
                tracing::warn!("what detection learned cannot be read, so it begins anew: {error}");
                None
            }
        });
        let parameters = parameters(&rules.config, silences);
        let inside = inside(&rules.config, &rules.own);
        let hold = Duration::from_secs(parameters.findings.hold_s);
        Self {
            detection: Detection::new(&parameters, inside.clone(), &learned.unwrap_or_default()),
            parameters,
            inside,
            base,
            kept_at: since_boot,
            meter: Meter::default(),
            recent: Recent::default(),
            continued: Continued::restored(open, since_boot + hold),
            carried: HashMap::new(),
            misplaced: HashMap::new(),
            misplaced_packets: HashMap::new(),
            has_read: false,
        }
    }

    /// Other parameters or networks from now on; what was learned stays, and open findings go on if they are found again.
    pub fn follow(&mut self, rules: &Rules, silences: &[Silence], since_boot: Duration) {
        let parameters = parameters(&rules.config, silences);
        let inside = inside(&rules.config, &rules.own);
        if self.parameters == parameters && self.inside == inside {
            return;
        }
        let learned = self.detection.learned();
        let hold = Duration::from_secs(parameters.findings.hold_s);
        let (base, continued) = (self.base, &mut self.continued);
        let open: Vec<_> = self
            .detection
            .open_findings()
            .map(|(id, finding)| (continued.number(base, id), finding))
            .collect();
        continued.hand_over(open.into_iter(), since_boot + hold);
        self.base += self.detection.last_number() + 1;
        self.detection = Detection::new(&parameters, inside.clone(), &learned);
        (self.parameters, self.inside) = (parameters, inside);
    }

    /// Takes flow records.
    pub fn records(&mut self, records: &[Record], turn: &mut Turn<'_>) {
        let (kernel, host) = (&*turn.kernel, &mut *turn.host);
        let (recent, inside) = (&mut self.recent, self.inside.as_slice());
        let named = records.iter().map(|record| {
            let workload = host.workload(record.cgroup);
            let seen = (kernel.wall(record.first_seen), kernel.wall(record.last_seen));
            recent.take(record, seen, workload.as_deref(), inside);
            (record, nanoseconds(kernel.wall(record.at)), workload)
        });
        feed::records(&mut self.detection, named);
    }

    /// The limiter says that a source exceeds its limit.
    pub fn exceeding(&mut self, source: IpAddr, now: Timestamp) {
        feed::exceeding(&mut self.detection, [source], nanoseconds(now));
    }

    /// The kernel met a source that cannot come in through this interface.
    pub fn spoofed(&mut self, interface: u32, source: IpAddr) {
        self.misplaced.insert(interface, source);
    }

    /// A new reading of the source table, if there was one at this second.
    pub fn sources(&mut self, table: &SourceTable, since_boot: Duration) {
        let at = u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX);
        for row in &table.rows {
            self.meter.saw(row.key, at);
        }
        // A source without an entry is not established any more.
        self.meter.forget_before(at);
        if !std::mem::replace(&mut self.has_read, true) {
            self.meter.end_second();
        }
    }

    /// A second passed: what services carried, and who is over the limit.
    pub fn second(&mut self, counters: &Counters, table: &SourceTable, image: &Image, now: Timestamp) {
        let at = nanoseconds(now);
        let mut carried: HashMap<u32, (u64, u64)> = HashMap::new();
        for row in &counters.totals {
            let sum = carried.entry(row.service).or_default();
            for ended in &row.totals.ended {
                sum.0 += ended.packets;
                sum.1 += ended.bytes;
            }
        }
        for (service, (packets, bytes)) in &carried {
            if let Some(before) = self.carried.get(service) {
                let (packets, bytes) = (packets.saturating_sub(before.0), bytes.saturating_sub(before.1));
                self.meter.carried(*service, packets, bytes);
            }
        }
        self.carried = carried;
        self.count_misplaced(counters, at);
        feed::second(&mut self.detection, self.meter.end_second(), image, at);
        let exceeding = table.rows.iter().filter(|row| row.exceeding()).map(super::sources::Row::address);
        feed::exceeding(&mut self.detection, exceeding.take(EXCEEDING), at);
        self.detection.tick(at);
    }

    /// Packets from sources that cannot come from where they came, by interface.
    fn count_misplaced(&mut self, counters: &Counters, at: u64) {
        let mut now: HashMap<u32, u64> = HashMap::new();
        for row in &counters.totals {
            let of = |counts: &[monitor_common::record::Count]| counts[Reason::Spoofed as usize].packets;
            *now.entry(row.slot).or_default() += of(&row.totals.ended) + of(&row.totals.would_drop);
        }
        for (slot, packets) in now {
            let before = self.misplaced_packets.insert(slot, packets).unwrap_or(0);
            // A slot that another interface took begins again at nothing.
            let new = packets.checked_sub(before).unwrap_or(packets);
            if let Some(source) = self.misplaced.get(&slot).filter(|_| new > 0) {
                self.detection.misplaced(slot, *source, new, at);
            }
        }
    }

    /// What changed since the last call, with public numbers.
    pub fn changes(&mut self) -> Vec<(u64, FindingChange)> {
        let (base, continued) = (self.base, &mut self.continued);
        feed::changes(&mut self.detection).into_iter().map(|change| continued.adopt(base, change)).collect()
    }

    /// Numbers of earlier findings that nothing has confirmed in time.
    pub fn ended(&mut self, since_boot: Duration) -> Vec<u64> {
        self.continued.ended(since_boot)
    }

    /// Open findings as detection has them now, fresher than the store.
    pub fn open(&self) -> impl Iterator<Item = (u64, About, &Finding)> {
        let (base, continued) = (self.base, &self.continued);
        self.detection
            .open_about()
            .map(move |(id, about, finding)| (continued.number(base, id), about, finding))
    }

    /// Addresses that an open finding is about, and whether an attack goes on that concerns everybody.
    pub fn suspects(&self) -> (HashSet<IpAddr>, bool) {
        let (mut suspects, mut attack) = (HashSet::new(), false);
        for (_, about, finding) in self.open() {
            if finding.severity == Severity::Info {
                continue;
            }
            suspects.extend(about.subject.address());
            attack |= finding.severity == Severity::Critical || finding.detector.is_of_volume();
        }
        (suspects, attack)
    }

    /// Sources and services of edges that were never seen before.
    pub fn new_edges(&self) -> Vec<(IpAddr, Option<Service>)> {
        self.open()
            .filter(|(_, _, finding)| finding.detector == Detector::NewEdge)
            .filter_map(|(_, about, finding)| Some((about.subject.address()?, finding.service.clone())))
            .collect()
    }

    /// What the configuration says shall follow a finding of this detector.
    pub fn response(&self, detector: Detector) -> Option<Response> {
        self.parameters.respond.get(&detector).copied()
    }

    /// Conversations that ended within the last hour.
    pub const fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Ends a finding by its public number.
    pub fn close(&mut self, number: u64) -> Closed {
        if self.continued.remove(number) {
            return Closed::Waiting;
        }
        let own = self.continued.own_number(self.base, number);
        if own.is_some_and(|id| self.detection.close(id)) { Closed::Open } else { Closed::Unknown }
    }

    /// These are silenced from now on, besides those of the configuration.
    pub fn silence(&mut self, config: &Config, silences: &[Silence]) {
        self.parameters = parameters(config, silences);
        self.detection.silence(&self.parameters.silences);
    }

    /// Keeps what was learned, when it is time.
    pub fn keep_when_due(&mut self, turn: &mut Turn<'_>) {
        if turn.now.since_boot.saturating_sub(self.kept_at) < KEEP {
            return;
        }
        self.kept_at = turn.now.since_boot;
        self.recent.forget(turn.now.wall);
        let kept = serde_json::to_vec(&self.detection.learned())
            .map_err(Into::into)
            .and_then(|learned| turn.store.learn(AREA, &[(LEARNED, learned.as_slice())], turn.now.wall));
        turn.problems.report("keep what detection learned", kept);
    }

    /// The part of the snapshot.
    pub fn snapshot(&self) -> Findings {
        let detection = &self.detection;
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
            open: (detection.open_findings().count() + self.continued.waiting()) as u64,
            raised: raised.collect(),
            shed: detection
                .dropped()
                .by_reason()
                .map(|(label, count)| Tally { label: label.to_owned(), count })
                .into(),
            records: detection.records(),
            edges_in_s: learning.edges_in_s,
            hours_in_s: learning.hours_in_s,
            memories: memories.collect(),
        }
    }
}

fn parameters(config: &Config, silences: &[Silence]) -> Parameters {
    let mut parameters = config.detectors();
    parameters.silences.extend(silences.iter().cloned());
    parameters
}

fn inside(config: &Config, own: &[IpAddr]) -> Vec<IpNet> {
    let own = own.iter().chain(&LOOPBACK).map(|address| IpNet::from(*address));
    config.access.inside.iter().copied().chain(own).collect()
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
