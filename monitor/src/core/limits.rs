//! `limit list`, `limit set`, `limit unset`: what the rules say of rates, and deltas that say otherwise.
//!
//! In: requests by name. Out: plans, and every limit as it holds. Bursts that nobody named are chosen as the
//! configuration would.

use monitor_common::rule;

use super::command::{LimitSet, LimitTarget, RateRequest};
use super::delta::{Delta, LimitSetting};
use super::plan::Plan;
use super::refusal::{Code, Refusal};
use crate::snapshot::{LimitInForce, LimitMode, LimitScope, RateAndBurst};
use policy::config::{self, ByteRate, Bytes, DEFAULT_SERVICE, Limits, Mode, PacketRate, nearest, quantities};
use policy::{Dimension, EffectiveService, LimitName, LimitOverride, Role, Rules};

/// How a limit that holds for every class without one of its own is listed.
pub const ANY_CLASS: &str = "any";

/// A plan that sets rates or the mode of one limit; what is not named stays.
pub fn set(rules: &Rules, set: &LimitSet) -> Result<Plan, Refusal> {
    let rates = [set.packets, set.bytes, set.connections, set.fragments];
    if set.mode.is_none() && rates.iter().all(Option::is_none) {
        return Err(Refusal::new(Code::Invalid, "nothing to set").next("name a mode or a rate"));
    }
    if rates.iter().flatten().any(|rate| rate.per_second == 0) {
        return Err(Refusal::new(Code::Invalid, "a rate of 0 is a denial, not a limit")
            .next("deny the prefix, or set the mode to off"));
    }
    let name = named(rules, &set.target)?;
    let mut value = rules.limits.get(&name).cloned().unwrap_or_default();
    merge(&mut value, set);
    let what = format!("limit set {}", describe(&name));
    let delta = Delta { limits: vec![LimitSetting { name, value: Some(value) }], ..Delta::default() };
    Ok(Plan::new(what, delta))
}

/// A plan that takes one limit back to what the configuration says.
pub fn unset(rules: &Rules, target: &LimitTarget) -> Result<Plan, Refusal> {
    let name = named(rules, target)?;
    if !rules.limits.contains_key(&name) {
        return Err(Refusal::new(Code::NotFound, format!("{} was not set while running", describe(&name)))
            .next("what the configuration says is changed in its file; `limit set --mode off` lifts it"));
    }
    let what = format!("limit unset {}", describe(&name));
    let delta = Delta { limits: vec![LimitSetting { name, value: None }], ..Delta::default() };
    Ok(Plan::new(what, delta))
}

/// The limit that is meant, if there are such a service and class.
fn named(rules: &Rules, target: &LimitTarget) -> Result<LimitName, Refusal> {
    let services: Vec<_> = std::iter::once(DEFAULT_SERVICE)
        .chain(rules.config.services.iter().map(|service| service.name.as_str()))
        .collect();
    known("service", &target.service, &services)?;
    let class = target.class.as_deref().filter(|class| *class != ANY_CLASS);
    if let Some(class) = class {
        known("class", class, &rules.classes())?;
        if target.scope == LimitScope::Aggregate {
            return Err(Refusal::new(Code::Invalid, "an aggregate counts all classes together")
                .next("leave the class out"));
        }
    }
    let role = match target.scope {
        LimitScope::Source => Role::Force,
        LimitScope::Candidate => Role::Candidate,
        LimitScope::Aggregate => Role::Aggregate,
    };
    Ok(LimitName { service: target.service.clone(), class: class.map(str::to_owned), role })
}

/// Refuses a name that is not among `all`, with the nearest that is.
pub fn known(kind: &str, name: &str, all: &[&str]) -> Result<(), Refusal> {
    if all.contains(&name) {
        return Ok(());
    }
    let refusal = Refusal::new(Code::NotFound, format!("there is no {kind} {name:?}"));
    Err(match nearest(name, all.iter().copied()) {
        Some(near) => refusal.next(format!("did you mean {near:?}?")),
        None => refusal.next(format!("there are {}", all.join(", "))),
    })
}

fn merge(value: &mut LimitOverride, set: &LimitSet) {
    if let Some(mode) = set.mode {
        value.mode = Some(match mode {
            LimitMode::Off => Mode::Off,
            LimitMode::Observe => Mode::Observe,
            LimitMode::Enforce => Mode::Enforce,
        });
    }
    let packets = |rate: RateRequest| (Some(PacketRate::per_second(rate.per_second)), rate.burst);
    let limits = &mut value.limits;
    if let Some(rate) = set.packets {
        (limits.packets, limits.packets_burst) = packets(rate);
        value.lifted.retain(|dimension| *dimension != Dimension::Packets);
    }
    if let Some(rate) = set.bytes {
        limits.bytes = Some(ByteRate(rate.per_second));
        limits.bytes_burst = rate.burst.map(Bytes);
        value.lifted.retain(|dimension| *dimension != Dimension::Bytes);
    }
    if let Some(rate) = set.connections {
        (limits.connections, limits.connections_burst) = packets(rate);
        value.lifted.retain(|dimension| *dimension != Dimension::Connections);
    }
    if let Some(rate) = set.fragments {
        (limits.fragments, limits.fragments_burst) = packets(rate);
        value.lifted.retain(|dimension| *dimension != Dimension::Fragments);
    }
}

fn describe(name: &LimitName) -> String {
    let class = name.class.as_ref().map(|class| format!(" class {class}")).unwrap_or_default();
    let role = match name.role {
        Role::Force => "",
        Role::Candidate => " (on trial)",
        Role::Aggregate => " (all sources together)",
    };
    format!("{}{class}{role}", name.service)
}

