//! The `[tuning]` section: what the operator says about learning, proposals, automatic steps and the defence ladder.
//!
//! Comes in as TOML through `config`; goes out as checked numbers. It never reads a clock or a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything under `[tuning]`. Each field has a default, so an absent section learns and proposes and changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// `off` learns nothing, `propose` learns and waits to be asked, `auto` also takes steps by itself.
    pub mode: Mode,
    /// Share of the active source-seconds of the busiest hour that must fit within the proposed rate, before headroom.
    pub quantile: f64,
    /// The proposed rate is the quantile times this.
    pub headroom: f64,
    /// The proposed burst is what the proposed rate admits in this many seconds. With 2, a source that stays within the
    /// rate in every second of the clock is never dropped, however it bunches its packets.
    pub burst_seconds: f64,
    /// After this many weeks an observation weighs half as much as a fresh one.
    pub half_life_weeks: f64,
    /// Observed time below which nothing is proposed.
    pub least_learning_hours: f64,
    /// Distinct sources below which nothing is proposed; a rise in `auto` also needs as many sources up there.
    pub least_sources: u32,
    /// Busiest sources remembered per service and class, so that a proposal can name whom it would have hit.
    pub top_sources: usize,
    /// Pairs of service and class that are learned; further pairs are counted as not learned.
    pub profiles: usize,
    /// Bounds of automatic steps where a service says nothing else.
    pub auto: Auto,
    /// Exceptions by the service's name.
    pub services: BTreeMap<String, ServiceParameters>,
    /// Tightening under overload.
    pub defence: Defence,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            mode: Mode::Propose,
            quantile: 0.999,
            headroom: 2.0,
            burst_seconds: 2.0,
            half_life_weeks: 1.0,
            least_learning_hours: 24.0,
            least_sources: 3,
            top_sources: 64,
            profiles: 256,
            auto: Auto::default(),
            services: BTreeMap::new(),
            defence: Defence::default(),
        }
    }
}

/// With less, a limit would cut off the rates that its own next proposal is made from, and sink step by step.
const LEAST_AUTO_HEADROOM: f64 = 1.25;

/// How far tuning may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Off,
    #[default]
    Propose,
    Auto,
}

/// Bounds of automatic steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auto {
    /// A limit is never lowered below this.
    pub floor: Bounds,
    /// A limit is never raised above this, and steps down to it from above. A dimension without a ceiling is never
    /// changed automatically.
    pub ceiling: Bounds,
    /// One step multiplies or divides a rate by at most this.
    pub largest_step: f64,
    /// Shortest time between two steps of one limit.
    pub interval_minutes: u64,
    /// A proposal that differs from the limit by less than this share changes nothing.
    pub hysteresis: f64,
    /// How long a proposal must keep pointing the same way before a step is taken.
    pub settle_minutes: u64,
    /// Calm time after a flood or an alert before steps and learning go on.
    pub thaw_minutes: u64,
}

impl Default for Auto {
    fn default() -> Self {
        Self {
            floor: Bounds {
                packets_per_second: Some(50),
                bytes_per_second: Some(50_000),
                connections_per_second: Some(5),
            },
            ceiling: Bounds::default(),
            largest_step: 1.25,
            interval_minutes: 360,
            hysteresis: 0.2,
            settle_minutes: 60,
            thaw_minutes: 30,
        }
    }
}

/// One optional number per learned dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    pub packets_per_second: Option<u64>,
    pub bytes_per_second: Option<u64>,
    pub connections_per_second: Option<u64>,
}

/// `[tuning.services.NAME]`: what differs for one service. What is absent falls back to `[tuning]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceParameters {
    pub mode: Option<Mode>,
    pub quantile: Option<f64>,
    pub headroom: Option<f64>,
    pub auto: Option<Auto>,
}

/// `[tuning.defence]`: tighten limits while the host is overloaded. Off unless asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defence {
    pub enabled: bool,
    /// From mildest to hardest.
    pub rungs: Vec<Rung>,
    /// How long a rung's condition must hold before it is climbed.
    pub climb_after_seconds: u64,
    /// How long the rung below must suffice before it is stepped down to.
    pub relax_after_seconds: u64,
    /// A rung is left only when the load is below its thresholds times this.
    pub relax_below: f64,
}

