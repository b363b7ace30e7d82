//! A limit on trial beside the one in force: what it would have dropped so far, and from whom.
//!
//! In: the same samples that teach, with the kernel's count of would-be drops. Out: a report. Calm times and attacks are
//! told apart: a candidate that drops only during a flood is a good one.

use std::net::IpAddr;

use monitor_common::flow::Address;
use serde::{Deserialize, Serialize};

use super::learner::{Sample, Subject, Tick};
use super::proposal::Limits;

/// Sources that a trial remembers.
const MOST_SOURCES: usize = 64;

/// All trials that run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trials {
    running: Vec<Trial>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trial {
    subject: Subject,
    limits: Limits,
    /// Unix seconds.
    since: i64,
    calm: Count,
    trouble: Count,
    /// In calm times: would-be drops by source, largest kept (space-saving, Metwally et al. 2005).
    sources: Vec<(Address, u64)>,
    protected: Vec<(Address, u64)>,
}

/// What passed by a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Count {
    pub seconds: f64,
    pub packets: u64,
    pub would_drop: u64,
}

/// What a trial has shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Report {
    #[serde(flatten)]
    pub subject: Subject,
    pub limits: Limits,
    pub since: i64,
    pub calm: Count,
    /// During floods and open alerts, and from flagged sources.
    pub trouble: Count,
    /// Sources that would have lost packets in calm times, most first.
    pub sources: Vec<WouldDrop>,
    /// Exempt, operator and monitoring addresses among them.
    pub locked_out: Vec<WouldDrop>,
}

/// One source's would-be drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WouldDrop {
    pub source: IpAddr,
    pub packets: u64,
}

impl Trials {
    /// Begins a trial, or begins it anew with other limits. The same limits go on counting.
    pub fn begin(&mut self, subject: &Subject, limits: Limits, now: i64) {
        if self.running.iter().any(|trial| trial.subject == *subject && trial.limits == limits) {
            return;
        }
        self.end(subject);
        self.running.push(Trial {
            subject: subject.clone(),
            limits,
            since: now,
            calm: Count::default(),
            trouble: Count::default(),
            sources: Vec::new(),
            protected: Vec::new(),
        });
    }

    /// Ends a trial; says whether there was one.
    pub fn end(&mut self, subject: &Subject) -> bool {
        let before = self.running.len();
        self.running.retain(|trial| trial.subject != *subject);
        before != self.running.len()
    }

    /// Ends the trials of limits that are no longer there.
    pub fn retain(&mut self, keep: impl Fn(&Subject) -> bool) {
        self.running.retain(|trial| keep(&trial.subject));
    }

    /// Whether anything runs: without, samples need not be looked at.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Counts the samples of one tick that belong to `subject`.
    pub fn observe<'a>(
        &mut self,
        tick: Tick,
        subject: &Subject,
        samples: impl IntoIterator<Item = &'a Sample>,
    ) {
        let Some(trial) = self.running.iter_mut().find(|trial| trial.subject == *subject) else { return };
        let is_calm = !tick.flood && !tick.alert;
        if is_calm {
            trial.calm.seconds += tick.seconds;
        } else {
            trial.trouble.seconds += tick.seconds;
        }
        for sample in samples {
            let is_calm = is_calm && !sample.flagged;
            let count = if is_calm { &mut trial.calm } else { &mut trial.trouble };
            count.packets += sample.packets;
            count.would_drop += sample.trial_drops;
            if is_calm && sample.trial_drops > 0 {
                let list = if sample.protected { &mut trial.protected } else { &mut trial.sources };
                add(list, sample.source, sample.trial_drops);
            }
        }
    }

    /// What a trial has shown so far.
    pub fn report(&self, subject: &Subject) -> Option<Report> {
        let trial = self.running.iter().find(|trial| trial.subject == *subject)?;
        let told = |list: &[(Address, u64)]| {
            let mut list: Vec<_> = list
                .iter()
                .map(|(source, packets)| WouldDrop {
                    source: std::net::Ipv6Addr::from(*source).to_canonical(),
                    packets: *packets,
                })
                .collect();
            list.sort_by(|a, b| b.packets.cmp(&a.packets).then(a.source.cmp(&b.source)));
            list
        };
        Some(Report {
            subject: trial.subject.clone(),
            limits: trial.limits,
            since: trial.since,
            calm: trial.calm,
            trouble: trial.trouble,
            sources: told(&trial.sources),
            locked_out: told(&trial.protected),
        })
    }

    /// Every service and class on trial.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.running.iter().map(|trial| &trial.subject)
    }
}

