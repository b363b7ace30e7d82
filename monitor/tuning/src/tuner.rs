//! Tuning as the engine holds it: one value that learns every tick, and answers.
//!
//! In: ticks of samples, the limits in force, the load. Out: advice, reports of trials, steps to take, the defence factor,
//! blobs for the store. It applies nothing.

use super::aggregates::{Aggregates, Arriving, Standing, State};
use super::automatic::{Automatic, Decision, Decisions};
use super::defence::{Change, Ladder, Load};
use super::learner::{Freeze, Learner, Profile, Sample, Subject, Tick};
use super::parameters::{Mode, Parameters};
use super::proposal::{Advice, Aim, Limits, NAMES, propose, usual};
use super::real;
use super::trial::{Report, Trials};
use super::week::LEARNED;

/// Area of tuning's blobs in the store.
pub const AREA: &str = "tuning";
/// Key of what is not a profile's.
const STATE: &str = "*state";
/// Key of what is usual of all sources together, and which services hold strangers to a share of it.
const AGGREGATES: &str = "*aggregates";

/// Seconds between two looks of the automatic mode at one limit: proposals cost more than ticks, and change slowly.
const LOOK_SECONDS: i64 = 60;
/// Seconds between two looks at what all sources of the services together usually send.
const FOLLOW_SECONDS: i64 = 600;

/// Everything that tuning knows.
#[derive(Debug, Default)]
pub struct Tuner {
    parameters: Parameters,
    learner: Learner,
    trials: Trials,
    automatic: Automatic,
    decisions: Decisions,
    rows: Vec<Row>,
    looked: Option<i64>,
    ladder: Ladder,
    aggregates: Aggregates,
    /// When what is usual was last looked at.
    followed: Option<i64>,
}

/// A step that automatic mode wants taken, with the advice that it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub subject: Subject,
    pub decisions: [Decision; LEARNED],
    pub advice: Advice,
}

/// One limit as the caller knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    pub subject: Subject,
    pub limits: Limits,
    /// Whether it judges at all.
    pub is_on: bool,
}

/// What was seen at the last look at one dimension of a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub subject: Subject,
    pub dimension: &'static str,
    /// What is proposed; `None` while too little is known.
    pub per_second: Option<u64>,
    pub state: &'static str,
}

