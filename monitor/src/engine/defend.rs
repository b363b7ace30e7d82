//! The defence ladder inside the engine: the host's load in, tightened rules out.
//!
//! In: `/proc/stat` and `/proc/net/softnet_stat`, once a second while the ladder is switched on. Out: the rules with every
//! limit of a source multiplied by the rung's factor. What was decided (`standing`) never changes: a rung is no decision.

use std::fs;
use std::time::Instant;

use super::Engine;
use super::answer::Asking;
use super::sources::float;
use policy::config::{Limits, Rate};
use policy::{LimitKind, LimitName, Rules};
use tuning::defence::Load;

/// The kernel's figures at the last look.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// Softirq and all time by CPU, in clock ticks.
    cpus: Vec<(u64, u64)>,
    backlog_drops: u64,
    at: Option<Instant>,
    began: Option<Instant>,
}

impl Engine {
    /// Looks at the load, and climbs or descends.
    pub(super) fn defend(&mut self, instant: Instant) {
        if !self.tuner.parameters().defence.enabled && self.tuner.defence().0 == 0 {
            return;
        }
        let flood = self.interfaces().iter().any(|interface| interface.flood.active);
        let load = Load { flood, ..self.loads.measure(instant) };
        let now = (instant - *self.loads.began.get_or_insert(instant)).as_secs_f64();
        let Some(change) = self.tuner.defend(now, load) else { return };
        tracing::warn!("{}", change.sentence());
        let asking = Asking::daemon("defence").because(serde_json::to_value(&change).ok());
        self.note(&asking, &change.sentence());
        let standing = self.standing.clone();
        self.fallible("defence", |engine| Ok(engine.install(standing)?));
        match self.tuner.defence() {
            (0, _) => drop(self.problems.remove("defence rung")),
            (rung, factor) => {
                let told =
                    format!("overload: defence rung {rung}, limits of sources are multiplied by {factor}");
                self.problems.insert("defence rung", told);
            }
        }
    }
}

impl Loads {
    fn measure(&mut self, instant: Instant) -> Load {
        let cpus = softirq_times(&fs::read_to_string("/proc/stat").unwrap_or_default());
        let drops = backlog_drops(&fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default());
        let passed = self.at.map_or(0.0, |at| (instant - at).as_secs_f64());
        let share = |(new, old): (&(u64, u64), &(u64, u64))| {
            let all = new.1.saturating_sub(old.1);
            if all == 0 { 0.0 } else { float(new.0.saturating_sub(old.0)) / float(all) }
        };
        let load = if passed > 0.0 {
            Load {
                softirq_share: cpus.iter().zip(&self.cpus).map(share).fold(0.0, f64::max),
                backlog_drops_per_second: float(drops.saturating_sub(self.backlog_drops)) / passed,
                flood: false,
            }
        } else {
            Load::default()
        };
        (self.cpus, self.backlog_drops, self.at) = (cpus, drops, Some(instant));
        load
    }
}

/// By CPU: the seventh figure (softirq) and the sum of the first eight (guests are counted in user time already).
fn softirq_times(stat: &str) -> Vec<(u64, u64)> {
    let cpus = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    cpus.map(|line| {
        let figures: Vec<u64> =
            line.split_ascii_whitespace().skip(1).take(8).filter_map(|figure| figure.parse().ok()).collect();
        (figures.get(6).copied().unwrap_or(0), figures.iter().sum())
    })
    .collect()
}

/// The second figure of each line, in hexadecimal: packets that found the backlog full.
fn backlog_drops(softnet: &str) -> u64 {
    let second = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
    softnet.lines().filter_map(second).sum()
}

/// Multiplies every rate of a source's limit by `factor`. Bursts that were named stay.
pub(super) fn tighten(rules: &mut Rules, factor: f64) {
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
        ..limits
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use policy::config::Config;

    #[test]
    fn softirq_time_and_backlog_drops_are_read_as_the_kernel_writes_them() {
        let stat =
            "cpu  10 0 10 70 0 0 10 0 0 0\ncpu0 5 0 5 35 0 0 5 0 0 0\ncpu1 5 0 5 35 0 0 5 0 7 0\nintr 5\n";
        assert_eq!(softirq_times(stat), [(5, 50), (5, 50)]);
        let softnet = "0000a000 0000000a 00000000 00000000\n0000b000 00000010 00000000\n";
        assert_eq!(backlog_drops(softnet), 26);
        assert_eq!(backlog_drops("nonsense"), 0);
    }

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
