//! What the kernel has counted, as it was last read, with names and rates.
//!
//! In: readings and events. Out: the parts of the snapshot that come from them. A reading that failed leaves the figures
//! before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::flow::from_halves;
use monitor_common::names;
use monitor_common::parse::Malformed;
use monitor_common::record::{self, Event, EventKind, Incident};
use monitor_common::request::{HANDSHAKES, REQUESTS};
use monitor_common::verdict::Reason;

use super::command::SourceOrder;
use super::effect::Counted;
use super::interfaces::Interfaces;
use super::names::Names;
use super::sources::{Row, SourceTable, float};
use crate::snapshot::{
    self, AttachMode, Ban, BanCounts, Build, Count, Flood, Interface, ListState, MapUse, Process, Rules,
    Service, SinkState, Sources, Tally, Total, address_of,
};
use crate::store::audit::AuditState;
use datapath::{Banned, Guarded, Kernel};
use policy::Image;
use policy::config::Mode;

/// Events that the log shows in one second; the rest is only counted, and their number logged.
const LOGGED_PER_SECOND: u64 = 10;
/// Workload names that stand together where several share an address.
const TOGETHER: usize = 3;

/// Packets that ended and that would have been dropped, by slot, service and reason.
type Packets = HashMap<(u32, u32, usize), (u64, u64)>;

/// What was measured last, and what the next measurement is compared with.
#[derive(Debug, Default)]
pub struct View {
    counted: Counted,
    /// The newest bans in force, with names.
    bans: Vec<Ban>,
    /// Counters of the reading before, by slot, service and reason; `None` before the second reading.
    before: Option<Packets>,
    counted_at: Option<Duration>,
    /// Seconds between the last two readings.
    passed: f64,
    sources: SourceTable,
    summary: Sources,
    /// Names of those who send from this host, by prefix of a source.
    workloads: HashMap<IpNet, String>,
    events: [u64; EVENTS.len()],
    /// Events since the last tick.
    recent: u64,
    pub process: Process,
    pub read_seconds: f64,
    pub sinks: Vec<SinkState>,
    pub lists: Vec<ListState>,
    /// What is wrong beside the core.
    pub beside: Vec<String>,
}

const EVENTS: [(EventKind, &str); 5] = [
    (EventKind::ExceedStarted, "exceed_started"),
    (EventKind::ExceedEnded, "exceed_ended"),
    (EventKind::Banned, "banned"),
    (EventKind::FloodStarted, "flood_started"),
    (EventKind::FloodEnded, "flood_ended"),
];

impl View {
    pub const fn counted(&self) -> &Counted {
        &self.counted
    }

    pub const fn sources(&self) -> &SourceTable {
        &self.sources
    }

    pub const fn workloads(&self) -> &HashMap<IpNet, String> {
        &self.workloads
    }

    pub fn bans(&self) -> &[Ban] {
        &self.bans
    }

    pub const fn banned(&self) -> BanCounts {
        let Banned { by_kernel, by_operator, .. } = self.counted.banned;
        BanCounts { by_kernel, by_operator }
    }

    pub const fn summary(&self) -> &Sources {
        &self.summary
    }

    pub const fn rules(&self) -> Rules {
        Rules { generation: self.counted.generation.generation, flips: self.counted.generation.flips }
    }

    /// Takes new counters over.
    pub fn count(&mut self, counted: Counted, since_boot: Duration) {
        if let Some(then) = self.counted_at.replace(since_boot) {
            self.passed = since_boot.saturating_sub(then).as_secs_f64();
            let mut before = HashMap::new();
            for datapath::Total { slot, service, totals } in &self.counted.counters.totals {
                for (reason, counts) in totals.ended.iter().zip(&totals.would_drop).enumerate() {
                    before.insert((*slot, *service, reason), (counts.0.packets, counts.1.packets));
                }
            }
            self.before = Some(before);
        }
        self.counted = counted;
    }

    pub fn take_bans(&mut self, bans: Vec<Ban>) {
        self.bans = bans;
    }

    /// Takes a new reading of the source table over.
    pub fn take_sources(&mut self, entries: &[Entry], since_boot: Duration) {
        self.sources.update(entries, since_boot);
    }

    /// The lists of the snapshot.
    pub fn take_summary(&mut self, summary: Sources) {
        self.summary = summary;
    }

    /// Names of workloads by the prefixes that they send from.
    pub fn name_workloads(&mut self, senders: HashMap<IpNet, BTreeSet<String>>) {
        self.workloads = senders.into_iter().map(|(source, names)| (source, together(&names))).collect();
    }

    /// A second ended: how many events were counted and not logged.
    pub fn end_second(&mut self) {
        let unsaid = std::mem::take(&mut self.recent).saturating_sub(LOGGED_PER_SECOND);
        if unsaid > 0 {
            tracing::info!("{unsaid} more events in the last second, counted and not shown");
        }
    }

