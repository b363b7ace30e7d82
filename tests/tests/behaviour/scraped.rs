//! A real Prometheus scrapes a daemon under a flood: it takes the page in the form that it asks for, and every expression of
//! the dashboards has data.

use std::{fs, path::Path, time::Duration};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        flood::Sources,
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

use crate::insiders;

const RULES: &str = "
[default]
mode = \"off\"
[[service]]
name = \"trap\"
protocol = \"udp\"
ports = [9999]
mode = \"enforce\"
limit = { packets = \"100/s\", packets_burst = 50, bytes = \"10 Mbit/s\" }
[[service]]
name = \"watched\"
protocol = \"udp\"
ports = [9998]
mode = \"observe\"
limit = { packets = \"100/s\", packets_burst = 50 }
";

fn query(scene: &Scene, expression: &str) -> Option<Vec<Value>> {
    let asked = format!("query={expression}");
    let address = "http://127.0.0.1:9090/api/v1/query";
    let said = scene.guarded.run("curl", &["-s", "-f", "--data-urlencode", &asked, address]).ok()?;
    let answer: Value = serde_json::from_str(&said).ok()?;
    answer["data"]["result"].as_array().cloned()
}

/// The expressions of every dashboard, for any instance and one service.
fn expressions() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/grafana");
    let mut found = Vec::new();
    let mut titles = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let dashboard: Value =
            serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        titles.push(dashboard["title"].as_str().unwrap().to_owned());
        gather(&dashboard, &mut found);
    }
    titles.sort();
    assert_eq!(titles, ["sluice", "sluice: insiders", "sluice: itself", "sluice: service"]);
    found.sort();
    found.dedup();
    let known = [("$instance", ".*"), ("$service", "trap"), ("$__rate_interval", "10s")];
    let filled = |text: String| known.iter().fold(text, |text, (name, value)| text.replace(name, value));
    found.into_iter().map(filled).collect()
}

fn gather(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| gather(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        _ => {}
    }
}

#[test]
fn every_expression_of_the_dashboards_has_data_at_a_real_prometheus_under_a_flood() {
    let scene = or_skip!("scraped", insiders::scene(&["nmap", "curl", "prometheus"]));
    let mut daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    let text = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n  - job_name: sluice\n    static_configs:\n      - targets: [\"127.0.0.1:9477\"]\n";
    fs::write(&config, text).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", directory.path().join("data").display()),
        "--web.listen-address=127.0.0.1:9090".to_owned(),
    ];
    let _prometheus = scene.guarded.start("prometheus", &arguments.each_ref().map(String::as_str)).unwrap();
    let is_up = || query(&scene, "up{job=\"sluice\"} == 1").filter(|rows| !rows.is_empty());
    eventually("the scrape succeeds", PATIENCE, is_up).unwrap();
    // Both floods, a scan and a change.
    let time = Duration::from_mins(1);
    let _dropped = scene.flood(2000, time).unwrap();
    let _watched = scene.flood_from(Sources::One, 9998, 500, time).unwrap();
    scene
        .attacker
        .run("nmap", &["-n", "--max-retries", "0", "-sS", "-Pn", "-p", "1-200", "10.77.0.1"])
        .unwrap();
    daemon.tell(&["limit", "set", "trap", "--packets", "101/s"]).unwrap();
    let expressions = expressions();
    assert!(expressions.len() > 60, "{expressions:?}");
    for expression in expressions {
        let rows = || query(&scene, &expression).filter(|rows| !rows.is_empty());
        eventually(&expression, PATIENCE, rows).unwrap();
    }
    for standard in [
        "process_resident_memory_bytes",
        "process_max_fds",
        "process_threads > 2",
        "time() - process_start_time_seconds < 600",
    ] {
        eventually(standard, PATIENCE, || query(&scene, standard).filter(|rows| !rows.is_empty())).unwrap();
    }
    // What it asked for.
    let accept = "accept: application/openmetrics-text;version=1.0.0";
    let page = "http://127.0.0.1:9477/metrics";
    let said = scene.guarded.run("curl", &["-s", "-i", "--compressed", "-H", accept, page]).unwrap();
    let head = said.to_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{said}");
    assert!(head.contains("content-encoding: gzip") && said.ends_with("# EOF\n"), "{said}");
    let plain = scene.guarded.run("curl", &["-s", "-i", page]).unwrap();
    assert!(plain.contains("text/plain; version=0.0.4") && !plain.contains("# EOF"), "{plain}");
    assert_eq!(daemon.terminate().unwrap(), 0, "{}", daemon.logged());
}
