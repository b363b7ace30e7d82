//! The ladder that tightens limits while the host is overloaded, and relaxes them with hysteresis afterwards.
//!
//! In: softirq time, backlog drops and flood mode once a tick. Out: the rung to stand on and an event when it changes. It
//! climbs as far as the load asks for, steps down one rung at a time, and changes no limit itself.

use serde::{Deserialize, Serialize};

use super::parameters::{Defence, Rung};

/// How loaded the host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Share of the busiest CPU's time in receive softirq since the last tick, 0 to 1.
    pub softirq_share: f64,
    /// Packets per second that the kernel's backlog dropped since the last tick.
    pub backlog_drops_per_second: f64,
    /// Connections per second that found no room at their listener.
    #[serde(default)]
    pub listen_drops_per_second: f64,
    /// Datagrams per second that found no room at their socket.
    #[serde(default)]
    pub buffer_errors_per_second: f64,
    /// Any interface is in flood mode.
    pub flood: bool,
}

impl Load {
    /// Whether the host loses packets, or most of a CPU's time, to receiving.
    pub fn is_harmful(&self) -> bool {
        self.softirq_share >= 0.6
            || self.backlog_drops_per_second >= 10.0
            || self.listen_drops_per_second >= 10.0
            || self.buffer_errors_per_second >= 100.0
    }
}

/// Where the ladder stands. Lives in memory only: a restart begins on the ground.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ladder {
    /// 0 is the ground, `n` the n-th rung.
    rung: usize,
    /// A higher rung has been called for since then (seconds, any clock that only goes forward).
    called: Option<(usize, f64)>,
    /// A lower rung has sufficed since then.
    quiet: Option<f64>,
}

/// The rung changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub from: usize,
    pub to: usize,
    /// Limits of sources are multiplied by this from now on.
    pub limits: f64,
    pub load: Load,
}

impl Change {
    /// For the log and the history.
    pub fn sentence(&self) -> String {
        let Load { softirq_share, backlog_drops_per_second, flood, .. } = self.load;
        format!(
            "defence rung {} -> {}: limits x {} (softirq {:.0} %, backlog drops {backlog_drops_per_second:.0}/s, {})",
            self.from,
            self.to,
            self.limits,
            softirq_share * 100.0,
            if flood { "flood mode" } else { "no flood" }
        )
    }
}

impl Ladder {
    /// Takes the load at `now` (seconds, monotonic); says so when the rung changes.
    pub fn observe(&mut self, now: f64, load: Load, rules: &Defence) -> Option<Change> {
        if !rules.enabled {
            // Switched off while up: back to the ground at once.
            return self.stand(0, load, rules);
        }
        let wanted = highest(&rules.rungs, |rung| calls_for(rung, load, 1.0));
        if wanted > self.rung {
            self.quiet = None;
            // The highest rung that was called for all the time.
            let (lowest, since) =
                self.called.map_or((wanted, now), |(lowest, since)| (lowest.min(wanted), since));
            self.called = Some((lowest, since));
            if now - since >= seconds(rules.climb_after_seconds) {
                return self.stand(lowest, load, rules);
            }
            return None;
        }
        self.called = None;
        let holding = highest(&rules.rungs, |rung| calls_for(rung, load, rules.relax_below));
        if holding >= self.rung {
            self.quiet = None;
            return None;
        }
        let since = *self.quiet.get_or_insert(now);
        if now - since >= seconds(rules.relax_after_seconds) {
            return self.stand(self.rung - 1, load, rules);
        }
        None
    }

    /// The present rung; 0 is the ground.
    pub fn rung(&self) -> usize {
        self.rung
    }

    /// What limits of sources are multiplied by.
    pub fn limits(&self, rules: &Defence) -> f64 {
        self.rung.checked_sub(1).and_then(|index| rules.rungs.get(index)).map_or(1.0, |rung| rung.limits)
    }

    fn stand(&mut self, rung: usize, load: Load, rules: &Defence) -> Option<Change> {
        (self.called, self.quiet) = (None, None);
        let from = std::mem::replace(&mut self.rung, rung);
        (from != rung).then(|| Change { from, to: rung, limits: self.limits(rules), load })
    }
}

