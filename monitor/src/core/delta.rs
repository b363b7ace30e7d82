//! A change as a value: what shall stand where. The same shape says what stood there before, which is the way back.
//!
//! In: limits, access entries or a whole configuration. Out: a new [`Standing`], and sentences about the difference. It
//! writes to no map and no file.

mod grouped;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::command::AccessKind;
use super::steps::move_end;
use api::containments::{Containment, Subject};
use api::limits::LimitSet;
use policy::config::Mode;
use policy::config::{Config, ConfigError};
use policy::{self, AccessEntry, LimitName, LimitOverride, Permission, Rules};

/// Everything that was decided: the rules, the bans that operators made, and the containments.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub rules: Rules,
    pub bans: BTreeMap<IpNet, Ban>,
    pub containments: Containments,
}

impl Standing {
    /// Moves every end with a clock that was set.
    pub fn move_ends(&mut self, by: SignedDuration) {
        self.rules
            .access
            .iter_mut()
            .filter_map(|entry| entry.until.as_mut())
            .for_each(|end| move_end(end, by));
        for ban in self.bans.values_mut() {
            move_end(&mut ban.since, by);
            ban.until.iter_mut().for_each(|end| move_end(end, by));
        }
        self.containments.values_mut().for_each(|one| one.until.iter_mut().for_each(|end| move_end(end, by)));
    }

    /// When the first of all ends comes.
    pub fn first_end(&self) -> Option<Timestamp> {
        let access = self.rules.access.iter().filter_map(|entry| entry.until);
        let bans = self.bans.values().filter_map(|ban| ban.until);
        let containments = self.containments.values().filter_map(|one| one.until);
        access.chain(bans).chain(containments).min()
    }

    /// Takes out what is over by `now`, and names it.
    pub fn expire(&mut self, now: Timestamp) -> Vec<String> {
        let is_over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
        let mut ended: Vec<_> = self
            .rules
            .expire(now)
            .iter()
            .map(|entry| format!("{:?} {}", entry.permission, entry.prefix))
            .collect();
        self.bans.retain(|source, ban| {
            let over = is_over(ban.until);
            ended.extend(over.then(|| format!("ban of {source}")));
            !over
        });
        self.containments.retain(|subject, one| {
            let over = is_over(one.until);
            ended.extend(over.then(|| format!("containment of {subject}")));
            !over
        });
        ended
    }
}

/// Who is contained, and how.
pub type Containments = BTreeMap<Subject, Containment>;

/// A ban that an operator made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    pub since: Timestamp,
    /// `None`: for ever.
    pub until: Option<Timestamp>,
    pub comment: Option<String>,
    pub made_by: String,
}

/// What shall stand where; whatever is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delta {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitSetting>,
    #[serde(with = "grouped", skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<AccessSetting>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bans: Vec<BanSetting>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containments: Vec<ContainmentSetting>,
    /// The text of a whole configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigSetting>,
    /// Whether it is kept over restarts.
    pub saved: bool,
}

/// One limit; `None` is what the configuration says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitSetting {
    pub name: LimitName,
    pub value: Option<LimitOverride>,
    /// What was asked for, if that was a part of the value: all that is saved of it.
    #[serde(skip)]
    pub asked: Option<Box<LimitSet>>,
}

/// One exemption or denial made while running; `None` is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessSetting {
    pub prefix: IpNet,
    pub permission: Permission,
    pub entry: Option<AccessEntry>,
}

/// One ban; `None` is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanSetting {
    pub source: IpNet,
    pub ban: Option<Ban>,
}

/// One containment; `None` is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainmentSetting {
    pub subject: Subject,
    pub containment: Option<Containment>,
}

/// A configuration and where it comes from (`None`: the embedded default).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSetting {
    pub path: Option<String>,
    pub toml: String,
    /// What the command line of the daemon says instead.
    #[serde(default)]
    pub flags: Flags,
}

/// Flags of `sluice run` that go before the file, also at every reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flags {
    /// Guard these instead; empty: those of the file.
    pub interfaces: Vec<String>,
    pub pin_directory: Option<PathBuf>,
    /// Listen here.
    pub socket: Option<PathBuf>,
    pub watch_only: bool,
}

impl ConfigSetting {
    pub fn parse(&self) -> Result<Config, ConfigError> {
        let mut config = Config::parse(&self.toml, self.path.as_deref().unwrap_or("the embedded default"))?;
        if !self.flags.interfaces.is_empty() {
            config.interfaces.names.clone_from(&self.flags.interfaces);
        }
        if let Some(directory) = &self.flags.pin_directory {
            config.bpf.pin_directory.clone_from(directory);
        }
        if let Some(socket) = &self.flags.socket {
            config.control.socket.clone_from(socket);
        }
        config.interfaces.watch_only |= self.flags.watch_only;
        Ok(config)
    }
}

