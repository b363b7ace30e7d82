//! Changes that cut the host off from its network or take protection away: they are made only when asked for twice.
//!
//! In: what stands and what would. Out: sentences, each a reason to ask again. It refuses nothing by itself.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::coverage;
use super::delta::{Delta, Standing};
use super::interfaces::Interfaces;
use super::ports::{Host, Neighbourhood};
use api::containments::Subject;
use api::{Code, Error};
use policy::config::{Config, Mode};
use policy::{self, Permission};

/// Letters of a comment.
const LONGEST_COMMENT: usize = 1000;

/// What holds and what would, with what the interfaces and the host say of it.
pub struct View<'a> {
    pub standing: &'a Standing,
    pub next: &'a Standing,
    pub interfaces: &'a Interfaces,
    pub now: Timestamp,
}

/// Everything in `next` that is not in force yet and that nobody should do by mistake.
pub fn dangers(view: &View<'_>, host: &mut dyn Host) -> Vec<String> {
    let View { standing, next, interfaces, now } = view;
    let mut told = wide_exemptions(standing, next);
    told.extend(interfaces_let_go(standing, &next.rules.config, interfaces, host));
    if next.rules.config.access.operator_safe && cuts_somebody(standing, next) {
        told.extend(cut_off(standing, next, &host.network(), *now));
    }
    told
}

fn interfaces_let_go(
    standing: &Standing,
    config: &Config,
    interfaces: &Interfaces,
    host: &mut dyn Host,
) -> Vec<String> {
    let names = &config.interfaces.names;
    if names.is_empty() || *names == standing.rules.config.interfaces.names {
        return Vec::new();
    }
    let links = host.links().unwrap_or_default();
    let next = coverage::choose(names, &links).names;
    let held = interfaces.guarded().iter().filter(|row| row.problem.is_none() && !next.contains(&row.name));
    let mut told: Vec<_> = held.map(|row| format!("{} would not be guarded any more", row.name)).collect();
    let is_there = |name: &str| links.iter().any(|link| link.name == name);
    let missing = next.iter().filter(|name| !interfaces.wants(name) && !is_there(name));
    told.extend(missing.map(|name| format!("there is no interface `{name}`")));
    let pattern = |name: &&String| policy::config::is_pattern(name);
    let fits = |pattern: &str| links.iter().any(|link| policy::config::matches(pattern, &link.name));
    let unmatched = names.iter().filter(pattern).filter(|pattern| !fits(pattern));
    told.extend(unmatched.map(|pattern| format!("no interface matches `{pattern}`")));
    told
}

/// Comments are for people, and people read a few lines.
pub fn refuse_long_comments(delta: &Delta) -> Result<(), Error> {
    let access = delta.access.iter().filter_map(|set| Some(&set.entry.as_ref()?.reason));
    let bans = delta.bans.iter().filter_map(|set| set.ban.as_ref()?.comment.as_ref());
    let contained = delta.containments.iter().filter_map(|set| set.containment.as_ref()?.comment.as_ref());
    match access.chain(bans).chain(contained).find(|comment| comment.chars().count() > LONGEST_COMMENT) {
        Some(_) => Err(Error::new(Code::Invalid, format!("a comment has at most {LONGEST_COMMENT} letters"))
            .next("nothing was changed; write a shorter one")),
        None => Ok(()),
    }
}

/// Exemptions of more than anybody's own network.
fn wide_exemptions(standing: &Standing, next: &Standing) -> Vec<String> {
    let wide = |prefix: &IpNet| match prefix {
        IpNet::V4(v4) => v4.prefix_len() < 8,
        // fc00::/7 and fe80::/10 are nobody else's.
        IpNet::V6(v6) => v6.prefix_len() < 16 && v6.network().segments()[0] < 0xfc00,
    };
    let exempt = |standing: &Standing| -> Vec<IpNet> {
        let rules = &standing.rules;
        let made = rules.access.iter().filter(|entry| entry.permission == Permission::Exempt);
        let made = made.map(|entry| entry.prefix);
        made.chain(rules.config.access.exempt.iter().copied()).filter(wide).collect()
    };
    let before = exempt(standing);
    exempt(next)
        .into_iter()
        .filter(|prefix| !before.contains(prefix))
        .map(|prefix| format!("{prefix} would be exempt, so nothing of it is ever dropped"))
        .collect()
}

/// Whether anybody is denied, banned or contained who was not before.
fn cuts_somebody(standing: &Standing, next: &Standing) -> bool {
    !newly_denied(standing, next).is_empty()
        || next.bans.keys().any(|source| !standing.bans.contains_key(source))
        || next.containments.keys().any(|subject| !standing.containments.contains_key(subject))
}

/// Prefixes that `next` denies and `standing` does not.
fn newly_denied<'a>(standing: &'a Standing, next: &'a Standing) -> Vec<&'a IpNet> {
    let before: HashSet<_> = denied(standing).collect();
    denied(next).filter(|prefix| !before.contains(prefix)).collect()
}

