//! The audit of a running daemon: what was done and refused is in a chain with names, that outlives kills and full disks,
//! and whatever is changed in its file is named.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon, PATIENCE, Said, binary},
        network::{Network, Space, eventually},
        scene::INTERFACE,
    },
    or_skip,
};
use serde_json::Value;

const RULES: &str = "control.viewer_group = \"nogroup\"\naccess.inside = []\n[default]\nmode = \"off\"\n";

fn guarded() -> Result<(Network, Space)> {
    daemon::possible()?;
    let mut network = Network::new()?;
    let (guarded, other) = (network.space()?, network.space()?);
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])])?;
    Ok((network, guarded))
}

fn place(daemon: &Daemon) -> PathBuf {
    daemon.config().parent().unwrap().to_owned()
}

fn entries(daemon: &Daemon) -> Vec<Value> {
    daemon.json(&["audit", "-n", "1000"]).unwrap()["entries"].as_array().unwrap().clone()
}

/// The newest entry of this command and outcome.
fn entry(daemon: &Daemon, what: &str, outcome: &str) -> Value {
    let all = entries(daemon);
    let found = all.iter().find(|entry| entry["what"] == what && entry["outcome"] == outcome);
    found.unwrap_or_else(|| panic!("no entry {what} ({outcome}): {all:#?}")).clone()
}

/// The binary as another user, for whom the daemon's directory is open.
fn as_nobody(daemon: &Daemon, arguments: &[&str]) -> Said {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).env("SLUICE_SOCKET", daemon.socket()).env_remove("SSH_CONNECTION");
    Said::of(&command.uid(65534).gid(65534).output().unwrap())
}

/// What the daemon answers to raw bytes.
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A server that is done with nonsense may reset the connection.
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn verified(daemon: &Daemon) -> Value {
    daemon.json(&["audit", "verify"]).unwrap()
}

#[test]
fn calls_and_refusals_are_in_the_chain_with_name_origin_before_and_after() {
    let (_network, space) = or_skip!("the audit", guarded());
    let daemon = Daemon::start(&space, &[INTERFACE], RULES).unwrap();
    fs::set_permissions(place(&daemon), fs::Permissions::from_mode(0o711)).unwrap();
    daemon.tell(&["access", "deny", "198.51.100.7", "--reason", "a test", "--save"]).unwrap();
    let done = entry(&daemon, "access add", "done");
    assert_eq!((&done["user"], &done["origin"]["socket"]["uid"]), (&"root".into(), &0.into()), "{done}");
    assert_eq!(
        (&done["request"]["prefix"], &done["request"]["options"]["save"]),
        (&"198.51.100.7/32".into(), &true.into())
    );
    let change = &done["changes"][0];
    assert!(
        change["after"].to_string().contains("198.51.100.7") && change["before"] != change["after"],
        "{change}"
    );
    let history = daemon.json(&["history"]).unwrap();
    assert_eq!(history["changes"][0]["made_by"], "root (uid 0)");
    assert_eq!(history["changes"][0]["number"], change["number"]);

    // Refused: for safety, by the core, by the role, and before anything is understood.
    assert_eq!(daemon.say(&["detach"]).unwrap().code, 6);
    assert_eq!(entry(&daemon, "detach", "needs_confirmation")["user"], "root");
    assert_eq!(daemon.say(&["revert", "4711"]).unwrap().code, 7);
    assert!(entry(&daemon, "revert", "not_found")["detail"].as_str().unwrap().contains("4711"));
    assert_eq!(as_nobody(&daemon, &["status"]).code, 0);
    for command in [&["stop"][..], &["audit"], &["access", "deny", "198.51.100.8"]] {
        let said = as_nobody(&daemon, command);
        assert_eq!(said.code, 4, "{command:?}: {}", said.error);
    }
    let refused = entry(&daemon, "stop", "not_permitted");
    assert_eq!((&refused["user"], &refused["origin"]["socket"]["uid"]), (&"nobody".into(), &65534.into()));
    assert!(refused["origin"]["socket"]["pid"].as_u64().unwrap() > 1, "{refused}");
    entry(&daemon, "audit list", "not_permitted");
    let head = "host: x\r\nconnection: close\r\n";
    raw(&daemon, &format!("PUT /v1/nothing HTTP/1.1\r\n{head}content-length: 0\r\n\r\n"));
    entry(&daemon, "PUT /v1/nothing", "not_found");
    let forged = "{\"prefix\":\"203.0.113.9\",\"comment\":\"x\\nERROR forged\\u001b[2J\",\"nonsense\":1}";
    let length = forged.len();
    raw(&daemon, &format!("POST /v1/access/deny HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{forged}"));
    entry(&daemon, "access add", "invalid");
    raw(&daemon, "what is this\r\n\r\n");
    entry(&daemon, "a connection", "invalid");

    let text = fs::read_to_string(place(&daemon).join("state/audit.log")).unwrap();
    assert!(text.lines().all(|line| {
        line.split_once(' ').is_some_and(|(digits, json)| digits.len() == 64 && json.starts_with('{'))
    }));
    assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'));
    let verdict = verified(&daemon);
    assert_eq!((&verdict["gaps"], &verdict["broken"]), (&0.into(), &Value::Null), "{verdict}");
    daemon.reaches("sluice_audit_refused_total", &["listed=\"yes\""], |count| count > 7.5).unwrap();
}

