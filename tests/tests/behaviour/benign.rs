//! What is usual stays quiet: web, a file copy, names, health checks, and a program that talks to many peers of which some
//! are away.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        http::{Client, Server},
        insider::{Serving, ask},
        listening::Port,
        scene::{INTERFACE, Over},
    },
    or_skip,
};

use crate::insiders::scene;

const SOAK: Duration = Duration::from_secs(20);

#[test]
fn twenty_seconds_of_usual_load_raise_no_warning() {
    let scene = or_skip!("usual load", scene(&["iperf3", "curl", "ping"]));
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], "").unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let _web = Server::start(&scene.guarded, any(8080)).unwrap();
    let _resolver = Serving::datagrams(&scene.guarded, any(53), 90).unwrap();
    let _copied = scene.guarded.serve("iperf3", &["-s"], Port::Tcp(5201)).unwrap();
    // Every peer has a port of its own; three of ten are away.
    let peer = |number: u16| (20_000 + number * 331, 1 + number % 250);
    let listen = (0..60).filter(|number| number % 10 >= 3).map(|number| any(peer(number).0));
    let listen = listen.collect::<Vec<_>>();
    let peers = scene.guarded.enter(|| listen.into_iter().map(TcpListener::bind).collect::<Vec<_>>());
    let _peers = peers.unwrap().join().unwrap();

    let _browser = Client::start(&scene.client, "10.77.0.1:8080".parse().unwrap()).unwrap();
    let visits = "for visit in $(seq 40); do curl -s -o /dev/null http://10.77.0.1:8080/; sleep 0.$((visit * 7 % 9)); done";
    let checks = "for check in $(seq 9); do curl -s -o /dev/null http://10.77.0.1:8080/health; sleep 2; done";
    let seconds = SOAK.as_secs().to_string();
    let _tools = [
        scene.client.start("sh", &["-c", visits]).unwrap(),
        scene.attacker.start("sh", &["-c", checks]).unwrap(),
        scene.attacker.start("ping", &["-q", "-n", "-i", "1", "-c", &seconds, "10.77.0.1"]).unwrap(),
    ];
    let copy = ["-c", "10.77.0.1", "-t", &seconds, "-b", "200M"];
    let copy = scene.client.start("iperf3", &copy).unwrap();
    let names = (0..80).map(|number| 28 + number * 5 % 23).collect();
    let from = "10.77.0.2:0".parse().unwrap();
    let to = "10.77.0.1:53".parse().unwrap();
    let names = ask(&scene.client, from, to, names, Duration::from_millis(200)).unwrap();
    let met = scene.attacker.enter(move || {
        (0..60)
            .filter(|number| {
                thread::sleep(Duration::from_millis(250));
                let (port, host) = peer(*number);
                let address = SocketAddr::from(([10, 79, 0, u8::try_from(host).unwrap()], port));
                let met = TcpStream::connect_timeout(&address, Duration::from_secs(10));
                met.is_ok_and(|mut stream| std::io::Write::write_all(&mut stream, &[0; 68]).is_ok())
            })
            .count()
    });
    assert_eq!(met.unwrap().join().unwrap(), 42, "peers that are there");
    let copied = copy.wait(SOAK + PATIENCE).unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    assert!(names.join().unwrap() >= 75);
    // What waits for an answer has had its time, and what was seen is told.
    thread::sleep(Duration::from_secs(4));
    daemon.reaches("sluice_conversation_records_total", &[], |records| records > 200.0).unwrap();
    let alerts = daemon.json(&["alerts", "list", "--severity", "warning"]).unwrap();
    assert_eq!(alerts["alerts"].as_array().map(Vec::len), Some(0), "{alerts}");
}
