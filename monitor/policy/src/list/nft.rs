//! Sets of nftables, as `nft list ruleset` prints them and as files define them: `elements = { ... }`.

use super::entry;
use super::line::Line;

/// Words that lines of a rule set begin with.
const STRUCTURE: [&str; 17] = [
    "table",
    "set",
    "map",
    "type",
    "typeof",
    "flags",
    "timeout",
    "gc-interval",
    "size",
    "auto-merge",
    "comment",
    "policy",
    "counter",
    "elements",
    "add",
    "define",
    "flush",
];

/// Whether a line opens braces as a rule set does.
pub(super) fn begins(line: &str) -> bool {
    let line = line.trim();
    let opens = ["table ", "set ", "define ", "add element ", "create element ", "elements"];
    line.contains('{') && opens.iter().any(|word| line.starts_with(word))
}

/// A reader of what stands between the braces of elements.
#[derive(Debug, Default)]
pub(super) struct Reader {
    within: bool,
}

impl Reader {
    /// Every element of a line; nothing for what holds none.
    pub fn read(&mut self, line: &str) -> Vec<(String, Line)> {
        let line = line.split('#').next().unwrap_or(line).trim();
        let mut rest = line;
        if !self.within {
            let opens = ["elements", "add element ", "create element ", "define "];
            let Some((head, elements)) = line.split_once('{') else {
                return Self::structure(line);
            };
            if !opens.iter().any(|word| head.trim_start().starts_with(word)) {
                return Vec::new();
            }
            self.within = true;
            rest = elements;
        }
        if let Some((elements, _)) = rest.split_once('}') {
            self.within = false;
            rest = elements;
        }
        split(rest).into_iter().map(|element| (element.to_owned(), Self::element(element))).collect()
    }

    fn structure(line: &str) -> Vec<(String, Line)> {
        let first = line.split([' ', '=', '\t']).next().unwrap_or_default();
        if line.is_empty() || line.starts_with('}') || STRUCTURE.contains(&first) {
            return Vec::new();
        }
        vec![(line.to_owned(), Line::Skipped(entry::NOT_UNDERSTOOD.to_owned()))]
    }

    fn element(element: &str) -> Line {
        let mut words = element.split_whitespace();
        let named = words.next().unwrap_or_default();
        match words.next() {
            Some(".") => Line::Skipped("it names more than an address, such as a port".to_owned()),
            Some("-") => entry::required(&format!("{named}-{}", words.next().unwrap_or_default())).into(),
            _ => entry::required(named).into(),
        }
    }
}

/// Elements between commas that stand outside of quotes.
fn split(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = text.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}
