//! Families of attacks and of honest programs with random parameters: each seed draws periods, jitter, ports, sizes and
//! numbers anew. Thresholds were chosen on even seeds; what is reported is found on odd ones.

mod campaigns;
mod floods;
mod guessing;
mod homes;
mod honest;
mod implants;
mod lateral;
mod logins;
mod malware;
mod movement;
mod neighbours;
mod offices;
mod sessions;
mod tunnels;

use std::collections::BTreeMap;

use detection::{
    Parameters,
    contact::default_inside,
    finding::{Finding, Severity},
};
use monitor_tests::harness::{
    timeline::{Dice, EPOCH, S, Traffic},
    tracker::Tracker,
    verdicts::is_about,
};
use serde_json::Value;

/// Where traffic of an attack begins.
const BEGIN: u64 = EPOCH + 300 * S;

/// Who must be named (nobody in an honest family), as what, and the traffic.
pub struct Drawn {
    who: Option<String>,
    as_one_of: &'static [&'static str],
    traffic: Traffic,
    /// The victim of a flood, say: a finding about it is right as well.
    also: Option<String>,
    /// Others who attack as well, and are not asked for.
    others: Vec<String>,
}

impl Drawn {
    fn attack(who: &str, as_one_of: &'static [&'static str], traffic: Traffic) -> Self {
        Self { who: Some(who.to_owned()), as_one_of, traffic, also: None, others: Vec::new() }
    }

    fn honest(traffic: Traffic) -> Self {
        Self { who: None, as_one_of: &[], traffic, also: None, others: Vec::new() }
    }
}

pub struct Family {
    name: &'static str,
    draw: fn(&mut Dice) -> Drawn,
}

const fn family(name: &'static str, draw: fn(&mut Dice) -> Drawn) -> Family {
    Family { name, draw }
}

fn all() -> Vec<Family> {
    let mut all = implants::all();
    all.extend(malware::all());
    all.extend(sessions::all());
    all.extend(guessing::all());
    all.extend(homes::all());
    all.extend(lateral::all());
    all.extend(tunnels::all());
    all.extend(floods::all());
    all.extend(honest::all());
    all.extend(campaigns::all());
    all.extend(movement::all());
    all.extend(logins::all());
    all.extend(neighbours::all());
    all.extend(offices::all());
    all
}

/// What came of a family.
#[derive(Clone, Debug, Default)]
struct Tally {
    runs: u32,
    found: u32,
    /// Runs with a warning about somebody else, or about anybody in an honest family.
    falsely: u32,
    hours: f64,
    false_warnings: u32,
    /// Seconds from the first packet of the attack to the finding.
    delays: Vec<f64>,
    notes: Vec<String>,
}

fn judge(family: &Family, seed: u64, parameters: &Parameters, tally: &mut Tally) {
    let mut dice = Dice::new(seed.wrapping_mul(7919).wrapping_add(13));
    let drawn = (family.draw)(&mut dice);
    let traffic = drawn.traffic.sorted();
    let mut tracker = Tracker::new(parameters, default_inside());
    for (at, frame) in &traffic.frames {
        tracker.frame(frame, *at);
    }
    let (first, last) =
        (traffic.frames.first().map_or(0, |one| one.0), traffic.frames.last().map_or(0, |one| one.0));
    let findings = tracker.finish();
    let warnings = || findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    tally.runs += 1;
    tally.hours += (last - first) as f64 / 3.6e12;
    let mut others: Vec<_> = warnings().collect();
    if let Some(who) = &drawn.who {
        let mine = warnings()
            .filter(|one| is_about(one, who) && drawn.as_one_of.contains(&one.detector.label()))
            .min_by_key(|one| one.raised_at);
        if let Some(finding) = mine {
            tally.found += 1;
            let late = finding.raised_at.as_nanosecond() - i128::from(BEGIN.max(first));
            tally.delays.push(late as f64 / 1e9);
        } else {
            tally.notes.push(format!("seed {seed}: missed {who}"));
            let near =
                findings.iter().filter(|one| is_about(one, who) || Some(&one.subject) == drawn.also.as_ref());
            tally.notes.extend(near.take(3).map(|one| format!("seed {seed}:   only {}", described(one))));
        }
        others.retain(|one| !is_about(one, who) && Some(&one.subject) != drawn.also.as_ref());
        let source = who.split("->").next();
        others.retain(|one| Some(one.subject.as_str()) != source && !drawn.others.contains(&one.subject));
    }
    tally.falsely += u32::from(!others.is_empty());
    tally.false_warnings += u32::try_from(others.len()).unwrap();
    tally.notes.extend(others.iter().take(2).map(|one| format!("seed {seed}: false {}", described(one))));
}

