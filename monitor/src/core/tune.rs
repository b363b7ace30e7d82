//! Tuning in the daemon: reads of the source table teach it, and what it proposes becomes plans on demand.
//!
//! In: rows of the table, `tune` commands. Out: advice, trials, plans that are made the same way as any other. Learned
//! state goes to the store every few minutes and at the end.

mod limits;
pub mod strangers;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use monitor_common::record::entry;
use monitor_common::rule::{BYTES, CONNECTIONS, PACKETS};

use super::asking::Asking;
use super::command::{Applied, TuneList, TuneQuery, TuneTarget, Tuned};
use super::delta::{Delta, LimitSetting};
use super::history::note;
use super::limits::known;
use super::names::source_of;
use super::plan::Plan;
use super::ports::Turn;
use super::sources::SourceTable;
use crate::snapshot::{ProposedLimit, Total, Tuning, address_of};
use crate::store::Storage;
use api::{Code, Error};
use limits::{all_limits, named, protected_networks, setting};
use policy::config::{DEFAULT_SERVICE, Mode, OUTSIDE_CLASS};
use policy::{Automatic, Image, LimitKind, Rules};
use strangers::Establishment;
use tuning::aggregates::{Standing, State};
use tuning::automatic::Decision;
use tuning::defence::{Change, Load};
use tuning::proposal::{Missing, NAMES, Proposal, with_burst};
use tuning::tuner::{AREA, InForce, Tuner};
use tuning::{Advice, Aim, Limits, Sample, Subject, Tick, tuner};

/// Seconds between two saves of what was learned; a kill loses at most this.
const SAVE_EVERY: i64 = 300;

/// The tuner with what it needs of the daemon.
#[derive(Debug)]
pub struct Tune {
    tuner: Tuner,
    /// When what was learned was last kept.
    kept_at: Timestamp,
    /// Automatic aggregates as they were last looked at.
    standing: Vec<Standing>,
}

/// What holds beside the table that is learned from.
#[derive(Debug)]
pub struct Circumstances<'a> {
    pub rules: &'a Rules,
    pub image: &'a Image,
    /// Now, on the kernel's clock.
    pub clock: u64,
    /// Addresses that an open finding is about.
    pub suspects: HashSet<IpAddr>,
    /// An attack goes on that concerns everybody.
    pub alert: bool,
    pub flood: bool,
    /// Sessions of operators.
    pub operators: &'a [IpAddr],
}

impl Tune {
    pub fn new(parameters: tuning::Parameters, now: Timestamp) -> Self {
        Self { tuner: Tuner::new(parameters), kept_at: now, standing: Vec::new() }
    }

    /// Learns from the last read of the table.
    pub fn learn(&mut self, table: &SourceTable, around: &Circumstances<'_>, now: Timestamp) {
        let bits = around.rules.config.source;
        let suspects: HashSet<IpAddr> =
            around.suspects.iter().map(|address| source_of(bits, *address).network()).collect();
        let tick =
            Tick { at: now.as_second(), seconds: table.seconds, flood: around.flood, alert: around.alert };
        let protected = protected_networks(around.rules, around.operators);
        let established = Establishment::new(around.rules, around.image, around.clock);
        let rows = table.rows.iter().filter(|row| row.growth.packets > 0);
        let samples: Vec<Sample> = rows
            .map(|row| Sample {
                service: row.key.service,
                class: row.entry.class.into(),
                source: row.key.address(),
                packets: row.growth.packets,
                bytes: row.growth.bytes,
                connections: row.growth.connections,
                dropped: row.growth.dropped,
                trial_drops: row.growth.trial_drops,
                flagged: row.entry.flags & entry::FROM_FLOOD != 0
                    || (!suspects.is_empty() && suspects.contains(&row.address())),
                protected: !protected.is_empty() && {
                    let address = row.address();
                    protected.iter().any(|network| network.contains(&address))
                },
                established: established.holds(row.key.service, &row.entry),
            })
            .collect();
        self.tuner.observe(tick, &samples);
    }

    /// Writes what was learned since the last time, when it is time.
    pub fn keep_when_due(&mut self, turn: &mut Turn<'_>) {
        if turn.now.wall.as_second() - self.kept_at.as_second() >= SAVE_EVERY {
            self.keep(turn);
        }
    }

    /// Writes what was learned since the last time.
    pub fn keep(&mut self, turn: &mut Turn<'_>) {
        self.kept_at = turn.now.wall;
        let blobs = self.tuner.save();
        let blobs: Vec<_> = blobs.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        let kept = turn.store.learn(AREA, &blobs, turn.now.wall);
        turn.problems.report("keep what was learned", kept);
    }

