//! Findings at real receivers, from a daemon of user `sluice` that is confined: rsyslog over UDP, TCP and TLS, a journal,
//! Alertmanager, files that are rotated; also receivers that come late.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::{Process, eventually, run},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

use crate::insiders::{self, finding};

const UID: u32 = 61_983;
const GID: u32 = 61_984;

/// The receivers' own places.
struct Receivers {
    directory: tempfile::TempDir,
}

impl Receivers {
    fn new() -> Self {
        let receivers =
            Self { directory: tempfile::Builder::new().prefix("sluice-sinks-").tempdir().unwrap() };
        fs::set_permissions(receivers.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let files = receivers.path("files");
        fs::create_dir(&files).unwrap();
        chown(&files, Some(UID), Some(GID)).unwrap();
        receivers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        self.text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A small file system, which is full as long as it has the file `filler`.
    fn full_disk(&self) {
        let place = self.path("full");
        fs::create_dir(&place).unwrap();
        let options = format!("size=16k,mode=0700,uid={UID},gid={GID}");
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &place.display().to_string()]).unwrap();
        fs::write(place.join("filler"), vec![b'x'; 64 << 10]).unwrap_err();
    }

    /// A certificate for 127.0.0.1 and the one that signed it.
    fn certificates(&self) {
        let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout ca.key -out ca.pem && \
             openssl req -newkey rsa:2048 -nodes -subj /CN=receiver -keyout own.key -out own.csr && \
             echo subjectAltName=IP:127.0.0.1 > names && \
             openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out own.pem";
        run("sh", &["-c", &format!("cd {} && {{ {script}; }} 2>&1", self.directory.path().display())])
            .unwrap();
    }

    /// rsyslog with these inputs, which writes to `NAME.log`.
    fn rsyslog(&self, scene: &Scene, name: &str, inputs: &str) -> Process {
        let log = self.path(&format!("{name}.log")).display().to_string();
        let text = format!(
            "{inputs}\ntemplate(name=\"all\" type=\"string\" string=\"%inputname% %app-name%|%pri%|%msgid%|%structured-data%|%msg%\\n\")\n\
             *.* action(type=\"omfile\" file=\"{log}\" template=\"all\")\n"
        );
        let (config, pid) = (self.path(&format!("{name}.conf")), self.path(&format!("{name}.pid")));
        fs::write(&config, text).unwrap();
        let (config, pid) = (config.display().to_string(), pid.display().to_string());
        scene.guarded.start("rsyslogd", &["-n", "-f", &config, "-i", &pid]).unwrap()
    }

    /// A journal of its own, on what it takes for /run.
    fn journal(&self, scene: &Scene) -> Process {
        let own = self.path("journal");
        fs::create_dir_all(own.join("log")).unwrap();
        fs::create_dir_all(own.join("systemd/journal")).unwrap();
        let script = format!("mount --bind {} /run && exec /lib/systemd/systemd-journald", own.display());
        let journal = scene.guarded.start("unshare", &["--mount", "sh", "-c", &script]).unwrap();
        let socket = own.join("systemd/journal/socket");
        eventually("the journal listens", PATIENCE, || socket.exists().then_some(())).unwrap();
        journal
    }

