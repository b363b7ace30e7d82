//! Limits after overrides and classes, and as the kernel stores them.

use std::collections::BTreeMap;

use monitor_common::{
    bucket::{self, RateError, UNITS_PER_NS},
    plain::Plain,
    record::scope,
    request::COUNTED,
    rule::{
        self, Aggregate, CONCURRENT, CONNECTIONS, COUNTS_REQUESTS, DIMENSIONS, ENCRYPTION_SHIFT,
        FOLLOWS_CONNECTIONS, FRAGMENTS, Limit, PACKETS, Slot, mode,
    },
};

use super::{Automatic, CompileError, Dimension, LimitKind, LimitName, LimitOverride};
use crate::config::{
    AggregateLimits, BanRule, BanScope, Duration, Limits, Mode, Protection, Quantity, quantities,
};

type Rates = [bucket::Rate; DIMENSIONS];
type RequestRates = [bucket::Rate; COUNTED];

/// What applies to the sources of one class at one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ClassLimit {
    pub mode: Mode,
    pub limit: Limits,
    pub trial: Limits,
    pub ban: Option<BanRule>,
    /// All sources of the service together have a limit of requests.
    pub requests: bool,
    /// Connections of the service are followed, whatever the class.
    pub follows: bool,
    pub encryption: Mode,
}

/// `protection` of the service `name` with what was set at run time.
pub(super) fn overridden(
    protection: &Protection,
    name: &str,
    overrides: &BTreeMap<LimitName, LimitOverride>,
) -> Protection {
    let mut changed = protection.clone();
    // In the order of names those of all classes come before those of one, which start from what all have.
    for (target, set) in overrides.iter().filter(|(target, _)| target.service == name) {
        let class = target.class.as_deref();
        match (target.kind, class) {
            (LimitKind::Aggregate, _) => override_aggregate(&mut changed.aggregate, set),
            (LimitKind::PerSource, None) => {
                changed.mode = set.mode.unwrap_or(changed.mode);
                changed.limit = merged(changed.limit, set);
            }
            (LimitKind::Trial, None) => changed.trial = trial(changed.trial, set),
            (role, Some(class)) => {
                let now = of_class(&changed, class);
                let own = changed.class.entry(class.to_owned()).or_default();
                if role == LimitKind::PerSource {
                    own.mode = set.mode.or(own.mode);
                    own.limit = Some(merged(now.limit, set));
                } else {
                    own.trial = Some(trial(now.trial, set));
                }
            }
        }
    }
    changed
}

/// A trial has no mode of its own: it observes, or it is not there.
fn trial(limits: Limits, set: &LimitOverride) -> Limits {
    if set.mode == Some(Mode::Off) { Limits::default() } else { merged(limits, set) }
}

fn override_aggregate(aggregate: &mut AggregateLimits, set: &LimitOverride) {
    let limits = merged(aggregate.limits(), set);
    *aggregate =
        AggregateLimits::new(set.mode.or(aggregate.mode), limits, set.reserve.unwrap_or(aggregate.reserve));
}

fn merged(mut limits: Limits, set: &LimitOverride) -> Limits {
    for dimension in &set.lifted {
        match dimension {
            Dimension::Packets => (limits.packets, limits.packets_burst) = (None, None),
            Dimension::Bytes => (limits.bytes, limits.bytes_burst) = (None, None),
            Dimension::Connections => (limits.connections, limits.connections_burst) = (None, None),
            Dimension::Fragments => (limits.fragments, limits.fragments_burst) = (None, None),
            Dimension::Requests => (limits.requests, limits.requests_burst) = (None, None),
            Dimension::Handshakes => (limits.handshakes, limits.handshakes_burst) = (None, None),
            Dimension::Concurrent => limits.concurrent = None,
        }
    }
    let new = &set.limits;
    if new.packets.is_some() {
        (limits.packets, limits.packets_burst) = (new.packets, new.packets_burst);
    }
    if new.bytes.is_some() {
        (limits.bytes, limits.bytes_burst) = (new.bytes, new.bytes_burst);
    }
    if new.connections.is_some() {
        (limits.connections, limits.connections_burst) = (new.connections, new.connections_burst);
    }
    if new.fragments.is_some() {
        (limits.fragments, limits.fragments_burst) = (new.fragments, new.fragments_burst);
    }
    if new.requests.is_some() {
        (limits.requests, limits.requests_burst) = (new.requests, new.requests_burst);
    }
    if new.handshakes.is_some() {
        (limits.handshakes, limits.handshakes_burst) = (new.handshakes, new.handshakes_burst);
    }
    limits.concurrent = new.concurrent.or(limits.concurrent);
    limits
}