    /// Totals by name, with their rates between the last two readings.
    pub fn totals(&self, names: &Names<'_>) -> Vec<Total> {
        let passed = self.passed;
        let mut rows = Vec::new();
        for datapath::Total { slot, service, totals } in &self.counted.counters.totals {
            for (reason, (ended, would_drop)) in
                Reason::ALL.iter().zip(totals.ended.iter().zip(&totals.would_drop))
            {
                if ended.packets == 0 && would_drop.packets == 0 {
                    continue;
                }
                let key = (*slot, *service, *reason as usize);
                let seen = (ended.packets, would_drop.packets);
                let before = self.before.as_ref();
                let old = before.map_or(seen, |before| before.get(&key).copied().unwrap_or_default());
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
        rows
    }

    /// Each interface with its flood mode.
    pub fn interfaces(&self, interfaces: &Interfaces, kernel: &dyn Kernel) -> Vec<Interface> {
        let clock = kernel.environment().clock;
        let row = |guarded: &Guarded| {
            let flood =
                usize::try_from(guarded.slot).ok().and_then(|slot| self.counted.counters.floods.get(slot));
            let flood = flood.map_or(Flood::default(), |flood| {
                let active = flood.since != 0 && flood.until.wrapping_sub(clock).cast_signed() > 0;
                let since = active.then(|| kernel.wall(flood.since));
                Flood { active, since, floods: flood.floods }
            });
            Interface {
                name: guarded.name.clone(),
                slot: guarded.slot,
                ifindex: guarded.ifindex,
                mode: match guarded.mode {
                    datapath::AttachMode::Native => AttachMode::Native,
                    datapath::AttachMode::Generic => AttachMode::Generic,
                    datapath::AttachMode::Absent => AttachMode::Absent,
                },
                egress: guarded.egress,
                flood,
                problem: guarded.problem.clone(),
                stands_for: interfaces.stands_for(&guarded.name).to_vec(),
            }
        };
        interfaces.guarded().iter().map(row).collect()
    }

    /// Interfaces that are in flood mode, by the last reading.
    pub fn flooded(&self, interfaces: &Interfaces, kernel: &dyn Kernel) -> Vec<String> {
        let rows = self.interfaces(interfaces, kernel).into_iter();
        rows.filter(|row| row.flood.active).map(|row| row.name).collect()
    }

    pub fn maps(&self, image: &Image) -> Vec<MapUse> {
        let map = |map: &datapath::MapUse| MapUse {
            name: map.name.to_owned(),
            entries: match map.name {
                names::map::SOURCES => Some(self.sources.rows.len() as u64),
                names::map::BANS => Some(self.counted.banned.entries),
                names::map::DENIALS => Some(image.denials.len() as u64),
                _ => map.entries,
            },
            capacity: map.capacity,
        };
        self.counted.maps.iter().map(map).collect()
    }

    /// Requests and handshakes by service.
    pub fn requests(&self, names: &Names<'_>) -> Vec<snapshot::Requests> {
        let counted = self.counted.counters.requests.iter();
        let rows = counted.flat_map(|(service, totals)| {
            [(REQUESTS, "requests"), (HANDSHAKES, "handshakes")].map(|(what, dimension)| snapshot::Requests {
                service: names.service(*service).clone(),
                dimension: dimension.to_owned(),
                passed: totals.passed[what],
                dropped: totals.dropped[what],
                would_drop: totals.would_drop[what],
            })
        });
        rows.filter(|row| row.passed != 0 || row.dropped != 0).collect()
    }

    /// Connections by service, of those that have them followed.
    pub fn connections(&self, rules: &policy::Rules, image: &Image) -> Vec<snapshot::ServiceConnections> {
        let counted: BTreeMap<_, _> = self.counted.counters.open.iter().copied().collect();
        let followed =
            rules.services().into_iter().filter(|service| service.protection.follows_connections());
        let rows = followed.map(|service| {
            let number = image.numbering.service(&service.name);
            let open = number.and_then(|number| counted.get(&number)).copied().unwrap_or_default();
            snapshot::ServiceConnections {
                encryption: service.protection.encryption.unwrap_or(Mode::Off),
                service: service.name,
                open: open.open,
                encrypted: open.encrypted,
                in_clear: open.clear,
            }
        });
        rows.collect()
    }

    pub fn incidents(&self) -> Vec<Tally> {
        tallies(&self.counted.counters.incidents, Incident::ALL.map(Incident::label))
    }

    pub fn malformed(&self) -> Vec<Tally> {
        tallies(&self.counted.counters.malformed, Malformed::ALL.map(Malformed::label))
    }

    pub fn events(&self) -> Vec<Tally> {
        tallies(&self.events, EVENTS.map(|(_, label)| label))
    }

    pub fn count_event(&mut self, kind: EventKind) {
        let position = EVENTS.iter().position(|(known, _)| *known == kind);
        if let Some(count) = position.and_then(|position| self.events.get_mut(position)) {
            *count += 1;
        }
    }

    /// Counts an event of the limiter. True when the log is to show it.
    pub fn take_event(&mut self, kind: EventKind) -> bool {
        self.recent += 1;
        self.count_event(kind);
        self.recent <= LOGGED_PER_SECOND
    }
}

/// An entry of the source table.
pub type Entry = (monitor_common::flow::SourceKey, record::SourceEntry);

/// One line of the log for an event.
pub fn log_event(kind: EventKind, event: &Event, names: &Names<'_>) {
    let source = names.prefix(address_of(from_halves(event.high, event.low)));
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
            let until = names.kernel.wall(event.value);
            tracing::warn!(%source, service, interface, "source is banned until {until:.0}");
        }
        EventKind::FloodStarted => {
            tracing::warn!(interface, "flood: new sources come too fast, strangers are judged by the sketch");
        }
        EventKind::FloodEnded | EventKind::Spoofed => {}
    }
}

