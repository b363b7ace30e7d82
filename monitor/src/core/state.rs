//! The parts of the core, joined: a change is made, and the other parts follow it.
//!
//! In: what the core took out of an input. Out: changes of the parts, effects in the turn. It answers nobody.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use datapath::Kernel;
use detection::ledger::{ChangeKind, FindingChange};
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::flow::from_halves;
use monitor_common::record::{Event, EventKind};
use tuning::aggregates::State as Acts;
use tuning::defence::Load;

use super::asking::Asking;
use super::change::{Changes, Revision, Undo};
use super::command::{Applied, Caller};
use super::effect::{Effect, News, Reading};
use super::facts::Facts;
use super::install::Installed;
use super::interfaces::Interfaces;
use super::origin::Origin;
use super::panic::Panic;
use super::plan::Plan;
use super::ports::Turn;
use super::silences::Silences;
use super::spoken::Spoken;
use super::start::{self, Beginning, Begun};
use super::steps::Steps;
use super::tune::{Circumstances, Tune, strangers};
use super::view::{self, View};
use super::watch::Watch;
use super::{access, alerts, challenge, dangers, history, names, response, supervise};
use crate::snapshot::{Total, address_of};
use crate::store::ChangeState;
use api::Error;
use api::containments::Subject;

/// Everything that the core knows, part by part.
#[derive(Debug)]
pub struct State {
    pub changes: Changes,
    pub installed: Installed,
    pub interfaces: Interfaces,
    pub view: View,
    pub watch: Watch,
    pub spoken: Spoken,
    pub silences: Silences,
    pub tune: Tune,
    pub steps: Steps,
    pub panic: Panic,
    /// The revision of the desired state that the other parts follow.
    followed: Revision,
}

impl State {
    /// The rules in force, the interfaces guarded.
    pub fn begin(beginning: Beginning, turn: &mut Turn<'_>) -> Result<Self> {
        let named = !beginning.config.flags.interfaces.is_empty();
        // Before anything of the store is read.
        let steps = Steps::begin(turn);
        // Before rules are written: those that the kernel gets next must not drop.
        let panic = Panic::begin(turn);
        let Begun { changes, installed, watch, silences, tune } = start::begin(beginning, turn)?;
        let mut state = Self {
            followed: changes.desired().revision(),
            changes,
            installed,
            interfaces: Interfaces::default(),
            view: View::default(),
            watch,
            spoken: Spoken::default(),
            silences,
            tune,
            steps,
            panic,
        };
        state.follow_tuning(turn);
        state.follow_links(turn);
        state.interfaces.refuse_to_guard_nothing(named, turn)?;
        turn.store.bound(&state.changes.desired().rules().config.state);
        turn.effects.extend(state.surroundings_of_config());
        supervise::keep_last_good(&state, turn);
        Ok(state)
    }

    pub fn facts<'a>(&'a self, kernel: &'a dyn Kernel, now: Timestamp) -> Facts<'a> {
        Facts {
            desired: self.changes.desired(),
            installed: &self.installed,
            interfaces: &self.interfaces,
            view: &self.view,
            automatic: self.tune.standing(),
            kernel,
            now,
        }
    }

    /// Somebody may have set the wall clock since the last input.
    pub fn follow_clock(&mut self, turn: &mut Turn<'_>) {
        let Some(by) = self.steps.look(&turn.now) else { return };
        let refreshed = turn.kernel.refresh_clock();
        turn.problems.report("clock", refreshed);
        self.changes.move_ends(by);
        self.installed.move_ends(by);
        self.silences.move_ends(by);
        self.steps.keep(turn);
    }

