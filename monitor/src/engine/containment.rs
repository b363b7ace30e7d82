//! `contain`: the limit of one source's or one workload's own, on everything it sends, with an end.
//!
//! In: subjects and rates. Out: deltas for `change`, what the kernel's table shall hold, and the list as it works. The
//! name of a workload stands for its cgroups as they are now; they are looked for again as workloads come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::bucket::{Rate, RateError};
use monitor_common::containment;
use monitor_common::flow::BanKey;
use monitor_common::plain::Plain as _;
use monitor_common::rule::{BYTES, PACKETS, mode};

use super::Engine;
use super::answer::Asking;
use super::command::Applied;
use super::command::containment::{Contained, Containment, ContainmentList, ContainmentSet, Subject};
use super::delta::{ContainmentSetting, Containments, Delta};
use super::kernel::BanError;
use super::refusal::{Code, Refusal};
use crate::snapshot::Count;
use policy::config::{self, Mode};

/// Where the containments lie in the store.
pub(super) const AREA: &str = "engine";
pub(super) const CONTAINMENTS: &str = "containments";

/// What the kernel's table holds, by key; `None` what an earlier daemon left there.
pub(super) type Written = BTreeMap<(u64, u64), Option<Containment>>;

impl Engine {
    pub(super) fn contain(&mut self, asking: &Asking, set: &ContainmentSet) -> Result<Applied, Refusal> {
        let subject = self.contained_subject(&set.subject)?;
        let nothing = |rate: Option<config::Rate>| rate.is_some_and(|rate| rate.amount == 0);
        if nothing(set.packets) || nothing(set.bytes) || set.for_seconds == Some(0) {
            return Err(Refusal::new(Code::Invalid, "a rate or a duration of nothing")
                .next("leave the rates out to cut the subject off, or name more"));
        }
        let now = Timestamp::now();
        let until = set.for_seconds.and_then(|time| now.checked_add(Duration::from_secs(time)).ok());
        let containment = Containment {
            subject: subject.clone(),
            packets: set.packets,
            bytes: set.bytes,
            mode: if set.observe { Mode::Observe } else { Mode::Enforce },
            since: now,
            until,
            comment: set.comment.clone(),
            made_by: asking.made_by(),
        };
        let exempt = match &subject {
            Subject::Source(source) => self.exempting(*source, now).is_some(),
            Subject::Workload(_) => false,
        };
        let known = match &subject {
            Subject::Source(_) => true,
            Subject::Workload(name) => !self.watch.workloads.numbers(name, Instant::now()).is_empty(),
        };
        let what = format!("contain {subject}");
        let delta = of(subject.clone(), Some(containment));
        let mut applied = self.make(asking, &what, delta)?;
        if exempt {
            applied.warnings.push(format!("{subject} is exempt, and an exemption goes before a containment"));
        }
        if !known {
            applied.warnings.push(format!(
                "no workload called {subject} runs at present; it is contained as soon as it does"
            ));
        }
        if self.guarded.iter().all(|row| !row.egress) && matches!(subject, Subject::Workload(_)) {
            applied.warnings.push(
                "no interface's egress is followed (interfaces.egress), so no workload is held".to_owned(),
            );
        }
        Ok(applied)
    }

    pub(super) fn lift(&mut self, asking: &Asking, subject: &str) -> Result<Applied, Refusal> {
        let subject = self.contained_subject(subject)?;
        if !self.standing.containments.contains_key(&subject) {
            return Err(Refusal::new(Code::NotFound, format!("{subject} is not contained"))
                .next("`sluice contain` lists who is"));
        }
        self.make(asking, &format!("lift the containment of {subject}"), of(subject, None))
    }

    pub(super) fn list_containments(&self) -> Result<ContainmentList, Refusal> {
        let table = self.kernel.contained().map_err(|error| Refusal::failed(&error))?;
        let containments = self.standing.containments.values().map(|containment| {
            let keys = self.written.iter().filter(|(_, written)| written.as_ref() == Some(containment));
            let keys: Vec<_> = keys.map(|(key, _)| *key).collect();
            let (mut judged, mut over) = (Count::default(), Count::default());
            for (_, value) in table.iter().filter(|(key, _)| keys.contains(&(key.high, key.low))) {
                judged.packets += value.judged.packets;
                judged.bytes += value.judged.bytes;
                over.packets += value.over.packets;
                over.bytes += value.over.bytes;
            }
            Contained { containment: containment.clone(), in_force: !keys.is_empty(), judged, over }
        });
        Ok(ContainmentList { containments: containments.collect() })
    }

    /// The containment that holds a source.
    pub(super) fn containing(&self, source: IpNet) -> Option<&Containment> {
        self.standing.containments.get(&Subject::Source(source))
    }

    fn contained_subject(&self, text: &str) -> Result<Subject, Refusal> {
        let subject = text.parse::<Subject>().map_err(|why| Refusal::new(Code::Invalid, why))?;
        match subject {
            Subject::Source(prefix) => self.one_source(prefix, "a containment").map(Subject::Source),
            workload @ Subject::Workload(_) => Ok(workload),
        }
    }

