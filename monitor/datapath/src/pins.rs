//! What outlives the process: maps, programs and links pinned under `<pin directory>/v<layout>/`.
//!
//! In: a path on a bpffs. Out: a directory that belongs to us alone, locked while we live. It follows no symbolic link,
//! trusts no directory of another owner (`/sys/fs/bpf` is open to everybody), and never removes what it did not pin.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use monitor_common::names;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{classifier, interfaces, syscall};

/// `f_type` of a bpffs (`BPF_FS_MAGIC`).
const BPF_FS: u64 = 0xcafe_4a11;
const MAPS: &str = "maps";
const PROGRAMS: &str = "programs";
const LINKS: &str = "links";

/// The user that the package makes for the daemon. Root may enter its directory: `sluice detach` without a daemon.
pub const SERVICE_USER: &str = "sluice";

/// Our directory, held under a lock.
#[derive(Debug)]
pub struct Pins {
    /// Its name, as it was given.
    place: PathBuf,
    /// The way to it.
    root: PathBuf,
    version: PathBuf,
    /// Where something that somebody else had made in our place lies now.
    moved: Option<PathBuf>,
    /// Released when the process ends, however it ends.
    lock: OwnedFd,
}

/// Which hook a link holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Ingress,
    Egress,
    /// Egress before tcx: a filter, which needs no pin to stay. What is pinned is its program, so that the next run knows.
    Filter {
        /// The queueing discipline was made for it, and goes with it.
        with_qdisc: bool,
    },
}

impl Hook {
    const fn label(self) -> &'static str {
        match self {
            Self::Ingress => "xdp",
            Self::Egress => "tcx",
            Self::Filter { with_qdisc: false } => "tc",
            Self::Filter { with_qdisc: true } => "tcq",
        }
    }
}

/// A pinned link, as its file name tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPin {
    pub path: PathBuf,
    pub hook: Hook,
    /// The number under which the kernel counts the interface: kept here over restarts.
    pub slot: u32,
    pub interface: String,
}

impl Pins {
    /// Makes or reopens the directory and locks it against a second daemon.
    pub fn open(root: &Path) -> Result<Self> {
        let version = version(root);
        let moved = move_squatter_away(root)?;
        own_directory(root)?;
        let lock =
            rustix::fs::open(root, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .with_context(|| format!("open {}", root.display()))?;
        match rustix::fs::flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!(
                    "another sluice daemon holds {}: stop it first, or use another pin directory",
                    root.display()
                )
            }
            other => other.with_context(|| format!("lock {}", root.display()))?,
        }
        own_directory(&version)?;
        for part in [MAPS, PROGRAMS, LINKS] {
            own_directory(&version.join(part))?;
        }
        Ok(Self { place: root.to_owned(), root: root.to_owned(), version, moved, lock })
    }

    /// From now on the way goes through the open directory, for a user who may not pass through the directories above it.
    pub fn hold(&mut self) -> Result<()> {
        let root = PathBuf::from(format!("/proc/self/fd/{}", self.lock.as_raw_fd()));
        let version = root.join(self.version.file_name().unwrap_or_default());
        fs::metadata(&version).with_context(|| format!("find the pins through {}", root.display()))?;
        (self.root, self.version) = (root, version);
        Ok(())
    }

    /// Where something that somebody else had made in our place lies now.
    pub fn moved(&self) -> Option<&Path> {
        self.moved.as_deref()
    }

    pub fn path(&self) -> PathBuf {
        self.place.join(self.version.file_name().unwrap_or_default())
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.version.join(MAPS).join(name)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.version.join(PROGRAMS).join(name)
    }

    pub fn link(&self, hook: Hook, slot: u32, interface: &str) -> PathBuf {
        self.version.join(LINKS).join(link_name(hook, slot, interface))
    }

    /// Every pinned link, those of other layouts included (an upgrade takes them over).
    pub fn links(&self) -> Result<Vec<LinkPin>> {
        links_under(&self.root)
    }

    /// Removes directories of other layouts that hold no link any more; what they count ends here.
    pub fn remove_other_versions(&self) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for version in versions(&self.root)? {
            if version != self.version && links_in(&version.join(LINKS))?.is_empty() {
                remove_version(&version)?;
                removed.push(version);
            }
        }
        Ok(removed)
    }
}

/// Every pinned link of every layout under `root`, without a lock.
pub fn links_under(root: &Path) -> Result<Vec<LinkPin>> {
    let mut links = Vec::new();
    for version in versions(root)? {
        links.extend(links_in(&version.join(LINKS))?);
    }
    links.sort_by(|a, b| (a.slot, a.hook, &a.path).cmp(&(b.slot, b.hook, &b.path)));
    Ok(links)
}