/// Prefixes that are denied by hand or in the file. Lists have safeguards of their own.
fn denied(standing: &Standing) -> impl Iterator<Item = &IpNet> {
    let rules = &standing.rules;
    let made = rules.access.iter().filter(|entry| entry.permission == Permission::Deny);
    made.map(|entry| &entry.prefix).chain(&rules.config.access.denied)
}

/// What of the host's own network would be dropped.
fn cut_off(standing: &Standing, next: &Standing, network: &Neighbourhood, now: Timestamp) -> Vec<String> {
    let gateways = network.gateways.iter().map(|address| (*address, "the gateway"));
    let own = next.rules.own.iter().map(|address| (*address, "an address of this host"));
    let hosts: Vec<(IpAddr, &str)> = gateways.chain(own).collect();
    let addresses: Vec<_> = hosts.iter().map(|(address, _)| *address).collect();
    let role =
        |address: IpAddr| hosts.iter().find(|(host, _)| *host == address).map_or("", |(_, role)| *role);
    let already = policy::would_cut(&standing.rules, &addresses, now);
    let mut told: Vec<_> = policy::would_cut(&next.rules, &addresses, now)
        .into_iter()
        .filter(|cut| !already.contains(cut))
        .map(|cut| {
            format!(
                "{} ({}) lies in {} (the denial, by {})",
                cut.address,
                role(cut.address),
                cut.prefix,
                cut.from
            )
        })
        .collect();
    let sources =
        next.bans.keys().filter(|source| !standing.bans.contains_key(source)).map(|source| (*source, "ban"));
    let contained = next.containments.iter().filter_map(|(subject, one)| match subject {
        Subject::Source(source)
            if one.mode == Mode::Enforce && !standing.containments.contains_key(subject) =>
        {
            Some((*source, "containment"))
        }
        _ => None,
    });
    for (source, what) in sources.chain(contained) {
        let hit = hosts.iter().filter(|(address, _)| source.contains(address));
        told.extend(hit.map(|(address, role)| format!("{address} ({role}) lies in {source} (the {what})")));
    }
    for prefix in newly_denied(standing, next) {
        let whole = network.networks.iter().filter(|network| prefix.contains(*network));
        told.extend(
            whole.map(|network| format!("{network} (a network of this host) lies in {prefix} (the denial)")),
        );
    }
    told
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use policy::{AccessEntry, Rules};

    fn standing() -> Standing {
        let mut rules = Rules::new(Arc::new(Config::default()));
        rules.own = vec!["10.77.0.1".parse().unwrap()];
        Standing { rules, bans: BTreeMap::new(), containments: BTreeMap::new() }
    }

    fn with(permission: Permission, prefix: &str) -> Standing {
        let mut next = standing();
        let entry = AccessEntry {
            prefix: prefix.parse().unwrap(),
            permission,
            until: None,
            reason: String::new(),
            origin: "uid 0".to_owned(),
        };
        next.rules.access.push(entry);
        next
    }

    fn now() -> Timestamp {
        "2026-11-27T06:00:00Z".parse().unwrap()
    }

    fn network() -> Neighbourhood {
        Neighbourhood {
            gateways: vec!["10.77.0.2".parse().unwrap(), "fe80::1".parse().unwrap()],
            networks: ["10.77.0.0/24", "fe80::/64", "fd77::/64"].map(|net| net.parse().unwrap()).to_vec(),
        }
    }

    #[test]
    fn gateway_network_and_own_address_are_not_denied_by_mistake() {
        for prefix in ["10.77.0.2/32", "10.77.0.0/24", "10.0.0.0/8", "10.77.0.1/32", "fe80::/10", "fd77::/64"]
        {
            let next = with(Permission::Deny, prefix);
            assert!(cuts_somebody(&standing(), &next));
            assert!(!cut_off(&standing(), &next, &network(), now()).is_empty(), "{prefix}");
            assert!(cut_off(&next, &next, &network(), now()).is_empty(), "what stands is no change");
        }
        for prefix in ["10.77.0.9/32", "198.51.100.0/24", "fd77::9/128"] {
            let told = cut_off(&standing(), &with(Permission::Deny, prefix), &network(), now());
            assert!(told.is_empty(), "{told:?}");
        }
    }

    #[test]
    fn nobody_exempts_the_world_by_mistake() {
        for prefix in ["0.0.0.0/0", "128.0.0.0/1", "::/0", "2000::/3"] {
            assert_eq!(wide_exemptions(&standing(), &with(Permission::Exempt, prefix)).len(), 1, "{prefix}");
        }
        for prefix in ["10.0.0.0/8", "fc00::/7", "fe80::/10", "2001:db8::/32"] {
            assert!(wide_exemptions(&standing(), &with(Permission::Exempt, prefix)).is_empty(), "{prefix}");
        }
    }
}
