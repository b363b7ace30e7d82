//! What a flood does to honest clients, live between private namespaces: no protection, a bare drop of the flood, nftables and sluice,
//! cell by cell in turn.
//!
//! In: how many rounds. Out: for each cell and protection the share of honest transactions that survived and what a packet
//! of the flood cost the host; and the goals. Takes minutes; every flood is bounded, and all of it vanishes with the process.

mod host;
mod load;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use monitor_tests::harness::{
    live::{LiveFlood, Plan},
    packet::{flag, packet},
};

use crate::goals::{self, Goal, Unit};
use crate::machine::Machine;
use crate::report::{Cell, Report, Section};
use host::{ASKED_TCP, ASKED_UDP, FLOODED, HARMLESS, Host, Hosts, OUTSIDE, Protection, SOURCE_LIMIT};
use load::{Asking, Clients, one_by_one};

/// Before a flood is looked at: bursts are spent, and everybody has noticed.
const SETTLE: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(900);
/// How long the honest are there before their first flood: longer than what makes them known.
const ACQUAINTANCE: Duration = Duration::from_millis(2600);

/// One kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attack {
    port: u16,
    sources: u64,
    per_second: u64,
}

/// All cells: towards a service that is flooded, towards the honest clients' own, and below every limit.
fn attacks() -> Vec<Attack> {
    const FEW: u64 = 256;
    const MANY: u64 = 1 << 16;
    const ALL: u64 = 1 << 32;
    let mut attacks = vec![(FLOODED, 1, 1_000_000), (FLOODED, FEW, 1_000_000)];
    for port in [FLOODED, ASKED_UDP, ASKED_TCP] {
        for sources in [MANY, ALL] {
            attacks.extend([500_000, 1_000_000].map(|rate| (port, sources, rate)));
        }
    }
    attacks.extend([(HARMLESS, MANY, 250_000), (HARMLESS, ALL, 250_000)]);
    attacks.into_iter().map(|(port, sources, per_second)| Attack { port, sources, per_second }).collect()
}

impl Attack {
    fn label(&self) -> String {
        let to = match self.port {
            FLOODED => "another service",
            ASKED_UDP => "the same service, UDP",
            ASKED_TCP => "the same service, SYN",
            _ => "no limit exceeded",
        };
        let sources = match self.sources {
            1 => "1 source",
            256 => "256 sources",
            0x1_0000 => "64 k sources",
            _ => "4 G sources",
        };
        format!("{to}, {} k/s, {sources}", self.per_second / 1000)
    }

    fn asking(&self) -> Asking {
        if self.port == ASKED_TCP { Asking::Tcp } else { Asking::Udp }
    }

    /// A frame of 64 bytes, its checksum included.
    fn plan(&self, host: &Host) -> Plan {
        // All floods come from the same addresses, again and again: that must make none of them known.
        let first = if self.sources == 1 << 32 { 0 } else { 0xc612_0000 };
        let mut packet = packet().macs([2, 0, 0, 0, 0, 9], host.mac());
        let source = std::net::Ipv4Addr::from_bits(0xc612_0001).to_string();
        packet = packet.between(&source, &host.address());
        packet = if self.port == ASKED_TCP {
            packet.tcp(40_000, self.port, flag::SYN).payload_bytes(6)
        } else {
            packet.udp(40_000, self.port).payload_bytes(18)
        };
        let mut frame = packet.build();
        if self.port != ASKED_TCP {
            // No checksum (RFC 768): the generator then has only the header's to keep.
            frame[40..42].fill(0);
        }
        Plan {
            interface: host.wire.clone(),
            frame,
            first,
            sources: self.sources,
            per_second: self.per_second,
            at_most: Duration::from_secs(4),
            processor: OUTSIDE,
        }
    }
}

/// What one look at a cell found.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Of the honest transactions.
    share: f64,
    /// Nanoseconds that the host worked for each packet of the flood.
    cost: f64,
    /// Frames of the flood a second.
    sent: f64,
    /// Packets a second that came through to the flooded service.
    through: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts as figures")]
fn look(host: &Host, attack: Attack) -> Result<Found> {
    let port = if attack.asking() == Asking::Tcp { ASKED_TCP } else { ASKED_UDP };
    let clients =
        Clients::start(&host.outside, OUTSIDE, &host.clients(), host.service(port), attack.asking())?;
    // What the honest alone cost is taken off below.
    thread::sleep(Duration::from_millis(200));
    let calm = (Instant::now(), host.worked()?);
    thread::sleep(Duration::from_millis(300));
    let honest_cost = (host.worked()? - calm.1) as f64 / calm.0.elapsed().as_secs_f64();
    let flood = LiveFlood::start(&host.outside, attack.plan(host))?;
    thread::sleep(SETTLE);
    let before = (clients.counts(), host.worked()?, flood.sent()?, host.services.flooded());
    let start = Instant::now();
    thread::sleep(LOOK);
    let after = (clients.counts(), host.worked()?, flood.sent()?, host.services.flooded());
    let time = start.elapsed().as_secs_f64();
    flood.stop()?;
    let asked = (after.0.0 - before.0.0) as f64;
    let answered = (after.0.1 - before.0.1) as f64;
    let sent = (after.2 - before.2) as f64;
    let cost = (after.1 - before.1) as f64 - honest_cost * time;
    Ok(Found {
        share: answered / asked.max(1.0),
        cost: cost / sent.max(1.0),
        sent: sent / time,
        through: (after.3 - before.3) as f64 / time,
    })
}