impl Delta {
    /// Whether a ban, an access entry or a containment in it overlaps `prefix`.
    pub fn touches(&self, prefix: IpNet) -> bool {
        let overlaps = |other: &IpNet| other.contains(&prefix) || prefix.contains(other);
        self.access.iter().any(|set| overlaps(&set.prefix))
            || self.bans.iter().any(|set| overlaps(&set.source))
            || self.containments.iter().any(|set| match &set.subject {
                Subject::Source(source) => overlaps(source),
                Subject::Workload(_) => false,
            })
    }

    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
            && self.access.is_empty()
            && self.bans.is_empty()
            && self.containments.is_empty()
            && self.config.is_none()
    }

    /// The access entries that this writes. There may be very many, so they are looked up and not searched for.
    fn named(&self) -> HashSet<(IpNet, Permission)> {
        self.access.iter().map(|set| (set.prefix, set.permission)).collect()
    }

    /// What stands now at every place that this would write. `config` is the one in force.
    #[must_use]
    pub fn before(&self, standing: &Standing, config: &ConfigSetting) -> Self {
        let rules = &standing.rules;
        let limit = |set: &LimitSetting| LimitSetting {
            name: set.name.clone(),
            value: rules.limits.get(&set.name).cloned(),
            asked: None,
        };
        let key = |entry: &AccessEntry| (entry.prefix, entry.permission);
        let named = self.named();
        let there = rules.access.iter().filter(|entry| named.contains(&key(entry)));
        let there: HashMap<_, _> = there.map(|entry| (key(entry), entry)).collect();
        let access = |set: &AccessSetting| AccessSetting {
            entry: there.get(&(set.prefix, set.permission)).copied().cloned(),
            ..set.clone()
        };
        let ban = |set: &BanSetting| BanSetting {
            source: set.source,
            ban: standing.bans.get(&set.source).cloned(),
        };
        let containment = |set: &ContainmentSetting| ContainmentSetting {
            subject: set.subject.clone(),
            containment: standing.containments.get(&set.subject).cloned(),
        };
        Self {
            limits: self.limits.iter().map(limit).collect(),
            access: self.access.iter().map(access).collect(),
            bans: self.bans.iter().map(ban).collect(),
            containments: self.containments.iter().map(containment).collect(),
            config: self.config.as_ref().map(|_| config.clone()),
            saved: self.saved,
        }
    }

    /// `standing` with this written into it. What has ended by `now` is left out.
    pub fn applied(&self, standing: &Standing, now: Timestamp) -> Result<Standing, ConfigError> {
        let mut next = standing.clone();
        if let Some(config) = &self.config {
            next.rules.config = Arc::new(config.parse()?);
        }
        for set in &self.limits {
            match &set.value {
                Some(value) => next.rules.limits.insert(set.name.clone(), value.clone()),
                None => next.rules.limits.remove(&set.name),
            };
        }
        let replaced = self.named();
        next.rules.access.retain(|entry| !replaced.contains(&(entry.prefix, entry.permission)));
        let alive = |entry: &&AccessEntry| entry.until.is_none_or(|until| until > now);
        next.rules
            .access
            .extend(self.access.iter().filter_map(|set| set.entry.as_ref()).filter(alive).cloned());
        for set in &self.bans {
            match &set.ban {
                Some(ban) if ban.until.is_none_or(|until| until > now) => {
                    next.bans.insert(set.source, ban.clone());
                }
                _ => {
                    next.bans.remove(&set.source);
                }
            }
        }
        for set in &self.containments {
            match &set.containment {
                Some(one) if one.until.is_none_or(|until| until > now) => {
                    next.containments.insert(set.subject.clone(), one.clone());
                }
                _ => {
                    next.containments.remove(&set.subject);
                }
            }
        }
        Ok(next)
    }
}

/// What is different in `after`, one line each.
pub fn differences(before: &Standing, after: &Standing) -> Vec<String> {
    let mut lines: Vec<_> =
        policy::diff(&before.rules, &after.rules).items.iter().map(ToString::to_string).collect();
    let until = |ban: &Ban| ban.until.map_or("for ever".to_owned(), |until| format!("until {until:.0}"));
    for (source, ban) in &after.bans {
        match before.bans.get(source) {
            None => lines.push(format!("+ ban {source}: {}", until(ban))),
            Some(old) if old != ban => {
                lines.push(format!("~ ban {source}: {} -> {}", until(old), until(ban)));
            }
            Some(_) => {}
        }
    }
    let gone = before.bans.keys().filter(|source| !after.bans.contains_key(source));
    lines.extend(gone.map(|source| format!("- ban {source}")));
    for (subject, one) in &after.containments {
        match before.containments.get(subject) {
            None => lines.push(format!("+ contain {subject}: {}", in_words(one))),
            Some(old) if old != one => {
                lines.push(format!("~ contain {subject}: {} -> {}", in_words(old), in_words(one)));
            }
            Some(_) => {}
        }
    }
    let lifted = before.containments.keys().filter(|subject| !after.containments.contains_key(subject));
    lines.extend(lifted.map(|subject| format!("- contain {subject}")));
    lines
}

/// What a containment does and until when.
fn in_words(one: &Containment) -> String {
    let mut words = Vec::new();
    words.extend(one.packets.map(|rate| format!("packets {rate}")));
    words.extend(one.bytes.map(|rate| format!("bytes {rate}")));
    if words.is_empty() {
        words.push("nothing may be sent".to_owned());
    }
    if one.mode == Mode::Observe {
        words.push("only observed".to_owned());
    }
    words.push(one.until.map_or("until it is lifted".to_owned(), |until| format!("until {until:.0}")));
    words.join(", ")
}

/// The permission behind an access list; `None` for bans.
pub const fn permission(kind: AccessKind) -> Option<Permission> {
    match kind {
        AccessKind::Exempt => Some(Permission::Exempt),
        AccessKind::Deny => Some(Permission::Deny),
        AccessKind::Ban => None,
    }
}

#[cfg(test)]
mod tests;
