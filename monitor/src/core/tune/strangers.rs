//! Automatic aggregates: which services have one, what arrives there, who is established, and how it reads as a limit.
//!
//! In: the desired rules, the kernel's image, counters. Out: values for tuning, and what tuning says as limits of the policy.

use std::collections::HashSet;

use monitor_common::bucket::level;
use monitor_common::record::{SourceEntry, entry};
use policy::config::{self, DEFAULT_SERVICE, Mode, Protocol, Rate};
use policy::{Automatic, Image, Rules};
use tuning::Limits;
use tuning::aggregates::{Arriving, Standing, State};

use crate::snapshot::{AutomaticAggregate, Total};

/// The services with an automatic aggregate, and what came for each, whatever became of it.
pub fn arriving(rules: &Rules, totals: &[Total]) -> Vec<Arriving> {
    // Without egress the default service has the answers to this host's own questions, which nobody learned.
    let has_one = |name: &str| name != DEFAULT_SERVICE || rules.config.interfaces.egress;
    let services = rules.services().into_iter().filter(|service| has_one(&service.name));
    services
        .filter(|service| service.protection.mode != Mode::Off && service.protection.aggregate.is_automatic())
        .map(|service| {
            let came = totals.iter().filter(|total| total.service == service.name);
            Arriving {
                packets_per_second: came.map(|total| total.ended_per_second).sum(),
                reserve: service.protection.aggregate.reserve,
                service: service.name,
            }
        })
        .collect()
}

/// Which sources count as established.
#[derive(Debug)]
pub struct Establishment {
    /// Services whose sources can prove their address, all over TCP.
    proving: HashSet<u32>,
    known_after: u64,
    /// Now, on the kernel's clock.
    clock: u64,
}

impl Establishment {
    pub fn new(rules: &Rules, image: &Image, clock: u64) -> Self {
        let proves = |service: &config::Service| service.matches.protocols == [Protocol::TCP];
        let services = rules.config.services.iter();
        let services = services.filter(|service| rules.config.interfaces.egress && proves(service));
        Self {
            proving: services.filter_map(|service| image.numbering.service(&service.name)).collect(),
            known_after: image.settings.known_after,
            clock,
        }
    }

    /// As the kernel sees it, for the same reason: what anybody can forge is no proof of what is usual.
    pub fn holds(&self, service: u32, source: &SourceEntry) -> bool {
        if self.proving.contains(&service) {
            return source.flags & entry::PROVEN != 0;
        }
        source.flags & entry::FROM_FLOOD == 0 && level(self.clock, source.first_seen) >= self.known_after
    }
}

/// What the policy is given of a service whose strangers are held to a share.
pub fn automatic(state: State, strangers: Limits) -> Automatic {
    Automatic { mode: mode_of(state), strangers: rates(strangers) }
}

/// The rates as the configuration writes them.
pub fn rates(limits: Limits) -> config::Limits {
    let rate = |limit: Option<tuning::Limit>| limit.map(|limit| Rate::per_second(limit.per_second));
    let burst = |limit: Option<tuning::Limit>| limit.map(|limit| limit.burst);
    config::Limits {
        packets: rate(limits.packets),
        packets_burst: burst(limits.packets),
        connections: rate(limits.connections),
        connections_burst: burst(limits.connections),
        ..config::Limits::default()
    }
}

pub fn mode_of(state: State) -> Mode {
    match state {
        State::Rests => Mode::Off,
        State::Observes => Mode::Observe,
        State::Enforces => Mode::Enforce,
    }
}

/// For the snapshot.
pub fn shown(standing: &Standing) -> AutomaticAggregate {
    let rate = |limit: Option<tuning::Limit>| limit.map_or(0, |limit| limit.per_second);
    AutomaticAggregate {
        service: standing.service.clone(),
        state: standing.state,
        basis: standing.share.basis,
        strangers_packets_per_second: rate(standing.share.strangers.packets),
        strangers_connections_per_second: rate(standing.share.strangers.connections),
    }
}

/// For the log, the history and the status.
pub fn sentence(standing: &Standing) -> String {
    let AutomaticAggregate {
        service,
        state,
        basis,
        strangers_packets_per_second: packets,
        strangers_connections_per_second: connections,
    } = shown(standing);
    let share = format!("{packets} packets and {connections} connections a second ({})", basis.label());
    match state {
        State::Rests => format!("automatic aggregate of {service}: rests"),
        State::Observes => {
            format!(
                "automatic aggregate of {service}: observes what strangers send beyond {share}, in a flood"
            )
        }
        State::Enforces => {
            format!(
                "automatic aggregate of {service}: strangers are held to {share}, as a flood harms the host"
            )
        }
    }
}
