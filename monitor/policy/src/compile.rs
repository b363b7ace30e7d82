//! Desired state to what the kernel's maps shall hold.

mod edit;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::{
    bucket::{self, UNITS_PER_NS},
    plain::Plain,
    rule::{
        self, Aggregate, CLASSES, Denial, Limit, OUTSIDE, PortBlock, PrefixNode, ServiceRule, Settings,
        followed_port, setting,
    },
};

use super::{
    EffectiveService, Numbering, Rules,
    access::{Grant, Permission, Statement, statements},
    limits,
    prefixes::{self, Tree},
    services,
};
use crate::config::{
    ASSUMED_TICK_NS, Config, DEFAULT_SERVICE, MalformedAction, Mode, Quantity, Rate, Track, WhenStale,
};

pub use edit::{Edit, Edited};

/// Packets a second that the host cannot be without and that pass over any limit: of one source, and of a kind.
const VITAL: u64 = 50;
const VITALS: u64 = 1000;

/// What compilation needs to know of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Length of a kernel tick.
    pub tick_ns: u64,
    /// Random at every load.
    pub hash_key: [u64; 2],
    /// The same moment on the wall and on the kernel's clock (clock units), to place ends of denials.
    pub now: Timestamp,
    pub clock: u64,
}

/// One generation of everything the kernel is told, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub settings: Settings,
    tree: Tree,
    /// The tree says where sources may come from.
    knows_arrivals: bool,
    /// By number; counters are zero and to be kept as they are where the number was in use already.
    pub denials: BTreeMap<u32, Denial>,
    pub blocks: Vec<PortBlock>,
    /// Rule 0 is the default service.
    pub rules: Vec<ServiceRule>,
    /// Limit 0 is "no limit".
    pub limits: Vec<Limit>,
    /// By service number, up to the highest in use.
    pub aggregates: Vec<Aggregate>,
    /// Names by service number, up to the highest in use; `None` where a number is free or retired.
    pub services: Vec<Option<String>>,
    /// Names by class number.
    pub classes: Vec<String>,
    /// The numbering that this image uses: the engine keeps it once the image is installed.
    pub numbering: Numbering,
}

impl Environment {
    /// A machine that is assumed, to check rules where they are not going to be installed.
    pub const fn assumed(now: Timestamp) -> Self {
        Self { tick_ns: ASSUMED_TICK_NS, hash_key: [0; 2], now, clock: 0 }
    }
}

impl Image {
    /// Roots of both families first, see [`monitor_common::rule`]; relative to the generation's base.
    pub fn nodes(&self) -> &[PrefixNode] {
        self.tree.nodes()
    }

    /// The filter before the tree, word by word.
    pub fn prefix_filter(&self) -> Vec<u64> {
        prefixes::filter(self.nodes())
    }

    /// The number of the service that a packet is for.
    pub fn service_at(&self, protocol: u32, destination: IpAddr, port: u16) -> u32 {
        services::find(&self.blocks, &self.rules, protocol, Some(port), destination)
    }

    /// The name of a service by its number.
    pub fn service_name(&self, number: u32) -> Option<&str> {
        self.services.get(usize::try_from(number).ok()?)?.as_deref()
    }

    /// The name of a class by its number.
    pub fn class_name(&self, number: u32) -> Option<&str> {
        self.classes.get(usize::try_from(number).ok()?).map(String::as_str)
    }
}

/// Why desired rules cannot be put into the kernel's maps. The message says which key of `[capacity]` or which service
/// to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(pub String);

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CompileError {}

/// The image of `rules`. `numbering` is that of the image installed now (or empty).
pub fn compile(
    rules: &Rules,
    numbering: &Numbering,
    environment: &Environment,
) -> Result<Image, CompileError> {
    let capacity = &rules.config.capacity;
    let statements = statements(rules, environment.now);
    let ends = denied(&statements);
    let effective = rules.services();
    let names: Vec<String> = effective.iter().map(|service| service.name.clone()).collect();
    let numbering = numbering.assign(&names, &ends, capacity.services, capacity.denials)?;

    let number = |prefix: &IpNet| numbering.denial(prefix).unwrap_or_default();
    let mut tree = prefixes::build(&statements, number);
    let knows_arrivals = tree.nodes().len() <= capacity.prefix_nodes as usize;
    if !knows_arrivals {
        // Where sources come from is worth less than who they are.
        let mut statements = statements;
        statements.retain(|statement| !matches!(statement.grant, Grant::Arrives(_)));
        tree = prefixes::build(&statements, number);
    }
    if tree.nodes().len() > capacity.prefix_nodes as usize {
        return Err(CompileError(format!(
            "capacity.prefix_nodes = {} is too small: {} are needed for these prefixes",
            capacity.prefix_nodes,
            tree.nodes().len()
        )));
    }
    let denials = ends
        .iter()
        .filter_map(|(prefix, until)| Some((numbering.denial(prefix)?, denial(*until, environment))))
        .collect();
    let Services { blocks, rules: ways, limits, aggregates, names } =
        compile_services(rules, &effective, &numbering, environment)?;
    Ok(Image {
        settings: settings(rules, environment)?,
        tree,
        knows_arrivals,
        denials,
        blocks,
        rules: ways,
        limits,
        aggregates,
        services: names,
        classes: rules.classes().into_iter().map(str::to_owned).collect(),
        numbering,
    })
}

