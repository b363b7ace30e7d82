//! What was decided goes into the kernel: compiled, written beside what judges, flipped.
//!
//! In: a standing. Out: the kernel does as it says, or a refusal and nothing is different. It asks nobody and records
//! nothing.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::flow::{Address, BanKey, halves, mapped};
use monitor_common::plain::Plain as _;
use monitor_common::record::{self, origin};

use super::command::Caller;
use super::command::containment::Containment;
use super::delta::{self, Standing};
use super::kernel::BanError;
use super::refusal::{Code, Refusal};
use super::{Engine, operators};
use policy::{AccessEntry, CompileError, Permission, Rules, compile};

impl Engine {
    /// Puts `next` in force.
    pub(super) fn install(&mut self, next: Standing) -> Result<(), Refusal> {
        let rules = self.effective(&next.rules);
        let image =
            if self.judging.as_ref() == Some(&rules) {
                None
            } else {
                let compiled = compile(&rules, &self.image.numbering, &self.kernel.environment());
                Some(compiled.map_err(|CompileError(why)| {
                    Refusal::new(Code::Invalid, why).next("nothing was changed")
                })?)
            };
        // Bans first: their table may be full, and then nothing at all is to change.
        let added: Vec<_> =
            next.bans.iter().filter(|(source, ban)| self.standing.bans.get(source) != Some(ban)).collect();
        for (done, (source, ban)) in added.iter().enumerate() {
            if let Err(error) = self.write_ban(**source, ban) {
                for (source, _) in &added[..done] {
                    self.restore_ban(**source);
                }
                return Err(error);
            }
        }
        if let Err(refusal) = self.write_containments(&next.containments) {
            for (source, _) in &added {
                self.restore_ban(**source);
            }
            return Err(refusal);
        }
        if let Some(image) = image {
            if let Err(error) = self.kernel.install(&image) {
                for (source, _) in &added {
                    self.restore_ban(**source);
                }
                self.rewrite_containments();
                return Err(Refusal::failed(&error.context("write the rules")));
            }
            self.image = image;
            self.judging = Some(rules);
            self.after_install();
        }
        let gone: Vec<_> =
            self.standing.bans.keys().filter(|source| !next.bans.contains_key(source)).copied().collect();
        for source in gone {
            self.fallible("bans", |engine| engine.kernel.remove_ban(key(source.network())));
        }
        let contained = self.standing.containments != next.containments;
        self.standing = next;
        if contained {
            self.keep_containments();
        }
        self.follow_tuning(Timestamp::now());
        Ok(())
    }

    /// Numbers that fell free are swept at once, and the numbering is kept for the next start.
    fn after_install(&mut self) {
        let retired: Vec<_> = self.image.numbering.retired_services().into_iter().collect();
        if !retired.is_empty()
            && self.fallible("sweep", |engine| engine.kernel.forget_services(&retired)).is_some()
        {
            self.image.numbering.swept_services(&retired);
        }
        // The kernel forgot them as it took the rules.
        let retired = self.image.numbering.retired_denials();
        self.image.numbering.swept_denials(&retired);
        self.fallible("numbering", Self::keep_numbering);
    }

    fn write_ban(&mut self, source: IpNet, ban: &delta::Ban) -> Result<(), Refusal> {
        let clock = |at| self.kernel.clock(at);
        let value = record::Ban {
            until: ban.until.map_or(u64::MAX, clock),
            since: clock(ban.since),
            strikes: 1,
            origin: origin::OPERATOR,
            ..record::Ban::zeroed()
        };
        self.kernel.set_ban(key(source.network()), value).map_err(|error| match error {
            BanError::Full(capacity) => Refusal::new(
                Code::Full,
                format!("the ban table is full ({capacity} entries), so nothing was changed"),
            )
            .next("lift some bans, deny a wider prefix, or raise capacity.bans"),
            BanError::Failed(error) => Refusal::failed(&error.context(format!("ban {source}"))),
        })
    }

