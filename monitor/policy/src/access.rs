//! All prefixes that say something about a source, from wherever they come, as one list.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Rules, reverse_path};
use crate::config::{ListAction, Mode};

/// What a prefix grants or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Never dropped; still counted and judged.
    Exempt,
    /// Always dropped, unless exempt.
    Deny,
}

/// One statement about a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    Permission {
        permission: Permission,
        /// Absent: for ever.
        until: Option<Timestamp>,
    },
    /// The class's number.
    Class(u32),
    /// The host depends on it.
    Lifeline,
    /// It comes only through these slots, a bit each.
    Arrives(u16),
}

/// A prefix, what is said about it, and where that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub prefix: IpNet,
    pub grant: Grant,
    /// For people: `access.denied`, `the list /etc/...`, `uid 1000: scanning`.
    pub source: String,
}

/// Every statement that holds at `now`, in rising precedence of classes at equal length.
pub(super) fn statements(rules: &Rules, now: Timestamp) -> Vec<Statement> {
    let config = &rules.config;
    let mut all = Vec::new();
    let mut say = |prefix: IpNet, grant: Grant, source: &str| {
        all.push(Statement { prefix: prefix.trunc(), grant, source: source.to_owned() });
    };
    for prefix in &config.access.inside {
        say(*prefix, Grant::Class(monitor_common::rule::INSIDE), "access.inside");
    }
    for address in &rules.own {
        say(host(*address), Grant::Class(monitor_common::rule::INSIDE), "the host's own address");
    }
    let mut number = monitor_common::rule::INSIDE;
    for class in &config.classes {
        number += 1;
        for prefix in &class.prefixes {
            say(*prefix, Grant::Class(number), &format!("class {}", class.name));
        }
    }
    for address in &rules.surroundings.lifelines {
        // As the kernel bans: a source whole.
        if let Ok(source) = IpNet::new(*address, config.source.bits(*address)) {
            say(source, Grant::Lifeline, "the host depends on it");
        }
    }
    let for_ever = |permission| Grant::Permission { permission, until: None };
    for prefix in &config.access.exempt {
        say(*prefix, for_ever(Permission::Exempt), "access.exempt");
    }
    for prefix in &config.access.denied {
        say(*prefix, for_ever(Permission::Deny), "access.denied");
    }
    for list in &rules.lists {
        let permission = match list.action {
            ListAction::Deny => Permission::Deny,
            ListAction::Exempt => Permission::Exempt,
        };
        let source = format!("the list {}", list.name);
        for prefix in &list.prefixes {
            say(*prefix, for_ever(permission), &source);
        }
    }
    for entry in rules.access.iter().filter(|entry| entry.until.is_none_or(|until| until > now)) {
        let source = match (entry.origin.is_empty(), entry.reason.is_empty()) {
            (_, true) => entry.origin.clone(),
            (true, false) => entry.reason.clone(),
            (false, false) => format!("{}: {}", entry.origin, entry.reason),
        };
        say(entry.prefix, Grant::Permission { permission: entry.permission, until: entry.until }, &source);
    }
    for (interface, prefixes) in &config.access.exempt_on {
        let source = format!("access.exempt_on.{interface}");
        for prefix in prefixes {
            say(*prefix, for_ever(Permission::Exempt), &source);
        }
    }
    if config.access.reverse_path != Mode::Off {
        all.extend(arrivals(rules, &all));
    }
    all
}

/// Where the sources that are granted something can come from.
fn arrivals(rules: &Rules, all: &[Statement]) -> Vec<Statement> {
    let privileged = all.iter().filter(|statement| match &statement.grant {
        Grant::Permission { permission, .. } => *permission == Permission::Exempt,
        Grant::Class(_) => true,
        Grant::Lifeline | Grant::Arrives(_) => false,
    });
    let surroundings = &rules.surroundings;
    let mut masks =
        reverse_path::arrivals(surroundings, privileged.map(|statement| statement.prefix), &rules.own);
    if !surroundings.slots.is_empty() {
        for (interface, prefixes) in &rules.config.access.exempt_on {
            let slot =
                surroundings.slots.get(interface).map_or(0, |slot| 1u16.checked_shl(*slot).unwrap_or(0));
            masks.extend(prefixes.iter().map(|prefix| (prefix.trunc(), 1 | slot)));
        }
    }
    let said = |(prefix, mask)| Statement {
        prefix,
        grant: Grant::Arrives(mask),
        source: "the host's routes".to_owned(),
    };
    masks.into_iter().map(said).collect()
}

/// The prefix of one address.
pub(super) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
