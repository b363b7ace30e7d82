//! Tuning inside the engine: reads of the exact table teach it, and what it proposes becomes deltas on demand.
//!
//! In: rows of the table, `tune` commands. Out: advice, trials, changes by the same way as any other. Learned state goes
//! to the store every few minutes and at the end.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::record::entry;
use monitor_common::rule::{BYTES, CONNECTIONS, PACKETS};

use super::Engine;
use super::answer::Asking;
use super::command::{Applied, TuneList, TuneQuery, TuneTarget, Tuned};
use super::delta::{Delta, LimitSetting};
use super::limits::known;
use super::refusal::{Code, Refusal};
use crate::snapshot::{ProposedLimit, Tuning, address_of};
use policy::config::{self, Bytes, DEFAULT_SERVICE, Mode, OUTSIDE_CLASS, Rate, quantities};
use policy::{LimitKind, LimitName, LimitOverride, Permission, Rules};
use tuning::automatic::Decision;
use tuning::proposal::{Missing, NAMES, Proposal, with_burst};
use tuning::tuner::{AREA, InForce};
use tuning::{Advice, Aim, Limit, Limits, Sample, Subject, Tick, tuner};

/// Seconds between two saves of what was learned; a kill loses at most this.
const SAVE_EVERY: i64 = 300;
/// Networks that proposals must never hit, as far as they are told apart; more are checked by the policy alone.
const MOST_PROTECTED: usize = 256;

