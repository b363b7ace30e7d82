//! `sluice backup` and `sluice restore` from outside: a file taken under changes brings everything saved back into force, and a
//! file that is no whole backup, or a full disk, changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::{fs::MetadataExt as _, fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon, Said, binary},
        network::{Network, Space},
        scene::INTERFACE,
    },
    or_skip,
};
use serde_json::Value;

const RULES: &str = "control.viewer_group = \"nogroup\"\naccess.inside = []\n[default]\nmode = \"off\"\n\
                     [[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nmode = \"observe\"\n\
                     limit = { packets = \"100/s\" }\n";
const OTHER: &str = "10.77.0.2";

fn guarded() -> Result<(Network, Space, Space)> {
    daemon::possible()?;
    let mut network = Network::new()?;
    let (guarded, other) = (network.space()?, network.space()?);
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])])?;
    Ok((network, guarded, other))
}

fn place(daemon: &Daemon) -> PathBuf {
    daemon.config().parent().unwrap().to_owned()
}

fn reaches(other: &Space) -> bool {
    other.run("ping", &["-c", "2", "-i", "0.2", "-W", "1", "10.77.0.1"]).is_ok()
}

fn denied(daemon: &Daemon) -> Vec<String> {
    let list = daemon.json(&["access", "list"]).unwrap();
    let all = ["denied", "banned"].into_iter().flat_map(|kind| list[kind].as_array().unwrap());
    let text = |entry: &Value| {
        entry.get("prefix").or(entry.get("source")).map(|text| text.as_str().unwrap().to_owned())
    };
    all.map(|entry| text(entry).unwrap()).collect()
}

fn restore(daemon: &Daemon, file: &Path, more: &[&str]) -> Said {
    let (file, state) = (file.display().to_string(), place(daemon).join("state").display().to_string());
    daemon.say(&[&["restore", &file, "--directory", &state], more].concat()).unwrap()
}

/// Every file of a directory, and what it holds.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = fs::read_dir(directory).unwrap().flatten();
    all.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

