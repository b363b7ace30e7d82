//! The only writer of the desired state: guard, write ahead what must be taken back, install, remember.
//!
//! In: a change set and who asks. Out: what is different now, or an error after which nothing is. The way back of a timed
//! change is in the store before the change is in the kernel.

mod desired;
mod guard;
mod waiting;

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use jiff::SignedDuration;

pub use desired::{Desired, Revision};
pub use waiting::Waiting;

use super::asking::Asking;
use super::audit;
use super::command::Applied;
use super::dangers;
use super::delta::{self, Delta, Standing};
use super::history::{self, new_change};
use super::install::Installed;
use super::lists::{self, Circumstances};
use super::origin::Origin;
use super::persist::persist;
use super::ports::Turn;
use crate::store::ChangeState;
use api::{Code, Error, LONGEST_WAIT_SECONDS};
use policy::Rules;

/// The desired state with the change that waits for its confirmation.
#[derive(Debug)]
pub struct Changes {
    desired: Desired,
    waiting: Option<Waiting>,
}

/// A change set with the state that it leads to; nothing is different yet.
#[derive(Debug)]
pub struct Prepared {
    delta: Delta,
    next: Standing,
    warnings: Vec<String>,
}

impl Prepared {
    /// The rules that it leads to.
    pub const fn rules(&self) -> &Rules {
        &self.next.rules
    }

    pub const fn next(&self) -> &Standing {
        &self.next
    }
}

/// What it takes to undo a change.
#[derive(Debug)]
pub enum Undo {
    /// It waited for its confirmation and is taken back.
    TakenBack(Applied),
    /// It is undone by another change: who asks, for what.
    Change { asking: Box<Asking>, what: String, delta: Box<Delta> },
}

impl Changes {
    pub const fn new(desired: Desired) -> Self {
        Self { desired, waiting: None }
    }

    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    pub const fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// What `delta` leads to, the lists of its configuration read again.
    pub fn prepare(
        &self,
        asking: &Asking,
        delta: Delta,
        installed: &Installed,
        turn: &mut Turn<'_>,
    ) -> Result<Prepared, Error> {
        dangers::refuse_long_comments(&delta)?;
        let next = delta.applied(self.desired.standing(), turn.now.wall).map_err(|error| {
            Error::new(Code::Invalid, error.to_string())
                .next("nothing was changed; `sluice config check` shows all of it")
        })?;
        if delta.config.is_none() {
            return Ok(Prepared { delta, next, warnings: Vec::new() });
        }
        let lifelines = turn.host.lifelines();
        let operators = installed.sessions().protected(&asking.caller, &lifelines);
        let around = self.circumstances(operators, asking.is_person(), installed, turn);
        let (next, warnings) = lists::read_again(next, around, &mut *turn.host)?;
        lists::report(&warnings, turn);
        Ok(Prepared { delta, next, warnings })
    }

