//! Protected by default: a plain configuration, a known client and a flood from everywhere to the same service.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use monitor_tests::{
    harness::{
        daemon::Daemon,
        flood::Sources,
        network::Space,
        scene::{FLOODED, INTERFACE, Over, Scene},
    },
    or_skip,
};
use rustix::net::sockopt;

/// A limit for each source, and nothing else.
const RULES: &str = r#"
[access]
inside = []
[flood]
new_sources = "1k/s"
burst = 500
hold = "3s"
known_after = "1s"
[[service]]
name = "trap"
protocol = "udp"
ports = [9999]
mode = "enforce"
limit = { packets = "1k/s" }
"#;

/// What answering one question takes: the service can answer less than the flood brings.
const WORK: Duration = Duration::from_micros(50);

/// Answers every datagram.
fn serve(space: &Space, at: SocketAddr) -> Result<()> {
    let (ready, is_ready) = channel();
    space.enter(move || -> Result<()> {
        let socket = UdpSocket::bind(at)?;
        // Room for what comes while a busy machine runs something else.
        sockopt::set_socket_recv_buffer_size(&socket, 1 << 19)?;
        ready.send(())?;
        let mut question = [0; 64];
        loop {
            let (length, from) = socket.recv_from(&mut question)?;
            let began = Instant::now();
            while began.elapsed() < WORK {}
            let _ = socket.send_to(&question[..length], from);
        }
    })?;
    is_ready.recv().context("the server did not start")
}

/// The share of a known client's questions, 250 a second, that are answered within half a second.
fn honest_share(scene: &Scene, time: Duration) -> Result<f64> {
    let (from, to) = (scene.client_address(Over::Ipv4), scene.service(Over::Ipv4, FLOODED));
    let ask = move || -> Result<f64> {
        let socket = UdpSocket::bind((from, 4000))?;
        socket.set_nonblocking(true)?;
        let (began, mut asked, mut answered) = (Instant::now(), 0u32, 0u32);
        let mut answer = [0; 64];
        while began.elapsed() < time + Duration::from_millis(500) {
            if began.elapsed() < time && began.elapsed() >= Duration::from_millis(4) * asked {
                asked += 1;
                socket.send_to(&[7; 26], to)?;
            }
            while socket.recv_from(&mut answer).is_ok() {
                answered += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(f64::from(answered) / f64::from(asked))
    };
    scene.client.enter(ask)?.join().ok().context("the client's thread died")?
}

#[test]
fn a_plain_configuration_keeps_a_known_client_served_in_a_flood_from_everywhere() {
    let scene = or_skip!("automatic aggregates", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    serve(&scene.guarded, scene.service(Over::Ipv4, FLOODED)).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let calm = honest_share(&scene, Duration::from_secs(3)).unwrap();
    assert!(calm > 0.99, "{calm} in calm times");
    let state = |state: &str| {
        let labels = ["service=\"trap\"", &format!("state=\"{state}\"")];
        guarded.reaches("sluice_automatic_aggregate_state", &labels, |on| on > 0.5).unwrap();
    };
    state("rests");
    for sources in [Sources::Spoofed, Sources::Few(65_536)] {
        guarded.tell(&["limit", "set", "trap", "--aggregate", "--mode", "off", "--yes"]).unwrap();
        let flood = scene.flood_from(sources, FLOODED, 60_000, Duration::from_secs(50)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        let without = honest_share(&scene, Duration::from_secs(2)).unwrap();
        guarded.tell(&["limit", "unset", "trap", "--aggregate"]).unwrap();
        state("enforces");
        // A busy machine may take a second from everybody.
        let tries = || honest_share(&scene, Duration::from_secs(2)).unwrap();
        let with = (0..3).map(|_| tries()).find(|share| *share >= 0.85 * calm);
        println!("{sources:?}: honest share {without:.2} without an automatic aggregate, {with:.2?} with it");
        let counted = guarded.metrics().unwrap();
        let counted: Vec<_> = counted.lines().filter(|line| line.contains("\"trap\"")).collect();
        assert!(without < 0.7, "the flood does no harm: {without}, {counted:#?}");
        assert!(with.is_some(), "less than 0.85 of {calm}: {counted:#?}");
        flood.stop().unwrap();
    }
    // The operator sees what is in force, and why.
    let listed = guarded.tell(&["limit", "list"]).unwrap();
    assert!(listed.contains("auto, for strangers"), "{listed}");
    let problems = guarded.json(&["status"]).unwrap()["problems"].to_string();
    assert!(problems.contains("automatic aggregate of trap"), "{problems}");
    assert!(guarded.logged().contains("strangers are held to"), "{}", guarded.logged());
}
