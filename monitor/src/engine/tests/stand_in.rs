//! A kernel that keeps what it is told and fails on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Result, bail};
use jiff::Timestamp;
use monitor_common::bucket::UNITS_PER_NS;
use monitor_common::containment::Containment;
use monitor_common::conversation::{Conversation, ConversationKey, Record};
use monitor_common::flow::{BanKey, SourceKey};
use monitor_common::record::{Ban, Event, SourceEntry};
use monitor_common::rule::Denial;

use crate::engine::kernel::{BanError, Counters, Guarded, Kernel};
use crate::snapshot::{AttachMode, MapUse, Rules};
use policy::config::Config;
use policy::{Environment, Image};

/// When its clock began: in 2026, as it lasts for 36 years.
const BEGAN: i128 = 1_767_225_600_000_000_000;

/// What the stand-in holds; a second engine on the same state is a restart of the daemon.
#[derive(Debug, Default)]
pub struct State {
    pub image: Option<Image>,
    pub flips: u32,
    pub bans: BTreeMap<(u64, u64), Ban>,
    pub ban_capacity: usize,
    pub contained: BTreeMap<(u64, u64), Containment>,
    pub refuses_rules: bool,
    pub sources: Vec<(SourceKey, SourceEntry)>,
    pub counters: Counters,
    pub events: Vec<Event>,
    pub records: Vec<Record>,
    pub conversations: Vec<(ConversationKey, Conversation)>,
    pub detached: bool,
    pub beats: u32,
}

#[derive(Clone, Debug)]
pub struct StandIn(Arc<Mutex<State>>);

impl Default for StandIn {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { ban_capacity: 100, ..State::default() })))
    }
}

impl StandIn {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Kernel for StandIn {
    fn environment(&self) -> Environment {
        let now = Timestamp::now();
        Environment { tick_ns: 4_000_000, hash_key: [1, 2], now, clock: self.clock(now) }
    }

    fn wall(&self, clock: u64) -> Timestamp {
        Timestamp::from_nanosecond(BEGAN + i128::from(clock / UNITS_PER_NS)).unwrap()
    }

    fn clock(&self, wall: Timestamp) -> u64 {
        u64::try_from((wall.as_nanosecond() - BEGAN).max(0)).unwrap() * UNITS_PER_NS
    }

    fn refresh_clock(&mut self) -> Result<()> {
        Ok(())
    }

    fn install(&mut self, image: &Image) -> Result<Rules> {
        let mut state = self.state();
        if state.refuses_rules {
            bail!("the stand-in refuses");
        }
        state.image = Some(image.clone());
        state.flips += 1;
        Ok(Rules { generation: state.flips % 2, flips: state.flips })
    }

    fn rules(&self) -> Result<Rules> {
        let flips = self.state().flips;
        Ok(Rules { generation: flips % 2, flips })
    }

    fn guard(&mut self, names: &[String], _config: &Config) -> Vec<Guarded> {
        let row = |(slot, name): (u32, &String)| {
            let (missing, taken) = (name.starts_with("missing"), name.starts_with("taken"));
            let unguarded = missing || taken;
            Guarded {
                name: name.clone(),
                slot,
                ifindex: if missing { 0 } else { slot + 10 },
                mode: if unguarded { AttachMode::Absent } else { AttachMode::Native },
                egress: false,
                problem: unguarded.then(|| format!("{name} cannot be guarded")),
            }
        };
        (1..).zip(names).map(row).collect()
    }

    fn sources(&mut self, rows: &mut Vec<(SourceKey, SourceEntry)>) -> Result<()> {
        rows.extend(&self.state().sources);
        Ok(())
    }

    fn counters(&self) -> Result<Counters> {
        Ok(self.state().counters.clone())
    }

    fn denials(&self, _count: u32) -> Result<Vec<Denial>> {
        Ok(Vec::new())
    }

    fn maps(&self) -> Result<Vec<MapUse>> {
        Ok(vec![MapUse { name: "BANS".to_owned(), entries: None, capacity: 100 }])
    }

    fn bans(&self) -> Result<Vec<(BanKey, Ban)>> {
        Ok(self
            .state()
            .bans
            .iter()
            .map(|((high, low), ban)| (BanKey { high: *high, low: *low }, *ban))
            .collect())
    }

    fn set_ban(&mut self, key: BanKey, ban: Ban) -> Result<(), BanError> {
        let mut state = self.state();
        let place = (key.high, key.low);
        if !state.bans.contains_key(&place) && state.bans.len() >= state.ban_capacity {
            return Err(BanError::Full(state.ban_capacity as u64));
        }
        state.bans.insert(place, ban);
        Ok(())
    }

    fn remove_ban(&mut self, key: BanKey) -> Result<bool> {
        Ok(self.state().bans.remove(&(key.high, key.low)).is_some())
    }

    fn contained(&self) -> Result<Vec<(BanKey, Containment)>> {
        let state = self.state();
        Ok(state
            .contained
            .iter()
            .map(|((high, low), one)| (BanKey { high: *high, low: *low }, *one))
            .collect())
    }

    fn contain(&mut self, key: BanKey, containment: Containment) -> Result<(), BanError> {
        let mut state = self.state();
        if state.contained.len() >= state.ban_capacity {
            return Err(BanError::Full(state.ban_capacity as u64));
        }
        state.contained.insert((key.high, key.low), containment);
        Ok(())
    }

    fn release(&mut self, key: BanKey) -> Result<()> {
        self.state().contained.remove(&(key.high, key.low));
        Ok(())
    }

    fn conversations(&self) -> Result<Vec<(ConversationKey, Conversation)>> {
        Ok(self.state().conversations.clone())
    }

    fn local_ends(&self) -> &[([u64; 2], u64)] {
        &[]
    }

    fn sweep(&mut self) -> Result<()> {
        Ok(())
    }

    fn forget_services(&mut self, _services: &[u32]) -> Result<()> {
        Ok(())
    }

    fn beat(&mut self) -> Result<()> {
        self.state().beats += 1;
        Ok(())
    }

    fn drain(&mut self, events: &mut Vec<Event>, records: &mut Vec<Record>) -> Result<()> {
        events.append(&mut self.state().events);
        records.append(&mut self.state().records);
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        self.state().detached = true;
        Ok(())
    }
}
