//! What differs between two desired states, in words that go into the audit, a reload's answer and a dry run.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AccessEntry, ImportedList, Permission, Rules, limits::of_class};
use crate::config::{AggregateLimits, Limits, ListAction, Protection};

/// Every difference, ordered by subject; lists come last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub items: Vec<Item>,
}

impl Change {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub kind: ChangeKind,
    /// What changed: `service web`, `limit web (class inside)`, `access.denied 192.0.2.0/24`.
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// It takes effect only after a restart of the daemon.
    #[serde(default)]
    pub needs_restart: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    Added,
    Removed,
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.items.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        write!(f, "{sign} {}", self.subject)?;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, ": {before} -> {after}")?,
            (None, Some(one)) | (Some(one), None) => write!(f, ": {one}")?,
            (None, None) => {}
        }
        if self.needs_restart {
            f.write_str(" (after a restart)")?;
        }
        Ok(())
    }
}

/// Entries made at run time that a change names; more of them are counted.
const MOST_NAMED: usize = 1000;

/// What changes when `new` takes the place of `old`.
pub fn diff(old: &Rules, new: &Rules) -> Change {
    let (before, after) = changed_entries(old, new);
    let is_named = before.len() + after.len() <= MOST_NAMED;
    let counted = if is_named { Vec::new() } else { counted(&before, &after) };
    let named = |entries: Vec<_>| if is_named { entries } else { Vec::new() };
    let (before, after) = (facts(old, &named(before)), facts(new, &named(after)));
    let mut items = Vec::new();
    for (subject, fact) in &after {
        let item = |kind, before: Option<String>| Item {
            kind,
            subject: subject.clone(),
            before,
            after: fact.clone(),
            needs_restart: needs_restart(subject),
        };
        match before.get(subject) {
            None => items.push(item(ChangeKind::Added, None)),
            Some(old) if old != fact => items.push(item(ChangeKind::Changed, old.clone())),
            Some(_) => {}
        }
    }
    items.extend(before.iter().filter(|(subject, _)| !after.contains_key(*subject)).map(
        |(subject, fact)| Item {
            kind: ChangeKind::Removed,
            subject: subject.clone(),
            before: fact.clone(),
            after: None,
            needs_restart: needs_restart(subject),
        },
    ));
    items.sort_by(|one, other| one.subject.cmp(&other.subject));
    items.extend(counted);
    items.extend(lists(old, new));
    Change { items }
}

/// The entries made at run time that the other rules do not have just so: all others are no difference.
fn changed_entries<'a>(old: &'a Rules, new: &'a Rules) -> (Vec<&'a AccessEntry>, Vec<&'a AccessEntry>) {
    let key = |entry: &'a AccessEntry| (entry.prefix, entry.permission);
    let mut before: HashMap<_, _> = old.access.iter().map(|entry| (key(entry), entry)).collect();
    let mut after = Vec::new();
    for entry in &new.access {
        if before.get(&key(entry)).is_some_and(|old| *old == entry) {
            before.remove(&key(entry));
        } else {
            after.push(entry);
        }
    }
    (before.into_values().collect(), after)
}

const fn verb(permission: Permission) -> &'static str {
    match permission {
        Permission::Exempt => "exempt",
        Permission::Deny => "deny",
    }
}

/// How many entries come, go and change.
fn counted(before: &[&AccessEntry], after: &[&AccessEntry]) -> Vec<Item> {
    let prefixes = |entries: &[&AccessEntry], permission| -> HashSet<IpNet> {
        entries.iter().filter(|entry| entry.permission == permission).map(|entry| entry.prefix).collect()
    };
    let mut items = Vec::new();
    for permission in [Permission::Deny, Permission::Exempt] {
        let (before, after) = (prefixes(before, permission), prefixes(after, permission));
        let changed = before.intersection(&after).count();
        let kinds = [
            (ChangeKind::Added, after.len() - changed),
            (ChangeKind::Changed, changed),
            (ChangeKind::Removed, before.len() - changed),
        ];
        items.extend(kinds.into_iter().filter(|(_, count)| *count > 0).map(|(kind, count)| Item {
            kind,
            subject: format!("{} {count} prefixes", verb(permission)),
            before: None,
            after: None,
            needs_restart: false,
        }));
    }
    items
}

/// Subjects with their values in words; a subject without a value only exists or not.
type Facts = BTreeMap<String, Option<String>>;

