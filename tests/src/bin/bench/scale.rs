//! What very many rules and sources cost the daemon: its processor time, its memory, and how long it takes to answer.
//!
//! In: a daemon as it is shipped, in a private namespace. Out: one row for each figure, with what it must be. Bans are written into
//! the daemon's own table; sources come as live frames from as many addresses. Takes about six minutes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use monitor_common::flow::mapped_halves;
use monitor_common::names::map;
use monitor_common::plain::Plain as _;
use monitor_common::record::{Ban, origin};
use monitor_tests::harness::daemon::Daemon;
use monitor_tests::harness::live::{LiveFlood, Plan};
use monitor_tests::harness::network::{Network, Space};
use monitor_tests::harness::packet::packet;

use crate::machine::Machine;
use crate::report::{Cell, Report, Section};

const INTERFACE: &str = "scaled";
const OUTSIDE: &str = "outside";
/// Frames are sent from here.
const PROCESSOR: usize = 0;
/// How long processor time is counted.
const LOOK: Duration = Duration::from_secs(30);
/// Questions of each kind.
const ASKED: usize = 200;
const MILLION: u32 = 1_000_000;

const LARGE: &str = "[capacity]\nprefix_nodes = 4000000\ndenials = 1048576\n";

/// A host with a wire, and the rows so far.
struct Scale {
    network: Network,
    host: Space,
    outside: Space,
    figures: Section,
}

pub fn run(machine: Machine) -> Result<Report> {
    let mut network = Network::new()?;
    let (host, outside) = (network.space()?, network.space()?);
    network.link(&host, &outside, [(INTERFACE, &["10.82.0.1/16"]), (OUTSIDE, &["10.82.0.2/16"])])?;
    let figures = Section::new("figures", &["with", "what", "measured", "unit", "at most"]);
    let mut scale = Scale { network, host, outside, figures };
    scale.nothing()?;
    scale.bans(100_000)?;
    scale.bans(500_000)?;
    scale.list()?;
    scale.import(100_000)?;
    scale.import(MILLION)?;
    scale.sources(100_000, 262_144)?;
    scale.sources(MILLION, 1_966_080)?;
    drop(scale.network);
    Ok(Report { page: "scale", machine, rounds: 1, sections: vec![scale.figures] })
}

impl Scale {
    fn row(&mut self, with: &str, what: &str, measured: f64, unit: &str, most: Option<f64>) {
        eprintln!("{with}: {what}: {measured:.1} {unit}");
        let most = most.map_or_else(|| Cell::text(""), |most| Cell::number(most, 0));
        self.figures.row([
            Cell::text(with),
            Cell::text(what),
            Cell::number(measured, 1),
            Cell::text(unit),
            most,
        ]);
    }

    fn start(&self, rules: &str) -> Result<(Daemon, Duration)> {
        let mut daemon = Daemon::new(&self.host, &[INTERFACE], rules)?;
        let began = Instant::now();
        daemon.spawn()?;
        while ask(&daemon, "GET", "/v1/status", "").is_err() {
            ensure!(began.elapsed() < Duration::from_mins(1), "it did not start: {}", daemon.logged());
            thread::sleep(Duration::from_millis(2));
        }
        Ok((daemon, began.elapsed()))
    }

