//! Every change takes this way: guard, write ahead what must be taken back, install, remember.
//!
//! In: a delta and who asks. Out: what is different now, or a refusal after which nothing is. The way back of a timed
//! change stands in the store before the change stands in the kernel.

use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::answer::Asking;
use super::command::containment::Subject;
use super::command::{Applied, Change};
use super::delta::{self, Delta, Standing};
use super::refusal::{Code, Refusal};
use super::{Engine, Waiting};
use crate::store::{self, AccessRule, AccessRuleKind, Author, ChangeRecord, ChangeState, Moment, NewChange};
use policy::config::Mode;
use policy::{self, LimitOverride};

impl Engine {
    /// Makes a change: `delta` over what stands.
    pub(super) fn make(&mut self, asking: &Asking, what: &str, delta: Delta) -> Result<Applied, Refusal> {
        let delta = Delta { saved: asking.options.save, ..delta };
        let (next, mut warnings) = self.prepared(&delta, asking)?;
        let summary = delta::differences(&self.standing, &next);
        let timed = asking.options.confirm_within();
        if let (Some(_), Some(waiting)) = (timed, &self.pending) {
            let number = waiting.pending.change;
            return Err(Refusal::new(
                Code::Conflict,
                format!("change {number} still waits for its confirmation"),
            )
            .next(format!("`sluice confirm` keeps it, `sluice revert {number}` takes it back")));
        }
        if next == self.standing {
            // A file may differ in its words alone.
            self.take_config(&delta);
            if delta.saved {
                self.persist(&delta, asking).map_err(|error| Refusal::failed(&error))?;
            }
            return Ok(Applied { saved: delta.saved, warnings, ..Applied::default() });
        }
        self.guard(asking, &next)?;
        let before = delta.before(&self.standing, &self.config);
        let what = &in_short(what, &summary);
        let record = new_change(asking, what, &before, &delta).map_err(|error| Refusal::failed(&error))?;

        if let Some(within) = timed {
            let moment = moment().map_err(|error| Refusal::failed(&error))?;
            let pending = self
                .store
                .begin(&record, record.before.clone(), within, &moment)
                .map_err(|error| Refusal::failed(&error.context("write the way back")))?;
            if let Err(refusal) = self.install(next) {
                self.fallible("history", |engine| {
                    engine.store.settle(pending.change, ChangeState::RolledBack)
                });
                return Err(refusal);
            }
            self.take_config(&delta);
            let (change, confirm_by) = (pending.change, pending.deadline);
            let made_by = asking.made_by();
            self.pending = Some(Waiting { pending, what: what.to_owned(), made_by, delta });
            tracing::info!(change, "{what}; taken back at {confirm_by:.0} unless confirmed");
            return Ok(Applied {
                change: Some(change),
                summary,
                saved: false,
                confirm_by: Some(confirm_by),
                warnings,
            });
        }

        self.install(next)?;
        self.take_config(&delta);
        // From here on the change holds; what the store cannot keep is a warning, not a refusal.
        let change = self.fallible("history", |engine| engine.store.record(&record));
        let mut saved = delta.saved;
        if saved && let Err(error) = self.persist(&delta, asking) {
            saved = false;
            warnings.push(format!("it holds, but could not be saved: {error:#}"));
        }
        tracing::info!(change, "{what}");
        Ok(Applied { change, summary, saved, confirm_by: None, warnings })
    }

    /// What would stand with `delta`, its lists imported.
    fn prepared(&self, delta: &Delta, asking: &Asking) -> Result<(Standing, Vec<String>), Refusal> {
        let next = delta.applied(&self.standing, Timestamp::now()).map_err(|error| {
            Refusal::new(Code::Invalid, error.to_string())
                .next("nothing was changed; `sluice config check` shows all of it")
        })?;
        if delta.config.is_none() { Ok((next, Vec::new())) } else { self.with_lists(next, asking) }
    }

    fn take_config(&mut self, delta: &Delta) {
        if let Some(config) = &delta.config {
            self.config = config.clone();
            self.follow_links();
            self.follow_detection();
        }
    }