    /// What ends by itself: what is over, and a change that nobody confirmed.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        let beat = turn.kernel.beat();
        turn.problems.report("heartbeat", beat);
        self.steps.keep_when_due(turn);
        self.panic.look(turn);
        self.changes.expire(&mut self.installed, turn);
        let containments = self.changes.desired().containments();
        if containments.keys().any(|subject| matches!(subject, Subject::Workload(_))) {
            self.installed.follow_containments(containments, turn);
        }
        self.changes.roll_back_when_due(&mut self.installed, turn);
        self.interfaces.look(turn);
        self.follow(turn);
        let cookies = self.installed.surroundings().cookies;
        match challenge::problem(&self.changes.desired().rules().config, cookies) {
            Some(problem) => turn.problems.set("challenge", problem),
            None => turn.problems.clear("challenge"),
        }
        if self.silences.expire(turn) {
            self.silence();
        }
        let ended = self.watch.ended(turn.now.since_boot);
        let closed = alerts::end(&ended, &mut *turn.store, turn.now.wall);
        turn.problems.report("close earlier findings", closed);
        self.installed.keep_numbering_when_due(turn);
        let swept = turn.kernel.sweep();
        turn.problems.report("sweep", swept);
    }

    /// A look at the host.
    pub fn host(&mut self, news: News, turn: &mut Turn<'_>) {
        if self.installed.sessions_mut().retain(&news.sessions)
            && self.changes.reinstall("operators", &mut self.installed, turn)
        {
            tracing::info!("an operator's session is over");
        }
        let mut surroundings = turn.host.surroundings();
        surroundings.slots = self.interfaces.slots();
        if self.installed.surroundings_are(surroundings) {
            self.changes.reinstall("surroundings", &mut self.installed, turn);
        }
        self.follow_links(turn);
        let refreshed = turn.kernel.refresh_clock();
        turn.problems.report("clock", refreshed);
        match news.own {
            Ok(own) => self.changes.own_addresses_are(own, &mut self.installed, turn),
            Err(error) => drop(turn.problems.report::<()>("own addresses", Err(error))),
        }
        self.follow(turn);
    }

    /// An operator's own SSH session is exempt while it lasts. Only what the kernel confirms counts.
    pub fn remember_operator(&mut self, caller: &Caller, turn: &mut Turn<'_>) {
        if caller.ssh_peer.is_none() {
            return;
        }
        let established = turn.host.sessions();
        if self.installed.sessions_mut().remember(caller, &established)
            && self.changes.reinstall("operators", &mut self.installed, turn)
        {
            tracing::info!("an operator's session is exempt");
        }
    }

    /// Takes flow records.
    pub fn records(&mut self, records: &[monitor_common::conversation::Record], turn: &mut Turn<'_>) {
        self.watch.records(records, turn);
        self.spoken.take(records, self.installed.image(), &self.changes.desired().rules().own);
        self.handle_findings(turn);
    }

    pub fn event(&mut self, event: &Event, turn: &Turn<'_>) {
        let Some(kind) = EventKind::from_number(event.kind) else { return };
        if kind == EventKind::FloodEnded {
            // The kernel reports it only when the next new source comes; the reading has reported it before.
            return;
        }
        let log = self.view.take_event(kind);
        if kind == EventKind::Spoofed {
            self.watch.spoofed(event.interface, address_of(from_halves(event.high, event.low)));
            return;
        }
        if kind == EventKind::ExceedStarted {
            let address = address_of(from_halves(event.high, event.low));
            self.watch.exceeding(address, turn.now.wall);
        }
        if log {
            view::log_event(kind, event, &self.facts(&*turn.kernel, turn.now.wall).names());
        }
    }

    /// What the kernel has counted: named, learned from, judged. True while an interface is in flood mode.
    pub fn reading(&mut self, reading: Reading, turn: &mut Turn<'_>) -> bool {
        let Reading { counted, sources, process, seconds, sinks, lists, beside, .. } = reading;
        let now = turn.now.clone();
        self.view.end_second();
        let flooded = self.view.flooded(&self.interfaces, &*turn.kernel);
        if let Some(counted) = turn.problems.report("read the counters", counted) {
            let bans = access::bans(&self.facts(&*turn.kernel, now.wall), &counted.banned.newest);
            self.view.take_bans(bans);
            self.interfaces.count(&counted.counters.totals);
            self.view.count(counted, now.since_boot);
        }
        let still = self.view.flooded(&self.interfaces, &*turn.kernel);
        for interface in flooded.into_iter().filter(|name| !still.contains(name)) {
            tracing::warn!(interface, "the flood is over");
            self.view.count_event(EventKind::FloodEnded);
        }
        self.name_workloads(turn);
        if let Some(entries) = sources.and_then(|read| turn.problems.report("read the sources", read)) {
            self.view.take_sources(&entries, now.since_boot);
            let names = self.facts(&*turn.kernel, now.wall).names();
            let summary = view::summary(self.view.sources(), &names);
            self.view.take_summary(summary);
            self.watch.sources(self.view.sources(), now.since_boot);
            self.learn(!still.is_empty(), turn);
        }
        let image = self.installed.image();
        self.watch.second(&self.view.counted().counters, self.view.sources(), image, now.wall);
        self.handle_findings(turn);
        self.watch.keep_when_due(turn);
        (self.view.process, self.view.read_seconds, self.view.sinks) = (process, seconds, sinks);
        (self.view.lists, self.view.beside) = (lists, beside);
        !still.is_empty()
    }

    /// Names who sends from this host, by the prefixes that count as sources.
    fn name_workloads(&mut self, turn: &mut Turn<'_>) {
        let bits = self.changes.desired().rules().config.source;
        let mut senders: HashMap<IpNet, BTreeSet<String>> = HashMap::new();
        for ([high, low], cgroup) in turn.kernel.local_ends() {
            if let Some(name) = turn.host.workload(*cgroup) {
                let source = names::source_of(bits, address_of(from_halves(*high, *low)));
                senders.entry(source).or_default().insert(name);
            }
        }
        self.view.name_workloads(senders);
    }

    fn learn(&mut self, flood: bool, turn: &mut Turn<'_>) {
        let (suspects, alert) = self.watch.suspects();
        let around = Circumstances {
            rules: self.changes.desired().rules(),
            image: self.installed.image(),
            clock: turn.kernel.environment().clock,
            suspects,
            alert,
            flood,
            operators: self.installed.sessions().operators(),
        };
        self.tune.learn(self.view.sources(), &around, turn.now.wall);
        // A step while a change waits would be lost, or undone, with it.
        if self.changes.waiting().is_none() {
            let tick_ns = turn.kernel.environment().tick_ns;
            for plan in self.tune.steps(self.changes.desired().rules(), tick_ns, turn.now.wall) {
                let mut asking = Asking::daemon(Origin::Tuning);
                asking.options.save = true;
                let made = self.make(&asking, plan, turn);
                turn.problems.report("automatic step", made.map_err(Into::into));
            }
        }
        self.tune.keep_when_due(turn);
    }

    /// Lets services hold strangers to their share while a flood harms the host.
    pub fn hold_strangers(&mut self, totals: &[Total], load: Load, turn: &mut Turn<'_>) {
        let changed = self.tune.guard(self.changes.desired().rules(), totals, load, turn.now.since_boot);
        let enforcing = self.tune.standing().iter().filter(|standing| standing.state == Acts::Enforces);
        let enforcing: Vec<_> = enforcing.map(strangers::sentence).collect();
        if enforcing.is_empty() {
            turn.problems.clear("strangers");
        } else {
            turn.problems.set("strangers", enforcing.join("; "));
        }
        let Some(changed) = changed else { return };
        for standing in &changed {
            let sentence = strangers::sentence(standing);
            tracing::warn!("{sentence}");
            let why = serde_json::to_value((strangers::shown(standing), load)).ok();
            history::note(&Asking::daemon(Origin::Defence).because(why), &sentence, turn);
        }
        self.installed.automatic_aggregates_are(self.tune.automatic());
        self.changes.reinstall("automatic aggregates", &mut self.installed, turn);
        self.tune.keep(turn);
    }

    /// Climbs or descends the defence ladder.
    pub fn defend(&mut self, load: Load, turn: &mut Turn<'_>) {
        let Some(change) = self.tune.defend(load, turn.now.since_boot) else { return };
        tracing::warn!("{}", change.sentence());
        let asking = Asking::daemon(Origin::Defence).because(serde_json::to_value(&change).ok());
        history::note(&asking, &change.sentence(), turn);
        let (rung, factor) = self.tune.defence();
        self.installed.multiply_limits(factor);
        self.changes.reinstall("defence", &mut self.installed, turn);
        self.follow(turn);
        if rung == 0 {
            turn.problems.clear("defence rung");
        } else {
            let problem =
                format!("overload: defence rung {rung}, limits of sources are multiplied by {factor}");
            turn.problems.set("defence rung", problem);
        }
    }

    /// Keeps and reports what detection found, and responds where the configuration says so.
    pub fn handle_findings(&mut self, turn: &mut Turn<'_>) {
        let changes = self.watch.changes();
        self.keep_findings(&changes, turn);
        for (_, FindingChange { kind, about, finding, .. }) in &changes {
            if !matches!(kind, ChangeKind::Opened | ChangeKind::Escalated) {
                continue;
            }
            let Some(response) = self.watch.response(finding.detector) else { continue };
            let facts = self.facts(&*turn.kernel, turn.now.wall);
            let Some(plan) = response::plan(&facts, about, finding, response) else { continue };
            // The guard refuses what would cut an operator; that is its answer here too.
            if let Err(error) = self.make(&Asking::daemon(Origin::Detection), plan, turn) {
                tracing::warn!(subject = %about.subject, "no response to {}: {error}", finding.detector);
            }
        }
    }

    /// Detection takes over which findings are silenced.
    pub fn silence(&mut self) {
        self.watch.silence(&self.changes.desired().rules().config, &self.silences.all());
    }

    fn keep_findings(&mut self, changes: &[(u64, FindingChange)], turn: &mut Turn<'_>) {
        if changes.is_empty() {
            return;
        }
        let lowest = self.changes.desired().rules().config.alerts.webhook_severity;
        let now = turn.now.wall;
        let names = self.facts(&*turn.kernel, now).names();
        let (told, kept) = alerts::keep(changes, lowest, &names, &mut *turn.store, now);
        turn.problems.report("keep the findings", kept);
        turn.effects.extend(told.into_iter().map(|told| Effect::Alert(Box::new(told))));
    }

    /// Makes a planned change, and lets the other parts follow it.
    pub fn make(&mut self, asking: &Asking, plan: Plan, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let Plan { what, delta, evidence, warnings } = plan;
        let asking = &match evidence {
            None => asking.clone(),
            evidence => asking.because(evidence),
        };
        let prepared = self.changes.prepare(asking, delta, &self.installed, turn)?;
        let operators = self.installed.sessions().operators();
        let hits = self.tune.would_hit_protected(self.changes.desired().rules(), prepared.rules(), operators);
        let view = dangers::View {
            standing: self.changes.desired().standing(),
            next: prepared.next(),
            interfaces: &self.interfaces,
            now: turn.now.wall,
        };
        // A machine's own step is held to its own bounds.
        let dangers = if asking.is_person() { dangers::dangers(&view, &mut *turn.host) } else { Vec::new() };
        let made = self.changes.apply(asking, &what, prepared, [&hits, &dangers], &mut self.installed, turn);
        self.follow(turn);
        let mut applied = made?;
        applied.warnings.extend(warnings);
        Ok(applied)
    }

    fn follow_tuning(&mut self, turn: &Turn<'_>) {
        let tick_ns = turn.kernel.environment().tick_ns;
        self.tune.follow(self.changes.desired().rules(), self.installed.image(), tick_ns, turn.now.wall);
    }

    /// The other parts take over what is desired now.
    fn follow(&mut self, turn: &mut Turn<'_>) {
        let revision = self.changes.desired().revision();
        let before = std::mem::replace(&mut self.followed, revision);
        if before != revision {
            self.follow_tuning(turn);
        }
        if before.config != revision.config {
            self.follow_links(turn);
            turn.store.bound(&self.changes.desired().rules().config.state);
            turn.effects.extend(self.surroundings_of_config());
            supervise::keep_last_good(self, turn);
            self.watch.follow(self.changes.desired().rules(), &self.silences.all(), turn.now.since_boot);
        }
    }

    pub fn follow_links(&mut self, turn: &mut Turn<'_>) {
        let config = self.changes.desired().rules().config.clone();
        self.interfaces.follow(&config, turn);
        let mut surroundings = self.installed.surroundings().clone();
        surroundings.slots = self.interfaces.slots();
        if self.installed.surroundings_are(surroundings) {
            self.changes.reinstall("surroundings", &mut self.installed, turn);
        }
        self.installed.guard_loopback(self.interfaces.guards_loopback());
    }

    /// What the engine keeps beside the core, by the configuration.
    fn surroundings_of_config(&self) -> [Effect; 2] {
        let config = &self.changes.desired().rules().config;
        [Effect::Sinks(config.alerts.clone()), Effect::Lists(config.access.lists.clone())]
    }

    /// Undoes one change of the history.
    pub fn undo(&mut self, asking: &Asking, number: u64, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let undo = self.changes.undo(asking, number, &mut self.installed, turn);
        self.follow(turn);
        match undo? {
            Undo::TakenBack(applied) => Ok(applied),
            Undo::Change { asking, what, delta } => {
                let applied = self.make(&asking, Plan::new(what, *delta), turn)?;
                if let Some(by) = applied.change {
                    let marked = turn.store.mark(number, ChangeState::Reverted, Some(by));
                    marked.map_err(|error| Error::failed(&error))?;
                }
                Ok(applied)
            }
        }
    }
}
