//! What goes in plain text, live: conversations of every protocol between namespaces, each side's data through its own hook,
//! and a real web server in clear and over TLS.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use monitor_common::{
    application::{encryption, flag, protocol, version},
    flow::protocol::TCP,
};
use monitor_tests::{
    harness::{
        daemon::Daemon,
        dialogues::{self, Dialogue},
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

const RULES: &str = "[default]\nmode = \"off\"\n";
const WAIT: Duration = Duration::from_secs(5);
const FIRST_PORT: u16 = 20_000;

/// One side of a conversation: sends what is its own, and reads what is the other's before it goes on.
fn play(mut stream: TcpStream, segments: &[(bool, Vec<u8>)], initiator: bool) -> Result<()> {
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_nodelay(true)?;
    let mut sent_before = false;
    for (forward, bytes) in segments {
        if *forward == initiator {
            if sent_before {
                // A segment of its own, which the other side does not wait for.
                thread::sleep(Duration::from_millis(60));
            }
            stream.write_all(bytes)?;
        } else {
            stream.read_exact(&mut vec![0; bytes.len()])?;
        }
        sent_before = *forward == initiator;
    }
    // Let the other side read to the end before a reset could overtake it.
    thread::sleep(Duration::from_millis(100));
    Ok(())
}

fn converse(scene: &Scene, dialogue: &Dialogue, at: SocketAddr) -> Result<()> {
    let segments = dialogue.segments.clone();
    let (told, hear) = std::sync::mpsc::channel();
    let server = scene.guarded.enter(move || -> Result<()> {
        let listener = TcpListener::bind(at)?;
        told.send(())?;
        play(listener.accept()?.0, &segments, false)
    })?;
    hear.recv_timeout(WAIT).context("the server listens")?;
    let segments = dialogue.segments.clone();
    let client = scene
        .client
        .enter(move || -> Result<()> { play(TcpStream::connect_timeout(&at, WAIT)?, &segments, true) })?;
    client.join().map_err(|_| anyhow::anyhow!("the client fell"))?.context("the client")?;
    server.join().map_err(|_| anyhow::anyhow!("the server fell"))?.context("the server")
}

/// The flow to this port of the guarded host.
fn flow(daemon: &Daemon, port: u16) -> Option<Value> {
    let list = daemon.json(&["flows", "--port", &port.to_string(), "--address", "10.77.0.1/32"]).ok()?;
    list["flows"].as_array()?.first().cloned()
}

#[test]
fn every_protocol_is_recognised_between_hosts_from_the_data_of_both_hooks() {
    let scene = or_skip!("what is spoken", Scene::to_guard());
    scene.warm_up(Over::Ipv4).unwrap();
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    // Two pieces in disorder are nothing that a socket can send.
    let all = dialogues::all().into_iter().filter(|dialogue| dialogue.upper == TCP);
    let all: Vec<_> = all.filter(|dialogue| !dialogue.says.contains("disorder")).collect();
    for (port, dialogue) in (FIRST_PORT..).zip(&all) {
        let at = scene.service(Over::Ipv4, port);
        converse(&scene, dialogue, at).unwrap_or_else(|error| panic!("{}: {error:#}", dialogue.says));
    }
    for (port, dialogue) in (FIRST_PORT..).zip(&all) {
        let row = eventually(dialogue.says, WAIT, || flow(&daemon, port)).unwrap();
        let wanted = dialogue.recognised();
        assert_eq!(row["application"], protocol::label(wanted.protocol()), "{}: {row}", dialogue.says);
        assert_eq!(row["encryption"], encryption::label(wanted.encryption()), "{}: {row}", dialogue.says);
        assert_eq!(row["credentials_in_clear"], wanted.has(flag::CREDENTIALS), "{}: {row}", dialogue.says);
        let chosen = row["tls_version"].as_str().unwrap_or("unknown");
        assert_eq!(chosen, version::label(wanted.version()), "{}: {row}", dialogue.says);
    }
    // The ledger keeps one finding for a pair, whatever its ports are.
    let secrets = eventually("the passwords", WAIT, || {
        let which = ["alerts", "list", "--detector", "cleartext_credentials", "--open"];
        daemon.json(&which).ok().filter(|list| !list["alerts"][0].is_null())
    })
    .unwrap();
    assert_eq!(secrets["alerts"].as_array().map(Vec::len), Some(1), "{secrets}");
    assert_eq!(secrets["alerts"][0]["finding"]["subject"], "10.77.0.2");
    let found = secrets.to_string();
    assert!(!found.contains("secret"), "no value is told: {found}");
    let graph = daemon.tell(&["graph"]).unwrap();
    assert!(graph.contains("in clear"), "{graph}");
}

/// A web server with a certificate of its own, in clear on port 80 and over TLS on 443.
fn web(scene: &Scene, directory: &std::path::Path) -> Result<monitor_tests::harness::network::Process> {
    let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let (key, certificate) = (path("key.pem"), path("cert.pem"));
    let subject = ["-subj", "/CN=guarded", "-days", "1", "-keyout", &key, "-out", &certificate];
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes"];
    scene.guarded.run("openssl", &[&request[..], &subject].concat())?;
    let root = directory.display();
    let text = format!(
        "daemon off; master_process off; pid {root}/pid; error_log {root}/errors;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
         fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
         ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
         server {{ listen 10.77.0.1:80; listen 10.77.0.1:443 ssl; location / {{ return 200 hello; }} }} }}\n"
    );
    fs::write(directory.join("nginx.conf"), text)?;
    scene.guarded.start("nginx", &["-c", &path("nginx.conf"), "-p", &root.to_string()])
}

