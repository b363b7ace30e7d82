//! The main job, live: an honest client is served by real tools while a real flood dies in the kernel.

use std::time::{Duration, Instant};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon, PATIENCE},
        flood::{Flood, Plan, Sources},
        http::{PAGE, Server},
        listening::Port,
        network::{Process, eventually},
        packet::{flag, packet, packet6},
        scene::{INTERFACE, Over, Scene, VLAN, VLAN_INTERFACE},
    },
    or_skip,
};
use serde_json::Value;

/// Services with room for the honest, and a small limit for everything else.
pub const RULES: &str = r#"
[access]
inside = []

[default]
mode = "enforce"
limit = { packets = "500/s", packets_burst = 200 }

[[service]]
name = "web"
protocol = "tcp"
ports = [80]
mode = "enforce"
limit = { packets = "2k/s", connections = "100/s", connections_burst = 100 }

[[service]]
name = "throughput"
protocol = "tcp"
ports = [5201]
mode = "observe"
limit = { packets = "1k/s" }
"#;

/// Longer than what is asked meanwhile takes on a busy machine; the test ends it when it is through.
const FLOOD: Duration = Duration::from_mins(1);

fn scene() -> Result<Scene> {
    daemon::possible()?;
    for tool in [["ping", "-V"], ["curl", "-V"], ["hping3", "-v"], ["iperf3", "-v"]] {
        std::process::Command::new(tool[0])
            .arg(tool[1])
            .output()
            .map_err(|error| anyhow::anyhow!("the live tests need {}: {error}", tool[0]))?;
    }
    Scene::new()
}

/// Starts a flood of UDP to a port that nobody serves, and of SYNs to the web service.
fn attack(scene: &Scene, over: Over) -> Result<Vec<Box<dyn std::fmt::Debug>>> {
    let mac = scene.guarded_mac()?;
    let frame = |port| {
        let packet = match over {
            // Of another /64 than the honest client, which else would be the same source.
            Over::Ipv6 => packet6().between("fd78::3", "fd77::1"),
            Over::Vlan => packet().vlan(VLAN).between("10.78.0.3", "10.78.0.1"),
            Over::Ipv4 => packet().between("10.77.0.3", "10.77.0.1"),
        };
        let packet = packet.macs([2, 0, 0, 0, 0, 9], mac);
        if port == 80 { packet.tcp(4000, port, flag::SYN) } else { packet.udp(4000, port) }.build()
    };
    let generated = |port| -> Result<Box<dyn std::fmt::Debug>> {
        let plan = Plan {
            interface: INTERFACE.to_owned(),
            frame: frame(port),
            sources: Sources::One,
            per_second: 50_000,
            time: FLOOD,
        };
        Ok(Box::new(Flood::start(&scene.attacker, plan)?))
    };
    let target = scene.guarded_address(over).to_string();
    let hping3 = |interface: &str, arguments: &[&str]| -> Result<Box<dyn std::fmt::Debug>> {
        let always = ["60", "hping3", "-q", "-n", "-i", "u20", "-c", "3000000", "-I", interface];
        let process: Process =
            scene.attacker.start("timeout", &[&always[..], arguments, &[&target]].concat())?;
        Ok(Box::new(process))
    };
    let (udp, syn) = (["--udp", "-p", "9999"], ["-S", "-p", "80"]);
    Ok(match over {
        // hping3 speaks no IPv6, and needs an interface for a VLAN.
        Over::Ipv6 => vec![generated(9999)?, generated(80)?],
        Over::Vlan if !scene.has_vlans => vec![generated(9999)?, generated(80)?],
        Over::Vlan => vec![hping3(VLAN_INTERFACE, &udp[..])?, hping3(VLAN_INTERFACE, &syn[..])?],
        Over::Ipv4 => vec![hping3(INTERFACE, &udp[..])?, hping3(INTERFACE, &syn[..])?],
    })
}

fn dropped(status: &Value) -> u64 {
    let totals = status["totals"].as_array().or_else(|| status["snapshot"]["totals"].as_array());
    let rates = ["packet_rate", "connection_rate"];
    totals.map_or(0, |totals| {
        totals
            .iter()
            .filter(|total| total["reason"].as_str().is_some_and(|reason| rates.contains(&reason)))
            .filter_map(|total| total["ended"]["packets"].as_u64())
            .sum()
    })
}

