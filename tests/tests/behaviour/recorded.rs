//! What the daemon said of live traffic, and what a replay says of a recording of it: the same findings, and per source the
//! same drops.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use monitor_tests::{
    harness::{
        daemon::Daemon,
        network::{Process, eventually},
        scene::{INTERFACE, Scene},
    },
    or_skip,
};
use serde_json::Value;
use tempfile::TempDir;

const FLOODER: &str = "10.77.0.3";

/// A limit that the flood exceeds five times, and none for everything else.
const RULES: &str = "
[default]
mode = \"off\"
[[service]]
name = \"flooded\"
protocol = \"udp\"
ports = [9999]
mode = \"enforce\"
[service.limit]
packets = \"200/s\"
packets_burst = 50
";

/// Live, time comes in ticks of the kernel, and what the tap of a recording saw in one tick may have been judged in the next:
/// the share of drops by which the two may differ.
const TOLERANCE: f64 = 0.01;

/// Records what crosses the wire in front of the guarded host. There, what the kernel drops is still seen.
fn record(scene: &Scene, directory: &TempDir) -> Result<(Process, String)> {
    let file = directory.path().join("recorded.pcap").display().to_string();
    let arguments =
        ["-i", "guarded", "-w", &file, "-U", "-B", "16384", "-s", "256", "--immediate-mode", "-Z", "root"];
    let recorder = scene.wire.start("tcpdump", &arguments)?;
    // It writes the file's header when it listens.
    eventually("the recorder listens", Duration::from_secs(5), || {
        std::fs::metadata(&file).is_ok_and(|file| file.len() >= 24).then_some(())
    })?;
    Ok((recorder, file))
}

/// Who was found doing what to whom, of what is at least a warning.
fn warnings<'a>(findings: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let warned = findings.into_iter().filter(|finding| finding["severity"] != "info");
    warned.map(|found| format!("{} {} {}", found["detector"], found["subject"], found["target"])).collect()
}

/// Dropped packets by source, of the sources that lost any; `row` tells both of a row.
fn drops(sources: &Value, row: impl Fn(&Value) -> [&Value; 2]) -> Result<BTreeMap<String, f64>> {
    let rows = sources.as_array().context("a list of sources")?;
    let lost = rows.iter().filter_map(|all| {
        let [source, dropped] = row(all);
        let source = source.as_str()?.trim_end_matches("/32").to_owned();
        Some((source, dropped.as_f64().filter(|count| *count > 0.0)?))
    });
    Ok(lost.collect())
}

fn check() -> Result<()> {
    let scene = Scene::to_guard()?;
    let directory = tempfile::tempdir()?;
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES)?;
    let (recorder, file) = record(&scene, &directory)?;
    scene.flood(1000, Duration::from_secs(3))?.wait()?;
    let scan = ["-n", "-Pn", "-sS", "-T4", "--max-retries", "0", "-p", "1-400", "10.77.0.1"];
    scene.client.run("nmap", &scan)?;
    let live = eventually("the scan is found", Duration::from_secs(5), || {
        let list = daemon.json(&["alerts", "list"]).ok()?;
        let found = warnings(list["alerts"].as_array()?.iter().map(|alert| &alert["finding"]));
        found.iter().any(|found| found.contains("port_scan")).then_some(found)
    })?;
    // A list is a second old at most.
    thread::sleep(Duration::from_secs(2));
    let live_drops = eventually("the drops are listed", Duration::from_secs(5), || {
        let sources = daemon.json(&["sources", "--by", "drops"]).ok()?;
        drops(&sources["sources"], |row| [&row["source"], &row["dropped"]["packets"]])
            .ok()
            .filter(|drops| !drops.is_empty())
    })?;
    recorder.signal(libc::SIGINT);
    let recorded = recorder.wait(Duration::from_secs(5))?;
    let said = String::from_utf8_lossy(&recorded.stderr);
    ensure!(said.contains("0 packets dropped by kernel"), "the recording is not whole: {said}");

    let report = daemon.json(&["replay", &file, "--config", &daemon.config().display().to_string()])?;
    let again = warnings(report["findings"].as_array().context("findings")?);
    ensure!(again == live, "live {live:?}, from the recording {again:?}");
    let again_drops = drops(&report["sources"], |row| [&row["address"], &row["dropped"]])?;
    ensure!(
        live_drops.keys().eq(again_drops.keys()),
        "live {live_drops:?}, from the recording {again_drops:?}"
    );
    let (live, again) = (live_drops[FLOODER], again_drops[FLOODER]);
    eprintln!("dropped of {FLOODER}: {live} live, {again} from the recording");
    ensure!(live > 2000.0, "only {live} dropped of 3000 at a fifth of the rate");
    ensure!((live - again).abs() <= live * TOLERANCE, "{live} dropped live, {again} from the recording");
    Ok(())
}

#[test]
fn a_recording_is_judged_as_the_traffic_was() {
    or_skip!("a recording against live", monitor_tests::harness::daemon::possible());
    if let Err(error) = check() {
        panic!("{error:?}");
    }
}
