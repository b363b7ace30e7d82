//! Detection where nobody tuned it: traffic that was made up and captures that were changed, judged as the held-back ones
//! are. Prints a matrix of who was found, missed, falsely blamed, and how late.

mod attacks;
mod benign;
mod families;
pub mod published;

use detection::contact::default_inside;
use ipnet::IpNet;
use monitor_tests::harness::{
    skip::skip,
    timeline::{Dice, EPOCH, S, Traffic},
    variants::Names,
    verdicts::{Attack, Case, Outcome},
};
use published::Published;

/// Length of the network that attacks hide in.
const NINETY_MINUTES: u64 = 5400 * S;

/// Sums over cases.
#[derive(Debug, Default)]
struct Matrix {
    /// False findings that are there without the attack.
    known: Vec<String>,
    rows: Vec<String>,
    cases: usize,
    found: usize,
    missed: usize,
    falsely: usize,
    untimely: usize,
}

impl Matrix {
    fn judge(&mut self, case: &Case, inside: &[IpNet]) -> Outcome {
        let mut outcome = case.judge(inside);
        self.cases += 1;
        self.found += outcome.found;
        self.missed += outcome.missed.len();
        self.falsely += outcome.falsely.len().saturating_sub(case.tolerated);
        self.untimely += outcome.untimely.len();
        outcome.falsely.retain(|who| !self.known.contains(who));
        if !outcome.is_good(case.tolerated) || std::env::var_os("SLUICE_VERBOSE").is_some() {
            self.rows.push(format!(
                "{:<58} found {} ({}; {:+.1} s) missed {:?} untimely {:?} false {:?}",
                case.name,
                outcome.found,
                outcome.named_as.join(", "),
                outcome.worst_delay_s,
                outcome.missed,
                outcome.untimely,
                outcome.falsely,
            ));
        }
        if std::env::var_os("SLUICE_FINDINGS").is_some() {
            for finding in &outcome.findings {
                self.rows.push(format!("      {}", serde_json::to_string(finding).unwrap()));
            }
        }
        outcome
    }

    const fn is_good(&self) -> bool {
        self.missed == 0 && self.falsely == 0 && self.untimely == 0
    }

    /// Prints the matrix and fails when it is not good.
    fn settle(&self, title: &str) {
        self.print(title);
        assert!(self.is_good(), "{title}: see the matrix");
    }

    fn print(&self, title: &str) {
        println!("== {title}");
        for row in &self.rows {
            println!("{row}");
        }
        println!(
            "{title}: {} cases, found {}, missed {}, false {}, untimely {}",
            self.cases, self.found, self.missed, self.falsely, self.untimely
        );
    }
}

/// `SLUICE_CASE` picks cases by a part of their name.
fn is_chosen(case: &Case) -> bool {
    std::env::var("SLUICE_CASE").is_ok_and(|wanted| case.name.contains(&wanted))
        || std::env::var_os("SLUICE_CASE").is_none()
}

fn insides() -> Vec<(&'static str, Vec<IpNet>)> {
    let everybody = ["0.0.0.0/0", "::/0"].iter().map(|prefix| prefix.parse().unwrap()).collect();
    vec![("default", default_inside()), ("nobody", Vec::new()), ("everybody", everybody)]
}

#[test]
fn innocent_hosts_are_not_blamed() {
    let mut matrix = Matrix::default();
    for case in benign::all().into_iter().filter(is_chosen) {
        matrix.judge(&case, &default_inside());
    }
    matrix.settle("innocent");
}

#[test]
fn attackers_are_named_in_time() {
    let mut matrix = Matrix::default();
    for case in attacks::all().into_iter().filter(is_chosen) {
        matrix.judge(&case, &default_inside());
    }
    matrix.settle("attacks");
}

