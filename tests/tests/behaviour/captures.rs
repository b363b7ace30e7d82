//! Real captures with known truth, replayed through the kernel programs and the detectors as `sluice replay` does, the
//! findings against the index. Prints who was found, missed and falsely blamed. The same with other networks inside goes
//! through the stand-in of the kernel's table, which needs no root.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use detection::{
    Parameters,
    contact::default_inside,
    finding::{Finding, Report, Severity},
};
use ipnet::IpNet;
use jiff::Timestamp;
use monitor::replay::{Options, replay};
use monitor_tests::{
    harness::{
        capture::directory,
        program::Program,
        timeline::Traffic,
        tracker::{Tracker, read},
        truth::{Truth, acceptable},
        verdicts::is_about,
    },
    or_skip,
};
use policy::config::Config;

use crate::stress::published::first_of;

/// A finding comes this long after the last packet at the latest.
const LATEST: Duration = Duration::from_secs(30);

/// A finding comes this many seconds after the last packet that it needs: what the table tells apart, and what must hold.
const DELAYS_S: [u64; 3] = [2, 10, 30];

/// Whether a finding is one of what the truth names: the subject (or the victim), and a detector that fits.
fn fits(finding: &Finding, attacker: &str, kinds: &[String]) -> bool {
    let by_kind = kinds.iter().any(|kind| acceptable(kind).contains(&finding.detector.label()));
    by_kind && is_about(finding, attacker)
}

/// What was made of one capture.
#[derive(Default)]
struct Judged {
    findings: Vec<Finding>,
    packets: u64,
    records: u64,
    /// Why it could not be read (to the end).
    problem: Option<String>,
}

#[test]
fn captures_are_judged_as_their_index_says() {
    or_skip!("captures through the kernel programs", Program::load_parser().map(drop));
    judge("the default, through the kernel", &default_inside(), through_the_kernel);
}

/// Nobody, everybody, and either half of the addresses: what is found must not hang on who is inside.
#[test]
fn captures_are_judged_alike_wherever_inside_is() {
    let check = |who: &str, list: &[&str]| {
        let inside: Vec<IpNet> = list.iter().map(|prefix| prefix.parse().expect("a prefix")).collect();
        judge(who, &inside, |path, _| through_the_stand_in(path, &inside));
    };
    check("nobody", &[]);
    check("everybody", &["0.0.0.0/0", "::/0"]);
    check("the lower half", &["0.0.0.0/1", "::/1"]);
    check("the upper half", &["128.0.0.0/1", "8000::/1"]);
    check("even networks", &["10.0.0.0/9", "172.16.0.0/13", "192.168.0.0/18"]);
}

fn through_the_stand_in(path: &Path, inside: &[IpNet]) -> Judged {
    let mut tracker = Tracker::new(&Parameters::default(), inside.to_vec());
    let problem = read(path, |bytes, at| tracker.frame(bytes, at)).err();
    Judged { findings: tracker.finish(), packets: tracker.packets, records: tracker.records, problem }
}

/// As the command does it, with what must hold of every report.
fn through_the_kernel(path: &Path, truth: &Truth) -> Judged {
    let file = File::open(path).expect("a capture");
    let file_bytes = file.metadata().ok().map(|about| about.len());
    let replayed = match replay(file, &Options { file_bytes, ..Options::new(Config::embedded()) }) {
        Ok(replayed) => replayed,
        Err(error) => return Judged { problem: Some(format!("{error:#}")), ..Judged::default() },
    };
    let Report { capture, verdicts, sources, findings, .. } = replayed.report;
    let name = &truth.file;
    assert_eq!(Some(capture.packets), truth.packets.parse().ok(), "{name}");
    let judged: u64 = verdicts.values().map(|count| count.packets).sum();
    assert_eq!(judged + capture.skipped, capture.packets, "{name}: every packet is judged or skipped");
    let dropped: u64 = sources.iter().map(|source| source.dropped).sum();
    // Frames that no host should take (defects, fragments without their headers) are dropped by default; honest ones never.
    if ["benign", "trap"].contains(&truth.category.as_str()) {
        assert_eq!(dropped, 0, "{name}: the default configuration drops nothing of it");
        let would: u64 = verdicts.values().map(|count| count.would_drop).sum();
        assert_eq!(would, 0, "{name}: the default limits would drop nothing of it");
    }
    let (first, last) = capture.first.zip(capture.last).unwrap_or((Timestamp::MIN, Timestamp::MAX));
    for finding in &findings {
        let raised = finding.raised_at;
        assert!(first <= finding.first_seen && finding.first_seen <= raised, "{name}: {finding:?}");
        assert!(raised.duration_since(last) <= LATEST.try_into().unwrap(), "{name}: {finding:?}");
        assert!(raised <= finding.last_seen, "{name}: {finding:?}");
    }
    Judged {
        findings,
        packets: capture.packets,
        records: replayed.records,
        problem: replayed.notes.into_iter().next(),
    }
}