/// Whether `config` alone can be put into the kernel's maps of an assumed machine: what `sluice config check` asks.
pub fn check(config: &Config, now: Timestamp) -> Result<Image, CompileError> {
    let rules = Rules::new(std::sync::Arc::new(config.clone()));
    compile(&rules, &Numbering::default(), &Environment::assumed(now))
}

/// The service table with all that its rules refer to.
struct Services {
    blocks: Vec<PortBlock>,
    rules: Vec<ServiceRule>,
    limits: Vec<Limit>,
    aggregates: Vec<Aggregate>,
    names: Vec<Option<String>>,
}

fn compile_services(
    rules: &Rules,
    effective: &[EffectiveService],
    numbering: &Numbering,
    environment: &Environment,
) -> Result<Services, CompileError> {
    let capacity = &rules.config.capacity;
    let classes = rules.classes();
    let mut kernel_limits = Limits::new();
    let mut entries = Vec::new();
    let highest = numbering.services().values().max().map_or(0, |number| *number as usize);
    let mut aggregates = vec![Aggregate::zeroed(); highest + 1];
    let mut names = vec![None; highest + 1];
    for service in effective {
        let Some(number) = numbering.service(&service.name) else {
            continue;
        };
        let place = if service.name == DEFAULT_SERVICE {
            "the default service".to_owned()
        } else {
            format!("service {}", service.name)
        };
        let mut by_class = [0; CLASSES];
        for (class, name) in by_class.iter_mut().zip(&classes) {
            let place = format!("{place}, class {name}");
            let of = limits::of_class(&service.protection, name);
            *class = kernel_limits.number(limits::limit(&of, environment.tick_ns, &place)?);
        }
        let automatic = rules.automatic.get(&service.name);
        aggregates[number as usize] = match automatic.filter(|_| service.protection.aggregate.is_automatic())
        {
            Some(automatic) => {
                limits::automatic(&service.protection, automatic, environment.tick_ns, &place)?
            }
            None => limits::aggregate(&service.protection, environment.tick_ns, &place)?,
        };
        names[number as usize] = Some(service.name.clone());
        entries.push(services::Entry {
            name: &service.name,
            matches: service.matches.as_ref(),
            number,
            limits: by_class,
            has_aggregate: aggregates[number as usize].mode != monitor_common::rule::mode::OFF,
            challenges: service.protection.challenge,
        });
    }
    if kernel_limits.all.len() > capacity.limits as usize {
        return Err(CompileError(format!(
            "capacity.limits = {} is too small: {} are needed",
            capacity.limits,
            kernel_limits.all.len()
        )));
    }
    let (blocks, rules) = services::build(&entries, capacity.rules)?;
    Ok(Services { blocks, rules, limits: kernel_limits.all, aggregates, names })
}

/// Limits by number, each stored once; number 0 is "no limit".
struct Limits {
    all: Vec<Limit>,
    known: HashMap<Vec<u8>, u32>,
}

impl Limits {
    fn new() -> Self {
        let none = Limit { heavy: u64::MAX / 4, ..Limit::zeroed() };
        Self { known: HashMap::from([(none.as_bytes().to_vec(), 0)]), all: vec![none] }
    }