    /// Refuses what would cut off an operator, unless it was asked twice.
    fn guard(&mut self, asking: &Asking, next: &Standing) -> Result<(), Refusal> {
        let hit = self.would_hit_protected(&next.rules);
        if !hit.is_empty() && !asking.options.yes {
            return Err(Refusal::new(
                Code::NeedsConfirmation,
                format!("this limit would have hit exempt or operators' addresses: {}", hit.join(", ")),
            )
            .next("nothing was changed; choose a higher rate, or ask again with --yes"));
        }
        if !next.rules.config.access.operator_safe {
            return Ok(());
        }
        let mut addresses = super::operators::protected(&asking.caller);
        addresses.extend(&self.operators);
        // A host that refuses its own addresses refuses what they stand in for: its neighbours' answers, and itself.
        addresses.extend(&next.rules.own);
        let now = Timestamp::now();
        let already = policy::would_cut(&self.standing.rules, &addresses, now);
        let mut cuts: Vec<_> = policy::would_cut(&next.rules, &addresses, now);
        cuts.retain(|cut| !already.contains(cut));
        let mut told: Vec<_> = cuts.iter().map(ToString::to_string).collect();
        let new_bans = next.bans.keys().filter(|source| !self.standing.bans.contains_key(source));
        let banned =
            new_bans.filter_map(|source| Some((source, addresses.iter().find(|a| source.contains(*a))?)));
        let banned: Vec<_> = banned.map(|(source, address)| (*source, *address)).collect();
        told.extend(banned.iter().map(|(source, address)| format!("{address} lies in {source} (the ban)")));
        let own: Vec<_> = addresses.iter().chain(&next.rules.own).copied().collect();
        let contained: Vec<_> = new_containments(&self.standing, next)
            .filter_map(|source| Some((source, *own.iter().find(|address| source.contains(*address))?)))
            .collect();
        told.extend(
            contained.iter().map(|(source, address)| format!("{address} lies in {source} (the containment)")),
        );
        let wide: Vec<_> = wide_exemptions(&self.standing, next).map(|prefix| prefix.to_string()).collect();
        if !wide.is_empty() && !asking.options.yes {
            return Err(Refusal::new(
                Code::NeedsConfirmation,
                format!("this would take the protection from all of {}", wide.join(", ")),
            )
            .next("nothing was changed; name the addresses that are meant, or ask again with --yes"));
        }
        if told.is_empty() {
            return Ok(());
        }
        if !asking.options.yes {
            return Err(Refusal::new(
                Code::NeedsConfirmation,
                format!("this would cut off an operator or the host itself: {}", told.join(", ")),
            )
            .next(
                "nothing was changed; ask again with --yes if you mean it, best with --confirm-within 60s",
            ));
        }
        let cut = cuts.iter().map(|cut| cut.address).chain(banned.iter().map(|(_, address)| *address));
        self.unprotected.extend(cut);
        Ok(())
    }

    pub(super) fn persist(&mut self, delta: &Delta, asking: &Asking) -> Result<()> {
        let (at, made_by) = (Timestamp::now(), asking.made_by());
        for set in &delta.limits {
            let key = serde_json::to_string(&set.name)?;
            match &set.value {
                Some(value) => self.store.set_override::<LimitOverride>(&key, value, &made_by, at)?,
                None => drop(self.store.unset_override(&key)?),
            }
        }
        for set in &delta.access {
            let kind = match set.permission {
                policy::Permission::Exempt => AccessRuleKind::Exempt,
                policy::Permission::Deny => AccessRuleKind::Deny,
            };
            match &set.entry {
                Some(entry) => self.store.set_access(&AccessRule {
                    kind,
                    prefix: set.prefix,
                    since: at,
                    until: entry.until,
                    strikes: 0,
                    comment: (!entry.reason.is_empty()).then(|| entry.reason.clone()),
                    made_by: entry.origin.clone(),
                })?,
                None => drop(self.store.unset_access(kind, set.prefix)?),
            }
        }
        for set in &delta.bans {
            match &set.ban {
                Some(ban) => self.store.set_access(&AccessRule {
                    kind: AccessRuleKind::Ban,
                    prefix: set.source,
                    since: ban.since,
                    until: ban.until,
                    strikes: 1,
                    comment: ban.comment.clone(),
                    made_by: ban.made_by.clone(),
                })?,
                None => drop(self.store.unset_access(AccessRuleKind::Ban, set.source)?),
            }
        }
        Ok(())
    }

