//! A kernel and a host for tests: the kernel keeps what it is given and fails on request, the clock is set by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use monitor_common::bucket::UNITS_PER_NS;
use monitor_common::containment::Containment;
use monitor_common::conversation::{Conversation, ConversationKey, Record, outcome, record_kind};
use monitor_common::flow::{BanKey, SourceKey, mapped, protocol, tcp};
use monitor_common::plain::Plain;
use monitor_common::record::{Ban, Event, SourceEntry, origin};
use monitor_common::rule::Denial;

use super::command::Reply;
use super::delta::{ConfigSetting, Flags};
use super::panic::Step;
use super::ports::{Host, Neighbourhood};
use crate::store::Moment;
use api::Error;
use datapath::{AttachMode, BanError, Banned, Counters, Generation, Guarded, Interface, Kernel, MapUse};
use policy::config::AccessList;
use policy::config::Config;
use policy::{Edited, Environment, Image, ImportedList, Surroundings};

/// When its clock began: in 2026, as it lasts for 36 years.
const BEGAN: i128 = 1_767_225_600_000_000_000;

/// When every test begins.
const START: &str = "2026-11-27T06:00:00Z";

/// What the stand-in holds; a second core on the same state is a restart of the daemon.
#[derive(Debug, Default)]
pub struct State {
    /// Time since the test began.
    pub passed: Duration,
    /// By how much the wall clock was set, and what of it the kernel side knows.
    pub stepped: SignedDuration,
    pub followed: SignedDuration,
    /// The machine was booted so often.
    pub boots: u32,
    pub image: Option<Image>,
    /// Edits of it that were installed.
    pub edits: Vec<Edited>,
    pub flips: u32,
    /// The switch of `sluice panic`.
    pub passes_everything: bool,
    pub bans: BTreeMap<(u64, u64), Ban>,
    pub ban_capacity: usize,
    pub contained: BTreeMap<(u64, u64), Containment>,
    pub contacted: BTreeSet<(u64, u64)>,
    pub refuses_rules: bool,
    pub sources: Vec<(SourceKey, SourceEntry)>,
    pub counters: Counters,
    pub events: Vec<Event>,
    pub records: Vec<Record>,
    pub conversations: Vec<(ConversationKey, Conversation)>,
    pub detached: bool,
    pub beats: u32,
    /// Open connections of sources at services.
    pub held: HashMap<SourceKey, u32>,
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

    /// The test's clocks, which only [`StandIn::advance`] moves.
    pub fn moment(&self) -> Moment {
        let state = self.state();
        let wall = START.parse::<Timestamp>().unwrap() + state.passed + state.stepped;
        let since_boot = Duration::from_secs(1000) + state.passed;
        Moment { wall, since_boot, boot_id: format!("boot {}", state.boots) }
    }

    pub fn now(&self) -> Timestamp {
        self.moment().wall
    }

    pub fn advance(&self, time: Duration) {
        self.state().passed += time;
    }
}

impl Kernel for StandIn {
    fn environment(&self) -> Environment {
        let now = self.now();
        Environment { tick_ns: 4_000_000, hash_key: [1, 2], now, clock: self.clock(now) }
    }

    fn wall(&self, clock: u64) -> Timestamp {
        let followed = self.state().followed;
        Timestamp::from_nanosecond(BEGAN + i128::from(clock / UNITS_PER_NS)).unwrap() + followed
    }

    fn clock(&self, wall: Timestamp) -> u64 {
        let wall = wall - self.state().followed;
        u64::try_from((wall.as_nanosecond() - BEGAN).max(0)).unwrap() * UNITS_PER_NS
    }

    fn refresh_clock(&mut self) -> Result<()> {
        let mut state = self.state();
        state.followed = state.stepped;
        Ok(())
    }

    fn install(&mut self, image: &Image) -> Result<Generation> {
        let mut state = self.state();
        if state.refuses_rules {
            bail!("the stand-in refuses");
        }
        state.image = Some(image.clone());
        state.flips += 1;
        Ok(Generation { generation: state.flips % 2, flips: state.flips })
    }

    fn install_edit(&mut self, image: &Image, edited: &Edited) -> Result<Generation> {
        let generation = self.install(image)?;
        self.state().edits.push(edited.clone());
        Ok(generation)
    }

    fn rules(&self) -> Result<Generation> {
        let flips = self.state().flips;
        Ok(Generation { generation: flips % 2, flips })
    }

    fn pass_everything(&mut self, on: bool) -> Result<()> {
        self.state().passes_everything = on;
        Ok(())
    }

    fn passes_everything(&self) -> Result<bool> {
        Ok(self.state().passes_everything)
    }

