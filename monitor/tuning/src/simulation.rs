//! Weeks of traffic with a clock that is passed in: what tuning proposes and does about services that breathe with the day,
//! back up at night, grow, are poisoned, flooded, or deployed anew.
//!
//! Of every two minutes one second is played, and tuning is told a half-life as much shorter, so that weeks fade as weeks.

use monitor_common::flow::mapped;

use super::aggregates::{Arriving, State};
use super::automatic::Decision;
use super::defence::Load;
use super::parameters::{Auto, Bounds, Mode, Parameters};
use super::proposal::{Advice, Aim, Hit, Limits, Proposal, with_burst};
use super::tuner::InForce;
use super::week::hour_of;
use super::{Learner, Sample, Subject, Tick, Tuner, real, whole};

/// Monday, 2026-11-23 00:00 UTC.
const MONDAY: i64 = 1_795_392_000;
const HOUR: i64 = 3_600;
const WEEK: i64 = 168 * HOUR;
const MINUTE: i64 = 60;
/// One second of so many is played.
const THINNING: i64 = 2 * MINUTE;

struct World {
    tuner: Tuner,
    now: i64,
    limit: u64,
    random: u64,
    /// Every step: when, from, to.
    steps: Vec<(i64, u64, u64)>,
    trouble: bool,
    /// Sources number so many are established; the others forge their addresses.
    established: u32,
}

fn parameters(mode: Mode) -> Parameters {
    Parameters {
        mode,
        quantile: 0.99,
        half_life_weeks: 1.0 / 120.0,
        least_learning_hours: 24.0 / 120.0,
        auto: Auto {
            ceiling: Bounds { packets_per_second: Some(5_000), ..Bounds::default() },
            ..Auto::default()
        },
        ..Parameters::default()
    }
}

fn subject() -> Subject {
    Subject { service: "web".to_owned(), class: "outside".to_owned() }
}

impl World {
    fn new(mode: Mode, limit: u64) -> Self {
        let mut tuner = Tuner::new(parameters(mode));
        tuner.rename(&[(1, "web".to_owned())], &[(0, "outside".to_owned())]);
        Self { tuner, now: MONDAY, limit, random: 42, steps: Vec::new(), trouble: false, established: 0 }
    }

    /// Plays until `end`; `rates` gives each source's packets in this second.
    fn play(&mut self, end: i64, mut rates: impl FnMut(i64, &mut dyn FnMut() -> f64) -> Vec<f64>) {
        while self.now < end {
            self.now += THINNING;
            let mut random = self.random;
            let rates = rates(self.now, &mut || normal(&mut random));
            self.random = random;
            let samples: Vec<Sample> =
                rates.iter().zip(0u32..).map(|(rate, n)| self.sample(*rate, n)).collect();
            let tick = Tick { at: self.now, seconds: 1.0, flood: self.trouble, alert: false };
            self.tuner.observe(tick, &samples);
            if self.now % (2 * HOUR) == 0 {
                let in_force = Limits { packets: Some(with_burst(self.limit, 0, 2.0)), ..Limits::default() };
                for step in self
                    .tuner
                    .steps(self.now, &[InForce { subject: subject(), limits: in_force, is_on: true }])
                {
                    if let Decision::Step { from, to, .. } = step.decisions[0] {
                        self.steps.push((self.now, from, to));
                        self.limit = to;
                    }
                }
            }
        }
    }

    fn sample(&self, rate: f64, number: u32) -> Sample {
        let packets = whole(rate);
        Sample {
            service: 1,
            class: 0,
            source: mapped((0x0a00_0000 + number).to_be_bytes()),
            packets,
            bytes: packets * 500,
            connections: 0,
            dropped: packets.saturating_sub(self.limit),
            trial_drops: 0,
            flagged: false,
            protected: false,
            established: number < self.established,
        }
    }

    fn proposal(&self) -> Proposal {
        match self.tuner.advise(&subject(), Aim::default(), Limits::default()) {
            Advice::Proposal(proposal) => *proposal,
            Advice::TooLittleData(too_little) => panic!("{too_little:?}"),
        }
    }

