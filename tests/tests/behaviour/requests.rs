//! Requests and handshakes against the server's own log: nginx between namespaces, in clear and over TLS, HTTP/1.1 and HTTP/2.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use monitor_tests::{
    harness::{
        daemon::{self, Daemon, PATIENCE},
        network::{Process, eventually},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

/// A service: its name, its port, how h2load asks it, and the most that the count may differ from the log, in per cent.
struct Served {
    name: &'static str,
    port: u16,
    url: &'static str,
    how: &'static [&'static str],
    differs: Option<u64>,
}

const SERVED: [Served; 4] = [
    Served { name: "clear", port: 80, url: "http://10.77.0.1:80/", how: &["--h1"], differs: Some(2) },
    Served { name: "tls", port: 443, url: "https://10.77.0.1:443/", how: &["--h1"], differs: Some(2) },
    Served { name: "h2c", port: 81, url: "http://10.77.0.1:81/", how: &[], differs: Some(5) },
    // Several streams may share an exchange: a lower bound, which the documents give as measured.
    Served { name: "h2", port: 444, url: "https://10.77.0.1:444/", how: &[], differs: None },
];

fn rules(mode: &str, rate: &str) -> String {
    let service = |served: &Served| {
        format!(
            "[[service]]\nname = \"{}\"\nprotocol = \"tcp\"\nports = [{}]\nmode = \"{mode}\"\n\
             limit = {{ requests = \"{rate}\", handshakes = \"10k/s\" }}\n\n",
            served.name, served.port
        )
    };
    let services: String = SERVED.iter().map(service).collect();
    format!("[access]\ninside = []\n\n[default]\nmode = \"observe\"\n\n{services}")
}

const NGINX: &str = r#"
daemon off;
worker_processes 1;
pid DIRECTORY/pid;
error_log DIRECTORY/error.log;
events { worker_connections 1024; }
http {
    log_format moments "$msec $remote_addr $server_port";
    access_log DIRECTORY/access.log moments;
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    scgi_temp_path DIRECTORY/scgi;
    keepalive_requests 1000000;
    ssl_certificate DIRECTORY/certificate.pem;
    ssl_certificate_key DIRECTORY/key.pem;
    server { listen 80; location / { return 200 "served\n"; } }
    server { listen 443 ssl; location / { return 200 "served\n"; } }
    server { listen 81 http2; location / { return 200 "served\n"; } }
    server { listen 444 ssl http2; location / { return 200 "served\n"; } }
}
"#;

pub struct Nginx {
    _process: Process,
    directory: tempfile::TempDir,
}

/// One line of the log: when it was answered, in milliseconds, whom, and at which port.
struct Answered {
    at: u64,
    client: String,
    port: u16,
}

impl Nginx {
    pub fn start(scene: &Scene) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().display().to_string();
        let (key, certificate) = (format!("{path}/key.pem"), format!("{path}/certificate.pem"));
        #[rustfmt::skip]
        scene.guarded.run("openssl", &[
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=guarded", "-keyout", &key, "-out", &certificate,
        ])?;
        let configuration = format!("{path}/nginx.conf");
        fs::write(&configuration, NGINX.replace("DIRECTORY", &path))?;
        let process =
            scene.guarded.start("nginx", &["-c", &configuration, "-e", &format!("{path}/error.log")])?;
        let served = Self { _process: process, directory };
        eventually("nginx answers", PATIENCE, || {
            scene.client.run("curl", &["-sk", "--max-time", "1", "https://10.77.0.1:444/"]).ok()
        })?;
        Ok(served)
    }

    fn log(&self) -> Result<Vec<Answered>> {
        let text = fs::read_to_string(Path::new(self.directory.path()).join("access.log"))?;
        let line = |line: &str| {
            let mut words = line.split(' ');
            let at = words.next()?.replace('.', "").parse().ok()?;
            Some(Answered { at, client: words.next()?.to_owned(), port: words.next()?.parse().ok()? })
        };
        Ok(text.lines().filter_map(line).collect())
    }

    pub fn answered(&self, port: u16) -> Result<u64> {
        Ok(self.log()?.iter().filter(|answered| answered.port == port).count() as u64)
    }
}

pub fn scene() -> Result<Scene> {
    daemon::possible()?;
    for (tool, asked) in [("nginx", "-v"), ("h2load", "--version"), ("curl", "-V"), ("openssl", "version")] {
        std::process::Command::new(tool)
            .arg(asked)
            .output()
            .with_context(|| format!("counting requests needs {tool}"))?;
    }
    let scene = Scene::new()?;
    scene.warm_up(Over::Ipv4)?;
    Ok(scene)
}