/// Every limit as it holds, in the order of the file.
pub fn in_force(rules: &Rules, tick_ns: u64, embedded: bool) -> Vec<LimitInForce> {
    let mut rows = Vec::new();
    for EffectiveService { name, protection, .. } in rules.services() {
        let mut add = |class: Option<&str>, scope, mode, limits: &Limits| {
            let role = match scope {
                LimitScope::Source => Role::Force,
                LimitScope::Candidate => Role::Candidate,
                LimitScope::Aggregate => Role::Aggregate,
            };
            let named = LimitName { service: name.clone(), class: class.map(str::to_owned), role };
            let origin = match rules.limits.contains_key(&named) {
                true => "set while running",
                false if embedded => "default",
                false => "config",
            };
            rows.push(row(named, scope, mode, limits, tick_ns, origin));
        };
        add(None, LimitScope::Source, protection.mode, &protection.limit);
        if protection.candidate != Limits::default() {
            add(None, LimitScope::Candidate, Mode::Observe, &protection.candidate);
        }
        for (class, own) in &protection.class {
            if own.mode.is_some() || own.limit.is_some() {
                let limit = own.limit.as_ref().unwrap_or(&protection.limit);
                add(Some(class), LimitScope::Source, own.mode.unwrap_or(protection.mode), limit);
            }
            if let Some(candidate) = own.candidate.filter(|candidate| *candidate != Limits::default()) {
                add(Some(class), LimitScope::Candidate, Mode::Observe, &candidate);
            }
        }
        let together = protection.aggregate.limits();
        if together != Limits::default() {
            let mode = protection.aggregate.mode.unwrap_or(protection.mode);
            add(None, LimitScope::Aggregate, mode, &together);
        }
    }
    rows
}

fn row(
    name: LimitName,
    scope: LimitScope,
    mode: Mode,
    limits: &Limits,
    tick_ns: u64,
    origin: &str,
) -> LimitInForce {
    let [packets, bytes, connections, fragments] = rates(limits, tick_ns);
    LimitInForce {
        service: name.service,
        class: name.class.unwrap_or_else(|| ANY_CLASS.to_owned()),
        scope,
        mode: told(mode),
        packets,
        bytes,
        connections,
        fragments,
        origin: origin.to_owned(),
    }
}

/// Rates with their bursts, by dimension in the kernel's order. A rate below one per second is shown as one.
fn rates(limits: &Limits, tick_ns: u64) -> [Option<RateAndBurst>; rule::DIMENSIONS] {
    let mut rates = [None; rule::DIMENSIONS];
    for quantity in quantities(limits) {
        let per_second =
            (u128::from(quantity.units) * 1_000_000_000).div_ceil(u128::from(quantity.period_ns));
        rates[quantity.dimension] = Some(RateAndBurst {
            per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
            burst: quantity.burst(tick_ns),
        });
    }
    rates
}

pub const fn told(mode: config::Mode) -> LimitMode {
    match mode {
        Mode::Off => LimitMode::Off,
        Mode::Observe => LimitMode::Observe,
        Mode::Enforce => LimitMode::Enforce,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use policy::config::Config;

    fn rules(text: &str) -> Rules {
        Rules::new(Arc::new(Config::parse(text, "test.toml").unwrap()))
    }

    #[test]
    fn every_limit_is_listed_with_its_burst_and_origin() {
        let rules = rules(
            "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nmode = \"enforce\"\n\
             limit = { packets = \"2k/s\", bytes = \"1 MB/s\" }\naggregate = { packets = \"100k/s\", mode = \"observe\" }\n",
        );
        let rows = in_force(&rules, 4_000_000, false);
        let told: Vec<_> =
            rows.iter().map(|row| (row.service.as_str(), row.scope, row.mode, row.origin.as_str())).collect();
        assert!(told.contains(&("web", LimitScope::Source, LimitMode::Enforce, "config")), "{told:?}");
        assert!(told.contains(&("web", LimitScope::Aggregate, LimitMode::Observe, "config")), "{told:?}");
        let web = rows.iter().find(|row| row.service == "web").unwrap();
        assert_eq!(web.packets, Some(RateAndBurst { per_second: 2000, burst: 2000 }));
        assert_eq!((web.class.as_str(), web.connections), (ANY_CLASS, None));
    }

    #[test]
    fn a_rate_below_one_per_second_is_not_shown_as_nothing() {
        let limits = Limits { packets: Some("10/min".parse().unwrap()), ..Limits::default() };
        assert_eq!(rates(&limits, 4_000_000)[rule::PACKETS].map(|rate| rate.per_second), Some(1));
    }

    #[test]
    fn setting_one_dimension_keeps_the_others() {
        let target = LimitTarget { service: "web".to_owned(), class: None, scope: LimitScope::Source };
        let mut set =
            LimitSet { target, mode: None, packets: None, bytes: None, connections: None, fragments: None };
        let mut value = LimitOverride::default();
        set.packets = Some(RateRequest { per_second: 5, burst: Some(9) });
        merge(&mut value, &set);
        set.packets = None;
        set.mode = Some(LimitMode::Enforce);
        merge(&mut value, &set);
        assert_eq!(value.mode, Some(Mode::Enforce));
        assert_eq!(
            (value.limits.packets, value.limits.packets_burst),
            (Some(PacketRate::per_second(5)), Some(9))
        );
    }
}
