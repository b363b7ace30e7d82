//! Real captures with known truth: frames through the conversation functions, the records through the detectors, the
//! findings against the index. Prints who was found, missed and falsely blamed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use ipnet::IpNet;
use monitor::detection::{
    contact::default_inside,
    finding::{Finding, Severity},
    parameters::Parameters,
};
use monitor_tests::harness::tracker::{Tracker, read};
use serde::Deserialize;

/// Beside the checkout's parent, or beside its grandparent (a worktree).
fn directory() -> PathBuf {
    let near = |steps: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(steps).join("shared/captures");
    std::env::var_os("SLUICE_CAPTURES")
        .map_or_else(|| [near("../.."), near("../../..")], |path| [path.clone().into(), path.into()])
        .into_iter()
        .find(|path| path.join("truth.jsonl").exists())
        .unwrap_or_else(|| near("../.."))
}

#[derive(Deserialize)]
struct Truth {
    file: String,
    category: String,
    attackers: BTreeMap<String, Vec<String>>,
    verdict: String,
}

impl Truth {
    fn does_not_count(&self) -> bool {
        ["gray", "hard", "bonus", "optional"].iter().any(|word| self.verdict.contains(word))
    }
}

/// Whether a finding is one of what the truth names: the subject (or the victim), and a detector that fits.
fn fits(finding: &Finding, attacker: &str, kinds: &[String]) -> bool {
    let detector = finding.detector.label();
    let by_kind = kinds.iter().any(|kind| {
        let acceptable: &[&str] = match kind.as_str() {
            "vscan" => &["port_scan", "slow_scan", "syn_flood", "out_of_state_scan"],
            "hscan" | "slow" => &["host_scan", "slow_scan"],
            "udp_scan" => &["udp_scan"],
            "hsweep_icmp" => &["icmp_sweep"],
            "arp_sweep" => &["arp_sweep"],
            "syn_flood" => &["syn_flood", "outbound_flood", "port_scan"],
            "syn_flood_spoofed" => &["syn_flood"],
            "udp_amp" => &["reflection", "udp_flood"],
            "icmp6_flood" => &["icmp_flood", "outbound_flood"],
            "beacon" | "beacon_inconn" => &["beacon"],
            "icmp_tunnel" => &["icmp_tunnel"],
            "dns_tunnel" => &["dns_tunnel"],
            "lateral" => &["fan_out", "new_edge"],
            "bruteforce_ssh" => &["brute_force"],
            _ => &[],
        };
        acceptable.contains(&detector)
    });
    by_kind && names(finding, attacker)
}

fn names(finding: &Finding, attacker: &str) -> bool {
    if attacker == "MAC" {
        return finding.subject.contains(':') && !finding.subject.contains('.');
    }
    if let Some(victim) = attacker.strip_prefix("VICTIM") {
        let victim = victim.trim_start_matches(':');
        return finding.target.is_none() && (victim.is_empty() || finding.subject == victim);
    }
    if let Some((source, rest)) = attacker.split_once("->") {
        return finding.subject == source
            && finding.target.as_deref().is_some_and(|target| rest.starts_with(target));
    }
    finding.subject == attacker
}

#[test]
fn captures_are_judged_as_their_index_says() {
    judge("the default", &default_inside());
}

/// Nobody, everybody, and either half of the addresses: what is found must not hang on who is inside.
#[test]
fn captures_are_judged_alike_wherever_inside_is() {
    let networks =
        |list: &[&str]| list.iter().map(|prefix| prefix.parse().expect("a prefix")).collect::<Vec<IpNet>>();
    judge("nobody", &[]);
    judge("everybody", &networks(&["0.0.0.0/0", "::/0"]));
    judge("the lower half", &networks(&["0.0.0.0/1", "::/1"]));
    judge("the upper half", &networks(&["128.0.0.0/1", "8000::/1"]));
    judge("even networks", &networks(&["10.0.0.0/9", "172.16.0.0/13", "192.168.0.0/18"]));
}

fn judge(who: &str, inside: &[IpNet]) {
    println!("inside: {who}");
    let directory = directory();
    let Ok(truths) = std::fs::read_to_string(directory.join("truth.jsonl")) else {
        println!(
            "SKIPPED: no captures at {}: set SLUICE_CAPTURES to judge real traffic",
            directory.display()
        );
        return;
    };
    let only = std::env::var("SLUICE_CAPTURE").unwrap_or_default();
    let (mut missed, mut false_ones) = (Vec::new(), Vec::new());
    let (mut packets, mut records, began) = (0, 0, Instant::now());
    for line in truths.lines() {
        let truth: Truth = serde_json::from_str(line).expect("a line of truth.jsonl");
        if !truth.file.contains(&only) {
            continue;
        }
        let mut tracker = Tracker::new(&Parameters::default(), inside.to_vec());
        if let Err(why) = read(&directory.join(&truth.file), |bytes, at| tracker.frame(bytes, at)) {
            println!("{:<34} {why}", truth.file);
        }
        let findings = tracker.finish();
        packets += tracker.packets;
        records += tracker.records;
        let mut words = Vec::new();
        for (attacker, kinds) in &truth.attackers {
            let found: Vec<&Finding> =
                findings.iter().filter(|finding| fits(finding, attacker, kinds)).collect();
            if let Some(first) = found.first() {
                words.push(format!("found {attacker} as {} ({})", first.detector, first.severity.label()));
            } else if truth.does_not_count() {
                words.push(format!("missed {attacker} (does not count)"));
            } else {
                words.push(format!("MISSED {attacker}"));
                missed.push(format!("{}: {attacker}", truth.file));
            }
        }
        let others: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Warning)
            .filter(|finding| !truth.attackers.keys().any(|attacker| names(finding, attacker)))
            .collect();
        let tolerated = usize::from(truth.category == "benign");
        if others.len() > tolerated && truth.category != "odd" {
            false_ones.push(truth.file.clone());
        }
        for finding in &others {
            words.push(format!("FALSE {} {}", finding.detector, finding.subject));
        }
        println!("{:<34} {:>6} records  {}", truth.file, tracker.records, words.join("; "));
        if std::env::var_os("SLUICE_VERBOSE").is_some() {
            for finding in &findings {
                println!("      {}", serde_json::to_string(finding).expect("a finding serializes"));
            }
        }
    }
    println!("{packets} packets, {records} records in {:.2} s", began.elapsed().as_secs_f64());
    println!("missed: {missed:?}; false: {false_ones:?}");
    assert!(missed.is_empty() && false_ones.is_empty(), "missed {missed:?}, false {false_ones:?}");
}
