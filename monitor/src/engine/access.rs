//! `access exempt|deny|ban|unban|list`: who is let through and who is not, whatever the rate.
//!
//! In: prefixes and durations. Out: deltas for `change`, and the lists as they hold. A ban is of one source; wider ones are
//! denials.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::record::{self, origin};

use super::Engine;
use super::answer::Asking;
use super::command::{AccessAdd, AccessEntry, AccessKind, AccessList, AccessTarget, Applied};
use super::delta::{self, AccessSetting, BanSetting, Delta};
use super::refusal::{Code, Refusal};
use crate::snapshot::{Ban, Count, address_of};
use policy::config::ListAction;
use policy::{self, Permission};

/// How long a ban lasts when nobody says.
const BAN_FOR: Duration = Duration::from_mins(10);
/// The longest time that a clock can hold; more is "for ever".
const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

impl Engine {
    pub(super) fn add_access(&mut self, asking: &Asking, add: &AccessAdd) -> Result<Applied, Refusal> {
        let prefix = add.prefix.trunc();
        let wanted = add.for_seconds.map(Duration::from_secs);
        if wanted == Some(Duration::ZERO) {
            return Err(Refusal::new(Code::Invalid, "a duration of nothing")
                .next("leave it out, or name a longer one"));
        }
        let now = Timestamp::now();
        let until = |wanted: Option<Duration>| {
            wanted.filter(|wanted| *wanted < LONGEST).and_then(|wanted| now.checked_add(wanted).ok())
        };
        let what = |prefix: IpNet| format!("access {} {prefix}", add.kind.label());
        if let Some(permission) = delta::permission(add.kind) {
            let entry = policy::AccessEntry {
                prefix,
                permission,
                until: until(wanted),
                reason: add.comment.clone().unwrap_or_default(),
                origin: asking.made_by(),
            };
            let access = vec![AccessSetting { prefix, permission, entry: Some(entry) }];
            return self.make(asking, &what(prefix), Delta { access, ..Delta::default() });
        }
        let source = self.one_source(prefix, "a ban")?;
        let ban = delta::Ban {
            since: now,
            until: until(Some(wanted.unwrap_or(BAN_FOR))),
            comment: add.comment.clone(),
            made_by: asking.made_by(),
        };
        let bans = vec![BanSetting { source, ban: Some(ban) }];
        let mut applied = self.make(asking, &what(source), Delta { bans, ..Delta::default() })?;
        if source != prefix {
            applied.warnings.push(format!("{prefix} counts under {source}, so all of that is banned"));
        }
        if self.exempting(source, now).is_some() {
            applied.warnings.push(format!("{source} is exempt, and an exemption goes before a ban"));
        }
        Ok(applied)
    }

    pub(super) fn remove_access(
        &mut self,
        asking: &Asking,
        target: AccessTarget,
    ) -> Result<Applied, Refusal> {
        let prefix = target.prefix.trunc();
        let what = |prefix: IpNet| format!("access un{} {prefix}", target.kind.label());
        let Some(permission) = delta::permission(target.kind) else {
            return self.unban(asking, self.one_source(prefix, "a ban")?, &what);
        };
        let same = |entry: &policy::AccessEntry| entry.prefix == prefix && entry.permission == permission;
        if !self.standing.rules.access.iter().any(same) {
            let kind = target.kind.label();
            let refusal =
                Refusal::new(Code::NotFound, format!("no {kind} of {prefix} was made while running"));
            return Err(refusal.next(
                "what the configuration says is changed in its file; `sluice access list` shows both",
            ));
        }
        let access = vec![AccessSetting { prefix, permission, entry: None }];
        self.make(asking, &what(prefix), Delta { access, ..Delta::default() })
    }

    fn unban(
        &mut self,
        asking: &Asking,
        source: IpNet,
        what: &dyn Fn(IpNet) -> String,
    ) -> Result<Applied, Refusal> {
        if self.standing.bans.contains_key(&source) {
            let bans = vec![BanSetting { source, ban: None }];
            return self.make(asking, &what(source), Delta { bans, ..Delta::default() });
        }
        // The kernel's own bans are no decision of ours: lifting one is not undone by taking anything back.
        let removed = self.kernel.remove_ban(super::install::key(source.network()));
        if !removed.map_err(|error| Refusal::failed(&error))? {
            return Err(Refusal::new(Code::NotFound, format!("{source} is not banned")));
        }
        tracing::info!("the kernel's ban of {source} is lifted");
        Ok(Applied { summary: vec![format!("- ban {source}")], ..Applied::default() })
    }

