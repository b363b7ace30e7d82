//! Signals in, findings out: one open finding per detector, subject and target; updated, escalated, closed after a hold.
//!
//! It also drops what is expected (declared scanners, health checks, backups), what a better finding explains, and keeps
//! the number of notifications per minute bounded. It never forgets to count what it drops.

mod explain;
mod open;
mod room;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use self::open::{Key, Open, finding_of, is_victim};
use super::{
    bounded::StateSize,
    contact::Inside,
    finding::{About, Detector, Finding, Party, Severity, Signal},
    incident::Incidents,
    parameters::{Expected, Hygiene, Silence},
};

const SECOND: u64 = 1_000_000_000;

/// What happened to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Opened,
    Updated,
    /// Graver, or grown by ten since somebody was told.
    Escalated,
    Closed,
    /// Another finding explains it: it should not have been raised.
    Retracted,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FindingChange {
    /// Unique within this process.
    pub id: u64,
    pub kind: ChangeKind,
    pub about: About,
    /// False: it is silenced, or more were raised this minute than people can read; see [`Summary`].
    pub notify: bool,
    pub finding: Finding,
}

/// Notifications that were held back in one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub held_back: BTreeMap<Detector, u64>,
}

/// Findings of one detector and severity, for metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DetectorCount {
    pub detector: Detector,
    pub severity: Severity,
    pub open: u64,
    pub raised: u64,
}

/// Signals that became no finding, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    pub expected: u64,
    pub explained: u64,
    pub silenced: u64,
    pub held_back: u64,
    /// Those of outsiders that became part of a common finding.
    pub merged: u64,
    pub no_room: u64,
}

impl Dropped {
    /// Each reason with its count.
    pub const fn by_reason(&self) -> [(&'static str, u64); 6] {
        [
            ("expected", self.expected),
            ("explained", self.explained),
            ("silenced", self.silenced),
            ("held_back", self.held_back),
            ("merged", self.merged),
            ("no_room", self.no_room),
        ]
    }
}

#[derive(Debug)]
pub struct Ledger {
    hygiene: Hygiene,
    expected: Vec<Expected>,
    silences: Vec<Silence>,
    open: BTreeMap<Key, Open>,
    incidents: Incidents,
    /// How many open findings of warning or above an address has.
    flagged: HashMap<IpAddr, u32>,
    changes: Vec<FindingChange>,
    raised: BTreeMap<(Detector, Severity), u64>,
    dropped: Dropped,
    next: u64,
    minute: u64,
    told_this_minute: u32,
    /// Of these, about outsiders.
    told_outside: u32,
    /// Open findings about outsiders.
    outside: usize,
    summary: Summary,
    summaries: Vec<Summary>,
    checked: u64,
}

impl Ledger {
    pub fn new(hygiene: &Hygiene, expected: &[Expected], silences: &[Silence]) -> Self {
        Self {
            hygiene: hygiene.clone(),
            expected: expected.to_vec(),
            silences: silences.to_vec(),
            open: BTreeMap::new(),
            incidents: Incidents::new(hygiene.open_findings),
            flagged: HashMap::new(),
            changes: Vec::new(),
            raised: BTreeMap::new(),
            dropped: Dropped::default(),
            next: 1,
            minute: 0,
            told_this_minute: 0,
            told_outside: 0,
            outside: 0,
            summary: Summary::default(),
            summaries: Vec::new(),
            checked: 0,
        }
    }

    pub fn incidents_size(&self) -> StateSize {
        self.incidents.size()
    }

    pub fn is_flagged(&self, address: IpAddr) -> bool {
        self.flagged.contains_key(&address)
    }

    pub fn silence(&mut self, silences: &[Silence]) {
        self.silences = silences.to_vec();
        for (key, open) in &mut self.open {
            let covers = |silence: &Silence| silence.covers(key.detector, key.subject.address());
            open.silenced = self.silences.iter().any(covers);
        }
    }

    /// What changed since the last call. What was opened and retracted in between was told to nobody, and is not now:
    /// neither as a change nor in the counts of what was raised.
    pub fn drain(&mut self) -> Vec<FindingChange> {
        let mut changes = std::mem::take(&mut self.changes);
        let of = |kind| changes.iter().filter(move |change| change.kind == kind).map(|change| change.id);
        let retracted: HashSet<u64> = of(ChangeKind::Retracted).collect();
        let unheard: HashSet<u64> = of(ChangeKind::Opened).filter(|id| retracted.contains(id)).collect();
        if !unheard.is_empty() {
            // Grown to a warning, it was counted once more.
            let mut counted: HashMap<u64, Severity> = HashMap::new();
            for FindingChange { id, finding, .. } in changes.iter().filter(|one| unheard.contains(&one.id)) {
                let before = counted.insert(*id, finding.severity);
                let grew = |before| before < Severity::Warning && finding.severity >= Severity::Warning;
                if before.is_none_or(grew) {
                    let raised = self.raised.entry((finding.detector, finding.severity)).or_default();
                    *raised = raised.saturating_sub(1);
                }
            }
            changes.retain(|change| !unheard.contains(&change.id));
        }
        changes
    }

    /// The highest number given to a finding so far.
    pub const fn last_number(&self) -> u64 {
        self.next - 1
    }

    pub fn drain_summaries(&mut self) -> Vec<Summary> {
        std::mem::take(&mut self.summaries)
    }

    pub fn open(&self) -> impl Iterator<Item = (u64, &Finding)> {
        self.open.values().map(|open| (open.id, &open.finding))
    }

    /// Whom each open finding is about.
    pub fn open_about(&self) -> impl Iterator<Item = (u64, About, &Finding)> {
        self.open.iter().map(|(key, open)| (open.id, key.about(open.workload.clone()), &open.finding))
    }

