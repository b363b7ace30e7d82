//! `limit list`, `limit set`, `limit unset`: what the rules say of rates, and plans that say otherwise.
//!
//! In: requests by name. Out: plans, and every limit as it holds. Bursts that nobody named are chosen as the
//! configuration would.

use monitor_common::rule;

use super::command::{LimitSet, LimitTarget};
use super::delta::{Delta, LimitSetting};
use super::plan::Plan;
use super::tune::strangers;
use crate::snapshot::{LimitInForce, RateAndBurst};
use api::{Code, Error};
use policy::config::{Bytes, DEFAULT_SERVICE, Limits, Mode, Unit, nearest, quantities};
use policy::{Dimension, EffectiveService, LimitKind, LimitName, LimitOverride, Rules};
use tuning::aggregates::Standing;

/// How a limit that holds for every class without one of its own is listed.
pub const ANY_CLASS: &str = "any";

/// A plan that sets rates or the mode of one limit; what is not named stays.
pub fn set(rules: &Rules, set: &LimitSet) -> Result<Plan, Error> {
    let rates = set.rates().map(|(_, rate)| rate);
    if set.mode.is_none() && set.concurrent.is_none() && rates.iter().all(Option::is_none) {
        return Err(Error::new(Code::Invalid, "nothing to set").next("name a mode or a rate"));
    }
    if rates.iter().flatten().any(|rate| rate.rate.amount == 0) {
        return Err(Error::new(Code::Invalid, "a rate of 0 is a denial, not a limit")
            .next("deny the prefix, or set the mode to off"));
    }
    if set.concurrent == Some(0) {
        return Err(Error::new(Code::Invalid, "no connection at all is a denial, not a limit")
            .next("deny the prefix, or set the mode to off"));
    }
    check_units(set)?;
    let name = named(rules, &set.target())?;
    let mut value = rules.limits.get(&name).cloned().unwrap_or_default();
    merge(&mut value, set);
    let what = format!("limit set {}", describe(&name));
    let asked = Some(Box::new(set.clone()));
    let delta = Delta { limits: vec![LimitSetting { name, value: Some(value), asked }], ..Delta::default() };
    Ok(Plan::new(what, delta))
}

/// A plan that takes one limit back to what the configuration says.
pub fn unset(rules: &Rules, target: &LimitTarget) -> Result<Plan, Error> {
    let name = named(rules, target)?;
    if !rules.limits.contains_key(&name) {
        return Err(Error::new(Code::NotFound, format!("{} was not set while running", describe(&name)))
            .next("what the configuration says is changed in its file; `limit set --mode off` lifts it"));
    }
    let what = format!("limit unset {}", describe(&name));
    let delta = Delta { limits: vec![LimitSetting { name, value: None, asked: None }], ..Delta::default() };
    Ok(Plan::new(what, delta))
}

/// The limit that is meant, if there are such a service and class.
fn named(rules: &Rules, target: &LimitTarget) -> Result<LimitName, Error> {
    let services: Vec<_> = std::iter::once(DEFAULT_SERVICE)
        .chain(rules.config.services.iter().map(|service| service.name.as_str()))
        .collect();
    known("service", &target.service, &services)?;
    let class = target.class.as_deref().filter(|class| *class != ANY_CLASS);
    if let Some(class) = class {
        known("class", class, &rules.classes())?;
        if target.kind == LimitKind::Aggregate {
            return Err(Error::new(Code::Invalid, "an aggregate counts all classes together")
                .next("leave the class out"));
        }
    }
    Ok(LimitName { service: target.service.clone(), class: class.map(str::to_owned), kind: target.kind })
}

/// Refuses a name that is not among `all`, with the nearest that is.
pub fn known(kind: &str, name: &str, all: &[&str]) -> Result<(), Error> {
    if all.contains(&name) {
        return Ok(());
    }
    let error = Error::new(Code::NotFound, format!("there is no {kind} {name:?}"));
    Err(match nearest(name, all.iter().copied()) {
        Some(near) => error.next(format!("did you mean {near:?}?")),
        None => error.next(format!("there are {}", all.join(", "))),
    })
}

