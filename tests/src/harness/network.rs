//! Private network namespaces with veth pairs between them, made through `ip`, and processes that run inside.
//!
//! Names carry this process's number and a count, so that tests run side by side. Dropping a [`Network`] removes all of
//! it, also on panic; nothing here ever touches an interface of the machine itself.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test has: at most eleven characters, so that it also fits an interface.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Hands over what a process that is gone left in `directory` under a [`unique`] name: it was killed before it could
/// clear up.
pub fn sweep(directory: &Path, prefix: &str, remove: impl Fn(&str, &Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(prefix).and_then(|rest| rest.split_once('-'));
        let pid = pid.and_then(|(pid, _)| u32::from_str_radix(pid, 16).ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name, &entry.path());
        }
    }
}

/// How namespaces are called.
const SPACE: &str = "sl";

/// Namespaces that vanish together.
#[derive(Debug, Default)]
pub struct Network {
    spaces: Vec<Space>,
}

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    name: String,
}

impl Drop for Network {
    fn drop(&mut self) {
        for space in &self.spaces {
            for pid in space.processes() {
                // SAFETY: a plain system call; the process runs in a namespace of ours.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            // The veth pairs go with the namespaces of their ends.
            let _ = run("ip", &["netns", "delete", &space.name]);
        }
    }
}

impl Network {
    /// Nothing yet; an error says what this machine lacks.
    pub fn new() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
        run("ip", &["-V"]).context("the tests need iproute2")?;
        sweep(Path::new("/run/netns"), SPACE, |name, _| drop(run("ip", &["netns", "delete", name])));
        Ok(Self::default())
    }

    /// A new namespace with its loopback up.
    pub fn space(&mut self) -> Result<Space> {
        let space = Space { name: unique(SPACE) };
        run("ip", &["netns", "add", &space.name])?;
        self.spaces.push(space.clone());
        space.ip(&["link", "set", "lo", "up"])?;
        // Without duplicate address detection an IPv6 address can be used at once.
        space.set("net/ipv6/conf/all/accept_dad", "0")?;
        space.set("net/ipv6/conf/default/accept_dad", "0")?;
        Ok(space)
    }

    /// A veth pair between two namespaces, up, with these names and addresses (as in `10.0.0.1/24`).
    pub fn link(&self, left: &Space, right: &Space, ends: [(&str, &[&str]); 2]) -> Result<()> {
        let [(left_name, left_addresses), (right_name, right_addresses)] = ends;
        left.ip(&[
            "link",
            "add",
            left_name,
            "type",
            "veth",
            "peer",
            "name",
            right_name,
            "netns",
            &right.name,
        ])?;
        for (space, name, addresses) in
            [(left, left_name, left_addresses), (right, right_name, right_addresses)]
        {
            // Offloads would hand over segments that no wire carries.
            let _ =
                space.run("ethtool", &["-K", name, "tso", "off", "gso", "off", "gro", "off", "tx", "off"]);
            for address in addresses {
                space.address(name, address)?;
            }
            space.ip(&["link", "set", name, "up"])?;
        }
        Ok(())
    }
}

impl Space {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` with these arguments in this namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        run("ip", &[&["-n", &self.name], arguments].concat())
    }

    /// One more address of an interface, with a short retransmission time towards its network.
    pub fn address(&self, interface: &str, address: &str) -> Result<()> {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let mut arguments = vec![family, "address", "add", address, "dev", interface];
        if family == "-6" {
            arguments.push("nodad");
        }
        self.ip(&arguments).map(drop)
    }

    /// A retransmission time of 20 ms for this prefix: a lost packet must not stall a test for 200.
    pub fn quick_retransmission(&self, prefix: &str, interface: &str) -> Result<()> {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        self.ip(&[family, "route", "replace", prefix, "dev", interface, "rto_min", "20ms"]).map(drop)
    }

    /// Sets a value under `/proc/sys` in this namespace.
    pub fn set(&self, path: &str, value: &str) -> Result<()> {
        self.run("sh", &["-c", &format!("echo {value} > /proc/sys/{path}")]).map(drop)
    }

    /// A command that will run in this namespace.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        // Not `ip netns exec`, which hides the BPF file system behind a fresh /sys.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; its standard output, or an error with what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program, arguments).output().with_context(|| format!("start {program}"))?;
        said(program, arguments, &output)
    }

    /// Runs a command for at most `limit`, then kills it; its exit and output.
    pub fn run_for(&self, limit: Duration, program: &str, arguments: &[&str]) -> Result<Output> {
        self.start(program, arguments)?.wait(limit)
    }

    /// Starts a command that is killed when the handle is dropped.
    pub fn start(&self, program: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = self.command(program, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::start(&mut command).with_context(|| format!("start {program}"))
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `work` on a thread of its own within this namespace.
    pub fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<T>> {
        let space = File::open(self.path()).with_context(|| format!("open {}", self.path()))?;
        let (told, hear) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: a plain system call; it moves this thread alone.
            let moved = unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) };
            let moved = if moved == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
            let failed = moved.is_err();
            let _ = told.send(moved);
            assert!(!failed, "this thread must not work outside of its namespace");
            work()
        });
        hear.recv().context("the thread did not start")?.with_context(|| format!("enter {}", self.name))?;
        Ok(thread)
    }

    fn processes(&self) -> Vec<i32> {
        let pids = run("ip", &["netns", "pids", &self.name]).unwrap_or_default();
        pids.lines().filter_map(|pid| pid.trim().parse().ok()).collect()
    }
}

/// A running process that does not outlive its handle.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts `command` so that the kernel ends it when this process dies.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        // SAFETY: between fork and exec only an async-signal-safe system call is made.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        Ok(Self { child: command.spawn()? })
    }

    pub fn id(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call on a child that was not waited for, so its number is still its own.
        unsafe { libc::kill(self.id(), signal) };
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end for at most `limit`, then kills it.
    pub fn wait(mut self, limit: Duration) -> Result<Output> {
        let gather = |pipe: Option<Box<dyn io::Read + Send>>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut pipe) = pipe {
                    let _ = pipe.read_to_end(&mut bytes);
                }
                bytes
            })
        };
        let stdout = gather(self.child.stdout.take().map(|pipe| Box::new(pipe) as Box<_>));
        let stderr = gather(self.child.stderr.take().map(|pipe| Box::new(pipe) as Box<_>));
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= end {
                self.child.kill()?;
                break self.child.wait()?;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let gathered = |thread: thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        Ok(Output { status, stdout: gathered(stdout), stderr: gathered(stderr) })
    }
}

/// Runs a command to its end outside of any namespace.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    said(program, arguments, &output)
}

fn said(program: &str, arguments: &[&str], output: &Output) -> Result<String> {
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {} ({})", arguments.join(" "), error.trim(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until `ready` answers, for at most `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        ensure!(Instant::now() < end, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
