//! The same between namespaces, with real connections.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        flood::{Flood, Plan, Sources},
        network::{Space, eventually},
        packet::{flag::SYN, packet},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

use crate::requests::Nginx;

const PORT: u16 = 80;
/// How long a client waits for a connection that is refused: two SYNs.
const REFUSED: Duration = Duration::from_millis(300);

fn rules(concurrent: u32) -> String {
    format!(
        "[access]\ninside = []\n[default]\nmode = \"off\"\n[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [{PORT}]\n\
         mode = \"enforce\"\nlimit = {{ concurrent = {concurrent} }}\n"
    )
}

/// Takes connections, and keeps each until its client closes it.
struct Server {
    held: Arc<Mutex<Vec<TcpStream>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(space: &Space, at: SocketAddr) -> Result<Self> {
        let (held, over) = (Arc::<Mutex<Vec<TcpStream>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, ends) = (Arc::clone(&held), Arc::clone(&over));
        space.set("net/core/somaxconn", "4096")?;
        let listener = space.enter(move || listen(at))?.join().ok().context("no listener")??;
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let mut held = kept.lock().unwrap();
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    held.push(stream);
                }
                held.retain(|stream| !is_over(stream));
                drop(held);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(Self { held, over, thread: Some(thread) })
    }

    fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

/// A listener with room for a burst of connections.
fn listen(at: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    // SAFETY: a plain system call on a descriptor of ours; it lengthens the queue of a socket that listens.
    let code = unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 4096) };
    anyhow::ensure!(code == 0, "listen: {}", std::io::Error::last_os_error());
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether the client closed its end.
fn is_over(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// As many of `wanted` connections as there is room for.
fn connect(space: &Space, to: SocketAddr, wanted: usize) -> Vec<TcpStream> {
    let connect = move || {
        let mut streams = Vec::new();
        for _ in 0..wanted {
            streams.extend(TcpStream::connect_timeout(&to, REFUSED).ok());
        }
        streams
    };
    space.enter(connect).unwrap().join().unwrap()
}

/// Whether a figure of the page is this count.
fn is(figure: f64, count: usize) -> bool {
    (figure - count as f64).abs() < 0.5
}

/// Once the daemon's page says that so many connections are open.
fn open(daemon: &Daemon, wanted: usize) {
    let reached = daemon.reaches("sluice_open_connections", &["service=\"web\""], |open| is(open, wanted));
    reached.unwrap_or_else(|error| panic!("{wanted} open connections: {error:#}"));
}

#[test]
fn a_client_that_holds_connections_open_is_refused_more_and_others_are_served() {
    let scene = or_skip!("slow connections", Scene::to_guard());
    let at = scene.service(Over::Ipv4, PORT);
    let server = Server::start(&scene.guarded, at).unwrap();
    let mut daemon = Daemon::start(&scene.guarded, &[INTERFACE], &rules(20)).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();

    // Connections that somebody else opens in the client's name never count.
    let frame = packet()
        .macs([2, 0, 0, 0, 0, 9], scene.guarded_mac().unwrap())
        .between("10.77.0.2", "10.77.0.1")
        .tcp(4000, PORT, SYN)
        .build();
    let time = Duration::from_secs(1);
    let plan = Plan { interface: INTERFACE.to_owned(), frame, sources: Sources::One, per_second: 500, time };
    assert!(Flood::start(&scene.attacker, plan).unwrap().wait().unwrap() > 200);

    let mut slow = connect(&scene.client, at, 24);
    assert_eq!(slow.len(), 20);
    eventually("the server took them", PATIENCE, || (server.held() == 20).then_some(())).unwrap();
    let others = connect(&scene.attacker, at, 3);
    assert_eq!(others.len(), 3, "another client is served");
    open(&daemon, 23);
    let why = daemon.json(&["explain", "10.77.0.2"]).unwrap();
    assert!(why["verdict"].as_str().unwrap().contains("holds 20 of 20 connections at web"), "{why:#}");
    // Its ping has an entry at the default service.
    let services = why["services"].as_array().unwrap();
    let web = services.iter().find(|at| at["source"]["service"] == "web").unwrap();
    assert_eq!(web["open_connections"], 20, "{why:#}");

    // Each that ends makes room for one.
    slow.truncate(15);
    open(&daemon, 18);
    slow.extend(connect(&scene.client, at, 7));
    assert_eq!(slow.len(), 20);

    // The counts hold without the daemon, and for the next one.
    daemon.kill();
    assert_eq!(connect(&scene.client, at, 1).len(), 0);
    daemon.run().unwrap();
    open(&daemon, 23);
    assert_eq!(connect(&scene.client, at, 1).len(), 0);

    // A limit that is set while running.
    daemon.tell(&["limit", "set", "web", "--concurrent", "22"]).unwrap();
    let list = daemon.json(&["limit", "list"]).unwrap();
    let web = list["limits"].as_array().unwrap().iter().find(|limit| limit["service"] == "web").unwrap();
    assert_eq!(web["concurrent"], 22, "{list:#}");
    assert_eq!(connect(&scene.client, at, 4).len(), 2);
}

/// How many connections this process may hold both ends of, once its soft limit of descriptors is its hard one.
fn room() -> Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls that write and read one structure of ours.
    let code = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    anyhow::ensure!(code == 0, "raise the limit of descriptors: {}", std::io::Error::last_os_error());
    Ok(usize::try_from(limit.rlim_max.saturating_sub(1000) / 2)?)
}

