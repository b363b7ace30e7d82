//! From a profile to a proposed limit, with the evidence, what it would have cut off and whom.
//!
//! A limit holds all week, so it is made for the busiest hour: the largest of the hours' quantiles, times the headroom.
//! Hours with too few observations for the quantile are put together and count as one. Too little data is an answer of its
//! own, never a guess.

use std::net::IpAddr;

use monitor_common::rule::{BYTES, CONNECTIONS, PACKETS};
use serde::{Deserialize, Serialize};

use super::busiest::{Busiest, Peak};
use super::learner::{Profile, Subject};
use super::parameters::Parameters;
use super::quantiles::{Excess, Quantiles, RELATIVE_ERROR};
use super::week::{Distributions, HOURS, LEARNED, name_of};
use super::{real, whole};

/// What is asked: left out, the configuration's word for the service holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Aim {
    pub quantile: Option<f64>,
    pub headroom: Option<f64>,
}

/// A rate per second with its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Limit {
    pub per_second: u64,
    pub burst: u64,
}

/// One limit per learned dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Limits {
    pub packets: Option<Limit>,
    pub bytes: Option<Limit>,
    pub connections: Option<Limit>,
}

impl Limits {
    /// By dimension, as in [`monitor_common::rule`].
    pub const fn by_dimension(&self) -> [Option<Limit>; LEARNED] {
        [self.packets, self.bytes, self.connections]
    }

    pub const fn from_dimensions([packets, bytes, connections]: [Option<Limit>; LEARNED]) -> Self {
        Self { packets, bytes, connections }
    }
}

/// What tuning has to say about one service and class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Advice {
    Proposal(Box<Proposal>),
    TooLittleData(TooLittle),
}

/// Not enough is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TooLittle {
    #[serde(flatten)]
    pub subject: Subject,
    pub missing: Vec<Missing>,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Missing {
    /// Hours of calm observation.
    LearningHours { have: f64, need: f64 },
    /// Different sources.
    Sources { have: u64, need: u64 },
    /// Seconds in which some source was active; the quantile needs ten beyond it.
    SourceSeconds { have: f64, need: f64 },
}

impl Missing {
    /// For people.
    pub fn sentence(&self) -> String {
        match self {
            Self::LearningHours { have, need } => {
                format!("{have:.2} hours of calm traffic were observed, {need:.2} are needed")
            }
            Self::Sources { have, need } => format!("{have} sources were seen, {need} are needed"),
            Self::SourceSeconds { have, need } => {
                format!("{have:.0} active source-seconds were observed, the quantile needs {need:.0}")
            }
        }
    }
}

/// A proposed limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Proposal {
    #[serde(flatten)]
    pub subject: Subject,
    pub quantile: f64,
    pub headroom: f64,
    pub packets: Option<Dimension>,
    pub bytes: Option<Dimension>,
    pub connections: Option<Dimension>,
    pub evidence: Evidence,
    /// Sources that the proposal could have hit, the largest excess first.
    pub hit: Vec<Hit>,
    /// Whether `hit` names all of them, or only the busiest that are remembered.
    pub hit_is_complete: bool,
    /// Exempt, operator and monitoring addresses that the proposal could have hit: it is not applied with any.
    pub locked_out: Vec<Hit>,
}

/// The proposal for packets, bytes or new connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Dimension {
    pub limit: Limit,
    /// The quantile in the busiest hour, and where it lies by sampling in 95 of 100 cases.
    pub observed: f64,
    pub between: [f64; 2],
    /// "Mon 13:00 UTC"; `None` when it comes from several sparse hours together.
    pub busiest_hour: Option<String>,
    /// The highest second of any source.
    pub highest: f64,
    /// How many sources carry the time spent at the quantile and above (of those remembered): near one, a single source
    /// makes the number.
    pub carriers: f64,
    /// What the proposal would have cut off over the kept (faded) history.
    pub would_have_dropped: Excess,
    /// The same for the limit in force.
    pub current: Option<Current>,
}

/// The limit in force beside the proposal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Current {
    pub limit: Limit,
    pub would_have_dropped: Excess,
}

/// What a proposal rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Evidence {
    /// Different sources in the last one or two half-lives, within about 7 %.
    pub sources: u64,
    /// Hours of the week (of 168) of which anything is known.
    pub hours_covered: u64,
    pub learned_hours: f64,
    /// Active seconds of sources, faded.
    pub source_seconds: f64,
    /// Source-seconds that taught nothing because something was dropped or flagged.
    pub left_out_seconds: f64,
    /// Packets per second over all hours together.
    pub median: f64,
    pub confidence: Confidence,
    /// The sketch's own error, beside `between`.
    pub relative_error: f64,
}

/// How much of a week and how many sources a proposal has seen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Less than a day of different hours.
    Low,
    /// A day of hours.
    Fair,
    /// Nine of ten hours of the week and ten sources.
    High,
}

/// A source that a limit could have hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Hit {
    pub source: IpAddr,
    /// `packets`, `bytes` or `connections`.
    pub dimension: String,
    /// Its highest second.
    pub peak: f64,
    /// When (Unix seconds).
    pub at: i64,
    /// Even a full burst would not have covered that second.
    pub certain: bool,
}

