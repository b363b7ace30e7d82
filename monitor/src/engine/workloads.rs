//! Who sends from this host: cgroup numbers to names of systemd units, containers, or paths.
//!
//! In: the cgroup tree. Out: names. A number that is not known is looked for at most every few seconds, because looking
//! walks the tree; the walk is bounded.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the unified tree is when the mounts do not say.
const USUAL_ROOT: &str = "/sys/fs/cgroup";
/// Two walks are at least so far apart.
const PAUSE: Duration = Duration::from_secs(5);
/// Directories that one walk visits.
const MOST: usize = 20_000;
/// A container's identifier is shown by its first digits, as its tools do.
const SHOWN_DIGITS: usize = 12;

/// Names that are known.
#[derive(Debug, Default)]
pub struct Workloads {
    names: HashMap<u64, String>,
    walked: Option<Instant>,
}

impl Workloads {
    /// The name of the workload in cgroup `number`, 0 being unknown.
    pub fn name(&mut self, number: u64, now: Instant) -> Option<&str> {
        if number == 0 {
            return None;
        }
        if !self.names.contains_key(&number) && self.walked.is_none_or(|walked| now - walked >= PAUSE) {
            self.walked = Some(now);
            self.names = walk(&root());
        }
        self.known(number)
    }

    /// The cgroups that are called `name`; the tree is walked again when the last walk is old.
    pub fn numbers(&mut self, name: &str, now: Instant) -> Vec<u64> {
        if self.walked.is_none_or(|walked| now - walked >= PAUSE) {
            self.walked = Some(now);
            self.names = walk(&root());
        }
        let mut numbers: Vec<u64> =
            self.names.iter().filter(|(_, known)| *known == name).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The name, if the last walk saw it.
    pub fn known(&self, number: u64) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }
}

/// Where the unified tree is mounted; it may stand beside the older ones.
fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    root_in(&mounts).unwrap_or_else(|| PathBuf::from(USUAL_ROOT))
}

fn root_in(mounts: &str) -> Option<PathBuf> {
    let mut fields = mounts.lines().map(|line| line.split(' '));
    let unified = fields.find(|fields| fields.clone().nth(2) == Some("cgroup2"))?.nth(1)?;
    Some(PathBuf::from(unified))
}

/// Every cgroup below `root`: a cgroup's number is the inode of its directory.
fn walk(root: &Path) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    let mut waiting: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if names.len() >= MOST {
                return names;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
                names.insert(entry.ino(), name_of(&below));
                waiting.push(path);
            }
        }
    }
    names
}

/// The name that people know a cgroup by.
fn name_of(path: &str) -> String {
    for part in path.rsplit('/') {
        if let Some(container) = container(part) {
            return format!("container {}", container.get(..SHOWN_DIGITS).unwrap_or(container));
        }
        let unit = part.rsplit_once('.').map(|(_, kind)| kind);
        if unit == Some("service") || (unit == Some("scope") && part != "init.scope") {
            return part.to_owned();
        }
    }
    format!("/{path}")
}

/// `docker-<64 digits>.scope`, `cri-containerd-<64 digits>.scope`, or the bare digits below `docker/` and `kubepods/`.
fn container(part: &str) -> Option<&str> {
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    let digits = bare.rsplit('-').next()?;
    (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_containers_and_paths_have_the_names_that_people_know() {
        let digits = "0123456789abcdef".repeat(4);
        for (path, name) in [
            ("system.slice/nginx.service", "nginx.service"),
            ("system.slice/nginx.service/worker", "nginx.service"),
            ("user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
            (&format!("system.slice/docker-{digits}.scope"), "container 0123456789ab"),
            (&format!("docker/{digits}"), "container 0123456789ab"),
            (&format!("kubepods/burstable/pod1/cri-containerd-{digits}.scope"), "container 0123456789ab"),
            ("mine/own", "/mine/own"),
        ] {
            assert_eq!(name_of(path), name, "{path}");
        }
    }

    #[test]
    fn the_unified_tree_may_stand_beside_the_older_ones() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(root_in(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(root_in("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn a_directory_is_found_by_its_inode() {
        use std::os::unix::fs::MetadataExt;
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("system.slice/web.service");
        fs::create_dir_all(&unit).unwrap();
        let inode = fs::metadata(&unit).unwrap().ino();
        assert_eq!(walk(root.path()).get(&inode).map(String::as_str), Some("web.service"));
    }

    #[test]
    fn nothing_is_walked_for_the_unknown_sender() {
        let mut workloads = Workloads::default();
        assert_eq!(workloads.name(0, Instant::now()), None);
        assert!(workloads.walked.is_none());
    }
}