/// What asking a quiet host found: the share that was answered, the 99th of a hundred answers.
fn quiet(host: &Host) -> Result<(f64, f64)> {
    let (from, to) = (host.clients()[0], host.service(ASKED_UDP));
    let (asked, took) = one_by_one(&host.outside, OUTSIDE, from, to, Duration::from_millis(1500))?;
    let late = took.get(took.len() * 99 / 100).copied().context("no answer at all")?;
    #[expect(clippy::cast_precision_loss, reason = "counts as figures")]
    let share = took.len() as f64 / asked as f64;
    Ok((share, late.as_secs_f64() * 1e6))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

type Key = (usize, &'static str);

pub fn run(machine: Machine, rounds: usize, only: Option<&str>) -> Result<Report> {
    let hosts = Hosts::new()?;
    eprintln!("four hosts are there; making acquaintance");
    for host in &hosts.hosts {
        let both = [(ASKED_UDP, Asking::Udp), (ASKED_TCP, Asking::Tcp)];
        let clients = both.map(|(port, asking)| {
            Clients::start(&host.outside, OUTSIDE, &host.clients(), host.service(port), asking)
        });
        thread::sleep(ACQUAINTANCE);
        for clients in clients {
            let (asked, answered) = clients?.counts();
            eprintln!("{}: {answered} of {asked} answered", host.protection.label());
        }
    }
    let mut attacks = attacks();
    attacks.retain(|attack| only.is_none_or(|only| attack.label().contains(only)));
    let mut found: BTreeMap<Key, Vec<Found>> = BTreeMap::new();
    let mut calm: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for round in 1..=rounds.max(1) {
        for host in &hosts.hosts {
            calm.entry(host.protection.label()).or_default().push(quiet(host)?);
        }
        for (cell, attack) in attacks.iter().enumerate() {
            // Each protection is first in its turn.
            for turn in 0..hosts.hosts.len() {
                let host = &hosts.hosts[(turn + round + cell) % hosts.hosts.len()];
                let seen = look(host, *attack).with_context(|| attack.label())?;
                host.ensure_guarded()?;
                eprintln!("round {round}: {}, {}: {seen:.2?}", attack.label(), host.protection.label());
                found.entry((cell, host.protection.label())).or_default().push(seen);
            }
        }
    }
    Ok(report(machine, rounds, &attacks, &found, &calm))
}

/// Medians over the rounds.
fn of(
    found: &BTreeMap<Key, Vec<Found>>,
    cell: usize,
    protection: Protection,
    what: fn(&Found) -> f64,
) -> f64 {
    median(found.get(&(cell, protection.label())).into_iter().flatten().map(what).collect())
}

fn report(
    machine: Machine,
    rounds: usize,
    attacks: &[Attack],
    found: &BTreeMap<Key, Vec<Found>>,
    calm: &BTreeMap<&str, Vec<(f64, f64)>>,
) -> Report {
    let columns = ["flood", "protection", "sent k/s", "honest share", "host ns", "through k/s"];
    let mut cells = Section::new("cells", &columns);
    for (cell, attack) in attacks.iter().enumerate() {
        for protection in Protection::ALL {
            cells.row([
                Cell::text(attack.label()),
                Cell::text(protection.label()),
                Cell::number(of(found, cell, protection, |found| found.sent) / 1000.0, 0),
                Cell::number(of(found, cell, protection, |found| found.share), 2),
                Cell::number(of(found, cell, protection, |found| found.cost), 0),
                Cell::number(of(found, cell, protection, |found| found.through) / 1000.0, 1),
            ]);
        }
    }
    let mut idle = Section::new("quiet", &["protection", "answered", "99 of 100 within us"]);
    let quiet = |protection: Protection, what: fn(&(f64, f64)) -> f64| {
        median(calm.get(protection.label()).into_iter().flatten().map(what).collect())
    };
    for protection in Protection::ALL {
        let (share, late) = (quiet(protection, |quiet| quiet.0), quiet(protection, |quiet| quiet.1));
        idle.row([Cell::text(protection.label()), Cell::number(share, 4), Cell::number(late, 0)]);
    }
    let late = quiet(Protection::Sluice, |quiet| quiet.1) / quiet(Protection::None, |quiet| quiet.1);
    let mut wanted = vec![
        Goal::at_least("quiet: transactions that complete", quiet(Protection::Sluice, |quiet| quiet.0), 1.0),
        Goal::at_most("quiet: 99 of 100, against none", late, 1.5, Unit::Ratio),
    ];
    for (cell, attack) in attacks.iter().enumerate() {
        wanted.extend(goals_of(found, cell, attack));
    }
    Report { page: "live", machine, rounds, sections: vec![cells, idle, goals::section(&wanted)] }
}

fn goals_of(found: &BTreeMap<Key, Vec<Found>>, cell: usize, attack: &Attack) -> Vec<Goal> {
    let share = |protection| of(found, cell, protection, |found| found.share);
    let cost = |protection| of(found, cell, protection, |found| found.cost);
    if attack.port == HARMLESS {
        let ratio = cost(Protection::Sluice) / cost(Protection::None);
        let name = format!("{}: CPU of the host against none", attack.label());
        return vec![Goal::at_most(name, ratio, 1.15, Unit::Ratio)];
    }
    let must = match (attack.port, attack.sources) {
        (FLOODED, 1 | 256) => 0.95,
        (FLOODED, _) => 0.9,
        _ => 0.8,
    };
    let kept = share(Protection::Sluice) / share(Protection::Floor);
    let mut goals =
        vec![Goal::at_least(format!("{}: honest share against the bare drop", attack.label()), kept, must)];
    if attack.sources == 1 {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let of_limit = of(found, cell, Protection::Sluice, |found| found.through) / SOURCE_LIMIT as f64;
        goals.push(Goal::at_most(
            "what one source gets through: off its limit by",
            (of_limit - 1.0).abs(),
            0.05,
            Unit::Ratio,
        ));
    }
    goals
}
