//! Insiders live, with real tools: each misbehaves in its way, and each is found, named, shown and counted within two
//! seconds of its threshold.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use monitor_common::flow::tcp;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon},
        flood::{Flood, Plan, Sources},
        http::Server,
        insider::{Serving, ask, log_in},
        network::{Process, Space, eventually},
        packet::packet,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

/// From the crossing of a threshold to the finding.
const PROMPT: Duration = Duration::from_secs(2);
/// How long an attempt waits before nobody has answered it.
const UNANSWERED: Duration = Duration::from_secs(8);

/// Beats of a second are beacons here: a test has no time for those of a minute.
const RULES: &str = "
[default]
mode = \"off\"
[detection.beacon]
fast_period_s = 0.2
least_period_s = 0.2
";

/// Many addresses of the guarded host, of one network.
const MANY: &str = "10.79.0.0/24";

/// A network behind the guarded host in which nobody answers.
const NOBODY: &str = "10.81.0.0/24";

pub fn scene(tools: &[&str]) -> Result<Scene> {
    daemon::possible()?;
    for tool in tools {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(tool).is_file()));
        ensure!(found, "the insiders need {tool}: run `cargo xtask setup`");
    }
    let scene = Scene::new()?;
    scene.guarded.ip(&["route", "add", "local", MANY, "dev", "lo"])?;
    for space in [&scene.client, &scene.attacker] {
        for network in [MANY, NOBODY] {
            space.ip(&["route", "add", network, "via", "10.77.0.1"])?;
        }
    }
    Ok(scene)
}

/// The open finding about `subject` that `detector` raised, at least a warning, as JSON.
pub fn finding(daemon: &Daemon, detector: &str, subject: &str) -> Option<Value> {
    // One inside host that is polled regularly is a matter of information: an honest health check looks the same.
    let least = if detector == "beacon" { "info" } else { "warning" };
    let which = ["--detector", detector, "--subject", subject, "--severity", least, "--open"];
    let list = daemon.json(&[&["alerts", "list"], &which[..]].concat()).ok()?;
    list["alerts"].as_array()?.first().cloned()
}

/// What a tool did and when it was over.
struct Insider {
    detector: &'static str,
    subject: &'static str,
    target: Option<&'static str>,
    /// What the finding waits for beyond the tool's end.
    patience: Duration,
    over: Box<dyn FnOnce() -> Result<()> + Send>,
}

fn tool(space: &Space, program: &str, arguments: &[&str]) -> Result<Box<dyn FnOnce() -> Result<()> + Send>> {
    let process: Process = space.start(program, arguments)?;
    let name = format!("{program} {}", arguments.join(" "));
    Ok(Box::new(move || {
        let output = process.wait(Duration::from_secs(25))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{name}: {said}");
        Ok(())
    }))
}

/// nmap from one of the attacker's addresses. It tries each port once and does not look whether the host is up.
fn nmap(scene: &Scene, source: &str, arguments: &str) -> Result<Box<dyn FnOnce() -> Result<()> + Send>> {
    let always = ["-n", "--max-retries", "0", "-S", source, "-e", INTERFACE];
    tool(&scene.attacker, "nmap", &[&always[..], &arguments.split(' ').collect::<Vec<_>>()].concat())
}

fn address(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), port)
}

/// Each insider is found, within time, shown and counted.
fn judge(daemon: &Daemon, insider: Insider, started: Timestamp) -> Result<String> {
    let Insider { detector, subject, target, patience, over } = insider;
    over()?;
    let over = Instant::now();
    let found = eventually(&format!("{detector} of {subject}"), patience + PROMPT, || {
        finding(daemon, detector, subject)
    })?;
    let late = over.elapsed();
    let raised: Timestamp = found["finding"]["raised_at"].as_str().context("raised_at")?.parse()?;
    ensure!(raised >= started, "{detector}: raised {raised}, before {started}");
    if let Some(target) = target {
        ensure!(found["finding"]["target"] == target, "{detector}: {found}");
    }
    let shown = daemon.tell(&["alerts", "show", &found["id"].to_string()])?;
    for part in [detector, subject, "sluice contain"] {
        ensure!(shown.contains(part), "{part} is not in {shown}");
    }
    let severity = found["finding"]["severity"].as_str().unwrap_or_default();
    let labels = [format!("detector=\"{detector}\""), format!("severity=\"{severity}\"")];
    // Figures are a second old at most.
    eventually(&format!("{detector} is counted"), Duration::from_secs(3), || {
        let count = daemon.metric("sluice_findings_total", &labels.each_ref().map(String::as_str));
        count.is_ok_and(|count| count >= 1.0).then_some(())
    })?;
    Ok(format!("{detector} of {subject}: {late:.2?} after its tool"))
}

