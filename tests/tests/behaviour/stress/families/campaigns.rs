//! Implants as a capture of one infected host shows them: few calls, each server of a list once or twice, a start that was
//! not recorded, another family of addresses, names that were asked elsewhere.

use monitor_tests::harness::timeline::{Dice, End, MS, S, Traffic, turn};

use super::{super::benign::outside, BEGIN, Drawn, Family, browse, family, pick, resolve, size};

const BEACON: &[&str] = &["beacon"];
const ME: &str = "10.9.14.101";

pub fn all() -> Vec<Family> {
    vec![
        family("campaign, few calls to a list", few_calls),
        family("campaign, two ports of one server", two_ports),
        family("campaign, http on a port of tls", plain_on_tls),
        family("campaign, recorded from the middle", midway),
        family("campaign, asked by its server", asked),
        family("campaign, over ipv6", over_v6),
        family("campaign, one infected among many", crowd),
        family("campaign, bytes of its own on a port of tls", sealed),
    ]
}

/// What the host does besides: a domain, updates, a browser that is left alone.
fn surroundings(traffic: &mut Traffic, dice: &mut Dice, until: u64) {
    let mut at = BEGIN - 280 * S;
    while at < until {
        for port in [88, 389, 445] {
            if dice.chance(40) {
                let turns = [turn(0, size(dice, 300, 2500), size(dice, 300, 4000))];
                traffic.tcp(at, (ME, dice.port()), ("10.9.14.2", port), &turns, End::Fin);
            }
        }
        for _ in 0..dice.between(1, 4) {
            let (up, down) = (size(dice, 30, 50), size(dice, 60, 200));
            traffic.datagram(at, (ME, dice.port()), ("10.9.14.2", 53), up, Some(down));
            if dice.chance(60) {
                let turns = [turn(0, size(dice, 400, 2500), size(dice, 3000, 40_000))];
                traffic.tcp(at + 60 * MS, (ME, dice.port()), (&outside(dice), 443), &turns, End::Fin);
            }
            at += dice.between(1, 40) * S;
        }
        at += dice.between(10, 120) * S;
    }
}

fn exchange(dice: &mut Dice, at: u64, to: (&str, u16), traffic: &mut Traffic) {
    let down = if dice.chance(20) { dice.between(20_000, 300_000) } else { dice.between(900, 4000) };
    let turns = [
        turn(0, size(dice, 180, 520), size(dice, 800, 1600)),
        turn(40 * MS, size(dice, 300, 900), usize::try_from(down).unwrap()),
    ];
    traffic.tcp(at, (ME, dice.port()), to, &turns, End::Fin);
}

/// A loader that goes through its list: each server a few times, over half an hour or two.
fn few_calls(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let ports = pick(
        dice,
        &[[443, 8080, 7080, 443], [449, 443, 447, 8082], [443, 3389, 8172, 4043], [5037, 443, 691, 9676]],
    );
    let servers: Vec<_> = (0..dice.between(3, 7))
        .map(|number| (outside(dice), ports[usize::try_from(number).unwrap() % 4]))
        .collect();
    let mut at = BEGIN;
    for round in 0..dice.between(3, 5) {
        for (server, port) in &servers {
            match dice.below(10) {
                0..=1 => traffic.unanswered(at, (ME, dice.port()), (server, *port), 2),
                2 => traffic.refused(at, (ME, dice.port()), (server, *port)),
                _ => exchange(dice, at, (server, *port), &mut traffic),
            }
            at += dice.between(4, 60) * S;
        }
        at += dice.between(60, 600) * S * u64::from(round < 2) + dice.between(30, 300) * S;
    }
    surroundings(&mut traffic, dice, at);
    Drawn::attack(ME, BEACON, traffic)
}

/// Orders on one port, results on another.
fn two_ports(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, ports) =
        (outside(dice), pick(dice, &[(449, 447), (8080, 8443), (4444, 4445), (7000, 7001)]));
    let mut at = BEGIN;
    for _ in 0..dice.between(8, 14) {
        exchange(dice, at, (&server, ports.0), &mut traffic);
        if dice.chance(40) {
            let turns = [turn(0, size(dice, 2000, 90_000), size(dice, 40, 300))];
            traffic.tcp(at + 2 * S, (ME, dice.port()), (&server, ports.1), &turns, End::Fin);
        }
        let pause = dice.between(60, 240) * S;
        at += dice.about(pause, 40);
    }
    surroundings(&mut traffic, dice, at);
    Drawn::attack(ME, BEACON, traffic)
}

/// One connection, on which requests in clear are made again and again on the port of TLS.
fn plain_on_tls(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own, port) = (outside(dice), dice.port(), pick(dice, &[443, 8443, 5222, 3085, 1203]));
    if dice.chance(50) {
        let (up, down) = (size(dice, 30, 50), size(dice, 60, 180));
        traffic.datagram(BEGIN - 50 * MS, (ME, dice.port()), ("10.9.14.2", 53), up, Some(down));
    }
    traffic.tcp(BEGIN, (ME, own), (&server, port), &[], End::Open);
    let period = dice.between(30, 65) * S;
    for beat in 0..dice.between(12, 50) {
        let at = BEGIN + S + beat * period + dice.below(400 * MS);
        let body = size(dice, 36, 240);
        let mut request =
            b"POST http://203.0.113.9/fakeurl.htm HTTP/1.1\r\nUser-Agent: client/1.3\r\nContent-Length: "
                .to_vec();
        request.resize(request.len() + body, b'5');
        traffic.said(at, (ME, own), (&server, port), &request);
        let mut answer = b"HTTP/1.1 200 OK\r\nServer: gateway/1.6\r\nContent-Length: ".to_vec();
        answer.resize(answer.len() + size(dice, 20, 90), b'6');
        traffic.said(at + 30 * MS, (&server, port), (ME, own), &answer);
        traffic.segment(at + 31 * MS, (ME, own), (&server, port), 0x10, 0);
    }
    surroundings(&mut traffic, dice, BEGIN + 40 * 60 * S);
    Drawn::attack(ME, &["beacon", "protocol_mismatch", "plaintext_service"], traffic)
}