    fn journal_has(&self, field: &str) -> Vec<Value> {
        let directory = self.path("journal/log/journal").display().to_string();
        let said =
            run("journalctl", &["-D", &directory, "-o", "json", "--no-pager", field]).unwrap_or_default();
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Whether a file of JSON lines has the first scan.
    fn opened(&self, name: &str) -> bool {
        self.lines(name).into_iter().any(|line| line.to_string().contains("10.77.0.31"))
    }

    /// Whether rsyslog has the text from an input.
    fn logged(&self, name: &str, text: &str) -> bool {
        self.text(&format!("{name}.log")).contains(text)
    }

    fn alertmanager(&self, scene: &Scene) -> Process {
        let config = self.path("alertmanager.yml");
        fs::write(&config, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", self.path("alertmanager").display()),
            "--web.listen-address=127.0.0.1:9093".to_owned(),
            "--cluster.listen-address=".to_owned(),
        ];
        scene.guarded.start("prometheus-alertmanager", &arguments.each_ref().map(String::as_str)).unwrap()
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", &self.path("full").display().to_string()]);
    }
}

/// The port scans of `source` that are active at Alertmanager; `None` while it does not answer.
fn active(scene: &Scene, source: &str) -> Option<Vec<Value>> {
    let filter = format!(
        "http://127.0.0.1:9093/api/v2/alerts?active=true&filter=subject%3D%22{source}%22&filter=detector%3D%22port_scan%22"
    );
    let said = scene.guarded.run("curl", &["-s", "-f", &filter]).ok()?;
    serde_json::from_str(&said).ok()
}

fn rules(receivers: &Receivers) -> String {
    let at = receivers.directory.path().display();
    format!(
        "[default]\nmode = \"off\"\n\
         [[alerts.sink]]\nkind = \"jsonl\"\npath = \"{at}/files/findings.jsonl\"\n\
         [[alerts.sink]]\nkind = \"jsonl\"\nname = \"ecs\"\nformat = \"ecs\"\npath = \"{at}/files/ecs.jsonl\"\n\
         [[alerts.sink]]\nkind = \"jsonl\"\nname = \"beacons\"\ndetectors = [\"beacon\"]\npath = \"{at}/files/beacons.jsonl\"\n\
         [[alerts.sink]]\nkind = \"jsonl\"\nname = \"grave\"\nseverity = \"critical\"\npath = \"{at}/files/grave.jsonl\"\n\
         [[alerts.sink]]\nkind = \"jsonl\"\nname = \"full\"\npath = \"{at}/full/findings.jsonl\"\n\
         [[alerts.sink]]\nkind = \"journald\"\npath = \"{at}/journal/systemd/journal/socket\"\n\
         [[alerts.sink]]\nkind = \"syslog\"\nname = \"udp\"\naddress = \"udp://127.0.0.1:5514\"\n\
         [[alerts.sink]]\nkind = \"syslog\"\nname = \"tcp\"\naddress = \"tcp://127.0.0.1:5515\"\n\
         [[alerts.sink]]\nkind = \"syslog\"\nname = \"tls\"\naddress = \"tls://127.0.0.1:6514\"\nca_file = \"{at}/ca.pem\"\n\
         [[alerts.sink]]\nkind = \"alertmanager\"\naddress = \"http://127.0.0.1:9093\"\n"
    )
}

fn missing(path: &str) -> anyhow::Result<()> {
    anyhow::ensure!(Path::new(path).exists(), "{path} is not installed: run `cargo xtask setup`");
    Ok(())
}

fn scan(scene: &Scene, source: &str) {
    let arguments =
        ["-n", "--max-retries", "0", "-S", source, "-e", INTERFACE, "-sS", "-Pn", "-p", "1-200", "10.77.0.1"];
    scene.attacker.run("nmap", &arguments).unwrap();
}

/// What rsyslog writes of it: facility daemon, level warning.
const OPENED: &str = "sluice|28|opened|[sluice@32473 event=\"opened\"";

fn the_first_have_it(receivers: &Receivers) {
    // Files, filtered, and in the fields of another schema.
    for name in ["files/findings.jsonl", "files/ecs.jsonl"] {
        eventually(name, PATIENCE, || receivers.opened(name).then_some(())).unwrap();
    }
    let line = receivers.lines("files/findings.jsonl").remove(0);
    assert_eq!((&line["event"], &line["schema_version"]), (&"opened".into(), &1.into()), "{line}");
    let line = receivers.lines("files/ecs.jsonl").remove(0);
    assert_eq!(
        (&line["rule"]["name"], &line["source"]["ip"]),
        (&"port_scan".into(), &"10.77.0.31".into()),
        "{line}"
    );
    assert!(!receivers.text("files/beacons.jsonl").contains("port_scan"));
    assert!(!receivers.text("files/grave.jsonl").contains("\"warning\""));

    // The journal has the fields, and its own word about who sent them.
    let entry = eventually("the journal", PATIENCE, || {
        receivers.journal_has("SLUICE_SUBJECT=10.77.0.31").into_iter().next()
    })
    .unwrap();
    assert_eq!(
        (&entry["PRIORITY"], &entry["SLUICE_DETECTOR"]),
        (&"4".into(), &"port_scan".into()),
        "{entry}"
    );
    assert_eq!(
        (&entry["_UID"], &entry["SYSLOG_IDENTIFIER"]),
        (&UID.to_string().into(), &"sluice".into()),
        "{entry}"
    );
    assert_eq!(entry["SLUICE_EVENT"], "opened", "{entry}");

    // Syslog as rsyslog reads it: facility daemon, level warning.
    eventually("rsyslog over UDP", PATIENCE, || receivers.logged("udp", OPENED).then_some(())).unwrap();
}

fn the_others_fail(receivers: &Receivers, daemon: &Daemon) {
    // Nobody listens at the others yet: they are problems, and wait.
    for sink in ["tcp", "tls", "alertmanager", "full"] {
        let failing = || {
            daemon
                .metric("sluice_sink_failing", &[&format!("sink=\"{sink}\"")])
                .is_ok_and(|failing| failing > 0.5)
        };
        eventually("a sink that fails is a metric", PATIENCE, || failing().then_some(())).unwrap();
    }
    let problems = daemon.json(&["status"]).unwrap()["problems"].to_string();
    assert!(problems.contains("sink tls: ") && problems.contains("sink alertmanager: "), "{problems}");
    // The disk has room again.
    assert!(problems.contains("sink full: ") && problems.contains("No space left"), "{problems}");
    fs::remove_file(receivers.path("full/filler")).unwrap();
    eventually("full/findings.jsonl", PATIENCE, || receivers.opened("full/findings.jsonl").then_some(()))
        .unwrap();
}

fn all_have_it(receivers: &Receivers, scene: &Scene, daemon: &Daemon) {
    for name in ["tcp", "tls"] {
        eventually(name, PATIENCE, || receivers.logged(name, OPENED).then_some(())).unwrap();
    }
    let alert =
        eventually("Alertmanager", PATIENCE, || active(scene, "10.77.0.31")?.into_iter().next()).unwrap();
    let labels = &alert["labels"];
    for (name, value) in [
        ("alertname", "SluiceFinding"),
        ("detector", "port_scan"),
        ("subject", "10.77.0.31"),
        ("severity", "warning"),
    ] {
        assert_eq!(labels[name], value, "{alert}");
    }
    assert!(
        alert["annotations"]["containment"].as_str().is_some_and(|text| text.contains("sluice")),
        "{alert}"
    );
    for sink in ["udp", "tcp", "tls", "alertmanager", "jsonl", "journald", "full"] {
        let sink = format!("sink=\"{sink}\"");
        daemon
            .reaches("sluice_sink_deliveries_total", &[&sink, "result=\"delivered\""], |count| count > 0.5)
            .unwrap();
        assert!(daemon.metric("sluice_sink_deliveries_total", &[&sink, "result=\"lost\""]).unwrap() < 0.5);
    }
}

fn all_are_told_the_end(receivers: &Receivers, scene: &Scene, daemon: &Daemon, number: u64) {
    // The file is rotated, the daemon told; what ends goes the same ways.
    fs::rename(receivers.path("files/findings.jsonl"), receivers.path("files/findings.jsonl.1")).unwrap();
    daemon.signal(libc::SIGHUP).unwrap();
    daemon.tell(&["alerts", "close", &number.to_string()]).unwrap();
    eventually("the new file", PATIENCE, || {
        receivers.text("files/findings.jsonl").contains("\"closed\"").then_some(())
    })
    .unwrap();
    assert!(!receivers.text("files/findings.jsonl.1").contains("\"closed\""));
    for name in ["udp", "tcp", "tls"] {
        eventually(name, PATIENCE, || receivers.logged(name, "sluice|30|closed|").then_some(())).unwrap();
    }
    eventually("the alert is resolved", PATIENCE, || active(scene, "10.77.0.31")?.is_empty().then_some(()))
        .unwrap();
}

#[test]
fn findings_reach_real_receivers_from_a_confined_daemon_also_those_that_come_late() {
    let scene = or_skip!("sinks", insiders::scene(&["nmap", "curl", "openssl", "journalctl"]));
    for needed in [
        "/usr/sbin/rsyslogd",
        "/usr/bin/prometheus-alertmanager",
        "/lib/systemd/systemd-journald",
        "/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so",
    ] {
        or_skip!("sinks", missing(needed));
    }
    let receivers = Receivers::new();
    receivers.certificates();
    receivers.full_disk();
    for last in [31, 32] {
        scene.attacker.address(INTERFACE, &format!("10.77.0.{last}/24")).unwrap();
    }
    let _journal = receivers.journal(&scene);
    let _datagrams = receivers.rsyslog(
        &scene,
        "udp",
        "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"5514\")",
    );
    let mut daemon = Daemon::new(&scene.guarded, &[INTERFACE], &rules(&receivers)).unwrap();
    daemon.give_user(UID, GID).unwrap();
    daemon.run().unwrap();
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(status["confinement"]["user"], "sluice", "{status}");
    scene.warm_up(Over::Ipv4).unwrap();
    scan(&scene, "10.77.0.31");
    let found =
        eventually("the scan is found", PATIENCE, || finding(&daemon, "port_scan", "10.77.0.31")).unwrap();
    let number = found["id"].as_u64().unwrap();

    the_first_have_it(&receivers);
    the_others_fail(&receivers, &daemon);
    let _stream = receivers.rsyslog(
        &scene,
        "tcp",
        "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"5515\")",
    );
    let at = receivers.directory.path().display();
    let _secured = receivers.rsyslog(
        &scene,
        "tls",
        &format!(
            "global(DefaultNetstreamDriver=\"gtls\" DefaultNetstreamDriverCAFile=\"{at}/ca.pem\" \
             DefaultNetstreamDriverCertFile=\"{at}/own.pem\" DefaultNetstreamDriverKeyFile=\"{at}/own.key\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"6514\")"
        ),
    );
    let _manager = receivers.alertmanager(&scene);
    all_have_it(&receivers, &scene, &daemon);
    all_are_told_the_end(&receivers, &scene, &daemon, number);
    // After a restart an alert that is open still is, without a new finding.
    scan(&scene, "10.77.0.32");
    eventually("the next scan", PATIENCE, || finding(&daemon, "port_scan", "10.77.0.32")).unwrap();
    eventually("its alert", PATIENCE, || (active(&scene, "10.77.0.32")?.len() == 1).then_some(())).unwrap();
    let before = active(&scene, "10.77.0.32").unwrap()[0]["updatedAt"].clone();
    assert_eq!(daemon.terminate().unwrap(), 0, "{}", daemon.logged());
    daemon.run().unwrap();
    eventually("it is told again", PATIENCE + Duration::from_secs(5), || {
        (active(&scene, "10.77.0.32")?.first()?["updatedAt"] != before).then_some(())
    })
    .unwrap();
    let problems = daemon.json(&["status"]).unwrap()["problems"].to_string();
    assert!(!problems.contains("sink"), "{problems}");
}