/// Hits that are named.
const MOST_HITS: usize = 64;
/// The dimensions by name.
pub const NAMES: [&str; LEARNED] = ["packets", "bytes", "connections"];

/// Proposes a limit for `subject`, or says what is missing. `current` is the limit in force.
pub fn propose(
    subject: &Subject,
    profile: Option<&Profile>,
    aim: Aim,
    current: Limits,
    parameters: &Parameters,
) -> Advice {
    let (quantile, headroom) = parameters.aim_of(&subject.service);
    let (quantile, headroom) = (aim.quantile.unwrap_or(quantile), aim.headroom.unwrap_or(headroom));
    let nothing = Profile::default();
    let profile = profile.unwrap_or(&nothing);
    let needed = needed(quantile);
    let hours: Vec<Distributions> = (0..HOURS).map(|hour| profile.week.hour(hour)).collect();
    let whole_week = merged(hours.iter());
    let missing = missing(profile, whole_week[PACKETS].weight(), needed, parameters);
    if !missing.is_empty() {
        return Advice::TooLittleData(TooLittle { subject: subject.clone(), missing });
    }
    let sparse = sparse(&hours, needed);
    let mut proposal = Proposal {
        subject: subject.clone(),
        quantile,
        headroom,
        packets: None,
        bytes: None,
        connections: None,
        evidence: evidence(profile, &whole_week),
        hit: Vec::new(),
        hit_is_complete: true,
        locked_out: Vec::new(),
    };
    for dimension in [PACKETS, BYTES, CONNECTIONS] {
        let Some((number, rates, observed)) = busiest_hour(&hours, &sparse, dimension, needed, quantile)
        else {
            continue;
        };
        let per_second = rounded_up(observed * headroom);
        let limit = with_burst(per_second, dimension, parameters.burst_seconds);
        let lists = (&profile.about.busiest[dimension], &profile.about.protected[dimension]);
        hits(&mut proposal, limit, dimension, lists);
        let there = observed * (1.0 - RELATIVE_ERROR);
        let excess = |limit: Limit| whole_week[dimension].excess(real(limit.per_second), real(limit.burst));
        let told = Dimension {
            limit,
            observed,
            between: rates.quantile_between(quantile).unwrap_or([observed; 2]),
            busiest_hour: number.map(name_of),
            highest: whole_week[dimension].highest().unwrap_or(0.0),
            carriers: lists.0.carriers(there) + lists.1.carriers(there),
            would_have_dropped: excess(limit),
            current: current.by_dimension()[dimension]
                .map(|limit| Current { limit, would_have_dropped: excess(limit) }),
        };
        *proposal.dimension_mut(dimension) = Some(told);
    }
    for list in [&mut proposal.hit, &mut proposal.locked_out] {
        list.sort_by(|a, b| b.peak.total_cmp(&a.peak).then_with(|| a.source.cmp(&b.source)));
        list.truncate(MOST_HITS);
    }
    Advice::Proposal(Box::new(proposal))
}

/// The quantile of each dimension in its busiest hour; none while less was learned than a proposal needs.
pub fn usual(profile: &Profile, quantile: f64, parameters: &Parameters) -> Option<[f64; LEARNED]> {
    let needed = needed(quantile);
    let hours: Vec<Distributions> = (0..HOURS).map(|hour| profile.week.hour(hour)).collect();
    let seconds: f64 = hours.iter().map(|hour| hour[PACKETS].weight()).sum();
    if profile.about.learned_seconds / 3_600.0 < parameters.least_learning_hours || seconds < needed * 0.999 {
        return None;
    }
    let sparse = sparse(&hours, needed);
    let of = |dimension| busiest_hour(&hours, &sparse, dimension, needed, quantile).map_or(0.0, |it| it.2);
    Some(std::array::from_fn(of))
}

/// Seconds that a quantile rests on at least.
fn needed(quantile: f64) -> f64 {
    10.0 / (1.0 - quantile).max(1e-9)
}

/// The hours of which too little is known for a quantile, together.
fn sparse(hours: &[Distributions], needed: f64) -> Distributions {
    merged(hours.iter().filter(|hour| hour[PACKETS].weight() < needed))
}

/// The hour with the highest quantile: its number (none for the sparse ones together), its rates and the quantile.
fn busiest_hour<'a>(
    hours: &'a [Distributions],
    sparse: &'a Distributions,
    dimension: usize,
    needed: f64,
    quantile: f64,
) -> Option<(Option<usize>, &'a Quantiles, f64)> {
    let dense = hours.iter().enumerate().filter(|(_, hour)| hour[dimension].weight() >= needed);
    let candidates = dense
        .map(|(number, hour)| (Some(number), &hour[dimension]))
        .chain((sparse[dimension].weight() >= needed).then_some((None, &sparse[dimension])));
    candidates
        .filter_map(|(number, rates)| Some((number, rates, rates.quantile(quantile)?)))
        .max_by(|(_, _, a), (_, _, b)| a.total_cmp(b))
        .filter(|(_, _, observed)| *observed > 0.0)
}