    /// The daemon's processor time and memory, and how long it takes to answer.
    fn look(&mut self, with: &str, daemon: &Daemon, bounds: [Option<f64>; 2]) -> Result<()> {
        let [most_time, most_memory] = bounds;
        let (before, began) = (processor_ms(daemon)?, Instant::now());
        thread::sleep(LOOK);
        let share = (processor_ms(daemon)? - before) / began.elapsed().as_secs_f64() / 10.0;
        self.row(with, "processor time", share, "% of a CPU", most_time);
        self.row(with, "memory of the process", resident_mib(daemon)?, "MiB", most_memory);
        for path in ["/v1/status", "/v1/explain/198.18.0.77", "/v1/sources?limit=100"] {
            let mut took = Vec::new();
            for _ in 0..ASKED {
                took.push(timed(|| ask(daemon, "GET", path, ""))?);
                // Against every part of the daemon's second.
                thread::sleep(Duration::from_millis(13));
            }
            took.sort_by(f64::total_cmp);
            let what = path.trim_start_matches("/v1/").split(['/', '?']).next().unwrap_or_default();
            self.row(with, &format!("`{what}`, median"), took[ASKED / 2], "ms", None);
            self.row(with, &format!("`{what}`, 99 of 100"), took[ASKED * 99 / 100], "ms", Some(20.0));
        }
        Ok(())
    }

    fn nothing(&mut self) -> Result<()> {
        let (daemon, ready) = self.start("")?;
        self.row("nothing", "ready after", ready.as_secs_f64() * 1e3, "ms", Some(300.0));
        self.look("nothing", &daemon, [None; 2])
    }

    fn bans(&mut self, count: u32) -> Result<()> {
        let (daemon, _) = self.start(&format!("[capacity]\nbans = {}\n", count + count / 4))?;
        let pinned = pinned(daemon.pins(), map::BANS).context("the daemon pins no table of bans")?;
        let mut bans = HashMap::<_, [u64; 2], [u8; size_of::<Ban>()]>::try_from(Map::HashMap(
            MapData::from_pin(pinned).context("open the table of bans")?,
        ))?;
        let ban = Ban { until: u64::MAX, strikes: 1, origin: origin::KERNEL, ..Ban::zeroed() };
        let value: [u8; size_of::<Ban>()] =
            ban.as_bytes().try_into().context("a ban is as long as its type")?;
        for source in sources(count) {
            bans.insert(mapped_halves(source.octets()), value, 0)?;
        }
        // Until the walk through the table was once around.
        thread::sleep(Duration::from_secs(5 + u64::from(count / 8192) * 2));
        let with = format!("{count} bans");
        let status = String::from_utf8_lossy(&ask(&daemon, "GET", "/v1/status", "")?).into_owned();
        ensure!(status.contains(&format!("\"by_kernel\":{count}")), "they are not counted: {status:.400}");
        self.look(&with, &daemon, [Some(1.0), None])?;
        self.one(&with, &daemon, "ban")
    }

    /// A list of a million prefixes, and one change beside it.
    fn list(&mut self) -> Result<()> {
        let (daemon, _) = self.start(LARGE)?;
        let before = resident_mib(&daemon)?;
        let list = daemon.config().with_file_name("list.txt");
        fs::write(&list, text(MILLION))?;
        let named = format!("{LARGE}[[access.lists]]\npath = \"{}\"\naction = \"deny\"\n", list.display());
        daemon.configure(&[INTERFACE], &named)?;
        let with = "a list of 1,000,000";
        let took = timed(|| ask(&daemon, "POST", "/v1/reload?yes=true", "{}"))?;
        self.row(with, "read and in force", took, "ms", Some(2000.0));
        self.one(with, &daemon, "deny")?;
        self.row(with, "more memory of the process", resident_mib(&daemon)? - before, "MiB", None);
        self.look(with, &daemon, [Some(1.0), None])
    }

    fn import(&mut self, count: u32) -> Result<()> {
        let (daemon, _) = self.start(LARGE)?;
        let with = format!("{count} imported");
        let body = serde_json::json!({ "name": "list.txt", "kind": "deny", "text": text(count) }).to_string();
        let took = timed(|| ask(&daemon, "POST", "/v1/access/import?yes=true", &body))?;
        let most = (count == MILLION).then_some(3000.0);
        self.row(&with, "imported", took, "ms", most);
        self.one(&with, &daemon, "deny")
    }