/// The capture begins when the connection has been there for long.
fn midway(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own) = (outside(dice), dice.port());
    let port = pick(dice, &[8000, 2011, 5552, 1177, 4782, 9999]);
    let (period, jitter) = (dice.between(8, 60) * S, dice.below(20));
    let (up, down) = (size(dice, 10, 220), size(dice, 10, 90));
    let mut at = BEGIN;
    for _ in 0..dice.between(40, 80) {
        let bursts = if dice.chance(8) {
            vec![turn(0, up, down), turn(200 * MS, size(dice, 2000, 40_000), 40)]
        } else {
            vec![turn(0, up, down)]
        };
        traffic.talk(at, (ME, own), (&server, port), &bursts);
        at += dice.about(period, jitter);
    }
    surroundings(&mut traffic, dice, at);
    Drawn::attack(ME, BEACON, traffic)
}

/// The server keeps in touch, the implant answers.
fn asked(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own) = (outside(dice), dice.port());
    let port = pick(dice, &[6606, 8808, 2404, 1604, 3460, 54_984, 20_377]);
    traffic.tcp(BEGIN, (ME, own), (&server, port), &[turn(0, size(dice, 150, 700), 60)], End::Open);
    let (period, (down, up)) = (dice.between(10, 60) * S, (size(dice, 4, 70), size(dice, 4, 180)));
    let mut at = BEGIN;
    for _ in 0..dice.between(40, 90) {
        at += period + dice.below(S / 2);
        traffic.talk(at, (ME, own), (&server, port), &[turn(0, 0, down), turn(3 * MS, up, 0)]);
    }
    surroundings(&mut traffic, dice, at);
    Drawn::attack(ME, BEACON, traffic)
}

fn over_v6(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let me = "fd00:9::101";
    let (server, port) =
        (format!("2a01:{:x}::{:x}", dice.below(65_000), dice.below(65_000)), pick(dice, &[443, 8080, 4444]));
    let (period, jitter) = (dice.between(30, 240) * S, dice.between(10, 50));
    let mut at = BEGIN;
    for _ in 0..24 {
        let work = if dice.chance(8) { size(dice, 3000, 30_000) } else { 0 };
        let turns = [turn(0, size(dice, 300, 340) + work, size(dice, 200, 230))];
        traffic.tcp(at, (me, dice.port()), (&server, port), &turns, End::Fin);
        at += dice.about(period, jitter);
    }
    let mut then = BEGIN - 200 * S;
    while then < at {
        traffic.datagram(then, (me, dice.port()), ("fd00:9::1", 53), 40, Some(120));
        let to = format!("2606:{:x}::{:x}", dice.below(65_000), dice.below(65_000));
        let turns = [turn(0, size(dice, 400, 2500), size(dice, 3000, 40_000))];
        traffic.tcp(then + 60 * MS, (me, dice.port()), (&to, 443), &turns, End::Fin);
        then += dice.between(20, 150) * S;
    }
    Drawn::attack(me, BEACON, traffic)
}

/// One infected host among fifty that are not.
fn crowd(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let shared: Vec<_> = (0..6).map(|_| outside(dice)).collect();
    let until = BEGIN + 2400 * S;
    for host in 0..50 {
        let me = format!("10.9.14.{}", 120 + host);
        if dice.chance(40) {
            browse(&mut traffic, dice, &me, BEGIN + 600 * S);
        }
        // Agents that everybody has, and one that only this host has.
        let own = outside(dice);
        for server in [&shared[host % 6], &own] {
            let (period, mut at) = (dice.between(60, 300) * S, BEGIN - dice.below(200 * S));
            let (up, down) = (size(dice, 300, 900), size(dice, 900, 5000));
            while at < until {
                resolve(&mut traffic, dice, at, &me);
                traffic.tcp(at, (&me, dice.port()), (server, 443), &[turn(0, up, down)], End::Fin);
                at += period + dice.below(S);
            }
        }
    }
    let attack = few_calls(dice);
    traffic.add(attack.traffic);
    Drawn::attack(ME, BEACON, traffic)
}

/// A protocol of its own, on the port of TLS, to an address.
fn sealed(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own, port) = (outside(dice), dice.port(), pick(dice, &[443, 80, 8080, 53]));
    traffic.tcp(BEGIN, (ME, own), (&server, port), &[], End::Open);
    traffic.talk(BEGIN + 20 * MS, (ME, own), (&server, port), &[turn(0, size(dice, 100, 400), 30)]);
    let (period, mut at) = (dice.between(5, 60) * S, BEGIN);
    for _ in 0..dice.between(40, 90) {
        at += dice.about(period, 15);
        traffic.talk(at, (ME, own), (&server, port), &[turn(0, size(dice, 20, 160), size(dice, 10, 40))]);
    }
    surroundings(&mut traffic, dice, at);
    Drawn::attack(ME, &["beacon", "protocol_mismatch"], traffic)
}
