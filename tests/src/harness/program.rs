//! The object under test, loaded but attached nowhere: frames in, verdicts and counters out, the clock in the test's hand.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, RingBuf},
    programs::{Program as AyaProgram, Xdp, xdp::XdpMode},
};
use monitor_common::{
    names::{capacity, global, map, program},
    plain::Plain,
    record::{ClockReading, Event, ParsedRecord},
    table,
};

use super::{
    kernel::{self, Ran, Run},
    network::Space,
};

/// `XDP_ABORTED`, `XDP_DROP` and `XDP_PASS`.
pub const ABORTED: u32 = 0;
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
/// `XDP_TX`.
pub const TX: u32 = 3;

/// The loaded object.
#[derive(Debug)]
pub struct Program {
    ebpf: Ebpf,
    cpus: usize,
    /// Sets of the exact table.
    sets: u32,
}

impl Program {
    /// Loads the object with a clock that only [`Program::set_clock`] moves; an error says why this machine cannot.
    ///
    /// # Panics
    /// When the kernel's verifier refuses the object: that is a failure on any machine.
    pub fn load() -> Result<Self> {
        Self::load_with(&[], &[program::INGRESS, program::PARSE])
    }

    /// Loads the parser alone.
    ///
    /// # Panics
    /// As for [`Program::load`].
    pub fn load_parser() -> Result<Self> {
        Self::load_with(&[], &[program::PARSE])
    }