#[test]
#[ignore = "every class five times, for three ideas of who is inside: ask for it by name"]
fn innocents_and_attackers_hold_when_they_are_changed() {
    for (who, inside) in insides() {
        let mut innocent = Matrix::default();
        for case in benign::all().into_iter().filter(is_chosen) {
            // Which family is the other's fallback is lost when there is one only.
            let has_families = case.name.contains("ipv6");
            for case in
                changes(&case).into_iter().filter(|case| !has_families || !case.name.ends_with("ipv6"))
            {
                innocent.judge(&case, &inside);
            }
        }
        innocent.print(&format!("innocent, inside {who}"));
        let mut attacks = Matrix::default();
        for mut case in attacks::all().into_iter().filter(is_chosen) {
            for attack in &mut case.attacks {
                // Movement from inside to inside needs an inside.
                attack.optional |= inside.is_empty() && attack.as_one_of.contains(&"fan_out");
            }
            for case in changes(&case) {
                attacks.judge(&case, &inside);
            }
        }
        attacks.print(&format!("attacks, inside {who}"));
        assert!(innocent.is_good() && attacks.is_good(), "inside {who}");
    }
}

/// A made-up case as others might have recorded it.
fn changes(case: &Case) -> Vec<Case> {
    let changed = |name: &str, change: &dyn Fn(Traffic) -> Traffic| {
        let mut case = case.clone();
        case.name = format!("{} {name}", case.name);
        case.traffic = change(case.traffic);
        case
    };
    let mut all = vec![
        case.clone(),
        changed("seen twice", &|traffic| traffic.twice(15_000)),
        changed("2 % lost", &|traffic| traffic.lossy(20, 7)),
        changed("jittered", &|traffic| traffic.jittered(60_000, 8)),
    ];
    if !case.name.contains("arp") {
        all.push(published::over_ipv6(case));
    }
    all
}

/// All benign captures and the made-up innocents as one network of ninety minutes, each several times with clients of
/// other names.
fn network(published: &[Published], seed: u64) -> Traffic {
    let mut dice = Dice::new(seed);
    let mut all = Traffic::default();
    let mut place = |traffic: Traffic, copies: u64, all: &mut Traffic| {
        for copy in 0..copies {
            let mut names = Names::new(dice.next());
            // Timers of hosts and programs are what they are: only copies run at another speed.
            let percent = if copy == 0 { 100 } else { dice.between(60, 250) };
            let begins = EPOCH + dice.below(NINETY_MINUTES);
            all.add(traffic.clone().renamed(&mut names).moved(begins, percent));
        }
    };
    for one in published.iter().filter(|one| one.category == "benign" && !one.file.contains("20h")) {
        place(one.case.traffic.clone(), 6, &mut all);
    }
    for case in benign::all().into_iter().filter(|case| !case.name.contains("of a day")) {
        place(case.traffic, 1, &mut all);
    }
    let mut all = all.sorted();
    all.frames.retain(|(at, _)| *at < EPOCH + 2 * NINETY_MINUTES);
    all
}

fn beside(case: &Case, network: &Traffic, begins: u64) -> Case {
    let first = case.traffic.frames.first().map_or(0, |(at, _)| *at);
    let move_ = |at: u64| begins + at.saturating_sub(first);
    let mut mixed = case.clone();
    mixed.traffic = case.traffic.clone().moved(begins, 100);
    mixed.traffic.add(network.clone());
    mixed.traffic = mixed.traffic.sorted();
    for attack in &mut mixed.attacks {
        (attack.begins, attack.reachable) = (move_(attack.begins), move_(attack.reachable));
    }
    mixed.name = format!("{} in a network", case.name);
    mixed
}

#[test]
fn published_captures_hold_under_other_names_and_over_ipv6() {
    judge_published(&["renamed 3", "over ipv6", "seen twice"]);
}

#[test]
#[ignore = "every capture fourteen times: ask for it by name"]
fn published_captures_hold_however_they_are_changed() {
    judge_published(&[""]);
}

fn judge_published(changes: &[&str]) {
    let Some(all) = published::read_all() else {
        skip("stress", "no captures beside the checkout");
        return;
    };
    let mut matrix = Matrix::default();
    for one in all.iter().filter(|one| is_chosen(&one.case)) {
        for case in variants(one) {
            if changes.iter().any(|change| case.name.contains(change)) {
                matrix.judge(&case, &default_inside());
            }
        }
    }
    matrix.settle("published, changed");
}