fn highest(rungs: &[Rung], holds: impl Fn(&Rung) -> bool) -> usize {
    rungs.iter().rposition(holds).map_or(0, |index| index + 1)
}

fn calls_for(rung: &Rung, load: Load, share: f64) -> bool {
    rung.softirq_share.is_some_and(|threshold| load.softirq_share >= threshold * share)
        || rung
            .backlog_drops_per_second
            .is_some_and(|threshold| load.backlog_drops_per_second >= threshold * share)
        || rung.in_flood_mode && load.flood
}

fn seconds(whole: u64) -> f64 {
    super::real(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> Defence {
        Defence { enabled: true, ..Defence::default() }
    }

    fn softirq(share: f64) -> Load {
        Load { softirq_share: share, ..Load::default() }
    }

    /// Feeds one load a second and lists (second, rung) of every change.
    fn climb(rules: &Defence, loads: impl IntoIterator<Item = Load>) -> Vec<(usize, usize)> {
        let mut ladder = Ladder::default();
        let mut changes = Vec::new();
        for (second, load) in loads.into_iter().enumerate() {
            if let Some(change) = ladder.observe(super::super::real(second as u64), load, rules) {
                changes.push((second, change.to));
            }
        }
        changes
    }

    #[test]
    fn off_by_default_whatever_the_load() {
        assert_eq!(climb(&Defence::default(), [softirq(1.0); 100]), []);
    }

    #[test]
    fn a_lasting_load_is_climbed_to_and_left_a_rung_at_a_time() {
        let loads = [vec![softirq(0.85); 20], vec![softirq(0.1); 200]].concat();
        assert_eq!(climb(&on(), loads), [(5, 2), (80, 1), (141, 0)]);
    }

    #[test]
    fn a_spike_is_not_climbed() {
        let loads = [softirq(1.0), softirq(1.0), softirq(1.0), softirq(0.1)].repeat(20);
        assert_eq!(climb(&on(), loads), []);
    }

    #[test]
    fn a_load_between_leaving_and_entering_changes_nothing() {
        // Rung 1 is entered at 0.6 and left below 0.48.
        let loads = [vec![softirq(0.65); 10], [softirq(0.55), softirq(0.65)].repeat(300)].concat();
        assert_eq!(climb(&on(), loads), [(5, 1)]);
    }

    #[test]
    fn flood_mode_calls_for_its_rung_and_backlog_drops_for_theirs() {
        let flood = Load { flood: true, ..Load::default() };
        assert_eq!(climb(&on(), [flood; 10]), [(5, 1)]);
        let drops = Load { backlog_drops_per_second: 5_000.0, ..Load::default() };
        assert_eq!(climb(&on(), [drops; 10]), [(5, 2)]);
    }

    #[test]
    fn a_load_that_wavers_between_rungs_is_climbed_to_the_lower() {
        assert_eq!(climb(&on(), [softirq(0.97), softirq(0.7)].repeat(4)), [(5, 1)]);
    }

    #[test]
    fn a_host_is_harmed_by_what_it_loses() {
        assert!(!Load { flood: true, ..softirq(0.5) }.is_harmful());
        assert!(softirq(0.6).is_harmful());
        for load in [
            Load { backlog_drops_per_second: 10.0, ..Load::default() },
            Load { listen_drops_per_second: 10.0, ..Load::default() },
            Load { buffer_errors_per_second: 100.0, ..Load::default() },
        ] {
            assert!(load.is_harmful(), "{load:?}");
        }
    }

    #[test]
    fn switching_it_off_while_up_goes_to_the_ground_at_once() {
        let mut ladder = Ladder::default();
        for second in 0..10 {
            ladder.observe(f64::from(second), softirq(1.0), &on());
        }
        assert_eq!((ladder.rung(), ladder.limits(&on())), (3, 0.25));
        let change = ladder.observe(11.0, softirq(1.0), &Defence::default()).unwrap();
        assert_eq!((change.to, change.limits), (0, 1.0));
        assert!(change.sentence().starts_with("defence rung 3 -> 0: limits x 1 (softirq 100 %"));
    }
}