    /// Takes back what earlier processes learned.
    pub fn remember(&mut self, store: &dyn Storage) -> Result<()> {
        let unreadable = self.tuner.restore(&store.learned(AREA)?);
        if let Some(first) = unreadable.first() {
            tracing::warn!(
                "{} pieces of what was learned cannot be read, the first is {first}",
                unreadable.len()
            );
        }
        Ok(())
    }

    /// The rules changed: other names, other limits on trial, other parameters.
    pub fn follow(&mut self, rules: &Rules, image: &Image, tick_ns: u64, now: Timestamp) {
        if *self.tuner.parameters() != rules.config.tuning {
            self.tuner.configure(rules.config.tuning.clone());
        }
        let services = (0..).zip(&image.services);
        let services: Vec<_> = services.filter_map(|(number, name)| Some((number, name.clone()?))).collect();
        let classes: Vec<_> = (0..).zip(image.classes.iter().cloned()).collect();
        self.tuner.rename(&services, &classes);
        let on_trial: Vec<_> = all_limits(rules, tick_ns)
            .into_iter()
            .filter(|standing| standing.trial != Limits::default())
            .map(|standing| (standing.subject, standing.trial))
            .collect();
        self.tuner.try_out(&on_trial, now.as_second());
    }

    /// For the snapshot.
    pub fn snapshot(&self) -> Tuning {
        let row = |row: &tuner::Row| ProposedLimit {
            service: row.subject.service.clone(),
            class: row.subject.class.clone(),
            dimension: row.dimension.to_owned(),
            per_second: row.per_second,
            state: row.state.to_owned(),
        };
        let (rung, factor) = self.tuner.defence();
        Tuning {
            frozen: self.tuner.freeze().map(|freeze| freeze.label().to_owned()),
            proposals: self.tuner.rows().iter().map(row).collect(),
            memory_bytes: self.tuner.memory_bytes() as u64,
            not_learned: self.tuner.not_learned(),
            defence_rung: rung as u64,
            defence_factor: factor,
            aggregates: self.standing.iter().map(strangers::shown).collect(),
        }
    }

    /// Climbs or descends the defence ladder by the host's load.
    pub fn defend(&mut self, load: Load, since_boot: Duration) -> Option<Change> {
        if !self.tuner.parameters().defence.enabled && self.tuner.defence().0 == 0 {
            return None;
        }
        self.tuner.defend(since_boot.as_secs_f64(), load)
    }

    /// Looks at what came for each service; the services that do something else than before, if any does.
    pub fn guard(
        &mut self,
        rules: &Rules,
        totals: &[Total],
        load: Load,
        since_boot: Duration,
    ) -> Option<Vec<Standing>> {
        let arriving = strangers::arriving(rules, totals);
        let changed = self.tuner.guard(since_boot.as_secs_f64(), load, &arriving);
        let before = std::mem::replace(&mut self.standing, self.tuner.standing(&arriving));
        let acted = |now: &Standing| {
            let then = before.iter().find(|then| then.service == now.service);
            then.map_or(State::Rests, |then| then.state)
        };
        // A service that has no automatic aggregate any more is none of them.
        changed.then(|| self.standing.iter().filter(|now| acted(now) != now.state).cloned().collect())
    }

    /// Automatic aggregates as they were last looked at.
    pub fn standing(&self) -> &[Standing] {
        &self.standing
    }

    /// What the rules are given of services whose strangers are held to a share.
    pub fn automatic(&self) -> BTreeMap<String, Automatic> {
        let engaged = self.tuner.engaged();
        engaged.map(|(name, state, share)| (name.to_owned(), strangers::automatic(state, share))).collect()
    }

    /// The rung, and what limits of sources are multiplied by.
    pub fn defence(&self) -> (usize, f64) {
        self.tuner.defence()
    }

