//! `access exempt|deny|ban|unban|list`: who is let through and who is not, whatever the rate.
//!
//! In: prefixes and durations. Out: plans, and the lists as they hold. A ban is of one source; wider ones are
//! denials.

use std::time::Duration;

use ipnet::IpNet;
use monitor_common::flow::BanKey;
use monitor_common::record::{self, origin};

use super::address::key;
use super::asking::Asking;
use super::command::{AccessAdd, AccessEntry, AccessList, AccessRemove, Applied};
use super::delta::{self, AccessSetting, BanSetting, Delta};
use super::facts::Facts;
use super::names::source_of;
use super::plan::Plan;
use super::ports::Turn;
use crate::snapshot::{Ban, Count, address_of};
use api::{Code, Error};
use policy::config::ListAction;
use policy::{self, Permission};

/// How long a ban lasts when nobody says.
const BAN_FOR: Duration = Duration::from_mins(10);
/// The longest time that a clock can hold; more is "for ever".
const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

/// What removing an entry takes.
#[derive(Debug)]
pub enum Removal {
    Change(Box<Plan>),
    /// The kernel banned this source by itself, which is no decision of ours.
    KernelBan(IpNet),
}

/// A plan that exempts, denies or bans a prefix.
pub fn add(facts: &Facts<'_>, asking: &Asking, add: &AccessAdd) -> Result<Plan, Error> {
    let prefix = add.prefix.trunc();
    let wanted = add.for_seconds.map(Duration::from_secs);
    if wanted == Some(Duration::ZERO) {
        return Err(
            Error::new(Code::Invalid, "a duration of nothing").next("leave it out, or name a longer one")
        );
    }
    let now = facts.now;
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
        return Ok(Plan::new(what(prefix), Delta { access, ..Delta::default() }));
    }
    let source = one_source(facts, prefix, "a ban")?;
    let ban = delta::Ban {
        since: now,
        until: until(Some(wanted.unwrap_or(BAN_FOR))),
        comment: add.comment.clone(),
        made_by: asking.made_by(),
    };
    let bans = vec![BanSetting { source, ban: Some(ban) }];
    let mut plan = Plan::new(what(source), Delta { bans, ..Delta::default() });
    if source != prefix {
        plan.warnings.push(format!("{prefix} counts under {source}, so all of that is banned"));
    }
    if is_exempt(facts, source) {
        plan.warnings.push(format!("{source} is exempt, and an exemption goes before a ban"));
    }
    Ok(plan)
}

/// What takes back an exemption, a denial or a ban.
pub fn remove(facts: &Facts<'_>, target: AccessRemove) -> Result<Removal, Error> {
    let prefix = target.prefix.trunc();
    let what = |prefix: IpNet| format!("access un{} {prefix}", target.kind.label());
    let Some(permission) = delta::permission(target.kind) else {
        let source = one_source(facts, prefix, "a ban")?;
        if !facts.desired.standing().bans.contains_key(&source) {
            return Ok(Removal::KernelBan(source));
        }
        let bans = vec![BanSetting { source, ban: None }];
        return Ok(change(what(source), Delta { bans, ..Delta::default() }));
    };
    let same = |entry: &policy::AccessEntry| entry.prefix == prefix && entry.permission == permission;
    if !facts.desired.rules().access.iter().any(same) {
        let kind = if target.kind == super::command::AccessKind::Exempt { "exemption" } else { "denial" };
        let error = Error::new(Code::NotFound, format!("no {kind} of {prefix} was made while running"));
        return Err(
            error.next("what the configuration says is changed in its file; `sluice access list` shows both")
        );
    }
    let access = vec![AccessSetting { prefix, permission, entry: None }];
    Ok(change(what(prefix), Delta { access, ..Delta::default() }))
}

fn change(what: String, delta: Delta) -> Removal {
    Removal::Change(Box::new(Plan::new(what, delta)))
}

/// Lifts a ban that the kernel made; lifting it is not undone by taking anything back.
pub fn lift_kernel_ban(source: IpNet, turn: &mut Turn<'_>) -> Result<Applied, Error> {
    let removed = turn.kernel.remove_ban(key(source.network()));
    if !removed.map_err(|error| Error::failed(&error))? {
        return Err(Error::new(Code::NotFound, format!("{source} is not banned")));
    }
    tracing::info!("the kernel's ban of {source} is lifted");
    Ok(Applied { summary: vec![format!("- ban {source}")], ..Applied::default() })
}