    /// Keeps the change that waits.
    pub(super) fn confirm(&mut self, asking: &Asking, number: Option<u64>) -> Result<Applied, Refusal> {
        let nothing = || Refusal::new(Code::NotFound, "no change waits for its confirmation");
        let waiting =
            self.pending.take_if(|waiting| number.is_none_or(|number| number == waiting.pending.change));
        let waiting = waiting.ok_or_else(nothing)?;
        let number = waiting.pending.change;
        let settled = self.store.settle(number, ChangeState::Confirmed);
        if let Err(error) = settled {
            self.pending = Some(waiting);
            return Err(Refusal::failed(&error.context("write the confirmation")));
        }
        let saved = waiting.delta.saved;
        if saved {
            self.persist(&waiting.delta, asking).map_err(|error| Refusal::failed(&error))?;
        }
        tracing::info!(change = number, "confirmed: {}", waiting.what);
        Ok(Applied { change: Some(number), summary: vec![waiting.what], saved, ..Applied::default() })
    }

    /// Takes the waiting change back once its time is over.
    pub(super) fn roll_back_when_due(&mut self) {
        let Some(waiting) = &self.pending else { return };
        let due = moment().map(|now| waiting.pending.due(&now).is_some());
        if due.unwrap_or_else(|error| {
            tracing::error!("read the clocks: {error:#}");
            false
        }) {
            self.fallible("roll back", Self::roll_back);
        }
    }

    fn roll_back(&mut self) -> Result<()> {
        let Some(waiting) = &self.pending else { return Ok(()) };
        let (number, what) = (waiting.pending.change, waiting.what.clone());
        let restore: Delta =
            serde_json::from_value(waiting.pending.restore.clone()).context("read the way back")?;
        let (next, _) = self.prepared(&restore, &Asking::daemon("rollback"))?;
        self.install(next)?;
        self.take_config(&restore);
        self.store.settle(number, ChangeState::RolledBack)?;
        self.pending = None;
        tracing::warn!(change = number, "not confirmed in time, so taken back: {what}");
        Ok(())
    }

    /// Undoes one change of the history, if what it set still stands.
    pub(super) fn revert(&mut self, asking: &Asking, number: u64) -> Result<Applied, Refusal> {
        let failed = |error: anyhow::Error| Refusal::failed(&error);
        if self.pending.as_ref().is_some_and(|waiting| waiting.pending.change == number) {
            let what = self.pending.as_ref().map(|waiting| format!("taken back: {}", waiting.what));
            self.roll_back().map_err(failed)?;
            return Ok(Applied {
                change: Some(number),
                summary: what.into_iter().collect(),
                ..Applied::default()
            });
        }
        let record = self.store.change(number).map_err(failed)?.ok_or_else(|| {
            Refusal::new(Code::NotFound, format!("there is no change {number}"))
                .next("`sluice history` lists them")
        })?;
        if matches!(record.state, ChangeState::RolledBack | ChangeState::Reverted) {
            return Err(Refusal::new(
                Code::Conflict,
                format!("change {number} is {} already", record.state.label()),
            ));
        }
        let read = |value| serde_json::from_value::<Delta>(value).map_err(|error| failed(error.into()));
        let (before, after) = (read(record.before)?, read(record.after)?);
        let stands = Delta { saved: after.saved, ..after.before(&self.standing, &self.config) };
        if stands != after && !asking.options.yes {
            return Err(Refusal::new(
                Code::Conflict,
                format!(
                    "what change {number} set does not stand any more, it was changed or has ended since"
                ),
            )
            .next("ask again with --yes to put back what stood before it"));
        }
        let mut options = asking.options;
        options.save |= after.saved;
        let asking = Asking { options, ..asking.because(None) };
        let applied = self.make(&asking, &format!("revert change {number} ({})", record.what), before)?;
        if let Some(by) = applied.change {
            self.store.mark(number, ChangeState::Reverted, Some(by)).map_err(failed)?;
        }
        Ok(applied)
    }

