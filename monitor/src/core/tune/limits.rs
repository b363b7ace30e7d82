//! Limits as tuning sees them: by class and service, in the dimensions that it learns.
//!
//! In: the desired rules. Out: what is in force and on trial, and change sets that say otherwise.

use std::net::IpAddr;

use ipnet::IpNet;
use policy::config::{self, Bytes, Mode, Rate, quantities};
use policy::{LimitKind, LimitName, LimitOverride, Permission, Rules};
use tuning::{Limit, Limits, Subject};

use super::super::delta::{Delta, LimitSetting};

/// Networks that proposals must never hit, as far as they are told apart; more are checked by the policy alone.
const MOST_PROTECTED: usize = 256;

/// The delta that sets `limits`; dimensions without one stay as they are.
pub fn setting(rules: &Rules, subject: &Subject, kind: LimitKind, limits: Limits) -> Delta {
    let name = named(subject, kind);
    let mut value = match kind {
        // A trial begins anew.
        LimitKind::Trial => LimitOverride::default(),
        _ => rules.limits.get(&name).cloned().unwrap_or_default(),
    };
    let rates = &mut value.limits;
    if let Some(Limit { per_second, burst }) = limits.packets {
        (rates.packets, rates.packets_burst) = (Some(Rate::per_second(per_second)), Some(burst));
    }
    if let Some(Limit { per_second, burst }) = limits.bytes {
        (rates.bytes, rates.bytes_burst) = (Some(Rate::bytes_per_second(per_second)), Some(Bytes(burst)));
    }
    if let Some(Limit { per_second, burst }) = limits.connections {
        (rates.connections, rates.connections_burst) = (Some(Rate::per_second(per_second)), Some(burst));
    }
    Delta { limits: vec![LimitSetting { name, value: Some(value), asked: None }], ..Delta::default() }
}

/// Exempt prefixes and the sessions of operators.
pub fn protected_networks(rules: &Rules, operators: &[IpAddr]) -> Vec<IpNet> {
    let exempt = rules.access.iter().filter(|entry| entry.permission == Permission::Exempt);
    let mut all: Vec<_> = operators.iter().copied().map(IpNet::from).collect();
    all.extend(exempt.map(|entry| entry.prefix));
    all.extend(&rules.config.access.exempt);
    all.truncate(MOST_PROTECTED);
    all
}

/// The name of the limit of a subject.
pub fn named(subject: &Subject, kind: LimitKind) -> LimitName {
    LimitName { service: subject.service.clone(), class: Some(subject.class.clone()), kind }
}

/// What is in force for one class of sources at one service.
#[derive(Debug)]
pub struct StandingLimit {
    pub subject: Subject,
    pub mode: Mode,
    pub limits: Limits,
    pub trial: Limits,
}

/// Every class at every service.
pub fn all_limits(rules: &Rules, tick_ns: u64) -> Vec<StandingLimit> {
    let classes = rules.classes();
    let mut all = Vec::new();
    for service in rules.services() {
        for class in &classes {
            let own = service.protection.class.get(*class).cloned().unwrap_or_default();
            all.push(StandingLimit {
                subject: Subject { service: service.name.clone(), class: (*class).to_owned() },
                mode: own.mode.unwrap_or(service.protection.mode),
                limits: learned_dimensions(&own.limit.unwrap_or(service.protection.limit), tick_ns),
                trial: learned_dimensions(&own.trial.unwrap_or(service.protection.trial), tick_ns),
            });
        }
    }
    all
}

fn learned_dimensions(limits: &config::Limits, tick_ns: u64) -> Limits {
    let mut learned = [None; 3];
    for quantity in quantities(limits) {
        let per_second =
            (u128::from(quantity.units) * 1_000_000_000).div_ceil(u128::from(quantity.period_ns));
        if let Some(slot) = learned.get_mut(quantity.dimension) {
            *slot = Some(Limit {
                per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
                burst: quantity.burst(tick_ns),
            });
        }
    }
    Limits::from_dimensions(learned)
}