/// The facts of `rules`, with these of the entries made at run time.
fn facts(rules: &Rules, entries: &[&AccessEntry]) -> Facts {
    let config = &rules.config;
    let mut facts = Facts::new();
    for service in rules.services() {
        let name = &service.name;
        facts.insert(format!("service {name}"), service.matches.as_ref().map(ToString::to_string));
        protection(&mut facts, name, &service.protection);
    }
    for class in &config.classes {
        facts.extend(class.prefixes.iter().map(|prefix| (format!("class {} {prefix}", class.name), None)));
    }
    let access = &config.access;
    for (key, prefixes) in
        [("inside", &access.inside), ("exempt", &access.exempt), ("denied", &access.denied)]
    {
        facts.extend(prefixes.iter().map(|prefix| (format!("access.{key} {prefix}"), None)));
    }
    for AccessEntry { prefix, permission, until, reason, .. } in entries {
        let verb = verb(*permission);
        let until = until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}"));
        let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        facts.insert(format!("{verb} {prefix}"), Some(format!("{until}{why}")));
    }
    facts.extend(rules.own.iter().map(|address| (format!("own address {address}"), None)));
    if let Ok(toml::Value::Table(sections)) = toml::Value::try_from(config.as_ref()) {
        for (name, section) in &sections {
            // These have facts of their own above.
            if !matches!(name.as_str(), "service" | "default" | "class" | "access") {
                flatten(name, section, &mut facts);
            }
        }
    }
    facts.insert("access.operator_safe".to_owned(), Some(access.operator_safe.to_string()));
    facts
}

fn protection(facts: &mut Facts, name: &str, protection: &Protection) {
    facts.insert(format!("limit {name}"), Some(format!("{} {}", protection.mode, protection.limit)));
    if protection.trial != Limits::default() {
        facts.insert(format!("trial {name}"), Some(protection.trial.to_string()));
    }
    if protection.aggregate != AggregateLimits::default() {
        facts.insert(format!("aggregate {name}"), Some(protection.aggregate.to_string()));
    }
    if let Some(mode) = protection.encryption {
        facts.insert(format!("encryption {name}"), Some(mode.to_string()));
    }
    if let Some(ban) = &protection.ban {
        facts.insert(format!("ban {name}"), Some(ban.to_string()));
    }
    for class in protection.class.keys() {
        let of = of_class(protection, class);
        facts.insert(format!("limit {name} (class {class})"), Some(format!("{} {}", of.mode, of.limit)));
        if of.trial != protection.trial {
            facts.insert(format!("trial {name} (class {class})"), Some(of.trial.to_string()));
        }
        if let Some(ban) = of.ban.filter(|ban| Some(*ban) != protection.ban) {
            facts.insert(format!("ban {name} (class {class})"), Some(ban.to_string()));
        }
    }
}

fn flatten(path: &str, value: &toml::Value, facts: &mut Facts) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(&format!("{path}.{key}"), value, facts);
            }
        }
        toml::Value::String(text) => {
            facts.insert(path.to_owned(), Some(text.clone()));
        }
        value => {
            facts.insert(path.to_owned(), Some(value.to_string()));
        }
    }
}

/// Settings that are read once, when the daemon starts.
fn needs_restart(subject: &str) -> bool {
    ["capacity.", "control.", "metrics.", "state.", "bpf.", "log.", "interfaces.mode", "interfaces.egress"]
        .iter()
        .any(|section| subject.starts_with(section))
}

/// Lists may hold very many prefixes: they are counted, not named.
fn lists(old: &Rules, new: &Rules) -> Vec<Item> {
    let mut items = Vec::new();
    if Arc::ptr_eq(&old.lists, &new.lists) {
        return items;
    }
    let item = |kind, list: &ImportedList, before: Option<String>, after: Option<String>| Item {
        kind,
        subject: format!("list {}", list.name),
        before,
        after,
        needs_restart: false,
    };
    for list in new.lists.iter() {
        match old.lists.iter().find(|other| other.name == list.name) {
            None => items.push(item(ChangeKind::Added, list, None, Some(words(list)))),
            Some(other) if other.prefixes != list.prefixes || other.action != list.action => {
                let (added, removed) = other.difference(list);
                let after = format!("{} (+{} -{})", words(list), added.len(), removed.len());
                items.push(item(ChangeKind::Changed, list, Some(words(other)), Some(after)));
            }
            Some(_) => {}
        }
    }
    for list in old.lists.iter().filter(|list| !new.lists.iter().any(|other| other.name == list.name)) {
        items.push(item(ChangeKind::Removed, list, Some(words(list)), None));
    }
    items
}

fn words(list: &ImportedList) -> String {
    let verb = match list.action {
        ListAction::Deny => "denies",
        ListAction::Exempt => "exempts",
    };
    format!("{verb} {} prefixes", list.prefixes.len())
}

#[cfg(test)]
mod tests;