    /// The source that `prefix` names; refused when it is more than one.
    pub(super) fn one_source(&self, prefix: IpNet, what: &str) -> Result<IpNet, Refusal> {
        let source = self.names(&|_| Timestamp::UNIX_EPOCH).prefix(prefix.network());
        if prefix.prefix_len() < source.prefix_len() {
            let (wide, one) = (prefix.prefix_len(), source.prefix_len());
            return Err(Refusal::new(
                Code::Invalid,
                format!("{what} is of one source (/{one}), and {prefix} is a /{wide}"),
            )
            .next("`sluice access deny` takes any prefix, with --for if it shall end"));
        }
        Ok(source)
    }

    pub(super) fn access_list(&self) -> Result<AccessList, Refusal> {
        let failed = |error: anyhow::Error| Refusal::failed(&error);
        let numbers = self.image.numbering.denials();
        let count = numbers.values().max().map_or(0, |highest| highest + 1);
        let denials = self.kernel.denials(count).map_err(failed)?;
        let dropped = |prefix: &IpNet| {
            let denial = numbers.get(prefix).and_then(|number| denials.get(usize::try_from(*number).ok()?));
            denial.map_or(Count::default(), |denial| Count { packets: denial.packets, bytes: denial.bytes })
        };
        let (mut exempt, mut denied) = (Vec::new(), Vec::new());
        for (permission, entry) in self.entries() {
            match permission {
                Permission::Exempt => exempt.push(entry),
                Permission::Deny => denied.push(AccessEntry { dropped: dropped(&entry.prefix), ..entry }),
            }
        }
        Ok(AccessList { exempt, denied, banned: self.bans().map_err(failed)? })
    }

    /// Every exemption and denial: of the file, of its lists, and of people.
    fn entries(&self) -> Vec<(Permission, AccessEntry)> {
        let rules = &self.standing.rules;
        let plain = |prefix: &IpNet, origin: &str| AccessEntry {
            prefix: prefix.trunc(),
            until: None,
            comment: None,
            origin: origin.to_owned(),
            dropped: Count::default(),
        };
        let access = &rules.config.access;
        let mut all: Vec<_> =
            access.exempt.iter().map(|p| (Permission::Exempt, plain(p, "config"))).collect();
        all.extend(access.denied.iter().map(|p| (Permission::Deny, plain(p, "config"))));
        for list in &rules.lists {
            let permission = match list.action {
                ListAction::Deny => Permission::Deny,
                ListAction::Exempt => Permission::Exempt,
            };
            let origin = format!("list {}", list.name);
            all.extend(list.prefixes.iter().map(|prefix| (permission, plain(prefix, &origin))));
        }
        let sessions = self.judging.iter().flat_map(|judging| judging.access.iter().skip(rules.access.len()));
        all.extend(rules.access.iter().chain(sessions).map(|entry| {
            let told = AccessEntry {
                until: entry.until,
                comment: Some(entry.reason.clone()).filter(|reason| !reason.is_empty()),
                ..plain(&entry.prefix, &entry.origin)
            };
            (entry.permission, told)
        }));
        all
    }

    /// The exemption that covers `source`.
    pub(super) fn exempting(&self, source: IpNet, now: Timestamp) -> Option<AccessEntry> {
        let covers = |entry: &AccessEntry| {
            entry.prefix.contains(&source) && entry.until.is_none_or(|until| until > now)
        };
        self.entries()
            .into_iter()
            .find(|(kind, entry)| *kind == Permission::Exempt && covers(entry))
            .map(|(_, e)| e)
    }

    /// Bans that hold now, the kernel's own included.
    pub(super) fn bans(&self) -> anyhow::Result<Vec<Ban>> {
        let now = self.kernel.environment().clock;
        let in_force =
            |ban: &record::Ban| ban.until == u64::MAX || ban.until.wrapping_sub(now).cast_signed() > 0;
        let bans = self.kernel.bans()?;
        let wall = |clock| self.kernel.wall(clock);
        let names = self.names(&wall);
        let mut told: Vec<_> = bans
            .into_iter()
            .filter(|(_, ban)| in_force(ban))
            .map(|(key, ban)| {
                let source = names.prefix(address_of(key.address()));
                let ours = self.standing.bans.get(&source);
                let by_kernel = ban.origin == origin::KERNEL;
                Ban {
                    source,
                    since: wall(ban.since),
                    until: (ban.until != u64::MAX).then(|| wall(ban.until)),
                    dropped: Count { packets: ban.dropped().packets, bytes: ban.dropped().bytes },
                    strikes: ban.strikes,
                    made_by: match ours {
                        _ if by_kernel => "kernel".to_owned(),
                        Some(ours) => ours.made_by.clone(),
                        None => "operator".to_owned(),
                    },
                    service: by_kernel.then(|| names.service(ban.service)),
                    comment: ours.and_then(|ours| ours.comment.clone()),
                }
            })
            .collect();
        told.sort_by(|a, b| b.since.cmp(&a.since).then(a.source.cmp(&b.source)));
        Ok(told)
    }
}

impl AccessKind {
    /// All lists.
    pub const ALL: [Self; 3] = [Self::Exempt, Self::Deny, Self::Ban];
}