impl Engine {
    /// Learns from the last read of the table.
    pub(super) fn learn(&mut self, now: Timestamp) {
        let (suspects, alert) = self.suspects();
        let bits = self.standing.rules.config.source;
        let suspects: HashSet<IpAddr> = suspects
            .into_iter()
            .filter_map(|address| Some(IpNet::new(address, bits.bits(address)).ok()?.network()))
            .collect();
        let tick = Tick {
            at: now.as_second(),
            seconds: self.sources.seconds,
            flood: self.interfaces().iter().any(|interface| interface.flood.active),
            alert,
        };
        let protected = self.protected_networks();
        let rows = self.sources.rows.iter().filter(|row| row.growth.packets > 0);
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
            })
            .collect();
        self.tuner.observe(tick, &samples);
        self.tune_automatically(now);
        if now.as_second() - self.learned_at.as_second() >= SAVE_EVERY {
            self.keep_learned(now);
        }
    }

    /// Writes what was learned since the last time.
    pub(super) fn keep_learned(&mut self, now: Timestamp) {
        self.learned_at = now;
        let blobs = self.tuner.save();
        self.fallible("keep what was learned", |engine| {
            engine.store.learn(AREA, blobs.iter().map(|(key, value)| (key.as_str(), value.as_slice())), now)
        });
    }

    /// Takes back what earlier processes learned.
    pub(super) fn remember_learned(&mut self) -> Result<()> {
        let unreadable = self.tuner.restore(&self.store.learned(AREA)?);
        if let Some(first) = unreadable.first() {
            tracing::warn!(
                "{} pieces of what was learned cannot be read, the first is {first}",
                unreadable.len()
            );
        }
        Ok(())
    }

    /// The rules changed: other names, other limits on trial, other parameters.
    pub(super) fn follow_tuning(&mut self, now: Timestamp) {
        let rules = &self.standing.rules;
        if *self.tuner.parameters() != rules.config.tuning {
            self.tuner.configure(rules.config.tuning.clone());
        }
        let services = (0..).zip(&self.image.services);
        let services: Vec<_> = services.filter_map(|(number, name)| Some((number, name.clone()?))).collect();
        let classes: Vec<_> = (0..).zip(self.image.classes.iter().cloned()).collect();
        self.tuner.rename(&services, &classes);
        let tick_ns = self.kernel.environment().tick_ns;
        let on_trial: Vec<_> = all_limits(rules, tick_ns)
            .into_iter()
            .filter(|standing| standing.trial != Limits::default())
            .map(|standing| (standing.subject, standing.trial))
            .collect();
        self.tuner.try_out(&on_trial, now.as_second());
    }

    /// For the snapshot.
    pub(super) fn tuning(&self) -> Tuning {
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
        }
    }

    pub(super) fn tune_show(&self, query: &TuneQuery) -> Result<TuneList, Refusal> {
        let rules = &self.standing.rules;
        let aim = checked(query.aim)?;
        if let Some(service) = &query.service {
            self.known_service(service)?;
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
        let limits = all_limits(rules, self.kernel.environment().tick_ns);
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
        Ok(TuneList { at: Timestamp::now(), freeze: self.tuner.freeze(), limits })
    }

    pub(super) fn tune_try(&mut self, asking: &Asking, target: &TuneTarget) -> Result<Applied, Refusal> {
        let (subject, proposal) = self.proposal(target)?;
        let what = format!("tune try {} class {}", subject.service, subject.class);
        let evidence = serde_json::to_value(&proposal).ok();
        let delta = self.setting(&subject, LimitKind::Trial, proposal.limits());
        self.make(&asking.because(evidence), &what, delta)
    }

    pub(super) fn tune_end(&mut self, asking: &Asking, target: &TuneTarget) -> Result<Applied, Refusal> {
        let subject = self.subject(target)?;
        let name = named(&subject, LimitKind::Trial);
        if !self.standing.rules.limits.contains_key(&name) {
            return Err(Refusal::new(
                Code::NotFound,
                format!("no proposal is on trial at {} class {}", subject.service, subject.class),
            )
            .next("`sluice tune try` begins one"));
        }
        let what = format!("tune end {} class {}", subject.service, subject.class);
        let delta = Delta { limits: vec![LimitSetting { name, value: None }], ..Delta::default() };
        self.make(asking, &what, delta)
    }

    pub(super) fn tune_apply(&mut self, asking: &Asking, target: &TuneTarget) -> Result<Applied, Refusal> {
        let (subject, proposal) = self.proposal(target)?;
        if !proposal.locked_out.is_empty() && !asking.options.yes {
            let list: Vec<_> = proposal
                .locked_out
                .iter()
                .map(|hit| format!("{} ({:.0} {}/s)", hit.source, hit.peak, hit.dimension))
                .collect();
            return Err(Refusal::new(
                Code::NeedsConfirmation,
                format!("the proposal could have hit exempt or operators' addresses: {}", list.join(", ")),
            )
            .next("nothing was changed; raise --headroom or --quantile, or ask again with --yes"));
        }
        let what = format!("tune apply {} class {}", subject.service, subject.class);
        let evidence = serde_json::to_value(&proposal).ok();
        let delta = self.setting(&subject, LimitKind::PerSource, proposal.limits());
        let mut applied = self.make(&asking.because(evidence), &what, delta)?;
        let limits = all_limits(&self.standing.rules, 0);
        if limits.iter().any(|standing| standing.subject == subject && standing.mode == Mode::Off) {
            let service = &subject.service;
            applied.warnings.push(format!(
                "the limit is off, so this changes no verdict; `sluice limit set {service} --class {} --mode observe`",
                subject.class
            ));
        }
        Ok(applied)
    }

    /// Exempt and operators' addresses that `next` would hold to a limit which they exceeded in the kept history, and which
    /// does not hold now.
    pub(super) fn would_hit_protected(&self, next: &Rules) -> Vec<String> {
        let protected = self.protected_networks();
        if protected.is_empty() {
            return Vec::new();
        }
        let standing = all_limits(&self.standing.rules, 0);
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

    pub(super) fn tune_forget(&mut self, asking: &Asking, service: &str) -> Result<Applied, Refusal> {
        let failed = |error: anyhow::Error| Refusal::failed(&error);
        let profiles = self.tuner.forget(service);
        let blobs = self.store.forget(AREA, &format!("{service}/")).map_err(failed)?;
        if profiles == 0 && blobs == 0 {
            return Err(Refusal::new(Code::NotFound, format!("nothing is learned of a service {service:?}")));
        }
        let what = format!("tune forget {service}");
        let change = self.note(asking, &what);
        let summary = vec![format!("what was learned of {service} is forgotten ({profiles} classes)")];
        Ok(Applied { change, summary, saved: true, ..Applied::default() })
    }

    /// Steps of the automatic mode: each a change of its own, saved, with its evidence.
    fn tune_automatically(&mut self, now: Timestamp) {
        // A step while a change waits would be lost, or undone, with it.
        if self.pending.is_some() || !self.tuner.is_due(now.as_second()) {
            return;
        }
        let limits = all_limits(&self.standing.rules, self.kernel.environment().tick_ns);
        let in_force: Vec<_> = limits
            .into_iter()
            .map(|standing| InForce {
                subject: standing.subject,
                limits: standing.limits,
                is_on: standing.mode != Mode::Off,
            })
            .collect();
        for step in self.tuner.steps(now.as_second(), &in_force) {
            let to = |dimension: usize| match step.decisions[dimension] {
                Decision::Step { to, .. } => {
                    Some(with_burst(to, dimension, self.tuner.parameters().burst_seconds))
                }
                _ => None,
            };
            let limits = Limits::from_dimensions([to(PACKETS), to(BYTES), to(CONNECTIONS)]);
            let delta = self.setting(&step.subject, LimitKind::PerSource, limits);
            let what = format!("automatic step at {} class {}", step.subject.service, step.subject.class);
            let mut asking = Asking::daemon("tuning").because(serde_json::to_value(&step.advice).ok());
            asking.options.save = true;
            self.fallible("automatic step", |engine| Ok(engine.make(&asking, &what, delta)?));
        }
    }

    fn proposal(&self, target: &TuneTarget) -> Result<(Subject, Proposal), Refusal> {
        let subject = self.subject(target)?;
        let aim = checked(target.aim)?;
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
                Err(Refusal::new(Code::Conflict, told)
                    .next("let it learn on, or ask with a lower --quantile"))
            }
        }
    }

    fn subject(&self, target: &TuneTarget) -> Result<Subject, Refusal> {
        self.known_service(&target.service)?;
        let class = target.class.clone().unwrap_or_else(|| OUTSIDE_CLASS.to_owned());
        known("class", &class, &self.standing.rules.classes())?;
        Ok(Subject { service: target.service.clone(), class })
    }

    fn known_service(&self, name: &str) -> Result<(), Refusal> {
        let services = &self.standing.rules.config.services;
        let names: Vec<_> = std::iter::once(DEFAULT_SERVICE)
            .chain(services.iter().map(|service| service.name.as_str()))
            .collect();
        known("service", name, &names)
    }

    /// The delta that sets `limits`; dimensions without one stay as they are.
    fn setting(&self, subject: &Subject, kind: LimitKind, limits: Limits) -> Delta {
        let name = named(subject, kind);
        let mut value = match kind {
            // A trial begins anew.
            LimitKind::Trial => LimitOverride::default(),
            _ => self.standing.rules.limits.get(&name).cloned().unwrap_or_default(),
        };
        let rates = &mut value.limits;
        if let Some(Limit { per_second, burst }) = limits.packets {
            (rates.packets, rates.packets_burst) = (Some(Rate::per_second(per_second)), Some(burst));
        }
        if let Some(Limit { per_second, burst }) = limits.bytes {
            (rates.bytes, rates.bytes_burst) = (Some(Rate::bytes_per_second(per_second)), Some(Bytes(burst)));
        }
        if let Some(Limit { per_second, burst }) = limits.connections {
            (rates.connections, rates.connections_burst) = (Some(Rate::per_second(per_second)), Some(burst));
        }
        Delta { limits: vec![LimitSetting { name, value: Some(value) }], ..Delta::default() }
    }

    /// Exempt prefixes, operators and the host's own loopback.
    fn protected_networks(&self) -> Vec<IpNet> {
        let rules = &self.standing.rules;
        let exempt = rules.access.iter().filter(|entry| entry.permission == Permission::Exempt);
        let mut all: Vec<_> = self.operators.iter().copied().map(IpNet::from).collect();
        all.extend(exempt.map(|entry| entry.prefix));
        all.extend(&rules.config.access.exempt);
        all.truncate(MOST_PROTECTED);
        all
    }
}