#[test]
fn idle_connections_are_counted_one_by_one() {
    let scene = or_skip!("idle connections", Scene::to_guard());
    let many = room().unwrap().min(20_000);
    println!("{many} idle connections");
    assert!(many >= 2000, "room for no more than {many}");
    let at = scene.service(Over::Ipv4, PORT);
    let server = Server::start(&scene.guarded, at).unwrap();
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], &rules(u32::try_from(many).unwrap())).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let mut idle = connect(&scene.client, at, many);
    assert_eq!(idle.len(), many);
    open(&daemon, many);
    assert_eq!(server.held(), many);
    assert_eq!(connect(&scene.client, at, 1).len(), 0);
    idle.truncate(500);
    open(&daemon, 500);
    assert_eq!(connect(&scene.client, at, 1).len(), 1);
}

#[test]
fn a_service_that_takes_tls_alone_serves_tls_and_its_server_sees_nothing_else() {
    let scene = or_skip!("encryption at nginx", crate::requests::scene());
    let nginx = Nginx::start(&scene).unwrap();
    let rules = "[access]\ninside = []\n[default]\nmode = \"off\"\n[[service]]\nname = \"web\"\nprotocol = \"tcp\"\n\
                 ports = [443]\nmode = \"off\"\nencryption = \"MODE\"\n";
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], &rules.replace("MODE", "observe")).unwrap();
    let ask = |scheme: &str| {
        let url = format!("{scheme}://10.77.0.1:443/");
        scene.client.run("curl", &["-sk", "--max-time", "2", "-o", "/dev/null", "-w", "%{http_code}", &url])
    };
    let seen = |encrypted: &str, wanted: usize| {
        let labels = ["service=\"web\"", &format!("encrypted=\"{encrypted}\"")];
        daemon.reaches("sluice_first_data_total", &labels, |count| is(count, wanted)).unwrap();
    };
    assert_eq!(ask("https").unwrap(), "200");
    // nginx reads what is in clear, and says that it wants TLS.
    assert_eq!(ask("http").unwrap(), "400");
    seen("yes", 1);
    seen("no", 1);
    let before = nginx.answered(443).unwrap();
    daemon.configure(&[INTERFACE], &rules.replace("MODE", "enforce")).unwrap();
    daemon.tell(&["reload"]).unwrap();
    assert!(ask("http").is_err(), "nothing answers");
    assert_eq!(ask("https").unwrap(), "200");
    seen("yes", 2);
    seen("no", 2);
    assert_eq!(nginx.answered(443).unwrap(), before + 1, "the server saw TLS alone");
    daemon.reaches("sluice_packets_total", &["reason=\"not_encrypted\""], |dropped| dropped > 0.0).unwrap();
    let posture = daemon.json(&["posture"]).unwrap();
    let web = &posture["checked"][0];
    assert_eq!((&web["service"], &web["encryption"]), (&"web".into(), &"enforce".into()), "{posture:#}");
    assert_eq!((&web["encrypted"], &web["in_clear"]), (&2.into(), &2.into()), "{posture:#}");
}
