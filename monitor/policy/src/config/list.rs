//! `[[access.lists]]`: lists of prefixes, each in a file or at an address of the web.
//!
//! In: the table. Out: the same, checked: which keys belong to which kind, and that an address gives nothing away.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time;

use serde::{Deserialize, Serialize};

use super::check::{Problems, absolute, say};
use super::units::{Bytes, Duration};

/// Lists that are fetched; one thread does it, one after the other.
const MOST_FETCHED: usize = 64;
/// What `largest` may be.
const SIZES: [u64; 2] = [1 << 10, 64 << 20];

/// `[[access.lists]]`: one list of prefixes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessList {
    /// A file; absent where there is a `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Where it is fetched from: `https://...` or `http://...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// As problems and metrics call it. Absent: the path, or the URL without its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default)]
    pub action: ListAction,
    /// Shortest IPv4 prefix that is taken from the list.
    #[serde(default = "AccessList::shortest_ipv4")]
    pub shortest_ipv4: u8,
    /// Shortest IPv6 prefix that is taken from the list.
    #[serde(default = "AccessList::shortest_ipv6")]
    pub shortest_ipv6: u8,
    /// Largest share of either family's address space that the list may cover, 0..=1.
    #[serde(default = "AccessList::largest_share")]
    pub largest_share: f64,
    /// Time between two fetches, give or take a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How long one fetch may take, from the name's resolution to the last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// Longer answers are not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<Bytes>,
    /// The certificates that are trusted, in PEM; absent: the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A file with the value of the header `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_file: Option<PathBuf>,
}

/// What happens to the sources of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListAction {
    #[default]
    Deny,
    Exempt,
}

impl ListAction {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Exempt => "exempt",
        }
    }
}

impl AccessList {
    const fn shortest_ipv4() -> u8 {
        8
    }
    const fn shortest_ipv6() -> u8 {
        16
    }
    const fn largest_share() -> f64 {
        0.15
    }

    /// The list in a file, with the default safeguards.
    pub fn new(path: PathBuf, action: ListAction) -> Self {
        Self {
            path: Some(path),
            url: None,
            name: None,
            action,
            shortest_ipv4: Self::shortest_ipv4(),
            shortest_ipv6: Self::shortest_ipv6(),
            largest_share: Self::largest_share(),
            every: None,
            within: None,
            largest: None,
            ca_file: None,
            authorization_file: None,
        }
    }

    /// As people call it. A query may hold a key, so it is never part of the name.
    pub fn name(&self) -> String {
        let url = || self.url.as_deref().and_then(|url| url.split(['?', '#']).next()).map(str::to_owned);
        let path = || self.path.as_ref().map(|path| path.display().to_string());
        self.name.clone().or_else(path).or_else(url).unwrap_or_default()
    }

    pub fn every(&self) -> time::Duration {
        self.every.map_or(time::Duration::from_hours(1), |Duration(every)| every)
    }

    pub fn within(&self) -> time::Duration {
        self.within.map_or(time::Duration::from_mins(1), |Duration(within)| within)
    }

    pub fn largest_bytes(&self) -> u64 {
        self.largest.map_or(16 << 20, |Bytes(largest)| largest)
    }
}

pub(super) fn check(lists: &[AccessList], found: &mut Problems) {
    let mut names = BTreeSet::new();
    for (position, list) in lists.iter().enumerate() {
        let path = format!("access.lists.{}", position + 1);
        if !(list.largest_share > 0.0 && list.largest_share <= 1.0) {
            say(found, format!("{path}.largest_share"), "must be above 0 and at most 1");
        }
        if list.shortest_ipv4 > 32 {
            say(found, format!("{path}.shortest_ipv4"), "must be at most 32");
        }
        if list.shortest_ipv6 > 128 {
            say(found, format!("{path}.shortest_ipv6"), "must be at most 128");
        }
        match (&list.path, &list.url) {
            (Some(file), None) => absolute(&format!("{path}.path"), file, found),
            (None, Some(url)) => address(list, url, &path, found),
            _ => say(found, &path, "a list needs either `path` or `url`"),
        }
        let is_new = names.insert(list.name());
        if !is_new && (list.url.is_some() || list.name.is_some()) {
            say(found, &path, format!("another list is called `{}`: give this one a `name`", list.name()));
        }
        if list.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64) {
            say(found, format!("{path}.name"), "1 to 64 bytes");
        }
        keys(list, &path, found);
    }
    let fetched = lists.iter().filter(|list| list.url.is_some()).count();
    if fetched > MOST_FETCHED {
        say(found, "access.lists", format!("{fetched} lists are fetched, at most {MOST_FETCHED} can be"));
    }
}