fn named(subject: &Subject, kind: LimitKind) -> LimitName {
    LimitName { service: subject.service.clone(), class: Some(subject.class.clone()), kind }
}

fn checked(aim: Aim) -> Result<Aim, Refusal> {
    let wrong = |what: &str| Err(Refusal::new(Code::Invalid, what));
    if aim.quantile.is_some_and(|quantile| !(0.5..=0.999_999).contains(&quantile)) {
        return wrong("the quantile must lie between 0.5 and 0.999999");
    }
    if aim.headroom.is_some_and(|headroom| !(1.0..=1000.0).contains(&headroom)) {
        return wrong("the headroom must lie between 1 and 1000");
    }
    Ok(aim)
}

/// What holds for one class of sources at one service.
struct StandingLimit {
    subject: Subject,
    mode: Mode,
    limits: Limits,
    trial: Limits,
}

/// Every class at every service.
fn all_limits(rules: &Rules, tick_ns: u64) -> Vec<StandingLimit> {
    let classes = rules.classes();
    let mut all = Vec::new();
    for service in rules.services() {
        for class in &classes {
            let own = service.protection.class.get(*class).cloned().unwrap_or_default();
            all.push(StandingLimit {
                subject: Subject { service: service.name.clone(), class: (*class).to_owned() },
                mode: own.mode.unwrap_or(service.protection.mode),
                limits: learned_dimensions(&own.limit.unwrap_or(service.protection.limit), tick_ns),
                trial: learned_dimensions(&own.trial.unwrap_or(service.protection.trial), tick_ns),
            });
        }
    }
    all
}

fn learned_dimensions(limits: &config::Limits, tick_ns: u64) -> Limits {
    let mut learned = [None; 3];
    for quantity in quantities(limits) {
        let per_second =
            (u128::from(quantity.units) * 1_000_000_000).div_ceil(u128::from(quantity.period_ns));
        if let Some(slot) = learned.get_mut(quantity.dimension) {
            *slot = Some(Limit {
                per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
                burst: quantity.burst(tick_ns),
            });
        }
    }
    Limits::from_dimensions(learned)
}
