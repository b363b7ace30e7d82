//! Once a second: read the kernel, and publish what it knew.
//!
//! In: counters and the exact table. Out: one snapshot. A read that fails leaves the figures before it and a problem in
//! the snapshot; it never ends the daemon.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::conversation::Record;
use monitor_common::flow::from_halves;
use monitor_common::names;
use monitor_common::parse::Malformed;
use monitor_common::record::{self, Event, EventKind, Incident};
use monitor_common::verdict::Reason;

use super::kernel::Counters;
use super::sources::{Names, float};
use super::{Engine, workloads};
use crate::snapshot::{
    Build, Count, Findings, Flood, Interface, MapUse, Pending, Process, Rules, Service, Snapshot, Sources,
    Tally, Total, Tuning, address_of,
};

/// The exact table is read for at most a twentieth of the time, however large it is.
const SHARE: u32 = 20;
/// Events that the log shows in one second; the rest is only counted, and their number told.
const LOGGED_PER_SECOND: u64 = 10;

/// What was measured last, and what the next measurement is compared with.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) counters: Counters,
    before: HashMap<(u32, u32, usize), (u64, u64)>,
    counted_at: Option<Instant>,
    sources_took: Duration,
    sources_at: Option<Instant>,
    summary: Sources,
    rules: Rules,
    maps: Vec<MapUse>,
    bans: Vec<crate::snapshot::Ban>,
    ban_entries: u64,
    /// Names of those who send from this host, by prefix of a source.
    workloads: HashMap<IpNet, String>,
    events: [u64; EVENTS.len()],
    /// Events since the last tick.
    recent: u64,
}

const EVENTS: [(EventKind, &str); 5] = [
    (EventKind::ExceedStarted, "exceed_started"),
    (EventKind::ExceedEnded, "exceed_ended"),
    (EventKind::Banned, "banned"),
    (EventKind::FloodStarted, "flood_started"),
    (EventKind::FloodEnded, "flood_ended"),
];

impl Engine {
    pub(super) fn observe(&mut self, now: Timestamp, instant: Instant) {
        let unsaid = std::mem::take(&mut self.measured.recent).saturating_sub(LOGGED_PER_SECOND);
        if unsaid > 0 {
            tracing::info!("{unsaid} more events in the last second, counted and not shown");
        }
        let began = Instant::now();
        let flooded = self.flooded();
        self.fallible("read the counters", |engine| {
            engine.measured.counters = engine.kernel.counters()?;
            engine.measured.rules = engine.kernel.rules()?;
            engine.measured.maps = engine.kernel.maps()?;
            engine.measured.ban_entries = engine.kernel.bans()?.len() as u64;
            engine.measured.bans = engine.bans()?;
            Ok(())
        });
        let over: Vec<_> = flooded.into_iter().filter(|name| !self.flooded().contains(name)).collect();
        for interface in over {
            tracing::warn!(interface, "the flood is over");
            self.count_event(EventKind::FloodEnded);
        }
        self.name_workloads(instant);
        let due =
            self.measured.sources_at.is_none_or(|at| instant - at >= self.measured.sources_took * SHARE);
        if due {
            self.measured.sources_at = Some(instant);
            if self.fallible("read the sources", |engine| engine.read_sources(instant)).is_some() {
                self.learn(now);
            }
        }
        self.judge_tick(now);
        let totals = self.totals(instant);
        let snapshot = self.snapshot(now, totals, began.elapsed());
        self.publish.send_replace(Arc::new(snapshot));
    }

    /// Names who sends from this host, by the prefixes that count as sources.
    fn name_workloads(&mut self, instant: Instant) {
        let mut senders: HashMap<IpNet, BTreeSet<String>> = HashMap::new();
        for ([high, low], cgroup) in self.kernel.local_ends().to_vec() {
            let source = self.names(&|_| Timestamp::UNIX_EPOCH).prefix(address_of(from_halves(high, low)));
            if let Some(name) = self.watch.workloads.name(cgroup, instant) {
                senders.entry(source).or_default().insert(name.to_owned());
            }
        }
        self.measured.workloads =
            senders.into_iter().map(|(source, names)| (source, workloads::together(&names))).collect();
    }

    fn read_sources(&mut self, instant: Instant) -> Result<()> {
        let began = Instant::now();
        let mut entries = Vec::with_capacity(self.sources.rows.len() + 64);
        self.kernel.sources(&mut entries)?;
        self.sources.update(&entries, instant);
        let wall = |clock| self.kernel.wall(clock);
        self.measured.summary = self.sources.summary(&self.names(&wall));
        self.measured.sources_took = began.elapsed();
        Ok(())
    }

