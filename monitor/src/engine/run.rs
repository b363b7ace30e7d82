//! The loop: one thing at a time, in the order in which it comes.
//!
//! In: commands, news of interfaces, and time. Out: inputs for the core, and whatever the core wants done. It ends when
//! the core says so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use datapath::Kernel;
use monitor_common::conversation::Record;
use policy::config::{AccessList, Alerts};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::handle::{Handle, QUEUE};
use super::host::{self, Clock, Machine};
use super::load::Loads;
use super::sinks::Sinks;
use super::{Parts, fetch, links, operators};
use crate::core::command::Request;
use crate::core::{Beginning, Core, Counted, Effect, Ended, Input, News, Ports, Reading};
use crate::snapshot::Snapshot;
use crate::store::{Moment, Store};

/// How often the kernel is read and the snapshot published.
const TICK: Duration = Duration::from_secs(1);
/// How often the rings are emptied.
const DRAIN: Duration = Duration::from_millis(100);
/// How often interfaces, addresses and clocks are looked at even when nobody told of a change.
const LOOK: Duration = Duration::from_secs(30);
/// How often links are looked at: the kernel tells nobody of one that is detached.
const SHAKEN: Duration = Duration::from_millis(400);
/// So long after news the host's addresses are asked for: news come in bursts.
const SETTLED: Duration = Duration::from_millis(100);
/// After a socket for news was lost.
const AGAIN: Duration = Duration::from_secs(1);
/// The source table is read and judged for at most so small a part of the time, however large it is.
const SHARE: u32 = 60;

