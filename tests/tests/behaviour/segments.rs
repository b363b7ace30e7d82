//! What leaves as one large segment is counted as the packets that it becomes on the wire.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Result, ensure};
use monitor_tests::{
    harness::{
        daemon::Daemon,
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

use crate::insiders;

const RULES: &str = "[default]\nmode = \"off\"\n";
const PORT: u16 = 7000;
const COPIED: u64 = 30 << 20;
const PIECE: usize = 1 << 20;
/// Ethernet, IPv4, and TCP with time stamps.
const HEADERS: u64 = 14 + 20 + 32;
/// What they leave of 1500 bytes.
const MOST: u64 = 1500 - 20 - 32;

/// A scene in which large segments leave the guarded host whole.
fn scene() -> Result<Scene> {
    let scene = insiders::scene(&["ethtool"])?;
    scene.guarded.run("ethtool", &["-K", INTERFACE, "tso", "on", "gso", "on"])?;
    // The stack hands frames of up to 64 KiB to the programs then, whoever cuts them behind.
    let features = scene.guarded.run("ethtool", &["-k", INTERFACE])?;
    ensure!(features.contains("generic-segmentation-offload: on"), "{features}");
    Ok(scene)
}

fn flow(daemon: &Daemon) -> Option<Value> {
    let list = daemon.json(&["flows", "--port", &PORT.to_string()]).ok()?;
    let flow = list["flows"].as_array()?.first()?.clone();
    (flow["forward"]["bytes"].as_u64()? >= COPIED).then_some(flow)
}

#[test]
fn a_bulk_copy_in_large_segments_counts_the_packets_and_bytes_of_the_wire() {
    let scene = or_skip!("large segments", scene());
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();

    let (ready, is_ready) = mpsc::channel();
    let serving = scene.client.enter(move || {
        let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let (mut piece, mut heard) = (vec![0; PIECE], 0);
        while heard < COPIED {
            heard += stream.read(&mut piece).unwrap() as u64;
        }
        stream
    });
    let serving = serving.unwrap();
    is_ready.recv().unwrap();
    let sending = scene.guarded.enter(|| {
        let mut stream = TcpStream::connect(SocketAddr::from(([10, 77, 0, 2], PORT))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        let piece = vec![7; PIECE];
        for _ in 0..COPIED / PIECE as u64 {
            stream.write_all(&piece).unwrap();
        }
        stream
    });
    // Both ends stay open, so that the conversation stands.
    let _ends = (sending.unwrap().join().unwrap(), serving.join().unwrap());

    let told = eventually("the copy is told", Duration::from_secs(5), || flow(&daemon)).unwrap();
    let sent = |what: &str| told["forward"][what].as_u64().unwrap();
    let (packets, bytes) = (sent("packets"), sent("bytes"));
    println!("{COPIED} bytes in {packets} packets of {bytes} bytes");
    let least = COPIED / MOST;
    assert!((least..least * 12 / 10).contains(&packets), "{packets} packets, {least} at least");
    assert!(bytes >= COPIED + packets * HEADERS, "{bytes} bytes in {packets} packets");
    assert!(bytes < COPIED * 12 / 10, "{bytes} bytes for {COPIED}");
}