    fn observed(&self) -> f64 {
        self.proposal().packets.unwrap().observed
    }

    fn turns(&self) -> usize {
        self.steps.windows(2).filter(|pair| (pair[0].2 > pair[0].1) != (pair[1].2 > pair[1].1)).count()
    }
}

/// A standard normal number (sum of twelve, less six: tails end at 6, which suits rates).
fn normal(state: &mut u64) -> f64 {
    (0..12).map(|_| uniform(state)).sum::<f64>() - 6.0
}

fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    real((word ^ word >> 31) >> 11) / real(1 << 53)
}

/// Forty sources whose rates are log-normal around a median that follows the working day.
fn diurnal(now: i64, scale: f64, random: &mut dyn FnMut() -> f64) -> Vec<f64> {
    let median = scale * median_at(now);
    (0..40).map(|_| (median * (0.5 * random()).exp()).max(1.0)).collect()
}

fn median_at(now: i64) -> f64 {
    let hour = hour_of(now);
    let is_working_day = hour / 24 < 5;
    if is_working_day && (9..17).contains(&(hour % 24)) { 100.0 } else { 20.0 }
}

/// The 0.99 quantile of [`diurnal`]'s busiest hour.
fn truth(scale: f64) -> f64 {
    scale * 100.0 * (0.5f64 * 2.326).exp()
}

#[test]
fn a_diurnal_service_is_proposed_its_busiest_hours_quantile() {
    let mut world = World::new(Mode::Propose, u64::MAX);
    let mut busiest = Vec::new();
    world.play(MONDAY + 3 * WEEK, |now, random| {
        let rates = diurnal(now, 1.0, random);
        if median_at(now) > 50.0 {
            busiest.extend(rates.iter().map(|rate| rate.floor()));
        }
        rates
    });
    let proposal = world.proposal();
    let told = proposal.packets.clone().unwrap();
    busiest.sort_by(f64::total_cmp);
    let exact = busiest[busiest.len() * 99 / 100];
    // All busy hours are alike: the busiest of forty is the true quantile plus what sampling adds, which `between` states.
    assert!((exact / truth(1.0) - 1.0).abs() < 0.03, "the simulation itself: {exact}");
    let slack = 1.0 + super::quantiles::RELATIVE_ERROR;
    assert!(told.between[0] / slack <= exact && exact <= told.between[1] * slack, "{told:?} {exact}");
    assert!((told.observed / exact - 1.0).abs() < 0.15, "{} {exact}", told.observed);
    assert!(told.limit.per_second >= whole(2.0 * exact) && told.limit.burst == 2 * told.limit.per_second);
    assert!(told.busiest_hour.is_some_and(|hour| !hour.starts_with('S')), "a working day");
    assert_eq!(proposal.evidence.hours_covered, 168);
    assert_eq!(proposal.evidence.confidence, super::proposal::Confidence::High);
    assert!((35..=45).contains(&proposal.evidence.sources));
    assert!(proposal.hit_is_complete);
    assert!(told.would_have_dropped.at_most < 1e-3 * told.would_have_dropped.of);
}

#[test]
fn a_nightly_backup_by_one_source_is_within_the_proposal() {
    let mut world = World::new(Mode::Propose, u64::MAX);
    world.play(MONDAY + 2 * WEEK, |now, random| {
        let mut rates = diurnal(now, 1.0, random);
        if hour_of(now) % 24 == 2 {
            rates.push(3_000.0);
        }
        rates
    });
    let proposal = world.proposal();
    let told = proposal.packets.unwrap();
    assert!((told.observed / 3_000.0 - 1.0).abs() < 0.03, "{}", told.observed);
    assert!(told.busiest_hour.unwrap().ends_with("02:00 UTC"));
    assert_eq!(proposal.hit, []);
}

