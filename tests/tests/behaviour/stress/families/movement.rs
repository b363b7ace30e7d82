//! Movement to one host or a few, beside the implant that orders it, and guesses of a worm.

use monitor_tests::harness::timeline::{Dice, End, MS, S, Traffic, turn};

use super::{super::benign::outside, BEGIN, Drawn, Family, family, pick, size};

const LATERAL: &[&str] = &["fan_out", "new_edge", "host_scan", "slow_scan", "brute_force", "beacon"];
const ME: &str = "172.18.39.5";

pub fn all() -> Vec<Family> {
    vec![
        family("movement, a service of one host beside an implant", service),
        family("movement, management of one host beside an implant", managed),
        family("movement, guesses of a worm on few hosts", guesses),
        family("movement, looks for where it may log in", looks),
        family("movement, shells of few hosts and a scan", chain),
    ]
}

fn implant(traffic: &mut Traffic, dice: &mut Dice, lasts: u64) {
    let (server, own) = (if dice.chance(60) { outside(dice) } else { "10.10.10.5".to_owned() }, dice.port());
    let (port, period) = (pick(dice, &[80, 443, 8080, 8443]), dice.between(3, 6) * S);
    let one = dice.chance(50);
    if one {
        traffic.tcp(BEGIN - 60 * S, (ME, own), (&server, port), &[turn(0, 220, 180)], End::Open);
    }
    let mut at = BEGIN - 55 * S;
    while at < BEGIN + lasts {
        let task = if dice.chance(8) { size(dice, 2000, 20_000) } else { 0 };
        let turns = [turn(0, size(dice, 200, 230) + task, size(dice, 150, 190))];
        if one {
            traffic.talk(at, (ME, own), (&server, port), &turns);
        } else {
            traffic.tcp(at, (ME, dice.port()), (&server, port), &turns, End::Fin);
        }
        at += dice.about(period, 10);
    }
}

fn directory(traffic: &mut Traffic, dice: &mut Dice) {
    for port in [88, 389, 88, 135, 49_667] {
        let turns = [turn(0, size(dice, 300, 2500), size(dice, 300, 3000))];
        traffic.tcp(BEGIN + dice.below(20 * S), (ME, dice.port()), ("172.18.38.5", port), &turns, End::Fin);
    }
}

/// A program is copied to a share and started as a service, all over SMB.
fn service(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    directory(&mut traffic, dice);
    let (to, own) = ("172.18.39.6", dice.port());
    let mut turns = vec![turn(0, 1600, 1900), turn(50 * MS, size(dice, 40_000, 400_000), 900)];
    turns.extend((0..dice.between(8, 30)).map(|_| turn(60 * MS, 220, 180)));
    let more: Vec<_> =
        (0..20).map(|_| turn(dice.between(1, 4) * S, size(dice, 150, 300), size(dice, 120, 700))).collect();
    turns.extend(more);
    traffic.tcp(BEGIN + 21 * S, (ME, own), (to, 445), &turns, End::Fin);
    implant(&mut traffic, dice, 180 * S);
    Drawn::attack(ME, LATERAL, traffic)
}

fn managed(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    directory(&mut traffic, dice);
    let to = "172.18.39.6";
    if dice.chance(50) {
        for _ in 0..dice.between(2, 5) {
            let turns = [
                turn(0, size(dice, 1500, 3000), 900),
                turn(200 * MS, size(dice, 2000, 9000), size(dice, 800, 6000)),
            ];
            traffic.tcp(BEGIN + dice.below(60 * S), (ME, dice.port()), (to, 5985), &turns, End::Fin);
        }
    } else {
        traffic.tcp(BEGIN + 22 * S, (ME, dice.port()), (to, 135), &[turn(0, 900, 700)], End::Fin);
        let turns = [
            turn(0, 1800, 900),
            turn(MS, 2900, 1200),
            turn(S, size(dice, 2000, 9000), size(dice, 2000, 9000)),
        ];
        let dynamic = u16::try_from(dice.between(49_660, 49_900)).unwrap();
        traffic.tcp(BEGIN + 23 * S, (ME, dice.port()), (to, dynamic), &turns, End::Fin);
    }
    implant(&mut traffic, dice, 180 * S);
    Drawn::attack(ME, LATERAL, traffic)
}

/// Names and passwords are tried on a handful of hosts, each try a connection.
fn guesses(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let hosts = dice.between(1, 6);
    let mut at = BEGIN;
    for number in 0..hosts * dice.between(12, 30).max(40 / hosts) {
        let to = format!("172.18.40.{}", number % hosts + 4);
        let turns =
            [turn(0, size(dice, 380, 410), size(dice, 500, 540)), turn(2 * MS, size(dice, 480, 520), 77)];
        traffic.tcp(
            at,
            (ME, dice.port()),
            (&to, 445),
            &turns,
            if dice.chance(50) { End::Reset } else { End::Fin },
        );
        at += dice.between(100, 6000) * MS;
    }
    Drawn::attack(ME, LATERAL, traffic)
}

/// Each host of a list is asked over SMB whether this account is an administrator there, within seconds.
fn looks(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    directory(&mut traffic, dice);
    let mut at = BEGIN + 20 * S;
    for host in 0..dice.between(7, 30) {
        let to = format!("172.18.40.{}", host + 4);
        if dice.chance(25) {
            traffic.unanswered(at, (ME, dice.port()), (&to, 445), 1);
        } else {
            let turns = [turn(0, 240, 450), turn(3 * MS, 1400, 300), turn(3 * MS, 600, size(dice, 150, 300))];
            traffic.tcp(at, (ME, dice.port()), (&to, 445), &turns, End::Fin);
        }
        at += dice.between(20, 4000) * MS;
    }
    Drawn::attack(ME, LATERAL, traffic)
}

/// A few ports of a few hosts are looked at, then entered over SSH one after the other.
fn chain(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let mut at = BEGIN;
    for host in 0..dice.between(3, 6) {
        let to = format!("172.18.41.{}", host * 3 + 7);
        for port in [22, 80, 443, 3306, 8080, 5432, 6379, 21] {
            if port != 22 {
                traffic.refused(at, (ME, dice.port()), (&to, port));
                at += dice.between(20, 900) * MS;
            }
        }
        for _ in 0..dice.between(4, 9) {
            let turns = [turn(0, 1500, 2300), turn(S, size(dice, 100, 140), size(dice, 80, 100))];
            traffic.tcp(at, (ME, dice.port()), (&to, 22), &turns, End::Fin);
            at += dice.between(2, 6) * S;
        }
    }
    Drawn::attack(ME, &["fan_out", "port_scan", "slow_scan", "brute_force", "host_scan"], traffic)
}