    fn is_shaken(&self) -> bool {
        false
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

    fn open_connections(&self, of: &SourceKey) -> u32 {
        self.state().held.get(of).copied().unwrap_or(0)
    }

    fn denials(&self, _count: u32) -> Result<Vec<Denial>> {
        Ok(Vec::new())
    }

    fn maps(&self) -> Result<Vec<MapUse>> {
        Ok(vec![MapUse { name: "BANS", entries: None, capacity: 100 }])
    }

    fn bans(&self) -> Result<Vec<(BanKey, Ban)>> {
        Ok(self
            .state()
            .bans
            .iter()
            .map(|((high, low), ban)| (BanKey { high: *high, low: *low }, *ban))
            .collect())
    }

    fn ban(&self, key: BanKey) -> Result<Option<Ban>> {
        Ok(self.state().bans.get(&(key.high, key.low)).copied())
    }

    fn banned(&self) -> Banned {
        let (now, mut newest) = (self.environment().clock, self.bans().unwrap_or_default());
        let entries = newest.len() as u64;
        newest.retain(|(_, ban)| ban.until > now);
        let by_kernel = newest.iter().filter(|(_, ban)| ban.origin == origin::KERNEL).count();
        let by_operator = (newest.len() - by_kernel) as u64;
        Banned { entries, by_kernel: by_kernel as u64, by_operator, newest }
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

    fn is_contacted(&self, key: BanKey) -> bool {
        self.state().contacted.contains(&(key.high, key.low))
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

/// A host with one configuration file, whose sessions and workloads are set by the test.
#[derive(Clone, Debug, Default)]
pub struct StandHost {
    pub configuration: String,
    pub sessions: BTreeSet<IpAddr>,
    pub workloads: HashMap<u64, String>,
    pub lists: BTreeMap<PathBuf, String>,
    pub panic: Vec<Step>,
    /// Nothing can be kept.
    pub full: bool,
    /// Empty: eth0 to eth3.
    pub links: Vec<Interface>,
    pub last_good: Option<(ConfigSetting, Vec<ImportedList>)>,
    pub surroundings: Surroundings,
}

impl StandHost {
    pub fn setting(&self, flags: Flags) -> ConfigSetting {
        let path = Some("/etc/sluice/sluice.toml".to_owned());
        ConfigSetting { path, toml: self.configuration.clone(), flags }
    }
}

impl Host for StandHost {
    fn configuration(&mut self, _path: Option<&Path>, flags: Flags) -> Result<ConfigSetting, Error> {
        Ok(self.setting(flags))
    }

    fn list(&mut self, list: &AccessList) -> Result<Vec<u8>, String> {
        let name = list.name();
        let list = self.lists.get(Path::new(&name)).map(|text| text.clone().into_bytes());
        list.ok_or_else(|| format!("{name} cannot be read: there is none"))
    }

    fn network(&mut self) -> Neighbourhood {
        let (gateways, networks) = ("198.18.77.1".parse().unwrap(), "198.18.77.0/24".parse().unwrap());
        Neighbourhood { gateways: vec![gateways], networks: vec![networks] }
    }

    fn surroundings(&mut self) -> Surroundings {
        self.surroundings.clone()
    }

    fn links(&mut self) -> Result<Vec<Interface>> {
        if self.links.is_empty() { Ok((0..4).map(ethernet).collect()) } else { Ok(self.links.clone()) }
    }

    fn keep_last_good(
        &mut self,
        _directory: &Path,
        setting: &ConfigSetting,
        lists: &[ImportedList],
    ) -> Result<()> {
        self.last_good = Some((setting.clone(), lists.to_vec()));
        Ok(())
    }

    fn panic_steps(&mut self, _directory: &Path) -> Result<Vec<Step>> {
        Ok(self.panic.clone())
    }

    fn keep_panic_steps(&mut self, _directory: &Path, steps: &[Step]) -> Result<()> {
        anyhow::ensure!(!self.full, "the stand-in's disk is full");
        self.panic = steps.to_vec();
        Ok(())
    }

    fn sessions(&mut self) -> BTreeSet<IpAddr> {
        self.sessions.clone()
    }

    fn lifelines(&mut self) -> BTreeSet<IpAddr> {
        self.sessions.clone()
    }

    fn default_routes(&mut self) -> Result<Vec<String>> {
        Ok(vec!["eth0".to_owned()])
    }

    fn workload(&mut self, cgroup: u64) -> Option<String> {
        self.workloads.get(&cgroup).cloned()
    }

    fn cgroups(&mut self, workload: &str) -> Vec<u64> {
        self.workloads.iter().filter(|(_, name)| *name == workload).map(|(number, _)| *number).collect()
    }
}

/// `ethNUMBER`, up.
pub fn ethernet(number: u32) -> Interface {
    let name = format!("eth{number}");
    Interface { index: number + 2, name, up: true, ethernet: true, ..Interface::default() }
}

/// Refused connections from 10.0.0.5 to many ports of 10.0.0.9, as the kernel reports them.
pub fn scan_records(at: u64, first: u16, count: u16) -> Vec<Record> {
    let record = |port| {
        let mut record = Record::zeroed();
        record.initiator = mapped([10, 0, 0, 5]);
        record.responder = mapped([10, 0, 0, 9]);
        (record.at, record.first_seen, record.last_seen) = (at, at, at);
        record.kind = record_kind::STARTED;
        record.outcome = outcome::REFUSED;
        record.weight = 1;
        record.protocol = u32::from(protocol::TCP);
        (record.initiator_port, record.responder_port) = (40_000, port);
        record.forward_flags = u32::from(tcp::SYN);
        record.backward_flags = u32::from(tcp::RST | tcp::ACK);
        (record.forward.packets, record.backward.packets) = (1, 1);
        record
    };
    (first..first + count).map(record).collect()
}

/// A TCP conversation that ended, as the kernel reports it.
pub fn ended(from: &str, to: &str, port: u16, outcome: u32) -> Record {
    let address = |text: &str| match text.parse().unwrap() {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut record = Record::zeroed();
    (record.initiator, record.responder) = (address(from), address(to));
    record.kind = record_kind::ENDED;
    record.outcome = outcome;
    record.weight = 1;
    record.protocol = u32::from(protocol::TCP);
    (record.initiator_port, record.responder_port) = (40_000, port);
    (record.forward.packets, record.forward.bytes) = (1, 60);
    record
}

/// A reply, and where its answer arrives.
pub fn reply<T: Send + 'static>() -> (Reply<T>, Receiver<Result<T, Error>>) {
    let (sender, answer) = channel();
    (Reply::new(move |given| drop(sender.send(given))), answer)
}
