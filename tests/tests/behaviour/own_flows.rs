//! Answers to the host's own questions: forged packets do not stop them, bans do not refuse them, limits are not charged.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::Daemon,
        flood::{Flood, Plan, Sources},
        insider::Serving,
        network::{Space, eventually},
        packet::{Packet, flag::SYN, packet, packet6},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

/// What no service is for is held to far less than a download takes.
const RULES: &str = r#"
[access]
inside = []
[default]
mode = "enforce"
limit = { packets = "100/s", packets_burst = 100 }
[reflection]
mode = "enforce"
[[service]]
name = "ssh"
protocol = "tcp"
ports = [22]
mode = "enforce"
limit = { connections = "5/s" }
ban = { after = 50, for = "10m", unproven = true }
"#;

const FILE: usize = 6 << 20;
const FAMILIES: [Over; 2] = [Over::Ipv4, Over::Ipv6];

fn frame(scene: &Scene, over: Over) -> Packet {
    let bare = if over == Over::Ipv6 { packet6() } else { packet() };
    bare.macs([2, 0, 0, 0, 0, 9], scene.guarded_mac().unwrap())
        .between(&scene.client_address(over).to_string(), &scene.guarded_address(over).to_string())
}

/// SYNs to ssh that seem to come from the client.
fn forge(scene: &Scene, over: Over) -> Flood {
    let plan = Plan {
        interface: INTERFACE.to_owned(),
        frame: frame(scene, over).tcp(4000, 22, SYN).build(),
        sources: Sources::One,
        per_second: 500,
        time: Duration::from_secs(50),
    };
    Flood::start(&scene.attacker, plan).unwrap()
}

/// A server of one large file for as many as ask, until the test ends.
fn serve_files(space: &Space, address: SocketAddr) {
    let (told, hear) = std::sync::mpsc::channel();
    space
        .enter(move || {
            let listener = TcpListener::bind(address).unwrap();
            told.send(()).unwrap();
            for stream in listener.incoming().take(20) {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(&vec![b'x'; FILE]);
            }
        })
        .unwrap();
    hear.recv().unwrap();
}

/// How much of the file arrives within ten seconds.
fn download(space: &Space, from: SocketAddr) -> usize {
    let read = move || -> Result<usize> {
        let mut stream = TcpStream::connect_timeout(&from, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (began, mut sum, mut buffer) = (Instant::now(), 0, vec![0; 1 << 16]);
        while began.elapsed() < Duration::from_secs(10) {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => sum += count,
            }
        }
        Ok(sum)
    };
    space.enter(move || read().unwrap_or(0)).unwrap().join().unwrap()
}

/// Answers to 60 questions, half of them from sockets that are not connected; each is asked once.
fn ask(space: &Space, server: SocketAddr) -> usize {
    let one = move |connected: bool| -> Result<()> {
        let any: IpAddr = if server.is_ipv6() { [0u16; 8].into() } else { [0; 4].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(400)))?;
        if connected {
            socket.connect(server)?;
            socket.send(b"question")?;
        } else {
            socket.send_to(b"question", server)?;
        }
        socket.recv(&mut [0; 2048])?;
        Ok(())
    };
    space
        .enter(move || (0..60).filter(|number| one(number % 2 == 0).is_ok()).count())
        .unwrap()
        .join()
        .unwrap()
}

/// Whether a new connection from the client to a closed port gets its reset.
fn is_heard(scene: &Scene, over: Over) -> bool {
    let target = scene.service(over, 8088);
    let connect = move || {
        let refused = TcpStream::connect_timeout(&target, Duration::from_millis(700)).unwrap_err();
        refused.kind() == std::io::ErrorKind::ConnectionRefused
    };
    scene.client.enter(connect).unwrap().join().unwrap()
}

fn banned(daemon: &Daemon) -> usize {
    daemon.json(&["access", "list"]).unwrap()["banned"].as_array().map_or(0, Vec::len)
}

/// A web server and a resolver at the client, over both families.
fn services(scene: &Scene) -> Vec<Serving> {
    let mut all = Vec::new();
    for over in FAMILIES {
        serve_files(&scene.client, SocketAddr::new(scene.client_address(over), 80));
        let resolver = SocketAddr::new(scene.client_address(over), 53);
        all.push(Serving::datagrams(&scene.client, resolver, 300).unwrap());
    }
    all
}

