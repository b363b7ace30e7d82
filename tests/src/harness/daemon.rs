//! The built `sluice` within a private namespace: started, asked, told, killed, and nothing of it left afterwards.
//!
//! In: a namespace, an interface and the text of a configuration. Out: what the command line and the metrics page say.

mod figures;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::network::{Process, Space, eventually, sweep, unique};

/// How long a start may take: the verifier works through the programs meanwhile, on a machine that may be busy.
const START: Duration = Duration::from_mins(1);

/// How long anything else may take that is done in a moment: bounded, so that a test ends, and never what it measures.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The wall clock of one process: the machine's own, and an offset from a file.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long *off;
__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("SLUICE_TEST_CLOCK"), O_RDONLY);
    if (file < 0) abort();
    off = mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && clock == CLOCK_REALTIME && off) at->tv_sec += *off;
    return failed;
}
"#;

/// How pin directories are called.
const PINS: &str = "sluice-test-";

/// A daemon with its own configuration, socket, state, pins and metrics page.
#[derive(Debug)]
pub struct Daemon {
    space: Space,
    directory: TempDir,
    pins: PathBuf,
    /// Files that lie in place of the machine's own while it runs.
    instead: Vec<(PathBuf, &'static str)>,
    /// What starts it, with the arguments before its own.
    starter: Vec<String>,
    /// What its environment has besides.
    environment: Vec<(&'static str, PathBuf)>,
    process: Option<Process>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub error: String,
}

impl Said {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// # Errors
    /// When the command failed, with what it said.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "exit code {}: {}{}", self.code, self.error, self.out);
        Ok(self.out)
    }
}

/// The binary under test: `SLUICE_BIN`, or the one beside this test's own directory.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("SLUICE_BIN") {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("find this test's own binary")?;
    let mut places = own.ancestors().skip(1).take(3).map(|place| place.join("sluice"));
    places.find(|place| place.is_file()).context("`sluice` is not built: run `cargo build` first")
}

/// What this machine lacks for running a daemon.
pub fn possible() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "the daemon needs root");
    ensure!(!datapath::embedded().is_empty(), "built without a BPF toolchain: run `cargo xtask setup`");
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let mounted = mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/bpf"));
    ensure!(mounted, "no BPF file system at /sys/fs/bpf: run `cargo xtask setup`");
    binary().map(drop)
}

impl Daemon {
    /// A daemon that is not started yet.
    pub fn new(space: &Space, interfaces: &[&str], rules: &str) -> Result<Self> {
        possible()?;
        sweep(Path::new("/sys/fs/bpf"), PINS, |_, pins| drop(fs::remove_dir_all(pins)));
        let directory = tempfile::Builder::new().prefix("sluice-test-").tempdir()?;
        let pins = PathBuf::from("/sys/fs/bpf").join(unique(PINS));
        let daemon = Self {
            space: space.clone(),
            directory,
            pins,
            instead: Vec::new(),
            starter: Vec::new(),
            environment: Vec::new(),
            process: None,
        };
        daemon.configure(interfaces, rules)?;
        Ok(daemon)
    }

    /// Starts a daemon and waits until it answers.
    pub fn start(space: &Space, interfaces: &[&str], rules: &str) -> Result<Self> {
        let mut daemon = Self::new(space, interfaces, rules)?;
        daemon.run()?;
        Ok(daemon)
    }

    /// Writes the configuration: `rules`, behind the places that are this daemon's own. `rules` must not name
    /// `[interfaces]`, `[control]`, `[metrics]`, `[state]` or `[bpf]`.
    pub fn configure(&self, interfaces: &[&str], rules: &str) -> Result<()> {
        let at = self.directory.path().display();
        let pins = self.pins.display();
        let text = format!(
            "interfaces.names = {interfaces:?}\ncontrol.socket = \"{at}/run/control.sock\"\n\
             state.directory = \"{at}/state\"\nbpf.pin_directory = \"{pins}\"\n{rules}\n"
        );
        fs::write(self.config(), text).context("write the configuration")
    }

    /// Lets the daemon find a user `sluice` on its host, of these numbers. Its pins are in a directory that only root enters.
    pub fn give_user(&mut self, uid: u32, gid: u32) -> Result<()> {
        let at = self.directory.path();
        // The user passes through; what lies below is closed by its own modes.
        fs::set_permissions(at, fs::Permissions::from_mode(0o711))?;
        let (passwd, group) = (at.join("passwd"), at.join("group"));
        let root = fs::read_to_string("/etc/passwd")?;
        fs::write(&passwd, format!("{root}\nsluice:x:{uid}:{gid}::/nonexistent:/usr/sbin/nologin\n"))?;
        fs::write(&group, format!("{}\nsluice:x:{gid}:\n", fs::read_to_string("/etc/group")?))?;
        self.instead = vec![(passwd, "/etc/passwd"), (group, "/etc/group")];
        fs::create_dir(&self.pins)?;
        fs::set_permissions(&self.pins, fs::Permissions::from_mode(0o700))?;
        self.pins.push("sluice");
        Ok(())
    }