/// What the kernel counted at a service: passed and dropped.
fn counted(daemon: &Daemon, service: &str, dimension: &str) -> Result<(u64, u64)> {
    let status = daemon.json(&["status"])?;
    let rows = status["requests"].as_array().or_else(|| status["snapshot"]["requests"].as_array());
    let rows = rows.context("the status has no requests")?.iter();
    let mut rows = rows.filter(|row| row["service"] == service && row["dimension"] == dimension);
    Ok(rows.next().map_or((0, 0), |row| {
        (row["passed"].as_u64().unwrap_or_default(), row["dropped"].as_u64().unwrap_or_default())
    }))
}

/// The same, once two readings agree.
fn settled(daemon: &Daemon, service: &str, dimension: &str) -> Result<(u64, u64)> {
    let mut before = None;
    eventually("counts are settled", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(1500));
        let now = counted(daemon, service, dimension).ok();
        let same = now.is_some() && now == before;
        before = now;
        if same { now } else { None }
    })
}

#[test]
fn requests_are_counted_as_the_server_logs_them() {
    let scene = or_skip!("requests", scene());
    let nginx = Nginx::start(&scene).unwrap();
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], &rules("observe", "1M/s")).unwrap();
    for served in &SERVED {
        let before = nginx.answered(served.port).unwrap();
        let load = [&["-n", "4000", "-c", "8"][..], served.how, &[served.url]].concat();
        scene.client.run_for(PATIENCE, "h2load", &load).unwrap();
        let (requests, _) = settled(&daemon, served.name, "requests").unwrap();
        let (handshakes, _) = settled(&daemon, served.name, "handshakes").unwrap();
        let answered = nginx.answered(served.port).unwrap() - before;
        println!("{}: {requests} counted of {answered} in the log, {handshakes} handshakes", served.name);
        assert_eq!(answered, 4000, "{}", served.name);
        if let Some(differs) = served.differs {
            let off = requests.abs_diff(answered) * 100;
            assert!(off <= differs * answered, "{}: {requests} of {answered}", served.name);
            assert_eq!(handshakes, if served.name == "tls" { 8 } else { 0 }, "{}", served.name);
        } else {
            assert!(requests > 0 && requests <= answered + 16, "{}: {requests}", served.name);
        }
    }
    // Streams side by side share exchanges.
    let last = &SERVED[3];
    let (before, _) = settled(&daemon, last.name, "requests").unwrap();
    scene.client.run_for(PATIENCE, "h2load", &["-n", "4000", "-c", "8", "-m", "10", last.url]).unwrap();
    let requests = settled(&daemon, last.name, "requests").unwrap().0 - before;
    println!("{}: {requests} counted of 4000 with ten streams a connection", last.name);
    assert!(requests > 0 && requests <= 4016, "{requests}");
}

/// Answers a second from the third second on, of a client that asks as fast as it may for ten.
fn steady(scene: &Scene, nginx: &Nginx, served: &Served) -> Result<f64> {
    let load = [&["-D", "10", "-c", "8"][..], served.how, &[served.url]].concat();
    scene.client.run_for(PATIENCE, "h2load", &load)?;
    let log = nginx.log()?;
    let client = scene.client_address(Over::Ipv4).to_string();
    let all = log.iter().filter(|answered| answered.port == served.port && answered.client == client);
    let moments: Vec<u64> = all.map(|answered| answered.at).collect();
    ensure!(!moments.is_empty(), "{} answered nobody", served.name);
    let begin = moments[0] + 3000;
    let steady = moments.iter().filter(|at| (begin..begin + 6000).contains(*at)).count();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    Ok(steady as f64 / 6.0)
}

#[test]
fn a_client_gets_the_requests_that_its_limit_gives_it() {
    let scene = or_skip!("limits of requests", scene());
    let nginx = Nginx::start(&scene).unwrap();
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], &rules("enforce", "100/s")).unwrap();
    for served in &SERVED[..3] {
        let rate = steady(&scene, &nginx, served).unwrap();
        let (passed, dropped) = counted(&daemon, served.name, "requests").unwrap();
        println!("{}: {rate:.1} answers a second, {passed} passed, {dropped} dropped", served.name);
        assert!((95.0..=105.0).contains(&rate), "{}: {rate:.1} answers a second", served.name);
        assert!(dropped > 0, "{}: nothing was refused", served.name);
    }
}