/// Puts what was asked for into a limit; the rest of it stays.
pub fn merge(value: &mut LimitOverride, set: &LimitSet) {
    if let Some(mode) = set.mode {
        value.mode = Some(mode);
    }
    let limits = &mut value.limits;
    let mut set_dimensions = Vec::new();
    for (dimension, asked, rate, burst) in [
        (Dimension::Packets, set.packets, &mut limits.packets, &mut limits.packets_burst),
        (Dimension::Connections, set.connections, &mut limits.connections, &mut limits.connections_burst),
        (Dimension::Fragments, set.fragments, &mut limits.fragments, &mut limits.fragments_burst),
        (Dimension::Requests, set.requests, &mut limits.requests, &mut limits.requests_burst),
        (Dimension::Handshakes, set.handshakes, &mut limits.handshakes, &mut limits.handshakes_burst),
    ] {
        let Some(asked) = asked else { continue };
        (*rate, *burst) = (Some(asked.rate), asked.burst);
        set_dimensions.push(dimension);
    }
    if let Some(asked) = set.bytes {
        (limits.bytes, limits.bytes_burst) = (Some(asked.rate), asked.burst.map(Bytes));
        set_dimensions.push(Dimension::Bytes);
    }
    if set.concurrent.is_some() {
        limits.concurrent = set.concurrent;
        set_dimensions.push(Dimension::Concurrent);
    }
    value.lifted.retain(|dimension| !set_dimensions.contains(dimension));
}

/// Refuses a rate whose unit does not fit its dimension.
fn check_units(set: &LimitSet) -> Result<(), Error> {
    let counted = [
        ("packets", set.packets),
        ("connections", set.connections),
        ("fragments", set.fragments),
        ("requests", set.requests),
        ("handshakes", set.handshakes),
    ];
    for (name, asked) in counted {
        if asked.is_some_and(|asked| asked.rate.unit != Unit::Count) {
            return Err(Error::new(Code::Invalid, format!("{name} are not counted in bytes"))
                .next("write a count per time, as in \"2k/s\" or \"100/min\""));
        }
    }
    if set.bytes.is_some_and(|asked| asked.rate.unit == Unit::Count) {
        return Err(Error::new(Code::Invalid, "a rate of bytes needs its unit")
            .next("write it as in \"50 Mbit/s\" or \"10 MB/s\""));
    }
    Ok(())
}

fn describe(name: &LimitName) -> String {
    let class = name.class.as_ref().map(|class| format!(" class {class}")).unwrap_or_default();
    let role = match name.kind {
        LimitKind::PerSource => "",
        LimitKind::Trial => " (on trial)",
        LimitKind::Aggregate => " (all sources together)",
    };
    format!("{}{class}{role}", name.service)
}

/// Every limit as it holds, in the order of the file.
pub fn in_force(rules: &Rules, automatic: &[Standing], tick_ns: u64, embedded: bool) -> Vec<LimitInForce> {
    let mut rows = Vec::new();
    for EffectiveService { name, protection, .. } in rules.services() {
        let mut add = |class: Option<&str>, kind, mode, limits: &Limits| {
            let named = LimitName { service: name.clone(), class: class.map(str::to_owned), kind };
            let origin = match rules.limits.contains_key(&named) {
                true => "set while running",
                false if embedded => "default",
                false => "config",
            };
            rows.push(row(named, mode, limits, tick_ns, origin));
        };
        add(None, LimitKind::PerSource, protection.mode, &protection.limit);
        if protection.trial != Limits::default() {
            add(None, LimitKind::Trial, Mode::Observe, &protection.trial);
        }
        for (class, own) in &protection.class {
            if own.mode.is_some() || own.limit.is_some() {
                let limit = own.limit.as_ref().unwrap_or(&protection.limit);
                add(Some(class), LimitKind::PerSource, own.mode.unwrap_or(protection.mode), limit);
            }
            if let Some(trial) = own.trial.filter(|trial| *trial != Limits::default()) {
                add(Some(class), LimitKind::Trial, Mode::Observe, &trial);
            }
        }
        let together = protection.aggregate.limits();
        if together != Limits::default() {
            let mode = protection.aggregate.mode.unwrap_or(protection.mode);
            add(None, LimitKind::Aggregate, mode, &together);
        } else if let Some(found) = automatic.iter().find(|standing| standing.service == name) {
            let named = LimitName { service: name, class: None, kind: LimitKind::Aggregate };
            let most = protection.aggregate.mode.unwrap_or(protection.mode);
            let mode = strangers::mode_of(found.state).min(most);
            let origin = format!("auto, for strangers ({})", found.share.basis.label());
            rows.push(row(named, mode, &strangers::rates(found.share.strangers), tick_ns, &origin));
        }
    }
    rows
}