impl Default for Defence {
    fn default() -> Self {
        let rung = |limits, softirq_share, backlog_drops_per_second, in_flood_mode| Rung {
            limits,
            softirq_share,
            backlog_drops_per_second,
            in_flood_mode,
        };
        Self {
            enabled: false,
            rungs: vec![
                rung(0.75, Some(0.6), Some(1.0), true),
                rung(0.5, Some(0.8), Some(1_000.0), false),
                rung(0.25, Some(0.95), Some(100_000.0), false),
            ],
            climb_after_seconds: 5,
            relax_after_seconds: 60,
            relax_below: 0.8,
        }
    }
}

/// One rung: any of its conditions calls for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Limits of sources are multiplied by this while the rung holds.
    pub limits: f64,
    /// Share of one CPU's time spent in receive softirq, on the busiest CPU.
    #[serde(default)]
    pub softirq_share: Option<f64>,
    /// Packets that the kernel's backlog dropped.
    #[serde(default)]
    pub backlog_drops_per_second: Option<f64>,
    /// Flood mode on any interface calls for this rung.
    #[serde(default)]
    pub in_flood_mode: bool,
}

impl Parameters {
    /// How far tuning may go with `service`.
    pub fn mode_of(&self, service: &str) -> Mode {
        self.services.get(service).and_then(|exception| exception.mode).unwrap_or(self.mode)
    }

    /// Quantile and headroom for `service`.
    pub fn aim_of(&self, service: &str) -> (f64, f64) {
        let exception = self.services.get(service);
        (
            exception.and_then(|exception| exception.quantile).unwrap_or(self.quantile),
            exception.and_then(|exception| exception.headroom).unwrap_or(self.headroom),
        )
    }

    /// Bounds of automatic steps for `service`.
    pub fn auto_of(&self, service: &str) -> &Auto {
        self.services.get(service).and_then(|exception| exception.auto.as_ref()).unwrap_or(&self.auto)
    }

    /// What is wrong, as (key below `[tuning]`, sentence).
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, sentence: &str| Err((key.to_owned(), sentence.to_owned()));
        check_aim("", Some(self.quantile), Some(self.headroom))?;
        if !(1.0..=60.0).contains(&self.burst_seconds) {
            return wrong("burst_seconds", "must lie between 1 and 60");
        }
        if !(0.1..=520.0).contains(&self.half_life_weeks) {
            return wrong("half_life_weeks", "must lie between 0.1 and 520");
        }
        if !(0.0..=10_000.0).contains(&self.least_learning_hours) {
            return wrong("least_learning_hours", "must lie between 0 and 10000");
        }
        if !(1..=4096).contains(&self.top_sources) {
            return wrong("top_sources", "must lie between 1 and 4096");
        }
        if !(1..=4096).contains(&self.profiles) {
            return wrong("profiles", "must lie between 1 and 4096");
        }
        if self.mode == Mode::Auto && self.headroom < LEAST_AUTO_HEADROOM {
            return wrong(
                "headroom",
                "mode = \"auto\" needs at least 1.25: what a limit drops teaches nothing",
            );
        }
        self.auto.check("auto", self.mode == Mode::Auto)?;
        for (name, service) in &self.services {
            let key = format!("services.{name}");
            check_aim(&format!("{key}."), service.quantile, service.headroom)?;
            let is_auto = self.mode_of(name) == Mode::Auto;
            if is_auto && self.aim_of(name).1 < LEAST_AUTO_HEADROOM {
                return Err((
                    format!("{key}.headroom"),
                    "mode = \"auto\" needs at least 1.25: what a limit drops teaches nothing".to_owned(),
                ));
            }
            match &service.auto {
                Some(auto) => auto.check(&format!("{key}.auto"), is_auto)?,
                None => self.auto.check("auto", is_auto)?,
            }
        }
        self.defence.check()
    }
}