const GUARDED: &str = "10.77.0.1";

impl Insider {
    fn new(
        detector: &'static str,
        subject: &'static str,
        over: Box<dyn FnOnce() -> Result<()> + Send>,
    ) -> Self {
        Self { detector, subject, target: Some(GUARDED), patience: Duration::ZERO, over }
    }

    /// Against many hosts at once.
    fn at_many(self) -> Self {
        Self { target: None, ..self }
    }
}

/// Those who look for what is there.
fn scanners(scene: &Scene) -> Result<Vec<Insider>> {
    let of = |detector, subject, arguments: &str| {
        Ok::<_, anyhow::Error>(Insider::new(detector, subject, nmap(scene, subject, arguments)?))
    };
    let nobody = "-sn -PE --host-timeout 2 10.81.0.1-40";
    let udp = "-sU -Pn --host-timeout 5 -p 5000-5060 10.77.0.1";
    Ok(vec![
        of("port_scan", "10.77.0.31", "-sS -Pn -p 1-200 10.77.0.1")?,
        Insider { patience: UNANSWERED, ..of("udp_scan", "10.77.0.32", udp)? },
        of("out_of_state_scan", "10.77.0.33", "-sA -Pn -p 1-200 10.77.0.1")?,
        Insider { patience: UNANSWERED, ..of("icmp_sweep", "10.77.0.34", nobody)?.at_many() },
        of("slow_scan", "10.77.0.35", "-sS -Pn --scan-delay 1s -p 7001-7012 10.77.0.1")?,
        of("host_scan", "10.77.0.40", "-sS -Pn -p 445 10.79.0.1-60")?.at_many(),
    ])
}

/// Those who use a service as nobody should.
fn users(space: &Space) -> Result<Vec<Insider>> {
    let pause = Duration::from_millis(50);
    let logins = log_in(space, address("10.77.0.36", 0), address(GUARDED, 2222), 40, pause)?;
    let logins = move || {
        let heard = logins.join().unwrap();
        ensure!(heard == 40, "{heard} of 40 logins were heard out");
        Ok(())
    };
    let names = (0..40).map(|number| 110 + number * 37 % 130).collect();
    let names = ask(space, address("10.77.0.38", 0), address(GUARDED, 53), names, pause)?;
    let names = move || {
        let heard = names.join().unwrap();
        ensure!(heard >= 35, "{heard} of 40 names were answered");
        Ok(())
    };
    // A second and a bit between two calls, and more to say than a connectivity check has.
    let token = "x".repeat(200);
    let calls = format!(
        "for beat in 1 2 3 4 5 6 7 8 9 10 11 12; do \
           curl -s -o /dev/null --interface 10.77.0.37 -H 'X-Token: {token}' http://{GUARDED}:8080/beat/$beat; \
           sleep 1.$((10 + beat * 7 % 30)); \
         done"
    );
    // Echoes of three sizes are one conversation of varying ones, as a tunnel's are.
    let pings = "for size in 1400 700 60; do \
           ping -q -n -i 0.02 -c 60 -I 10.77.0.39 -s $size 10.77.0.1 > /dev/null & \
         done; wait";
    Ok(vec![
        Insider::new("brute_force", "10.77.0.36", Box::new(logins)),
        Insider::new("beacon", "10.77.0.37", tool(space, "sh", &["-c", &calls])?),
        Insider::new("dns_tunnel", "10.77.0.38", Box::new(names)),
        Insider::new("icmp_tunnel", "10.77.0.39", tool(space, "sh", &["-c", pings])?),
    ])
}

