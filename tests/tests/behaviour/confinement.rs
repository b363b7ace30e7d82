//! What the daemon can still do once it has attached: as a user of its own, as root where there is no such user, and with
//! everything working all the same.

use std::{fs, os::unix::fs::MetadataExt as _};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Scene},
    },
    or_skip,
};
use serde_json::Value;

const UID: u32 = 61_973;
const GID: u32 = 61_974;

const LISTED: &str = "[access]\ninside = []\n[[access.lists]]\naction = \"deny\"\npath = ";

/// The fields of `/proc/PID/status` by name, of every thread.
fn kernel_says(daemon: &Daemon, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.id().unwrap())).unwrap();
    let read = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap_or_default();
    let texts = tasks.flatten().map(read).filter(|text| !text.is_empty());
    let of = |text: String| {
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap().trim().to_owned();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut all: Vec<_> = texts.map(of).collect();
    all.dedup();
    all
}

fn confinement(daemon: &Daemon) -> Value {
    daemon.json(&["status"]).unwrap()["confinement"].clone()
}

/// What holds whoever runs it.
fn is_confined(daemon: &Daemon) {
    for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(kernel_says(daemon, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(kernel_says(daemon, "NoNewPrivs"), ["1"]);
    assert_eq!(kernel_says(daemon, "Seccomp"), ["2"]);
    let told = confinement(daemon);
    for field in ["no_capabilities", "not_dumpable", "seccomp"] {
        assert_eq!(told[field], true, "{field}: {told}");
    }
    // The machine that runs this has Landlock, or says that it has not.
    let without = told["missing"].to_string().contains("Landlock");
    assert!(told["landlock"].is_u64() != without, "{told}");
}

/// The interface goes and comes back; a program is on it again.
fn attaches_again(scene: &Scene, daemon: &Daemon) {
    let holds = || {
        let link = scene.guarded.ip(&["link", "show", "dev", INTERFACE]);
        link.is_ok_and(|link| link.contains("prog/xdp"))
    };
    assert!(holds(), "{}", daemon.logged());
    scene.guarded.ip(&["link", "delete", INTERFACE]).unwrap();
    let veth = ["link", "add", INTERFACE, "type", "veth", "peer", "name", "far0"];
    scene.guarded.ip(&veth).unwrap();
    scene.guarded.ip(&["link", "set", INTERFACE, "up"]).unwrap();
    let attached = eventually("the new interface is guarded", PATIENCE, || holds().then_some(()));
    attached.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.logged()));
}

#[test]
fn a_daemon_of_root_becomes_user_sluice_and_everything_works_all_the_same() {
    let scene = or_skip!("the service user", Scene::to_guard());
    let mut guarded = Daemon::new(&scene.guarded, &[], "").unwrap();
    guarded.give_user(UID, GID).unwrap();
    let list = guarded.config().with_file_name("list");
    fs::write(&list, "192.0.2.0/24\n").unwrap();
    let rules = format!("{LISTED}{list:?}\n");
    guarded.configure(&[INTERFACE], &rules).unwrap();
    guarded.run().unwrap();
    assert_eq!(kernel_says(&guarded, "Uid"), [format!("{UID} {UID} {UID} {UID}")], "{}", guarded.logged());
    assert_eq!(kernel_says(&guarded, "Gid"), [format!("{GID} {GID} {GID} {GID}")]);
    is_confined(&guarded);
    let told = confinement(&guarded);
    assert_eq!((&told["user"], &told["missing"]), (&Value::from("sluice"), &serde_json::json!([])), "{told}");
    // A process that is not dumpable belongs to root in /proc.
    assert_eq!(fs::metadata(format!("/proc/{}/environ", guarded.id().unwrap())).unwrap().uid(), 0);
    let state = guarded.config().with_file_name("state");
    for kept in [state.clone(), state.join("sluice.db"), guarded.pins().clone()] {
        assert_eq!(fs::metadata(&kept).unwrap().uid(), UID, "{}", kept.display());
    }
    attaches_again(&scene, &guarded);
    // Lists, reloads and saved changes.
    fs::write(&list, "192.0.2.0/24\n198.51.100.7\n").unwrap();
    guarded.tell(&["reload"]).unwrap();
    assert!(guarded.tell(&["explain", "198.51.100.7"]).unwrap().contains("denied"));
    guarded.tell(&["access", "deny", "203.0.113.9", "--save"]).unwrap();
    // A list elsewhere, as a reload may name it.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::set_permissions(elsewhere.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(elsewhere.path().join("list"), "198.51.100.8\n").unwrap();
    guarded.configure(&[INTERFACE], &format!("{LISTED}{:?}\n", elsewhere.path().join("list"))).unwrap();
    guarded.tell(&["reload"]).unwrap();
    assert!(guarded.tell(&["explain", "198.51.100.8"]).unwrap().contains("denied"));
    // The socket is made again when somebody removes it.
    fs::remove_file(guarded.socket()).unwrap();
    let again = eventually("the socket is back", PATIENCE, || guarded.json(&["status"]).ok());
    again.unwrap_or_else(|error| panic!("{error:#}\n{}", guarded.logged()));
    // The next one of root takes over what this one left, and detaches it.
    assert_eq!(guarded.terminate().unwrap(), 0);
    guarded.run().unwrap();
    assert_eq!(kernel_says(&guarded, "Uid"), [format!("{UID} {UID} {UID} {UID}")], "{}", guarded.logged());
    assert!(guarded.tell(&["explain", "203.0.113.9"]).unwrap().contains("denied"));
    guarded.tell(&["detach", "--yes"]).unwrap();
    assert_eq!(guarded.ended(PATIENCE).unwrap(), 0, "{}", guarded.logged());
    assert_eq!(fs::read_dir(guarded.pins()).map(Iterator::count).unwrap_or_default(), 0);
    let link = scene.guarded.ip(&["link", "show", "dev", INTERFACE]).unwrap();
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn a_user_that_could_not_read_the_configuration_is_not_taken_and_that_is_said() {
    let scene = or_skip!("a closed configuration", Scene::to_guard());
    let mut guarded = Daemon::new(&scene.guarded, &[], "").unwrap();
    guarded.give_user(UID, GID).unwrap();
    guarded.configure(&[INTERFACE], "").unwrap();
    guarded.run().unwrap();
    guarded.tell(&["access", "deny", "203.0.113.9", "--save"]).unwrap();
    assert_eq!(guarded.terminate().unwrap(), 0);
    fs::set_permissions(guarded.config(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    guarded.run().unwrap();
    assert_eq!(kernel_says(&guarded, "Uid"), ["0 0 0 0"]);
    is_confined(&guarded);
    let told = confinement(&guarded)["missing"].to_string();
    assert!(told.contains("stays root's") && told.contains("may not read"), "{told}");
    // What the user was given before is root's again, and what was saved is there.
    assert!(guarded.tell(&["explain", "203.0.113.9"]).unwrap().contains("denied"), "{}", guarded.logged());
    attaches_again(&scene, &guarded);
}

#[test]
fn without_the_user_it_stays_roots_says_so_and_writes_nowhere_else() {
    let scene = or_skip!("without the service user", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], "").unwrap();
    is_confined(&guarded);
    let told = confinement(&guarded);
    if told["user"] == "root" {
        assert!(told["missing"].to_string().contains("there is no user `sluice`"), "{told}");
        let said = guarded.say(&["doctor", "--config", guarded.config().to_str().unwrap()]).unwrap();
        assert!(said.out.contains("useradd --system"), "{said:?}");
    }
    attaches_again(&scene, &guarded);
}