    fn circumstances<'a>(
        &'a self,
        operators: Vec<IpAddr>,
        is_asked: bool,
        installed: &'a Installed,
        turn: &Turn<'_>,
    ) -> Circumstances<'a> {
        Circumstances {
            before: &self.desired.rules().lists,
            operators,
            is_asked,
            only: None,
            numbering: &installed.image().numbering,
            environment: turn.kernel.environment(),
        }
    }

    /// Reads the lists again, because one of them could not be taken, or `only` the one that changed.
    pub fn retry_lists(&mut self, only: Option<&str>, installed: &mut Installed, turn: &mut Turn<'_>) {
        let outcome = self.reread_lists(only, self.desired.standing().clone(), installed, turn);
        match outcome {
            Ok(next) if next == *self.desired.standing() => {}
            Ok(next) => {
                let outcome = self.install(next, installed, turn);
                turn.problems.report("install the lists", outcome.map_err(Into::into));
            }
            Err(error) => drop(turn.problems.report::<()>("lists", Err(error))),
        }
    }

    fn reread_lists(
        &self,
        only: Option<&str>,
        next: Standing,
        installed: &Installed,
        turn: &mut Turn<'_>,
    ) -> Result<Standing> {
        let lifelines = turn.host.lifelines();
        let caller = Asking::daemon(Origin::Timer).caller;
        let operators = installed.sessions().protected(&caller, &lifelines);
        let around = Circumstances { only, ..self.circumstances(operators, false, installed, turn) };
        let (next, warnings) = lists::read_again(next, around, &mut *turn.host)?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        lists::report(&warnings, turn);
        Ok(next)
    }

    /// Puts what was saved in force beside what holds, because the store could not be read before.
    pub fn take_up(&mut self, saved: Standing, installed: &mut Installed, turn: &mut Turn<'_>) -> Result<()> {
        let mut next = self.desired.standing().clone();
        for (name, value) in saved.rules.limits {
            next.rules.limits.entry(name).or_insert(value);
        }
        let key = |entry: &policy::AccessEntry| (entry.prefix, entry.permission);
        let there: HashSet<_> = next.rules.access.iter().map(key).collect();
        next.rules.access.extend(saved.rules.access.into_iter().filter(|entry| !there.contains(&key(entry))));
        for (source, ban) in saved.bans {
            next.bans.entry(source).or_insert(ban);
        }
        for (subject, containment) in saved.containments {
            next.containments.entry(subject).or_insert(containment);
        }
        if next != *self.desired.standing() {
            self.install(next, installed, turn)?;
        }
        Ok(())
    }

    /// Makes a change. `objections` are the protected sources that it would have dropped by the kept history, and what it
    /// would take away.
    pub fn apply(
        &mut self,
        asking: &Asking,
        what: &str,
        prepared: Prepared,
        objections: [&[String]; 2],
        installed: &mut Installed,
        turn: &mut Turn<'_>,
    ) -> Result<Applied, Error> {
        let Prepared { delta, next, mut warnings } = prepared;
        let delta = Delta { saved: asking.options.save, ..delta };
        let summary = delta::differences(self.desired.standing(), &next);
        let timed = asking.options.confirm_within();
        if asking.options.confirm_within_seconds.is_some_and(|time| time > LONGEST_WAIT_SECONDS) {
            return Err(Error::new(Code::Invalid, "a change waits for its confirmation for 30 days at most")
                .next("name a shorter time, or none to keep the change"));
        }
        if let (Some(_), Some(waiting)) = (timed, &self.waiting) {
            let number = waiting.number();
            return Err(Error::new(
                Code::Conflict,
                format!("change {number} still waits for its confirmation"),
            )
            .next(format!("`sluice confirm` keeps it, `sluice revert {number}` takes it back")));
        }
        if next == *self.desired.standing() {
            // A file may differ in its words alone.
            self.take_config(&delta);
            if delta.saved {
                persist(&delta, asking, turn).map_err(|error| Error::failed(&error))?;
            }
            return Ok(Applied { saved: delta.saved, warnings, ..Applied::default() });
        }
        let cut =
            guard::check(self.desired.standing(), &next, asking, objections, installed.sessions(), turn)?;
        installed.sessions_mut().give_up(cut);
        let before = delta.before(self.desired.standing(), self.desired.config());
        let what = &in_short(what, &summary);
        let record = new_change(asking, what, &before, &delta, turn.now.wall)
            .map_err(|error| Error::failed(&error))?;

        if let Some(within) = timed {
            let pending = turn
                .store
                .begin(&record, record.before.clone(), within, &turn.now)
                .map_err(|error| Error::failed(&error.context("write the way back")))?;
            if let Err(error) = self.install(next, installed, turn) {
                let settled = turn.store.settle(pending.change, ChangeState::RolledBack);
                turn.problems.report("history", settled);
                return Err(error);
            }
            self.take_config(&delta);
            let (change, confirm_by) = (pending.change, pending.deadline);
            audit::made(asking.origin, Some(change), &record, turn);
            self.waiting = Some(Waiting::new(pending, what, asking, delta));
            tracing::info!(change, "{what}; taken back at {confirm_by:.0} unless confirmed");
            return Ok(Applied {
                change: Some(change),
                summary,
                saved: false,
                confirm_by: Some(confirm_by),
                warnings,
            });
        }

        self.install(next, installed, turn)?;
        self.take_config(&delta);
        // From here on the change holds; what the store cannot keep is a warning, not an error.
        let recorded = turn.store.record(&record);
        let change = turn.problems.report("history", recorded);
        audit::made(asking.origin, change, &record, turn);
        let mut saved = delta.saved;
        if saved && let Err(error) = persist(&delta, asking, turn) {
            saved = false;
            warnings.push(format!("it holds, but could not be saved: {error:#}"));
        }
        tracing::info!(change, "{what}");
        Ok(Applied { change, summary, saved, confirm_by: None, warnings })
    }

    /// Keeps the change that waits.
    pub fn confirm(
        &mut self,
        asking: &Asking,
        number: Option<u64>,
        turn: &mut Turn<'_>,
    ) -> Result<Applied, Error> {
        let waiting = self.waiting.take_if(|waiting| number.is_none_or(|number| number == waiting.number()));
        let waiting =
            waiting.ok_or_else(|| Error::new(Code::NotFound, "no change waits for its confirmation"))?;
        let number = waiting.number();
        if let Err(error) = turn.store.settle(number, ChangeState::Confirmed) {
            self.waiting = Some(waiting);
            return Err(Error::failed(&error.context("write the confirmation")));
        }
        let saved = waiting.delta().saved;
        if saved {
            persist(waiting.delta(), asking, turn).map_err(|error| Error::failed(&error))?;
        }
        tracing::info!(change = number, "confirmed: {}", waiting.what());
        let summary = vec![waiting.what().to_owned()];
        Ok(Applied { change: Some(number), summary, saved, ..Applied::default() })
    }

    /// Takes the waiting change back once its time is over.
    pub fn roll_back_when_due(&mut self, installed: &mut Installed, turn: &mut Turn<'_>) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.is_due(&turn.now)) {
            let outcome = self.roll_back(installed, turn);
            turn.problems.report("roll back", outcome);
        }
    }

    fn roll_back(&mut self, installed: &mut Installed, turn: &mut Turn<'_>) -> Result<()> {
        let Some(waiting) = &self.waiting else { return Ok(()) };
        let (number, what, restore) = (waiting.number(), waiting.what().to_owned(), waiting.restore()?);
        let asking = Asking::daemon(Origin::Timer);
        let after = serde_json::to_value(&restore)?;
        let Prepared { delta: restore, next, .. } = self.prepare(&asking, restore, installed, turn)?;
        self.install(next, installed, turn)?;
        audit::taken_back(number, &what, after, turn);
        self.take_config(&restore);
        turn.store.settle(number, ChangeState::RolledBack)?;
        self.waiting = None;
        tracing::warn!(change = number, "not confirmed in time, so taken back: {what}");
        Ok(())
    }

    /// Undoes one change of the history, if what it set still holds.
    pub fn undo(
        &mut self,
        asking: &Asking,
        number: u64,
        installed: &mut Installed,
        turn: &mut Turn<'_>,
    ) -> Result<Undo, Error> {
        let failed = |error: anyhow::Error| Error::failed(&error);
        if let Some(waiting) = self.waiting.as_ref().filter(|waiting| waiting.number() == number) {
            let summary = vec![format!("taken back: {}", waiting.what())];
            self.roll_back(installed, turn).map_err(failed)?;
            return Ok(Undo::TakenBack(Applied { change: Some(number), summary, ..Applied::default() }));
        }
        let record = history::undoable(number, &*turn.store)?;
        let read = |value| serde_json::from_value::<Delta>(value).map_err(|error| failed(error.into()));
        let (before, after) = (read(record.before)?, read(record.after)?);
        let stands =
            Delta { saved: after.saved, ..after.before(self.desired.standing(), self.desired.config()) };
        if stands != after && !asking.options.yes {
            return Err(Error::new(
                Code::Conflict,
                format!(
                    "what change {number} set does not stand any more, it was changed or has ended since"
                ),
            )
            .next("ask again with --yes to put back what stood before it"));
        }
        let mut asking = asking.because(None);
        asking.options.save |= after.saved;
        let what = format!("revert change {number} ({})", record.what);
        Ok(Undo::Change { asking: Box::new(asking), what, delta: Box::new(before) })
    }

    /// The wall clock was set: every end moves along. What the kernel holds is on its own clock, so nothing is installed.
    pub fn move_ends(&mut self, by: SignedDuration) {
        let mut next = self.desired.standing().clone();
        next.move_ends(by);
        self.desired.replace(next);
        self.waiting.iter_mut().for_each(|waiting| waiting.move_deadline(by));
    }

    /// Ends what is over: exemptions, denials, bans and containments.
    pub fn expire(&mut self, installed: &mut Installed, turn: &mut Turn<'_>) {
        if !self.desired.is_anything_over(turn.now.wall) {
            return;
        }
        let mut next = self.desired.standing().clone();
        let ended = next.expire(turn.now.wall);
        for one in ended {
            tracing::info!("ended: {one}");
        }
        let outcome = self.install(next, installed, turn);
        turn.problems.report("expiry", outcome.map_err(Into::into));
    }

    /// The host's own addresses are these from now on.
    pub fn own_addresses_are(&mut self, own: Vec<IpAddr>, installed: &mut Installed, turn: &mut Turn<'_>) {
        if self.desired.rules().own != own {
            let mut next = self.desired.standing().clone();
            next.rules.own = own;
            let outcome = self.install(next, installed, turn);
            turn.problems.report("own addresses", outcome.map_err(Into::into));
        }
    }

    /// Puts the desired state in force again, because what is laid over it changed. True when it is in force.
    pub fn reinstall(&mut self, what: &'static str, installed: &mut Installed, turn: &mut Turn<'_>) -> bool {
        let next = self.desired.standing().clone();
        let outcome = self.install(next, installed, turn);
        turn.problems.report(what, outcome.map_err(Into::into)).is_some()
    }

    /// The first rules of this process; `next` with the lists that its configuration names.
    pub fn begin(&mut self, next: Standing, installed: &mut Installed, turn: &mut Turn<'_>) -> Result<()> {
        let next = self.reread_lists(None, next, installed, turn)?;
        self.install(next, installed, turn).context("put the rules in force")
    }

    fn install(
        &mut self,
        next: Standing,
        installed: &mut Installed,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        installed.install(self.desired.standing(), &next, turn)?;
        self.desired.replace(next);
        Ok(())
    }

    fn take_config(&mut self, delta: &Delta) {
        if let Some(config) = &delta.config {
            self.desired.take_config(config);
        }
    }
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
