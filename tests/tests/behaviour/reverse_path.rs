//! Where an address can come from: forged exempt, inside, own and impossible sources from outside are told, and dropped where
//! that is configured.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon, PATIENCE},
        flood::send_each,
        network::{Network, Space, eventually},
        packet::{packet, packet6},
    },
    or_skip,
};

const RULES: &str = r#"
[access]
exempt = ["10.5.0.9", "198.51.100.77", "fd05::9"]
[access.exempt_on]
eth1 = ["198.51.100.88"]
[default]
mode = "enforce"
limit = { packets = "1k/s" }
"#;

/// Everybody that the rules favour, and what nobody can have, seen from outside.
const FORGED: [&str; 9] = [
    "10.1.1.1",      // inside, without a route of its own
    "10.5.0.9",      // exempt, of the network inside
    "198.51.100.88", // exempt on another interface
    "192.0.2.1",     // the host itself
    "127.0.0.1",
    "224.0.0.5",
    "fd05::9",     // exempt, of the network inside
    "fd99::1",     // inside, without a route of its own
    "2001:db8::1", // the host itself
];
/// Sources that routes allow from outside: an unknown one, an exempt one, and neighbours.
const HONEST: [&str; 5] = ["198.51.100.7", "198.51.100.77", "192.0.2.2", "2001:db8:9::7", "2001:db8::2"];

/// A host between the outside on eth0 and the inside on eth1.
struct Between {
    host: Space,
    outside: Space,
    inside: Space,
    _network: Network,
}

fn between() -> Result<Between> {
    daemon::possible()?;
    let mut network = Network::new()?;
    let (host, outside, inside) = (network.space()?, network.space()?, network.space()?);
    network.link(
        &host,
        &outside,
        [("eth0", &["192.0.2.1/24", "2001:db8::1/64"]), ("wire", &["192.0.2.2/24", "2001:db8::2/64"])],
    )?;
    network.link(
        &host,
        &inside,
        [("eth1", &["10.5.0.1/16", "fd05::1/64"]), ("wire", &["10.5.0.9/16", "fd05::9/64"])],
    )?;
    host.ip(&["route", "add", "default", "via", "192.0.2.2"])?;
    host.ip(&["-6", "route", "add", "default", "via", "2001:db8::2"])?;
    Ok(Between { host, outside, inside, _network: network })
}

impl Between {
    /// Sends `count` datagrams of each source from outside.
    fn send(&self, sources: &[&str], count: usize) {
        let text = self.host.ip(&["-br", "link", "show", "dev", "eth0"]).unwrap();
        let mac = text.split_whitespace().find(|word| word.matches(':').count() == 5).unwrap();
        let mac: Vec<u8> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let frame = |source: &&str| {
            let is_v4 = source.parse::<IpAddr>().unwrap().is_ipv4();
            let (bare, host) = if is_v4 { (packet(), "192.0.2.1") } else { (packet6(), "2001:db8::1") };
            let bare = bare.macs([2, 0, 0, 0, 0, 9], mac.clone().try_into().unwrap());
            bare.between(source, host).udp(4000, 9999).build()
        };
        let frames: Vec<_> = sources.iter().map(frame).collect();
        let send = move || {
            for _ in 0..count {
                send_each("wire", &frames).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        };
        self.outside.enter(send).unwrap().join().unwrap();
    }
}

/// As the page writes it: counters are whole numbers.
fn counted(daemon: &Daemon, family: &str) -> String {
    daemon.settles(family, &["reason=\"spoofed\""]).unwrap().to_string()
}

#[test]
fn forged_privileges_are_told_and_where_it_is_configured_refused() {
    let scene = or_skip!("reverse path", between());
    let daemon = Daemon::start(&scene.host, &["eth0", "eth1"], RULES).unwrap();
    let (would, did) = ("sluice_would_drop_packets_total", "sluice_packets_total");
    scene.send(&HONEST, 20);
    assert_eq!(counted(&daemon, would), "0", "honest sources");
    scene.send(&FORGED, 20);
    assert_eq!(counted(&daemon, would), (20 * FORGED.len()).to_string());
    let finding = eventually("a finding", PATIENCE, || {
        let list = daemon.tell(&["alerts", "list", "-o", "json"]).ok()?;
        (list.contains("spoofed_source") && list.contains("eth0")).then_some(list)
    });
    assert!(finding.unwrap().contains("\"warning\""));
    daemon
        .configure(&["eth0", "eth1"], &RULES.replace("[access]", "[access]\nreverse_path = \"enforce\""))
        .unwrap();
    daemon.tell(&["reload", "--yes"]).unwrap();
    scene.send(&FORGED, 20);
    scene.send(&HONEST, 20);
    assert_eq!(counted(&daemon, did), (20 * FORGED.len()).to_string());
    // Those that the addresses belong to are served where they are.
    for target in ["10.5.0.1", "fd05::1"] {
        scene.inside.run("ping", &["-c", "2", "-i", "0.2", "-W", "1", target]).unwrap();
    }
    scene.outside.run("ping", &["-c", "2", "-i", "0.2", "-W", "1", "192.0.2.1"]).unwrap();
    assert_eq!(counted(&daemon, did), (20 * FORGED.len()).to_string());
}

#[test]
fn a_route_that_comes_later_moves_where_a_source_may_come_from() {
    let scene = or_skip!("routes that change", between());
    scene.host.ip(&["route", "add", "10.1.0.0/16", "via", "192.0.2.2"]).unwrap();
    let rules = RULES.replace("[access]", "[access]\nreverse_path = \"enforce\"");
    let daemon = Daemon::start(&scene.host, &["eth0", "eth1"], &rules).unwrap();
    scene.send(&["10.1.1.1"], 20);
    assert_eq!(counted(&daemon, "sluice_packets_total"), "0", "a route leads there");
    scene.send(&["10.2.1.1"], 20);
    assert_eq!(counted(&daemon, "sluice_packets_total"), "20");
}
