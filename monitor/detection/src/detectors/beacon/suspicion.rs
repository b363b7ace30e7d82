//! Regularity alone is no implant: agents, monitoring and hubs are as regular. What speaks for and against one is weighed
//! here, each for a reason that has to do with how implants and honest programs are made.

use serde_json::{Value, json};

use super::{Parameters, rhythm::Beat};
use crate::lookups::Naming;

/// Two weak reasons, or one strong one, that nothing speaks against.
const ENOUGH: i32 = 2;

/// What is known of one regular pair.
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
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
    /// Bursts that nobody answers.
    pub unanswered: bool,
    /// Each end of a conversation speaks unasked.
    pub own_timers: bool,
    /// Far more is sent now and then than is asked each time.
    pub uploads: bool,
    /// What is reported is acknowledged, and no more: no orders come back.
    pub thanked: bool,
    /// HTTP in clear where it is not expected.
    pub in_clear: bool,
    /// No query came before the one connection.
    pub unresolved: bool,
}

/// The reasons and their weights; from [`ENOUGH`] on it is a warning.
#[derive(Clone, Debug, Default)]
pub struct Suspicion {
    pub weight: i32,
    reasons: Vec<&'static str>,
}

impl Suspicion {
    pub fn of(facts: &Facts, p: &Parameters) -> Self {
        let mut suspicion = Self::default();
        let mut weigh = |applies: bool, weight: i32, reason: &'static str| {
            if applies {
                suspicion.weight += weight;
                suspicion.reasons.push(reason);
            }
        };
        let beat = &facts.beat;
        let is_jittered = !facts.within && !beat.is_short() && beat.spread > p.exact && beat.bounded >= 0.9;
        let varies = facts.size_spread > p.alike_sizes && !facts.bursts;
        let is_often = !facts.bursts && beat.period < p.often_s;
        let is_plain =
            !(facts.bursts || is_jittered || varies || facts.odd_port || facts.uploads || is_often);
        // Heartbeats within one connection are exact; programs that spread their calls over time are not.
        weigh(is_jittered, if facts.bursts { 2 } else { 1 }, "jittered");
        weigh(varies, 1, "sizes vary");
        weigh(facts.odd_port, 2, "odd port");
        weigh(facts.uploads, 2, "sends far more now and then");
        weigh(is_often, 1, "often, by new connections");
        // Requests of programs that are made this fast share a connection (RFC 9112, 9.3).
        weigh(is_often && beat.is_short(), 1, "very often");
        // A small device has its server's address built in as well: exact, alike, on a usual port.
        let by_address = if is_plain { 0 } else { 4 };
        weigh(facts.naming == Naming::Unnamed, by_address, "by address, never by name");
        let crosses = !facts.within;
        weigh(crosses && facts.unresolved && facts.odd_port, 2, "no query before it");
        weigh(crosses && facts.unanswered && facts.keeps_alive, 2, "keep-alives that nobody answers");
        weigh(crosses && facts.in_clear, 1, "in clear where it is not expected");
        weigh(facts.naming == Naming::Named, -1, "by name");
        weigh(facts.keeps_alive, -2, "keeps a connection open");
        weigh(facts.own_timers, -4, "both ends speak unasked");
        weigh(facts.thanked, -4, "reports, and is thanked");
        weigh(facts.bursts && !facts.odd_port, -2, "a port of long connections");
        weigh(facts.within, if facts.bursts { -2 } else { -8 }, "both ends inside");
        weigh(facts.destinations >= p.several, -2, "several regular destinations");
        weigh(facts.destinations >= 3 * p.several, -4, "a peer among peers");
        weigh(facts.alike >= p.several, -2, "several destinations of this rhythm");
        suspicion
    }

    pub const fn is_warning(&self) -> bool {
        self.weight >= ENOUGH
    }

    pub fn reasons(&self) -> Value {
        json!(self.reasons)
    }
}
