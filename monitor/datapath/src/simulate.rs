//! The real kernel programs, loaded and not attached: for replay, for trying rules out, and for tests.
//!
//! In: rules, frames, and the moment of each. Out: verdicts, and the same counters and tables that a guarded interface
//! fills. Nothing is pinned, no packet leaves, and the clock is the caller's.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use monitor_common::conversation::Record;
use monitor_common::names::{map, program};
use monitor_common::record::{Event, ParsedRecord, judged};
use monitor_common::verdict::{Action, Reason};

use super::capacity::Capacities;
use super::events::Ring;
use super::hand::Hand;
use super::object::{self, KernelLog, Load, Loaded};
use super::rules::{Applied, RuleMaps};
use super::slots::Slots;
use super::syscall::TestRun;
use super::table::Array;
use super::totals::{CounterMaps, Counters};
use super::{Bans, Conversations, OpenConnections, Sources, random_key};
use policy::Image;

/// Loopback, through which frames of a test run seem to come.
const LOOPBACK: u32 = 1;
const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;
const XDP_PASS: u32 = 2;

/// Frames that a test run takes: an Ethernet header at least.
pub const SHORTEST_FRAME: usize = 14;

/// The kernel side in a box.
#[derive(Debug)]
pub struct Simulator {
    loaded: Loaded,
    rules: RuleMaps,
    counters: CounterMaps,
    slots: Slots,
    clock: Hand,
    ingress: TestRun,
    sources: Sources,
    hash_key: [u64; 2],
    slot: u32,
}

/// What became of one frame, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub reason: Reason,
    /// What an observing limit would have dropped it for.
    pub would_drop: Option<Reason>,
    /// A limit on trial would have dropped it.
    pub candidate: bool,
    /// The service's number.
    pub service: u32,
}

impl Simulator {
    /// Loads programs and private maps. The hash key is random unless the caller needs runs that repeat.
    pub fn open(capacities: Capacities, hash_key: Option<[u64; 2]>) -> Result<Self> {
        let loaded =
            object::load(&Load { capacities, kernel_log: KernelLog::Off, clock_from_map: true, pins: None })?;
        let ingress = loaded.program(program::INGRESS).context("the ingress program is loaded")?;
        let hash_key = match hash_key {
            Some(key) => key,
            None => random_key()?,
        };
        Ok(Self {
            ingress: TestRun::new(ingress.fd.as_fd()),
            rules: RuleMaps::new(&loaded, capacities)?.without_packets_under_way(),
            counters: CounterMaps::new(&loaded)?,
            slots: Slots::new(loaded.map(map::INTERFACES)?)?,
            clock: Hand::new(loaded.map(map::CLOCK)?)?,
            sources: Sources::new(&loaded, hash_key)?,
            hash_key,
            slot: 0,
            loaded,
        })
    }

    /// The key to compile rules with.
    pub fn hash_key(&self) -> [u64; 2] {
        self.hash_key
    }

    /// Writes rules and flips to them.
    pub fn apply(&mut self, image: &Image) -> Result<Applied> {
        self.rules.apply(image)
    }

    /// Frames from now on come in through the interface of this slot; 0: through one that is not listed.
    pub fn come_through(&mut self, slot: u32) -> Result<()> {
        if slot != self.slot {
            self.slots.leave(self.slot)?;
            if slot != 0 {
                self.slots.enter(LOOPBACK, slot, "the simulated interface")?;
            }
            self.slot = slot;
        }
        Ok(())
    }

    /// Judges one frame at the moment `at` (clock units).
    pub fn run(&mut self, frame: &[u8], at: u64) -> Result<Verdict> {
        ensure!(frame.len() >= SHORTEST_FRAME, "a frame of {} bytes has no Ethernet header", frame.len());
        self.clock.set(at);
        let action =
            self.ingress.run(frame).with_context(|| format!("judge a frame of {} bytes", frame.len()))?;
        let verdict = Verdict::from_word(self.clock.judged())?;
        let expected = match verdict.reason.action() {
            Action::Pass => XDP_PASS,
            Action::Drop => XDP_DROP,
            Action::Answer => XDP_TX,
        };
        ensure!(action == expected, "the kernel program answered {action} for {}", verdict.reason.label());
        Ok(verdict)
    }

    /// What the kernel's parser makes of a frame.
    pub fn parse(&self, frame: &[u8]) -> Result<ParsedRecord> {
        let program =
            self.loaded.program(program::PARSE).context("the embedded object has no parser program")?;
        TestRun::new(program.fd.as_fd()).run(frame).context("parse a frame")?;
        Array::new(self.loaded.map(map::PARSED)?)?.get(0)
    }

    /// Totals of the slot in use, incidents, malformed frames.
    pub fn counters(&self) -> Result<Counters> {
        let slots = if self.slot == 0 { vec![0] } else { vec![0, self.slot] };
        self.counters.read(&slots)
    }

    pub fn sources(&self) -> Sources {
        self.sources.clone()
    }

    pub fn open_connections(&self) -> Result<OpenConnections> {
        OpenConnections::new(&self.loaded, self.hash_key)
    }

    pub fn bans(&self) -> Result<Bans> {
        Bans::new(&self.loaded)
    }

    pub fn conversations(&self) -> Result<Conversations> {
        Conversations::new(&self.loaded, self.hash_key)
    }

    /// Notable moments; once. Must be called within a tokio runtime.
    pub fn take_events(&mut self) -> Result<Option<Ring<Event>>> {
        self.loaded.take_ring(map::EVENTS).map(Ring::new).transpose()
    }

    /// Records of conversations; once. Must be called within a tokio runtime.
    pub fn take_records(&mut self) -> Result<Option<Ring<Record>>> {
        self.loaded.take_ring(map::RECORDS).map(Ring::new).transpose()
    }
}

impl Verdict {
    /// From the word that the programs leave ([`judged`]).
    fn from_word(word: u64) -> Result<Self> {
        let reason = |number: u64| {
            let known = u32::try_from(number).ok().and_then(Reason::from_number);
            known.with_context(|| format!("the kernel program gave reason {number}, which does not exist"))
        };
        let would_drop = match word >> judged::WOULD_DROP_SHIFT & 0xff {
            0 => None,
            more => Some(reason(more - 1)?),
        };
        Ok(Self {
            reason: reason(word & 0xff)?,
            would_drop,
            candidate: word & judged::CANDIDATE != 0,
            service: u32::try_from(word >> judged::SERVICE_SHIFT).unwrap_or(0),
        })
    }
}