impl Tuner {
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, ..Self::default() }
    }

    /// Other parameters from now on; what was learned stays.
    pub fn configure(&mut self, parameters: Parameters) {
        self.parameters = parameters;
    }

    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Says what the kernel's numbers of services and classes are called from now on.
    pub fn rename(&mut self, services: &[(u32, String)], classes: &[(u32, String)]) {
        self.learner.rename(services, classes);
    }

    /// Learns one tick, and counts for the trials that run.
    pub fn observe(&mut self, tick: Tick, samples: &[Sample]) {
        if self.parameters.mode != Mode::Off {
            let together = Sample::together(samples);
            let all = samples.iter().chain(&together).copied();
            self.learner.observe(tick, all, &self.parameters);
            if self.learner.freeze().is_none() {
                self.learn_together(tick, &together);
            }
        }
        if !self.trials.is_empty() {
            let kinds: Vec<_> = self
                .trials
                .subjects()
                .filter_map(|subject| Some((subject.clone(), self.learner.number_of(subject)?)))
                .collect();
            for (subject, kind) in kinds {
                let of_kind = samples.iter().filter(|sample| (sample.service, sample.class) == kind);
                self.trials.observe(tick, &subject, of_kind);
            }
        }
    }

    fn learn_together(&mut self, tick: Tick, together: &[Sample]) {
        let carried = together.iter().filter_map(|sum| {
            let rates = [sum.packets, sum.bytes, sum.connections].map(real);
            Some((self.learner.service(sum.service)?.to_owned(), rates))
        });
        self.aggregates.see(carried, tick.seconds);
        if !is_over(self.followed, tick.at, FOLLOW_SECONDS) {
            return;
        }
        self.followed = Some(tick.at);
        for (service, profile) in self.learner.together() {
            let quantile = self.parameters.aim_of(service).0;
            if let Some(rates) = usual(profile, quantile, &self.parameters) {
                self.aggregates.follow(service, rates, tick.at, self.parameters.auto_of(service));
            }
        }
    }

    /// Looks at what arrives at services with an automatic aggregate. True when one of them does something else than before.
    pub fn guard(&mut self, now: f64, load: Load, arriving: &[Arriving]) -> bool {
        self.aggregates.look(now, load, arriving, &self.parameters)
    }

    /// The services whose strangers are held to a share, with that.
    pub fn engaged(&self) -> impl Iterator<Item = (&str, State, Limits)> {
        self.aggregates.engaged()
    }

    /// The automatic aggregates of these services as they are now.
    pub fn standing(&self, arriving: &[Arriving]) -> Vec<Standing> {
        self.aggregates.standing(arriving, &self.parameters)
    }

    /// Climbs or descends the defence ladder.
    pub fn defend(&mut self, now: f64, load: Load) -> Option<Change> {
        self.ladder.observe(now, load, &self.parameters.defence)
    }

    /// What limits of sources are multiplied by at present, and the rung that says so.
    pub fn defence(&self) -> (usize, f64) {
        (self.ladder.rung(), self.ladder.limits(&self.parameters.defence))
    }

    /// What tuning has to say about one limit.
    pub fn advise(&self, subject: &Subject, aim: Aim, current: Limits) -> Advice {
        propose(subject, self.learner.profile(subject), aim, current, &self.parameters)
    }

    /// Every service and class that something is known of, in order.
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects: Vec<_> = self.learner.subjects().cloned().collect();
        subjects.sort();
        subjects
    }

    pub fn profile(&self, subject: &Subject) -> Option<&Profile> {
        self.learner.profile(subject)
    }

    /// Why nothing is learned and no step taken at present.
    pub fn freeze(&self) -> Option<Freeze> {
        self.learner.freeze()
    }

    /// Forgets what is known of a service; says how many classes there were.
    pub fn forget(&mut self, service: &str) -> usize {
        self.aggregates.forget(service);
        self.learner.forget(service)
    }

    /// The limits that are on trial from now on, all of them; those that were already go on counting.
    pub fn try_out(&mut self, on_trial: &[(Subject, Limits)], now: i64) {
        self.trials.retain(|subject| on_trial.iter().any(|(known, _)| known == subject));
        for (subject, limits) in on_trial {
            self.trials.begin(subject, *limits, now);
        }
    }

    pub fn report(&self, subject: &Subject) -> Option<Report> {
        self.trials.report(subject)
    }

    /// Whether it is time for another look at the limits.
    pub fn is_due(&self, now: i64) -> bool {
        is_over(self.looked, now, LOOK_SECONDS)
    }

    /// Once a minute: looks at every limit in automatic mode and tells the steps to take. A step counts as taken; one that
    /// could not be applied is tried again after the interval.
    pub fn steps(&mut self, now: i64, in_force: &[InForce]) -> Vec<Step> {
        if !self.is_due(now) {
            return Vec::new();
        }
        self.looked = Some(now);
        self.automatic.retain(|subject| in_force.iter().any(|known| known.subject == *subject));
        self.decisions.clear();
        self.rows.clear();
        let mut steps = Vec::new();
        for InForce { subject, limits: current, is_on } in in_force {
            if self.learner.profile(subject).is_none() {
                continue;
            }
            let advice = self.advise(subject, Aim::default(), *current);
            if !is_on || self.parameters.mode_of(&subject.service) != Mode::Auto {
                self.see(subject, &advice, None);
                continue;
            }
            let decisions = self.automatic.decide(
                now,
                subject,
                *current,
                &advice,
                self.learner.freeze(),
                (self.parameters.auto_of(&subject.service), self.parameters.least_sources),
            );
            self.see(subject, &advice, Some(&decisions));
            self.decisions.insert(subject.clone(), decisions.clone());
            if decisions.iter().any(|decision| matches!(decision, Decision::Step { .. })) {
                steps.push(Step { subject: subject.clone(), decisions, advice });
            }
        }
        steps
    }

    fn see(&mut self, subject: &Subject, advice: &Advice, decisions: Option<&[Decision; LEARNED]>) {
        let proposed = match advice {
            Advice::Proposal(proposal) => proposal.limits().by_dimension(),
            Advice::TooLittleData(_) => [None; LEARNED],
        };
        for (dimension, name) in NAMES.into_iter().enumerate() {
            let per_second = proposed[dimension].map(|limit| limit.per_second);
            let state = match decisions {
                Some(decisions) => decisions[dimension].label(),
                None if per_second.is_some() => "proposed",
                None => "too_little_data",
            };
            self.rows.push(Row { subject: subject.clone(), dimension: name, per_second, state });
        }
    }

    /// What was seen at the last look, by limit and dimension.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What automatic mode decided at its last look.
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// Bytes of heap of what was learned.
    pub fn memory_bytes(&self) -> usize {
        self.learner.memory_bytes()
    }

    /// Samples of services and classes beyond `profiles`.
    pub fn not_learned(&self) -> u64 {
        self.learner.not_learned
    }

    /// What changed since the last call, for the store.
    pub fn save(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut blobs = self.learner.save();
        let state = serde_json::to_vec(&(&self.trials, &self.automatic));
        blobs.extend(state.ok().map(|state| (STATE.to_owned(), state)));
        let aggregates = serde_json::to_vec(&self.aggregates);
        blobs.extend(aggregates.ok().map(|aggregates| (AGGREGATES.to_owned(), aggregates)));
        blobs
    }

    /// Takes back what the store kept; says which keys could not be read.
    pub fn restore(&mut self, blobs: &[(String, Vec<u8>)]) -> Vec<String> {
        let (own, profiles): (Vec<_>, Vec<_>) =
            blobs.iter().cloned().partition(|(key, _)| key.starts_with('*'));
        let mut unreadable = self.learner.restore(&profiles);
        for (key, value) in own {
            if self.restore_own(&key, &value).is_none() {
                unreadable.push(key);
            }
        }
        unreadable
    }

    fn restore_own(&mut self, key: &str, value: &[u8]) -> Option<()> {
        match key {
            STATE => (self.trials, self.automatic) = serde_json::from_slice(value).ok()?,
            AGGREGATES => self.aggregates = serde_json::from_slice(value).ok()?,
            _ => return None,
        }
        Some(())
    }
}

/// Whether a look is due that is to come once in so many seconds.
fn is_over(looked: Option<i64>, now: i64, every: i64) -> bool {
    !looked.is_some_and(|looked| (looked..looked.saturating_add(every)).contains(&now))
}
