//! A whole host: a Debian root that systemd boots as process 1, in a network namespace and with a BPF file system of its own.
//!
//! In: an unpacked root (it stays as it is: changes go to an overlay) and a namespace. Out: commands run on that host.
//! Everything ends with the handle.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{
    daemon::Said,
    network::{Process, Space, eventually, run},
};

/// How long a boot may take on a busy machine.
const BOOT: Duration = Duration::from_mins(2);

/// Mounts live in a namespace of their own and are gone with its last process. systemd mounts a BPF file system for root
/// alone (mode 0700); within a container it leaves that to whoever starts it.
const START: &str = r#"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t bpf bpf -o mode=0700 "$2/bpf"
SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --quiet --keep-unit \
    --register=no --directory="$2/root" --machine="$3" --network-namespace-path="/run/netns/$3" --capability=all \
    --system-call-filter='bpf perf_event_open' --resolv-conf=off --timezone=off --link-journal=no --console=pipe \
    --bind="$2/bpf:/sys/fs/bpf" --bind-ro="$4:/packages" --boot
"#;

/// A host that runs.
#[derive(Debug)]
pub struct Host {
    nspawn: Process,
    init: i32,
    directory: TempDir,
    root: PathBuf,
    packages: PathBuf,
    space: Space,
}

/// What `cargo xtask systemd` prepared: the root of a Debian, and the packages to install there.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub root: PathBuf,
    pub packages: PathBuf,
}

impl Prepared {
    /// An error says what is missing.
    pub fn find() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "a host of its own needs root");
        run("systemd-nspawn", &["--version"]).context("systemd-nspawn is needed")?;
        let place = |name| {
            env::var_os(name).map(PathBuf::from).context("no host is prepared: run `cargo xtask systemd`")
        };
        Ok(Self { root: place("SLUICE_SYSTEMD_ROOT")?, packages: place("SLUICE_SYSTEMD_PACKAGES")? })
    }
}

impl Host {
    pub fn boot(prepared: &Prepared, space: &Space) -> Result<Self> {
        let beside = prepared.packages.parent().context("the packages are in a folder")?;
        let directory = TempDir::with_prefix_in("host-", beside).context("make a folder for the host")?;
        for part in ["upper", "work", "root", "bpf"] {
            fs::create_dir(directory.path().join(part)).context("make the host's folders")?;
        }
        let (nspawn, init) = start(prepared, directory.path(), space)?;
        let host = Self {
            nspawn,
            init,
            directory,
            root: prepared.root.clone(),
            packages: prepared.packages.clone(),
            space: space.clone(),
        };
        host.settle()?;
        Ok(host)
    }

    /// As after a power cut: the disk stays, the kernel's tables do not.
    pub fn reboot(&mut self) -> Result<()> {
        self.halt();
        let prepared = Prepared { root: self.root.clone(), packages: self.packages.clone() };
        (self.nspawn, self.init) = start(&prepared, self.directory.path(), &self.space)?;
        self.settle()
    }

    fn settle(&self) -> Result<()> {
        eventually("systemd has booted", BOOT, || {
            let state = self.run("systemctl", &["is-system-running"]).ok()?.out;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        })
        .with_context(|| self.console())
    }

    /// A command of this host.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"]);
        command.arg(program).args(arguments).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Said> {
        let output = self.command(program, arguments).output().with_context(|| format!("start {program}"))?;
        ensure!(output.status.signal().is_none(), "{program} was killed ({})", output.status);
        Ok(Said::of(&output))
    }

    /// Runs a command that must succeed; its standard output without the last line end.
    pub fn ok(&self, line: &str) -> Result<String> {
        let said = self.run("sh", &["-c", line])?.ok().with_context(|| line.to_owned())?;
        Ok(said.trim_end().to_owned())
    }

    /// Whether a command succeeds.
    pub fn succeeds(&self, line: &str) -> bool {
        self.run("sh", &["-c", line]).is_ok_and(|said| said.code == 0)
    }

    fn console(&self) -> String {
        let text = fs::read_to_string(self.directory.path().join("console")).unwrap_or_default();
        format!("the console says: {}", text.trim())
    }

    fn halt(&mut self) {
        // SAFETY: a plain system call; process 1 of the host takes all its others along.
        unsafe { libc::kill(self.init, libc::SIGKILL) };
        let _ =
            eventually("the host has ended", Duration::from_secs(20), || (!self.nspawn.runs()).then_some(()));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.halt();
    }
}

fn start(prepared: &Prepared, directory: &Path, space: &Space) -> Result<(Process, i32)> {
    let console = fs::File::create(directory.join("console")).context("make the console's file")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", START, "sh"]);
    command.arg(&prepared.root).arg(directory).arg(space.name()).arg(&prepared.packages);
    command.stdin(Stdio::null()).stderr(console.try_clone().context("share the console")?).stdout(console);
    let nspawn = Process::start(&mut command).context("start systemd-nspawn")?;
    let init = eventually("systemd-nspawn has started a process", BOOT, || {
        let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
        let child: i32 = fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()?;
        // Until it has become systemd, its namespaces are not whole.
        let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name.trim() == "systemd").then_some(child)
    })
    .with_context(|| fs::read_to_string(directory.join("console")).unwrap_or_default())?;
    Ok((nspawn, init))
}
