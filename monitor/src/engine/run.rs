//! The loop: one thing at a time, in the order in which it comes.
//!
//! In: commands, news of interfaces, and time. Out: nothing but what the parts do. It ends on command, and tells how.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{MissedTickBehavior, interval};

use super::{DRAIN, Engine, LOOK, TICK, links};

/// How often the store forgets what is old.
const PRUNE: SignedDuration = SignedDuration::from_hours(1);
/// How long findings that are over are kept, and how many changes of the history.
const FINDINGS_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
const CHANGES_KEPT: u64 = 10_000;

/// How the engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The kernel keeps protecting.
    Stopped,
    /// Programs, maps and pins are gone.
    Detached,
}

/// A pulse for the watchdog: turns of the loop.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    pub fn turns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Runs until it is told to stop or detach, or until nobody can give commands any more.
    pub async fn run(mut self, pulse: &Pulse) -> Result<Ended> {
        // Here and not at the start, because it begins a thread, which would keep the capabilities of its maker.
        self.follow_webhook();
        let mut news = links::follow()?;
        let every = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut tick, mut drain, mut look) = (every(TICK), every(DRAIN), every(LOOK));
        loop {
            pulse.0.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request),
                    None => return Ok(Ended::Stopped),
                },
                _ = drain.tick() => self.drain(),
                _ = tick.tick() => self.tick(),
                changed = news.changed() => {
                    changed?;
                    self.follow_links();
                }
                _ = look.tick() => self.look().await,
            }
            if let Some(ended) = self.ending {
                self.keep_learned(Timestamp::now());
                return Ok(ended);
            }
        }
    }

    fn tick(&mut self) {
        let now = Timestamp::now();
        self.fallible("heartbeat", |engine| engine.kernel.beat());
        self.supervise(now);
        self.end_what_is_over(now);
        self.follow_containments();
        self.roll_back_when_due();
        self.fallible("sweep", |engine| engine.kernel.sweep());
        let instant = Instant::now();
        self.observe(now, instant);
        self.defend(instant);
    }

    /// Interfaces come and go; what is configured and there is guarded.
    pub(super) fn follow_links(&mut self) {
        let config = self.standing.rules.config.clone();
        let automatic = config.interfaces.names.is_empty();
        if automatic {
            match links::with_default_route() {
                // What was chosen before stays guarded while it is there: another default route, as a VPN takes it, makes no
                // interface safe.
                Ok(names) => {
                    let there =
                        self.guarded.iter().filter(|row| row.ifindex != 0).map(|row| row.name.clone());
                    let before: Vec<_> = there.filter(|name| !names.contains(name)).collect();
                    self.wanted = names.into_iter().chain(before).collect();
                }
                Err(error) => tracing::warn!("look for default routes: {error:#}"),
            }
        } else {
            self.wanted.clone_from(&config.interfaces.names);
        }
        if self.wanted.is_empty() {
            let told =
                "no interface is named in [interfaces], and none has a default route: nothing is guarded";
            self.problems.insert("interfaces", told.to_owned());
        } else {
            self.problems.remove("interfaces");
        }
        let guarded = self.kernel.guard(&self.wanted, &config);
        for row in &guarded {
            let before = self.guarded.iter().find(|old| old.name == row.name);
            if before.is_none_or(|old| (old.mode, old.ifindex) != (row.mode, row.ifindex)) {
                let (name, mode) = (&row.name, row.mode.label());
                match &row.problem {
                    None => tracing::info!(interface = name, mode, "interface is guarded"),
                    Some(problem) => {
                        tracing::warn!(interface = name, mode, "interface is not guarded: {problem}");
                    }
                }
            }
        }
        self.guarded = guarded;
    }

    /// The store keeps findings and history for a time, not for ever.
    fn prune(&mut self, now: Timestamp) {
        if self.pruned_at.is_some_and(|at| now.duration_since(at) < PRUNE) {
            return;
        }
        self.pruned_at = Some(now);
        self.fallible("copy the store", |engine| engine.store.copy());
        let before = now.checked_sub(FINDINGS_KEPT).unwrap_or(Timestamp::MIN);
        self.fallible("prune the store", |engine| engine.store.prune(now, before, CHANGES_KEPT));
    }

    async fn look(&mut self) {
        self.prune(Timestamp::now());
        self.forget_operators();
        self.follow_links();
        self.retry();
        self.fallible("clock", |engine| engine.kernel.refresh_clock());
        match links::own_addresses().await {
            Ok(own) => self.own_addresses_are(own),
            Err(error) => drop(self.fallible::<()>("own addresses", |_| Err(error))),
        }
    }

    /// Does something that may fail; the failure is a problem in the snapshot until it works again.
    pub(super) fn fallible<T>(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Option<T> {
        match act(self) {
            Ok(done) => {
                self.problems.remove(what);
                Some(done)
            }
            Err(error) => {
                let told = format!("{what}: {error:#}");
                if self.problems.get(what) != Some(&told) {
                    tracing::error!("{told}");
                }
                self.problems.insert(what, told);
                None
            }
        }
    }
}
