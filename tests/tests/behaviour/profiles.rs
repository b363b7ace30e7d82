//! `sluice setup`: what it suggests is valid, and usual clients of every role stay within its rates.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use monitor_tests::{
    harness::{
        daemon::Daemon,
        flood::{Flood, Plan, Sources},
        network::Space,
        packet::packet,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};

/// How long clients do what is usual.
const LOAD: Duration = Duration::from_secs(5);

/// What one usual client does of a role: so many connections a second, each with so many bytes up and down; or so many
/// datagrams a second.
#[derive(Clone, Copy, Debug)]
enum Client {
    Connections {
        per_second: u32,
        up: usize,
        down: usize,
    },
    /// One connection that sends all the time, at so many bytes a second.
    Upload {
        bytes_per_second: usize,
    },
    Datagrams {
        per_second: u32,
        bytes: usize,
    },
}

/// The service that is suggested for a port, and its client.
const ROLES: [(&str, u16, Client); 8] = [
    // A page of six connections twice a second, and a form with a picture.
    ("web", 443, Client::Connections { per_second: 12, up: 2000, down: 60_000 }),
    ("quic", 443, Client::Datagrams { per_second: 2000, bytes: 1200 }),
    // Without keep-alive.
    ("api", 8080, Client::Connections { per_second: 60, up: 600, down: 4000 }),
    ("dns", 53, Client::Datagrams { per_second: 200, bytes: 60 }),
    // A copy of 100 Mbit/s.
    ("ssh", 22, Client::Upload { bytes_per_second: 12_500_000 }),
    ("database", 5432, Client::Connections { per_second: 40, up: 20_000, down: 100_000 }),
    ("mail", 25, Client::Connections { per_second: 4, up: 200_000, down: 500 }),
    // 128 updates a second from each of three players of a household.
    ("game", 27_015, Client::Datagrams { per_second: 384, bytes: 120 }),
];

impl Client {
    fn is_udp(self) -> bool {
        matches!(self, Self::Datagrams { .. })
    }

    /// Serves such clients within `space` until the test ends.
    fn serve(self, space: &Space, port: u16) {
        let bound = space.enter(move || {
            let any = SocketAddr::from(([0, 0, 0, 0], port));
            if self.is_udp() {
                return (None, Some(UdpSocket::bind(any).unwrap()));
            }
            (Some(TcpListener::bind(any).unwrap()), None)
        });
        let (tcp, udp) = bound.unwrap().join().unwrap();
        if let Some(socket) = udp {
            thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length.min(100)], from);
                }
            });
        }
        if let Some(stream) = tcp {
            thread::spawn(move || {
                for stream in stream.incoming().flatten() {
                    thread::spawn(move || self.answer(stream));
                }
            });
        }
    }

    fn answer(self, mut stream: TcpStream) -> std::io::Result<()> {
        match self {
            Self::Connections { up, down, .. } => {
                stream.read_exact(&mut vec![0; up])?;
                stream.write_all(&vec![0; down])
            }
            _ => std::io::copy(&mut stream, &mut std::io::sink()).map(drop),
        }
    }

    /// Does what is usual for [`LOAD`]; how much of it was done.
    fn use_service(self, to: SocketAddr) -> u64 {
        let (start, mut done) = (Instant::now(), 0_u64);
        let mut paced = |per_second: u32, mut one: Box<dyn FnMut() -> bool>| {
            let pause = Duration::from_secs(1) / per_second;
            while start.elapsed() < LOAD {
                done += u64::from(one());
                // A client that is late does not hurry.
                let next = pause * u32::try_from(done).unwrap();
                thread::sleep(next.saturating_sub(start.elapsed()));
            }
            done
        };
        match self {
            Self::Connections { per_second, up, down } => paced(
                per_second,
                Box::new(move || {
                    let mut stream = TcpStream::connect(to).unwrap();
                    stream.write_all(&vec![0; up]).unwrap();
                    stream.read_exact(&mut vec![0; down]).unwrap();
                    true
                }),
            ),
            Self::Upload { bytes_per_second } => {
                let mut stream = TcpStream::connect(to).unwrap();
                let part = vec![0; bytes_per_second / 100];
                paced(100, Box::new(move || stream.write_all(&part).is_ok()))
            }
            Self::Datagrams { per_second, bytes } => {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect(to).unwrap();
                let datagram = vec![0; bytes];
                paced(per_second, Box::new(move || socket.send(&datagram).is_ok()))
            }
        }
    }
}

#[test]
fn usual_clients_of_every_role_stay_within_what_setup_suggests() {
    let scene = or_skip!("setup", Scene::to_guard());
    for (_, port, client) in ROLES {
        client.serve(&scene.guarded, port);
    }
    // On loopback: nobody else reaches it.
    let private =
        scene.guarded.enter(|| TcpListener::bind("127.0.0.1:6379").unwrap()).unwrap().join().unwrap();
    let mut daemon = Daemon::new(&scene.guarded, &[INTERFACE], "").unwrap();
    let suggested = daemon.tell(&["setup"]).unwrap();
    assert!(!suggested.contains("6379") && !suggested.contains("Configured already"), "{suggested}");
    let json = daemon.json(&["setup"]).unwrap();
    let names: Vec<_> = json["services"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    for (service, ..) in ROLES {
        assert!(names.contains(&service.into()), "{service} is not in {names:?}");
    }
    // Nothing was changed, and the text is a configuration.
    let rules = format!("[access]\ninside = []\n{suggested}");
    daemon.configure(&[INTERFACE], &rules).unwrap();
    let path = daemon.config().display().to_string();
    daemon.tell(&["config", "check", &path]).unwrap();
    daemon.run().unwrap();
    scene.warm_up(Over::Ipv4).unwrap();

    let clients = ROLES.map(|(service, port, client)| {
        let to = scene.service(Over::Ipv4, port);
        (service, scene.client.enter(move || client.use_service(to)).unwrap())
    });
    for (service, client) in clients {
        let done = client.join().unwrap();
        assert!(done > 10, "the client of {service} did {done} times what is usual");
    }
    thread::sleep(Duration::from_secs(2));
    for (service, ..) in ROLES {
        let label = format!("service=\"{service}\"");
        let seen = daemon.metric("sluice_packets_total", &[&label, "reason=\"accepted\""]).unwrap();
        assert!(seen > 20.0, "{service}: {seen} packets");
        let over = daemon.metric("sluice_would_drop_packets_total", &[&label]).unwrap_or(0.0);
        assert!(over < 0.5, "{service}: {over} of {seen} packets exceed what setup suggests");
    }
    // The daemon that runs knows these services, so they are not suggested again.
    let again = daemon.tell(&["setup"]).unwrap();
    assert!(again.contains("Configured already: web (tcp 443)"), "{again}");
    assert!(!again.contains("[[service]]"), "{again}");
    drop(private);

    // What is no usual client is counted.
    let frame = packet()
        .macs([2, 0, 0, 0, 0, 9], scene.guarded_mac().unwrap())
        .between("10.77.0.3", "10.77.0.1")
        .udp(4000, 27_015)
        .build();
    let (interface, time) = (INTERFACE.to_owned(), Duration::from_secs(3));
    let plan = Plan { interface, frame, sources: Sources::One, per_second: 5000, time };
    Flood::start(&scene.attacker, plan).unwrap().wait().unwrap();
    daemon.reaches("sluice_would_drop_packets_total", &["service=\"game\""], |over| over > 1000.0).unwrap();
    assert!(fs::read_to_string(daemon.config()).unwrap().contains("mode = \"observe\""));
}