#[test]
fn a_nightly_backup_does_not_raise_an_automatic_limit_by_itself() {
    let mut world = World::new(Mode::Auto, 700);
    world.play(MONDAY + 3 * WEEK, |now, random| {
        let mut rates = diurnal(now, 1.0, random);
        if hour_of(now) % 24 == 2 {
            // Within the limit, or it would teach nothing.
            rates.push(690.0);
        }
        rates
    });
    assert_eq!(world.steps, [], "one source is too few to ask for more");
    let decision = &world.tuner.decisions()[&subject()][0];
    assert!(matches!(decision, Decision::TooFewSources { have, need: 3 } if *have < 1.5), "{decision:?}");
}

#[test]
fn a_growing_service_is_followed_upwards_without_turning_back() {
    let mut world = World::new(Mode::Auto, 650);
    let mut dropped = 0usize;
    let mut limit = 0.0;
    for week in 0..8 {
        let scale = 1.1f64.powi(week);
        world.play(MONDAY + i64::from(week + 1) * WEEK, |now, random| diurnal(now, scale, random));
        limit = real(world.limit);
        dropped += usize::from(limit < 1.2 * truth(scale));
    }
    assert_eq!(dropped, 0, "the limit stayed above what is usual");
    assert_eq!(world.turns(), 0, "{:?}", world.steps);
    assert!(world.steps.len() >= 2, "{:?}", world.steps);
    assert!(limit <= 3.0 * truth(1.1f64.powi(7)));
}

#[test]
fn a_steady_service_settles_and_never_oscillates() {
    for start in [60, 300, 4_000] {
        let mut world = World::new(Mode::Auto, start);
        world.play(MONDAY + 5 * WEEK, |now, random| diurnal(now, 1.0, random));
        let late: Vec<_> = world.steps.iter().filter(|(at, _, _)| *at > MONDAY + 3 * WEEK).collect();
        assert_eq!(late.len(), 0, "from {start}: {:?}", world.steps);
        assert!(world.turns() <= 1, "from {start}: {:?}", world.steps);
        if start >= 300 {
            let share = real(world.limit) / (2.0 * truth(1.0));
            assert!((0.75..1.35).contains(&share), "from {start} to {}", world.limit);
        }
    }
}

#[test]
fn a_slow_poisoning_ramp_is_bounded_by_step_interval_and_ceiling() {
    let start = 650;
    let mut world = World::new(Mode::Auto, start);
    world.play(MONDAY + 2 * WEEK, |now, random| diurnal(now, 1.0, random));
    let before = world.limit;
    let began = world.now;
    // Twenty sources of the attacker's ride just below the limit, whatever it is, for four weeks.
    for hour in 0..4 * 168 {
        let allowed = real(world.limit) * 0.97;
        world.play(began + (hour + 1) * HOUR, |now, random| {
            let mut rates = diurnal(now, 1.0, random);
            rates.extend([allowed; 20]);
            rates
        });
        let elapsed = real(u64::try_from(world.now - began).unwrap());
        let bound = real(before) * 1.25f64.powf(1.0 + elapsed / (360.0 * 60.0));
        assert!(real(world.limit) <= bound.min(5_000.0), "{} after {hour} hours", world.limit);
    }
    for pair in world.steps.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 6 * HOUR, "steps keep their interval");
    }
    assert!(world.steps.iter().all(|(_, from, to)| real(*to) <= real(*from) * 1.25));
    assert!(world.limit <= 5_000);
    // When it ends, the limit finds its way back.
    world.play(world.now + 8 * WEEK, |now, random| diurnal(now, 1.0, random));
    assert!(real(world.limit) < 3.0 * truth(1.0), "{}", world.limit);
}

#[test]
fn what_was_dropped_or_flagged_teaches_nothing() {
    let mut calm = World::new(Mode::Propose, 1_000);
    calm.play(MONDAY + WEEK, |now, random| diurnal(now, 1.0, random));
    let mut attacked = World::new(Mode::Propose, 1_000);
    attacked.play(MONDAY + WEEK, |now, random| {
        let mut rates = diurnal(now, 1.0, random);
        rates.extend([50_000.0; 10]);
        rates
    });
    assert!((calm.observed() / attacked.observed() - 1.0).abs() < 1e-9);
    assert!(attacked.proposal().evidence.left_out_seconds > 50_000.0);
    let remembered = |hit: &Hit| hit.source < "10.0.0.40".parse::<std::net::IpAddr>().unwrap();
    assert!(attacked.proposal().hit.iter().all(remembered), "nor are they remembered as customers");
}

