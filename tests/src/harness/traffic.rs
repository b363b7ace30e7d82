//! Mixtures of sources, made within the kernel: millions of packets in one test run over a loaded [`Program`], the
//! simulated clock moved for each of them.
//!
//! In: parts of a mixture, a rate, a number of packets. Out: how many each part sent; verdicts are in the program's
//! totals. Give each part a service of its own, and its packets are told apart there.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, PerCpuArray, PerCpuValues},
    programs::Xdp,
};
use monitor_common::names::{map, program};

use super::{
    kernel::{self, Run},
    network::unique,
    packet::packet,
    program::Program,
    rules::SECOND,
};

/// The object of the reference programs and the generators; empty in a build without a BPF toolchain.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice-reference"));

/// Refuses a build without a BPF toolchain.
pub fn object() -> Result<&'static [u8]> {
    ensure!(
        !OBJECT.is_empty(),
        "this build has no reference programs: run `cargo xtask setup`, then build again"
    );
    Ok(OBJECT)
}

/// How the sources of a part follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// At random.
    Random,
    /// One after the other, round and round.
    InTurn,
    /// Those of [`Mixture::list`], round and round.
    Listed,
}

/// Some of the sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Of all packets.
    pub share: f64,
    /// The first source.
    pub first: u32,
    /// How many sources: a power of two.
    pub sources: u64,
    pub order: Order,
    /// Destination port, and how many following ones are hit at random: a power of two.
    pub port: u16,
    pub ports: u16,
}

impl Part {
    /// All packets of these sources, at random, to one port.
    pub const fn new(share: f64, first: u32, sources: u64, port: u16) -> Self {
        Self { share, first, sources, order: Order::Random, port, ports: 1 }
    }

    const fn in_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    #[must_use]
    pub const fn in_turn(self) -> Self {
        self.in_order(Order::InTurn)
    }

    #[must_use]
    pub const fn listed(self) -> Self {
        self.in_order(Order::Listed)
    }
}

const PARTS: usize = 4;

/// A mixture over one program.
#[derive(Debug)]
pub struct Mixture<'a> {
    program: &'a Program,
    ebpf: Ebpf,
    frame: Vec<u8>,
}

impl<'a> Mixture<'a> {
    /// UDP over IPv4, as short as Ethernet allows.
    pub fn over(program: &'a Program) -> Result<Self> {
        // Map reuse goes through a pin.
        let pin = Path::new("/sys/fs/bpf").join(unique("sluice-test-clock-"));
        kernel::pin(program.map(map::CLOCK), &pin).context("pin the clock")?;
        let loaded = EbpfLoader::new()
            .map_pin_path("CLOCK", &pin)
            .map_max_entries("EXACT", 1)
            .map_max_entries("LRU", 128)
            .load(object()?);
        let _ = fs::remove_file(&pin);
        let mut ebpf = loaded.context("load the generators")?;
        let mixture: &mut Xdp = ebpf.program_mut("mixture").context("program mixture")?.try_into()?;
        datapath::uninterrupted(|| mixture.load()).context("load the mixture")?;
        let judge = ebpf.map("JUDGE").context("map JUDGE")?;
        let aya::maps::Map::ProgramArray(judge) = judge else { unreachable!("JUDGE is a program array") };
        let target = std::os::fd::AsRawFd::as_raw_fd(&program.descriptor(program::INGRESS)).to_ne_bytes();
        kernel::update(std::os::fd::AsFd::as_fd(judge.fd()), &0u32.to_ne_bytes(), &target)
            .context("put the program behind the mixture")?;
        Ok(Self { program, ebpf, frame: packet().udp(1000, 53).payload_bytes(18).build() })
    }

    /// The sources that [`Order::Listed`] goes through; their number is rounded down to a power of two.
    pub fn list(&mut self, sources: &[u32]) -> Result<()> {
        let mut list: Array<_, u32> = Array::try_from(self.ebpf.map_mut("LIST").context("map LIST")?)?;
        for (place, source) in (0..).zip(sources) {
            list.set(place, source, 0)?;
        }
        Ok(())
    }

    /// Sends so many packets, of all parts together so many a second by the simulated clock, and begins at the moment
    /// `at`. How many each part sent, and the moment of the last packet.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and shares"
    )]
    pub fn run(&mut self, parts: &[Part], per_second: f64, packets: u32, at: u64) -> Result<(Vec<u64>, u64)> {
        ensure!(parts.len() <= PARTS, "at most {PARTS} parts");
        ensure!(packets <= 100_000_000, "{packets} packets are too many for one run");
        self.program.set_clock(at);
        let before = self.counts()?;
        let mut map: Array<_, [u64; 4]> = Array::try_from(self.ebpf.map_mut("PARTS").context("map PARTS")?)?;
        let mut share = 0.0;
        for (place, part) in (0..).zip(parts) {
            ensure!(
                part.sources.is_power_of_two() && part.ports.is_power_of_two(),
                "powers of two: {part:?}"
            );
            share += part.share;
            let manner = u64::from(part.port)
                | u64::from(part.ports - 1) << 16
                | u64::from(part.order == Order::InTurn) << 32
                | u64::from(part.order == Order::Listed) << 33;
            let bound = if place as usize + 1 == parts.len() { 1 << 16 } else { (share * 65536.0) as u64 };
            map.set(place, [bound, part.sources - 1, u64::from(part.first), manner], 0)?;
        }
        let step = (SECOND as f64 * 256.0 / per_second) as u64;
        Array::<_, u64>::try_from(self.ebpf.map_mut("STEP").context("map STEP")?)?.set(0, step, 0)?;
        let mixture: &Xdp = self.ebpf.program("mixture").context("program mixture")?.try_into()?;
        kernel::run(std::os::fd::AsFd::as_fd(mixture.fd()?), &self.frame, Run { repeat: packets, linear: 0 })
            .context("run the mixture")?;
        let sent = self.counts()?.iter().zip(before).map(|(after, before)| after - before).collect();
        let reading: monitor_common::record::ClockReading = self.program.read(map::CLOCK, 0);
        Ok((sent, reading.now))
    }

    /// Packets of each part so far.
    fn counts(&self) -> Result<Vec<u64>> {
        let state: PerCpuArray<_, u64> = PerCpuArray::try_from(self.ebpf.map("STATE").context("map STATE")?)?;
        let sum = |place: u32| -> Result<u64> {
            let values: PerCpuValues<u64> = state.get(&place, 0)?;
            Ok(values.iter().sum())
        };
        (2..2 + u32::try_from(PARTS)?).map(sum).collect()
    }
}
