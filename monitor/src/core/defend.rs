//! The rules of an overloaded host: every limit of a source multiplied by the rung's factor.
//!
//! What was decided (the desired state) never changes: a rung is no decision.

use super::sources::float;
use policy::config::{Limits, Rate};
use policy::{LimitKind, LimitName, Rules};

/// Multiplies every rate of a source's limit by `factor`. Bursts that were named stay.
pub fn tighten(rules: &mut Rules, factor: f64) {
    if factor >= 1.0 {
        return;
    }
    for service in rules.services() {
        let own = service.protection.class.iter().filter_map(|(class, own)| Some((Some(class), own.limit?)));
        for (class, limits) in std::iter::once((None, service.protection.limit)).chain(own) {
            let name = LimitName {
                service: service.name.clone(),
                class: class.cloned(),
                kind: LimitKind::PerSource,
            };
            rules.limits.entry(name).or_default().limits = scaled(limits, factor);
        }
    }
}

fn scaled(limits: Limits, factor: f64) -> Limits {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and a rate is positive"
    )]
    let down = |rate: u64| ((float(rate) * factor) as u64).max(1);
    let slower = |rate: Rate| Rate { amount: down(rate.amount), ..rate };
    Limits {
        packets: limits.packets.map(slower),
        bytes: limits.bytes.map(slower),
        connections: limits.connections.map(slower),
        fragments: limits.fragments.map(slower),
        requests: limits.requests.map(slower),
        handshakes: limits.handshakes.map(slower),
        ..limits
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use policy::config::Config;

    #[test]
    fn every_limit_of_a_source_is_tightened_and_aggregates_are_not() {
        let text = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nmode = \"enforce\"\n\
                    limit = { packets = \"2k/s\", packets_burst = 4000, bytes = \"1 MB/s\" }\n\
                    aggregate = { packets = \"100k/s\" }\n\
                    [service.class.inside]\nlimit = { packets = \"8k/s\" }\n";
        let mut rules = Rules::new(Arc::new(Config::parse(text, "test").unwrap()));
        let before = rules.services();
        tighten(&mut rules, 1.0);
        assert_eq!(rules.services(), before);
        tighten(&mut rules, 0.5);
        let web = &rules.services()[1].protection;
        assert_eq!(web.limit.packets, Some(Rate::per_second(1_000)));
        assert_eq!(
            (web.limit.packets_burst, web.limit.bytes),
            (Some(4_000), Some(Rate::of_bytes("500 kB/s").unwrap()))
        );
        assert_eq!(web.class["inside"].limit.unwrap().packets, Some(Rate::per_second(4_000)));
        assert_eq!((web.aggregate, web.mode), (before[1].protection.aggregate, before[1].protection.mode));
    }
}