#[test]
fn a_flood_freezes_learning_and_steps_until_it_is_calm_again() {
    let mut world = World::new(Mode::Auto, 650);
    world.play(MONDAY + 2 * WEEK, |now, random| diurnal(now, 1.0, random));
    let (observed, steps) = (world.observed(), world.steps.len());
    world.trouble = true;
    let end = world.now + 2 * 24 * HOUR;
    world.play(end, |now, random| diurnal(now, 6.0, random));
    assert!((world.observed() / observed - 1.0).abs() < 1e-9);
    assert_eq!(world.steps.len(), steps);
    assert_eq!(world.tuner.decisions()[&subject()][0].label(), "frozen_flood");
    world.trouble = false;
    world.play(end + 25 * MINUTE, |now, random| diurnal(now, 6.0, random));
    assert!((world.observed() / observed - 1.0).abs() < 1e-9, "it has not thawed yet");
    assert_eq!(world.tuner.freeze(), Some(super::Freeze::Thawing));
    world.play(end + 2 * HOUR, |now, random| diurnal(now, 1.0, random));
    assert_eq!(world.tuner.freeze(), None);
}

#[test]
fn a_new_deployment_is_reached_in_bounded_steps_and_forgetting_is_faster() {
    let mut world = World::new(Mode::Auto, 650);
    world.play(MONDAY + 2 * WEEK, |now, random| diurnal(now, 1.0, random));
    let end = world.now + WEEK;
    world.play(end, |now, random| diurnal(now, 1.8, random));
    assert!(real(world.limit) > 1.5 * truth(1.8), "{} {}", world.limit, truth(1.8));
    assert_eq!(world.turns(), 0, "{:?}", world.steps);
    // A leaner one: the old tail fades slowly, by design; who knows better forgets.
    assert_eq!(world.tuner.forget("web"), 1);
    world.play(end + WEEK, |now, random| diurnal(now, 0.5, random));
    assert!((world.observed() / truth(0.5) - 1.0).abs() < 0.15);
}

/// The share of strangers, packets per second, and what becomes of it when so much arrives in a flood that harms.
fn attacked(world: &mut World, packets_per_second: f64) -> (State, u64) {
    let arriving = [Arriving { service: "web".to_owned(), packets_per_second, reserve: 0.5 }];
    let load = Load { softirq_share: 1.0, flood: true, ..Load::default() };
    for second in 0..4 {
        world.tuner.guard(f64::from(second), load, &arriving);
    }
    let standing = world.tuner.standing(&arriving).remove(0);
    (standing.state, standing.share.strangers.packets.unwrap().per_second)
}

#[test]
fn weeks_teach_what_all_sources_together_send_and_growth_stays_within_it() {
    let mut world = World::new(Mode::Propose, u64::MAX);
    world.established = 40;
    for week in 0..3 {
        let (scale, mut busiest) = (1.15f64.powi(week), 0.0f64);
        world.play(MONDAY + i64::from(week + 1) * WEEK, |now, random| {
            let rates = diurnal(now, scale, random);
            busiest = busiest.max(rates.iter().sum());
            rates
        });
        // The busiest second that ever was is no excess, whatever the host suffers from.
        let (state, strangers) = attacked(&mut world, busiest);
        assert_eq!(state, State::Rests, "week {week}");
        assert!((0.8..1.3).contains(&(real(strangers) / busiest)), "week {week}: {strangers} {busiest}");
    }
    let (state, before) = attacked(&mut world, 250_000.0);
    assert_eq!(state, State::Enforces);
    let mut read = Tuner::new(parameters(Mode::Propose));
    assert_eq!(read.restore(&world.tuner.save()), Vec::<String>::new());
    assert_eq!(read.engaged().collect::<Vec<_>>(), world.tuner.engaged().collect::<Vec<_>>());
    world.tuner = read;
    assert_eq!(attacked(&mut world, 250_000.0), (State::Enforces, before));
}

