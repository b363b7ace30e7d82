//! Who sends from this host: cgroup numbers to names of systemd units, containers, or paths.
//!
//! In: the cgroup tree. Out: names. A number that is not known is looked for by a walk through the tree, which is bounded
//! and takes at most a twentieth of the time; one that a walk did not find is gone and is not looked for again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the one tree of version 2 stands when the table of mounts does not say.
const ROOT: &str = "/sys/fs/cgroup";
const MOUNTS: &str = "/proc/self/mounts";
/// Two walks are at least so far apart, and this many times what the last one took.
const PAUSE: Duration = Duration::from_millis(250);
const SHARE: u32 = 20;
/// Numbers that are remembered as gone.
const MOST_GONE: usize = 4096;
/// Directories that one walk visits.
const MOST: usize = 20_000;
/// A container's identifier is shown by its first digits, as its tools do.
const SHOWN_DIGITS: usize = 12;

/// Names that are known.
#[derive(Debug, Default)]
pub struct Workloads {
    names: HashMap<u64, String>,
    gone: HashSet<u64>,
    walked: Option<Instant>,
    took: Duration,
}

impl Workloads {
    /// The name of the workload in cgroup `number`, 0 being unknown.
    pub fn name(&mut self, number: u64, now: Instant) -> Option<&str> {
        if number == 0 {
            return None;
        }
        if !self.names.contains_key(&number) && !self.gone.contains(&number) && self.look(now) {
            // Whoever sent stood in the tree before: one that the walk did not find is gone.
            if !self.names.contains_key(&number) {
                if self.gone.len() >= MOST_GONE {
                    self.gone.clear();
                }
                self.gone.insert(number);
            }
        }
        self.known(number)
    }

    /// The cgroups that are called `name`; the tree is walked again when the last walk is old.
    pub fn numbers(&mut self, name: &str, now: Instant) -> Vec<u64> {
        self.look(now);
        let mut numbers: Vec<u64> =
            self.names.iter().filter(|(_, known)| *known == name).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Walks the tree, unless the last walk was a moment ago.
    fn look(&mut self, now: Instant) -> bool {
        let pause = PAUSE.max(self.took * SHARE);
        if self.walked.is_some_and(|walked| now.saturating_duration_since(walked) < pause) {
            return false;
        }
        let began = Instant::now();
        self.names = walk(&root(&fs::read_to_string(MOUNTS).unwrap_or_default()));
        (self.walked, self.took) = (Some(now), began.elapsed());
        true
    }

    /// The name, if the last walk saw it.
    pub fn known(&self, number: u64) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }
}

/// Where the table of mounts says that the tree of version 2 stands; beside the older trees it is not at the usual place.
fn root(mounts: &str) -> PathBuf {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut trees = fields.filter(|fields| fields.get(2) == Some(&"cgroup2"));
    trees.next().and_then(|fields| fields.get(1).map(PathBuf::from)).unwrap_or_else(|| PathBuf::from(ROOT))
}

/// The root and every cgroup below it: a cgroup's number is the inode of its directory.
fn walk(root: &Path) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    if let Ok(of_root) = fs::metadata(root) {
        names.insert(of_root.ino(), "/".to_owned());
    }
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
    fn a_directory_is_found_by_its_inode() {
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("system.slice/web.service");
        fs::create_dir_all(&unit).unwrap();
        let inode = fs::metadata(&unit).unwrap().ino();
        assert_eq!(walk(root.path()).get(&inode).map(String::as_str), Some("web.service"));
    }

    #[test]
    fn the_tree_of_version_2_is_found_beside_older_ones() {
        let hybrid =
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(root(hybrid), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(root("proc /proc proc rw 0 0\n"), Path::new(ROOT));
    }

    #[test]
    fn a_number_that_a_walk_did_not_find_is_not_looked_for_again() {
        let (mut workloads, start) = (Workloads::default(), Instant::now());
        assert_eq!(workloads.name(u64::MAX, start), None);
        let walked = workloads.walked;
        assert_eq!(workloads.name(u64::MAX, start + Duration::from_mins(1)), None);
        assert_eq!(workloads.walked, walked);
    }

    #[test]
    fn nothing_is_walked_for_the_unknown_sender() {
        let mut workloads = Workloads::default();
        assert_eq!(workloads.name(0, Instant::now()), None);
        assert!(workloads.walked.is_none());
    }
}
