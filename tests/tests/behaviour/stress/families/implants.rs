//! Implants: what calls home, how often, how it is hidden.

use monitor_tests::harness::timeline::{Dice, End, S, Traffic, turn};

use super::{super::benign::outside, BEGIN, Drawn, Family, browse, family, pick, resolve, size};

const BEACON: &[&str] = &["beacon"];
const ME: &str = "192.168.1.16";

pub fn all() -> Vec<Family> {
    vec![
        family("implant, fixed sleep", fixed),
        family("implant, jitter to 60 %", jittered),
        family("implant, by working hours", by_hours),
        family("implant, dead servers first", dead_servers),
        family("implant, one connection", one_connection),
        family("implant, by address, no rhythm", by_address),
        family("implant, over udp", over_udp),
    ]
}

/// One call: what is asked and answered differs a little, and now and then there is something to do.
fn call(traffic: &mut Traffic, dice: &mut Dice, at: u64, server: &str, port: u16, sizes: (u64, u64)) {
    let work = if dice.chance(6) { dice.between(2000, 20_000) } else { 0 };
    let up = size(dice, sizes.0, sizes.0 + sizes.0 / 8) + usize::try_from(work).unwrap();
    let down = size(dice, sizes.1, sizes.1 + sizes.1 / 8);
    traffic.tcp(at, (ME, dice.port()), (server, port), &[turn(0, up, down)], End::Fin);
}

fn sizes(dice: &mut Dice) -> (u64, u64) {
    (dice.between(120, 900), dice.between(100, 3000))
}

/// Sleeps with jitter below the period, as the frameworks do it.
fn beats(dice: &mut Dice, period: u64, jitter: u64, count: u64) -> Vec<u64> {
    let mut at = BEGIN;
    (0..count)
        .map(|_| {
            at += period - period / 100 * dice.below(jitter + 1);
            at
        })
        .collect()
}

fn regular(dice: &mut Dice, jitter: u64) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, port) = (outside(dice), pick(dice, &[443, 443, 80, 8080, 8443, 4444, 53]));
    let (period, sizes) = (dice.between(20, 600) * S, sizes(dice));
    let by_name = dice.chance(50);
    let all = beats(dice, period, jitter, 24);
    for at in &all {
        if by_name && dice.chance(60) {
            resolve(&mut traffic, dice, *at, ME);
        }
        call(&mut traffic, dice, *at, &server, port, sizes);
    }
    browse(&mut traffic, dice, ME, all[all.len() - 1]);
    Drawn::attack(&format!("{ME}->{server}:{port}"), BEACON, traffic)
}

fn fixed(dice: &mut Dice) -> Drawn {
    regular(dice, 0)
}

fn jittered(dice: &mut Dice) -> Drawn {
    let jitter = dice.between(10, 60);
    regular(dice, jitter)
}

fn by_hours(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, sizes) = (outside(dice), sizes(dice));
    let period = dice.between(60, 600) * S;
    for day in 0..2 {
        let mut at = BEGIN + day * 86_400 * S;
        for _ in 0..14 {
            at += dice.about(period, 25);
            call(&mut traffic, dice, at, &server, 443, sizes);
        }
    }
    Drawn::attack(&format!("{ME}->{server}:443"), BEACON, traffic)
}

fn dead_servers(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (dead, server, sizes) = (outside(dice), outside(dice), sizes(dice));
    let (period, port) = (dice.between(30, 300) * S, pick(dice, &[443, 8080, 447]));
    for at in beats(dice, period, 30, 24) {
        traffic.unanswered(at, (ME, dice.port()), (&dead, port), 1);
        call(&mut traffic, dice, at + 4 * S, &server, port, sizes);
    }
    Drawn::attack(&format!("{ME}->{server}:{port}"), BEACON, traffic)
}

fn one_connection(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own) = (outside(dice), dice.port());
    let port = pick(dice, &[80, 4444, 8080, 5552, 1604, 6606, 9999]);
    let (period, jitter) = (dice.between(4, 60) * S, dice.below(40));
    traffic.tcp(
        BEGIN,
        (ME, own),
        (&server, port),
        &[turn(0, size(dice, 200, 900), size(dice, 20, 200))],
        End::Open,
    );
    for at in beats(dice, period, jitter, 60) {
        let turns = [turn(0, size(dice, 140, 260), size(dice, 30, 90))];
        traffic.talk(at + S, (ME, own), (&server, port), &turns);
    }
    Drawn::attack(&format!("{ME}->{server}:{port}"), BEACON, traffic)
}

/// Addresses are built in; which one is called next, and when, follows what there is to do.
fn by_address(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let servers: Vec<String> = (0..3).map(|_| outside(dice)).collect();
    let (port, sizes) = (pick(dice, &[449, 447, 8080, 7080, 4143]), sizes(dice));
    let mut at = BEGIN;
    for number in 0..45usize {
        at += dice.between(4, 30) * S * dice.between(1, 9);
        call(&mut traffic, dice, at, &servers[number % 3], port, sizes);
    }
    let mut own = Traffic::default();
    // The host itself asks for names now and then.
    let mut then = BEGIN - 200 * S;
    while then < at {
        resolve(&mut own, dice, then, ME);
        then += dice.between(40, 200) * S;
    }
    traffic.add(own);
    Drawn::attack(ME, BEACON, traffic)
}

fn over_udp(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let server = outside(dice);
    let port = u16::try_from(dice.between(1100, 30_000)).unwrap();
    let (period, jitter) = (dice.between(20, 120) * S, dice.below(30));
    for at in beats(dice, period, jitter, 24) {
        let (up, down) = (size(dice, 60, 120), size(dice, 40, 90));
        traffic.datagram(at, (ME, dice.port()), (&server, port), up, Some(down));
    }
    Drawn::attack(&format!("{ME}->{server}:{port}"), BEACON, traffic)
}