#[test]
fn a_web_server_is_in_clear_and_over_tls_and_neither_is_a_finding() {
    let made = Scene::to_guard().and_then(|scene| {
        for tool in ["nginx", "openssl", "curl"] {
            ensure!(scene.client.run("which", &[tool]).is_ok(), "{tool} is missing: run `cargo xtask setup`");
        }
        Ok(scene)
    });
    let scene = or_skip!("a real web server", made);
    scene.warm_up(Over::Ipv4).unwrap();
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let server = web(&scene, directory.path()).unwrap();
    let fetch = |more: &[&str]| scene.client.run("curl", &[&["-sk", "--max-time", "5"], more].concat());
    let answer = eventually("the web server", WAIT, || fetch(&["http://10.77.0.1/"]).ok()).unwrap();
    assert_eq!(answer, "hello");
    for _ in 0..5 {
        fetch(&["http://10.77.0.1/"]).unwrap();
        fetch(&["--tlsv1.2", "--tls-max", "1.2", "https://10.77.0.1/"]).unwrap();
    }
    let rows = |arguments: &[&str]| {
        let list = daemon.json(&[&["flows", "--address", "10.77.0.1/32"], arguments].concat()).unwrap();
        list["flows"].as_array().cloned().unwrap_or_default()
    };
    let clear = rows(&["--encryption", "clear", "--application", "http"]);
    assert!(!clear.is_empty() && clear.iter().all(|row| row["responder_port"] == 80), "{clear:?}");
    let tls = rows(&["--encryption", "tls"]);
    let chosen: Vec<_> = tls.iter().map(|row| (&row["responder_port"], &row["tls_version"])).collect();
    assert!(
        !tls.is_empty() && chosen.iter().all(|(port, how)| **port == 443 && **how == "tls1.2"),
        "{tls:?}"
    );
    fetch(&["--tlsv1.3", "https://10.77.0.1/"]).unwrap();
    eventually("the newer version", WAIT, || {
        rows(&["--encryption", "tls"]).into_iter().find(|row| row["tls_version"] == "tls1.3")
    })
    .unwrap();
    for detector in ["plaintext_service", "protocol_mismatch", "cleartext_credentials", "weak_tls"] {
        let list = daemon.json(&["alerts", "list", "--detector", detector]).unwrap();
        assert_eq!(list["alerts"].as_array().map(Vec::len), Some(0), "{list}");
    }
    // A request in clear to the port of TLS is an error of the client's until it is a habit.
    for _ in 0..4 {
        let _ = fetch(&["http://10.77.0.1:443/"]);
    }
    eventually("the finding", WAIT, || {
        let list = daemon.json(&["alerts", "list", "--detector", "plaintext_service", "--open"]).ok()?;
        list["alerts"].as_array()?.first().cloned()
    })
    .unwrap();
    drop(server);
}