fn check_aim(prefix: &str, quantile: Option<f64>, headroom: Option<f64>) -> Result<(), (String, String)> {
    if quantile.is_some_and(|quantile| !(0.5..=0.999_999).contains(&quantile)) {
        return Err((format!("{prefix}quantile"), "must lie between 0.5 and 0.999999".to_owned()));
    }
    if headroom.is_some_and(|headroom| !(1.0..=1000.0).contains(&headroom)) {
        return Err((format!("{prefix}headroom"), "must lie between 1 and 1000".to_owned()));
    }
    Ok(())
}

impl Auto {
    fn check(&self, prefix: &str, in_use: bool) -> Result<(), (String, String)> {
        let wrong = |key: &str, sentence: &str| Err((format!("{prefix}.{key}"), sentence.to_owned()));
        if !(self.largest_step > 1.0 && self.largest_step <= 10.0) {
            return wrong("largest_step", "must be above 1 and at most 10");
        }
        if !(0.01..=0.9).contains(&self.hysteresis) {
            return wrong("hysteresis", "must lie between 0.01 and 0.9");
        }
        if self.interval_minutes == 0 {
            return wrong("interval_minutes", "must be at least 1");
        }
        let pairs = [
            ("packets_per_second", self.floor.packets_per_second, self.ceiling.packets_per_second),
            ("bytes_per_second", self.floor.bytes_per_second, self.ceiling.bytes_per_second),
            (
                "connections_per_second",
                self.floor.connections_per_second,
                self.ceiling.connections_per_second,
            ),
        ];
        for (dimension, floor, ceiling) in pairs {
            if let (Some(floor), Some(ceiling)) = (floor, ceiling)
                && floor > ceiling
            {
                return wrong(&format!("floor.{dimension}"), "must not be above the ceiling");
            }
        }
        if in_use && pairs.iter().all(|(_, _, ceiling)| ceiling.is_none()) {
            return wrong("ceiling", "mode = \"auto\" needs a ceiling for at least one dimension");
        }
        Ok(())
    }
}

impl Defence {
    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, sentence: &str| Err((format!("defence.{key}"), sentence.to_owned()));
        if !(self.relax_below > 0.0 && self.relax_below <= 1.0) {
            return wrong("relax_below", "must be above 0 and at most 1");
        }
        if self.enabled && self.rungs.is_empty() {
            return wrong("rungs", "needs at least one rung when enabled");
        }
        let mut above = 1.0;
        for rung in &self.rungs {
            if !(rung.limits > 0.0 && rung.limits < above) {
                return wrong(
                    "rungs",
                    "each rung's limits must be above 0 and below the rung before (the first below 1)",
                );
            }
            if rung.softirq_share.is_none() && rung.backlog_drops_per_second.is_none() && !rung.in_flood_mode
            {
                return wrong("rungs", "each rung needs a condition");
            }
            above = rung.limits;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_toml() {
        let parameters = Parameters::default();
        assert_eq!(parameters.check(), Ok(()));
        let text = toml::to_string(&parameters).unwrap();
        assert_eq!(toml::from_str::<Parameters>(&text).unwrap(), parameters);
        assert_eq!(toml::from_str::<Parameters>("").unwrap(), parameters);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Parameters>("quantil = 0.9").is_err());
        assert!(toml::from_str::<Parameters>("[services.web]\nfloor = 1").is_err());
    }

    #[test]
    fn automatic_mode_without_a_ceiling_is_refused_by_name() {
        let parameters: Parameters = toml::from_str("[services.web]\nmode = \"auto\"").unwrap();
        assert_eq!(parameters.check().unwrap_err().0, "auto.ceiling");
        let parameters: Parameters = toml::from_str(
            "[services.web]\nmode = \"auto\"\n[services.web.auto]\nceiling = { packets_per_second = 10 }\n\
             floor = { packets_per_second = 20 }",
        )
        .unwrap();
        assert_eq!(parameters.check().unwrap_err().0, "services.web.auto.floor.packets_per_second");
    }

    #[test]
    fn rungs_must_tighten() {
        let mut parameters = Parameters::default();
        parameters.defence.rungs.swap(0, 1);
        assert_eq!(parameters.check().unwrap_err().0, "defence.rungs");
    }
}