    /// Closes a finding by hand; false when there is none of that number.
    pub fn close(&mut self, id: u64) -> bool {
        let Some(key) = self.open.iter().find(|(_, open)| open.id == id).map(|(key, _)| key.clone()) else {
            return false;
        };
        self.end(&key, ChangeKind::Closed);
        true
    }

    pub fn counts(&self) -> Vec<DetectorCount> {
        self.raised
            .iter()
            .map(|(&(detector, severity), &raised)| {
                let matches =
                    |open: &&Open| (open.finding.detector, open.finding.severity) == (detector, severity);
                let open = self.open.values().filter(matches).count();
                DetectorCount { detector, severity, open: open as u64, raised }
            })
            .collect()
    }

    pub const fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// Takes a signal. `at` is the recorded time, `now` detection's clock.
    pub fn take(&mut self, mut signal: Signal, now: u64, at: u64, inside: &Inside) {
        if self.expected.iter().any(|expected| expected.covers(&signal, at)) {
            self.dropped.expected += 1;
            return;
        }
        if self.is_explained(&signal, now, inside) {
            self.dropped.explained += 1;
            return;
        }
        if let Some(technique) = signal.detector.technique() {
            signal.evidence.insert("technique".into(), json!(technique));
        }
        if let Some(story) = self.incidents.add(&signal, now, inside) {
            signal.severity = signal.severity.max(Severity::Warning);
            signal.evidence.insert("incident".into(), json!(story));
        }
        let key = self.key_of(&signal, inside);
        if key.subject == Party::Outsiders {
            signal.evidence.insert("one_of_them".into(), json!(signal.subject.to_string()));
            signal.subject = Party::Outsiders;
        }
        if let Some(open) = self.open.get_mut(&key) {
            let was = open.finding.severity;
            open.seen = now;
            let change = open.update(signal, now, at, &self.hygiene);
            let (severity, subject) = (open.finding.severity, key.subject.address());
            let (id, finding, silenced) = (open.id, open.finding.clone(), open.silenced);
            let outside = open.outside;
            let about = key.about(open.workload.clone());
            if was < Severity::Warning && severity >= Severity::Warning {
                self.flag(subject);
                self.retract(key.detector, &finding, &key);
                *self.raised.entry((key.detector, severity)).or_default() += 1;
            }
            if let Some(kind) = change {
                let notify =
                    kind == ChangeKind::Escalated && !silenced && self.may_tell(now, key.detector, outside);
                if let Some(open) = self.open.get_mut(&key) {
                    open.notified |= notify;
                }
                self.changes.push(FindingChange { id, kind, about, notify, finding });
            }
            return;
        }
        self.raise(key, signal, now, at, inside);
    }

    fn raise(&mut self, key: Key, signal: Signal, now: u64, at: u64, inside: &Inside) {
        if self.open.len() >= self.hygiene.open_findings {
            self.dropped.no_room += 1;
            return;
        }
        let silenced =
            self.silences.iter().any(|silence| silence.covers(key.detector, key.subject.address()));
        // A source that floods a victim may be forged.
        let outside = Self::is_of_outsider(&key.subject, inside) || is_victim(&signal);
        let workload = signal.workload.clone();
        let about = key.about(workload.clone());
        let finding = finding_of(signal, at, inside);
        if finding.severity >= Severity::Warning {
            self.flag(key.subject.address());
        }
        *self.raised.entry((key.detector, finding.severity)).or_default() += 1;
        if finding.severity >= Severity::Warning {
            self.retract(key.detector, &finding, &key);
        }
        let id = self.next;
        self.next += 1;
        let notify = if silenced {
            self.dropped.silenced += 1;
            false
        } else {
            self.may_tell(now, key.detector, outside)
        };
        let kind = ChangeKind::Opened;
        self.changes.push(FindingChange { id, kind, about, notify, finding: finding.clone() });
        let told = finding.measured;
        let (seen, updated) = (now, now);
        let open = Open { id, finding, workload, silenced, notified: notify, outside, seen, updated, told };
        self.outside += usize::from(outside);
        self.open.insert(key, open);
    }

    /// Closes what has not been seen for the hold; ends the minute's summary.
    pub fn tick(&mut self, now: u64) {
        if now < self.checked + SECOND {
            return;
        }
        self.checked = now;
        self.turn_minute(now);
        let hold = self.hygiene.hold_s * SECOND;
        let over: Vec<Key> =
            self.open.iter().filter(|(_, open)| now - open.seen > hold).map(|(key, _)| key.clone()).collect();
        for key in over {
            self.end(&key, ChangeKind::Closed);
        }
    }

    fn end(&mut self, key: &Key, kind: ChangeKind) {
        let Some(open) = self.open.remove(key) else { return };
        self.outside -= usize::from(open.outside);
        if open.finding.severity >= Severity::Warning
            && let Some(address) = key.subject.address()
        {
            let left = self.flagged.get(&address).copied().unwrap_or(0).saturating_sub(1);
            if left == 0 {
                self.flagged.remove(&address);
            } else {
                self.flagged.insert(address, left);
            }
        }
        let about = key.about(open.workload);
        let Open { id, notified: notify, finding, .. } = open;
        self.changes.push(FindingChange { id, kind, about, notify, finding });
    }

    fn flag(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address {
            *self.flagged.entry(address).or_default() += 1;
        }
    }

    fn turn_minute(&mut self, now: u64) {
        let minute = now / (60 * SECOND);
        if minute != self.minute {
            self.minute = minute;
            self.told_this_minute = 0;
            self.told_outside = 0;
            if !self.summary.held_back.is_empty() {
                self.summaries.push(std::mem::take(&mut self.summary));
            }
        }
    }
}