fn row(name: LimitName, mode: Mode, limits: &Limits, tick_ns: u64, origin: &str) -> LimitInForce {
    let [packets, bytes, connections, fragments, requests, handshakes] = rates(limits, tick_ns);
    LimitInForce {
        service: name.service,
        class: name.class.unwrap_or_else(|| ANY_CLASS.to_owned()),
        kind: name.kind,
        mode,
        packets,
        bytes,
        connections,
        fragments,
        requests,
        handshakes,
        concurrent: limits.concurrent,
        origin: origin.to_owned(),
    }
}

/// Rates as they were written with their bursts, by dimension in the kernel's order.
fn rates(limits: &Limits, tick_ns: u64) -> [Option<RateAndBurst>; rule::EVERY_DIMENSION] {
    let mut rates = [None; rule::EVERY_DIMENSION];
    for quantity in quantities(limits) {
        let written = match quantity.dimension {
            rule::PACKETS => limits.packets,
            rule::BYTES => limits.bytes,
            rule::CONNECTIONS => limits.connections,
            rule::FRAGMENTS => limits.fragments,
            rule::REQUESTS => limits.requests,
            _ => limits.handshakes,
        };
        rates[quantity.dimension] = written.map(|rate| RateAndBurst { rate, burst: quantity.burst(tick_ns) });
    }
    rates
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::command::RateRequest;
    use super::*;
    use policy::config::{Config, Rate};

    fn rules(text: &str) -> Rules {
        Rules::new(Arc::new(Config::parse(text, "test.toml").unwrap()))
    }

    #[test]
    fn every_limit_is_listed_with_its_burst_and_origin() {
        let rules = rules(
            "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nmode = \"enforce\"\n\
             limit = { packets = \"2k/s\", bytes = \"1 MB/s\" }\naggregate = { packets = \"100k/s\", mode = \"observe\" }\n",
        );
        let rows = in_force(&rules, &[], 4_000_000, false);
        let told: Vec<_> =
            rows.iter().map(|row| (row.service.as_str(), row.kind, row.mode, row.origin.as_str())).collect();
        assert!(told.contains(&("web", LimitKind::PerSource, Mode::Enforce, "config")), "{told:?}");
        assert!(told.contains(&("web", LimitKind::Aggregate, Mode::Observe, "config")), "{told:?}");
        let web = rows.iter().find(|row| row.service == "web").unwrap();
        assert_eq!(web.packets, Some(RateAndBurst { rate: Rate::per_second(2000), burst: 2000 }));
        assert_eq!((web.class.as_str(), web.connections), (ANY_CLASS, None));
    }

    #[test]
    fn every_rate_is_listed_as_it_was_written() {
        let limits = Limits {
            packets: Some(Rate::counted("10/min").unwrap()),
            bytes: Some(Rate::of_bytes("3 MB/h").unwrap()),
            ..Limits::default()
        };
        let told = rates(&limits, 4_000_000).map(|rate| rate.map(|rate| rate.rate.to_string()));
        assert_eq!(told[rule::PACKETS].as_deref(), Some("10/min"));
        assert_eq!(told[rule::BYTES].as_deref(), Some("3 MB/h"));
    }

    #[test]
    fn a_rate_of_the_wrong_kind_is_refused() {
        let none = LimitSet { service: "web".to_owned(), ..LimitSet::default() };
        let bytes = RateRequest { rate: Rate::bytes_per_second(1000), burst: None };
        let counted = RateRequest { rate: Rate::per_second(5), burst: None };
        assert!(check_units(&LimitSet { packets: Some(bytes), ..none.clone() }).is_err());
        assert!(check_units(&LimitSet { bytes: Some(counted), ..none.clone() }).is_err());
        assert!(check_units(&LimitSet { bytes: Some(bytes), fragments: Some(counted), ..none }).is_ok());
    }

    #[test]
    fn setting_one_dimension_keeps_the_others() {
        let mut set = LimitSet { service: "web".to_owned(), ..LimitSet::default() };
        let mut value = LimitOverride::default();
        set.packets = Some(RateRequest { rate: Rate::per_second(5), burst: Some(9) });
        merge(&mut value, &set);
        set.packets = None;
        set.mode = Some(Mode::Enforce);
        merge(&mut value, &set);
        assert_eq!(value.mode, Some(Mode::Enforce));
        assert_eq!((value.limits.packets, value.limits.packets_burst), (Some(Rate::per_second(5)), Some(9)));
    }
}