    /// One change after another.
    fn one(&mut self, with: &str, daemon: &Daemon, list: &str) -> Result<()> {
        let mut took = Vec::new();
        for last in 1..=20 {
            let body = serde_json::json!({ "prefix": format!("203.0.113.{last}/32") }).to_string();
            took.push(timed(|| ask(daemon, "POST", &format!("/v1/access/{list}?yes=true"), &body))?);
        }
        self.row(with, &format!("`{list}` for the first time"), took[0], "ms", None);
        let mut rest = took.split_off(2);
        rest.sort_by(f64::total_cmp);
        self.row(with, &format!("`{list}`, median"), rest[rest.len() / 2], "ms", Some(50.0));
        self.row(with, &format!("`{list}`, slowest"), rest[rest.len() - 1], "ms", None);
        Ok(())
    }

    fn sources(&mut self, count: u32, capacity: u32) -> Result<()> {
        let rules = format!(
            "[capacity]\nsources = {capacity}\n[flood]\nnew_sources = \"10M/s\"\nburst = 10000000\n\
             [conversations]\ntrack = \"off\"\n"
        );
        let (daemon, _) = self.start(&rules)?;
        let mac = self.host.run("cat", &[&format!("/sys/class/net/{INTERFACE}/address")])?;
        let mac: Vec<u8> =
            mac.trim().split(':').filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
        let mac: [u8; 6] = mac.try_into().ok().context("the address of the interface")?;
        let mut frame = packet()
            .macs([2, 0, 0, 0, 0, 9], mac)
            .between("198.18.0.1", "10.82.0.1")
            .udp(40_000, 7200)
            .payload_bytes(18)
            .build();
        // No checksum (RFC 768): the generator then has only the header's to keep.
        frame[40..42].fill(0);
        let plan = Plan {
            interface: OUTSIDE.to_owned(),
            frame,
            first: u32::from(Ipv4Addr::new(198, 18, 0, 0)),
            sources: u64::from(count).next_power_of_two(),
            per_second: u64::from(count) / 4,
            at_most: Duration::from_secs(90),
            processor: PROCESSOR,
        };
        let flood = LiveFlood::start(&self.outside, plan)?;
        thread::sleep(Duration::from_secs(8));
        let with = format!("{} live sources", u64::from(count).next_power_of_two());
        let bounds = if count == MILLION { [Some(10.0), Some(400.0)] } else { [Some(2.0), Some(100.0)] };
        self.look(&with, &daemon, bounds)?;
        flood.stop().map(drop)
    }
}

/// So many addresses, spread over all of them that no list must not name.
fn sources(count: u32) -> impl Iterator<Item = Ipv4Addr> {
    let all = (1..u32::MAX).map(|n| Ipv4Addr::from(n.wrapping_mul(2_654_435_761)));
    let fine = |address: &Ipv4Addr| {
        let [first, ..] = address.octets();
        (11..=126).contains(&first) || (128..=168).contains(&first)
    };
    all.filter(fine).take(count as usize)
}

fn text(count: u32) -> String {
    let mut text = String::new();
    for source in sources(count) {
        text.push_str(&source.to_string());
        text.push('\n');
    }
    text
}

/// The milliseconds that `work` takes.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// One request over the control socket.
fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(daemon.socket())?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let first = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let is_fine = first.ends_with(b"200 OK");
    ensure!(is_fine, "{method} {path}: {:.400}", String::from_utf8_lossy(&answer));
    Ok(answer)
}

fn pinned(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { pinned(&path, name) } else { (entry.file_name() == name).then_some(path) }
    })
}

/// The process itself: what starts it in its namespace becomes it.
fn processor_ms(daemon: &Daemon) -> Result<f64> {
    let id = daemon.id().context("the daemon runs")?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("a line of /proc")?;
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let second = rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "ticks as a figure")]
    let ms = ticks as f64 * 1000.0 / second as f64;
    Ok(ms)
}

fn resident_mib(daemon: &Daemon) -> Result<f64> {
    let id = daemon.id().context("the daemon runs")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