/// How soon the finding came: after so many seconds of silence behind an earlier part of the capture it is not there yet,
/// so a packet within them was needed. `None`: all that it needs was there half a minute before it was raised.
fn delay_s(
    path: &Path,
    inside: &[IpNet],
    finding: &Finding,
    is_one: impl Fn(&Finding) -> bool,
) -> Option<u64> {
    let raised = nanoseconds(finding.raised_at);
    DELAYS_S.into_iter().find(|delay| {
        let cut = raised.saturating_sub(delay * 1_000_000_000);
        let mut tracker = Tracker::new(&Parameters::default(), inside.to_vec());
        let _ = read(path, |bytes, at| {
            if at < cut {
                tracker.frame(bytes, at);
            }
        });
        tracker.packets == 0 || !tracker.wait(raised).iter().any(&is_one)
    })
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

/// When the attacker (or the victim) was first seen; the beginning for one who has no address.
fn first_seen(path: &Path, who: &str) -> u64 {
    let mut traffic = Traffic::default();
    let _ = read(path, |bytes, at| traffic.frames.push((at, bytes.to_vec())));
    first_of(&traffic.sorted(), who)
}

fn judge(who: &str, inside: &[IpNet], through: impl Fn(&Path, &Truth) -> Judged) {
    println!("inside: {who}");
    let directory = match directory() {
        Ok(directory) => directory,
        Err(why) => {
            println!("SKIPPED: {why}: set SLUICE_CAPTURES to judge real traffic");
            return;
        }
    };
    let only = std::env::var("SLUICE_CAPTURE").unwrap_or_default();
    let (mut missed, mut false_ones, mut untimely) = (Vec::new(), Vec::new(), Vec::new());
    let (mut packets, mut records, began) = (0, 0, Instant::now());
    for truth in Truth::read_all(&directory).unwrap() {
        if !truth.file.contains(&only) {
            continue;
        }
        let judged = through(&directory.join(&truth.file), &truth);
        if let Some(why) = &judged.problem {
            println!("{:<34} {why}", truth.file);
        }
        let findings = judged.findings;
        packets += judged.packets;
        records += judged.records;
        let mut words = Vec::new();
        for (attacker, kinds) in &truth.attackers {
            let found: Vec<&Finding> =
                findings.iter().filter(|finding| fits(finding, attacker, kinds)).collect();
            if let Some(first) = found.iter().min_by_key(|finding| finding.raised_at) {
                let path = directory.join(&truth.file);
                let named = format!("{} ({})", first.detector, first.severity.label());
                let soon = delay_s(&path, inside, first, |finding| fits(finding, attacker, kinds));
                let told = soon.map_or("LATE".to_owned(), |seconds| format!("within {seconds} s"));
                words.push(format!("found {attacker} as {named} {told}"));
                let early = nanoseconds(first.raised_at) < first_seen(&path, attacker);
                if (soon.is_none() || early) && !truth.does_not_count() {
                    untimely.push(format!("{}: {attacker}", truth.file));
                }
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
            .filter(|finding| !truth.attackers.keys().any(|attacker| is_about(finding, attacker)))
            .collect();
        let tolerated = usize::from(truth.category == "benign");
        if others.len() > tolerated && truth.category != "odd" {
            false_ones.push(truth.file.clone());
        }
        for finding in &others {
            words.push(format!("FALSE {} {}", finding.detector, finding.subject));
        }
        println!("{:<34} {:>6} records  {}", truth.file, judged.records, words.join("; "));
        if std::env::var_os("SLUICE_VERBOSE").is_some() {
            for finding in &findings {
                println!("      {}", serde_json::to_string(finding).expect("a finding serializes"));
            }
        }
    }
    println!("{packets} packets, {records} records in {:.2} s", began.elapsed().as_secs_f64());
    println!("missed: {missed:?}; false: {false_ones:?}; untimely: {untimely:?}");
    assert!(
        missed.is_empty() && false_ones.is_empty() && untimely.is_empty(),
        "missed {missed:?}, false {false_ones:?}, untimely {untimely:?}"
    );
}