/// What applies to sources of `class` under `protection`.
pub(super) fn of_class(protection: &Protection, class: &str) -> ClassLimit {
    let own = protection.class.get(class).cloned().unwrap_or_default();
    ClassLimit {
        mode: own.mode.unwrap_or(protection.mode),
        limit: own.limit.unwrap_or(protection.limit),
        trial: own.trial.unwrap_or(protection.trial),
        ban: own.ban.or(protection.ban),
        requests: aggregate_mode(protection) != Mode::Off && protection.aggregate.limits().counts_requests(),
        follows: protection.follows_connections(),
        encryption: protection.encryption.unwrap_or(Mode::Off),
    }
}

/// The mode of a service's aggregate limit: its own, else the service's.
pub(super) fn aggregate_mode(protection: &Protection) -> Mode {
    if protection.aggregate.limits() == Limits::default() {
        return Mode::Off;
    }
    protection.aggregate.mode.unwrap_or(protection.mode)
}

/// The kernel's form of a class's limit. `place` names it in an error.
pub(super) fn limit(of: &ClassLimit, tick_ns: u64, place: &str) -> Result<Limit, CompileError> {
    let (mut force, requests) = slot(of.mode, &of.limit, tick_ns, place)?;
    let (trial, candidate_requests) = slot(Mode::Observe, &of.trial, tick_ns, &format!("{place} (trial)"))?;
    if of.requests || of.limit.counts_requests() || of.trial.counts_requests() {
        force.dimensions |= COUNTS_REQUESTS;
    }
    if of.follows {
        force.dimensions |= FOLLOWS_CONNECTIONS | number(of.encryption) << ENCRYPTION_SHIFT;
    }
    let smallest = (0..DIMENSIONS)
        .filter(|dimension| force.dimensions & (1 << dimension) != 0)
        .map(|dimension| force.rates[dimension].capacity)
        .min();
    let mut limit = Limit {
        force,
        candidate: trial,
        requests,
        candidate_requests,
        concurrent: of.limit.concurrent.unwrap_or(0),
        candidate_concurrent: of.trial.concurrent.unwrap_or(0),
        // Nobody is heavy where nothing is limited; twice this must not overflow.
        heavy: smallest.map_or(u64::MAX / 4, |capacity| capacity / 2),
        ..Limit::zeroed()
    };
    if let Some(ban) = of.ban.filter(|ban| ban.after > 0) {
        limit.ban_after = ban.after;
        limit.ban_growth = u16::try_from(ban.growth.max(1)).unwrap_or(u16::MAX);
        limit.ban_unproven = u8::from(ban.unproven);
        let [scope, _] = match ban.scope {
            BanScope::NewContacts => scope::NEW_CONTACTS,
            BanScope::Everything => scope::EVERYTHING,
        }
        .to_le_bytes();
        limit.ban_scope = scope;
        limit.ban_within = units(ban.within);
        limit.ban_first = units(ban.first);
        limit.ban_longest = units(ban.longest);
    }
    Ok(limit)
}

/// The kernel's form of an automatic aggregate: a share of strangers, and no limit of all together.
pub(super) fn automatic(
    protection: &Protection,
    Automatic { mode, strangers }: &Automatic,
    tick_ns: u64,
    place: &str,
) -> Result<Aggregate, CompileError> {
    let mode = protection.aggregate.mode.unwrap_or(protection.mode).min(*mode);
    let (slot, _) = slot(mode, strangers, tick_ns, &format!("{place} (automatic aggregate)"))?;
    Ok(Aggregate {
        mode: slot.mode,
        dimensions: slot.dimensions,
        strangers: slot.rates,
        ..Aggregate::zeroed()
    })
}