fn served_while_flooded(over: Over) {
    let name = format!("served over {over:?}");
    let scene = or_skip!(&name, scene());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let attacked = over;
    // Without VLAN interfaces the honest client stays beside the VLAN; the tagged flood hits the same interface.
    let over = if over == Over::Vlan && !scene.has_vlans { Over::Ipv4 } else { over };
    scene.warm_up(over).unwrap();
    let any = if over == Over::Ipv6 { "[::]:80" } else { "0.0.0.0:80" };
    let _server = Server::start(&scene.guarded, any.parse().unwrap()).unwrap();
    let target = scene.guarded_address(over).to_string();
    let _iperf = scene.guarded.serve("iperf3", &["-s"], Port::Tcp(5201)).unwrap();
    let flood = attack(&scene, attacked).unwrap();
    let under_attack = || guarded.json(&["status"]).ok().filter(|status| dropped(status) > 5000);
    eventually("an attack", PATIENCE, under_attack).unwrap();

    // Where the attack and everything else share two processors, the wire itself may lose one now and then.
    let ping = ["-c", "10", "-i", "0.2", "-W", "10", &target];
    let ping = scene.client.command("ping", &ping).output().unwrap();
    let ping = String::from_utf8_lossy(&ping.stdout).into_owned();
    assert!(ping.matches("bytes from").count() >= 8, "{ping}");

    let url = if over == Over::Ipv6 { format!("http://[{target}]/") } else { format!("http://{target}/") };
    for _ in 0..20 {
        let page = scene.client.run("curl", &["--silent", "--fail", "--max-time", "30", &url]).unwrap();
        assert_eq!(page, PAGE);
    }

    // The last megabytes may still be on their way when the sender is through.
    let iperf = scene.client.run("timeout", &["60", "iperf3", "-c", &target, "-n", "20M", "-J"]).unwrap();
    let report: Value = serde_json::from_str(&iperf).unwrap();
    let bytes = report["end"]["sum_received"]["bytes"].as_f64().unwrap();
    assert!(bytes >= 5e6, "{bytes} bytes");

    // Nothing of what the honest client sent died here, whatever the wire lost.
    let honest = match over {
        Over::Ipv6 => "fd77::/64".to_owned(),
        _ => scene.client_address(over).to_string(),
    };
    let honest = guarded.json(&["sources", "--prefix", &honest]).unwrap();
    let honest = honest["sources"].as_array().unwrap();
    assert!(!honest.is_empty() && honest.iter().all(|row| row["dropped"]["packets"] == 0), "{honest:?}");
    let sender = scene.attacker_address(attacked);
    let shown = if over == Over::Ipv6 { "fd78::/64".to_owned() } else { sender.to_string() };
    let listed = || {
        let sources = guarded.json(&["sources", "--by", "drops"]).ok()?.to_string();
        sources.contains(&shown).then_some(())
    };
    eventually(&format!("{shown} among those who lost packets"), PATIENCE, listed).unwrap();
    drop(flood);
}

#[test]
fn an_honest_client_is_served_over_ipv4_while_hping3_floods() {
    served_while_flooded(Over::Ipv4);
}

#[test]
fn an_honest_client_is_served_over_ipv6_while_a_flood_comes() {
    served_while_flooded(Over::Ipv6);
}

#[test]
fn an_honest_client_is_served_over_a_vlan_while_hping3_floods() {
    served_while_flooded(Over::Vlan);
}

#[test]
fn jumbo_frames_pass_a_native_guard_and_count_whole() {
    or_skip!("jumbo frames", daemon::possible());
    let scene = or_skip!("jumbo frames", Scene::with_mtu(9000));
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let status = guarded.json(&["status"]).unwrap().to_string();
    assert!(status.contains("\"native\""), "{status}");
    scene.warm_up(Over::Ipv4).unwrap();
    let before = guarded.metric("sluice_bytes_total", &["service=\"default\""]).unwrap();
    let ping = ["-c", "5", "-i", "0.2", "-s", "8900", "-M", "do", "10.77.0.1"];
    let said = scene.client.run("ping", &ping).unwrap();
    assert!(said.contains(" 0% packet loss"), "{said}");
    let whole = before + 5.0 * 8942.0;
    guarded.reaches("sluice_bytes_total", &["service=\"default\""], |bytes| bytes >= whole).unwrap();
}

#[test]
fn observing_drops_nothing_of_a_live_flood() {
    let scene = or_skip!("observe live", scene());
    let rules = RULES.replace("\"enforce\"", "\"observe\"");
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], &rules).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let began = Instant::now();
    let sent = scene.flood(20_000, Duration::from_secs(2)).unwrap().wait().unwrap();
    let allowed = 500.0 * began.elapsed().as_secs_f64() + 200.0;
    // On a busy machine the wire loses some of it; a good part has to arrive.
    let seen = |figure: f64| figure > sent as f64 / 4.0;
    guarded.reaches("sluice_packets_total", &["service=\"default\""], seen).unwrap();
    let all = guarded.settles("sluice_packets_total", &["service=\"default\""]).unwrap();
    let would = guarded.settles("sluice_would_drop_packets_total", &[]).unwrap();
    assert!(would > all - 2.0 * allowed, "{would} would have been dropped of {all} seen, {allowed} allowed");
    let dropped = guarded.metric("sluice_packets_total", &["verdict=\"drop\""]).unwrap();
    assert!(dropped.abs() < 1.0, "{dropped} dropped");
}