/// A pulse for the watchdog: turns of the loop.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    pub fn turns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The core with everything that it reaches.
pub struct Engine {
    core: Core,
    kernel: Box<dyn Kernel>,
    store: Store,
    host: Machine,
    clock: Clock,
    loads: Loads,
    sinks: Sinks,
    alerts: Alerts,
    lists: fetch::Lists,
    wanted_lists: Vec<AccessList>,
    parts: Parts,
    /// Sinks begin threads only within the loop, because a thread keeps the capabilities of its maker.
    is_running: bool,
    /// When the source table was last read, and the processor time of everything that came of it.
    sources_read: Option<(Duration, Duration)>,
    requests: mpsc::Receiver<Request>,
    publish: watch::Sender<Arc<Snapshot>>,
    ending: Option<Ended>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl Engine {
    /// The rules in force, the interfaces guarded, and a first reading, so that the first question finds an answer.
    pub fn begin(
        mut kernel: Box<dyn Kernel>,
        mut store: Store,
        parts: Parts,
        beginning: Beginning,
    ) -> Result<(Self, Handle)> {
        let clock = Clock::open()?;
        let now = clock.now();
        let mut host = Machine::new(store.directory());
        let reach = Ports { kernel: kernel.as_mut(), store: &mut store, host: &mut host };
        let (core, effects) = Core::begin(now.clone(), beginning, reach)?;
        let (sender, requests) = mpsc::channel(QUEUE);
        let (publish, snapshots) = watch::channel(Arc::new(core.first_snapshot()));
        // Without a webhook until the loop runs.
        let (sinks, _) = Sinks::open(&Alerts::default(), &store);
        let lists = fetch::Lists::new(store.directory());
        let mut engine = Self {
            core,
            kernel,
            store,
            host,
            clock,
            loads: Loads::default(),
            sinks,
            alerts: Alerts::default(),
            lists,
            wanted_lists: Vec::new(),
            parts,
            is_running: false,
            sources_read: None,
            requests,
            publish,
            ending: None,
        };
        engine.perform(effects, &now);
        engine.store.hurry();
        let (auditor, copier) = (engine.store.auditor(), engine.store.copier());
        engine.read(&now);
        Ok((engine, Handle::new(sender, snapshots, auditor, copier)))
    }

    /// Runs until it is told to stop or detach, or until nobody can give commands any more.
    pub async fn run(mut self, pulse: &Pulse) -> Result<Ended> {
        self.is_running = true;
        self.open_sinks();
        self.follow_lists();
        let mut news = self.listen();
        let every = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut tick, mut drain, mut look) = (every(TICK), every(DRAIN), every(LOOK));
        let (mut shaken, mut again) = (every(SHAKEN), every(AGAIN));
        let mut settling = false;
        loop {
            pulse.0.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.feed(Input::Command(Box::new(request)), &self.clock.now()),
                    None => return Ok(Ended::Stopped),
                },
                _ = drain.tick() => self.drain(&self.clock.now()),
                _ = tick.tick() => self.tick(&self.clock.now()),
                changed = changed(&mut news) => {
                    if changed.is_err() {
                        news = None;
                    }
                    self.feed(Input::LinksChanged, &self.clock.now());
                    if !std::mem::replace(&mut settling, true) {
                        look.reset_after(SETTLED);
                    }
                }
                _ = again.tick(), if news.is_none() => {
                    news = self.listen();
                    // What happened meanwhile.
                    self.feed(Input::LinksChanged, &self.clock.now());
                }
                Some(news) = self.lists.next() => self.fetched(news),
                _ = shaken.tick() => if self.kernel.is_shaken() {
                    self.feed(Input::LinksChanged, &self.clock.now());
                },
                _ = look.tick() => {
                    settling = false;
                    let news = News { own: links::own_addresses().await, sessions: operators::established() };
                    self.feed(Input::Host(news), &self.clock.now());
                }
            }
            if let Some(ended) = self.ending {
                let ports =
                    Ports { kernel: self.kernel.as_mut(), store: &mut self.store, host: &mut self.host };
                self.core.end(self.clock.now(), ports);
                return Ok(ended);
            }
        }
    }

    /// News of interfaces; `None` when they cannot be had now.
    fn listen(&mut self) -> Option<watch::Receiver<u64>> {
        let (news, outcome) = match links::follow() {
            Ok(news) => (Some(news), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.feed(Input::Performed { what: "follow the interfaces", outcome }, &self.clock.now());
        news
    }

    pub(super) fn tick(&mut self, now: &Moment) {
        self.feed(Input::Tick, now);
        self.read(now);
    }

    /// Empties the rings.
    pub(super) fn drain(&mut self, now: &Moment) {
        let (mut events, mut records) = (Vec::new(), Vec::<Record>::new());
        let outcome = self.kernel.drain(&mut events, &mut records);
        self.feed(Input::Performed { what: "read the rings", outcome }, now);
        self.feed(Input::Records(records), now);
        self.feed(Input::Events(events), now);
    }

    /// Reads the kernel's tables.
    fn read(&mut self, now: &Moment) {
        let began = Instant::now();
        let counted = self.counted();
        let due =
            self.sources_read.is_none_or(|(at, took)| now.since_boot.saturating_sub(at) >= took * SHARE);
        let worked = host::processor_time();
        let sources = due.then(|| {
            let mut entries = Vec::new();
            self.kernel.sources(&mut entries).map(|()| entries)
        });
        let parts = self.parts.problems();
        let reading = Reading {
            counted,
            sources,
            load: self.loads.measure(now.since_boot),
            process: host::process(),
            seconds: began.elapsed().as_secs_f64(),
            sinks: self.sinks.states(),
            lists: self.lists.states(),
            beside: parts.into_iter().chain(self.sinks.waiting()).chain(self.lists.problems()).collect(),
        };
        self.feed(Input::Reading(Box::new(reading)), now);
        if due {
            self.sources_read = Some((now.since_boot, host::processor_time().saturating_sub(worked)));
        }
    }

    fn counted(&self) -> Result<Counted> {
        Ok(Counted {
            counters: self.kernel.counters()?,
            generation: self.kernel.rules()?,
            maps: self.kernel.maps()?,
            banned: self.kernel.banned(),
        })
    }

    /// One input through the core.
    pub(super) fn feed(&mut self, input: Input, now: &Moment) {
        let ports = Ports { kernel: self.kernel.as_mut(), store: &mut self.store, host: &mut self.host };
        let effects = self.core.handle(now.clone(), input, ports);
        self.perform(effects, now);
    }

    fn perform(&mut self, effects: Vec<Effect>, now: &Moment) {
        for effect in effects {
            match effect {
                Effect::Answer(answer) => answer.give(),
                Effect::Publish(snapshot) => drop(self.publish.send_replace(snapshot)),
                Effect::Alert(told) => {
                    let outcomes = self.sinks.take(&told);
                    self.report(outcomes, now);
                }
                Effect::ReopenLogs => self.sinks.reopen(&self.store),
                Effect::Sinks(alerts) => {
                    if self.alerts != alerts {
                        self.alerts = alerts;
                        self.open_sinks();
                    }
                }
                Effect::Lists(lists) => {
                    self.wanted_lists = lists;
                    self.follow_lists();
                }
                Effect::End(ended) => self.ending = Some(ended),
            }
        }
    }

    fn open_sinks(&mut self) {
        if self.is_running {
            let (sinks, outcomes) = Sinks::open(&self.alerts, &self.store);
            self.sinks = sinks;
            self.report(outcomes, &self.clock.now());
        }
    }

    /// Fetching begins a thread too, so it begins with the loop.
    fn follow_lists(&mut self) {
        if self.is_running {
            let outcome = self.lists.follow(&self.wanted_lists);
            self.report(vec![("fetch lists", outcome)], &self.clock.now());
        }
    }

    fn fetched(&mut self, news: fetch::News) {
        if let Some(fetch::Changed { name, unkept }) = self.lists.take(news) {
            self.host.fetched(&name, unkept);
            self.feed(Input::Fetched(name), &self.clock.now());
        }
    }

    fn report(&mut self, outcomes: Vec<(&'static str, Result<()>)>, now: &Moment) {
        for (what, outcome) in outcomes {
            self.feed(Input::Performed { what, outcome }, now);
        }
    }
}

async fn changed(news: &mut Option<watch::Receiver<u64>>) -> Result<(), watch::error::RecvError> {
    match news {
        Some(news) => news.changed().await,
        None => std::future::pending().await,
    }
}
