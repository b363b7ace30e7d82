//! A change as a value: what shall stand where. The same shape says what stood there before, which is the way back.
//!
//! In: limits, access entries or a whole configuration. Out: a new [`Standing`], and sentences about the difference. It
//! writes to no map and no file.

use std::collections::{BTreeMap, HashSet};
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
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

    /// What stands now at every place that this would write. `config` is the one in force.
    #[must_use]
    pub fn before(&self, standing: &Standing, config: &ConfigSetting) -> Self {
        let rules = &standing.rules;
        let limit = |set: &LimitSetting| LimitSetting {
            name: set.name.clone(),
            value: rules.limits.get(&set.name).cloned(),
            asked: None,
        };
        let access = |set: &AccessSetting| {
            let same =
                |entry: &&AccessEntry| entry.prefix == set.prefix && entry.permission == set.permission;
            AccessSetting { entry: rules.access.iter().find(same).cloned(), ..set.clone() }
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
        // An import may set thousands, so what they replace is looked up and not searched for.
        let replaced: HashSet<_> = self.access.iter().map(|set| (set.prefix, set.permission)).collect();
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
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T06:00:00Z".parse().unwrap()
    }

    fn standing() -> Standing {
        Standing {
            rules: Rules::new(Arc::new(Config::default())),
            bans: BTreeMap::new(),
            containments: BTreeMap::new(),
        }
    }

    fn config() -> ConfigSetting {
        ConfigSetting { path: None, toml: String::new(), flags: Flags::default() }
    }

    fn everything() -> Delta {
        let prefix = "192.0.2.0/24".parse().unwrap();
        let ban = Ban { since: now(), until: None, comment: None, made_by: "uid 0".to_owned() };
        let subject = Subject::Workload("copy.service".to_owned());
        let containment = Containment {
            subject: subject.clone(),
            packets: Some(policy::config::Rate::per_second(100)),
            bytes: None,
            mode: Mode::Observe,
            since: now(),
            until: None,
            comment: None,
            made_by: "uid 0".to_owned(),
        };
        Delta {
            limits: vec![LimitSetting {
                name: LimitName {
                    service: "default".to_owned(),
                    class: None,
                    kind: policy::LimitKind::PerSource,
                },
                value: Some(LimitOverride::default()),
                asked: None,
            }],
            access: vec![AccessSetting {
                prefix,
                permission: Permission::Deny,
                entry: Some(AccessEntry {
                    prefix,
                    permission: Permission::Deny,
                    until: None,
                    reason: String::new(),
                    origin: "uid 0".to_owned(),
                }),
            }],
            bans: vec![BanSetting { source: "198.51.100.7/32".parse().unwrap(), ban: Some(ban) }],
            containments: vec![ContainmentSetting {
                subject: subject.clone(),
                containment: Some(containment),
            }],
            config: None,
            saved: false,
        }
    }

    #[test]
    fn the_way_back_leads_back() {
        let (start, delta) = (standing(), everything());
        let back = delta.before(&start, &config());
        let changed = delta.applied(&start, now()).unwrap();
        assert_ne!(changed, start);
        assert_eq!(back.applied(&changed, now()).unwrap(), start);
        assert_eq!(delta.before(&changed, &config()), delta);
    }

    #[test]
    fn what_is_over_is_taken_out_and_named() {
        let mut delta = everything();
        let later = now() + std::time::Duration::from_mins(1);
        delta.bans[0].ban.as_mut().unwrap().until = Some(later);
        delta.access[0].entry.as_mut().unwrap().until = Some(later);
        let mut standing = delta.applied(&standing(), now()).unwrap();
        assert_eq!(standing.expire(now()), Vec::<String>::new());
        assert_eq!(standing.expire(later), ["Deny 192.0.2.0/24", "ban of 198.51.100.7/32"]);
        assert_eq!((standing.bans.len(), standing.containments.len()), (0, 1));
    }

    #[test]
    fn a_delta_survives_the_store() {
        let text = serde_json::to_string(&everything()).unwrap();
        assert_eq!(serde_json::from_str::<Delta>(&text).unwrap(), everything());
    }

    #[test]
    fn what_ended_meanwhile_does_not_come_back() {
        let mut delta = everything();
        delta.bans[0].ban.as_mut().unwrap().until = Some(now());
        delta.access[0].entry.as_mut().unwrap().until = Some(now());
        delta.containments[0].containment.as_mut().unwrap().until = Some(now());
        let changed = delta.applied(&standing(), now()).unwrap();
        assert!(changed.bans.is_empty() && changed.rules.access.is_empty());
        assert!(changed.containments.is_empty());
    }

    #[test]
    fn bans_and_containments_are_told_in_words() {
        let changed = everything().applied(&standing(), now()).unwrap();
        let told = "+ contain copy.service: packets 100/s, only observed, until it is lifted";
        assert!(differences(&standing(), &changed).contains(&told.to_owned()));
        assert!(differences(&changed, &standing()).contains(&"- contain copy.service".to_owned()));
        assert!(differences(&standing(), &changed).contains(&"+ ban 198.51.100.7/32: for ever".to_owned()));
        assert!(differences(&changed, &standing()).contains(&"- ban 198.51.100.7/32".to_owned()));
    }

    #[test]
    fn a_wrong_configuration_applies_nothing() {
        let config = ConfigSetting {
            path: Some("x.toml".to_owned()),
            toml: "nonsense = 1".to_owned(),
            flags: Flags::default(),
        };
        let delta = Delta { config: Some(config), ..Delta::default() };
        assert!(delta.applied(&standing(), now()).is_err());
    }
}