    /// Lets the daemon, and nobody else, see a wall clock that [`Daemon::set_clock`] sets.
    pub fn give_clock(&mut self) -> Result<()> {
        let at = self.directory.path();
        let (source, library) = (at.join("clock.c"), at.join("clock.so"));
        fs::write(&source, CLOCK)?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        let said = Said::of(&compile.output().context("the test needs a C compiler")?);
        said.ok().context("compile the clock")?;
        self.environment = vec![("LD_PRELOAD", library), ("SLUICE_TEST_CLOCK", at.join("clock"))];
        self.set_clock(0)
    }

    /// The daemon's wall clock is so many seconds off from now on.
    pub fn set_clock(&self, off: i64) -> Result<()> {
        let mut options = fs::File::options();
        options.create(true).truncate(false).write(true);
        let file = options.open(self.directory.path().join("clock"))?;
        // In place, because the daemon has mapped the file.
        std::os::unix::fs::FileExt::write_all_at(&file, &off.to_ne_bytes(), 0).context("set the clock")
    }

    /// The kernel refuses one system call of the daemon, the `number`-th of its name, with this error.
    pub fn refuse(&mut self, call: &str, error: &str, number: u32) {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={number}"));
        let calls = self.refused().display().to_string();
        let strace = ["strace", "-f", "-qq", "-e", &trace, "-e", &inject, "-o", &calls];
        self.starter = strace.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Where the calls that may be refused are written.
    pub fn refused(&self) -> PathBuf {
        self.directory.path().join("calls")
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("sluice.toml")
    }

    pub fn pins(&self) -> &PathBuf {
        &self.pins
    }

    /// Where the control socket is.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/control.sock")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What the daemon has logged.
    pub fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Starts it (again) and waits until it answers.
    pub fn run(&mut self) -> Result<()> {
        self.spawn()?;
        let status = eventually("the daemon answers", START, || {
            let process = self.process.as_mut()?;
            if !process.runs() {
                return Some(Err(()));
            }
            self.json(&["status"]).ok().map(Ok)
        });
        match status {
            Ok(Ok(_)) => Ok(()),
            _ => bail!("the daemon did not start: {}", self.logged()),
        }
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        fs::create_dir_all(self.directory.path().join("run"))?;
        let log = fs::File::options().create(true).append(true).open(self.log())?;
        let config = self.config().display().to_string();
        let binary = binary()?.display().to_string();
        let starter = self.starter.iter().map(String::as_str);
        let run: Vec<_> = starter.chain([binary.as_str(), "run", "--config", &config]).collect();
        let mut command = if self.instead.is_empty() {
            self.space.command(run[0], &run[1..])
        } else {
            let mounts = self.instead.iter();
            let mounts: Vec<_> =
                mounts.map(|(file, place)| format!("mount --bind {} {place}", file.display())).collect();
            let script = format!("{} && exec {}", mounts.join(" && "), run.join(" "));
            self.space.command("unshare", &["--mount", "sh", "-c", &script])
        };
        command.stdout(log.try_clone()?).stderr(log).envs(self.environment.iter().cloned());
        self.process = Some(Process::start(&mut command).context("start the daemon")?);
        Ok(())
    }

    /// Its exit code, if it ends within `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<i32> {
        let process = self.process.take().context("the daemon was not started")?;
        let output = process.wait(limit)?;
        output.status.code().with_context(|| format!("the daemon had to be killed: {}", self.logged()))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and its exit code.
    pub fn terminate(&mut self) -> Result<i32> {
        self.signal(libc::SIGTERM)?;
        self.ended(PATIENCE)
    }

    /// The number of its process, while it runs.
    pub fn id(&self) -> Option<i32> {
        self.process.as_ref().map(Process::id)
    }

    pub fn signal(&self, signal: i32) -> Result<()> {
        self.process.as_ref().context("the daemon was not started")?.signal(signal);
        Ok(())
    }

    /// A command of the command line, within the namespace.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.space.command(&binary()?.display().to_string(), arguments);
        command.env("SLUICE_SOCKET", self.socket()).env_remove("SSH_CONNECTION");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs a command of the command line.
    pub fn say(&self, arguments: &[&str]) -> Result<Said> {
        let output = Process::start(&mut self.command(arguments)?)?.wait(PATIENCE)?;
        Ok(Said::of(&output))
    }

    /// Runs a command that must succeed.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        self.say(arguments)?.ok().with_context(|| format!("sluice {}", arguments.join(" ")))
    }

    /// Runs a command with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let out = self.tell(&[&["-o", "json"], arguments].concat())?;
        serde_json::from_str(&out).with_context(|| format!("sluice {} says {out}", arguments.join(" ")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process = None;
        // Pins hold the programs; without them nothing stays.
        if let Ok(below) = self.pins.strip_prefix("/sys/fs/bpf")
            && let Some(first) = below.iter().next()
        {
            let _ = fs::remove_dir_all(Path::new("/sys/fs/bpf").join(first));
        }
    }
}