#[test]
fn a_backup_taken_under_changes_brings_what_was_saved_back_into_force() {
    let (_network, space, other) = or_skip!("backup and restore", guarded());
    let mut daemon = Daemon::start(&space, &[INTERFACE], RULES).unwrap();
    daemon.tell(&["access", "deny", OTHER, "--save", "--yes"]).unwrap();
    daemon.tell(&["access", "ban", "198.51.100.9", "--for", "1h", "--save"]).unwrap();
    daemon.tell(&["limit", "set", "web", "--packets", "3k/s", "--save"]).unwrap();
    assert!(!reaches(&other));

    let at = place(&daemon);
    let file = at.join("taken.db");
    let name = file.display().to_string();
    let is_over = AtomicBool::new(false);
    let made = 25;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..made {
                // A copy that is on its way may have the store refuse one.
                while daemon.tell(&["access", "deny", &format!("203.0.113.{number}"), "--save"]).is_err() {}
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let mut rounds = 0;
        while rounds == 0 || !is_over.load(Ordering::Relaxed) {
            let force = if rounds == 0 { &[][..] } else { &["--force"] };
            let told = daemon.json(&[&["backup", &name], force].concat()).unwrap();
            assert!(told["holds"]["denials"].as_u64().unwrap() >= 1, "{told}");
            assert_eq!(told["bytes"], fs::metadata(&file).unwrap().len());
            rounds += 1;
        }
        assert!(rounds > 3, "{rounds} backups under changes");
    });
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let taken = fs::read(&file).unwrap();
    let again = daemon.say(&["backup", &name]).unwrap();
    assert!(again.code == 8 && again.error.contains("--force"), "{again:?}");
    assert_eq!(fs::read(&file).unwrap(), taken);
    let told = daemon.tell(&["backup", &name, "--force"]).unwrap();
    assert!(told.contains("1 saved limits") && told.contains("not in it: the configuration"), "{told}");
    let stdout = daemon.command(&["backup", "-"]).unwrap().output().unwrap();
    assert!(stdout.status.success() && stdout.stdout.starts_with(b"SQLite format 3\0"));
    // Each is one entry of the audit, however many parts it has.
    let audited = daemon.json(&["audit", "list", "-n", "3"]).unwrap();
    let newest = &audited["entries"][0];
    assert!(newest["what"] == "backup" && newest.to_string().contains("\"uid\":0"), "{audited}");
    let left = contents(&at.join("state"));
    assert!(!left.keys().any(|name| name.contains("backup")), "{:?}", left.keys());
    assert!(!contents_names(&at).iter().any(|name| name.contains(".part-")));

    // Only admins read it, and a daemon that runs keeps its store.
    fs::set_permissions(&at, fs::Permissions::from_mode(0o711)).unwrap();
    let mut command = Command::new(binary().unwrap());
    command.args(["backup", "-"]).env("SLUICE_SOCKET", daemon.socket()).uid(65534).gid(65534);
    let nobody = Said::of(&command.output().unwrap());
    assert!(nobody.code == 4 && nobody.out.is_empty(), "{nobody:?}");
    let refused = restore(&daemon, &file, &["--yes"]);
    assert!(refused.code == 8 && refused.error.contains("stop it first"), "{refused:?}");
    let state = at.join("state").display().to_string();
    let refused = daemon.say(&["backup", "--directory", &state, &name, "--force"]).unwrap();
    assert!(refused.code != 0 && refused.error.contains("running daemon"), "{refused:?}");

    daemon.tell(&["access", "undeny", OTHER, "--save"]).unwrap();
    daemon.tell(&["access", "unban", "198.51.100.9", "--save"]).unwrap();
    daemon.tell(&["limit", "unset", "web", "--save"]).unwrap();
    assert!(reaches(&other));
    let newest = daemon.json(&["history"]).unwrap()["changes"][0]["number"].as_u64().unwrap();
    daemon.kill();
    // After a kill the journal holds what was written last; without a daemon it is in the backup too.
    let killed = at.join("killed.db").display().to_string();
    let told = daemon.json(&["backup", "--directory", &state, &killed]).unwrap();
    assert_eq!((&told["holds"]["denials"], &told["holds"]["overrides"]), (&made.into(), &0.into()), "{told}");

    let asked = restore(&daemon, &file, &[]);
    assert!(asked.code == 6 && asked.error.contains(&format!("0 saved limits, {made} denials")), "{asked:?}");
    assert!(asked.error.contains(&format!("1 saved limits, {} denials", made + 1)), "{asked:?}");
    assert!(reaches(&other), "nothing was changed");
    let said = restore(&daemon, &file, &["--yes"]);
    assert!(said.code == 0 && said.out.contains("sluice.db.before-restore"), "{said:?}");
    daemon.run().unwrap();
    assert!(!reaches(&other), "the denial is in force again");
    let all = denied(&daemon);
    assert!(all.iter().any(|prefix| prefix.starts_with(OTHER)), "{all:?}");
    assert!(all.iter().any(|prefix| prefix.starts_with("198.51.100.9")), "{all:?}");
    assert_eq!(all.len(), made + 2, "{all:?}");
    let limits = daemon.json(&["limit", "list"]).unwrap().to_string();
    assert!(limits.contains("3000"), "{limits}");
    let history = daemon.json(&["history"]).unwrap();
    let is_it = |change: &&Value| change["what"].as_str().unwrap().starts_with("restore ");
    let change = history["changes"].as_array().unwrap().iter().find(is_it).unwrap();
    assert_eq!(change["number"], newest + 1, "{change}");
    assert!(change["made_by"].as_str().unwrap().contains("without the daemon"), "{change}");
    let audit = daemon.json(&["audit"]).unwrap();
    let entry = audit["entries"].as_array().unwrap().iter().find(|entry| entry["what"] == "restore").unwrap();
    assert_eq!(
        (&entry["user"], &entry["changes"][0]["number"]),
        (&"root".into(), &change["number"]),
        "{entry}"
    );
    let verdict = daemon.json(&["audit", "verify"]).unwrap();
    assert_eq!((&verdict["gaps"], &verdict["broken"]), (&0.into(), &Value::Null), "{verdict}");

    // The way back.
    assert_eq!(daemon.terminate().unwrap(), 0);
    let said = restore(&daemon, &at.join("state/sluice.db.before-restore"), &["--yes"]);
    assert!(said.code == 0 && said.out.contains("before-restore-2"), "{said:?}");
    daemon.run().unwrap();
    assert!(reaches(&other));
    // A ban that the kernel holds stays until it ends.
    let banned = |prefix: &String| prefix.starts_with("198.51.100.9");
    let (bans, denials): (Vec<_>, Vec<_>) = denied(&daemon).into_iter().partition(banned);
    assert_eq!((bans.len(), denials.len()), (1, made), "{bans:?} {denials:?}");
}

fn contents_names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().flatten().map(|file| file.file_name().into_string().unwrap()).collect()
}

/// The backup with other bytes at one place.
fn patched(from: &Path, name: &str, at: u64, bytes: &[u8]) -> PathBuf {
    let path = from.with_file_name(name);
    fs::copy(from, &path).unwrap();
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
    path
}

