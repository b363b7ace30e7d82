//! The host as the core asks for it: files, sessions, routes, cgroups; and the clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use datapath::Interface;
use jiff::Timestamp;

use super::fetch::Copy;
use super::workloads::Workloads;
use super::{last_good, links, operators, panic_file, regular, surroundings};
use crate::core::Host;
use crate::core::delta::{ConfigSetting, Flags};
use crate::core::panic::Step;
use crate::core::ports::Neighbourhood;
use crate::snapshot::Process;
use crate::store::Moment;
use api::{Code, Error};
use policy::config::{AccessList, Config};
use policy::{ImportedList, Surroundings};

/// Larger files are a mistake, not a configuration.
const LARGEST_FILE: u64 = 16 << 20;
/// Larger lists are no lists.
const LARGEST_LIST: u64 = 64 << 20;

/// The file that is read when none is named and this one exists.
pub const DEFAULT_PATH: &str = "/etc/sluice/sluice.toml";

/// This machine.
#[derive(Debug, Default)]
pub struct Machine {
    state: PathBuf,
    workloads: Workloads,
    kept: last_good::Kept,
    /// Fetched lists of which no copy could be kept.
    unkept: BTreeMap<String, Vec<u8>>,
}

impl Machine {
    /// With its copies of lists below `state`.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), ..Self::default() }
    }

    /// A list was fetched. Its bytes are held only where there is no copy.
    pub fn fetched(&mut self, name: &str, unkept: Option<Vec<u8>>) {
        self.unkept.remove(name);
        self.unkept.extend(unkept.map(|bytes| (name.to_owned(), bytes)));
    }
}

impl Host for Machine {
    fn configuration(&mut self, path: Option<&Path>, flags: Flags) -> Result<ConfigSetting, Error> {
        read_configuration(path, flags)
    }

    fn list(&mut self, list: &AccessList) -> Result<Vec<u8>, String> {
        if let Some(path) = &list.path {
            return regular::read(path, LARGEST_LIST);
        }
        let name = list.name();
        if let Some(bytes) = self.unkept.get(&name) {
            return Ok(bytes.clone());
        }
        let copy = Copy::of(list.url.as_deref().unwrap_or_default(), &self.state);
        if copy.is_there() { copy.read(LARGEST_LIST) } else { Err(format!("{name} was never fetched")) }
    }

    fn network(&mut self) -> Neighbourhood {
        links::neighbourhood()
    }

    fn surroundings(&mut self) -> Surroundings {
        surroundings::look()
    }

    fn links(&mut self) -> Result<Vec<Interface>> {
        datapath::list_interfaces()
    }

    fn keep_last_good(
        &mut self,
        directory: &Path,
        setting: &ConfigSetting,
        lists: &[ImportedList],
    ) -> Result<()> {
        self.kept.keep(directory, setting, lists)
    }

    fn panic_steps(&mut self, directory: &Path) -> Result<Vec<Step>> {
        panic_file::read(directory)
    }

    fn keep_panic_steps(&mut self, directory: &Path, steps: &[Step]) -> Result<()> {
        panic_file::write(directory, steps)
    }

    fn sessions(&mut self) -> BTreeSet<IpAddr> {
        operators::established()
    }

    fn lifelines(&mut self) -> BTreeSet<IpAddr> {
        let mut all = operators::authenticated();
        all.extend(links::neighbourhood().gateways);
        all
    }

    fn default_routes(&mut self) -> Result<Vec<String>> {
        links::with_default_route()
    }

    fn workload(&mut self, cgroup: u64) -> Option<String> {
        self.workloads.name(cgroup, Instant::now()).map(str::to_owned)
    }

    fn cgroups(&mut self, workload: &str) -> Vec<u64> {
        self.workloads.numbers(workload, Instant::now())
    }
}

/// The file that is read: the one that was named, or the usual one if it exists.
pub fn configuration_path(named: Option<&Path>) -> Option<&Path> {
    let usual = Path::new(DEFAULT_PATH);
    named.or_else(|| usual.exists().then_some(usual))
}

/// Reads the file at `path`; without one the file at [`DEFAULT_PATH`], and without that the embedded default.
pub fn read_configuration(path: Option<&Path>, flags: Flags) -> Result<ConfigSetting, Error> {
    let Some(path) = configuration_path(path) else {
        return Ok(ConfigSetting { path: None, toml: Config::default_file().to_owned(), flags });
    };
    let toml = read_file(path).map_err(|why| {
        Error::new(Code::Invalid, why).next("`sluice config default` prints a file to begin with")
    })?;
    Ok(ConfigSetting { path: Some(path.display().to_string()), toml, flags })
}

fn read_file(path: &Path) -> Result<String, String> {
    let bytes = regular::read(path, LARGEST_FILE)?;
    String::from_utf8(bytes).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// The machine's clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    boot_id: String,
}

impl Clock {
    pub fn open() -> Result<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot id")?;
        Ok(Self { boot_id: boot_id.trim().to_owned() })
    }

    pub fn now(&self) -> Moment {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_boot = Duration::new(boot.tv_sec.unsigned_abs(), u32::try_from(boot.tv_nsec).unwrap_or(0));
        Moment { wall: Timestamp::now(), since_boot, boot_id: self.boot_id.clone() }
    }
}

/// Processor time of this thread: what its work costs, however busy the host is with other things.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What the process costs, as the kernel accounts it.
pub fn process() -> Process {
    // The fields of proc_pid_stat(5) behind the command's closing bracket; the state, the third, comes first.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let field =
        |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let most_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Process {
        resident_bytes: field(24) * rustix::param::page_size() as u64,
        cpu_seconds: seconds_of(field(14) + field(15)),
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        virtual_bytes: field(23),
        threads: field(20),
        most_files: most_files.unwrap_or(u64::MAX),
        started_seconds: started(seconds_of(field(22))),
    }
}

/// Clock ticks of the kernel's accounts in seconds.
#[expect(clippy::cast_precision_loss, reason = "seconds need no more than 53 bits")]
fn seconds_of(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// When a process that began so many seconds after the boot did so; worked out once, as wall clocks are set.
fn started(after_boot: f64) -> f64 {
    static STARTED: OnceLock<f64> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let age = Duration::new(boot.tv_sec.unsigned_abs(), 0).as_secs_f64() - after_boot;
        Timestamp::now().as_duration().as_secs_f64() - age
    })
}