#[test]
fn the_chain_outlives_kills_and_names_what_is_changed_in_its_file() {
    let (_network, space) = or_skip!("the audit after a kill", guarded());
    let mut daemon = Daemon::start(&space, &[INTERFACE], RULES).unwrap();
    for round in 1..=3 {
        for number in 1..=5 {
            daemon.tell(&["access", "deny", &format!("198.51.{round}.{number}")]).unwrap();
        }
        daemon.kill();
        daemon.run().unwrap();
        let all = entries(&daemon);
        let calls = all.iter().filter(|entry| entry["what"] == "access add").count();
        let begun = all.iter().filter(|entry| entry["kind"] == "begun").count();
        assert_eq!((calls, begun), (5 * round, round + 1), "{all:#?}");
    }
    let whole = verified(&daemon);
    assert_eq!((&whole["gaps"], &whole["broken"]), (&0.into(), &Value::Null), "{whole}");
    let head = format!("{}:{}", whole["head"]["number"], whole["head"]["sha256"].as_str().unwrap());
    assert_eq!(daemon.say(&["audit", "verify", "--head", &head]).unwrap().code, 0);

    // Somebody hides the third line while the daemon runs, then in files without a daemon.
    let state = place(&daemon).join("state");
    let file = state.join("audit.log");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("198.51.1.2", "198.51.9.2", 1)).unwrap();
    let number = text.lines().position(|line| line.contains("198.51.1.2")).unwrap() + 1;
    let said = daemon.say(&["audit", "verify"]).unwrap();
    assert_eq!(said.code, 13, "{}{}", said.out, said.error);
    assert!(said.error.contains(&format!("entry {number} ")), "{}", said.error);
    fs::write(&file, &text).unwrap();

    // A stop by a signal is said to be one; who sent it is not made up.
    assert_eq!(daemon.terminate().unwrap(), 0);
    assert!(daemon.logged().contains("told to stop by SIGTERM"), "{}", daemon.logged());
    assert!(!daemon.logged().contains("uid=0 pid=0"), "{}", daemon.logged());
    let offline = |directory: &Path| {
        daemon
            .say(&["audit", "verify", "--directory", &directory.display().to_string(), "--head", &head])
            .unwrap()
    };
    let said = offline(&state);
    assert_eq!(said.code, 0, "{}{}", said.out, said.error);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.lines().last().unwrap().contains("\"origin\":\"signal\""), "{text}");
    let kept: Vec<_> = text.lines().take(2).collect();
    fs::write(&file, kept.join("\n") + "\n").unwrap();
    let said = offline(&state);
    assert_eq!(said.code, 13, "{}", said.out);
    assert!(said.error.contains("entry 3 "), "{}", said.error);
}

/// A small disk of the daemon's own in place of its state directory.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Result<Self> {
        fs::create_dir_all(&at)?;
        let mut mount = Command::new("mount");
        let said =
            Said::of(&mount.args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "none"]).arg(&at).output()?);
        said.ok()?;
        Ok(Self(at))
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        while file.write_all(&[7]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_no_entry_that_fits_into_memory() {
    let (_network, space) = or_skip!("the audit on a full disk", guarded());
    let mut daemon = Daemon::new(&space, &[INTERFACE], RULES).unwrap();
    let disk = or_skip!("the audit on a full disk", Disk::mount(place(&daemon).join("state")));
    daemon.run().unwrap();
    disk.fill();
    for number in 1..=200 {
        daemon.say(&["access", "deny", &format!("198.51.100.{number}")]).unwrap();
    }
    let status = daemon.json(&["status"]).unwrap();
    assert!(status["problems"].to_string().contains("audit: "), "{}", status["problems"]);
    assert!(status["audit"]["waiting"].as_u64().unwrap() > 100, "{}", status["audit"]);
    disk.free();
    let written = || (daemon.json(&["status"]).ok()?["audit"]["waiting"] == 0).then_some(());
    eventually("what waited is written", PATIENCE, written).unwrap();
    let calls = entries(&daemon).iter().filter(|entry| entry["what"] == "access add").count();
    assert_eq!(calls, 200);
    let verdict = verified(&daemon);
    assert_eq!(verdict["broken"], Value::Null, "{verdict}");
    let well = || (!daemon.json(&["status"]).ok()?["problems"].to_string().contains("audit: ")).then_some(());
    eventually("the problem is over", PATIENCE, well).unwrap();
    assert_eq!(daemon.terminate().unwrap(), 0);
}

#[test]
fn a_user_without_rights_fills_neither_the_disk_nor_the_chain() {
    let (_network, space) = or_skip!("a flood of refused calls", guarded());
    let daemon = Daemon::start(&space, &[INTERFACE], RULES).unwrap();
    fs::set_permissions(place(&daemon), fs::Permissions::from_mode(0o711)).unwrap();
    let script = format!(
        "i=0; while [ $i -lt 40 ]; do curl -s -o /dev/null --unix-socket {} {} > /dev/null; i=$((i+1)); done",
        daemon.socket().display(),
        "-X POST http://x/v1/stop ".repeat(50)
    );
    let mut flood = Command::new("sh");
    flood.args(["-c", &script]).uid(65534).gid(65534);
    assert!(flood.status().unwrap().success());
    daemon.tell(&["access", "deny", "198.51.100.7"]).unwrap();
    let listed = entries(&daemon).iter().filter(|entry| entry["user"] == "nobody").count();
    assert!((1..=25).contains(&listed), "{listed}");
    let counted = || daemon.json(&["status"]).ok()?["audit"]["refused"].as_u64().filter(|all| *all >= 2000);
    eventually("all of them are counted", PATIENCE, counted).unwrap();
    entry(&daemon, "access add", "done");
    assert!(fs::metadata(place(&daemon).join("state/audit.log")).unwrap().len() < 30_000);
    // The rest is told together.
    let told = || entries(&daemon).iter().find(|entry| entry["outcome"] == "too_many").cloned();
    let told = eventually("the others are told", PATIENCE * 2, told).unwrap();
    assert!(told["detail"].as_str().unwrap().contains("nobody (uid 65534)"), "{told}");
}