    /// What tuning proposes, beside what is in force.
    pub fn show(
        &self,
        rules: &Rules,
        query: &TuneQuery,
        tick_ns: u64,
        at: Timestamp,
    ) -> Result<TuneList, Error> {
        let aim = checked(query.aim())?;
        if let Some(service) = &query.service {
            known_service(rules, service)?;
        }
        if let Some(class) = &query.class {
            known("class", class, &rules.classes())?;
        }
        let learned = self.tuner.subjects();
        let wanted = |subject: &Subject| {
            query.service.as_ref().is_none_or(|service| *service == subject.service)
                && match &query.class {
                    Some(class) => *class == subject.class,
                    // Classes that nothing was heard of would only be noise; the first stands in for a silent service.
                    None => subject.class == OUTSIDE_CLASS || learned.contains(subject),
                }
        };
        let limits = all_limits(rules, tick_ns);
        let limits = limits.into_iter().filter(|standing| wanted(&standing.subject));
        let limits = limits
            .map(|standing| Tuned {
                advice: self.tuner.advise(&standing.subject, aim, standing.limits),
                tuning: rules.config.tuning.mode_of(&standing.subject.service),
                mode: standing.mode,
                limits: standing.limits,
                trial: self.tuner.report(&standing.subject),
                decisions: self.tuner.decisions().get(&standing.subject).map(|decided| decided.to_vec()),
                service: standing.subject.service,
                class: standing.subject.class,
            })
            .collect();
        Ok(TuneList { at, freeze: self.tuner.freeze(), limits })
    }

    /// A plan that puts a proposal on trial.
    pub fn plan_trial(&self, rules: &Rules, target: &TuneTarget) -> Result<Plan, Error> {
        let (subject, proposal) = self.proposal(rules, target)?;
        let what = format!("tune try {} class {}", subject.service, subject.class);
        let evidence = serde_json::to_value(&proposal).ok();
        let delta = setting(rules, &subject, LimitKind::Trial, proposal.limits());
        Ok(Plan { evidence, ..Plan::new(what, delta) })
    }

    /// A plan that puts a proposal in force.
    pub fn plan_application(
        &self,
        rules: &Rules,
        target: &TuneTarget,
        asking: &Asking,
    ) -> Result<Plan, Error> {
        let (subject, proposal) = self.proposal(rules, target)?;
        if !proposal.locked_out.is_empty() && !asking.options.yes {
            let list: Vec<_> = proposal
                .locked_out
                .iter()
                .map(|hit| format!("{} ({:.0} {}/s)", hit.source, hit.peak, hit.dimension))
                .collect();
            return Err(Error::new(
                Code::NeedsConfirmation,
                format!("the proposal could have hit exempt or operators' addresses: {}", list.join(", ")),
            )
            .next("nothing was changed; raise --headroom or --quantile, or ask again with --yes"));
        }
        let what = format!("tune apply {} class {}", subject.service, subject.class);
        let evidence = serde_json::to_value(&proposal).ok();
        let delta = setting(rules, &subject, LimitKind::PerSource, proposal.limits());
        let mut plan = Plan { evidence, ..Plan::new(what, delta) };
        let limits = all_limits(rules, 0);
        if limits.iter().any(|standing| standing.subject == subject && standing.mode == Mode::Off) {
            let service = &subject.service;
            plan.warnings.push(format!(
                "the limit is off, so this changes no verdict; `sluice limit set {service} --class {} --mode observe`",
                subject.class
            ));
        }
        Ok(plan)
    }

    /// Exempt and operators' addresses that `next` would hold to a limit which they exceeded in the kept history, and which
    /// does not hold now.
    pub fn would_hit_protected(&self, now: &Rules, next: &Rules, operators: &[IpAddr]) -> Vec<String> {
        let protected = protected_networks(now, operators);
        if protected.is_empty() {
            return Vec::new();
        }
        let standing = all_limits(now, 0);
        let mut hit = Vec::new();
        for limit in all_limits(next, 0).into_iter().filter(|limit| limit.mode == Mode::Enforce) {
            let Some(profile) = self.tuner.profile(&limit.subject) else { continue };
            let now = standing.iter().find(|now| now.subject == limit.subject && now.mode == Mode::Enforce);
            let now = now.map(|now| now.limits).unwrap_or_default().by_dimension();
            for (dimension, wanted) in limit.limits.by_dimension().into_iter().enumerate() {
                let Some(wanted) = wanted else { continue };
                if now[dimension].is_some_and(|now| now.per_second <= wanted.per_second) {
                    continue;
                }
                #[expect(clippy::cast_precision_loss, reason = "rates stay far below 2^53")]
                let peaks = profile.about.protected[dimension].above(wanted.per_second as f64);
                for peak in peaks {
                    let address = address_of(peak.source);
                    if protected.iter().any(|network| network.contains(&address)) {
                        let (rate, name, service) = (peak.rate(), NAMES[dimension], &limit.subject.service);
                        hit.push(format!("{address} ({rate:.0} {name}/s at {service})"));
                    }
                }
            }
        }
        hit
    }

