//! Every decision of the daemon, as a function of inputs: no I/O, no thread, no clock of its own.
//!
//! In: an [`Input`], the moment it comes at, and the [`Ports`]. Out: [`Effect`]s, in order. [`crate::engine`] drives it
//! with the live kernel; tests drive it with stand-ins. The parts below own what they know; this file joins them.

mod access;
pub mod address;
mod alerts;
mod asking;
mod change;
pub mod command;
mod contained;
mod containment;
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
mod persist;
mod plan;
pub mod ports;
mod problems;
pub mod refusal;
mod response;
mod sessions;
mod sources;
#[cfg(test)]
pub mod stand_in;
pub mod start;
mod state;
mod supervise;
#[cfg(test)]
mod tests;
mod tune;
mod view;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

pub use effect::{Counted, Effect, Ended, Input, News, Reading, Told};
pub use ports::{Host, Ports};
pub use start::Beginning;

use asking::Asking;
use command::{AccessImport, Applied, Command, ConfigText, Request, Role, SourceList, SourceQuery};
use delta::Delta;
use effect::Answer;
use plan::Plan;
use ports::Turn;
use problems::Problems;
use refusal::{Code, Refusal};
use state::State;
use tuning::defence::Load;

use crate::snapshot::{Reload, Snapshot};
use crate::store::Moment;

/// How often the store forgets what is old.
const PRUNE: SignedDuration = SignedDuration::from_hours(1);
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
    pruned_at: Option<Timestamp>,
}

impl Core {
    /// A core whose rules are in force and whose interfaces are guarded.
    pub fn begin(now: Moment, beginning: Beginning, ports: Ports<'_>) -> Result<(Self, Vec<Effect>)> {
        let mut turn = Turn::new(now, ports, Problems::default());
        let path = beginning.path.clone();
        let broken = beginning.first.broken.clone();
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
        let core = Self { state, problems: turn.problems, reload, path, started, pruned_at: None };
        Ok((core, turn.effects))
    }

    /// What is known before the first reading.
    pub fn first_snapshot(&self) -> Snapshot {
        view::nothing_yet(self.started, self.reload.clone())
    }

    /// Handles one input; what comes of it is to be performed in this order.
    pub fn handle(&mut self, now: Moment, input: Input, ports: Ports<'_>) -> Vec<Effect> {
        let mut turn = Turn::new(now, ports, std::mem::take(&mut self.problems));
        match input {
            Input::Command(request) => self.command(*request, &mut turn),
            Input::Records(records) => self.state.records(&records, &mut turn),
            Input::Events(events) => events.iter().for_each(|event| self.state.event(event, &turn)),
            Input::Reading(reading) => {
                let load = reading.load;
                let flood = self.state.reading(*reading, &mut turn);
                let snapshot = Arc::new(self.snapshot(&turn));
                turn.effects.push(Effect::Publish(snapshot));
                self.state.defend(Load { flood, ..load }, &mut turn);
            }
            Input::LinksChanged => self.state.follow_links(&mut turn),
            Input::Host(news) => {
                self.prune(&mut turn);
                self.state.host(news, &mut turn);
                supervise::retry(&mut self.state, &mut turn);
            }
            Input::Tick => {
                self.state.tick(&mut turn);
                supervise::tick(&mut self.state, &mut turn);
            }
            Input::Performed { what, outcome } => drop(turn.problems.report(what, outcome)),
        }
        self.problems = turn.problems;
        turn.effects
    }

    /// The end: what was learned is kept.
    pub fn end(&mut self, now: Moment, ports: Ports<'_>) {
        let mut turn = Turn::new(now, ports, std::mem::take(&mut self.problems));
        self.state.tune.keep(&mut turn);
        self.problems = turn.problems;
    }