fn add(list: &mut Vec<(Address, u64)>, source: Address, drops: u64) {
    if let Some((_, known)) = list.iter_mut().find(|(known, _)| *known == source) {
        *known += drops;
    } else if list.len() < MOST_SOURCES {
        list.push((source, drops));
    } else if let Some((least, count)) = list.iter_mut().min_by_key(|(_, count)| *count) {
        // The newcomer takes over the count of the one it replaces: too much by at most that, never too little.
        *least = source;
        *count += drops;
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::flow::mapped;

    use super::*;

    fn subject() -> Subject {
        Subject { service: "web".to_owned(), class: "outside".to_owned() }
    }

    fn sample(host: u8, trial_drops: u64) -> Sample {
        Sample {
            service: 1,
            class: 0,
            source: mapped([192, 0, 2, host]),
            packets: 100,
            bytes: 10_000,
            connections: 0,
            dropped: 0,
            trial_drops,
            flagged: false,
            protected: host == 9,
            established: false,
        }
    }

    #[test]
    fn calm_times_and_floods_are_told_apart_and_sources_named() {
        let mut trials = Trials::default();
        trials.begin(&subject(), Limits::default(), 100);
        let calm = Tick { at: 101, seconds: 1.0, flood: false, alert: false };
        trials.observe(calm, &subject(), &[sample(1, 5), sample(2, 7), sample(3, 0), sample(9, 1)]);
        trials.observe(Tick { flood: true, ..calm }, &subject(), &[sample(4, 90)]);
        let report = trials.report(&subject()).unwrap();
        assert_eq!((report.calm.packets, report.calm.would_drop), (400, 13));
        assert_eq!((report.trouble.packets, report.trouble.would_drop), (100, 90));
        let named: Vec<_> = report.sources.iter().map(|hit| (hit.source.to_string(), hit.packets)).collect();
        assert_eq!(named, [("192.0.2.2".to_owned(), 7), ("192.0.2.1".to_owned(), 5)]);
        assert_eq!(report.locked_out.len(), 1);
    }

    #[test]
    fn other_limits_begin_anew_and_the_same_go_on() {
        let mut trials = Trials::default();
        trials.begin(&subject(), Limits::default(), 100);
        trials.begin(&subject(), Limits::default(), 200);
        assert_eq!(trials.report(&subject()).unwrap().since, 100);
        let other = Limits {
            packets: Some(super::super::proposal::Limit { per_second: 1, burst: 1 }),
            ..Limits::default()
        };
        trials.begin(&subject(), other, 300);
        assert_eq!(trials.report(&subject()).unwrap().since, 300);
        assert!(trials.end(&subject()) && trials.is_empty());
    }

    #[test]
    fn the_worst_hit_are_kept_when_there_are_too_many() {
        let mut list = Vec::new();
        for round in 0..50 {
            add(&mut list, mapped([10, 0, 0, 1]), 100);
            for host in 0..200u32 {
                add(&mut list, mapped([10, 1, round, u8::try_from(host).unwrap()]), 1);
            }
        }
        assert_eq!(list.len(), MOST_SOURCES);
        assert!(list.iter().any(|(source, packets)| *source == mapped([10, 0, 0, 1]) && *packets >= 5_000));
    }
}
