//! Protection never depends on a side matter: each is broken once, before the start or while the daemon runs, and packets are
//! judged all the same; each is told as a problem.

use std::{fs, os::unix::fs::chown, path::Path, process::Command};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

use crate::life::{RULES, assert_limited};

/// Breaks something in the daemon's directory; the second is what its configuration says besides.
type Break = (&'static str, fn(&Path), &'static str, &'static str);

/// What is broken, how, what the configuration says of it, and a word of the problem.
const BROKEN: [Break; 12] = [
    ("the address of metrics is not up", |_| {}, "metrics.listen = \"10.99.99.99:9477\"", "metrics"),
    ("a list is not there", |_| {}, LIST, "cannot be read"),
    ("a list is a pipe", |at| make(&at.join("list"), "mkfifo"), LIST, "no regular file"),
    ("a list is a directory", |at| make(&at.join("list"), "mkdir"), LIST, "no regular file"),
    (
        "a list is a device without an end",
        |at| std::os::unix::fs::symlink("/dev/zero", at.join("list")).unwrap(),
        LIST,
        "no regular file",
    ),
    (
        "a list is too long",
        |at| {
            let lines: Vec<_> = (0..400).map(|n| format!("198.18.{}.{}", n / 100, 2 * (n % 100))).collect();
            fs::write(at.join("list"), lines.join("\n")).unwrap();
        },
        "capacity.denials = 100\naccess.lists = [{ path = \"AT/list\" }]",
        "only the first 100",
    ),
    ("the state directory is a file", |at| fs::write(at.join("state"), "").unwrap(), "", "nothing outlives"),
    (
        "the state directory is somebody else's",
        |at| {
            fs::create_dir(at.join("state")).unwrap();
            chown(at.join("state"), Some(65534), None).unwrap();
        },
        "",
        "belongs to user 65534",
    ),
    (
        "the store is damaged",
        |at| {
            fs::create_dir(at.join("state")).unwrap();
            fs::write(at.join("state/sluice.db"), vec![7; 20_000]).unwrap();
        },
        "",
        "could not be used",
    ),
    (
        "the store is a directory",
        |at| fs::create_dir_all(at.join("state/sluice.db")).unwrap(),
        "",
        "nothing outlives",
    ),
    (
        "the socket's place is taken by a file",
        |at| {
            fs::create_dir_all(at.join("run")).unwrap();
            fs::write(at.join("run/control.sock"), "precious").unwrap();
        },
        "",
        "not a socket",
    ),
    (
        "the group of viewers is not there",
        |_| {},
        "control.viewer_group = \"nobody-has-this-group\"",
        "no group",
    ),
];

const LIST: &str = "access.lists = [{ path = \"AT/list\" }]";

fn make(path: &Path, how: &str) {
    assert!(Command::new(how).arg(path).status().unwrap().success());
}

/// The daemon's files.
fn place(daemon: &Daemon) -> &Path {
    // Leaked once a test, for the table's sake.
    Box::leak(daemon.config().parent().unwrap().to_owned().into_boxed_path())
}

#[test]
fn nothing_but_the_kernel_keeps_a_host_bare() {
    let scene = or_skip!("side matters at the start", Scene::to_guard());
    for (what, broken, says, told) in BROKEN {
        let mut daemon = Daemon::new(&scene.guarded, &[INTERFACE], "").unwrap();
        let at = place(&daemon);
        let says = says.replace("AT", &at.display().to_string());
        let rules = RULES.replace("[access]\ninside = []", "access.inside = []");
        daemon.configure(&[INTERFACE], &format!("{says}\n{rules}")).unwrap();
        broken(at);
        daemon.spawn().unwrap();
        eventually("the daemon is ready", PATIENCE, || daemon.logged().contains("ready").then_some(()))
            .unwrap_or_else(|_| panic!("{what}: {}", daemon.logged()));
        scene.warm_up(Over::Ipv4).unwrap();
        assert_limited(&scene, what);
        assert!(daemon.logged().contains(told), "{what}: {}", daemon.logged());
        if let Ok(status) = daemon.json(&["status"]) {
            assert!(status["problems"].to_string().contains(told), "{what}: {}", status["problems"]);
            assert!(daemon.metric("sluice_problems", &[]).map_or(true, |count| count > 0.5), "{what}");
        }
        assert_eq!(daemon.terminate().unwrap(), 0, "{what}: {}", daemon.logged());
        // What it held goes with its pins, so that the next one begins bare.
    }
}

#[test]
fn a_broken_file_at_the_start_guards_with_the_last_good_one_and_says_so() {
    let scene = or_skip!("a broken file", Scene::to_guard());
    let mut daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    daemon.tell(&["detach", "--yes"]).unwrap();
    daemon.ended(PATIENCE).unwrap();
    daemon.configure(&[INTERFACE], &format!("{RULES}\n[nonsense]\n")).unwrap();
    daemon.run().unwrap();
    assert_limited(&scene, "with a broken file");
    let problems = daemon.json(&["status"]).unwrap()["problems"].to_string();
    assert!(problems.contains("last good") && problems.contains("nonsense"), "{problems}");
    daemon.configure(&[INTERFACE], RULES).unwrap();
    daemon.tell(&["reload"]).unwrap();
    eventually("the problem is over", PATIENCE, || {
        let status = daemon.json(&["status"]).ok()?;
        (!status["problems"].to_string().contains("last good")).then_some(())
    })
    .unwrap();
}

#[test]
fn a_signal_during_the_start_ends_nothing_and_the_metrics_come_once_their_port_is_free() {
    let scene = or_skip!("signals at the start", Scene::to_guard());
    let mut daemon = Daemon::new(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let mut taken = scene.guarded.command(
        "python3",
        &["-c", "import socket,time; s=socket.socket(); s.setsockopt(1,2,1); s.bind(('127.0.0.1',9477)); s.listen(); time.sleep(600)"],
    );
    let taken = monitor_tests::harness::network::Process::start(&mut taken).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    daemon.spawn().unwrap();
    // Before it listens for signals no program can survive one.
    eventually("signals are caught", PATIENCE, || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id()?)).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        (u64::from_str_radix(&caught, 16).ok()? & 1 == 1).then_some(())
    })
    .unwrap();
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(25));
        daemon.signal(libc::SIGHUP).unwrap();
    }
    eventually("the daemon answers", PATIENCE, || daemon.json(&["status"]).ok()).unwrap();
    assert!(daemon.json(&["status"]).unwrap()["problems"].to_string().contains("metrics"));
    drop(taken);
    eventually("metrics are served", PATIENCE, || daemon.metric("sluice_problems", &[]).ok()).unwrap();
    assert_eq!(daemon.terminate().unwrap(), 0);
}

#[test]
fn a_hook_that_another_program_holds_is_a_problem_until_it_is_free() {
    let scene = or_skip!("a taken hook", Scene::to_guard());
    let mut first = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let mut second = Daemon::new(&scene.guarded, &[INTERFACE], RULES).unwrap();
    second.run().unwrap();
    let status = second.json(&["status"]).unwrap();
    assert!(status["problems"].to_string().contains("XDP hook holds program"), "{}", status["problems"]);
    assert!(second.logged().contains("nothing is guarded"), "{}", second.logged());
    first.tell(&["detach", "--yes"]).unwrap();
    first.ended(PATIENCE).unwrap();
    eventually("the second guards", PATIENCE, || {
        let status = second.json(&["status"]).ok()?;
        (status["problems"].as_array().is_some_and(Vec::is_empty)).then_some(())
    })
    .unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    assert_limited(&scene, "after the hook was free");
    assert_eq!(second.terminate().unwrap(), 0);
}
