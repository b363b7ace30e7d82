//! The configuration as a replay takes it: every conversation followed, every observation reported, no daemon missed.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use ipnet::IpNet;
use jiff::Timestamp;

use super::Options;
use datapath::Capacities;
use detection::contact::default_inside;
use policy::config::{ASSUMED_TICK_NS, Mode, Rate, Track, WhenStale};
use policy::{self, Environment, Image, ListPolicy, Numbering, Rules, compile};

/// The key of the hash that table, sketch and filters take, which is otherwise random: two replays are to say the same.
const HASH_KEY: [u64; 2] = [0x736c_7569_6365_2072, 0x6570_6c61_7920_6b65];
/// No packet stands for others: the detectors see each.
const OBSERVATIONS: u64 = 1_000_000_000;
/// Conversations that a table of the kernel holds at once, and the least that is made.
const MOST_CONVERSATIONS: u32 = 262_144;
const FEWEST_CONVERSATIONS: u32 = 4096;
/// A conversation takes this much of a file at least: one packet with headers alone.
const CONVERSATION_BYTES: u64 = 48;
/// How much gzip makes of traffic that is worth compressing.
const COMPRESSED: u64 = 16;

/// What is in force during a replay.
#[derive(Clone, Debug)]
pub struct Standing {
    pub rules: Rules,
    pub image: Image,
    pub capacities: Capacities,
    /// As detection sees it.
    pub inside: Vec<IpNet>,
    pub notes: Vec<String>,
}

impl Standing {
    pub fn of(options: &Options, is_compressed: bool) -> Result<Self> {
        let mut config = options.config.clone();
        config.conversations.track = Track::All;
        config.conversations.observations = Rate::per_second(OBSERVATIONS);
        config.conversations.observations_burst = 10 * OBSERVATIONS;
        config.heartbeat.when_stale = WhenStale::Keep;
        // A capture has no host: what it asked and which routes it has are not known.
        config.reflection.mode = Mode::Off;
        config.access.reverse_path = Mode::Off;
        let loopback = || default_inside().into_iter().filter(|prefix| prefix.addr().is_loopback());
        let inside = match &options.inside {
            Some(inside) => {
                config.access.inside.clone_from(inside);
                inside.clone()
            }
            None => config.access.inside.iter().copied().chain(loopback()).collect(),
        };
        let capacities = capacities(&config, options.file_bytes, is_compressed);
        let mut rules = Rules::new(Arc::new(config));
        let notes = take_lists(&mut rules)?;
        let environment = Environment {
            tick_ns: ASSUMED_TICK_NS,
            hash_key: HASH_KEY,
            now: Timestamp::UNIX_EPOCH,
            clock: 0,
        };
        let image = compile(&rules, &Numbering::default(), &environment)
            .map_err(|error| anyhow!("make the kernel's rules of the configuration: {error}"))?;
        Ok(Self { rules, image, capacities, inside, notes })
    }
}

fn capacities(config: &policy::config::Config, file_bytes: Option<u64>, is_compressed: bool) -> Capacities {
    let sizes = config.capacity;
    let bytes = file_bytes.map(|bytes| bytes.saturating_mul(if is_compressed { COMPRESSED } else { 1 }));
    let conversations = bytes.and_then(|bytes| u32::try_from(bytes / CONVERSATION_BYTES).ok());
    let most = MOST_CONVERSATIONS.max(sizes.conversations);
    let (open_cells, holders) = Capacities::open_connections(config);
    Capacities {
        sources: sizes.sources,
        sketch_cells: sizes.sketch_cells,
        prefix_nodes: sizes.prefix_nodes,
        denials: sizes.denials,
        bans: sizes.bans,
        // Powers of two, so that files of like size are judged with tables of one size.
        conversations: conversations
            .map_or(most, |needed| needed.clamp(FEWEST_CONVERSATIONS, most).next_power_of_two().min(most)),
        rules: sizes.rules,
        limits: sizes.limits,
        services: sizes.services,
        request_sources: Capacities::request_sources(config),
        open_cells,
        holders,
        ..Capacities::default()
    }
}

/// The lists that the configuration names, with its safeguards.
fn take_lists(rules: &mut Rules) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for list in &rules.config.access.lists {
        let name = list.name();
        let operators: &[IpAddr] = &[];
        let safeguards = ListPolicy::of(list, rules, operators);
        let Some(path) = &list.path else {
            notes
                .push(format!("{name} is not in force: a replay takes lists of files, so fetch it into one"));
            continue;
        };
        let text = read(path)?;
        let taken = policy::import(&name, list.action, text.as_bytes(), &safeguards)
            .map_err(|why| anyhow!("{why}; correct the list, or take it out of access.lists"))?;
        if let Some(first) = taken.skipped.first() {
            notes.push(format!(
                "{name}: {} lines were skipped, the first is line {}: {}",
                taken.skipped_lines, first.line, first.problem
            ));
        }
        Arc::make_mut(&mut rules.lists).push(taken);
    }
    Ok(notes)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read the list {}", path.display()))
}
