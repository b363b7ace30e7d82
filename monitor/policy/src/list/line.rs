//! One line of a list to the prefixes that it names: plain lists, columns and CSV with and without a heading, ranges,
//! `ipset save`, `PeerGuardian`, directives of web servers.
//!
//! In: a line, and the heading above it. Out: prefixes, nothing for what is no entry, or why the line is not taken. A line
//! that names more than one address and does not say what they are to each other is not guessed at.

use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::{self, NOT_UNDERSTOOD};

/// Two addresses side by side are the ends of a range only if it is no larger.
const WIDEST: u128 = 1 << 16;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A comment, a heading, a part of the format.
    NoEntry,
    Prefixes(Vec<IpNet>),
    Skipped(String),
}

impl From<Result<Vec<IpNet>, String>> for Line {
    fn from(outcome: Result<Vec<IpNet>, String>) -> Self {
        outcome.map_or_else(Self::Skipped, Self::Prefixes)
    }
}

/// Which column holds what, by the names in the heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading {
    separator: char,
    network: usize,
    last: Option<usize>,
    length: Option<usize>,
}

const NETWORK: [&str; 22] = [
    "ip",
    "ips",
    "cidr",
    "network",
    "address",
    "prefix",
    "subnet",
    "range",
    "ip_address",
    "ipaddress",
    "ip_prefix",
    "ip_range",
    "ip_cidr",
    "source_ip",
    "src_ip",
    "dst_ip",
    "src",
    "start",
    "start_ip",
    "first",
    "from",
    "ip_from",
];
const LAST: [&str; 6] = ["end", "end_ip", "last", "to", "ip_to", "stop"];
const LENGTH: [&str; 5] = ["netmask", "mask", "prefix_length", "prefixlen", "bits"];
/// Words before an address that say that it is to be let through.
const EXCEPTIONS: [&str; 5] = ["allow", "permit", "accept", "pass", "except"];
/// Words before an address that say that it is to be shut out.
const DIRECTIVES: [&str; 5] = ["deny", "block", "drop", "reject", "from"];

impl Heading {
    /// The heading that `line` is, if it names a column of addresses and holds none.
    pub fn of(line: &str) -> Option<Self> {
        let line = line.trim_start_matches(['#', ' ']);
        let separator = ['\t', ',', ';', '|'].into_iter().find(|separator| line.contains(*separator));
        let separator = separator.unwrap_or(' ');
        let names: Vec<_> = fields(line, separator)
            .iter()
            .map(|name| name.trim().to_ascii_lowercase().replace([' ', '-'], "_"))
            .collect();
        if names.iter().any(|name| entry::read(name).is_some()) {
            return None;
        }
        let find = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
        let network = find(&NETWORK)?;
        // A single word, such as a comment `# ip`, is a heading only where columns follow.
        (names.len() > 1 || separator != ' ').then(|| Self {
            separator,
            network,
            last: find(&LAST),
            length: find(&LENGTH),
        })
    }

    fn read(self, line: &str) -> Line {
        let columns = fields(line, self.separator);
        let column = |at: usize| columns.get(at).map(|text| text.trim()).filter(|text| !text.is_empty());
        let Some(network) = column(self.network) else {
            return Line::Skipped("the column of addresses is empty".to_owned());
        };
        let first = entry::address(network);
        let last = self.last.and_then(column).and_then(entry::address);
        let length = self.length.and_then(column);
        match (first, length.and_then(|length| with_length(network, length)), last) {
            (Some(_), Some(prefix), Some(last)) if prefix.broadcast() != last => {
                Line::Skipped(format!("{prefix} does not end with {last}"))
            }
            (Some(_), Some(prefix), _) => Line::Prefixes(vec![prefix]),
            (Some(first), None, Some(last)) => entry::range(first, last).into(),
            _ => entry::required(network).into(),
        }
    }
}

fn with_length(network: &str, length: &str) -> Option<IpNet> {
    match entry::read(&format!("{network}/{length}"))? {
        Ok(prefixes) => prefixes.first().copied(),
        Err(_) => None,
    }
}

