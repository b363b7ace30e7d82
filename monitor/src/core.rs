//! Every decision of the daemon, as a function of inputs: no I/O, no thread, no clock of its own.
//!
//! In: an [`Input`], the moment it comes at, and the [`Ports`]. Out: [`Effect`]s, in order. [`crate::engine`] drives it
//! with the live kernel; tests drive it with stand-ins. The parts below own what they know; this file joins them.

mod access;
pub mod address;
mod alerts;
mod asking;
mod audit;
mod challenge;
mod change;
pub mod command;
mod contained;
mod containment;
mod continued;
mod coverage;
mod dangers;
mod defend;
pub mod delta;
pub mod effect;
mod explain;
mod facts;
pub mod feed;
mod flows;
mod history;
mod import;
mod install;
mod interfaces;
mod limits;
mod lists;
pub mod meter;
pub mod names;
pub mod origin;
pub mod panic;
mod persist;
mod plan;
pub mod ports;
mod posture;
mod problems;
mod recent;
mod response;
mod sessions;
mod silences;
mod sources;
mod spoken;
#[cfg(test)]
pub mod stand_in;
pub mod start;
mod state;
mod steps;
mod supervise;
#[cfg(test)]
pub(crate) mod tests;
mod tune;
mod view;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

pub use effect::{Counted, Effect, Ended, Input, News, Reading, Told};
pub use ports::{Host, Ports};
pub use start::Beginning;

use api::{ChangeOptions, Method, Role};
use asking::Asking;
use command::Request;
use facts::Facts;
use ports::Turn;
use problems::Problems;
use state::State;
use tuning::defence::Load;

use crate::snapshot::{Confinement, Reload, Snapshot};
use crate::store::Moment;

/// How often the store forgets what is old.
const PRUNE: Duration = Duration::from_hours(1);
/// How long findings that are over are kept, and how many changes of the history.
const FINDINGS_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
const CHANGES_KEPT: u64 = 10_000;

/// The state with what answers need beside it.
#[derive(Debug)]
pub struct Core {
    state: State,
    problems: Problems,
    reload: Reload,
    /// The file that a reload reads, if one was named.
    path: Option<PathBuf>,
    started: Timestamp,
    confinement: Confinement,
    /// On the boot clock.
    pruned_at: Option<Duration>,
}

impl Core {
    /// A core whose rules are in force and whose interfaces are guarded.
    pub fn begin(now: Moment, beginning: Beginning, ports: Ports<'_>) -> Result<(Self, Vec<Effect>)> {
        let mut turn = Turn::new(now, ports, Problems::default());
        let path = beginning.path.clone();
        let broken = beginning.first.broken.clone();
        let confinement = beginning.first.confinement.clone();
        let state = State::begin(beginning, &mut turn)?;
        let started = turn.now.wall;
        let reload = Reload {
            at: started,
            succeeded_at: broken.is_none().then_some(started),
            successes: u64::from(broken.is_none()),
            failures: u64::from(broken.is_some()),
            error: broken,
            path: state.changes.desired().config().path.clone(),
        };
        audit::begun(env!("CARGO_PKG_VERSION"), &mut turn);
        audit::by_itself(&mut turn);
        let core =
            Self { state, problems: turn.problems, reload, path, started, confinement, pruned_at: None };
        Ok((core, turn.effects))
    }

    /// What is known before the first reading.
    pub fn first_snapshot(&self) -> Snapshot {
        view::nothing_yet(self.started, self.reload.clone())
    }

    /// Handles one input; what comes of it is to be performed in this order.
    pub fn handle(&mut self, now: Moment, input: Input, ports: Ports<'_>) -> Vec<Effect> {
        let mut turn = Turn::new(now, ports, std::mem::take(&mut self.problems));
        self.state.follow_clock(&mut turn);
        match input {
            Input::Command(request) => self.command(*request, &mut turn),
            Input::Records(records) => self.state.records(&records, &mut turn),
            Input::Events(events) => events.iter().for_each(|event| self.state.event(event, &turn)),
            Input::Reading(reading) => {
                let load = reading.load;
                let flood = self.state.reading(*reading, &mut turn);
                let snapshot = Arc::new(self.snapshot(&turn));
                turn.effects.push(Effect::Publish(Arc::clone(&snapshot)));
                let load = Load { flood, ..load };
                self.state.hold_strangers(&snapshot.totals, load, &mut turn);
                self.state.defend(load, &mut turn);
            }
            Input::LinksChanged => self.state.follow_links(&mut turn),
            Input::Host(news) => {
                self.prune(&mut turn);
                self.state.host(news, &mut turn);
                supervise::retry(&mut self.state, &mut turn);
            }
            Input::Fetched(name) => supervise::fetched(&name, &mut self.state, &mut turn),
            Input::Tick => {
                self.state.tick(&mut turn);
                supervise::tick(&mut self.state, &mut turn);
            }
            Input::Performed { what, outcome } => drop(turn.problems.report(what, outcome)),
        }
        audit::by_itself(&mut turn);
        self.problems = turn.problems;
        turn.effects
    }