/// The lists of the snapshot.
pub fn summary(table: &SourceTable, names: &Names<'_>) -> Sources {
    let list = |order, moves: fn(&Row) -> bool| {
        let (rows, _) = table.top(order, snapshot::TOP, moves);
        rows.into_iter().map(|row| names.source(row)).collect()
    };
    Sources {
        tracked: table.rows.len() as u64,
        exceeding: table.rows.iter().filter(|row| row.exceeding()).count() as u64,
        by_rate: list(SourceOrder::Rate, |row| row.rates.packets > 0.0),
        by_drops: list(SourceOrder::Drops, |row| row.rates.dropped + row.rates.would_drop > 0.0),
        by_bytes: list(SourceOrder::Bytes, |row| row.rates.bytes > 0.0),
    }
}

/// Services by their stable numbers.
pub fn services(image: &Image) -> Vec<Service> {
    let services = (0..).zip(&image.services);
    services.filter_map(|(number, name)| Some(Service { number, name: name.clone()? })).collect()
}

/// Names of workloads that share an address.
fn together(names: &BTreeSet<String>) -> String {
    let mut told = names.iter().take(TOGETHER).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > TOGETHER {
        let _ = write!(told, " and {} more", names.len() - TOGETHER);
    }
    told
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

/// This build.
pub fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: names::LAYOUT,
        compiler: option_env!("SLUICE_BPF_COMPILER").unwrap_or("unknown").to_owned(),
    }
}

/// Before the first reading.
pub fn nothing_yet(started: Timestamp, reload: snapshot::Reload) -> snapshot::Snapshot {
    snapshot::Snapshot {
        at: started,
        started,
        build: build(),
        panic: None,
        sinks: Vec::new(),
        lists: Vec::new(),
        interfaces: Vec::new(),
        unguarded: Vec::new(),
        services: Vec::new(),
        totals: Vec::new(),
        requests: Vec::new(),
        connections: Vec::new(),
        spoken: Vec::new(),
        maps: Vec::new(),
        incidents: Vec::new(),
        malformed: Vec::new(),
        events: Vec::new(),
        rules: Rules::default(),
        sources: Sources::default(),
        bans: Vec::new(),
        banned: BanCounts::default(),
        containments: 0,
        limits: Vec::new(),
        findings: snapshot::Findings::default(),
        reload,
        pending: None,
        tuning: snapshot::Tuning::default(),
        process: Process::default(),
        confinement: snapshot::Confinement::default(),
        store: snapshot::StoreState::default(),
        audit: snapshot::Audit::default(),
        read_seconds: 0.0,
        problems: Vec::new(),
    }
}

/// What the audit says of itself.
pub fn audit((state, refused, unlisted): (AuditState, u64, u64), most_bytes: u64) -> snapshot::Audit {
    let AuditState { number, sha256, bytes, written, waiting, lost, .. } = state;
    snapshot::Audit { number, sha256, bytes, most_bytes, written, waiting, lost, refused, unlisted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_that_share_an_address_stand_together() {
        let names = |many: usize| (0..many).map(|number| format!("w{number}")).collect::<BTreeSet<_>>();
        assert_eq!(together(&names(1)), "w0");
        assert_eq!(together(&names(5)), "w0, w1, w2 and 2 more");
    }

    #[test]
    fn events_beyond_ten_in_a_second_are_counted_and_not_logged() {
        let mut view = View::default();
        let logged = (0..15).filter(|_| view.take_event(EventKind::Banned)).count();
        assert_eq!(logged, 10);
        assert_eq!(
            view.events().iter().find(|tally| tally.label == "banned").map(|tally| tally.count),
            Some(15)
        );
        view.end_second();
        assert!(view.take_event(EventKind::Banned));
    }
}
