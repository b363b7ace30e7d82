//! On a mirror port: both directions of other machines' traffic arrive on ingress, are followed and judged, and nothing is
//! dropped whatever the limits say.

use std::time::Duration;

use monitor_tests::{
    harness::{
        daemon::Daemon,
        listening::Port,
        network::eventually,
        scene::{INTERFACE, Over},
    },
    or_skip,
};

use crate::insiders::{finding, scene};

/// Nobody is inside, and next to nothing is allowed.
const RULES: &str = "
interfaces.watch_only = true
conversations.track = \"all\"
access.inside = []
[default]
mode = \"enforce\"
limit = { packets = \"10/s\", packets_burst = 10 }
";

#[test]
fn a_mirror_port_sees_both_directions_and_drops_nothing() {
    let scene = or_skip!("a mirror port", scene(&["nmap", "iperf3"]));
    // A bridge that learns nothing hands every frame to every port, as the mirror of a switch does.
    for port in ["client", "attacker", "guarded"] {
        let hub = ["link", "set", port, "type", "bridge_slave", "learning", "off", "fdb_flush"];
        or_skip!("a mirror port", scene.wire.ip(&hub));
    }
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _copied = scene.client.serve("iperf3", &["-s"], Port::Tcp(5201)).unwrap();
    let copy = || {
        let mut copy = scene.attacker.start("iperf3", &["-c", "10.77.0.2", "-t", "8", "-b", "1M"]).ok()?;
        std::thread::sleep(Duration::from_millis(300));
        copy.runs().then_some(copy)
    };
    let _copy = eventually("the copy runs", Duration::from_secs(5), copy).unwrap();
    let scan = ["-sS", "-n", "-Pn", "--max-retries", "0", "-p", "1-200", "10.77.0.2"];
    scene.attacker.run("nmap", &scan).unwrap();

    let found =
        eventually("port_scan", Duration::from_secs(2), || finding(&daemon, "port_scan", "10.77.0.3"));
    let found = found.unwrap_or_else(|error| panic!("{error}: {}", daemon.logged()));
    assert_eq!(found["finding"]["target"], "10.77.0.2", "{found}");
    let flows = daemon.json(&["flows", "--port", "5201", "--outcome", "established"]).unwrap();
    let flow = &flows["flows"][0];
    assert_eq!(
        (&flow["initiator"], &flow["responder"]),
        (&"10.77.0.3".into(), &"10.77.0.2".into()),
        "{flows}"
    );
    for direction in ["forward", "backward"] {
        assert!(flow[direction]["packets"].as_u64() > Some(2), "{flow}");
    }
    // The limit would have dropped most of it.
    let counted = |name, least: f64| {
        let enough = || daemon.metric(name, &[]).ok().filter(|count| *count > least);
        eventually(name, Duration::from_secs(3), enough).unwrap()
    };
    counted("sluice_would_drop_packets_total", 100.0);
    for reason in ["packet_rate", "banned", "denied", "connection_rate"] {
        let dropped = daemon.metric("sluice_packets_total", &[&format!("reason=\"{reason}\"")]).unwrap();
        assert!(dropped < 0.5, "{dropped} dropped for {reason}");
    }
}