/// The kernel's form of an aggregate limit.
pub(super) fn aggregate(
    protection: &Protection,
    tick_ns: u64,
    place: &str,
) -> Result<Aggregate, CompileError> {
    let place = format!("{place} (aggregate)");
    let limits = protection.aggregate.limits();
    let (total, total_requests) = slot(aggregate_mode(protection), &limits, tick_ns, &place)?;
    let mut aggregate = Aggregate {
        mode: total.mode,
        dimensions: total.dimensions,
        total: total.rates,
        total_requests,
        concurrent: limits.concurrent.unwrap_or(0),
        ..Aggregate::zeroed()
    };
    if let Some(most) = limits.concurrent {
        let share = f64::from(most) * (1.0 - protection.aggregate.reserve);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=1 of a u32")]
        let share = share.ceil().max(1.0) as u32;
        aggregate.strangers_concurrent = share;
    }
    for whole in quantities(&limits) {
        let share = whole.share(1.0 - protection.aggregate.reserve, tick_ns);
        let rate = rate(&share, tick_ns, &place)?;
        *place_of(&mut aggregate.strangers, &mut aggregate.strangers_requests, whole.dimension) = rate;
    }
    Ok(aggregate)
}

/// Clock units of a length of time.
pub(super) fn units(time: Duration) -> u64 {
    time.as_nanos().saturating_mul(UNITS_PER_NS)
}

/// The kernel's form of a rate that is counted but belongs to no service (`[flood]`, `[conversations]`).
pub(super) fn rate(
    quantity: &Quantity,
    tick_ns: u64,
    place: &str,
) -> Result<monitor_common::bucket::Rate, CompileError> {
    let what = match quantity.dimension {
        PACKETS => "packets",
        rule::BYTES => "bytes",
        CONNECTIONS => "connections",
        FRAGMENTS => "fragments",
        rule::REQUESTS => "requests",
        rule::HANDSHAKES => "handshakes",
        _ => "units",
    };
    quantity.rate(tick_ns).map_err(|error| {
        CompileError(match error {
            RateError::ZeroRate => format!("{place}: a limit of 0 {what} would drop everything"),
            RateError::TooSlow => format!("{place}: the burst of {what} lasts longer than 2.2 years at this rate"),
            RateError::BurstBelowTick(smallest) => format!(
                "{place}: the burst of {what} is too small for this kernel's tick of {} us: the smallest is {smallest}",
                tick_ns / 1000
            ),
        })
    })
}

/// Where the rate of a dimension belongs: requests and handshakes have rates of their own.
fn place_of<'a>(
    rates: &'a mut Rates,
    requests: &'a mut RequestRates,
    dimension: usize,
) -> &'a mut bucket::Rate {
    match dimension.checked_sub(DIMENSIONS) {
        None => &mut rates[dimension],
        Some(counted) => &mut requests[counted],
    }
}

/// A limit's rates with its mode, and those of requests and handshakes.
fn slot(
    mode: Mode,
    limits: &Limits,
    tick_ns: u64,
    place: &str,
) -> Result<(Slot, RequestRates), CompileError> {
    let mut slot = Slot::zeroed();
    let mut requests = RequestRates::default();
    for quantity in quantities(limits) {
        *place_of(&mut slot.rates, &mut requests, quantity.dimension) = rate(&quantity, tick_ns, place)?;
        slot.dimensions |= 1 << quantity.dimension;
    }
    if limits.concurrent.is_some() {
        slot.dimensions |= 1 << CONCURRENT;
    }
    // What limits nothing is off, so that the kernel says "unlimited" and spends nothing on it.
    slot.mode = if slot.dimensions == 0 { mode::OFF } else { number(mode) };
    Ok((slot, requests))
}

/// The kernel's number of a mode.
fn number(mode: Mode) -> u32 {
    match mode {
        Mode::Off => mode::OFF,
        Mode::Observe => mode::OBSERVE,
        Mode::Enforce => mode::ENFORCE,
    }
}