    /// Totals by name, with their rates.
    fn totals(&mut self, instant: Instant) -> Vec<Total> {
        let passed = self.measured.counted_at.map_or(0.0, |then| (instant - then).as_secs_f64());
        let first = self.measured.counted_at.replace(instant).is_none();
        let before = std::mem::take(&mut self.measured.before);
        let mut after = HashMap::with_capacity(before.len());
        let mut rows = Vec::new();
        let wall = |clock| self.kernel.wall(clock);
        let names = self.names(&wall);
        for (slot, service, totals) in &self.measured.counters.totals {
            for (reason, (ended, would_drop)) in
                Reason::ALL.iter().zip(totals.ended.iter().zip(&totals.would_drop))
            {
                if ended.packets == 0 && would_drop.packets == 0 {
                    continue;
                }
                let key = (*slot, *service, *reason as usize);
                let seen = (ended.packets, would_drop.packets);
                let old = before.get(&key).copied().unwrap_or(if first { seen } else { (0, 0) });
                after.insert(key, seen);
                let rate = |new: u64, old: u64| {
                    if passed > 0.0 { float(new.saturating_sub(old)) / passed } else { 0.0 }
                };
                rows.push(Total {
                    interface: if *slot == 0 { "unlisted".to_owned() } else { names.interface(*slot) },
                    service: names.service(*service),
                    reason: *reason,
                    ended: count(ended),
                    would_drop: count(would_drop),
                    ended_per_second: rate(seen.0, old.0),
                    would_drop_per_second: rate(seen.1, old.1),
                });
            }
        }
        self.measured.before = after;
        rows
    }

    fn snapshot(&self, at: Timestamp, totals: Vec<Total>, took: Duration) -> Snapshot {
        let measured = &self.measured;
        let services = (0..).zip(&self.image.services);
        let mut problems: Vec<_> = self.problems.values().cloned().collect();
        problems.extend(self.unposted());
        problems.extend(self.guarded.iter().filter_map(|row| {
            row.problem.as_ref().map(|problem| format!("{} is not guarded: {problem}", row.name))
        }));
        Snapshot {
            at,
            started: self.started,
            build: build(),
            interfaces: self.interfaces(),
            services: services
                .filter_map(|(number, name)| Some(Service { number, name: name.clone()? }))
                .collect(),
            totals,
            maps: self.map_uses(),
            incidents: tallies(&measured.counters.incidents, Incident::ALL.map(Incident::label)),
            malformed: tallies(&measured.counters.malformed, Malformed::ALL.map(Malformed::label)),
            events: tallies(&measured.events, EVENTS.map(|(_, label)| label)),
            rules: measured.rules,
            sources: measured.summary.clone(),
            bans: measured.bans.clone(),
            containments: self.written.len() as u64,
            limits: self.limits(),
            findings: self.findings(),
            reload: self.reload.clone(),
            pending: self.pending.as_ref().map(|waiting| Pending {
                change: waiting.pending.change,
                summary: waiting.what.clone(),
                until: waiting.pending.deadline,
                made_by: waiting.made_by.clone(),
            }),
            tuning: self.tuning(),
            process: process(),
            read_seconds: took.as_secs_f64(),
            problems,
        }
    }

    pub(super) fn interfaces(&self) -> Vec<Interface> {
        let row = |guarded: &super::Guarded| {
            let flood =
                usize::try_from(guarded.slot).ok().and_then(|slot| self.measured.counters.floods.get(slot));
            let clock = self.kernel.environment().clock;
            let flood = flood.map_or(Flood::default(), |flood| {
                let active = flood.since != 0 && flood.until.wrapping_sub(clock).cast_signed() > 0;
                let since = active.then(|| self.kernel.wall(flood.since));
                Flood { active, since, floods: flood.floods }
            });
            Interface {
                name: guarded.name.clone(),
                slot: guarded.slot,
                ifindex: guarded.ifindex,
                mode: guarded.mode,
                egress: guarded.egress,
                flood,
                problem: guarded.problem.clone(),
            }
        };
        self.guarded.iter().map(row).collect()
    }

    /// Numbers to names, as they are now.
    pub(super) fn names<'a>(&'a self, wall: &'a dyn Fn(u64) -> Timestamp) -> Names<'a> {
        Names {
            image: &self.image,
            interfaces: &self.guarded,
            wall,
            workloads: &self.measured.workloads,
            widths: self.standing.rules.config.source,
        }
    }

