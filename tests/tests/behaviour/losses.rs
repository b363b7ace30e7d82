//! What does not fit is counted: a full table of conversations, a full ring of records, a daemon that reads too late.

use std::{net::UdpSocket, thread, time::Duration};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        flood::Sources,
        insider::Serving,
        network::{Space, eventually},
        scene::{INTERFACE, Over},
    },
    or_skip,
};

use crate::insiders::scene;

const RULES: &str = "
[default]
mode = \"off\"
[capacity]
conversations = 1024
";

/// A datagram to each of so many ports, each a conversation that nobody answers.
fn knock(space: &Space, ports: u16) {
    let knocked = space.enter(move || {
        let socket = UdpSocket::bind("10.77.0.2:0").unwrap();
        for port in 10_000..10_000 + ports {
            // A refusal of an earlier one comes back as an error of this one.
            let _ = socket.send_to(b"knock", ("10.77.0.1", port));
            // A wire holds 256 frames, and on a busy machine nobody takes them off at once.
            if port % 64 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
    });
    knocked.unwrap().join().unwrap();
}

#[test]
fn what_does_not_fit_is_counted_and_makes_room_again() {
    let scene = or_skip!("losses", scene(&[]));
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _resolver = Serving::datagrams(&scene.guarded, "0.0.0.0:53".parse().unwrap(), 90).unwrap();
    let counted = |name: &str, labels: &[&str], least: f64| {
        let counted = daemon.reaches(name, labels, |count| count >= least);
        counted.unwrap_or_else(|error| panic!("{error:#}:\n{}", daemon.metrics().unwrap_or_default()))
    };

    knock(&scene.client, 4000);
    let entries = counted("sluice_map_entries", &["CONVERSATIONS"], 900.0);
    counted("sluice_failed_insertions_total", &["CONVERSATIONS"], 2500.0);
    assert!(entries <= 1024.0, "{entries}");
    // What found no room is reported packet by packet, under the budget.
    counted("sluice_conversation_records_total", &[], 3000.0);

    // Fruitless conversations make room for others within seconds.
    let asked = || {
        scene
            .client
            .enter(|| {
                let socket = UdpSocket::bind("10.77.0.2:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                socket.send_to(b"name", "10.77.0.1:53").unwrap();
                socket.recv(&mut [0; 200]).is_ok()
            })
            .unwrap()
            .join()
            .unwrap();
        let flows = daemon.json(&["flows", "--port", "53", "--outcome", "established"]).ok()?;
        (flows["matched"].as_u64() > Some(0)).then_some(())
    };
    eventually("a conversation finds room", PATIENCE, asked).unwrap();

    // A daemon that reads nothing for a while: the kernel counts what the ring did not take, and goes on afterwards.
    daemon.signal(libc::SIGSTOP).unwrap();
    knock(&scene.client, 24_000);
    daemon.signal(libc::SIGCONT).unwrap();
    counted("sluice_lost_events_total", &["RECORDS"], 100.0);
    let before = counted("sluice_conversation_records_total", &[], 10_000.0);
    knock(&scene.client, 200);
    counted("sluice_conversation_records_total", &[], before + 100.0);
    assert!(daemon.metric("sluice_packets_total", &[]).unwrap() > 28_000.0);
}

const FLOODED: &str = "
[flood]
new_sources = \"500/s\"
burst = 500
[default]
mode = \"off\"
[[service]]
name = \"echo\"
protocol = \"udp\"
ports = [7000]
mode = \"enforce\"
limit = { packets = \"1k/s\" }
aggregate = \"off\"
";

#[test]
fn a_spoofed_flood_fills_the_table_of_conversations_neither_by_questions_nor_by_answers() {
    let scene = or_skip!("answers to a flood", scene(&[]));
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], FLOODED).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    // Answers to sources that do not exist end at the client.
    scene.guarded.ip(&["route", "add", "default", "via", "10.77.0.2", "dev", INTERFACE]).unwrap();
    let _echo = Serving::datagrams(&scene.guarded, "0.0.0.0:7000".parse().unwrap(), 20).unwrap();
    let sent = || {
        let shown = scene.guarded.ip(&["-j", "-s", "link", "show", "dev", INTERFACE]).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
    };
    let before = sent();
    let flood = scene.flood_from(Sources::Spoofed, 7000, 5000, Duration::from_secs(4)).unwrap();
    eventually("the flood is answered", PATIENCE, || (sent() > before + 8000).then_some(())).unwrap();
    drop(flood);
    daemon.reaches("sluice_flood_active", &[INTERFACE], |active| active > 0.0).unwrap();
    // Those before it was noticed to be one, on each CPU.
    let entries = daemon.reaches("sluice_map_entries", &["CONVERSATIONS"], |entries| entries > 0.0).unwrap();
    assert!(entries < 4000.0, "{entries} conversations of more than 8000 answers");
}
