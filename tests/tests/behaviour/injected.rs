//! One system call of the daemon fails, once, once the guard stands: the interface stays guarded, the daemon goes on and
//! answers.

use std::{fs, process::Command, time::Duration};

use monitor_tests::{
    harness::{
        daemon::Daemon,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

use super::life::{RULES, assert_limited};

/// The call, its error and which one of its name it is: descriptors, threads, disks, netlink, privileges.
const REFUSED: [(&str, &str, u32); 8] = [
    ("socket", "EMFILE", 1),
    ("socket", "EMFILE", 3),
    ("bind", "EADDRINUSE", 2),
    ("recvfrom", "ENOBUFS", 4),
    ("clone3", "EAGAIN", 1),
    ("clone3", "EAGAIN", 2),
    ("fsync", "EIO", 1),
    ("capset", "EPERM", 2),
];

#[test]
fn a_system_call_that_fails_once_leaves_the_host_guarded_and_the_daemon_running() {
    let scene = or_skip!("refused system calls", Scene::to_guard());
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED refused system calls: there is no strace");
        return;
    }
    for (call, error, number) in REFUSED {
        let mut guarded = Daemon::new(&scene.guarded, &[INTERFACE], RULES).unwrap();
        guarded.refuse(call, error, number);
        guarded.run().unwrap_or_else(|failed| panic!("{call} {number}: {failed:#}"));
        let calls = fs::read_to_string(guarded.refused()).unwrap();
        assert!(calls.contains("INJECTED"), "{call} {number} was not refused");
        scene.warm_up(Over::Ipv4).unwrap();
        assert_limited(&scene, &format!("{call} {number} refused with {error}"));
        std::thread::sleep(Duration::from_secs(1));
        guarded.json(&["status"]).unwrap_or_else(|failed| panic!("{call}: {failed:#}\n{}", guarded.logged()));
        guarded.tell(&["detach", "--yes"]).unwrap();
    }
}