/// Where this layout's pins are under `root`.
pub fn version(root: &Path) -> PathBuf {
    root.join(format!("v{}", names::LAYOUT))
}

/// Detaches everything under `root` and removes it. Returns the interfaces that were guarded.
///
/// Works without a daemon; refuses while one runs, because it holds the lock.
pub fn remove_all(root: &Path) -> Result<Vec<String>> {
    match fs::symlink_metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("look at {}", root.display())),
        Ok(_) => {}
    }
    let pins = Pins::open(root)?;
    pins.remove()
}

impl Pins {
    /// Detaches everything and removes the directory. Returns the interfaces that were guarded.
    pub fn remove(self) -> Result<Vec<String>> {
        let mut interfaces = Vec::new();
        for link in self.links()? {
            detach(&link)?;
            if !interfaces.contains(&link.interface) {
                interfaces.push(link.interface);
            }
        }
        for version in versions(&self.root)? {
            remove_version(&version)?;
        }
        match fs::remove_dir(&self.place) {
            // Under the unit the directory is a mount of its own, and the directory above it may be root's: it stays, empty.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ResourceBusy
                        | io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::PermissionDenied
                ) => {}
            other => other.with_context(|| format!("remove {}", self.place.display()))?,
        }
        Ok(interfaces)
    }
}

/// Detaches a link at once, also when another process still holds it, and removes its pin.
pub fn detach(link: &LinkPin) -> Result<()> {
    let path = link.path.display();
    if let Hook::Filter { with_qdisc } = link.hook {
        // With its interface the filter is gone.
        if let Some(found) = interfaces::list()?.iter().find(|found| found.name == link.interface) {
            classifier::remove(found.index, with_qdisc)
                .with_context(|| format!("detach the egress of {}", link.interface))?;
        }
        return remove_if_there(&link.path);
    }
    let fd = syscall::open_pin(&link.path).with_context(|| format!("open the pinned link {path}"))?;
    match syscall::detach_link(fd.as_fd()) {
        // The interface is gone, and the attachment with it.
        Err(error) if !error.is(libc::ENOLINK) && !error.is(libc::EOPNOTSUPP) => {
            return Err(error).with_context(|| format!("detach {path}"));
        }
        _ => {}
    }
    fs::remove_file(&link.path).with_context(|| format!("remove {path}"))
}

/// Pins `object` at `path` in one step, in place of what may be pinned there.
pub fn replace(object: std::os::fd::BorrowedFd<'_>, path: &Path) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push("-new");
    let fresh = path.with_file_name(name);
    remove_if_there(&fresh)?;
    syscall::pin(object, &fresh).with_context(|| format!("pin {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("rename {} to {}", fresh.display(), path.display()))
}

/// Removes a pin if it is there.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Anybody may make a directory on a bpffs, so one in our place that belongs to somebody else is renamed: it must not keep
/// the host bare. Only root can, because the file system is sticky.
fn move_squatter_away(root: &Path) -> Result<Option<PathBuf>> {
    let us = rustix::process::geteuid();
    let Ok(about) = fs::symlink_metadata(root) else { return Ok(None) };
    if !us.is_root() || is_trusted(about.uid(), us.as_raw()) {
        return Ok(None);
    }
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (1..1000).map(|n| root.with_file_name(format!("{name}-of-user-{}-{n}", about.uid())));
    let Some(away) = free.into_iter().find(|path| fs::symlink_metadata(path).is_err()) else {
        bail!("{} belongs to user {}: remove it", root.display(), about.uid())
    };
    fs::rename(root, &away).with_context(|| format!("move {} away", root.display()))?;
    tracing::error!("{} belonged to user {}: it is now {}", root.display(), about.uid(), away.display());
    Ok(Some(away))
}

/// Makes `path` with mode 0700, or checks that it is ours alone.
fn own_directory(path: &Path) -> Result<()> {
    let shown = path.display();
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{} does not exist: mount it with `mount -t bpf bpf /sys/fs/bpf`", parent(path).display())
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(error).with_context(|| {
                format!("create {shown}: run as root, and keep the pin directory on a bpffs (mount -t bpf bpf /sys/fs/bpf)")
            });
        }
        Err(error) => return Err(error).with_context(|| format!("create {shown}")),
    }
    let about = fs::symlink_metadata(path).with_context(|| format!("look at {shown}"))?;
    let us = rustix::process::geteuid().as_raw();
    ensure!(
        about.is_dir() && is_trusted(about.uid(), us) && about.mode().trailing_zeros() >= 6,
        "{shown} is not a directory of user {us} with mode 0700 (it has owner {} and mode {:o}): somebody else may have \
         made it; remove it, or choose another pin directory",
        about.uid(),
        about.mode() & 0o7777
    );
    let fs = rustix::fs::statfs(path).with_context(|| format!("ask for the file system of {shown}"))?;
    ensure!(
        fs.f_type.cast_unsigned() == BPF_FS,
        "{shown} is not on a bpffs: mount one there (mount -t bpf bpf /sys/fs/bpf), or choose another pin directory"
    );
    Ok(())
}