fn variants(one: &Published) -> Vec<Case> {
    let named = |name: &str, mut case: Case| {
        case.name = format!("{} {name}", one.file);
        case
    };
    let with = |name: &str, change: &dyn Fn(Traffic) -> Traffic| {
        let mut case = one.case.clone();
        case.traffic = change(case.traffic);
        named(name, case)
    };
    let mut all = vec![named("as it is", one.case.clone())];
    for seed in 1..4 {
        let mut addresses = Names::new(seed);
        addresses.turned = seed == 3;
        all.push(named(&format!("renamed {seed}"), one.renamed(&mut addresses)));
    }
    all.push(named("over ipv6", published::over_ipv6(&one.case)));
    all.push(with("1 % lost", &|traffic| traffic.lossy(10, 1)));
    let mut lossy = with("5 % lost", &|traffic| traffic.lossy(50, 2));
    for attack in &mut lossy.attacks {
        // A lost beat is made up for by the next.
        attack.reachable += if attack.as_one_of.contains(&"beacon") { 120 * S } else { 0 };
    }
    all.push(lossy);
    all.push(with("seen twice", &|traffic| traffic.twice(20_000)));
    all.push(with("seen twice at once", &|traffic| traffic.twice(0)));
    all.push(with("jittered", &|traffic| traffic.jittered(60_000, 3)));
    all.push(with("snapped", &|traffic| traffic.snapped(128)));
    let mut late = with("from the middle", &|traffic| traffic.from_the_middle(20));
    let begins = late.traffic.frames.first().map_or(0, |(at, _)| *at);
    for attack in &mut late.attacks {
        attack.reachable = attack.reachable.max(begins + attack.reachable.saturating_sub(attack.begins));
        // A tunnel shows when it is used, not when it is open.
        attack.reachable += if attack.as_one_of.contains(&"icmp_tunnel") { 300 * S } else { 0 };
    }
    all.push(late);
    for (speed, name) in [(40, "faster"), (180, "slower")] {
        let mut case = with(name, &|traffic: Traffic| {
            let first = traffic.frames.iter().map(|(at, _)| *at).min().unwrap_or(0);
            traffic.moved(first, speed)
        });
        let first = one.case.traffic.frames.iter().map(|(at, _)| *at).min().unwrap_or(0);
        for attack in &mut case.attacks {
            // What beats faster than once a second is not promised, nor a tunnel of fewer bytes to be seen sooner.
            attack.optional |= speed < 100 && one.file.contains("2s");
            let counts_bytes = attack.as_one_of.contains(&"icmp_tunnel");
            attack.begins = first + (attack.begins - first) / 100 * speed;
            let speed = if counts_bytes { speed.max(200) } else { speed };
            attack.reachable = first + (attack.reachable - first) / 100 * speed;
        }
        all.push(case);
    }
    let attackers: Vec<_> =
        one.case.attacks.iter().flat_map(|attack| published::addresses(&attack.who)).collect();
    if let Some(attacker) = attackers.first() {
        let victim = one.case.attacks.iter().any(|attack| attack.who.starts_with("VICTIM"));
        if !victim {
            let mut case = with("only the attacker's side", &|traffic| traffic.only_from(&[*attacker]));
            for attack in &mut case.attacks {
                attack.optional |=
                    attack.as_one_of.iter().any(|name| name.contains("tunnel") || name.contains("beacon"));
            }
            all.push(case);
        }
    }
    all
}

#[test]
#[ignore = "minutes of traffic mixed many times: ask for it by name"]
fn attacks_are_found_in_a_network_of_ninety_minutes() {
    let Some(all) = published::read_all() else {
        skip("stress", "no captures beside the checkout");
        return;
    };
    let inside = default_inside();
    for seed in 1..=2 {
        let network = network(&all, seed);
        let mut matrix = Matrix::default();
        let alone =
            Case { tolerated: 1, ..Case::new("the network alone", network.clone(), Vec::<Attack>::new()) };
        println!("{} frames", network.frames.len());
        matrix.known = matrix.judge(&alone, &inside).falsely;
        let mut dice = Dice::new(seed);
        let made_up = attacks::all();
        let real = all.iter().filter(|one| !one.case.attacks.is_empty() && one.category != "benign");
        for case in made_up.iter().chain(real.map(|one| &one.case)) {
            if !is_chosen(case) {
                continue;
            }
            let mixed = beside(case, &network, EPOCH + 600 * S + dice.below(3000 * S));
            matrix.judge(&mixed, &inside);
        }
        matrix.settle(&format!("in a network, seed {seed}"));
    }
}
