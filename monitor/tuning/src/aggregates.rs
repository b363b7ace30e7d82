//! What all sources of a service together usually send, and when strangers are held to a share of it.
//!
//! In: what established sources carry, and once a tick what arrives, flood mode and the host's load. Out: for each service
//! the share of strangers, and whether it rests, observes or enforces. It applies nothing.
//!
//! Whatever an attacker teaches, after time `t` the usual rate is at most its start times
//! `largest_step ^ (1 + t / interval)`, as for an automatic limit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::defence::Load;
use super::parameters::{Auto, Parameters};
use super::proposal::{Limits, with_burst};
use super::week::LEARNED;
use super::{real, whole};

/// The class under which all sources of a service together are learned; no class of sources can have this name.
pub const EVERYBODY: &str = "*";

/// Packets, bytes and new connections per second.
pub type Rates = [f64; LEARNED];

/// What a service counts as usual at least. What is below it harms no host.
const LEAST: Rates = [1_000.0, 0.0, 100.0];
/// How long the load must harm the host before strangers are refused: by a learned share, and by any other.
const HARM_SECONDS: [f64; 2] = [1.5, 5.0];
/// How long a service must be within its share before it rests again.
const HOLD_SECONDS: f64 = 60.0;
/// What was seen lately counts half after so long.
const RECENT_SECONDS: f64 = 3_600.0;

/// What is known of every service, and which of them hold strangers to their share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregates {
    usual: BTreeMap<String, Usual>,
    engaged: BTreeMap<String, Engaged>,
    /// The busiest second lately, faded; for services of which no week is known yet.
    #[serde(skip)]
    recent: BTreeMap<String, Rates>,
    /// The load has harmed the host since then.
    #[serde(skip)]
    harmed_since: Option<f64>,
}

/// The learned rates that count, which follow what is observed at a bounded pace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Usual {
    /// Unix seconds.
    at: i64,
    rates: Rates,
}

/// A service whose strangers are held to a share; the share stays as it was when that began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Engaged {
    state: State,
    /// Seconds since boot at which more arrived than usual.
    exceeded_at: f64,
    share: Share,
}

/// What the aggregate of a service does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AggregateState")]
pub enum State {
    /// Nothing: no interface is in flood mode, or the service gets no more than usual.
    Rests,
    /// It counts what it would drop.
    Observes,
    /// The load harms the host, so strangers beyond their share are refused.
    Enforces,
}

impl State {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rests => "rests",
            Self::Observes => "observes",
            Self::Enforces => "enforces",
        }
    }
}

/// What a share rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AggregateBasis")]
pub enum Basis {
    /// The busiest hour of the week.
    Learned,
    /// The last hours.
    Recent,
    /// Nothing is known; the least share.
    Least,
}

impl Basis {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Recent => "recent",
            Self::Least => "least",
        }
    }
}

/// What strangers may take of a service.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub basis: Basis,
    /// Packets and new connections.
    pub strangers: Limits,
    /// Packets per second up to which nothing is out of the ordinary.
    ordinary: f64,
}

/// A service with an automatic aggregate, in this tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Arriving {
    pub service: String,
    /// Packets per second of all sources, whatever became of them.
    pub packets_per_second: f64,
    /// Share that strangers may not take, 0 to 1.
    pub reserve: f64,
}

/// A service as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub service: String,
    pub state: State,
    pub share: Share,
}

impl Aggregates {
    /// Takes what established sources carried in a calm tick, by service.
    pub fn see(&mut self, carried: impl IntoIterator<Item = (String, Rates)>, seconds: f64) {
        let fade = 0.5f64.powf(seconds / RECENT_SECONDS);
        for rates in self.recent.values_mut() {
            *rates = rates.map(|rate| rate * fade);
        }
        for (service, rates) in carried {
            let recent = self.recent.entry(service).or_default();
            for (recent, rate) in recent.iter_mut().zip(rates) {
                *recent = recent.max(rate / seconds.max(0.1));
            }
        }
    }

    /// Follows what the learned week says of a service: down at once, up at the pace of automatic steps.
    pub fn follow(&mut self, service: &str, observed: Rates, now: i64, rules: &Auto) {
        let Some(usual) = self.usual.get_mut(service) else {
            self.usual.insert(service.to_owned(), Usual { at: now, rates: observed });
            return;
        };
        let interval = real(rules.interval_minutes.max(1)) * 60.0;
        // Neither a clock that was set nor time that nobody observed makes a larger step than one.
        let passed = real(u64::try_from(now - usual.at).unwrap_or(0)).min(interval);
        let most = rules.largest_step.powf(passed / interval);
        for ((rate, observed), least) in usual.rates.iter_mut().zip(observed).zip(LEAST) {
            *rate = observed.min(rate.max(least) * most);
        }
        usual.at = now;
    }

    /// Forgets what was learned of a service.
    pub fn forget(&mut self, service: &str) {
        self.usual.remove(service);
        self.recent.remove(service);
    }