    /// Writes down what changes no rule.
    pub(super) fn note(&mut self, asking: &Asking, what: &str) -> Option<u64> {
        let nothing = Delta::default();
        self.fallible("history", |engine| {
            let record = new_change(asking, what, &nothing, &nothing)?;
            engine.store.record(&record)
        })
    }

    pub(super) fn history(&self, limit: usize) -> Result<Vec<Change>, Refusal> {
        let limit = if limit == 0 { 50 } else { limit.min(10_000) };
        let records = self.store.history(limit).map_err(|error| Refusal::failed(&error))?;
        Ok(records.into_iter().map(told).collect())
    }
}

/// Exemptions that are new and cover a large part of the address space.
fn wide_exemptions<'a>(standing: &'a Standing, next: &'a Standing) -> impl Iterator<Item = IpNet> + 'a {
    const fn is_wide(prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(prefix) => prefix.prefix_len() < 8,
            IpNet::V6(prefix) => prefix.prefix_len() < 16,
        }
    }
    let exempt = |entry: &&policy::AccessEntry| entry.permission == policy::Permission::Exempt;
    let new = next.rules.access.iter().filter(|entry| !standing.rules.access.contains(entry));
    new.filter(exempt).map(|entry| entry.prefix).filter(|prefix| is_wide(*prefix))
}

/// Sources that `next` newly holds back in earnest.
fn new_containments<'a>(standing: &'a Standing, next: &'a Standing) -> impl Iterator<Item = IpNet> {
    next.containments.iter().filter_map(|(subject, one)| match subject {
        Subject::Source(source)
            if one.mode == Mode::Enforce && !standing.containments.contains_key(subject) =>
        {
            Some(*source)
        }
        _ => None,
    })
}

/// What was asked for and what came of it, for the history.
fn in_short(what: &str, summary: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut told = format!("{what}: {}", summary[..summary.len().min(SHOWN)].join("; "));
    if summary.len() > SHOWN {
        let more = format!("; and {} more", summary.len() - SHOWN);
        told.push_str(&more);
    }
    told
}

/// Now, on the clocks that a deadline is kept by.
fn moment() -> Result<Moment> {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot id")?;
    Ok(Moment {
        wall: Timestamp::now(),
        since_boot: Duration::new(boot.tv_sec.unsigned_abs(), u32::try_from(boot.tv_nsec).unwrap_or(0)),
        boot_id: boot_id.trim().to_owned(),
    })
}

fn told(record: ChangeRecord) -> Change {
    let Author { uid, origin, .. } = &record.author;
    Change {
        number: record.number,
        at: record.at,
        made_by: if origin == "control" { format!("uid {uid}") } else { origin.clone() },
        what: record.what,
        before: record.before.to_string(),
        after: record.after.to_string(),
        state: record.state.label().to_owned(),
        evidence: record.evidence,
    }
}

fn new_change(
    asking: &Asking,
    what: &str,
    before: &impl Serialize,
    after: &impl Serialize,
) -> Result<NewChange> {
    let caller = &asking.caller;
    Ok(NewChange {
        at: Timestamp::now(),
        author: Author {
            uid: caller.uid,
            gid: caller.gid,
            pid: caller.pid,
            origin: asking.origin.to_owned(),
        },
        what: what.to_owned(),
        before: serde_json::to_value(before).context("write down what stands")?,
        after: serde_json::to_value(after).context("write down what shall stand")?,
        evidence: asking.evidence.clone(),
        state: store::ChangeState::Applied,
    })
}