fn address(list: &AccessList, url: &str, path: &str, found: &mut Problems) {
    let path = format!("{path}.url");
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !matches!(scheme, "https" | "http") || authority.is_empty() {
        return say(found, path, "is no https://HOST/... or http://HOST/...");
    }
    if url.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        say(found, &path, "holds a blank or a control character");
    }
    if authority.contains('@') {
        say(found, &path, "holds a password that would be logged: use `authorization_file`");
    }
    if scheme == "http" && list.action == ListAction::Exempt {
        say(found, path, "over http:// anybody on the way could add exemptions: use https://");
    }
}

/// A key that means nothing would be ignored, so it is a mistake.
fn keys(list: &AccessList, path: &str, found: &mut Problems) {
    let is_fetched = list.url.is_some();
    let is_secured = list.url.as_ref().is_some_and(|url| url.starts_with("https://"));
    for (key, is_there, is_meant) in [
        ("every", list.every.is_some(), is_fetched),
        ("within", list.within.is_some(), is_fetched),
        ("largest", list.largest.is_some(), is_fetched),
        ("ca_file", list.ca_file.is_some(), is_secured),
        ("authorization_file", list.authorization_file.is_some(), is_fetched),
    ] {
        if is_there && !is_meant {
            say(found, format!("{path}.{key}"), "means nothing without an https:// or http:// `url`");
        }
    }
    for (key, file) in [("ca_file", &list.ca_file), ("authorization_file", &list.authorization_file)] {
        if let Some(file) = file {
            absolute(&format!("{path}.{key}"), file, found);
        }
    }
    let day = time::Duration::from_hours(24);
    let second = time::Duration::from_secs(1);
    for (key, value, most) in
        [("every", list.every(), 30 * day), ("within", list.within(), time::Duration::from_mins(10))]
    {
        if value < second || value > most {
            let (value, most) = (Duration(value), Duration(most));
            say(found, format!("{path}.{key}"), format!("{value} is out of range: 1s to {most}"));
        }
    }
    if !(SIZES[0]..=SIZES[1]).contains(&list.largest_bytes()) {
        let size = Bytes(list.largest_bytes());
        say(found, format!("{path}.largest"), format!("{size} is out of range: 1 KiB to 64 MiB"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let list: AccessList = toml::from_str(text).unwrap();
        let mut found = Problems::new();
        check(&[list], &mut found);
        found.into_iter().map(|(path, sentence)| format!("{path}: {sentence}")).collect()
    }

    #[test]
    fn a_list_is_in_one_place_and_has_the_keys_of_its_kind() {
        for (text, told) in [
            ("path = \"/etc/list\"", ""),
            (
                "url = \"https://lists.example/drop.txt\"\nevery = \"6h\"\nwithin = \"20s\"\nlargest = \"1 MiB\"",
                "",
            ),
            ("", "either `path` or `url`"),
            ("path = \"/etc/list\"\nurl = \"https://lists.example/\"", "either `path` or `url`"),
            ("path = \"list\"", "absolute"),
            ("path = \"/etc/list\"\nevery = \"1h\"", "lists.1.every: means nothing"),
            ("url = \"ftp://lists.example/\"", "is no https://"),
            ("url = \"https:///drop.txt\"", "is no https://"),
            ("url = \"https://me:secret@lists.example/\"", "authorization_file"),
            ("url = \"https://lists.example/~me@home.txt\"", ""),
            ("url = \"http://lists.example/\"", ""),
            ("url = \"http://lists.example/\"\naction = \"exempt\"", "use https://"),
            ("url = \"http://lists.example/\"\nca_file = \"/etc/ca.pem\"", "ca_file: means nothing"),
            ("url = \"https://lists.example/\"\nevery = \"90d\"", "every: 90d is out of range"),
            ("url = \"https://lists.example/\"\nwithin = \"11m\"", "within: 11m is out of range"),
            ("url = \"https://lists.example/\"\nlargest = \"65 MiB\"", "largest: 65 MiB is out of range"),
        ] {
            let all = problems(text).join("; ");
            assert!(if told.is_empty() { all.is_empty() } else { all.contains(told) }, "{text}: {all}");
            assert!(!all.contains("secret"), "{all}");
        }
    }

    #[test]
    fn a_name_holds_no_query_and_belongs_to_one_list() {
        let list = |url: &str| -> AccessList { toml::from_str(&format!("url = \"{url}\"")).unwrap() };
        let [one, other] = ["a", "b"].map(|key| list(&format!("https://lists.example/drop?key={key}")));
        assert_eq!(one.name(), "https://lists.example/drop");
        let mut found = Problems::new();
        check(&[one.clone(), other.clone()], &mut found);
        assert!(found[0].1.contains("give this one a `name`"), "{found:?}");
        let other = AccessList { name: Some("other".to_owned()), ..other };
        found.clear();
        check(&[one, other], &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
