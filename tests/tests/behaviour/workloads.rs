//! An insider on the guarded host itself: the finding, the conversations and the graph carry the name of its workload.

use std::time::Duration;

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::Daemon,
        http::Server,
        insider::Cgroup,
        listening::Port,
        network::{Process, Space, eventually},
        scene::{INTERFACE, Over},
    },
    or_skip,
};

use crate::insiders::{finding, scene};

/// Nothing is to be learned first: every edge is new at once.
const RULES: &str = "
[default]
mode = \"off\"
[detection.edges]
learning_days = 0
[detection.fan_out]
contacts = 50
learning_hours = 0
";

/// Many addresses of the client, of one network.
const PEERS: &str = "10.80.0.0/24";

fn start(space: &Space, cgroup: &Cgroup, program: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = cgroup.put(&space.command(program, arguments));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Ok(Process::start(&mut command)?)
}

#[test]
fn an_insider_on_the_host_itself_is_named_by_its_workload() {
    let scene = or_skip!("a local insider", scene(&["nmap", "iperf3"]));
    let insider = or_skip!("a local insider", Cgroup::new("insider.service"));
    let serving = or_skip!("a local insider", Cgroup::new("copier.service"));
    scene.client.ip(&["route", "add", "local", PEERS, "dev", "lo"]).unwrap();
    scene.guarded.ip(&["route", "add", PEERS, "via", "10.77.0.2"]).unwrap();
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _web = Server::start(&scene.client, "0.0.0.0:80".parse().unwrap()).unwrap();

    // Who answers is a workload too.
    let server = start(&scene.guarded, &serving, "iperf3", &["-s"]).unwrap();
    let _server = server.listening(&scene.guarded, Port::Tcp(5201)).unwrap();
    let copy = ["-c", "10.77.0.1", "-t", "10", "-b", "1M"];
    let started = || {
        let mut copy = scene.client.start("iperf3", &copy).ok()?;
        std::thread::sleep(Duration::from_millis(300));
        copy.runs().then_some(copy)
    };
    let _copy = eventually("the copy runs", Duration::from_secs(5), started).unwrap();

    // Every host answers, so nothing fails: it is only that this workload never did so.
    let scan = ["-sT", "-Pn", "-n", "-p", "80", "10.80.0.1-80"];
    let nmap = start(&scene.guarded, &insider, "nmap", &scan).unwrap();
    assert!(nmap.wait(Duration::from_secs(20)).unwrap().status.success());
    let found = eventually("fan_out", Duration::from_secs(2), || finding(&daemon, "fan_out", "10.77.0.1"));
    let found = found.unwrap_or_else(|error| panic!("{error}: {}", daemon.logged()));
    assert_eq!(found["finding"]["evidence"]["workload"], "insider.service", "{found}");
    assert!(daemon.tell(&["alerts", "show", &found["id"].to_string()]).unwrap().contains("insider.service"));
    let edges = daemon.json(&["alerts", "list", "--detector", "new_edge"]).unwrap();
    let named = |edge: &&serde_json::Value| edge["finding"]["evidence"]["workload"] == "insider.service";
    assert!(edges["alerts"].as_array().unwrap().iter().any(|edge| named(&edge)), "{edges}");

    let flows = daemon.json(&["flows", "--workload", "copier", "--outcome", "established"]).unwrap();
    let copies = flows["flows"].as_array().unwrap();
    assert!(!copies.is_empty(), "{}", daemon.tell(&["flows"]).unwrap());
    for copy in copies {
        let ends = (&copy["initiator"], &copy["workload"], &copy["workload_end"]);
        assert!(ends.0 == "10.77.0.2" && ends.1 == "copier.service" && ends.2 == "responder", "{copy}");
    }
    let refused = daemon.json(&["flows", "--workload", "copier", "--outcome", "refused"]).unwrap();
    assert_eq!(refused["matched"], 0, "{refused}");
    let sources = daemon.json(&["sources"]).unwrap();
    for name in ["insider.service", "copier.service"] {
        let senders = sources["senders"].as_array().unwrap();
        let sender = senders.iter().find(|sender| sender["workload"] == name);
        let sender = sender.unwrap_or_else(|| panic!("{name} is not among {senders:?}"));
        assert_eq!(sender["source"], "10.77.0.1", "{sender}");
        assert!(sender["sent"]["packets"].as_u64() >= sender["conversations"].as_u64(), "{sender}");
        assert!(daemon.tell(&["sources", "--prefix", "10.77.0.1/32"]).unwrap().contains(name));
    }
    let elsewhere = daemon.json(&["sources", "--prefix", "10.80.0.0/24"]).unwrap();
    assert!(elsewhere["senders"].as_array().unwrap().is_empty(), "{elsewhere}");
    let graph = daemon.json(&["graph"]).unwrap();
    let edge = |edge: &serde_json::Value| edge["from"] == "10.77.0.2" && edge["to"] == "copier.service";
    assert!(graph["edges"].as_array().unwrap().iter().any(edge), "{graph}");
}

#[test]
fn a_source_that_is_a_workload_of_this_host_is_named_in_the_list_of_sources() {
    let scene = or_skip!("a local source", scene(&["iperf3"]));
    let mover = or_skip!("a local source", Cgroup::new("mover.service"));
    // Its packets leave and come in through the same interface, so it is a source of the limiter too.
    let rules = format!("interfaces.mode = \"native-or-generic\"\n{RULES}");
    let daemon = Daemon::start(&scene.guarded, &["lo"], &rules).unwrap();
    let _serving = scene.guarded.start("iperf3", &["-s"]).unwrap();
    let copy = ["-c", "10.77.0.1", "-t", "20", "-b", "1M"];
    let started = || {
        let mut copy = start(&scene.guarded, &mover, "iperf3", &copy).ok()?;
        std::thread::sleep(Duration::from_millis(300));
        copy.runs().then_some(copy)
    };
    let _copy = eventually("the copy runs", Duration::from_secs(5), started).unwrap();
    let named = || {
        let list = daemon.json(&["sources", "--prefix", "10.77.0.1/32"]).ok()?;
        let mut sources = list["sources"].as_array()?.iter();
        sources.any(|source| source["workload"] == "mover.service").then_some(())
    };
    let told = eventually("the source is named", Duration::from_secs(12), named);
    told.unwrap_or_else(|error| panic!("{error}: {}", daemon.tell(&["sources"]).unwrap()));
    assert!(daemon.tell(&["sources"]).unwrap().contains("mover.service"));
}
