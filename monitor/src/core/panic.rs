//! `sluice panic`: everything passes until somebody switches it off.
//!
//! In: commands, the switch in the kernel, the steps in the state directory. Out: the same switch after every restart, lines in
//! the history, a problem and a log line while it is on. It is no part of the desired state, so no change, reload or expiry
//! touches it; root may turn it past the daemon, and the daemon then takes over what it finds.

use std::time::Duration;

use api::{Applied, Code, Error, Origin};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::asking::{Asking, named};
use super::history;
use super::ports::Turn;
use crate::snapshot;

/// How often the log is told again while it is on.
const REMINDER: Duration = Duration::from_mins(10);
/// Steps that are kept for a history that cannot be written.
const STEPS: usize = 100;

/// One turn of the switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub on: bool,
    pub at: Timestamp,
    /// `None` when it is not known who did it.
    pub origin: Option<Origin>,
    /// The name of the user, if there is one.
    #[serde(default)]
    pub user: Option<String>,
    /// The history has it.
    pub recorded: bool,
}

impl Step {
    fn made_by(&self) -> String {
        let unknown = || "somebody who wrote to the kernel's maps".to_owned();
        self.origin.map_or_else(unknown, |origin| named(origin, self.user.as_deref()))
    }

    fn sentence(&self) -> String {
        let what = if self.on { "on: everything passes" } else { "off: the rules hold again" };
        match self.origin {
            Some(Origin::Direct { .. }) => format!("panic {what} (at {:.0}, without the daemon)", self.at),
            _ => format!("panic {what}"),
        }
    }
}

/// The switch as the daemon knows it.
#[derive(Debug, Default)]
pub struct Panic {
    /// The last step of all is how it stands.
    steps: Vec<Step>,
    /// On the boot clock, while it is on.
    reminded: Option<Duration>,
    unkept: bool,
}

impl Panic {
    /// As it was left, by the file or by the kernel; either is enough.
    pub fn begin(turn: &mut Turn<'_>) -> Self {
        let mut panic = Self::default();
        panic.read(turn);
        if panic.is_on() {
            let switched = turn.kernel.pass_everything(true);
            turn.problems.report("panic switch", switched);
        }
        panic.unkept = panic.steps.iter().any(|step| !step.recorded);
        panic.look(turn);
        panic
    }

    fn is_on(&self) -> bool {
        self.steps.last().is_some_and(|step| step.on)
    }

    pub fn snapshot(&self) -> Option<snapshot::Panic> {
        let step = self.steps.last().filter(|step| step.on)?;
        Some(snapshot::Panic { since: step.at, made_by: step.made_by() })
    }

    /// An operator turns it.
    pub fn switch(&mut self, on: bool, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        if on == self.is_on() {
            return Ok(Applied::default());
        }
        if on && !asking.options.yes {
            let what =
                "everything would pass: no limit, ban or denial drops anything until `sluice panic off`";
            return Err(Error::new(Code::NeedsConfirmation, what)
                .next("nothing was changed; add --yes if it is meant"));
        }
        // The kernel first: whatever fails after that, it holds.
        turn.kernel.pass_everything(on).map_err(|error| Error::failed(&error))?;
        let step = Step {
            on,
            at: turn.now.wall,
            origin: Some(asking.origin),
            user: asking.caller.user.clone(),
            recorded: false,
        };
        let summary = vec![step.sentence()];
        self.take(step, turn);
        let mut applied = Applied { summary, saved: !self.unkept, ..Applied::default() };
        if self.unkept {
            applied
                .warnings
                .push("it could not be kept whole: see the problems in `sluice status`".to_owned());
        }
        if on {
            applied.summary.push("it stays over restarts until `sluice panic off`".to_owned());
        }
        Ok(applied)
    }

    /// Once a tick: somebody may have turned it past the daemon, and what could not be written is tried again.
    pub fn look(&mut self, turn: &mut Turn<'_>) {
        let found = turn.kernel.passes_everything();
        let Some(on) = turn.problems.report("panic switch", found) else { return };
        if on != self.is_on() {
            self.read(turn);
            if on == self.is_on() {
                self.tell(turn);
            } else {
                self.steps.push(Step { on, at: turn.now.wall, origin: None, user: None, recorded: false });
                self.tell(turn);
            }
            self.unkept = true;
        }
        if self.unkept {
            self.keep(turn);
        }
        self.remind(turn);
    }

    fn take(&mut self, step: Step, turn: &mut Turn<'_>) {
        self.steps.push(step);
        self.tell(turn);
        self.keep(turn);
        self.remind(turn);
    }

    fn tell(&mut self, turn: &mut Turn<'_>) {
        self.reminded = None;
        match self.steps.last() {
            Some(step) if !step.on => {
                tracing::warn!("{} (by {})", step.sentence(), step.made_by());
                turn.problems.clear("panic");
            }
            _ => {}
        }
    }

    fn remind(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.since_boot;
        if self.reminded.is_some_and(|at| now.saturating_sub(at) < REMINDER) {
            return;
        }
        let Some(held) = self.snapshot() else { return };
        let told = format!(
            "panic: everything passes since {:.0}, by {}; `sluice panic off` ends it",
            held.since, held.made_by
        );
        tracing::error!("{told}");
        turn.problems.set("panic", told);
        self.reminded = Some(now);
    }

    /// Takes over the steps that the state directory has.
    fn read(&mut self, turn: &mut Turn<'_>) {
        let read = turn.host.panic_steps(turn.store.directory());
        if let Some(steps) = turn.problems.report("panic file", read) {
            self.steps = steps;
        }
    }

    /// Into the history, and into the state directory: that file counts after a reboot.
    fn keep(&mut self, turn: &mut Turn<'_>) {
        for step in self.steps.iter_mut().filter(|step| !step.recorded) {
            let mut asking = Asking::daemon(step.origin.unwrap_or(Origin::Timer));
            asking.caller.user.clone_from(&step.user);
            step.recorded = history::note(&asking, &step.sentence(), turn).is_some();
        }
        let first_needed = self.steps.iter().position(|step| !step.recorded).unwrap_or(self.steps.len());
        let kept_from =
            first_needed.min(self.steps.len().saturating_sub(1)).max(self.steps.len().saturating_sub(STEPS));
        self.steps.drain(..kept_from);
        let kept = turn.host.keep_panic_steps(turn.store.directory(), &self.steps);
        let kept = kept.map_err(|error| error.context("a reboot would end it"));
        let is_kept = turn.problems.report("panic file", kept).is_some();
        self.unkept = !is_kept || self.steps.iter().any(|step| !step.recorded);
    }
}