/// One line, with the heading above it if there is one.
pub(super) fn read(line: &str, heading: Option<Heading>) -> Line {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) || line.starts_with("//") {
        return Line::NoEntry;
    }
    if let Some(heading) = heading {
        return heading.read(line);
    }
    // Most lines are one address or prefix and nothing else, and a list has millions of them.
    if line.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/')) {
        return entry::required(line).into();
    }
    if let Some(read) = peer_guardian(line) {
        return read;
    }
    let content = without_comment(line).trim_end_matches([',', ';']).trim();
    if content.starts_with('!') {
        return Line::Skipped("an exception, which a list cannot make".to_owned());
    }
    let mut words = content.split_whitespace();
    match words.next().unwrap_or_default() {
        "add" | "-A" if words.clone().count() >= 2 => {
            return ipset(content);
        }
        "create" | "-N" | "flush" | "swap" | "destroy" | "COMMIT" => return Line::NoEntry,
        word if EXCEPTIONS.contains(&word.to_ascii_lowercase().as_str()) => {
            return Line::Skipped("an exception, which a list cannot make".to_owned());
        }
        word if DIRECTIVES.contains(&word.to_ascii_lowercase().as_str()) => {
            let named = words.find(|word| !DIRECTIVES.contains(&word.to_ascii_lowercase().as_str()));
            return entry::required(named.unwrap_or_default()).into();
        }
        _ => {}
    }
    let separator = ['\t', ',', '|', ';'].into_iter().find(|separator| content.contains(*separator));
    columns(&fields(content, separator.unwrap_or(' ')), separator.is_some())
}

/// Columns without a heading.
fn columns(columns: &[String], separated: bool) -> Line {
    // A range may be spaced out: `first - last`.
    if let [first, dash, last, ..] = columns
        && dash == "-"
        && let (Some(first), Some(last)) = (entry::address(first), entry::address(last))
    {
        return entry::range(first, last).into();
    }
    let first = columns.first().map(|text| text.trim()).unwrap_or_default();
    let entries: Vec<_> =
        columns.iter().map(|text| text.trim()).filter(|text| entry::read(text).is_some()).collect();
    let at_first = entry::read(first).is_some();
    if !at_first && !separated {
        return Line::Skipped(NOT_UNDERSTOOD.to_owned());
    }
    match entries[..] {
        [] => Line::Skipped(NOT_UNDERSTOOD.to_owned()),
        [one] => entry::required(one).into(),
        [one, two, ..] => {
            let (Some(first), Some(last)) = (entry::address(one), entry::address(two)) else {
                return Line::Skipped(
                    "more than one entry in a line, in columns without a heading".to_owned(),
                );
            };
            let after = columns.iter().skip_while(|text| text.trim() != two).nth(1);
            side_by_side(first, last, after.map_or("", |text| text.trim()))
        }
    }
}

/// Two addresses: a network with its mask, or the first and the last of a range, with its length behind or not.
fn side_by_side(first: IpAddr, last: IpAddr, after: &str) -> Line {
    if let IpAddr::V4(mask) = last
        && mask.octets()[0] == 255
        && let Some(prefix) = entry::masked(first, mask)
    {
        return Line::Prefixes(vec![prefix]);
    }
    if let Some(prefix) = with_length(&first.to_string(), after)
        && prefix.broadcast() == last
    {
        return Line::Prefixes(vec![prefix]);
    }
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() >> 64,
    };
    let wide = first.is_ipv4() == last.is_ipv4() && number(last).saturating_sub(number(first)) >= WIDEST;
    if wide {
        return Line::Skipped(
            "two addresses that are far apart: say it as a range, or in two lines".to_owned(),
        );
    }
    entry::range(first, last).into()
}

/// `add SET ENTRY OPTIONS` of `ipset save`.
fn ipset(content: &str) -> Line {
    let words: Vec<_> = content.split_whitespace().collect();
    let Some(named) = words.get(2) else {
        return Line::Skipped(NOT_UNDERSTOOD.to_owned());
    };
    if words.contains(&"nomatch") {
        return Line::Skipped("an exception, which a list cannot make".to_owned());
    }
    if named.contains(',') {
        return Line::Skipped("it names more than an address, such as a port".to_owned());
    }
    entry::required(named).into()
}

/// `NAME:FIRST-LAST`, where the name may hold anything.
fn peer_guardian(line: &str) -> Option<Line> {
    let (_, range) = line.rsplit_once(':')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (entry::address(first.trim())?, entry::address(last.trim())?);
    first.is_ipv4().then(|| entry::range(first, last).into())
}

/// The line up to a comment sign that stands at its beginning or behind white space, outside of quotes.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut before) = (false, ' ');
    for (at, letter) in line.char_indices() {
        let begins = match letter {
            '#' | ';' => true,
            '/' => line.get(at..).is_some_and(|rest| rest.starts_with("//")),
            _ => false,
        };
        if begins && !quoted && before.is_whitespace() {
            return line.get(..at).unwrap_or(line);
        }
        quoted ^= letter == '"';
        before = letter;
    }
    line
}

/// The fields of a line; quotes hold a field together (RFC 4180). White space separates in any amount.
fn fields(line: &str, separator: char) -> Vec<String> {
    if separator == ' ' {
        return line.split_whitespace().map(str::to_owned).collect();
    }
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            letter if letter == separator && !quoted => all.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    all.push(field);
    all
}
