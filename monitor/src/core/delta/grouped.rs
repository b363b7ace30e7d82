//! Access settings as they are written down: neighbours that differ in nothing but the prefix as one group, because a list sets
//! a million.
//!
//! In: settings in their order. Out: the same order. Settings that are written one by one are read as well.

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::AccessSetting;
use policy::{AccessEntry, Permission};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Group(Group),
    One(AccessSetting),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    prefixes: Vec<IpNet>,
    permission: Permission,
    entry: Option<Shared>,
}

/// What the entries of a group have in common.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    until: Option<Timestamp>,
    reason: String,
    origin: String,
}

pub fn serialize<S: Serializer>(settings: &[AccessSetting], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(settings.chunk_by(is_alike).map(|alike| match alike {
        [one] => Written::One(one.clone()),
        many => Written::Group(group(many)),
    }))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AccessSetting>, D::Error> {
    let mut settings = Vec::new();
    for written in Vec::<Written>::deserialize(deserializer)? {
        match written {
            Written::One(one) => settings.push(one),
            Written::Group(Group { prefixes, permission, entry }) => {
                settings.extend(prefixes.into_iter().map(|prefix| AccessSetting {
                    prefix,
                    permission,
                    entry: entry.as_ref().map(|Shared { until, reason, origin }| AccessEntry {
                        prefix,
                        permission,
                        until: *until,
                        reason: reason.clone(),
                        origin: origin.clone(),
                    }),
                }));
            }
        }
    }
    Ok(settings)
}

fn is_alike(one: &AccessSetting, other: &AccessSetting) -> bool {
    let shared = |set: &AccessSetting| match &set.entry {
        // An entry that is of another prefix than its setting is written as it is.
        Some(entry) => (entry.prefix, entry.permission) == (set.prefix, set.permission),
        None => true,
    };
    let same_entry = match (&one.entry, &other.entry) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            (one.until, &one.reason, &one.origin) == (other.until, &other.reason, &other.origin)
        }
        _ => false,
    };
    one.permission == other.permission && same_entry && shared(one) && shared(other)
}

fn group(many: &[AccessSetting]) -> Group {
    let first = &many[0];
    Group {
        prefixes: many.iter().map(|set| set.prefix).collect(),
        permission: first.permission,
        entry: first.entry.as_ref().map(|entry| Shared {
            until: entry.until,
            reason: entry.reason.clone(),
            origin: entry.origin.clone(),
        }),
    }
}