/// The limit of `per_second` with the burst that goes with it. A burst of bytes holds at least sixteen full frames, one of
/// packets sixteen packets, so that no limit chokes on a single exchange.
pub fn with_burst(per_second: u64, dimension: usize, burst_seconds: f64) -> Limit {
    let least = match dimension {
        BYTES => 16 * 1_514,
        PACKETS => 16,
        _ => 4,
    };
    Limit { per_second, burst: whole((real(per_second) * burst_seconds).ceil()).max(least) }
}

impl Proposal {
    /// The proposed limits.
    pub fn limits(&self) -> Limits {
        let limit = |told: &Option<Dimension>| told.as_ref().map(|told| told.limit);
        Limits {
            packets: limit(&self.packets),
            bytes: limit(&self.bytes),
            connections: limit(&self.connections),
        }
    }

    /// By dimension, as in [`monitor_common::rule`].
    pub fn by_dimension(&self) -> [Option<&Dimension>; LEARNED] {
        [self.packets.as_ref(), self.bytes.as_ref(), self.connections.as_ref()]
    }

    fn dimension_mut(&mut self, dimension: usize) -> &mut Option<Dimension> {
        match dimension {
            PACKETS => &mut self.packets,
            BYTES => &mut self.bytes,
            _ => &mut self.connections,
        }
    }
}

fn merged<'a>(hours: impl Iterator<Item = &'a Distributions>) -> Distributions {
    let mut sum = Distributions::default();
    for hour in hours {
        for (sum, hour) in sum.iter_mut().zip(hour) {
            sum.merge(hour, 1.0);
        }
    }
    sum
}

fn missing(profile: &Profile, source_seconds: f64, needed: f64, parameters: &Parameters) -> Vec<Missing> {
    let learned = profile.about.learned_seconds / 3_600.0;
    let sources = profile.about.distinct.count();
    let least_sources = u64::from(parameters.least_sources);
    let mut missing = Vec::new();
    if learned < parameters.least_learning_hours {
        missing.push(Missing::LearningHours { have: learned, need: parameters.least_learning_hours });
    }
    if sources < least_sources {
        missing.push(Missing::Sources { have: sources, need: least_sources });
    }
    // A part in a thousand less is rounding of the stored form, not lack.
    if source_seconds < needed * 0.999 {
        missing.push(Missing::SourceSeconds { have: source_seconds, need: needed });
    }
    missing
}

fn evidence(profile: &Profile, whole_week: &[Quantiles; LEARNED]) -> Evidence {
    let hours_covered = profile.week.hours_covered() as u64;
    let sources = profile.about.distinct.count();
    Evidence {
        sources,
        hours_covered,
        learned_hours: profile.about.learned_seconds / 3_600.0,
        source_seconds: whole_week[PACKETS].weight(),
        left_out_seconds: profile.about.left_out_seconds,
        median: whole_week[PACKETS].quantile(0.5).unwrap_or(0.0),
        confidence: match hours_covered {
            151.. if sources >= 10 => Confidence::High,
            24.. => Confidence::Fair,
            _ => Confidence::Low,
        },
        relative_error: RELATIVE_ERROR,
    }
}

fn hits(proposal: &mut Proposal, limit: Limit, dimension: usize, (others, protected): (&Busiest, &Busiest)) {
    let rate = real(limit.per_second);
    let hit = |peak: &Peak| Hit {
        source: std::net::Ipv6Addr::from(peak.source).to_canonical(),
        dimension: NAMES[dimension].to_owned(),
        peak: peak.rate(),
        at: peak.at,
        certain: peak.rate() > rate + real(limit.burst),
    };
    proposal.hit.extend(others.above(rate).into_iter().map(hit));
    proposal.locked_out.extend(protected.above(rate).into_iter().map(hit));
    proposal.hit_is_complete &= others.is_complete_above(rate);
}

/// Up to three significant digits: nobody reads 12,347.
fn rounded_up(rate: f64) -> u64 {
    let rate = rate.max(1.0);
    let scale = 10f64.powf((rate.log10().floor() - 2.0).max(0.0));
    whole((rate / scale).ceil() * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposed_rates_are_rounded_up_to_three_digits() {
        for (rate, rounded) in
            [(0.2, 1), (7.1, 8), (99.5, 100), (999.0, 999), (12_345.0, 12_400), (1e9, 1_000_000_000)]
        {
            assert_eq!(rounded_up(rate), rounded);
        }
    }

    #[test]
    fn nothing_known_says_everything_that_is_missing() {
        let subject = Subject { service: "web".to_owned(), class: "outside".to_owned() };
        let advice = propose(&subject, None, Aim::default(), Limits::default(), &Parameters::default());
        let Advice::TooLittleData(too_little) = advice else { panic!("proposed out of nothing") };
        assert_eq!(too_little.missing.len(), 3);
        assert_eq!(too_little.missing[1].sentence(), "0 sources were seen, 3 are needed");
    }
}