    /// The end: what was learned is kept.
    pub fn end(&mut self, now: Moment, ports: Ports<'_>) {
        let mut turn = Turn::new(now, ports, std::mem::take(&mut self.problems));
        self.state.tune.keep(&mut turn);
        self.state.steps.keep(&mut turn);
        self.state.installed.keep_numbering(&mut turn);
        self.problems = turn.problems;
    }

    /// Forgets in the store what is old.
    fn prune(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.wall;
        if self.pruned_at.is_some_and(|at| turn.now.since_boot.saturating_sub(at) < PRUNE) {
            return;
        }
        self.pruned_at = Some(turn.now.since_boot);
        let copied = turn.store.copy();
        turn.problems.report("copy the store", copied);
        let before = now.checked_sub(FINDINGS_KEPT).unwrap_or(Timestamp::MIN);
        let pruned = turn.store.prune(now, before, CHANGES_KEPT);
        turn.problems.report("prune the store", pruned);
    }

    fn command(&mut self, request: Request, turn: &mut Turn<'_>) {
        let endpoint = request.endpoint();
        let (caller, options) = (request.caller.clone(), request.options);
        if caller.role < endpoint.role {
            // The handle refuses this already; a second check costs nothing.
            tracing::error!("{} by {} past the handle", endpoint.name, caller.role.label());
            return;
        }
        if endpoint.role > Role::Viewer {
            log(endpoint.name, &caller, options);
            self.state.remember_operator(&caller, turn);
        }
        let asking = Asking::of(caller, options);
        let body = (endpoint.method != Method::Get).then(|| request.body());
        let (answer, error) = request.perform(self, &asking, turn);
        if let Some(body) = body {
            // Before the answer: who was told that it is done finds it in the audit.
            audit::call(endpoint.name, &asking, body, error.as_ref(), turn);
        }
        turn.effects.push(Effect::Answer(answer));
    }

    /// What plans and answers are made from.
    fn facts<'a>(&'a self, turn: &'a Turn<'_>) -> Facts<'a> {
        self.state.facts(&*turn.kernel, turn.now.wall)
    }

    fn rules(&self) -> &policy::Rules {
        self.state.changes.desired().rules()
    }

    fn snapshot(&self, turn: &Turn<'_>) -> Snapshot {
        let facts = self.state.facts(&*turn.kernel, turn.now.wall);
        let names = facts.names();
        let limits = facts.limits();
        let image = self.state.installed.image();
        let mut problems: Vec<_> = turn.problems.all().cloned().collect();
        let lost = self.state.view.sinks.iter().filter(|sink| sink.lost > 0);
        problems.extend(lost.map(|sink| {
            let (name, lost) = (&sink.name, sink.lost);
            format!("sink {name}: {lost} findings could not be delivered; `sluice alerts list` has them")
        }));
        problems.extend(self.state.view.beside.iter().cloned());
        problems.extend(supervise::store_problems(turn));
        problems.extend(self.state.interfaces.problems());
        let interfaces = self.state.view.interfaces(&self.state.interfaces, &*turn.kernel);
        let view = &self.state.view;
        Snapshot {
            at: turn.now.wall,
            started: self.started,
            build: view::build(),
            panic: self.state.panic.snapshot(),
            interfaces,
            unguarded: self.state.interfaces.unguarded().to_vec(),
            services: view::services(image),
            totals: view.totals(&names),
            requests: view.requests(&names),
            connections: facts.connections(),
            spoken: self.state.spoken.snapshot(&names),
            maps: view.maps(image),
            incidents: view.incidents(),
            malformed: view.malformed(),
            events: view.events(),
            rules: view.rules(),
            sources: view.summary().clone(),
            bans: view.bans().to_vec(),
            banned: view.banned(),
            containments: self.state.installed.contained().len() as u64,
            limits,
            findings: self.state.watch.snapshot(),
            reload: self.reload.clone(),
            sinks: view.sinks.clone(),
            lists: lists::states(self.rules(), &view.lists),
            pending: self.state.changes.waiting().map(change::Waiting::snapshot),
            tuning: self.state.tune.snapshot(),
            process: view.process,
            confinement: self.confinement.clone(),
            store: turn.store.size(),
            audit: view::audit(turn.store.audit_state(), self.rules().config.state.audit_size.0),
            read_seconds: view.read_seconds,
            problems,
        }
    }
}

/// What is asked for beside the state of things. Of a signal nothing is known but that it came.
fn log(name: &str, caller: &command::Caller, options: ChangeOptions) {
    let ChangeOptions { save, confirm_within_seconds: confirm_within, yes } = options;
    if *caller == command::Caller::DAEMON {
        tracing::info!("command: {name}, by a signal");
        return;
    }
    let (user, uid, pid) = (caller.user.as_deref(), caller.uid, caller.pid);
    tracing::info!(user, uid, pid, save, confirm_within, yes, "command: {name}");
}