    /// What strangers may take of a service with this reserve.
    pub fn share(&self, service: &str, reserve: f64, parameters: &Parameters) -> Share {
        let usual = self.usual.get(service).map(|usual| (Basis::Learned, usual.rates));
        let recent = || self.recent.get(service).map(|rates| (Basis::Recent, *rates));
        let (basis, rates) = usual.or_else(recent).unwrap_or((Basis::Least, LEAST));
        let headroom = parameters.aim_of(service).1;
        let together = |dimension: usize| rates[dimension].max(LEAST[dimension]) * headroom;
        let limit = |dimension: usize| {
            let per_second = whole(together(dimension) * (1.0 - reserve)).max(1);
            Some(with_burst(per_second, dimension, parameters.burst_seconds))
        };
        let strangers = Limits { packets: limit(0), bytes: None, connections: limit(2) };
        Share { basis, strangers, ordinary: together(0) }
    }

    /// Looks at what arrives at `now` (seconds since boot). True when any service does something else than before.
    pub fn look(&mut self, now: f64, load: Load, arriving: &[Arriving], parameters: &Parameters) -> bool {
        let before = self.engaged.clone();
        self.harmed_since = load.is_harmful().then(|| self.harmed_since.unwrap_or(now));
        let harmed = self.harmed_since.map_or(0.0, |since| now - since);
        self.engaged.retain(|service, engaged| {
            // Of a process or a boot before this one, from the future.
            engaged.exceeded_at = engaged.exceeded_at.min(now);
            now - engaged.exceeded_at < HOLD_SECONDS && arriving.iter().any(|known| known.service == *service)
        });
        for Arriving { service, packets_per_second, reserve } in arriving.iter().filter(|_| load.flood) {
            let share = match self.engaged.get(service) {
                Some(engaged) => engaged.share,
                None => self.share(service, *reserve, parameters),
            };
            if *packets_per_second <= share.ordinary {
                continue;
            }
            let patience = HARM_SECONDS[usize::from(share.basis != Basis::Learned)];
            let state = if harmed >= patience { State::Enforces } else { State::Observes };
            let engaged =
                self.engaged.entry(service.clone()).or_insert(Engaged { state, exceeded_at: now, share });
            engaged.exceeded_at = now;
            engaged.state = engaged.state.max(state);
        }
        let acts = |engaged: &BTreeMap<String, Engaged>| -> Vec<(String, State)> {
            engaged.iter().map(|(service, engaged)| (service.clone(), engaged.state)).collect()
        };
        acts(&before) != acts(&self.engaged)
    }

    /// Each of these services as it is now.
    pub fn standing(&self, arriving: &[Arriving], parameters: &Parameters) -> Vec<Standing> {
        let of = |Arriving { service, reserve, .. }: &Arriving| {
            let engaged = self.engaged.get(service);
            Standing {
                service: service.clone(),
                state: engaged.map_or(State::Rests, |engaged| engaged.state),
                share: engaged
                    .map_or_else(|| self.share(service, *reserve, parameters), |engaged| engaged.share),
            }
        };
        arriving.iter().map(of).collect()
    }

