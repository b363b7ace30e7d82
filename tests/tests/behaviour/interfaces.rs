//! Which interfaces are guarded: patterns, VLANs at their parent, what appears later; and which are said not to be.

use std::{
    os::unix::fs::MetadataExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon, PATIENCE},
        flood::{Flood, Plan, Sources},
        network::{Network, Space, eventually},
        packet::packet,
        scene::{INTERFACE, Over, Scene, VLAN_INTERFACE},
    },
    or_skip,
};
use serde_json::Value;

/// How long a route, a link or an address may be there before it is guarded.
const WITHIN: Duration = Duration::from_secs(1);

/// Two namespaces without any link.
fn strangers() -> Result<(Network, Space, Space)> {
    daemon::possible()?;
    let mut network = Network::new()?;
    let (guarded, other) = (network.space()?, network.space()?);
    Ok((network, guarded, other))
}

fn row(daemon: &Daemon, name: &str) -> Option<Value> {
    let status = daemon.json(&["status"]).ok()?;
    status["interfaces"].as_array()?.iter().find(|row| row["name"] == name).cloned()
}

fn holds_a_program(space: &Space, name: &str) -> bool {
    space.ip(&["link", "show", "dev", name]).is_ok_and(|link| link.contains("prog/xdp"))
}

/// How long it takes from now on until the program is on the interface.
fn until_guarded(space: &Space, name: &str, daemon: &Daemon) -> Duration {
    let start = Instant::now();
    let guarded =
        eventually("the interface is guarded", PATIENCE, || holds_a_program(space, name).then_some(()));
    guarded.unwrap_or_else(|error| panic!("{name}: {error:#}\n{}", daemon.logged()));
    start.elapsed()
}

#[test]
fn a_pattern_guards_what_matches_now_and_later_and_lets_go_of_nothing_else() {
    let (network, guarded, other) = or_skip!("patterns", strangers());
    network.link(&guarded, &other, [("web0", &["10.77.0.1/24"]), ("web0", &[])]).unwrap();
    network.link(&guarded, &other, [("db0", &["10.77.1.1/24"]), ("db0", &[])]).unwrap();
    let daemon = Daemon::start(&guarded, &["web*"], "").unwrap();
    assert!(holds_a_program(&guarded, "web0") && !holds_a_program(&guarded, "db0"), "{}", daemon.logged());
    network.link(&guarded, &other, [("web1", &["10.77.2.1/24"]), ("web1", &[])]).unwrap();
    let took = until_guarded(&guarded, "web1", &daemon);
    assert!(took < WITHIN, "web1 was guarded after {took:?}");
    assert!(!holds_a_program(&guarded, "db0"));
    // A reload to a pattern that leaves one out asks first.
    daemon.configure(&["web?", "missing*"], "").unwrap();
    let asked = daemon.say(&["reload"]).unwrap();
    assert!(asked.code == 6 && asked.error.contains("no interface matches `missing*`"), "{asked:?}");
    daemon.configure(&["web1"], "").unwrap();
    let asked = daemon.say(&["reload"]).unwrap();
    assert!(asked.code == 6 && asked.error.contains("web0 would not be guarded"), "{asked:?}");
    daemon.tell(&["reload", "--yes"]).unwrap();
    eventually("web0 is let go", PATIENCE, || (!holds_a_program(&guarded, "web0")).then_some(())).unwrap();
    assert!(holds_a_program(&guarded, "web1"));
}

#[test]
fn a_vlan_is_guarded_at_its_parent_and_says_so() {
    let scene = or_skip!("a VLAN", Scene::to_guard());
    if !scene.has_vlans {
        eprintln!("SKIPPED a VLAN: this kernel has no VLAN interfaces");
        return;
    }
    let rules = "[access]\ninside = []\n[default]\nmode = \"off\"\n[[service]]\nname = \"trap\"\nprotocol = \"udp\"\n\
                 ports = [9999]\nmode = \"enforce\"\nlimit = { packets = \"100/s\", packets_burst = 50 }\n";
    let guarded = Daemon::start(&scene.guarded, &[VLAN_INTERFACE], rules).unwrap();
    assert!(holds_a_program(&scene.guarded, INTERFACE) && !holds_a_program(&scene.guarded, VLAN_INTERFACE));
    let parent = row(&guarded, INTERFACE).unwrap();
    assert_eq!(parent["stands_for"], serde_json::json!([VLAN_INTERFACE]), "{parent}");
    assert_eq!(row(&guarded, VLAN_INTERFACE), None);
    assert!(guarded.logged().contains(VLAN_INTERFACE), "{}", guarded.logged());
    scene.warm_up(Over::Vlan).unwrap();
    // What comes over the VLAN is limited.
    let target = scene.guarded_address(Over::Vlan).to_string();
    let script = format!("for i in $(seq 400); do echo x > /dev/udp/{target}/9999; done");
    scene.attacker.run("bash", &["-c", &script]).unwrap();
    let labels = ["service=\"trap\"", "reason=\"packet_rate\""];
    guarded.reaches("sluice_packets_total", &labels, |dropped| dropped > 50.0).unwrap();
    // None of it is listed as receiving traffic without a guard.
    let unguarded = guarded.json(&["status"]).unwrap()["unguarded"].to_string();
    assert!(!unguarded.contains(VLAN_INTERFACE), "{unguarded}");
}