/// The source that `prefix` names; an error when it is more than one.
pub fn one_source(facts: &Facts<'_>, prefix: IpNet, what: &str) -> Result<IpNet, Error> {
    let source = source_of(facts.desired.rules().config.source, prefix.network());
    if prefix.prefix_len() < source.prefix_len() {
        let (wide, one) = (prefix.prefix_len(), source.prefix_len());
        return Err(Error::new(
            Code::Invalid,
            format!("{what} is of one source (/{one}), and {prefix} is a /{wide}"),
        )
        .next("`sluice access deny` takes any prefix, with --for if it shall end"));
    }
    Ok(source)
}

/// Exemptions, denials and bans.
pub fn list(facts: &Facts<'_>) -> Result<AccessList, Error> {
    let failed = |error: anyhow::Error| Error::failed(&error);
    let numbers = facts.installed.image().numbering.denials();
    let count = numbers.values().max().map_or(0, |highest| highest + 1);
    let denials = facts.kernel.denials(count).map_err(failed)?;
    let dropped = |prefix: &IpNet| {
        let denial = numbers.get(prefix).and_then(|number| denials.get(usize::try_from(*number).ok()?));
        denial.map_or(Count::default(), |denial| Count { packets: denial.packets, bytes: denial.bytes })
    };
    let (mut exempt, mut denied) = (Vec::new(), Vec::new());
    for (permission, entry) in entries(facts) {
        match permission {
            Permission::Exempt => exempt.push(entry),
            Permission::Deny => denied.push(AccessEntry { dropped: dropped(&entry.prefix), ..entry }),
        }
    }
    let held = facts.kernel.bans().map_err(failed)?;
    Ok(AccessList { exempt, denied, banned: bans(facts, &held) })
}

/// Every exemption and denial: of the file, of its lists, and of people.
fn entries(facts: &Facts<'_>) -> Vec<(Permission, AccessEntry)> {
    let rules = facts.desired.rules();
    let plain = |prefix: &IpNet, origin: &str| AccessEntry {
        prefix: prefix.trunc(),
        until: None,
        comment: None,
        origin: origin.to_owned(),
        dropped: Count::default(),
    };
    let access = &rules.config.access;
    let mut all: Vec<_> = access.exempt.iter().map(|p| (Permission::Exempt, plain(p, "config"))).collect();
    all.extend(access.denied.iter().map(|p| (Permission::Deny, plain(p, "config"))));
    for list in rules.lists.iter() {
        let permission = match list.action {
            ListAction::Deny => Permission::Deny,
            ListAction::Exempt => Permission::Exempt,
        };
        let origin = format!("list {}", list.name);
        all.extend(list.prefixes.iter().map(|prefix| (permission, plain(prefix, &origin))));
    }
    let judging = facts.installed.judging();
    let sessions = judging.iter().flat_map(|judging| judging.access.iter().skip(rules.access.len()));
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

/// Whether an exemption covers all of `source`.
pub fn is_exempt(facts: &Facts<'_>, source: IpNet) -> bool {
    let rules = facts.installed.judging().unwrap_or(facts.desired.rules());
    let is_in_force = |entry: &policy::AccessEntry| {
        entry.permission == Permission::Exempt && entry.until.is_none_or(|until| until > facts.now)
    };
    rules.config.access.exempt.iter().any(|prefix| prefix.contains(&source))
        || rules.access.iter().any(|entry| entry.prefix.contains(&source) && is_in_force(entry))
        || rules
            .lists
            .iter()
            .any(|list| list.action == ListAction::Exempt && list.covering(source).next().is_some())
}

/// Those of the kernel's bans that are in force now, its own included.
pub fn bans(facts: &Facts<'_>, held: &[(BanKey, record::Ban)]) -> Vec<Ban> {
    let now = facts.kernel.environment().clock;
    let in_force = |ban: &record::Ban| ban.until == u64::MAX || ban.until.wrapping_sub(now).cast_signed() > 0;
    let names = facts.names();
    let wall = |clock| facts.kernel.wall(clock);
    let mut told: Vec<_> = held
        .iter()
        .filter(|(_, ban)| in_force(ban))
        .map(|(key, ban)| {
            let source = names.prefix(address_of(key.address()));
            let ours = facts.desired.standing().bans.get(&source);
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
    told
}