    fn number(&mut self, limit: Limit) -> u32 {
        *self.known.entry(limit.as_bytes().to_vec()).or_insert_with(|| {
            self.all.push(limit);
            u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Every denied prefix with its end; `None`: for ever.
fn denied(statements: &[Statement<'_>]) -> BTreeMap<IpNet, Option<Timestamp>> {
    let mut ends: Vec<_> = statements
        .iter()
        .filter_map(|statement| match statement.grant {
            Grant::Permission { permission: Permission::Deny, until } => {
                Some((statement.prefix, until.is_none(), until))
            }
            _ => None,
        })
        .collect();
    // Of the same prefix the one that lasts longest is the last, and a map keeps the last.
    ends.sort_unstable();
    ends.into_iter().map(|(prefix, _, until)| (prefix, until)).collect()
}

/// A denial that has dropped nothing.
fn denial(until: Option<Timestamp>, environment: &Environment) -> Denial {
    let until = until.map_or(u64::MAX, |until| clock_at(until, environment));
    Denial { until, ..Denial::zeroed() }
}

/// A moment of the wall clock on the kernel's clock. What lies beyond half the clock's range is for ever.
fn clock_at(moment: Timestamp, environment: &Environment) -> u64 {
    let away = moment.as_nanosecond() - environment.now.as_nanosecond();
    let units = u64::try_from(away.max(0)).unwrap_or(u64::MAX).saturating_mul(UNITS_PER_NS);
    if units >= 1 << 62 {
        return u64::MAX;
    }
    // The last value means "for ever".
    environment.clock.wrapping_add(units).min(u64::MAX - 1)
}

fn settings(rules: &Rules, environment: &Environment) -> Result<Settings, CompileError> {
    let config = &rules.config;
    let rate = |place: &str, rate: Rate, burst: u64| {
        let quantity = Quantity {
            dimension: rule::PACKETS,
            units: rate.amount,
            period_ns: rate.period.nanoseconds(),
            wanted_burst: Some(burst),
        };
        limits::rate(&quantity, environment.tick_ns, place)
    };
    let (flood, tracking, fragments) = (&config.flood, &config.conversations, &config.fragments);
    let drops = |action| action == MalformedAction::Drop;
    let malformed = &config.malformed;
    let cookies = rules.surroundings.cookies;
    let flags = [
        (drops(malformed.action), setting::DROP_MALFORMED),
        (drops(malformed.extension_headers), setting::DROP_EXTENSIONS),
        (drops(malformed.tiny_fragments), setting::DROP_TINY_FRAGMENTS),
        (drops(malformed.vlan_tags), setting::DROP_TAGS),
        (drops(malformed.encapsulated), setting::DROP_ENCAPSULATED),
        (config.interfaces.egress, setting::PROVES),
        // Without egress nobody knows what was asked.
        (config.interfaces.egress && config.reflection.mode != Mode::Off, setting::WATCH_REFLECTED),
        (config.reflection.mode == Mode::Enforce, setting::DROP_REFLECTED),
        (config.access.reverse_path == Mode::Enforce, setting::DROP_SPOOFED),
        (fragments.mode == Mode::Enforce, setting::DROP_STRAYS),
        (config.heartbeat.when_stale == WhenStale::Observe, setting::OBSERVE_WHEN_STALE),
        (tracking.track != Track::Off, setting::TRACK),
        (tracking.track == Track::All, setting::TRACK_ALL),
        (config.interfaces.watch_only, setting::WATCH_ONLY),
        // Without egress nobody knows what listens.
        (config.interfaces.egress && cookies.always, setting::COOKIES),
        (cookies.stamps, setting::COOKIE_STAMPS),
        (cookies.sack, setting::COOKIE_SACK),
        (cookies.windows, setting::COOKIE_WINDOWS),
    ];
    let strays = |place, of, burst| match fragments.mode {
        Mode::Off => Ok(bucket::Rate::default()),
        Mode::Observe | Mode::Enforce => rate(place, of, burst),
    };
    Ok(Settings {
        hash_key: environment.hash_key,
        tick: environment.tick_ns.saturating_mul(UNITS_PER_NS),
        new_sources: rate("flood.new_sources", flood.new_sources, flood.burst)?,
        heavy_sources: rate("flood.heavy_sources", flood.heavy_sources, flood.heavy_burst)?,
        flood_hold: limits::units(flood.hold),
        known_after: limits::units(flood.known_after),
        heartbeat_timeout: limits::units(config.heartbeat.timeout),
        active_timeout: limits::units(tracking.active_timeout),
        observations: rate("conversations.observations", tracking.observations, tracking.observations_burst)?,
        stray: strays("fragments.per_source", fragments.per_source, fragments.per_source_burst)?,
        strays: strays("fragments.total", fragments.total, fragments.total_burst)?,
        vital: rate("the safe rate of a source", Rate::per_second(VITAL), VITAL)?,
        vitals: rate("the safe rate of a kind", Rate::per_second(VITALS), VITALS)?,
        v4_bits: u32::from(config.source.ipv4_prefix),
        v6_bits: u32::from(config.source.ipv6_prefix),
        flags: flags.iter().filter(|(on, _)| *on).map(|(_, flag)| flag).sum(),
        default_class: OUTSIDE,
        ephemeral: u32::from(rules.surroundings.ephemeral),
        followed_ports: followed_ports(rules),
    })
}

/// The ports on which connections are followed; none where no server's answer is seen.
fn followed_ports(rules: &Rules) -> u32 {
    let followed = rules.services().into_iter().filter(|service| service.protection.follows_connections());
    let ports = followed.map(|service| match service.matches {
        Some(matches) if !matches.ports.is_empty() => matches
            .ports
            .iter()
            .flat_map(|ports| ports.first..=ports.last)
            .fold(0, |all, port| all | followed_port(port)),
        _ => u32::MAX,
    });
    if rules.config.interfaces.egress { ports.fold(0, |all, of| all | of) } else { 0 }
}

#[cfg(test)]
mod tests;
