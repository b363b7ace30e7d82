//! Movement from host to host, and insiders that turn on others outside.

use monitor_tests::harness::timeline::{Dice, End, MS, S, Traffic, turn};

use super::{super::benign::outside, BEGIN, Drawn, Family, family, pick, size};

const LATERAL: &[&str] = &["fan_out", "new_edge", "host_scan", "slow_scan", "brute_force"];
const ME: &str = "192.168.1.15";

pub fn all() -> Vec<Family> {
    vec![
        family("lateral, smb and management", managed),
        family("lateral, shells one by one", shells),
        family("lateral, a program copied and started", copied),
        family("lateral, worm", worm),
        family("lateral, outward", outward),
    ]
}

fn managed(dice: &mut Dice) -> Drawn {
    let (mut traffic, hosts) = (Traffic::default(), dice.between(7, 20));
    let (port, gap) = (pick(dice, &[445, 5985, 3389, 135]), dice.between(2, 40) * S);
    for host in 0..hosts {
        let turns = [turn(0, size(dice, 600, 3000), size(dice, 700, 9000)), turn(100 * MS, 2000, 900)];
        let to = format!("192.168.2.{}", host + 10);
        traffic.tcp(BEGIN + host * gap, (ME, dice.port()), (&to, port), &turns, End::Fin);
    }
    Drawn::attack(ME, LATERAL, traffic)
}

fn shells(dice: &mut Dice) -> Drawn {
    let (mut traffic, hosts, gap) = (Traffic::default(), dice.between(11, 25), dice.between(4, 25) * S);
    for host in 0..hosts {
        let turns = [turn(0, 1500, 2300), turn(S, size(dice, 300, 2000), size(dice, 300, 6000))];
        let at = BEGIN + host * gap + dice.below(2 * S);
        traffic.tcp(at, (ME, dice.port()), (&format!("192.168.3.{}", host + 10), 22), &turns, End::Fin);
    }
    Drawn::attack(ME, LATERAL, traffic)
}

fn copied(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let program = size(dice, 40_000, 400_000);
    let to = "192.168.2.77";
    traffic.tcp(
        BEGIN,
        (ME, dice.port()),
        (to, 445),
        &[turn(0, 1200, 1500), turn(MS, program, 900)],
        End::Open,
    );
    traffic.tcp(BEGIN + 2 * S, (ME, dice.port()), (to, 135), &[turn(0, 300, 400)], End::Fin);
    let dynamic = u16::try_from(dice.between(49_660, 49_800)).unwrap();
    traffic.tcp(BEGIN + 3 * S, (ME, dice.port()), (to, dynamic), &[turn(0, 1800, 900)], End::Fin);
    let mut at = BEGIN + 5 * S;
    for _ in 0..20 {
        at += dice.between(1, 20) * S;
        traffic.tcp(at, (ME, dice.port()), (to, 445), &[turn(0, 900, 1200)], End::Fin);
    }
    Drawn::attack(ME, LATERAL, traffic)
}

fn worm(dice: &mut Dice) -> Drawn {
    let (mut traffic, gap) = (Traffic::default(), dice.between(50, 2000) * MS);
    let alive = dice.between(5, 40);
    for host in 0..200 {
        let (at, to) = (BEGIN + host * gap, format!("192.168.4.{}", host + 1));
        if dice.chance(alive) {
            traffic.tcp(at, (ME, dice.port()), (&to, 445), &[turn(0, 900, 700)], End::Reset);
        } else {
            traffic.unanswered(at, (ME, dice.port()), (&to, 445), 1);
        }
    }
    Drawn::attack(ME, LATERAL, traffic)
}

fn outward(dice: &mut Dice) -> Drawn {
    let (mut traffic, gap) = (Traffic::default(), dice.between(200, 3000) * MS);
    let (port, hosts) = (pick(dice, &[22, 25, 23, 3389, 1433]), dice.between(80, 400));
    for host in 0..hosts {
        let turns = [turn(0, size(dice, 400, 3000), size(dice, 300, 2000))];
        let to = outside(dice);
        traffic.tcp(BEGIN + host * gap, (ME, dice.port()), (&to, port), &turns, End::Fin);
    }
    Drawn::attack(ME, LATERAL, traffic)
}