#[test]
fn a_default_route_or_a_link_that_appears_later_is_guarded_within_a_second() {
    let (network, guarded, other) = or_skip!("a late default route", strangers());
    let daemon = Daemon::start(&guarded, &[], "").unwrap();
    let problems = || daemon.json(&["status"]).unwrap()["problems"].to_string();
    assert!(problems().contains("nothing is guarded"), "{}", problems());
    assert!(daemon.logged().contains("ready, but nothing is guarded"), "{}", daemon.logged());
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!holds_a_program(&guarded, INTERFACE), "it has no default route yet");
    let mut slowest = Duration::ZERO;
    guarded.ip(&["route", "add", "default", "via", "10.77.0.2"]).unwrap();
    slowest = slowest.max(until_guarded(&guarded, INTERFACE, &daemon));
    // A second one, by IPv6, on a link that is new as well.
    network.link(&guarded, &other, [("wan6", &["fd77::1/64"]), ("wan6", &["fd77::2/64"])]).unwrap();
    guarded.ip(&["-6", "route", "add", "default", "via", "fd77::2"]).unwrap();
    slowest = slowest.max(until_guarded(&guarded, "wan6", &daemon));
    // Gone with its route, and back.
    guarded.ip(&["link", "delete", INTERFACE]).unwrap();
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])]).unwrap();
    guarded.ip(&["route", "add", "default", "via", "10.77.0.2"]).unwrap();
    slowest = slowest.max(until_guarded(&guarded, INTERFACE, &daemon));
    eprintln!("guarded after at most {slowest:?}");
    assert!(slowest < WITHIN, "guarded after {slowest:?}\n{}", daemon.logged());
    let left = eventually("no problem is left", PATIENCE, || (problems() == "[]").then_some(()));
    left.unwrap_or_else(|error| panic!("{error:#}: {}\n{}", problems(), daemon.logged()));
}

fn bpftool(arguments: &[&str]) -> Result<()> {
    let output = Command::new("bpftool").args(arguments).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

#[test]
fn a_link_that_is_detached_behind_the_daemons_back_is_made_again_within_a_second() {
    let (network, guarded, other) = or_skip!("a detached link", strangers());
    if Command::new("bpftool").arg("version").output().is_err() {
        eprintln!("SKIPPED a detached link: there is no bpftool");
        return;
    }
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])]).unwrap();
    let daemon = Daemon::start(&guarded, &[INTERFACE], "").unwrap();
    let pins = || -> Vec<std::path::PathBuf> {
        let versions = std::fs::read_dir(daemon.pins()).unwrap().flatten();
        let links =
            versions.flat_map(|version| std::fs::read_dir(version.path().join("links")).unwrap().flatten());
        links.map(|link| link.path()).collect()
    };
    assert_eq!(pins().len(), 2, "one link for each direction: {:?}", pins());
    let identity = |pin: &std::path::Path| std::fs::metadata(pin).map(|about| about.ino()).ok();
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        for pin in pins() {
            let before = identity(&pin);
            bpftool(&["link", "detach", "pinned", pin.to_str().unwrap()]).unwrap();
            let start = Instant::now();
            // A link is made again by a new one in the place of its pin.
            let is_new = || identity(&pin).is_some() && identity(&pin) != before;
            let held = || is_new() && holds_a_program(&guarded, INTERFACE);
            let back = eventually("the link is made again", PATIENCE, || held().then_some(()));
            back.unwrap_or_else(|error| panic!("round {round}: {error:#}\n{}", daemon.logged()));
            slowest = slowest.max(start.elapsed());
        }
    }
    eprintln!("made again after at most {slowest:?}");
    assert!(slowest < WITHIN, "made again after {slowest:?}\n{}", daemon.logged());
    assert!(daemon.logged().contains("detached behind the daemon's back"), "{}", daemon.logged());
    assert_eq!(daemon.json(&["status"]).unwrap()["problems"].to_string(), "[]");
}