#[test]
fn a_file_that_is_no_whole_backup_is_refused_and_changes_nothing() {
    let (_network, space, _other) = or_skip!("restore of broken files", guarded());
    let mut daemon = Daemon::start(&space, &[INTERFACE], RULES).unwrap();
    for number in 1..100 {
        daemon.tell(&["access", "deny", &format!("203.0.113.{number}"), "--save"]).unwrap();
    }
    let at = place(&daemon);
    let whole = at.join("whole.db");
    daemon.tell(&["backup", &whole.display().to_string()]).unwrap();
    daemon.tell(&["access", "deny", "198.51.100.1", "--save"]).unwrap();
    assert_eq!(daemon.terminate().unwrap(), 0);
    let bytes = fs::read(&whole).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(at.join(name), bytes).unwrap();
        at.join(name)
    };
    let middle = bytes.len() as u64 / 2 / 4096 * 4096;
    let in_use = write("in-use.db", &bytes);
    write("in-use.db-wal", b"x");
    Command::new("mkfifo").arg(at.join("pipe")).status().unwrap();
    let state = at.join("state");
    let before = contents(&state);
    for (file, wanted) in [
        (patched(&whole, "damaged.db", middle, &[0xa5; 4096]), "is damaged"),
        (write("truncated.db", &bytes[..bytes.len() / 2]), "is damaged"),
        // SQLite, 1.3: the user version is at byte 60, the application's number at byte 68.
        (
            patched(&whole, "newer.db", 60, &99_u32.to_be_bytes()),
            "was written by a newer sluice: it has layout 99",
        ),
        (patched(&whole, "foreign.db", 68, b"else"), "is no store of sluice, but another database"),
        (write("text.db", &[b'x'; 9000]), "is no store of sluice"),
        (write("empty.db", b""), "is empty"),
        (in_use, "has a journal beside it"),
        (at.join("pipe"), "is no regular file"),
        (at.clone(), "is no regular file"),
    ] {
        let said = restore(&daemon, &file, &["--yes"]);
        let named = said.error.contains(&file.display().to_string());
        assert!(said.code == 5 && named && said.error.contains(wanted), "{wanted}: {said:?}");
        assert!(said.error.contains("nothing was changed") && said.error.lines().count() == 1, "{said:?}");
        assert_eq!(contents(&state), before, "{wanted}");
    }
    let said = restore(&daemon, &at.join("nowhere.db"), &["--yes"]);
    assert!(said.code != 0 && said.error.contains("nowhere.db"), "{said:?}");
    let (file, elsewhere) = (whole.display().to_string(), at.display().to_string());
    let said = daemon.say(&["restore", &file, "--directory", &elsewhere, "--yes"]).unwrap();
    assert!(said.code != 0 && said.error.contains("is no state directory"), "{said:?}");
    assert!(!at.join("lock").exists());

    // Who owns the directory owns what is restored.
    for file in contents_names(&state) {
        std::os::unix::fs::chown(state.join(file), Some(4711), Some(4712)).unwrap();
    }
    std::os::unix::fs::chown(&state, Some(4711), Some(4712)).unwrap();
    assert_eq!(restore(&daemon, &whole, &["--yes"]).code, 0);
    for file in contents_names(&state) {
        let about = fs::metadata(state.join(&file)).unwrap();
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o077), (4711, 4712, 0), "{file}");
    }
}

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&at)?;
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        Said::of(&mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(&at).output()?).ok()?;
        Ok(Self(at))
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_no_half_file_and_the_store_as_it_was() {
    let (_network, space, _other) = or_skip!("a backup on a full disk", guarded());
    let mut daemon = Daemon::new(&space, &[INTERFACE], RULES).unwrap();
    let at = place(&daemon);
    let target = or_skip!("a backup on a full disk", Disk::mount(at.join("target"), "16k"));
    let state = or_skip!("a backup on a full disk", Disk::mount(at.join("state"), "4m"));
    daemon.run().unwrap();
    daemon.tell(&["access", "deny", "198.51.100.1", "--save"]).unwrap();
    let whole = at.join("whole.db");
    daemon.tell(&["backup", &whole.display().to_string()]).unwrap();

    let said = daemon.say(&["backup", &target.0.join("b.db").display().to_string()]).unwrap();
    assert!(
        said.code == 1 && said.error.contains("No space left") && said.error.contains("no file was left"),
        "{said:?}"
    );
    assert!(contents_names(&target.0).is_empty());

    state.fill();
    let said = daemon.say(&["backup", &at.join("c.db").display().to_string()]).unwrap();
    assert!(said.code == 1 && said.error.contains("copy the store"), "{said:?}");
    assert!(!at.join("c.db").exists());
    let left = contents_names(&state.0);
    assert!(!left.iter().any(|name| name.contains("backup")), "{left:?}");
    assert_eq!(daemon.terminate().unwrap(), 0);

    state.fill();
    let before = contents(&state.0);
    let said = restore(&daemon, &whole, &["--yes"]);
    assert!(said.code != 0 && said.error.contains("nothing was changed"), "{said:?}");
    assert_eq!(contents(&state.0), before);
    fs::remove_file(state.0.join("filler")).unwrap();
    assert_eq!(restore(&daemon, &whole, &["--yes"]).code, 0);
    daemon.run().unwrap();
    assert_eq!(denied(&daemon).len(), 1);
}