    fn map_uses(&self) -> Vec<MapUse> {
        let mut maps = self.measured.maps.clone();
        for map in &mut maps {
            match map.name.as_str() {
                names::map::SOURCES => map.entries = Some(self.sources.rows.len() as u64),
                names::map::BANS => map.entries = Some(self.measured.ban_entries),
                names::map::DENIALS => map.entries = Some(self.image.denials.len() as u64),
                _ => {}
            }
        }
        maps
    }

    /// Empties the rings.
    pub(super) fn drain(&mut self) {
        let (mut events, mut records) = (Vec::new(), Vec::<Record>::new());
        self.fallible("read the rings", |engine| engine.kernel.drain(&mut events, &mut records));
        self.judge(&records);
        for event in &events {
            self.measured.recent += 1;
            self.take_event(event, self.measured.recent <= LOGGED_PER_SECOND);
        }
    }

    /// Interfaces that are in flood mode, by the last read.
    fn flooded(&self) -> Vec<String> {
        self.interfaces().into_iter().filter(|row| row.flood.active).map(|row| row.name).collect()
    }

    fn count_event(&mut self, kind: EventKind) {
        let position = EVENTS.iter().position(|(known, _)| *known == kind);
        if let Some(count) = position.and_then(|position| self.measured.events.get_mut(position)) {
            *count += 1;
        }
    }

    fn take_event(&mut self, event: &Event, log: bool) {
        let Some(kind) = EventKind::from_number(event.kind) else { return };
        if kind == EventKind::FloodEnded {
            // The kernel tells it only when the next new source comes; the tick has told it before.
            return;
        }
        self.count_event(kind);
        let address = address_of(from_halves(event.high, event.low));
        if kind == EventKind::ExceedStarted {
            self.judge_excess(address);
        }
        if !log {
            return;
        }
        let wall = |clock| self.kernel.wall(clock);
        let names = self.names(&wall);
        let source = names.prefix(address);
        let (interface, service) = (names.interface(event.interface), names.service(event.service));
        let reason = Reason::from_number(event.reason).map_or("unknown", Reason::label);
        match kind {
            EventKind::ExceedStarted => {
                tracing::info!(%source, service, interface, reason, "source exceeds its limit");
            }
            EventKind::ExceedEnded => {
                tracing::info!(%source, service, interface, over = event.value, "source is within its limit again");
            }
            EventKind::Banned => {
                let until = wall(event.value);
                tracing::warn!(%source, service, interface, "source is banned until {until:.0}");
            }
            EventKind::FloodStarted => {
                tracing::warn!(
                    interface,
                    "flood: new sources come too fast, strangers are judged by the sketch"
                );
            }
            EventKind::FloodEnded => {}
        }
    }
}

fn count(count: &record::Count) -> Count {
    Count { packets: count.packets, bytes: count.bytes }
}

fn tallies<const N: usize>(counts: &[u64], labels: [&str; N]) -> Vec<Tally> {
    let row = |(position, label): (usize, &str)| Tally {
        label: label.to_owned(),
        count: counts.get(position).copied().unwrap_or(0),
    };
    labels.into_iter().enumerate().map(row).collect()
}

pub(super) fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: names::LAYOUT,
        compiler: option_env!("SLUICE_BPF_COMPILER").unwrap_or("unknown").to_owned(),
    }
}

/// What the process costs, as the kernel accounts it.
fn process() -> Process {
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // The fields behind the command's closing bracket: state is the third of all, user and system time 14th and 15th.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Process {
        resident_bytes: pages * rustix::param::page_size() as u64,
        cpu_seconds: float(ticks) / float(rustix::param::clock_ticks_per_second()),
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
    }
}

/// Before the first read.
pub(super) fn nothing_yet(started: Timestamp, reload: crate::snapshot::Reload) -> Snapshot {
    Snapshot {
        at: started,
        started,
        build: build(),
        interfaces: Vec::new(),
        services: Vec::new(),
        totals: Vec::new(),
        maps: Vec::new(),
        incidents: Vec::new(),
        malformed: Vec::new(),
        events: Vec::new(),
        rules: Rules::default(),
        sources: Sources::default(),
        bans: Vec::new(),
        containments: 0,
        limits: Vec::new(),
        findings: Findings::default(),
        reload,
        pending: None,
        tuning: Tuning::default(),
        process: Process::default(),
        read_seconds: 0.0,
        problems: Vec::new(),
    }
}