#[test]
fn forged_sources_teach_nothing_and_patient_ones_no_faster_than_a_step() {
    let mut world = World::new(Mode::Propose, u64::MAX);
    world.established = 40;
    world.play(MONDAY + WEEK, |now, random| diurnal(now, 1.0, random));
    let before = world.tuner.standing(&[arriving_at_rest()])[0].share;
    let with_attackers = |now: i64, random: &mut dyn FnMut() -> f64| {
        let mut rates = diurnal(now, 1.0, random);
        rates.extend([10_000.0; 20]);
        rates
    };
    world.play(world.now + 48 * HOUR, with_attackers);
    let forged = real(share_at_rest(&world)) / real(before.strangers.packets.unwrap().per_second);
    assert!((0.9..1.1).contains(&forged), "{forged}");
    // With addresses of their own, established like everybody's, for a day.
    world.established = 60;
    let began = share_at_rest(&world);
    world.play(world.now + 24 * HOUR, with_attackers);
    let growth = real(share_at_rest(&world)) / real(began);
    assert!((1.5..=1.25f64.powi(4) * 1.01).contains(&growth), "{growth}");
    // A flood teaches nothing at all.
    world.trouble = true;
    let began = share_at_rest(&world);
    world.play(world.now + 24 * HOUR, with_attackers);
    assert_eq!(share_at_rest(&world), began);
}

fn arriving_at_rest() -> Arriving {
    Arriving { service: "web".to_owned(), packets_per_second: 0.0, reserve: 0.5 }
}

fn share_at_rest(world: &World) -> u64 {
    world.tuner.standing(&[arriving_at_rest()])[0].share.strangers.packets.unwrap().per_second
}

#[test]
fn tuning_goes_on_where_it_was_after_a_restart() {
    let mut world = World::new(Mode::Propose, 1_000);
    world.play(MONDAY + WEEK + 5 * HOUR + 7 * MINUTE, |now, random| diurnal(now, 1.0, random));
    let mut read = Tuner::new(parameters(Mode::Propose));
    assert_eq!(read.restore(&world.tuner.save()), Vec::<String>::new());
    let advise = |tuner: &Tuner| tuner.advise(&subject(), Aim::default(), Limits::default());
    assert_eq!(advise(&read), advise(&world.tuner));
    // An hour later only what changed is written.
    world.tuner.save();
    world.play(world.now + HOUR, |now, random| diurnal(now, 1.0, random));
    assert!(world.tuner.save().len() <= 5);
}

#[test]
fn a_damaged_blob_is_named_and_the_rest_is_read() {
    let mut world = World::new(Mode::Propose, 1_000);
    world.play(MONDAY + WEEK, |now, random| diurnal(now, 1.0, random));
    let mut blobs = world.tuner.save();
    blobs[3].1 = vec![1, 2, 3];
    let mut read = Learner::default();
    let profiles: Vec<_> = blobs.iter().filter(|(key, _)| !key.starts_with('*')).cloned().collect();
    assert_eq!(read.restore(&profiles), [blobs[3].0.clone()]);
    assert!(read.profile(&subject()).unwrap().week.hours_covered() >= 166);
}

#[test]
fn a_protected_source_that_would_be_hit_is_listed() {
    let mut world = World::new(Mode::Propose, u64::MAX);
    for _ in 0..24 * 30 * 2 {
        world.now += THINNING;
        let mut samples: Vec<Sample> = (0..40).map(|number| world.sample(20.0, number)).collect();
        if world.now % HOUR == 0 {
            samples.push(Sample { protected: true, ..world.sample(900.0, 77) });
        }
        world.tuner.observe(Tick { at: world.now, seconds: 1.0, flood: false, alert: false }, &samples);
    }
    let proposal = world.proposal();
    let listed: Vec<_> =
        proposal.locked_out.iter().map(|hit| (hit.source.to_string(), hit.certain)).collect();
    assert_eq!(listed[0], ("10.0.0.77".to_owned(), true));
}
