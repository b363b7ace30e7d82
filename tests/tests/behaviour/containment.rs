//! One source or one workload is cut off or limited on its own, on ingress and on egress, and let go again.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use monitor_tests::{
    harness::{
        daemon::Daemon,
        network::Space,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

const RULES: &str = "[default]\nmode = \"off\"\n";

#[test]
fn a_source_is_held_to_a_rate_of_its_own_and_let_go() {
    let scene = or_skip!("containment of a source", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _flood = scene.flood(2000, Duration::from_mins(1)).unwrap();
    let dropped = |per_second| {
        guarded.grows("sluice_packets_total", &["reason=\"contained\""], per_second).unwrap();
    };
    guarded.tell(&["contain", "10.77.0.3", "--packets", "500/s", "--for", "10m"]).unwrap();
    // 1,500 of the 2,000 that come.
    dropped(900.0..2250.0);
    let list = guarded.tell(&["contain", "-o", "json"]).unwrap();
    assert!(list.contains("10.77.0.3") && list.contains("\"in_force\": true"), "{list}");
    guarded.tell(&["contain", "10.77.0.3", "--observe"]).unwrap();
    dropped(0.0..0.1);
    guarded.tell(&["contain", "10.77.0.3", "--lift"]).unwrap();
    assert!(guarded.tell(&["contain"]).unwrap().contains("nobody is contained"));
}

/// A cgroup of the test's own, removed with everything in it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let unified = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
        let mount = mounts.lines().find(unified).context("no unified cgroup tree is mounted")?;
        let root = Path::new(mount.split(' ').nth(1).context("a mount has a place")?);
        let path = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    /// As the daemon calls it.
    fn name(&self) -> String {
        format!("/{}", self.0.file_name().expect("made with a name").display())
    }

    /// Whether one ping out of this cgroup is answered.
    fn pings(&self, from: &Space, target: &str) -> bool {
        let procs = self.0.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec ping -c 2 -i 0.2 -W 1 {target}", procs.display());
        from.run("sh", &["-c", &script]).is_ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of a process a moment after it has ended.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn scene_with_cgroup() -> Result<(Scene, Cgroup)> {
    Ok((Scene::to_guard()?, Cgroup::new("sluice-contained")?))
}

#[test]
fn a_workload_is_cut_off_where_it_sends_and_its_neighbours_are_not() {
    let (scene, cgroup) = or_skip!("containment of a workload", scene_with_cgroup());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let neighbour = || scene.guarded.run("ping", &["-c", "1", "-W", "1", "10.77.0.2"]).is_ok();
    assert!(cgroup.pings(&scene.guarded, "10.77.0.2") && neighbour());
    guarded.tell(&["contain", &cgroup.name(), "--for", "1m"]).unwrap();
    assert!(!cgroup.pings(&scene.guarded, "10.77.0.2"), "a workload that is cut off sends");
    assert!(neighbour(), "a neighbour is cut off with it");
    guarded.tell(&["contain", &cgroup.name(), "--lift"]).unwrap();
    assert!(cgroup.pings(&scene.guarded, "10.77.0.2"), "a workload that was let go cannot send");
}