/// Forged SYNs a second, and for how long: 54,000 in all.
const FORGED: u64 = 4_909;
const FORGING: Duration = Duration::from_secs(11);

#[test]
fn a_scan_under_54_000_forged_syns_is_found_within_two_seconds_and_told() {
    let scene = or_skip!("a scan under forged SYNs", scene(&["nmap"]));
    for last in 31..=33 {
        scene.attacker.address(INTERFACE, &format!("10.77.0.{last}/24")).unwrap();
    }
    let rules = format!("{RULES}[alerts]\nwebhook = \"http://127.0.0.1:8099/\"\n");
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], &rules).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let frame = packet()
        .macs([2, 0, 0, 0, 0, 9], scene.guarded_mac().unwrap())
        .between("198.18.0.1", GUARDED)
        .tcp(4000, 80, tcp::SYN)
        .build();
    let (interface, sources) = (INTERFACE.to_owned(), Sources::Spoofed);
    let plan = Plan { interface, frame, sources, per_second: FORGED, time: FORGING };
    let flood = Flood::start(&scene.client, plan).unwrap();
    for (pause, source) in [(1, "10.77.0.31"), (3, "10.77.0.32"), (2, "10.77.0.33")] {
        thread::sleep(Duration::from_secs(pause));
        nmap(&scene, source, "-sS -Pn -p 1-200 10.77.0.1").unwrap()().unwrap();
        let over = Instant::now();
        let found = eventually("the scan is found", PROMPT, || finding(&daemon, "port_scan", source));
        let found =
            found.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.tell(&["alerts", "list"]).unwrap()));
        println!("{source}: found {:.2?} after its tool", over.elapsed());
        assert_eq!(found["quiet"], false, "nobody is told: {found}");
        let log = daemon.config().with_file_name("state").join("alerts.jsonl");
        let told = || {
            std::fs::read_to_string(&log).unwrap_or_default().contains(&format!("\"subject\":\"{source}\""))
        };
        eventually("the finding is in the log", PROMPT, || told().then_some(())).unwrap();
    }
    let sent = flood.wait().unwrap();
    assert!(sent >= 50_000, "only {sent} were sent");
    // No room was missing, and what was shed is counted.
    let shed = |reason: &str| daemon.metric("sluice_findings_shed_total", &[&format!("reason=\"{reason}\"")]);
    assert!(shed("no_room").unwrap() < 0.5, "{:?}", shed("no_room"));
    println!("{} merged, {} held back", shed("merged").unwrap(), shed("held_back").unwrap());
}

#[test]
fn every_insider_is_found_while_the_others_misbehave_too() {
    let scene = or_skip!("insiders", scene(&["nmap", "curl", "ping"]));
    for last in 31..=40 {
        scene.attacker.address(INTERFACE, &format!("10.77.0.{last}/24")).unwrap();
    }
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let any = |port| address("0.0.0.0", port);
    let _web = Server::start(&scene.guarded, any(8080)).unwrap();
    let _logins = Serving::logins(&scene.guarded, any(2222)).unwrap();
    let _resolver = Serving::datagrams(&scene.guarded, any(53), 220).unwrap();

    let started = Timestamp::now();
    let mut insiders = users(&scene.attacker).unwrap();
    insiders.extend(scanners(&scene).unwrap());
    let daemon = &daemon;
    let missed = thread::scope(|scope| {
        let judge = |insider| scope.spawn(move || judge(daemon, insider, started));
        let judged = insiders.into_iter().map(judge).collect::<Vec<_>>();
        let judged = judged.into_iter().map(|judged| judged.join().unwrap());
        judged.filter_map(|judged| judged.map(|found| println!("{found}")).err()).collect::<Vec<_>>()
    });
    let listed = daemon.tell(&["alerts", "list"]).unwrap();
    assert!(missed.is_empty(), "{missed:#?}\n{listed}\n{}", daemon.logged());
    assert!(daemon.metric("sluice_lost_events_total", &["RECORDS"]).unwrap() < 0.5);
    assert!(daemon.metric("sluice_conversation_records_total", &[]).unwrap() > 500.0);
}