    /// The services whose strangers are held to a share.
    pub fn engaged(&self) -> impl Iterator<Item = (&str, State, Limits)> {
        self.engaged
            .iter()
            .map(|(service, engaged)| (service.as_str(), engaged.state, engaged.share.strangers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Load = Load {
        softirq_share: 0.1,
        backlog_drops_per_second: 0.0,
        listen_drops_per_second: 0.0,
        buffer_errors_per_second: 0.0,
        flood: false,
    };
    const FLOOD: Load = Load { flood: true, ..CALM };
    const HARM: Load = Load { flood: true, softirq_share: 0.9, ..CALM };

    fn arrive(packets_per_second: f64) -> Vec<Arriving> {
        vec![
            Arriving { service: "web".to_owned(), packets_per_second, reserve: 0.5 },
            Arriving { service: "quiet".to_owned(), packets_per_second: 3.0, reserve: 0.5 },
        ]
    }

    struct World {
        aggregates: Aggregates,
        now: f64,
        changes: usize,
    }

    impl World {
        /// A service that usually carries 20,000 packets and 800 connections a second.
        fn learned() -> Self {
            let mut aggregates = Aggregates::default();
            aggregates.follow("web", [20_000.0, 1e7, 800.0], 0, &Auto::default());
            Self { aggregates, now: 1_000.0, changes: 0 }
        }

        /// The states of both services after so many seconds.
        fn play(&mut self, seconds: u32, load: Load, packets_per_second: f64) -> [State; 2] {
            let parameters = Parameters::default();
            let arriving = arrive(packets_per_second);
            for _ in 0..seconds {
                self.now += 1.0;
                self.changes += usize::from(self.aggregates.look(self.now, load, &arriving, &parameters));
            }
            let standing = self.aggregates.standing(&arriving, &parameters);
            [standing[0].state, standing[1].state]
        }
    }

    #[test]
    fn harm_in_a_flood_holds_strangers_of_the_service_that_gets_more_than_usual() {
        let mut world = World::learned();
        assert_eq!(world.play(60, CALM, 15_000.0), [State::Rests, State::Rests]);
        assert_eq!(world.play(30, FLOOD, 250_000.0), [State::Observes, State::Rests]);
        assert_eq!(world.play(1, HARM, 250_000.0), [State::Observes, State::Rests]);
        assert_eq!(world.play(2, HARM, 250_000.0), [State::Enforces, State::Rests]);
        // What it refuses harms no more, and it goes on while the flood does.
        assert_eq!(world.play(600, FLOOD, 250_000.0), [State::Enforces, State::Rests]);
        assert_eq!(world.play(59, CALM, 15_000.0), [State::Enforces, State::Rests]);
        assert_eq!(world.play(2, CALM, 15_000.0), [State::Rests, State::Rests]);
        assert_eq!(world.changes, 3, "the rules are written when something changes");
    }

    #[test]
    fn strangers_may_take_what_is_usual_and_not_less_than_the_least() {
        let world = World::learned();
        let share = |service: &str, reserve: f64| {
            let share = world.aggregates.share(service, reserve, &Parameters::default());
            let rate = |limit: Option<crate::Limit>| limit.unwrap().per_second;
            (share.basis, rate(share.strangers.packets), rate(share.strangers.connections))
        };
        assert_eq!(share("web", 0.5), (Basis::Learned, 20_000, 800));
        assert_eq!(share("web", 0.9), (Basis::Learned, 3_999, 159));
        assert_eq!(share("quiet", 0.5), (Basis::Least, 1_000, 100));
    }

    #[test]
    fn growth_and_crowds_without_a_flood_of_new_sources_change_nothing() {
        let mut world = World::learned();
        let busy = Load { flood: false, ..HARM };
        assert_eq!(world.play(3_600, busy, 500_000.0), [State::Rests, State::Rests]);
        // A crowd that the host bears is counted at most.
        assert_eq!(world.play(600, FLOOD, 100_000.0), [State::Observes, State::Rests]);
        assert_eq!(World::learned().play(600, HARM, 39_000.0), [State::Rests, State::Rests]);
    }

    #[test]
    fn what_is_not_learned_takes_longer_harm() {
        let mut world = World { aggregates: Aggregates::default(), now: 0.0, changes: 0 };
        world.aggregates.see([("web".to_owned(), [6_000.0, 0.0, 50.0])], 1.0);
        assert_eq!(world.play(5, HARM, 250_000.0)[0], State::Observes);
        assert_eq!(world.play(1, HARM, 250_000.0)[0], State::Enforces);
        let share = world.aggregates.share("web", 0.5, &Parameters::default());
        assert_eq!((share.basis, share.strangers.packets.unwrap().per_second), (Basis::Recent, 6_000));
        world.aggregates.see([], 3_600.0);
        let share = world.aggregates.share("web", 0.5, &Parameters::default());
        assert_eq!(share.strangers.packets.unwrap().per_second, 3_000);
    }

    #[test]
    fn what_is_usual_rises_at_a_bounded_pace_and_falls_at_once() {
        let rules = Auto::default();
        let mut aggregates = Aggregates::default();
        aggregates.follow("web", [10_000.0, 0.0, 0.0], 0, &rules);
        let day = 86_400;
        for minute in 1..=24 * 60 {
            aggregates.follow("web", [1e9, 0.0, 1e9], minute * 60, &rules);
        }
        let usual = aggregates.usual["web"].rates;
        assert!((usual[0] / 10_000.0 / 1.25f64.powi(4) - 1.0).abs() < 1e-6, "{usual:?}");
        assert!((usual[2] / 100.0 / 1.25f64.powi(4) - 1.0).abs() < 1e-6, "from the least: {usual:?}");
        // A year that nobody observed is one step at most, and a clock that goes back is none.
        aggregates.follow("web", [1e9, 0.0, 0.0], day * 365, &rules);
        assert!(aggregates.usual["web"].rates[0] <= usual[0] * 1.2501);
        let before = aggregates.usual["web"].rates[0];
        aggregates.follow("web", [1e9, 0.0, 0.0], day, &rules);
        assert!((aggregates.usual["web"].rates[0] - before).abs() < 1e-6);
        aggregates.follow("web", [500.0, 0.0, 0.0], day + 60, &rules);
        assert!((aggregates.usual["web"].rates[0] - 500.0).abs() < 1e-9);
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        let mut world = World::learned();
        world.play(10, HARM, 250_000.0);
        let kept = serde_json::to_vec(&world.aggregates).unwrap();
        let aggregates: Aggregates = serde_json::from_slice(&kept).unwrap();
        // The machine was booted: the clock begins again.
        let mut world = World { aggregates, now: 0.0, changes: 0 };
        assert_eq!(world.play(30, CALM, 250_000.0), [State::Enforces, State::Rests]);
        assert_eq!(world.play(40, CALM, 250_000.0), [State::Rests, State::Rests]);
    }
}
