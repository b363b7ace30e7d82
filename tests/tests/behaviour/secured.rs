//! The metrics listener beyond loopback: nobody is served without being asked who it is, and with TLS, passwords and client
//! certificates a real curl and a real Prometheus are.

use std::{fs, path::Path};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::{eventually, run},
        scene::{INTERFACE, Scene},
    },
    or_skip,
};
use serde_json::Value;

const UID: u32 = 61_987;
const GID: u32 = 61_988;
const LISTEN: &str = "metrics.listen = \"10.77.0.1:9477\"\n";
/// Of `s3cret`, and of `other`.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";
const OTHER: &str = "$2b$05$abcdefghijklmnopqrstuuVQd15VhR/oN1H3pzUR5lME0fZO6.qRW";
const TLS: &str = "tls_server_config:\n  cert_file: own.pem\n  key_file: own.key\n  min_version: TLS12\n";

/// The status of an answer from the client's place; 000 without an answer.
fn status(scene: &Scene, arguments: &[&str]) -> String {
    let mut all = vec!["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5"];
    all.extend(arguments);
    let mut command = scene.client.command("curl", &all);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn certificates(at: &Path) {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout ca.key -out ca.pem && \
         echo subjectAltName=IP:10.77.0.1 > names && \
         for who in own scraper; do \
         openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key -out $who.csr && \
         openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out $who.pem || exit 1; \
         done && chmod 644 *.key *.pem";
    run("sh", &["-c", &format!("cd {} && {{ {script}; }} 2>&1", at.display())]).unwrap();
}

#[test]
fn the_metrics_listener_asks_the_network_who_it_is() {
    let scene = or_skip!("a secured listener", {
        run("sh", &["-c", "command -v curl prometheus openssl"]).and_then(|_| Scene::to_guard())
    });
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    certificates(place.path());
    let web = place.path().join("web.yml");
    let ca = place.path().join("ca.pem").display().to_string();
    let mut daemon = Daemon::new(&scene.guarded, &[], "").unwrap();
    daemon.give_user(UID, GID).unwrap();

    // Open to the network: guarded, and not served.
    daemon.configure(&[INTERFACE], LISTEN).unwrap();
    daemon.run().unwrap();
    let told = daemon.json(&["status"]).unwrap();
    assert_eq!(told["interfaces"][0]["mode"], "native", "{told}");
    assert!(told["problems"].to_string().contains("metrics.allow_unauthenticated"), "{told}");
    assert_eq!(status(&scene, &["http://10.77.0.1:9477/metrics"]), "000");
    assert_eq!(daemon.terminate().unwrap(), 0);
    daemon.configure(&[INTERFACE], &format!("{LISTEN}metrics.allow_unauthenticated = true\n")).unwrap();
    daemon.run().unwrap();
    assert_eq!(status(&scene, &["http://10.77.0.1:9477/metrics"]), "200");
    assert_eq!(daemon.terminate().unwrap(), 0);

    // TLS and a password.
    fs::write(&web, format!("{TLS}basic_auth_users:\n  alice: {HASH}\n")).unwrap();
    daemon.configure(&[INTERFACE], &format!("{LISTEN}metrics.web_config_file = {web:?}\n")).unwrap();
    daemon.run().unwrap();
    let page = "https://10.77.0.1:9477/metrics";
    let asked = |more: &[&str]| status(&scene, &[&["--cacert", &ca, page], more].concat());
    assert_eq!((asked(&["-u", "alice:s3cret"]).as_str(), asked(&[]).as_str()), ("200", "401"));
    for (user, said) in [("alice:other", "401"), ("bob:s3cret", "401"), ("alice:", "401")] {
        assert_eq!(asked(&["-u", user]), said, "{user}");
    }
    for path in ["/", "/events", "/nothing"] {
        let page = format!("https://10.77.0.1:9477{path}");
        assert_eq!(status(&scene, &["--cacert", &ca, &page]), "401", "{path}");
    }
    assert_eq!(status(&scene, &["http://10.77.0.1:9477/metrics"]), "000", "without TLS");
    assert_eq!(asked(&["--tls-max", "1.1", "-u", "alice:s3cret"]), "000", "with an old TLS");
    prometheus_scrapes(&scene, place.path());

    // Replaced files count from the next connection on; a broken one changes nothing and is reported.
    fs::write(&web, "tls_server_config: [\n").unwrap();
    assert_eq!(asked(&["-u", "alice:s3cret"]), "200");
    let broken = || {
        let told = daemon.json(&["status"]).ok()?["problems"].to_string();
        told.contains("web.yml").then_some(())
    };
    eventually("the broken file is a problem", PATIENCE, broken).unwrap();
    let certified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    fs::write(&web, format!("{TLS}{certified}basic_auth_users:\n  alice: {OTHER}\n")).unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    let (cert, key) = (at("scraper.pem"), at("scraper.key"));
    assert_eq!(asked(&["-u", "alice:other"]), "000", "without a certificate");
    assert_eq!(asked(&["-u", "alice:other", "--cert", &cert, "--key", &key]), "200");
    assert_eq!(asked(&["-u", "alice:s3cret", "--cert", &cert, "--key", &key]), "401");
    let over = || {
        let told = daemon.json(&["status"]).ok()?["problems"].to_string();
        (!told.contains("web.yml")).then_some(())
    };
    eventually("nothing is wrong with the file any more", PATIENCE, over).unwrap();
    for word in ["s3cret", HASH, OTHER] {
        assert!(!daemon.logged().contains(word), "{}", daemon.logged());
    }
    assert_eq!(daemon.terminate().unwrap(), 0, "{}", daemon.logged());
}

fn prometheus_scrapes(scene: &Scene, place: &Path) {
    let config = place.join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: sluice\n    scheme: https\n    \
         tls_config: {{ ca_file: {} }}\n    basic_auth: {{ username: alice, password: s3cret }}\n    static_configs:\n      \
         - targets: [\"10.77.0.1:9477\"]\n",
        place.join("ca.pem").display()
    );
    fs::write(&config, text).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", place.join("data").display()),
        "--web.listen-address=127.0.0.1:9090".to_owned(),
    ];
    let _prometheus = scene.client.start("prometheus", &arguments.each_ref().map(String::as_str)).unwrap();
    let is_up = || {
        let asked = "http://127.0.0.1:9090/api/v1/query?query=up";
        let said = scene.client.run("curl", &["-s", "-f", asked]).ok()?;
        let answer: Value = serde_json::from_str(&said).ok()?;
        (answer["data"]["result"][0]["value"][1] == "1").then_some(())
    };
    eventually("the scrape succeeds", PATIENCE, is_up).unwrap();
}
