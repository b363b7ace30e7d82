//! Lists of prefixes from files: tolerant of their many styles, careful with what they may cover.
//!
//! In: the bytes of a list in whatever format. Out: its prefixes, and every entry that was not taken with the reason why:
//! taken and skipped together are all entries.

mod entry;
mod json;
mod line;
mod nft;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use self::line::Line;
use super::Rules;
use crate::config::{AccessList, ListAction};

/// Longer lines are none of a list.
const LONGEST_LINE: usize = 4096;

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
    /// Entries that were not taken, the first thousand of them.
    pub skipped: Vec<LineError>,
    /// Entries: lines that are neither empty, a comment nor a part of the format, or values of a JSON document.
    #[serde(default)]
    pub lines: usize,
    /// Entries that were taken, and those that were not: together all.
    #[serde(default)]
    pub taken_lines: usize,
    #[serde(default)]
    pub skipped_lines: usize,
}

/// A line that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    /// Counts from 1; in a JSON document of several lines, the entry.
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
    /// A list of which every prefix is taken.
    pub fn of(name: impl Into<String>, action: ListAction, prefixes: Vec<IpNet>) -> Self {
        let lines = prefixes.len();
        let (skipped, name) = (Vec::new(), name.into());
        Self { name, action, prefixes, skipped, lines, taken_lines: lines, skipped_lines: 0 }
    }

    /// The prefix that covers all of `prefix`: none lies inside another, so there is one at most.
    pub fn covering(&self, prefix: IpNet) -> impl Iterator<Item = IpNet> {
        let next = self.prefixes.partition_point(|one| *one <= prefix);
        next.checked_sub(1).map(|at| self.prefixes[at]).filter(|one| one.contains(&prefix)).into_iter()
    }

    /// The prefixes within `prefix` that are longer than it.
    pub(super) fn within(&self, prefix: IpNet) -> &[IpNet] {
        let rest = &self.prefixes[self.prefixes.partition_point(|one| *one <= prefix)..];
        &rest[..rest.partition_point(|one| prefix.contains(one))]
    }

    /// What `newer` has in addition, and what it lacks.
    pub fn difference(&self, newer: &Self) -> (Vec<IpNet>, Vec<IpNet>) {
        let without = |prefixes: &[IpNet], other: &[IpNet]| {
            let other: BTreeSet<&IpNet> = other.iter().collect();
            prefixes.iter().filter(|prefix| !other.contains(prefix)).copied().collect()
        };
        (without(&newer.prefixes, &self.prefixes), without(&self.prefixes, &newer.prefixes))
    }
}

/// The prefixes in `bytes`. An error is one that forbids the list as a whole (it covers too much).
///
/// Formats are told apart by what is there (docs/reference/configuration.md lists them). An entry that is not understood, or that the
/// safeguards refuse, is skipped and told. Text that is not UTF-8 is read as Latin-1, so that a name in a comment spoils
/// nothing.
pub fn import(
    name: &str,
    action: ListAction,
    bytes: &[u8],
    policy: &ListPolicy,
) -> Result<ImportedList, String> {
    let mut reading = Reading { action, policy, taken: Vec::new(), skipped: Vec::new(), counts: (0, 0) };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let begins = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let document = if matches!(begins, Some(b'{' | b'[')) {
        serde_json::from_slice::<serde_json::Value>(bytes).ok()
    } else {
        None
    };
    match document {
        Some(document) => {
            for (position, (text, read)) in json::entries(&document).into_iter().enumerate() {
                reading.take(position + 1, &text, read);
            }
        }
        None => reading.lines(bytes),
    }
    let Reading { taken, skipped, counts: (taken_lines, skipped_lines), .. } = reading;
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
    let lines = taken_lines + skipped_lines;
    Ok(ImportedList { name: name.to_owned(), action, prefixes, skipped, lines, taken_lines, skipped_lines })
}

/// A list on its way through the grammar.
struct Reading<'a> {
    action: ListAction,
    policy: &'a ListPolicy,
    taken: Vec<IpNet>,
    skipped: Vec<LineError>,
    /// Entries that were taken, and those that were not.
    counts: (usize, usize),
}

impl Reading<'_> {
    fn lines(&mut self, bytes: &[u8]) {
        let mut heading = None;
        let mut nft = None::<nft::Reader>;
        let mut first = true;
        for (position, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let number = position + 1;
            if line.len() > LONGEST_LINE {
                let shown = text_of(line.get(..80).unwrap_or_default());
                self.take(number, &shown, Line::Skipped(format!("longer than {LONGEST_LINE} bytes")));
                continue;
            }
            let text = text_of(line);
            if let Some(reader) = &mut nft {
                let elements = reader.read(&text);
                for (element, read) in elements {
                    self.take(number, &element, read);
                }
                continue;
            }
            if nft::begins(&text) {
                let elements = nft.insert(nft::Reader::default()).read(&text);
                for (element, read) in elements {
                    self.take(number, &element, read);
                }
                continue;
            }
            let trimmed = text.trim();
            if trimmed.starts_with(['{', '[']) {
                self.json_line(number, trimmed);
                continue;
            }
            // A heading stands above the first entry, as a comment or not.
            if first && let Some(found) = line::Heading::of(trimmed) {
                heading = Some(found);
                continue;
            }
            let read = line::read(&text, heading);
            first &= read == Line::NoEntry;
            self.take(number, trimmed, read);
        }
    }

    /// A line that is a JSON value, or one of an array that is written one object a line.
    fn json_line(&mut self, number: usize, line: &str) {
        let inner = line.trim_start_matches('[').trim_end_matches(']').trim_end_matches(',');
        match serde_json::from_str::<serde_json::Value>(line).or_else(|_| serde_json::from_str(inner)) {
            Ok(value) => {
                for (text, read) in json::entries(&value) {
                    self.take(number, &text, read);
                }
            }
            Err(error) => self.take(number, line, Line::Skipped(format!("not JSON: {error}"))),
        }
    }

    fn take(&mut self, line: usize, text: &str, read: Line) {
        let problem = match read {
            Line::NoEntry => return,
            Line::Skipped(problem) => problem,
            Line::Prefixes(prefixes) => {
                match prefixes.iter().find_map(|prefix| self.policy.refuses(*prefix, self.action)) {
                    None => {
                        self.taken.extend(prefixes);
                        self.counts.0 += 1;
                        return;
                    }
                    Some(problem) => {
                        // Of a range, what may be taken is; the entry counts as skipped, because it is not whole.
                        let fine = |prefix: &IpNet| self.policy.refuses(*prefix, self.action).is_none();
                        let rest: Vec<_> = prefixes.into_iter().filter(fine).collect();
                        self.taken.extend(rest);
                        problem
                    }
                }
            }
        };
        self.counts.1 += 1;
        if self.skipped.len() < MOST_SKIPPED {
            let text = text.trim().chars().take(80).collect();
            self.skipped.push(LineError { line, text, problem });
        }
    }
}

/// Bytes as text: UTF-8, or else Latin-1.
fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
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