    /// Forgets what was learned of a service.
    pub fn forget(&mut self, asking: &Asking, service: &str, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let failed = |error: anyhow::Error| Error::failed(&error);
        let profiles = self.tuner.forget(service);
        let blobs = turn.store.forget(AREA, &format!("{service}/")).map_err(failed)?;
        if profiles == 0 && blobs == 0 {
            return Err(Error::new(Code::NotFound, format!("nothing is learned of a service {service:?}")));
        }
        let change = note(asking, &format!("tune forget {service}"), turn);
        let summary = vec![format!("what was learned of {service} is forgotten ({profiles} classes)")];
        Ok(Applied { change, summary, saved: true, ..Applied::default() })
    }

    /// Steps of the automatic mode that are due, each a plan of its own.
    pub fn steps(&mut self, rules: &Rules, tick_ns: u64, now: Timestamp) -> Vec<Plan> {
        if !self.tuner.is_due(now.as_second()) {
            return Vec::new();
        }
        let in_force: Vec<_> = all_limits(rules, tick_ns)
            .into_iter()
            .map(|standing| InForce {
                subject: standing.subject,
                limits: standing.limits,
                is_on: standing.mode != Mode::Off,
            })
            .collect();
        let burst_seconds = self.tuner.parameters().burst_seconds;
        let steps = self.tuner.steps(now.as_second(), &in_force);
        steps
            .into_iter()
            .map(|step| {
                let to = |dimension: usize| match step.decisions[dimension] {
                    Decision::Step { to, .. } => Some(with_burst(to, dimension, burst_seconds)),
                    _ => None,
                };
                let limits = Limits::from_dimensions([to(PACKETS), to(BYTES), to(CONNECTIONS)]);
                let delta = setting(rules, &step.subject, LimitKind::PerSource, limits);
                let what = format!("automatic step at {} class {}", step.subject.service, step.subject.class);
                Plan { evidence: serde_json::to_value(&step.advice).ok(), ..Plan::new(what, delta) }
            })
            .collect()
    }

    fn proposal(&self, rules: &Rules, target: &TuneTarget) -> Result<(Subject, Proposal), Error> {
        let subject = subject(rules, target)?;
        let aim = checked(target.aim())?;
        match self.tuner.advise(&subject, aim, Limits::default()) {
            Advice::Proposal(proposal) => Ok((subject, *proposal)),
            Advice::TooLittleData(too_little) => {
                let missing: Vec<_> = too_little.missing.iter().map(Missing::sentence).collect();
                let told = format!(
                    "too little is known of {} class {}: {}",
                    subject.service,
                    subject.class,
                    missing.join("; ")
                );
                Err(Error::new(Code::Conflict, told).next("let it learn on, or ask with a lower --quantile"))
            }
        }
    }
}

/// A plan that ends a trial.
pub fn plan_end(rules: &Rules, target: &TuneTarget) -> Result<Plan, Error> {
    let subject = subject(rules, target)?;
    let name = named(&subject, LimitKind::Trial);
    if !rules.limits.contains_key(&name) {
        return Err(Error::new(
            Code::NotFound,
            format!("no proposal is on trial at {} class {}", subject.service, subject.class),
        )
        .next("`sluice tune try` begins one"));
    }
    let what = format!("tune end {} class {}", subject.service, subject.class);
    Ok(Plan::new(
        what,
        Delta { limits: vec![LimitSetting { name, value: None, asked: None }], ..Delta::default() },
    ))
}

fn subject(rules: &Rules, target: &TuneTarget) -> Result<Subject, Error> {
    known_service(rules, &target.service)?;
    let class = target.class.clone().unwrap_or_else(|| OUTSIDE_CLASS.to_owned());
    known("class", &class, &rules.classes())?;
    Ok(Subject { service: target.service.clone(), class })
}

fn known_service(rules: &Rules, name: &str) -> Result<(), Error> {
    let services = &rules.config.services;
    let names: Vec<_> = std::iter::once(DEFAULT_SERVICE)
        .chain(services.iter().map(|service| service.name.as_str()))
        .collect();
    known("service", name, &names)
}

fn checked(aim: Aim) -> Result<Aim, Error> {
    let wrong = |what: &str| Err(Error::new(Code::Invalid, what));
    if aim.quantile.is_some_and(|quantile| !(0.5..=0.999_999).contains(&quantile)) {
        return wrong("the quantile must lie between 0.5 and 0.999999");
    }
    if aim.headroom.is_some_and(|headroom| !(1.0..=1000.0).contains(&headroom)) {
        return wrong("the headroom must lie between 1 and 1000");
    }
    Ok(aim)
}