/// A finding in a line.
fn described(one: &Finding) -> String {
    let service = one.service.as_ref().map_or(String::new(), |service| format!(":{}", service.port));
    format!(
        "{} {} {} {}{service} {} {} {}",
        one.severity.label(),
        one.detector,
        one.subject,
        one.target.as_deref().unwrap_or("-"),
        one.measured,
        one.unit,
        serde_json::to_string(&one.evidence).unwrap_or_default(),
    )
}

fn run(
    seeds: &(impl Iterator<Item = u64> + Clone),
    parameters: &Parameters,
) -> BTreeMap<&'static str, Tally> {
    let wanted = std::env::var("SLUICE_CASE").unwrap_or_default();
    let mut tallies = BTreeMap::new();
    for family in all().iter().filter(|family| family.name.contains(&wanted)) {
        let tally: &mut Tally = tallies.entry(family.name).or_default();
        for seed in seeds.clone() {
            judge(family, seed, parameters, tally);
        }
    }
    tallies
}

fn print(title: &str, tallies: &BTreeMap<&'static str, Tally>) {
    println!("== {title}");
    println!(
        "| family | found | false runs | false warnings per host-week | median time to finding |\n|---|---|---|---|---|"
    );
    for (name, tally) in tallies {
        let mut delays = tally.delays.clone();
        delays.sort_by(f64::total_cmp);
        let median = delays.get(delays.len() / 2).map_or("-".to_owned(), |delay| format!("{delay:.0} s"));
        let found = if name.starts_with("honest") {
            "-".to_owned()
        } else {
            format!("{} of {}", tally.found, tally.runs)
        };
        let weekly = f64::from(tally.false_warnings) * 168.0 / tally.hours.max(0.01);
        println!("| {name} | {found} | {} of {} | {weekly:.1} | {median} |", tally.falsely, tally.runs);
    }
    if std::env::var_os("SLUICE_VERBOSE").is_some() {
        for (name, tally) in tallies {
            tally.notes.iter().for_each(|note| println!("   {name}: {note}"));
        }
    }
}

/// Found and false over all families: attacks found, attacks, honest runs with a warning, honest runs.
fn totals(tallies: &BTreeMap<&'static str, Tally>) -> [u32; 4] {
    tallies.iter().fold([0; 4], |[found, attacks, falsely, honest], (name, tally)| {
        if name.starts_with("honest") {
            [found, attacks, falsely + tally.falsely, honest + tally.runs]
        } else {
            [found + tally.found, attacks + tally.runs, falsely, honest]
        }
    })
}

/// Families that headers do not tell apart yet: recorded, and said in docs/bench/detection.md.
const KNOWN_TO_BE_WEAK: [&str; 4] = [
    "movement, a service of one host beside an implant",
    "movement, shells of few hosts and a scan",
    "honest, an office of fifty",
    "honest, messenger with built-in addresses",
];

#[test]
fn families_with_drawn_parameters_are_told_apart() {
    let tallies = run(&(1..=9).step_by(2), &Parameters::default());
    print("five seeds", &tallies);
    let [found, attacks, falsely, honest] = totals(&tallies);
    for (name, tally) in tallies.iter().filter(|(name, _)| !KNOWN_TO_BE_WEAK.contains(name)) {
        let notes = &tally.notes;
        assert!(name.starts_with("honest") || tally.found * 5 >= tally.runs * 4, "{name}: {notes:?}");
        assert!(tally.falsely * 5 <= tally.runs, "{name}: {notes:?}");
    }
    assert!(found * 10 >= attacks * 9, "{found} of {attacks} attacks");
    assert!(falsely * 20 <= honest, "{falsely} of {honest} honest runs raise a warning");
}

