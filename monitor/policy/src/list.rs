//! Lists of prefixes from files: tolerant of their many styles, careful with what they may cover.

mod lines;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::Rules;
use crate::config::{AccessList, ListAction};

/// Skipped lines that are told; a file of another kind would yield as many as it has lines.
const MOST_SKIPPED: usize = 1000;

/// A list as it was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedList {
    /// The file, as the configuration names it.
    pub name: String,
    pub action: ListAction,
    /// Sorted, adjacent ones joined, none inside another.
    pub prefixes: Vec<IpNet>,
    /// Lines that were not taken.
    pub skipped: Vec<LineError>,
}

/// A line that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    /// Counts from 1.
    pub line: usize,
    pub text: String,
    pub problem: String,
}

/// The safeguards of an import.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPolicy {
    pub shortest_ipv4: u8,
    pub shortest_ipv6: u8,
    pub largest_share: f64,
    /// Never covered: the operator's addresses, exempt, inside and own networks.
    pub protected: Vec<IpNet>,
}

impl ListPolicy {
    /// The safeguards of `list` under `rules`, with `operators` (addresses of present control connections) protected.
    pub fn of(list: &AccessList, rules: &Rules, operators: &[IpAddr]) -> Self {
        let config = &rules.config;
        let protected = config.access.inside.iter().chain(&config.access.exempt).copied();
        let hosts = rules.own.iter().chain(operators).map(|address| super::access::host(*address));
        // No list may cut what every host needs: loopback, and the link-local addresses of neighbour discovery.
        let always = [
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
        ];
        Self {
            shortest_ipv4: list.shortest_ipv4,
            shortest_ipv6: list.shortest_ipv6,
            largest_share: list.largest_share,
            protected: protected.chain(hosts).chain(always).collect(),
        }
    }
}

impl ImportedList {
    /// What `newer` has in addition, and what it lacks.
    pub fn difference(&self, newer: &Self) -> (Vec<IpNet>, Vec<IpNet>) {
        let without = |prefixes: &[IpNet], other: &[IpNet]| {
            let other: BTreeSet<&IpNet> = other.iter().collect();
            prefixes.iter().filter(|prefix| !other.contains(prefix)).copied().collect()
        };
        (without(&newer.prefixes, &self.prefixes), without(&self.prefixes, &newer.prefixes))
    }
}

/// The prefixes in `text`. An error is one that forbids the list as a whole (it covers too much).
///
/// Understood are, one a line: a prefix or an address, a range `first-last`, columns `first last length`, and JSON
/// objects with a `cidr`; comments begin with `#`, `;` or `//`. A line that is not understood, or that the safeguards
/// refuse, is skipped and told.
pub fn import(
    name: &str,
    action: ListAction,
    text: &str,
    policy: &ListPolicy,
) -> Result<ImportedList, String> {
    let mut taken = Vec::new();
    let mut skipped = Vec::new();
    for (position, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let mut skip = |problem: String| {
            if skipped.len() < MOST_SKIPPED {
                let text = line.trim().chars().take(80).collect();
                skipped.push(LineError { line: position + 1, text, problem });
            }
        };
        match lines::prefixes(line) {
            Ok(prefixes) => {
                for prefix in prefixes {
                    match policy.refuses(prefix, action) {
                        Some(problem) => skip(problem),
                        None => taken.push(prefix),
                    }
                }
            }
            Err(problem) => skip(problem),
        }
    }
    let mut prefixes = IpNet::aggregate(&taken);
    prefixes.sort_unstable();
    for (family, share) in shares(&prefixes) {
        if share > policy.largest_share {
            return Err(format!(
                "{name} covers {:.1} % of the {family} address space, more than largest_share = {} permits: nothing of it \
                 was taken",
                share * 100.0,
                policy.largest_share
            ));
        }
    }
    Ok(ImportedList { name: name.to_owned(), action, prefixes, skipped })
}

impl ListPolicy {
    /// Why a prefix is not taken.
    fn refuses(&self, prefix: IpNet, action: ListAction) -> Option<String> {
        let shortest = if prefix.addr().is_ipv4() { self.shortest_ipv4 } else { self.shortest_ipv6 };
        if prefix.prefix_len() < shortest {
            return Some(format!(
                "{prefix} covers too much: the shortest prefix that is taken is /{shortest}"
            ));
        }
        if action == ListAction::Exempt {
            return None;
        }
        let meets = |other: &&IpNet| prefix.contains(*other) || other.contains(&prefix);
        let protected = self.protected.iter().find(meets)?;
        Some(format!("{prefix} meets {protected}, which is protected"))
    }
}

/// How much of the address space of each family is covered: of all of IPv4, and of IPv6's global unicast (`2000::/3`).
fn shares(prefixes: &[IpNet]) -> [(&'static str, f64); 2] {
    let mut v4 = 0.0;
    let mut v6 = 0.0;
    for prefix in prefixes {
        match prefix {
            IpNet::V4(prefix) => v4 += 0.5f64.powi(i32::from(prefix.prefix_len())),
            IpNet::V6(prefix) => v6 += 0.5f64.powi(i32::from(prefix.prefix_len()) - 3),
        }
    }
    [("IPv4", v4), ("IPv6", v6)]
}

#[cfg(test)]
mod tests;