    /// Makes the kernel's table hold what `next` says; when it cannot, it holds what it held.
    pub(super) fn write_containments(&mut self, next: &Containments) -> Result<(), Refusal> {
        let wanted = self.wanted_containments(next);
        if wanted == self.written {
            return Ok(());
        }
        let before = self.written.clone();
        if let Err(refusal) = self.bring_containments_to(&wanted) {
            if let Err(again) = self.bring_containments_to(&before) {
                tracing::error!("put the containments back: {again}");
            }
            return Err(refusal);
        }
        Ok(())
    }

    fn wanted_containments(&mut self, next: &Containments) -> Written {
        let now = Instant::now();
        let mut wanted = Written::new();
        for (subject, containment) in next {
            let keys: Vec<BanKey> = match subject {
                Subject::Source(source) => vec![super::install::key(source.network())],
                Subject::Workload(name) => {
                    let numbers = self.watch.workloads.numbers(name, now);
                    numbers.into_iter().map(containment::workload).collect()
                }
            };
            wanted.extend(keys.into_iter().map(|key| ((key.high, key.low), Some(containment.clone()))));
        }
        wanted
    }

    fn bring_containments_to(&mut self, wanted: &Written) -> Result<(), Refusal> {
        let gone: Vec<_> = self.written.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for place @ (high, low) in gone {
            self.kernel.release(BanKey { high, low }).map_err(|error| Refusal::failed(&error))?;
            self.written.remove(&place);
        }
        for (place @ (high, low), containment) in wanted {
            if self.written.get(place) == Some(containment) {
                continue;
            }
            // What an earlier daemon left is only ever in `before`, when a failure is undone, and stands as it was.
            let Some(containment) = containment else { continue };
            let value = self.kernel_containment(containment)?;
            self.kernel.contain(BanKey { high: *high, low: *low }, value).map_err(|error| match error {
                BanError::Full(capacity) => Refusal::new(
                    Code::Full,
                    format!("the table of containments is full ({capacity} entries), so nothing was changed"),
                )
                .next("lift some; `sluice contain` lists them"),
                BanError::Failed(error) => {
                    Refusal::failed(&error.context(format!("contain {}", containment.subject)))
                }
            })?;
            self.written.insert(*place, Some(containment.clone()));
        }
        Ok(())
    }

    fn kernel_containment(&self, told: &Containment) -> Result<containment::Containment, Refusal> {
        let tick = self.kernel.environment().tick_ns;
        let mut value = containment::Containment::zeroed();
        value.until = told.until.map_or(u64::MAX, |until| self.kernel.clock(until));
        value.mode = if told.mode == Mode::Enforce { mode::ENFORCE } else { mode::OBSERVE };
        value.cut_off = u32::from(told.packets.is_none() && told.bytes.is_none());
        for (dimension, rate) in [(PACKETS, told.packets), (BYTES, told.bytes)] {
            if let Some(per_second) = rate {
                value.rates[dimension] = rate_of(per_second, tick)?;
            }
        }
        Ok(value)
    }

    /// Workloads come and go: their cgroups are looked for again, and what ended meanwhile is kept no longer.
    pub(super) fn follow_containments(&mut self) {
        let workloads =
            self.standing.containments.keys().any(|subject| matches!(subject, Subject::Workload(_)));
        if workloads {
            self.rewrite_containments();
        }
    }

    /// Makes the kernel's table hold what stands.
    pub(super) fn rewrite_containments(&mut self) {
        let standing = self.standing.containments.clone();
        self.fallible("containments", |engine| Ok(engine.write_containments(&standing)?));
    }

    /// Keeps what stands, for the next start.
    pub(super) fn keep_containments(&mut self) {
        self.fallible("keep the containments", |engine| {
            let all: Vec<&Containment> = engine.standing.containments.values().collect();
            let bytes = serde_json::to_vec(&all)?;
            engine.store.learn(AREA, [(CONTAINMENTS, bytes.as_slice())], Timestamp::now())
        });
    }
}

/// A change of one containment.
pub(super) fn of(subject: Subject, containment: Option<Containment>) -> Delta {
    Delta { containments: vec![ContainmentSetting { subject, containment }], ..Delta::default() }
}

/// A rate with the burst of a second, or the smallest that the kernel's tick allows.
fn rate_of(rate: config::Rate, tick_ns: u64) -> Result<Rate, Refusal> {
    let period = rate.period.nanoseconds();
    let second = (u128::from(rate.amount) * 1_000_000_000).div_ceil(u128::from(period));
    let burst = u64::try_from(second).unwrap_or(u64::MAX);
    let made = match Rate::per(rate.amount, period, burst, tick_ns) {
        Err(RateError::BurstBelowTick(smallest)) => Rate::per(rate.amount, period, smallest, tick_ns),
        other => other,
    };
    made.map_err(|error| Refusal::new(Code::Invalid, format!("a rate of {rate}: {error:?}")))
}