#[test]
#[ignore = "two hundred seeds a family: ask for it by name"]
fn families_of_two_hundred_seeds() {
    in_full(std::env::var("SLUICE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200));
}

pub fn in_full(seeds: u64) {
    print(
        "even seeds, on which thresholds were chosen",
        &run(&(2..=seeds).step_by(2), &Parameters::default()),
    );
    let reported = run(&(1..=seeds).step_by(2), &Parameters::default());
    print("odd seeds", &reported);
    println!("{:?}", totals(&reported));
}

/// Every number of the parameters, one at a time, a third lower and higher.
#[test]
#[ignore = "every family for every constant twice: ask for it by name"]
fn no_constant_stands_on_a_cliff() {
    move_every_constant();
}

pub fn move_every_constant() {
    let most: u64 = std::env::var("SLUICE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    let seeds = || (1..=most).step_by(2);
    let base = totals(&run(&seeds(), &Parameters::default()));
    println!("as it is: {base:?}");
    let whole = serde_json::to_value(Parameters::default()).unwrap();
    let mut paths = Vec::new();
    numbers(&whole, "", &mut paths);
    for path in paths {
        if ["memory", "findings", "pairs", "sources", "subjects", "victims", "ports"]
            .iter()
            .any(|part| path.contains(part))
        {
            continue;
        }
        for factor in [0.7, 1.3] {
            let mut moved = whole.clone();
            let place = moved.pointer_mut(&path).unwrap();
            *place = scaled(place, factor);
            let Ok(parameters) = serde_json::from_value::<Parameters>(moved) else { continue };
            let now = totals(&run(&seeds(), &parameters));
            if now != base {
                println!(
                    "| `{path}` x {factor} | {} | {} |",
                    i64::from(now[0]) - i64::from(base[0]),
                    i64::from(now[2]) - i64::from(base[2])
                );
            }
        }
    }
}

fn numbers(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Number(_) => out.push(path.to_owned()),
        Value::Object(map) => {
            for (name, inner) in map {
                numbers(inner, &format!("{path}/{name}"), out);
            }
        }
        _ => {}
    }
}

#[expect(clippy::cast_possible_truncation, reason = "parameters are small")]
fn scaled(value: &Value, factor: f64) -> Value {
    let number = value.as_f64().unwrap_or(0.0) * factor;
    if value.is_f64() { serde_json::json!(number) } else { serde_json::json!((number.round() as i64).max(1)) }
}

fn size(dice: &mut Dice, from: u64, to: u64) -> usize {
    usize::try_from(dice.between(from, to)).unwrap()
}

/// One of these.
fn pick<T: Copy>(dice: &mut Dice, from: &[T]) -> T {
    from[usize::try_from(dice.below(from.len() as u64)).unwrap()]
}

/// A query that is answered, just before a connection.
fn resolve(traffic: &mut Traffic, dice: &mut Dice, at: u64, client: &str) {
    let (up, down) = (size(dice, 30, 50), size(dice, 60, 180));
    traffic.datagram(
        at.saturating_sub(40_000_000),
        (client, dice.port()),
        ("192.168.1.53", 53),
        up,
        Some(down),
    );
}

/// What a host does all the time: sites by name, at a person's pace.
fn browse(traffic: &mut Traffic, dice: &mut Dice, client: &str, until: u64) {
    let mut at = EPOCH + dice.below(20 * S);
    while at < until {
        let site = super::benign::outside(dice);
        resolve(traffic, dice, at, client);
        for _ in 0..dice.between(1, 4) {
            let turns =
                [monitor_tests::harness::timeline::turn(0, size(dice, 300, 900), size(dice, 500, 30_000))];
            let begins = at + dice.below(2 * S);
            traffic.tcp(
                begins,
                (client, dice.port()),
                (&site, 443),
                &turns,
                monitor_tests::harness::timeline::End::Fin,
            );
        }
        at += dice.between(5, 120) * S;
    }
}