/// Whether a directory of user `owner` is as good as one of user `us`: root trusts the daemon's own user.
pub fn is_trusted(owner: u32, us: u32) -> bool {
    let service = || uid_of(SERVICE_USER, &fs::read_to_string("/etc/passwd").unwrap_or_default());
    owner == us || (us == 0 && service() == Some(owner))
}

fn uid_of(user: &str, passwd: &str) -> Option<u32> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| (fields.next() == Some(user)).then(|| fields.nth(1))?)?.parse().ok()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The directories of every layout under `root`.
fn versions(root: &Path) -> Result<Vec<PathBuf>> {
    let mut versions = Vec::new();
    for entry in entries(root)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.strip_prefix('v').filter(|rest| rest.parse::<u32>().is_ok());
        if number.is_some() {
            versions.push(entry);
        }
    }
    Ok(versions)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("read {}", directory.display()))?,
    };
    let mut paths = Vec::new();
    for entry in list {
        paths.push(entry.with_context(|| format!("read {}", directory.display()))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn links_in(directory: &Path) -> Result<Vec<LinkPin>> {
    Ok(entries(directory)?.into_iter().filter_map(LinkPin::from_path).collect())
}

fn remove_version(version: &Path) -> Result<()> {
    for part in [LINKS, PROGRAMS, MAPS] {
        let directory = version.join(part);
        for pin in entries(&directory)? {
            fs::remove_file(&pin).with_context(|| format!("remove {}", pin.display()))?;
        }
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", directory.display()));
            }
            _ => {}
        }
    }
    fs::remove_dir(version).with_context(|| format!("remove {}", version.display()))
}

/// `xdp-3-eth0`: a bpffs takes no dots, so everything but letters, digits and `_` is written as `%` and two hex digits.
fn link_name(hook: Hook, slot: u32, interface: &str) -> String {
    use std::fmt::Write as _;
    let mut name = format!("{}-{slot}-", hook.label());
    for byte in interface.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            name.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

impl LinkPin {
    /// Reads a file name back; `None` for what is not a link of ours.
    fn from_path(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let mut parts = name.splitn(3, '-');
        let hook = match parts.next()? {
            "xdp" => Hook::Ingress,
            "tcx" => Hook::Egress,
            "tc" => Hook::Filter { with_qdisc: false },
            "tcq" => Hook::Filter { with_qdisc: true },
            _ => return None,
        };
        let slot = parts.next()?.parse().ok()?;
        let interface = decoded(parts.next()?)?;
        Some(Self { path, hook, slot, interface })
    }
}

fn decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Hook, LinkPin, link_name, uid_of};
    use std::path::PathBuf;

    #[test]
    fn a_link_name_reads_back_whatever_the_interface_is_called() {
        let filters = [false, true].map(|with_qdisc| Hook::Filter { with_qdisc });
        for hook in [Hook::Ingress, Hook::Egress].into_iter().chain(filters) {
            for interface in ["eth0", "eth0.100", "br-lan", "a%b", "wg_0", "ü"] {
                let name = link_name(hook, 3, interface);
                assert!(!name.contains('.'), "{name}");
                let pin = LinkPin::from_path(PathBuf::from("/x").join(&name)).expect("our own name");
                assert_eq!((pin.hook, pin.slot, pin.interface.as_str()), (hook, 3, interface));
            }
        }
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0::/:/bin/sh\nsluice2:x:7:7::/:\nsluice:x:997:996:sluice daemon:/:\nbad:x:no:0::/:\n";
        assert_eq!(uid_of("sluice", passwd), Some(997));
        assert_eq!(uid_of("root", passwd), Some(0));
        for absent in ["slu", "", "bad", "x"] {
            assert_eq!(uid_of(absent, passwd), None, "{absent}");
        }
    }

    #[test]
    fn other_files_are_not_taken_for_links() {
        for name in ["ACTIVE", "xdp", "xdp-", "xdp-a-eth0", "foo-1-eth0", "xdp-1-%zz", "xdp-1-%4"] {
            assert_eq!(LinkPin::from_path(PathBuf::from("/x").join(name)), None, "{name}");
        }
    }
}