#[test]
fn an_address_that_appears_later_is_the_hosts_own_within_a_second() {
    let (network, guarded, other) = or_skip!("a later address", strangers());
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])]).unwrap();
    let daemon = Daemon::start(&guarded, &[INTERFACE], "").unwrap();
    let mut slowest = Duration::ZERO;
    for address in ["10.77.3.1", "10.77.3.2", "fd77:3::1"] {
        let is_own = || daemon.tell(&["explain", address]).unwrap().contains("an address of this host");
        assert!(!is_own(), "{address} is not there yet");
        let length = if address.contains(':') { 64 } else { 24 };
        guarded.address(INTERFACE, &format!("{address}/{length}")).unwrap();
        let start = Instant::now();
        let known = eventually("the address is known", PATIENCE, || is_own().then_some(()));
        known.unwrap_or_else(|error| panic!("{address}: {error:#}\n{}", daemon.logged()));
        slowest = slowest.max(start.elapsed());
    }
    eprintln!("known after at most {slowest:?}");
    assert!(slowest < WITHIN, "known after {slowest:?}");
}

#[test]
fn more_news_than_the_socket_holds_are_made_up_for() {
    let (network, guarded, other) = or_skip!("an overrun", strangers());
    network.link(&guarded, &other, [("web0", &["10.77.0.1/24"]), ("web0", &[])]).unwrap();
    let daemon = Daemon::start(&guarded, &["web*"], "").unwrap();
    // The daemon does not read while far more happens than the kernel keeps for it.
    daemon.signal(libc::SIGSTOP).unwrap();
    let script = "for i in $(seq 3000); do echo address add 10.78.$((i / 250)).$((i % 250 + 1))/32 dev lo; done; \
                  echo link add web1 type veth peer name far1; echo link set web1 up";
    let batch = format!("({script}) | ip -batch -");
    guarded.run("bash", &["-c", &batch]).unwrap();
    daemon.signal(libc::SIGCONT).unwrap();
    let took = until_guarded(&guarded, "web1", &daemon);
    assert!(daemon.logged().contains("netlink socket buffer full"), "it was no overrun: {}", daemon.logged());
    assert!(took < Duration::from_secs(3), "{took:?}");
    let own = || daemon.tell(&["explain", "10.78.11.200"]).unwrap().contains("an address of this host");
    eventually("the addresses are known", PATIENCE, || own().then_some(())).unwrap();
}

/// Pings until it is dropped.
struct Pings(Child);

impl Pings {
    fn start(space: &Space, target: &str) -> Self {
        let seconds = PATIENCE.as_secs().to_string();
        let mut ping = space.command("ping", &["-i", "0.2", "-w", &seconds, target]);
        Self(quiet(&mut ping).spawn().unwrap())
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interface_that_carries_traffic_without_a_guard_is_listed_until_it_is_guarded() {
    let (network, guarded, other) = or_skip!("unguarded interfaces", strangers());
    for (name, own, far) in
        [("eth0", "10.77.0.1/24", "10.77.0.2/24"), ("eth1", "10.77.1.1/24", "10.77.1.2/24")]
    {
        network.link(&guarded, &other, [(name, &[own]), (name, &[far])]).unwrap();
    }
    let daemon = Daemon::start(&guarded, &["eth0"], "").unwrap();
    let (_one, _two) = (Pings::start(&other, "10.77.0.1"), Pings::start(&other, "10.77.1.1"));
    let listed = || -> Vec<String> {
        let status = daemon.json(&["status"]).unwrap();
        let rows = status["unguarded"].as_array().unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    eventually("eth1 is listed", PATIENCE, || (listed() == ["eth1"]).then_some(())).unwrap();
    let page = daemon.tell(&["status"]).unwrap();
    assert!(page.contains("not guarded, with traffic: eth1 ("), "{page}");
    // It is a fact and no fault: nobody asked for it to be guarded.
    assert_eq!(daemon.json(&["status"]).unwrap()["problems"].to_string(), "[]");
    daemon.configure(&["eth?"], "").unwrap();
    daemon.tell(&["reload"]).unwrap();
    eventually("none is listed", PATIENCE, || listed().is_empty().then_some(())).unwrap();
}

#[test]
fn traffic_that_cannot_be_judged_is_a_problem_while_it_lasts() {
    let scene = or_skip!("traffic that is not IP", Scene::to_guard());
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], "").unwrap();
    // A type for local experiments: IP within it is not read.
    let mut frame = packet().macs([2, 0, 0, 0, 0, 9], scene.guarded_mac().unwrap()).udp(1, 2).build();
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let (interface, time) = (INTERFACE.to_owned(), Duration::from_secs(20));
    let plan = Plan { interface, frame, sources: Sources::One, per_second: 500, time };
    let flood = Flood::start(&scene.attacker, plan).unwrap();
    let problems = || guarded.json(&["status"]).unwrap()["problems"].to_string();
    let wanted = format!("nothing is judged on {INTERFACE}");
    let told = eventually("the problem is told", PATIENCE, || problems().contains(&wanted).then_some(()));
    told.unwrap_or_else(|error| panic!("{error:#}\n{}", guarded.json(&["status"]).unwrap()["totals"]));
    scene.warm_up(Over::Ipv4).unwrap();
    eventually("it is over", PATIENCE, || (!problems().contains(&wanted)).then_some(())).unwrap();
    flood.stop().unwrap();
}