    /// Back to what stands, after a change that came only half way.
    fn restore_ban(&mut self, source: IpNet) {
        match self.standing.bans.get(&source).cloned() {
            Some(old) => drop(self.write_ban(source, &old)),
            None => drop(self.fallible("bans", |engine| engine.kernel.remove_ban(key(source.network())))),
        }
    }

    /// `rules` with the sessions of operators exempt, and tightened while the host is overloaded.
    fn effective(&self, rules: &Rules) -> Rules {
        let mut effective = rules.clone();
        super::defend::tighten(&mut effective, self.tuner.defence().1);
        if rules.config.access.operator_safe {
            let guards_loopback = self.wanted.iter().any(|name| name == "lo");
            let loopback = operators::LOOPBACK.into_iter().filter(|_| guards_loopback);
            let safe = self.operators.iter().copied().chain(loopback);
            effective.access.extend(safe.filter(|address| !self.unprotected.contains(address)).map(
                |address| AccessEntry {
                    prefix: IpNet::from(address),
                    permission: Permission::Exempt,
                    until: None,
                    reason: "its SSH session gave a command".to_owned(),
                    origin: "operator".to_owned(),
                },
            ));
        }
        effective
    }

    /// An operator's own SSH session is exempt while it lasts. Only what the kernel confirms counts.
    pub(super) fn remember_operator(&mut self, caller: &Caller) {
        let Some(peer) = caller.ssh_peer.map(|peer| peer.to_canonical()) else { return };
        if !self.operators.contains(&peer) && operators::established().contains(&peer) {
            self.operators.push(peer);
            self.reinstall("an operator's session is exempt");
        }
    }

    pub(super) fn forget_operators(&mut self) {
        let there = operators::established();
        let before = self.operators.len();
        self.operators.retain(|peer| there.contains(peer));
        self.unprotected.retain(|peer| there.contains(peer));
        if self.operators.len() < before {
            self.reinstall("an operator's session is over");
        }
    }

    pub(super) fn own_addresses_are(&mut self, own: Vec<IpAddr>) {
        if self.standing.rules.own != own {
            let mut next = self.standing.clone();
            next.rules.own = own;
            self.fallible("own addresses", |engine| Ok(engine.install(next)?));
            self.follow_detection();
        }
    }

    fn reinstall(&mut self, why: &str) {
        let next = self.standing.clone();
        if self.fallible("operators", |engine| Ok(engine.install(next)?)).is_some() {
            tracing::info!("{why}");
        }
    }

    /// Exemptions, denials, bans and containments that have ended.
    pub(super) fn end_what_is_over(&mut self, now: Timestamp) {
        let over = |ban: &delta::Ban| ban.until.is_some_and(|until| until <= now);
        let bans = self.standing.bans.values().any(over);
        let access =
            self.standing.rules.access.iter().any(|entry| entry.until.is_some_and(|until| until <= now));
        let past = |one: &Containment| one.until.is_some_and(|until| until <= now);
        let contained = self.standing.containments.values().any(past);
        if !bans && !access && !contained {
            return;
        }
        let mut next = self.standing.clone();
        for entry in next.rules.expire(now) {
            tracing::info!("ended: {:?} {}", entry.permission, entry.prefix);
        }
        next.bans.retain(|source, ban| {
            if over(ban) {
                tracing::info!("ended: ban of {source}");
            }
            !over(ban)
        });
        next.containments.retain(|subject, one| {
            if past(one) {
                tracing::info!("ended: containment of {subject}");
            }
            !past(one)
        });
        self.fallible("expiry", |engine| Ok(engine.install(next)?));
    }
}

/// The key under which the kernel bans `address`, which is a source's network address.
pub(super) fn key(address: IpAddr) -> BanKey {
    let (high, low) = halves(&bytes(address));
    BanKey { high, low }
}

/// An address as the kernel writes it.
pub(super) fn bytes(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}