#[test]
fn forged_packets_stop_neither_downloads_nor_questions_of_the_host() {
    let scene = or_skip!("own flows under forged packets", Scene::to_guard());
    let _services = services(&scene);
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    for over in FAMILIES {
        scene.warm_up(over).unwrap();
        let web = SocketAddr::new(scene.client_address(over), 80);
        let resolver = SocketAddr::new(scene.client_address(over), 53);
        // The host talks to its peer before the first forged packet comes.
        assert_eq!(ask(&scene.guarded, resolver), 60, "{over:?}: before");
        let _forged = forge(&scene, over);
        thread::sleep(Duration::from_secs(1));
        assert_eq!(download(&scene.guarded, web), FILE, "{over:?}: the download");
        assert!(ask(&scene.guarded, resolver) >= 59, "{over:?}: the questions");
        assert_eq!(banned(&daemon), 0, "{over:?}: who the host contacted");
    }
    let withheld = daemon.settles("sluice_incidents_total", &["incident=\"ban_withheld\""]).unwrap();
    assert!(withheld > 0.0, "{withheld}");
    let answers = daemon.settles("sluice_packets_total", &["reason=\"answer\""]).unwrap();
    assert!(answers > 2.0 * (FILE / 1448) as f64, "{answers}");
}

#[test]
fn what_reflectors_send_unasked_is_refused_and_answers_are_not() {
    let scene = or_skip!("reflected answers", Scene::to_guard());
    let _services = services(&scene);
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let mut sent = 0;
    for over in FAMILIES {
        scene.warm_up(over).unwrap();
        let resolver = SocketAddr::new(scene.client_address(over), 53);
        assert_eq!(ask(&scene.guarded, resolver), 60, "{over:?}: before");
        // As the amplified answers of a resolver arrive: at a port that nobody asked from, and at one of a service.
        for port in [41_234, 80] {
            let plan = Plan {
                interface: INTERFACE.to_owned(),
                frame: frame(&scene, over).udp(53, port).payload_bytes(900).build(),
                sources: Sources::One,
                per_second: 1000,
                time: Duration::from_secs(2),
            };
            sent += Flood::start(&scene.attacker, plan).unwrap().wait().unwrap();
        }
        assert!(ask(&scene.guarded, resolver) >= 59, "{over:?}: after");
    }
    let refused = daemon.settles("sluice_packets_total", &["reason=\"reflected\""]).unwrap();
    assert!(refused >= 0.98 * sent as f64, "{refused} of {sent}");
}

#[test]
fn a_ban_that_nobody_ordered_lets_answers_pass_and_an_operators_does_not() {
    let scene = or_skip!("own flows of the banned", Scene::to_guard());
    let _services = services(&scene);
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    for over in FAMILIES {
        scene.warm_up(over).unwrap();
        let web = SocketAddr::new(scene.client_address(over), 80);
        let resolver = SocketAddr::new(scene.client_address(over), 53);
        assert!(is_heard(&scene, over), "{over:?}: before");
        let before = banned(&daemon);
        drop(forge_until_banned(&scene, &daemon, over, before));
        assert!(!is_heard(&scene, over), "{over:?}: a new contact of the banned");
        assert_eq!(download(&scene.guarded, web), FILE, "{over:?}: the download");
        assert_eq!(ask(&scene.guarded, resolver), 60, "{over:?}: the questions");
    }
    let address = scene.client_address(Over::Ipv4).to_string();
    daemon.tell(&["access", "ban", &address, "--for", "10m", "--yes"]).unwrap();
    assert_eq!(ask(&scene.guarded, SocketAddr::new(scene.client_address(Over::Ipv4), 53)), 0);
}

fn forge_until_banned(scene: &Scene, daemon: &Daemon, over: Over, before: usize) -> Flood {
    let forged = forge(scene, over);
    eventually("the client is banned", Duration::from_secs(20), || (banned(daemon) > before).then_some(()))
        .unwrap();
    forged
}