    /// Loads some programs with other capacities of maps.
    ///
    /// # Panics
    /// As for [`Program::load`].
    pub fn load_with(entries: &[(&'static str, u32)], programs: &[&str]) -> Result<Self> {
        let object = object()?;
        ensure!(rustix::process::geteuid().is_root(), "loading programs needs root");
        Ok(Self::load_object(object, entries, programs)
            .unwrap_or_else(|error| panic!("{}", shortened(&error))))
    }

    fn load_object(object: &[u8], entries: &[(&'static str, u32)], programs: &[&str]) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        let clock = 1u32;
        loader.override_global(global::CLOCK_SOURCE, &clock, true);
        let sources = entries.iter().find(|(name, _)| *name == map::SOURCES).map(|(_, count)| *count);
        let sets = sources.unwrap_or(capacity::SOURCES) / table::WAYS;
        loader.override_global(global::SOURCE_SETS, &sets, true).map_max_entries(map::SOURCE_TAGS, sets);
        for (name, count) in entries {
            loader.map_max_entries(name, *count);
        }
        let mut ebpf = loader.load(object).context("load the object")?;
        for name in programs {
            let found = ebpf.program_mut(name).ok_or_else(|| anyhow!("the object has no program {name}"))?;
            let xdp: &mut Xdp = found.try_into()?;
            datapath::uninterrupted(|| xdp.load()).with_context(|| format!("load {name}"))?;
        }
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
        Ok(Self { ebpf, cpus, sets })
    }

    /// A program that passes every frame, on an interface of a namespace until it is dropped: only with one does a veth take
    /// what its peer's program transmits.
    ///
    /// # Errors
    /// When the interface takes none.
    pub fn passing(space: &Space, interface: &str) -> Result<Self> {
        let mut program = Self::load_with(&[], &[program::CLOCK])?;
        let interface = interface.to_owned();
        let thread = space.enter(move || -> Result<Self> {
            let found = program.ebpf.program_mut(program::CLOCK).context("the object has no clock")?;
            let xdp: &mut Xdp = found.try_into()?;
            xdp.attach(&interface, XdpMode::Driver).context("attach a program that passes all")?;
            Ok(program)
        })?;
        thread.join().map_err(|_| anyhow!("the attaching thread died"))?
    }

    /// A descriptor of one of its XDP programs.
    ///
    /// # Panics
    /// When the object has no such program.
    pub fn descriptor(&self, name: &str) -> BorrowedFd<'_> {
        let Some(AyaProgram::Xdp(xdp)) = self.ebpf.program(name) else { panic!("no XDP program {name}") };
        xdp.fd().expect("the program is loaded").as_fd()
    }

    /// A descriptor of one of its maps.
    ///
    /// # Panics
    /// When the object has no such map.
    pub fn map(&self, name: &str) -> BorrowedFd<'_> {
        let found = self.ebpf.map(name).unwrap_or_else(|| panic!("the object has no map {name}"));
        let (Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuHashMap(data)
        | Map::RingBuf(data)) = found
        else {
            panic!("{name} is of a kind that no test reads")
        };
        data.fd().as_fd()
    }

    /// Judges `frame` so many times and gives the last verdict.
    ///
    /// # Panics
    /// When the kernel refuses the run.
    pub fn judge(&self, frame: &[u8], times: u32) -> Ran {
        // A repeated run makes the kernel patch its XDP dispatcher and wait for a grace period, twice: many single runs
        // are quicker.
        const FEW: u32 = 20_000;
        let (calls, repeat) = if times <= FEW { (times, 1) } else { (1, times) };
        let mut last = None;
        for _ in 0..calls {
            last = Some(self.run(program::INGRESS, frame, Run { repeat, linear: 0 }));
        }
        last.expect("at least one run was asked for")
    }

    /// Judges `frame` once with only its first `linear` bytes in the linear part.
    pub fn judge_in_fragments(&self, frame: &[u8], linear: u32) -> Ran {
        self.run(program::INGRESS, frame, Run { repeat: 1, linear })
    }

    /// Judges `frame` once: the verdict, and what the frame is then.
    ///
    /// # Panics
    /// As for [`Program::judge`].
    pub fn answer(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        kernel::changed(self.descriptor(program::INGRESS), frame)
            .unwrap_or_else(|error| panic!("{} bytes: {error}", frame.len()))
    }

    fn run(&self, name: &str, frame: &[u8], how: Run) -> Ran {
        kernel::run(self.descriptor(name), frame, how)
            .unwrap_or_else(|error| panic!("{name} over {} bytes: {error}", frame.len()))
    }

    /// What the kernel's parser makes of `frame`.
    pub fn parse(&self, frame: &[u8], linear: u32) -> ParsedRecord {
        self.run(program::PARSE, frame, Run { repeat: 1, linear });
        self.read(map::PARSED, 0)
    }

    /// Sets the programs' clock, in clock units.
    pub fn set_clock(&self, now: u64) {
        self.write(map::CLOCK, 0u32, &ClockReading { now, jiffies: 0, ktime_ns: 0, judged: 0 });
    }

    /// Values of each key of a per-CPU map.
    pub const fn cpus(&self) -> usize {
        self.cpus
    }

    /// Sets of the exact table.
    pub const fn sets(&self) -> u32 {
        self.sets
    }

    /// How many slots of the exact table are taken.
    pub fn entries(&self) -> u32 {
        (0..self.sets).map(|set| table::WAYS - table::free(self.read(map::SOURCE_TAGS, set))).sum()
    }

    /// Takes every slot of the exact table for nobody.
    pub fn leave_no_room(&self) {
        for set in 0..self.sets {
            self.write(map::SOURCE_TAGS, set, &[u64::MAX; 2]);
        }
    }

    /// A value of an array.
    ///
    /// # Panics
    /// When the index is beyond the map.
    pub fn read<T: Plain>(&self, name: &str, index: u32) -> T {
        self.find(name, &index).unwrap_or_else(|| panic!("{name}[{index}]"))
    }

    /// The values of a per-CPU array, one per possible CPU.
    ///
    /// # Panics
    /// When the index is beyond the map.
    pub fn read_per_cpu<T: Plain>(&self, name: &str, index: u32) -> Vec<T> {
        let stride = size_of::<T>().next_multiple_of(8);
        let mut bytes = vec![0; stride * self.cpus];
        let found = kernel::lookup(self.map(name), index.as_bytes(), &mut bytes);
        assert!(found.is_ok_and(|found| found), "{name}[{index}]");
        bytes.chunks(stride).filter_map(T::from_bytes).collect()
    }

    /// A value of a hash table.
    ///
    /// # Panics
    /// When the kernel refuses for any other reason than that there is none.
    pub fn find<K: Plain, T: Plain>(&self, name: &str, key: &K) -> Option<T> {
        let mut bytes = vec![0; size_of::<T>()];
        let found = kernel::lookup(self.map(name), key.as_bytes(), &mut bytes);
        let found = found.unwrap_or_else(|error| panic!("look up in {name}: {error}"));
        found.then(|| T::from_bytes(&bytes)).flatten()
    }

    /// Writes a value of an array or a hash table.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn write<K: Plain, T: Plain>(&self, name: &str, key: K, value: &T) {
        kernel::update(self.map(name), key.as_bytes(), value.as_bytes())
            .unwrap_or_else(|error| panic!("write {name}: {error}"));
    }

    /// Takes a key out of a hash table; whether it was there.
    pub fn remove<K: Plain>(&self, name: &str, key: &K) -> bool {
        kernel::delete(self.map(name), key.as_bytes()).is_ok()
    }

    /// The events that wait in the ring, oldest first.
    ///
    /// # Panics
    /// When the object has no such ring.
    pub fn events(&mut self) -> Vec<Event> {
        let ring = self.ebpf.map_mut(map::EVENTS).expect("the object has a ring of events");
        let mut ring = RingBuf::try_from(ring).expect("EVENTS is a ring");
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.extend(Event::from_bytes(&item));
        }
        events
    }

    /// Every key of a hash table.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn keys<K: Plain>(&self, name: &str) -> Vec<K> {
        let mut keys = Vec::new();
        let mut next = vec![0; size_of::<K>()];
        let mut last: Option<Vec<u8>> = None;
        while kernel::next_key(self.map(name), last.as_deref(), &mut next).expect("walk the map") {
            keys.extend(K::from_bytes(&next));
            last = Some(next.clone());
        }
        keys
    }
}

/// A verifier's log may be megabytes; its first lines name the program, its last ones the trouble.
fn shortened(error: &anyhow::Error) -> String {
    let whole = format!("{error:#}");
    let end = whole.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
    let start = whole.char_indices().nth(200).map_or(whole.len(), |(at, _)| at);
    if start >= end { whole } else { format!("{} .. {}", &whole[..start], &whole[end..]) }
}

/// The object that the daemon embeds.
fn object() -> Result<&'static [u8]> {
    let object = datapath::embedded();
    ensure!(!object.is_empty(), "built without a BPF toolchain: run `cargo xtask setup`, then build again");
    Ok(object)
}
