//! How fast a replay is: `cargo run --release -p monitor --example replay_figures [PACKETS]`, as root. The figures in
//! docs/bench/replay.md are from it. Synthetic captures, written beside each other and replayed three times.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use anyhow::{Context as _, Result};
use monitor::replay::{Options, replay};
use policy::config::Config;
use rustix::time::{ClockId, clock_gettime};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A capture that grows.
struct Writer {
    file: BufWriter<File>,
    at_us: u64,
    random: u64,
    packets: u64,
}

#[derive(Clone, Copy)]
struct End(u32, u16);

impl Writer {
    fn new(file: File) -> Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
            file.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { file, at_us: 1_700_000_000_000_000, random: 1, packets: 0 })
    }

    fn below(&mut self, bound: u64) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.random >> 33) % bound).unwrap_or_default()
    }

    /// A TCP segment or, without flags, a UDP datagram.
    fn put(&mut self, from: End, to: End, flags: Option<u8>, payload: u32) -> Result<()> {
        let upper = if flags.is_some() { 20 } else { 8 };
        let total = 20 + upper + payload;
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend(u16::try_from(total)?.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, if flags.is_some() { 6 } else { 17 }, 0, 0]);
        frame.extend(from.0.to_be_bytes());
        frame.extend(to.0.to_be_bytes());
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        match flags {
            Some(flags) => frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]),
            None => frame.extend([u16::try_from(8 + payload)?.to_be_bytes(), [0, 0]].concat()),
        }
        frame.resize(14 + total as usize, 0);
        let (seconds, fraction) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        let length = u32::try_from(frame.len())?;
        for word in [u32::try_from(seconds)?, u32::try_from(fraction)?, length, length] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        self.file.write_all(&frame)?;
        self.at_us += 20;
        self.packets += 1;
        Ok(())
    }

    /// Clients that fetch from servers: a handshake, some data, an end that nobody says.
    fn office(&mut self, packets: u64) -> Result<()> {
        let mut ports = 1_u16;
        while self.packets < packets {
            ports = ports.wrapping_add(1) | 1024;
            let client = End(0x0a00_0000 | self.below(2000), ports);
            if self.below(3) == 0 {
                let resolver = End(0x0a00_ff35, 53);
                self.put(client, resolver, None, 40)?;
                self.put(resolver, client, None, 120)?;
                continue;
            }
            let server = End(0xc633_6400 | self.below(200), 443);
            self.put(client, server, Some(SYN), 0)?;
            self.put(server, client, Some(SYN | ACK), 0)?;
            self.put(client, server, Some(ACK), 0)?;
            for _ in 0..self.below(40) {
                self.put(client, server, Some(ACK), 60)?;
                let payload = self.below(1200);
                self.put(server, client, Some(ACK), payload)?;
            }
            self.put(client, server, Some(ACK | 1), 0)?;
            self.put(server, client, Some(ACK | 1), 0)?;
        }
        Ok(())
    }

    /// SYNs of all the world to one server.
    fn flood(&mut self, packets: u64) -> Result<()> {
        while self.packets < packets {
            let from = End(self.below(1 << 31) | 0x2000_0000, 1024);
            self.put(from, End(0x0a00_0001, 443), Some(SYN), 0)?;
        }
        Ok(())
    }

    /// One source that tries everything.
    fn scan(&mut self, packets: u64) -> Result<()> {
        while self.packets < packets {
            let to = End(0x0a01_0000 | self.below(60_000), 1 + u16::try_from(self.below(1000))?);
            self.put(End(0x0a00_0009, 40_000), to, Some(SYN), 0)?;
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let packets = std::env::args().nth(1).map_or(Ok(2_000_000), |count| count.parse())?;
    let directory = std::env::temp_dir().join(format!("sluice-replay-figures-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let measured = measure(packets, &directory.join("capture"));
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn measure(packets: u64, path: &std::path::Path) -> Result<()> {
    type Traffic = fn(&mut Writer, u64) -> Result<()>;
    let kinds: [(&str, Traffic); 3] =
        [("office", Writer::office), ("spoofed flood", Writer::flood), ("scan", Writer::scan)];
    for (name, traffic) in kinds {
        let mut writer = Writer::new(File::create(path)?)?;
        traffic(&mut writer, packets)?;
        writer.file.flush()?;
        let file_bytes = Some(std::fs::metadata(path)?.len());
        for _ in 0..3 {
            let (began, before) = (Instant::now(), cpu());
            let options = Options { file_bytes, ..Options::new(Config::embedded()) };
            let replayed = replay(File::open(path).context("open the capture")?, &options)?;
            let (packets, took) = (replayed.report.capture.packets, began.elapsed().as_secs_f64());
            let used = cpu_since(before).map(|seconds| seconds * 1e9 / packets as f64);
            println!(
                "{name:14} {packets} packets, {} records, {} findings: {took:.2} s, {:.0} packets/s; CPU per packet: reading \
                 and detecting {:.0} ns, judging {:.0} ns {:?}",
                replayed.records,
                replayed.report.findings.len(),
                packets as f64 / took,
                used[0],
                used[1],
                replayed.notes
            );
        }
    }
    Ok(())
}

/// What this thread and all others of this process have used, in seconds.
fn cpu() -> [f64; 2] {
    let seconds = |clock| {
        let spent = clock_gettime(clock);
        spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
    };
    let own = seconds(ClockId::ThreadCPUTime);
    [own, seconds(ClockId::ProcessCPUTime) - own]
}

fn cpu_since(before: [f64; 2]) -> [f64; 2] {
    let now = cpu();
    [now[0] - before[0], now[1] - before[1]]
}
