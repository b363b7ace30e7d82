//! A daemon's surroundings: its configuration, its store, its kernel, and the core that runs now.

use std::sync::Arc;
use std::time::Duration;

use super::{NOW, access, operator};
use crate::core::command::*;
use crate::core::delta::Flags;
use crate::core::stand_in::{StandHost, StandIn, reply};
use crate::core::start::First;
use crate::core::{Beginning, Core, Counted, Effect, Ended, Input, News, Ports, Reading, Told};
use crate::snapshot::{Process, Snapshot};
use crate::store::Store;
use ::tuning::defence::Load;
use api::Error;
use datapath::Kernel;
use policy::LimitKind;
use policy::config::{Mode, Rate};

pub const CONFIG: &str = "[interfaces]\nnames = [\"eth0\"]\n\
                      [[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\n\
                      limit = { packets = \"2k/s\" }\n";

pub struct Bench {
    pub kernel: StandIn,
    pub host: StandHost,
    pub store: Store,
    pub core: Core,
    /// The last snapshot that was published.
    pub snapshot: Arc<Snapshot>,
    /// Findings that sinks were given.
    pub told: Vec<Told>,
    pub ended: Option<Ended>,
    /// What the next readings say of the host's load.
    pub load: Load,
}

/// Begins a core with what is there.
pub fn start(
    kernel: &StandIn,
    host: &mut StandHost,
    store: &mut Store,
    flags: Flags,
) -> anyhow::Result<(Core, Vec<Effect>)> {
    let first = First::default();
    let beginning =
        Beginning { config: host.setting(flags), path: None, own: Vec::new(), operator: None, first };
    let mut kernel = kernel.clone();
    Core::begin(kernel.moment(), beginning, Ports { kernel: &mut kernel, store, host })
}

impl Bench {
    pub fn new() -> Self {
        let host = StandHost { configuration: CONFIG.to_owned(), ..StandHost::default() };
        Self::with(StandIn::default(), host, Store::in_memory().unwrap())
    }

    pub fn with(kernel: StandIn, mut host: StandHost, mut store: Store) -> Self {
        let (core, effects) = start(&kernel, &mut host, &mut store, Flags::default()).unwrap();
        let snapshot = Arc::new(core.first_snapshot());
        let mut bench = Self {
            kernel,
            host,
            store,
            core,
            snapshot,
            told: Vec::new(),
            ended: None,
            load: Load::default(),
        };
        bench.perform(effects);
        bench.read();
        bench
    }

    /// What the configuration file says from now on.
    pub fn configure(&mut self, text: &str) {
        text.clone_into(&mut self.host.configuration);
    }

    /// The daemon dies and starts again; the kernel, the store and the file stay.
    pub fn restart(self) -> Self {
        let Self { kernel, host, store, core, .. } = self;
        drop(core);
        Self::with(kernel, host, store)
    }

    pub fn feed(&mut self, input: Input) {
        let now = self.kernel.moment();
        let ports = Ports { kernel: &mut self.kernel, store: &mut self.store, host: &mut self.host };
        let effects = self.core.handle(now, input, ports);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer(answer) => answer.give(),
                Effect::Publish(snapshot) => self.snapshot = snapshot,
                Effect::Alert(told) => self.told.push(*told),
                Effect::Sinks(_) | Effect::Lists(_) | Effect::ReopenLogs => {}
                Effect::End(ended) => self.ended = Some(ended),
            }
        }
    }

    /// A second's end: what is over ends, and the kernel is read.
    pub fn tick(&mut self) {
        self.feed(Input::Tick);
        self.read();
    }

    /// A look at the host.
    pub fn look(&mut self) {
        let own = Ok(Vec::new());
        self.feed(Input::Host(News { own, sessions: self.host.sessions.clone() }));
    }

    /// Time passes, and the tick comes.
    pub fn pass(&mut self, time: Duration) {
        self.kernel.advance(time);
        self.feed(Input::Tick);
    }

    /// A reading of the kernel.
    pub fn read(&mut self) {
        let mut sources = Vec::new();
        self.kernel.sources(&mut sources).unwrap();
        let counted = Counted {
            counters: self.kernel.counters().unwrap(),
            generation: self.kernel.rules().unwrap(),
            maps: self.kernel.maps().unwrap(),
            banned: self.kernel.banned(),
        };
        self.feed(Input::Reading(Box::new(Reading {
            counted: Ok(counted),
            sources: Some(Ok(sources)),
            load: self.load,
            process: Process::default(),
            seconds: 0.0,
            sinks: Vec::new(),
            lists: Vec::new(),
            beside: Vec::new(),
        })));
    }

    /// Empties the rings.
    pub fn drain(&mut self) {
        let (mut events, mut records) = (Vec::new(), Vec::new());
        self.kernel.drain(&mut events, &mut records).unwrap();
        self.feed(Input::Records(records));
        self.feed(Input::Events(events));
    }

    pub fn ask<C: Perform>(&mut self, options: ChangeOptions, command: C) -> Result<C::Answer, Error> {
        self.ask_as(operator(None), options, command)
    }

    pub fn ask_as<C: Perform>(
        &mut self,
        caller: Caller,
        options: ChangeOptions,
        command: C,
    ) -> Result<C::Answer, Error> {
        let (reply, answer) = reply();
        self.feed(Input::Command(Box::new(Request::new(caller, options, command, reply))));
        answer.try_recv().unwrap()
    }

    pub fn ban(&mut self, options: ChangeOptions, prefix: &str) -> Result<Applied, Error> {
        let add = access(AccessKind::Ban, prefix, Some(600));
        self.ask(options, add)
    }

    pub fn set(&mut self, options: ChangeOptions, per_second: u64) -> Result<Applied, Error> {
        let set = LimitSet {
            service: "web".to_owned(),
            mode: Some(Mode::Enforce),
            packets: Some(RateRequest { rate: Rate::per_second(per_second), burst: None }),
            ..LimitSet::default()
        };
        self.ask(options, set)
    }

    pub fn web(&mut self) -> (Mode, u64) {
        let limits = self.ask(NOW, ListLimits {}).unwrap().limits;
        let web = limits.iter().find(|l| l.service == "web" && l.kind == LimitKind::PerSource).unwrap();
        (web.mode, web.packets.unwrap().rate.amount)
    }

    pub fn banned(&mut self) -> Vec<String> {
        let list = self.ask(NOW, ListAccess {}).unwrap();
        list.banned.iter().map(|ban| ban.source.to_string()).collect()
    }
}
