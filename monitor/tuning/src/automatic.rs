//! Steps that tuning takes by itself: inside a floor and a ceiling, at most one factor at a time, with an interval, a
//! settling time and hysteresis between.
//!
//! In: the limit in force, the advice, the clock and what freezes. Out: a decision per dimension that says why. It applies
//! nothing. Whatever an attacker teaches, after time `t` a limit is at most its start times
//! `largest_step ^ (1 + t / interval)`, and never raised above the ceiling.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::learner::{Freeze, Subject};
use super::parameters::Auto;
use super::proposal::{Advice, Dimension, Limits};
use super::week::LEARNED;
use super::{real, whole};

/// Memory of the controller over all limits; kept in the store, so that a restart hurries nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Automatic {
    limits: Vec<(Subject, [Track; LEARNED])>,
}

/// One dimension of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Track {
    /// Unix seconds.
    last_step: Option<i64>,
    /// Which way the proposal points without a break, and since when.
    pointing: Option<(Direction, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
}

/// What is done about one dimension of one limit, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Decision {
    /// There is no limit in force or no ceiling: tuning never makes one by itself.
    NotTuned,
    Frozen {
        why: Freeze,
    },
    TooLittleData,
    /// A rise that too few sources ask for.
    TooFewSources {
        have: f64,
        need: u32,
    },
    /// It would hit exempt, operator or monitoring addresses.
    WouldLockOut {
        sources: Vec<String>,
    },
    /// The limit is as it should be.
    Steady,
    /// The proposal has to keep pointing this way until then.
    Settling {
        direction: Direction,
        until: i64,
    },
    /// The last step is too fresh.
    Waiting {
        direction: Direction,
        until: i64,
    },
    Step {
        from: u64,
        to: u64,
        target: u64,
    },
}

impl Decision {
    /// The value of the metric's `state` label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotTuned => "not_tuned",
            Self::Frozen { why: Freeze::Flood } => "frozen_flood",
            Self::Frozen { why: Freeze::Alert } => "frozen_alert",
            Self::Frozen { why: Freeze::Thawing } => "thawing",
            Self::TooLittleData => "too_little_data",
            Self::TooFewSources { .. } => "too_few_sources",
            Self::WouldLockOut { .. } => "would_lock_out",
            Self::Steady => "steady",
            Self::Settling { .. } => "settling",
            Self::Waiting { .. } => "waiting",
            Self::Step { .. } => "step",
        }
    }
}

impl Automatic {
    /// Decides about every dimension of one limit at `now` (Unix seconds). A [`Decision::Step`] counts as taken.
    pub fn decide(
        &mut self,
        now: i64,
        subject: &Subject,
        current: Limits,
        advice: &Advice,
        freeze: Option<Freeze>,
        (rules, least_sources): (&Auto, u32),
    ) -> [Decision; LEARNED] {
        let tracks = self.tracks(subject);
        let current = current.by_dimension();
        std::array::from_fn(|dimension| {
            let (floor, ceiling) = rules.bounds(dimension);
            let (Some(current), Some(ceiling)) = (current[dimension], ceiling) else {
                return Decision::NotTuned;
            };
            let track = &mut tracks[dimension];
            track.repair(now);
            let obstacle = match (freeze, advice) {
                (Some(why), _) => Some(Decision::Frozen { why }),
                (None, Advice::TooLittleData(_)) => Some(Decision::TooLittleData),
                (None, Advice::Proposal(_)) => None,
            };
            if let Some(obstacle) = obstacle {
                // What it pointed to before counts no more.
                track.pointing = None;
                return obstacle;
            }
            let Advice::Proposal(proposal) = advice else { return Decision::TooLittleData };
            let Some(told) = proposal.by_dimension()[dimension] else { return Decision::TooLittleData };
            let bounds = (floor.unwrap_or(1).max(1), ceiling);
            let decision = track.decide(now, current.per_second, told, bounds, rules, least_sources);
            match decision {
                Decision::Step { from, to, .. } if to < from && !proposal.locked_out.is_empty() => {
                    let sources = proposal.locked_out.iter().map(|hit| hit.source.to_string()).collect();
                    Decision::WouldLockOut { sources }
                }
                Decision::Step { .. } => {
                    track.last_step = Some(now);
                    decision
                }
                other => other,
            }
        })
    }

    /// Forgets limits that are no more.
    pub fn retain(&mut self, keep: impl Fn(&Subject) -> bool) {
        self.limits.retain(|(subject, _)| keep(subject));
    }

    fn tracks(&mut self, subject: &Subject) -> &mut [Track; LEARNED] {
        let position = self.limits.iter().position(|(known, _)| known == subject).unwrap_or_else(|| {
            self.limits.push((subject.clone(), <[Track; LEARNED]>::default()));
            self.limits.len() - 1
        });
        &mut self.limits[position].1
    }
}

impl Track {
    /// Times from the future (a clock that was set back) count as now: the longest wait, never none.
    fn repair(&mut self, now: i64) {
        self.last_step = self.last_step.map(|last| last.min(now));
        self.pointing = self.pointing.map(|(direction, since)| (direction, since.min(now)));
    }

    fn decide(
        &mut self,
        now: i64,
        current: u64,
        told: &Dimension,
        (floor, ceiling): (u64, u64),
        rules: &Auto,
        least_sources: u32,
    ) -> Decision {
        let target = told.limit.per_second.min(ceiling).max(floor);
        let direction = if target > current { Direction::Up } else { Direction::Down };
        if (real(target) / real(current) - 1.0).abs() < rules.hysteresis {
            self.pointing = None;
            return Decision::Steady;
        }
        // A tenth less: three that share the time unevenly are still three.
        if direction == Direction::Up && told.carriers < f64::from(least_sources) * 0.9 {
            self.pointing = None;
            return Decision::TooFewSources { have: told.carriers, need: least_sources };
        }
        let since = match self.pointing {
            Some((known, since)) if known == direction => since,
            _ => now,
        };
        self.pointing = Some((direction, since));
        let minutes = |minutes: u64| i64::try_from(minutes.saturating_mul(60)).unwrap_or(i64::MAX);
        let settled = since.saturating_add(minutes(rules.settle_minutes));
        if now < settled {
            return Decision::Settling { direction, until: settled };
        }
        let free = self.last_step.map_or(now, |last| last.saturating_add(minutes(rules.interval_minutes)));
        if now < free {
            return Decision::Waiting { direction, until: free };
        }
        // Rounded toward the limit in force: never a larger step than allowed.
        let to = match direction {
            Direction::Up => target.min(whole((real(current) * rules.largest_step).floor())),
            Direction::Down => target.max(whole((real(current) / rules.largest_step).ceil())),
        };
        if to == current { Decision::Steady } else { Decision::Step { from: current, to, target } }
    }
}

impl Auto {
    /// Floor and ceiling of a dimension.
    pub fn bounds(&self, dimension: usize) -> (Option<u64>, Option<u64>) {
        let of = |bounds: &super::Bounds| {
            [bounds.packets_per_second, bounds.bytes_per_second, bounds.connections_per_second]
                .get(dimension)
                .copied()
                .flatten()
        };
        (of(&self.floor), of(&self.ceiling))
    }
}

/// Decisions by service, class and dimension, for metrics.
pub type Decisions = BTreeMap<Subject, [Decision; LEARNED]>;
