//! Regularity alone is no implant: agents, monitoring and hubs are as regular. What speaks for and against one is weighed
//! here, each for a reason that has to do with how implants and honest programs are made.

use serde_json::{Value, json};

use super::rhythm::Beat;
use crate::lookups::Naming;

/// Timers of honest programs are exact to this share of their period; who adds jitter wants not to be seen.
const EXACT: f64 = 0.04;
/// Polls that bring nothing new are alike to this share of their size.
const ALIKE: f64 = 0.015;
/// Honest programs that have something to ask more often than this keep a connection open.
const OFTEN_S: f64 = 45.0;
/// Outside destinations of one rhythm that make a source's agents, and monitoring.
const SEVERAL: usize = 3;

/// What is known of one regular pair.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub beat: Beat,
    /// Both ends are inside: monitoring, clusters, health checks.
    pub within: bool,
    /// Beats are bursts of one connection.
    pub bursts: bool,
    /// The port is none of those on which programs usually do this.
    pub odd_port: bool,
    /// Spread of what is sent and received, over the median.
    pub size_spread: f64,
    pub naming: Naming,
    pub destinations: usize,
    pub alike: usize,
    /// What is sent is so little that it says nothing.
    pub keeps_alive: bool,
}

/// The reasons and their weights; from one on it is a warning.
#[derive(Clone, Debug, Default)]
pub struct Suspicion {
    pub weight: i32,
    reasons: Vec<&'static str>,
}

impl Suspicion {
    pub fn of(facts: &Facts) -> Self {
        let mut suspicion = Self::default();
        let mut weigh = |applies: bool, weight: i32, reason: &'static str| {
            if applies {
                suspicion.weight += weight;
                suspicion.reasons.push(reason);
            }
        };
        let beat = &facts.beat;
        weigh(!facts.within && beat.spread > EXACT && beat.bounded >= 0.9, 1, "jittered");
        weigh(facts.size_spread > ALIKE && !facts.bursts, 1, "sizes vary");
        weigh(facts.odd_port, 1, "odd port");
        weigh(!facts.bursts && beat.period < OFTEN_S, 1, "often, by new connections");
        weigh(facts.naming == Naming::Unnamed, 2, "by address, never by name");
        weigh(facts.naming == Naming::Named, -1, "by name");
        weigh(facts.keeps_alive, -1, "keeps a connection open");
        weigh(facts.bursts && !facts.odd_port, -1, "a port of long connections");
        weigh(facts.within && !facts.bursts, -4, "both ends inside");
        weigh(facts.destinations >= SEVERAL, -1, "several regular destinations");
        weigh(facts.alike >= 3, -1, "several destinations of this rhythm");
        suspicion
    }

    pub const fn is_warning(&self) -> bool {
        self.weight >= 1
    }

    pub fn reasons(&self) -> Value {
        json!(self.reasons)
    }
}
