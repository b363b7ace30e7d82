//! The kernel's table of containments, and how the desired ones get into it.
//!
//! In: containments by subject. Out: the table holds them, or an error and it holds what it held. The name of a workload
//! stands for its cgroups as they are now; they are looked for again as workloads come and go.

use std::collections::BTreeMap;

use anyhow::Result;
use datapath::{BanError, Kernel};
use jiff::{SignedDuration, Timestamp};
use monitor_common::bucket::{Rate, RateError};
use monitor_common::containment;
use monitor_common::flow::BanKey;
use monitor_common::plain::Plain as _;
use monitor_common::rule::{BYTES, PACKETS, mode};

use super::address::key;
use super::delta::Containments;
use super::ports::Turn;
use super::response;
use super::steps::move_end;
use crate::snapshot::Count;
use crate::store::Storage;
use api::containments::{Containment, Subject};
use api::{Code, Error};
use policy::config::{self, Mode};

/// Where the containments lie in the store.
const AREA: &str = "engine";
const CONTAINMENTS: &str = "containments";

/// What the table holds, by key; `None` what an earlier daemon left there.
type Written = BTreeMap<(u64, u64), Option<Containment>>;

/// The table as it was last written.
#[derive(Debug, Default)]
pub struct Contained(Written);

/// How a containment works at present.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effectiveness {
    /// False for a workload that is not running.
    pub in_force: bool,
    pub judged: Count,
    pub over: Count,
}

impl Contained {
    /// As an earlier daemon left it.
    pub fn found(kernel: &dyn Kernel) -> Result<Self> {
        Ok(Self(kernel.contained()?.into_iter().map(|(key, _)| ((key.high, key.low), None)).collect()))
    }

    /// The wall clock was set; the table is on the kernel's own clock and stays as it is.
    pub fn move_ends(&mut self, by: SignedDuration) {
        let ends = self.0.values_mut().flatten().filter_map(|one| one.until.as_mut());
        ends.for_each(|end| move_end(end, by));
    }

    /// Entries of the table.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What the table says of one containment.
    pub fn effectiveness(
        &self,
        containment: &Containment,
        table: &[(BanKey, containment::Containment)],
    ) -> Effectiveness {
        let keys = self.0.iter().filter(|(_, written)| written.as_ref() == Some(containment));
        let keys: Vec<_> = keys.map(|(key, _)| *key).collect();
        let mut sum = Effectiveness { in_force: !keys.is_empty(), ..Effectiveness::default() };
        for (_, value) in table.iter().filter(|(key, _)| keys.contains(&(key.high, key.low))) {
            sum.judged.packets += value.judged.packets;
            sum.judged.bytes += value.judged.bytes;
            sum.over.packets += value.over.packets;
            sum.over.bytes += value.over.bytes;
        }
        sum
    }

    /// Makes the table hold `next`; when it cannot, it holds what it held.
    pub fn write(&mut self, next: &Containments, turn: &mut Turn<'_>) -> Result<(), Error> {
        let wanted = wanted(next, turn);
        if wanted == self.0 {
            return Ok(());
        }
        let before = self.0.clone();
        if let Err(error) = self.bring_to(&wanted, &mut *turn.kernel) {
            if let Err(again) = self.bring_to(&before, &mut *turn.kernel) {
                tracing::error!("put the containments back: {again}");
            }
            return Err(error);
        }
        Ok(())
    }

    fn bring_to(&mut self, wanted: &Written, kernel: &mut dyn Kernel) -> Result<(), Error> {
        let gone: Vec<_> = self.0.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for place @ (high, low) in gone {
            kernel.release(BanKey { high, low }).map_err(|error| Error::failed(&error))?;
            self.0.remove(&place);
        }
        for (place @ (high, low), containment) in wanted {
            if self.0.get(place) == Some(containment) {
                continue;
            }
            // What an earlier daemon left is only ever in `before`, when a failure is undone, and stays as it was.
            let Some(containment) = containment else { continue };
            let value = compiled(containment, kernel)?;
            kernel.contain(BanKey { high: *high, low: *low }, value).map_err(|error| match error {
                BanError::Full(capacity) => Error::new(
                    Code::Full,
                    format!("the table of containments is full ({capacity} entries), so nothing was changed"),
                )
                .next("lift some; `sluice contain` lists them"),
                BanError::Failed(error) => {
                    Error::failed(&error.context(format!("contain {}", containment.subject)))
                }
            })?;
            self.0.insert(*place, Some(containment.clone()));
        }
        Ok(())
    }
}

fn wanted(next: &Containments, turn: &mut Turn<'_>) -> Written {
    let mut wanted = Written::new();
    for (subject, containment) in next {
        let keys: Vec<BanKey> = match subject {
            Subject::Source(source) => vec![key(source.network())],
            Subject::Workload(name) => {
                turn.host.cgroups(name).into_iter().map(containment::workload).collect()
            }
        };
        wanted.extend(keys.into_iter().map(|key| ((key.high, key.low), Some(containment.clone()))));
    }
    wanted
}

fn compiled(one: &Containment, kernel: &dyn Kernel) -> Result<containment::Containment, Error> {
    let tick = kernel.environment().tick_ns;
    let mut value = containment::Containment::zeroed();
    value.until = one.until.map_or(u64::MAX, |until| kernel.clock(until));
    value.mode = if one.mode == Mode::Enforce { mode::ENFORCE } else { mode::OBSERVE };
    value.cut_off = u32::from(one.packets.is_none() && one.bytes.is_none());
    value.spares_answers = u32::from(one.made_by == response::MADE_BY);
    for (dimension, rate) in [(PACKETS, one.packets), (BYTES, one.bytes)] {
        if let Some(per_second) = rate {
            value.rates[dimension] = rate_of(per_second, tick)?;
        }
    }
    Ok(value)
}

/// A rate with the burst of a second, or the smallest that the kernel's tick allows.
fn rate_of(rate: config::Rate, tick_ns: u64) -> Result<Rate, Error> {
    let period = rate.period.nanoseconds();
    let second = (u128::from(rate.amount) * 1_000_000_000).div_ceil(u128::from(period));
    let burst = u64::try_from(second).unwrap_or(u64::MAX);
    let made = match Rate::per(rate.amount, period, burst, tick_ns) {
        Err(RateError::BurstBelowTick(smallest)) => Rate::per(rate.amount, period, smallest, tick_ns),
        other => other,
    };
    made.map_err(|error| Error::new(Code::Invalid, format!("a rate of {rate}: {error:?}")))
}

/// Keeps the containments for the next start.
pub fn keep(containments: &Containments, turn: &mut Turn<'_>) {
    let all: Vec<&Containment> = containments.values().collect();
    let kept = serde_json::to_vec(&all)
        .map_err(Into::into)
        .and_then(|bytes| turn.store.learn(AREA, &[(CONTAINMENTS, bytes.as_slice())], turn.now.wall));
    turn.problems.report("keep the containments", kept);
}

/// Containments outlive the daemon until they end or are lifted.
pub fn kept(store: &dyn Storage, now: Timestamp) -> Result<Containments> {
    let Some(bytes) = store.learned_one(AREA, CONTAINMENTS)? else {
        return Ok(Containments::new());
    };
    let all: Vec<Containment> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!("the stored containments cannot be read ({error}), so nobody is contained");
        Vec::new()
    });
    let alive = all.into_iter().filter(|one| one.until.is_none_or(|until| until > now));
    Ok(alive.map(|one| (one.subject.clone(), one)).collect())
}
