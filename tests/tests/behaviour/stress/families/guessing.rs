//! Password guessing on services of every kind.

use monitor_tests::harness::timeline::{Dice, End, MS, S, Traffic, turn};

use super::{BEGIN, Drawn, Family, family, pick, size};

const GUESSING: &[&str] = &["brute_force"];

pub fn all() -> Vec<Family> {
    vec![
        family("guessing, ssh and remote desktops", shells),
        family("guessing, web", web),
        family("guessing, kerberos and ldap", directory),
        family("guessing, brokers and databases", programs),
        family("guessing, sip", sip),
        family("guessing, sprayed", sprayed),
        family("guessing, slow", slow),
    ]
}

fn from(dice: &mut Dice) -> &'static str {
    pick(dice, &["198.51.100.14", "192.168.1.15"])
}

/// Tries with requests that differ by a password's length, and the same refusal.
fn tries(dice: &mut Dice, port: u16, count: u64, gap: u64, ask: u64, refusal: u64) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let mut at = BEGIN;
    for _ in 0..count {
        let turns = [turn(0, size(dice, ask, ask + 10), usize::try_from(refusal).unwrap())];
        traffic.tcp(at, (me, dice.port()), ("192.168.1.41", port), &turns, End::Fin);
        at += dice.below(2 * gap) + 10 * MS;
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn shells(dice: &mut Dice) -> Drawn {
    let (port, gap) = (pick(dice, &[22, 2222, 3389, 445, 21]), dice.between(1, 20) * S);
    let answer = dice.between(900, 2500);
    tries(dice, port, 60, gap, 1500, answer)
}

fn web(dice: &mut Dice) -> Drawn {
    let (port, gap) = (pick(dice, &[80, 443, 8080]), dice.between(100, 3000) * MS);
    let (ask, refusal) = (dice.between(180, 900), dice.between(150, 4000));
    tries(dice, port, 240, gap, ask, refusal)
}

fn directory(dice: &mut Dice) -> Drawn {
    let (port, gap) = (pick(dice, &[88, 389, 636]), dice.between(100, 2000) * MS);
    let refusal = dice.between(14, 200);
    tries(dice, port, 400, gap, 90, refusal)
}

fn programs(dice: &mut Dice) -> Drawn {
    let (port, gap) = (pick(dice, &[1883, 3306, 5432, 1433, 6379, 8883, 993]), dice.between(100, 2000) * MS);
    let refusal = dice.between(4, 300);
    tries(dice, port, 400, gap, 60, refusal)
}

fn sip(dice: &mut Dice) -> Drawn {
    let (mut traffic, me, own) = (Traffic::default(), from(dice), dice.port());
    let (ask, refusal) = (dice.between(320, 460), dice.between(300, 480));
    let gap = dice.between(20, 300) * MS;
    for number in 0..600 {
        let up = size(dice, ask, ask + 10);
        let down = usize::try_from(refusal).unwrap();
        traffic.datagram(BEGIN + number * gap, (me, own), ("192.168.1.70", 5060), up, Some(down));
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn sprayed(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let hosts = dice.between(12, 40);
    let (me, network) = pick(dice, &[("198.51.100.15", "192.168.2."), ("192.168.1.15", "203.0.113.")]);
    let gap = dice.between(2, 25) * S;
    let port = pick(dice, &[22, 3389]);
    for number in 0..60 {
        let to = format!("{network}{}", number % hosts + 1);
        let turns = [turn(0, size(dice, 1300, 1320), size(dice, 1800, 1900))];
        traffic.tcp(BEGIN + number * gap, (me, dice.port()), (&to, port), &turns, End::Fin);
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn slow(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (gap, me) = (dice.between(70, 240) * S, "198.51.100.16");
    let mut at = BEGIN;
    for _ in 0..110 {
        let turns = [turn(0, size(dice, 1300, 1340), size(dice, 1800, 1900)), turn(S, 120, 90)];
        traffic.tcp(at, (me, dice.port()), ("192.168.1.40", 22), &turns, End::Fin);
        at += dice.about(gap, 40);
    }
    Drawn::attack(me, GUESSING, traffic)
}
