//! All prefixes that say something about a source, from wherever they come, as one list.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccessEntry, ImportedList, Rules, reverse_path};
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

/// A prefix, what is said about it, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    pub prefix: IpNet,
    pub grant: Grant,
    pub source: Source<'a>,
}

/// Where a statement is written, put into words only when somebody asks: there may be a million statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source<'a> {
    Place(&'static str),
    Class(&'a str),
    List(&'a str),
    ExemptOn(&'a str),
    Entry(&'a AccessEntry),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => f.write_str(place),
            Self::Class(name) => write!(f, "class {name}"),
            Self::List(name) => write!(f, "the list {name}"),
            Self::ExemptOn(interface) => write!(f, "access.exempt_on.{interface}"),
            Self::Entry(AccessEntry { origin, reason, .. }) => match (origin.is_empty(), reason.is_empty()) {
                (_, true) => f.write_str(origin),
                (true, false) => f.write_str(reason),
                (false, false) => write!(f, "{origin}: {reason}"),
            },
        }
    }
}

impl Statement<'_> {
    pub(super) const fn is_denial(&self) -> bool {
        matches!(self.grant, Grant::Permission { permission: Permission::Deny, .. })
    }
}

/// Every statement that holds at `now`, in rising precedence of classes at equal length.
pub(super) fn statements(rules: &Rules, now: Timestamp) -> Vec<Statement<'_>> {
    let mut all = Vec::new();
    configured(rules, |statement| all.push(statement));
    for list in rules.lists.iter() {
        all.extend(list.prefixes.iter().map(|prefix| listed(list, *prefix)));
    }
    made(rules, now, |statement| all.push(statement));
    let arrivals = arrivals(rules, &all);
    all.extend(arrivals);
    all
}

/// The statements that cover `address`, in the same order. Where it can come from is not among them.
pub(super) fn covering<'a>(rules: &'a Rules, address: IpAddr, now: Timestamp) -> Vec<Statement<'a>> {
    let mut all = Vec::new();
    let mut take = |statement: Statement<'a>| {
        if statement.prefix.contains(&address) {
            all.push(statement);
        }
    };
    configured(rules, &mut take);
    for list in rules.lists.iter() {
        list.covering(IpNet::from(address)).for_each(|prefix| take(listed(list, prefix)));
    }
    made(rules, now, take);
    all
}

/// A statement of a list.
pub(super) fn listed(list: &ImportedList, prefix: IpNet) -> Statement<'_> {
    let permission = match list.action {
        ListAction::Deny => Permission::Deny,
        ListAction::Exempt => Permission::Exempt,
    };
    let grant = Grant::Permission { permission, until: None };
    Statement { prefix: prefix.trunc(), grant, source: Source::List(&list.name) }
}

/// What the configuration and the host say, but for its routes.
pub(super) fn configured<'a>(rules: &'a Rules, mut take: impl FnMut(Statement<'a>)) {
    let config = &rules.config;
    let mut say = |prefix: IpNet, grant: Grant, source: Source<'a>| {
        take(Statement { prefix: prefix.trunc(), grant, source });
    };
    for prefix in &config.access.inside {
        say(*prefix, Grant::Class(monitor_common::rule::INSIDE), Source::Place("access.inside"));
    }
    for address in &rules.own {
        let source = Source::Place("the host's own address");
        say(host(*address), Grant::Class(monitor_common::rule::INSIDE), source);
    }
    let mut number = monitor_common::rule::INSIDE;
    for class in &config.classes {
        number += 1;
        for prefix in &class.prefixes {
            say(*prefix, Grant::Class(number), Source::Class(&class.name));
        }
    }
    for address in &rules.surroundings.lifelines {
        // As the kernel bans: a source whole.
        if let Ok(source) = IpNet::new(*address, config.source.bits(*address)) {
            say(source, Grant::Lifeline, Source::Place("the host depends on it"));
        }
    }
    let for_ever = |permission| Grant::Permission { permission, until: None };
    for prefix in &config.access.exempt {
        say(*prefix, for_ever(Permission::Exempt), Source::Place("access.exempt"));
    }
    for prefix in &config.access.denied {
        say(*prefix, for_ever(Permission::Deny), Source::Place("access.denied"));
    }
}

/// What was said while running and still holds at `now`, and the exemptions that are bound to an interface.
pub(super) fn made<'a>(rules: &'a Rules, now: Timestamp, mut take: impl FnMut(Statement<'a>)) {
    for entry in rules.access.iter().filter(|entry| entry.until.is_none_or(|until| until > now)) {
        let grant = Grant::Permission { permission: entry.permission, until: entry.until };
        take(Statement { prefix: entry.prefix.trunc(), grant, source: Source::Entry(entry) });
    }
    let exempt = Grant::Permission { permission: Permission::Exempt, until: None };
    for (interface, prefixes) in &rules.config.access.exempt_on {
        for prefix in prefixes {
            let source = Source::ExemptOn(interface);
            take(Statement { prefix: prefix.trunc(), grant: exempt.clone(), source });
        }
    }
}

/// Where the sources that are granted something can come from.
pub(super) fn arrivals(rules: &Rules, all: &[Statement<'_>]) -> Vec<Statement<'static>> {
    if rules.config.access.reverse_path == Mode::Off {
        return Vec::new();
    }
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
        source: Source::Place("the host's routes"),
    };
    masks.into_iter().map(said).collect()
}

/// The prefix of one address.
pub(super) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