    /// Forgets in the store what is old.
    fn prune(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.wall;
        if self.pruned_at.is_some_and(|at| now.duration_since(at) < PRUNE) {
            return;
        }
        self.pruned_at = Some(now);
        let copied = turn.store.copy();
        turn.problems.report("copy the store", copied);
        let before = now.checked_sub(FINDINGS_KEPT).unwrap_or(Timestamp::MIN);
        let pruned = turn.store.prune(now, before, CHANGES_KEPT);
        turn.problems.report("prune the store", pruned);
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each command")]
    fn command(&mut self, request: Request, turn: &mut Turn<'_>) {
        let Request { caller, options, command } = request;
        if caller.role < command.role() {
            // The handle refuses this already; a second check costs nothing.
            tracing::error!("{} by {} past the handle", command.name(), caller.role.label());
            return;
        }
        if command.role() > Role::Viewer {
            tracing::info!(uid = caller.uid, pid = caller.pid, ?options, "command: {}", command.name());
            self.state.remember_operator(&caller, turn);
        }
        let asking = &Asking::of(caller, options);
        let now = turn.now.wall;
        macro_rules! facts {
            () => {
                &self.state.facts(&*turn.kernel, now)
            };
        }
        macro_rules! rules {
            () => {
                self.state.changes.desired().rules()
            };
        }
        let tick_ns = turn.kernel.environment().tick_ns;
        let answer = match command {
            Command::Sources(query, reply) => Answer::new(reply, self.sources(&query, turn)),
            Command::Explain(address, reply) => Answer::new(reply, explain::explain(facts!(), address)),
            Command::LimitList(reply) => Answer::new(reply, Ok(facts!().limits())),
            Command::LimitSet(set, reply) => {
                let plan = limits::set(rules!(), &set);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::LimitUnset(target, reply) => {
                let plan = limits::unset(rules!(), &target);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::AccessAdd(add, reply) => {
                let plan = access::add(facts!(), asking, &add);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::AccessImport(list, reply) => Answer::new(reply, self.import(asking, &list, turn)),
            Command::AccessRemove(target, reply) => {
                let removal = access::remove(facts!(), target);
                Answer::new(
                    reply,
                    match removal {
                        Ok(access::Removal::KernelBan(source)) => access::lift_kernel_ban(source, turn),
                        Ok(access::Removal::Change(plan)) => self.make(asking, Ok(*plan), turn),
                        Err(refusal) => Err(refusal),
                    },
                )
            }
            Command::AccessList(reply) => Answer::new(reply, access::list(facts!())),
            Command::Reload(reply) => Answer::new(reply, self.reload(asking, turn)),
            Command::Stop(reply) => {
                turn.effects.push(Effect::End(Ended::Stopped));
                Answer::new(reply, Ok(()))
            }
            Command::Detach(reply) => Answer::new(reply, self.detach(asking, turn)),
            Command::ConfigShow(reply) => Answer::new(reply, self.show_config()),
            Command::Confirm(number, reply) => {
                Answer::new(reply, self.state.changes.confirm(asking, number, turn))
            }
            Command::History(query, reply) => Answer::new(reply, history::list(query, &*turn.store)),
            Command::Revert(number, reply) => Answer::new(reply, self.state.undo(asking, number, turn)),
            Command::AlertList(query, reply) => {
                Answer::new(reply, alerts::list(facts!(), &self.state.watch, &*turn.store, &query))
            }
            Command::AlertShow(number, reply) => {
                Answer::new(reply, alerts::show(facts!(), &self.state.watch, &*turn.store, number))
            }
            Command::AlertClose(number, reply) => Answer::new(reply, self.close_alert(number, turn)),
            Command::AlertSilence(silence, reply) => {
                Answer::new(reply, alerts::silence(&mut self.state.watch, asking, silence, turn))
            }
            Command::Flows(query, reply) => {
                Answer::new(reply, flows::list(facts!(), &mut *turn.host, &query))
            }
            Command::Graph(reply) => {
                let new = self.state.watch.new_edges();
                Answer::new(reply, flows::graph(facts!(), &mut *turn.host, &new))
            }
            Command::TuneShow(query, reply) => {
                Answer::new(reply, self.state.tune.show(rules!(), &query, tick_ns, now))
            }
            Command::TuneTry(target, reply) => {
                let plan = self.state.tune.plan_trial(rules!(), &target);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::TuneEnd(target, reply) => {
                let plan = tune::plan_end(rules!(), &target);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::TuneApply(target, reply) => {
                let plan = self.state.tune.plan_application(rules!(), &target, asking);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::TuneForget(service, reply) => {
                Answer::new(reply, self.state.tune.forget(asking, &service, turn))
            }
            Command::Contain(set, reply) => {
                let plan = containment::contain(facts!(), &mut *turn.host, asking, &set);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::Lift(subject, reply) => {
                let plan = containment::lift(facts!(), &subject);
                Answer::new(reply, self.make(asking, plan, turn))
            }
            Command::ContainmentList(reply) => Answer::new(reply, containment::list(facts!())),
        };
        turn.effects.push(Effect::Answer(answer));
    }

    fn make(
        &mut self,
        asking: &Asking,
        plan: Result<Plan, Refusal>,
        turn: &mut Turn<'_>,
    ) -> Result<Applied, Refusal> {
        self.state.make(asking, plan?, turn)
    }

    fn sources(&self, query: &SourceQuery, turn: &mut Turn<'_>) -> Result<SourceList, Refusal> {
        let facts = &self.state.facts(&*turn.kernel, turn.now.wall);
        // What leaves is judged at no service.
        let asked = query.senders && query.service.is_none();
        let limit = if query.limit == 0 { 20 } else { query.limit };
        let senders = if asked {
            flows::local_senders(facts, &mut *turn.host, query.prefix, limit)?
        } else {
            Vec::new()
        };
        explain::list_sources(facts, query, senders)
    }

    fn import(
        &mut self,
        asking: &Asking,
        list: &AccessImport,
        turn: &mut Turn<'_>,
    ) -> Result<Applied, Refusal> {
        let lifelines = turn.host.lifelines();
        let operators = self.state.installed.sessions().protected(&asking.caller, &lifelines);
        let facts = self.state.facts(&*turn.kernel, turn.now.wall);
        let import::Import { plan, summary, warnings } = import::import(&facts, &operators, asking, list)?;
        let Some(plan) = plan else { return Ok(Applied { summary, warnings, ..Applied::default() }) };
        let applied = self.state.make(asking, plan, turn)?;
        let warnings = warnings.into_iter().chain(applied.warnings).collect();
        Ok(Applied { summary, warnings, ..applied })
    }

    fn reload(&mut self, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Refusal> {
        let flags = self.state.changes.desired().config().flags.clone();
        let outcome = turn.host.configuration(self.path.as_deref(), flags).and_then(|config| {
            let delta = Delta { config: Some(config), ..Delta::default() };
            self.state.make(asking, Plan::new("reload".to_owned(), delta), turn)
        });
        // Log rotation sends the same signal.
        turn.effects.push(Effect::ReopenLogs);
        self.reload.at = turn.now.wall;
        match &outcome {
            Ok(applied) => {
                self.reload.succeeded_at = Some(turn.now.wall);
                self.reload.error = None;
                self.reload.successes += 1;
                turn.problems.clear("configuration");
                supervise::keep_last_good(&self.state, turn);
                tracing::info!("the configuration is reloaded: {} differences", applied.summary.len());
            }
            Err(refusal) => {
                self.reload.error = Some(refusal.to_string());
                self.reload.failures += 1;
                tracing::error!(
                    "the configuration is not reloaded, the one before stays in force: {refusal}"
                );
            }
        }
        outcome
    }

    fn detach(&self, asking: &Asking, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        if !asking.options.yes {
            let held = self.state.interfaces.guarded().iter().filter(|row| row.problem.is_none());
            let held = held.map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Refusal::new(
                Code::NeedsConfirmation,
                format!("this takes the guard off {held}, with every ban, limit and count"),
            )
            .next(
                "nothing was changed; ask again with --yes if you mean it (`sluice stop` keeps the guard)",
            ));
        }
        turn.kernel.detach().map_err(|error| Refusal::failed(&error))?;
        turn.effects.push(Effect::End(Ended::Detached));
        Ok(())
    }

    fn close_alert(&mut self, number: u64, turn: &mut Turn<'_>) -> Result<command::Alert, Refusal> {
        let now = turn.now.wall;
        let show = |state: &State, turn: &Turn<'_>| {
            alerts::show(&state.facts(&*turn.kernel, now), &state.watch, &*turn.store, number)
        };
        let known = show(&self.state, turn)?;
        if known.state != command::AlertState::Open || !self.state.watch.close(number) {
            return Err(Refusal::new(Code::Conflict, format!("finding {number} is not open")));
        }
        self.state.handle_findings(turn);
        show(&self.state, turn)
    }

    fn show_config(&self) -> Result<ConfigText, Refusal> {
        let desired = self.state.changes.desired();
        let toml = desired.rules().config.to_toml();
        let toml =
            toml.map_err(|error| Refusal::new(Code::Failed, format!("print the configuration: {error}")))?;
        Ok(ConfigText { path: desired.config().path.clone(), toml })
    }

    fn snapshot(&self, turn: &Turn<'_>) -> Snapshot {
        let facts = self.state.facts(&*turn.kernel, turn.now.wall);
        let names = facts.names();
        let limits = facts.limits();
        let image = self.state.installed.image();
        let mut problems: Vec<_> = turn.problems.all().cloned().collect();
        let undelivered = self.state.view.undelivered;
        problems.extend((undelivered > 0).then(|| {
            format!(
                "{undelivered} findings could not be posted to the webhook; `sluice alerts list` has them"
            )
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
            interfaces,
            unguarded: self.state.interfaces.unguarded().to_vec(),
            services: view::services(image),
            totals: view.totals(&names),
            maps: view.maps(image),
            incidents: view.incidents(),
            malformed: view.malformed(),
            events: view.events(),
            rules: view.rules(),
            sources: view.summary().clone(),
            bans: view.bans().to_vec(),
            containments: self.state.installed.contained().len() as u64,
            limits,
            findings: self.state.watch.snapshot(),
            reload: self.reload.clone(),
            pending: self.state.changes.waiting().map(change::Waiting::snapshot),
            tuning: self.state.tune.snapshot(),
            process: view.process,
            read_seconds: view.read_seconds,
            problems,
        }
    }
}
