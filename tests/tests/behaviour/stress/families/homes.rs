//! Honest homes, offices and clusters: peers, calls, television, small devices, synchronisation, monitoring.

use monitor_tests::harness::{
    packet::packet,
    timeline::{Dice, EPOCH, End, MS, S, Traffic, turn},
};

use super::{super::benign::outside, Drawn, Family, browse, family, pick, resolve, size};

const ME: &str = "10.1.21.40";

pub fn all() -> Vec<Family> {
    vec![
        family("honest, peers of a torrent", torrent),
        family("honest, synchronisation between peers", syncing),
        family("honest, calls over the web", calls),
        family("honest, television", television),
        family("honest, plugs and bulbs", plugs),
        family("honest, devices by address", device_by_address),
        family("honest, devices that keep in touch", kept_device),
        family("honest, monitoring over snmp", snmp),
        family("honest, probes of a cluster", probes),
        family("honest, brokers and their sensors", sensors),
        family("honest, names over https", names_over_https),
        family("honest, tunnels of people", tunnels_of_people),
        family("honest, programs that ask often", askers),
        family("honest, a domain of windows", windows),
        family("honest, updates of many programs", updates),
        family("honest, tests of load", load),
    ]
}

fn torrent(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let peers: Vec<(String, u16)> = (0..dice.between(60, 200))
        .map(|_| (outside(dice), u16::try_from(dice.between(6881, 60_000)).unwrap()))
        .collect();
    let mut at = EPOCH;
    resolve(&mut traffic, dice, at, ME);
    while at < EPOCH + 900 * S {
        at += dice.below(900) * MS;
        let (peer, port) = &peers[usize::try_from(dice.below(peers.len() as u64)).unwrap()];
        match dice.below(10) {
            0..=2 => traffic.unanswered(at, (ME, dice.port()), (peer, *port), 2),
            3 => traffic.refused(at, (ME, dice.port()), (peer, *port)),
            4..=6 => {
                let turns = [turn(0, 68, 68), turn(S, size(dice, 20, 400), size(dice, 20, 40_000))];
                traffic.tcp(at, (ME, dice.port()), (peer, *port), &turns, End::Fin);
            }
            _ => traffic.datagram(
                at,
                (ME, 51_413),
                (peer, *port),
                size(dice, 90, 110),
                dice.chance(60).then_some(300),
            ),
        }
    }
    Drawn::honest(traffic)
}

fn syncing(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for peer in 0..dice.between(1, 4) {
        let (to, own) =
            (if dice.chance(50) { outside(dice) } else { format!("10.1.21.{}", 60 + peer) }, dice.port());
        let (begins, period) = (EPOCH + dice.below(30 * S), dice.between(30, 90) * S);
        traffic.tcp(begins, (ME, own), (&to, 22_000), &[turn(0, 900, 1200)], End::Open);
        for beat in 1..60 {
            let at = begins + beat * period + dice.below(200 * MS);
            let news = if dice.chance(10) { (size(dice, 100, 90_000), 60) } else { (20, 0) };
            traffic.talk(at, (ME, own), (&to, 22_000), &[turn(0, news.0, news.1)]);
            if dice.chance(60) {
                traffic.talk(at + dice.between(2, 20) * S, (ME, own), (&to, 22_000), &[turn(0, 0, 20)]);
            }
        }
    }
    browse(&mut traffic, dice, ME, EPOCH + 1800 * S);
    Drawn::honest(traffic)
}

fn calls(dice: &mut Dice) -> Drawn {
    let (mut traffic, relay, peer) = (Traffic::default(), outside(dice), outside(dice));
    resolve(&mut traffic, dice, EPOCH, ME);
    let (own, port) = (dice.port(), u16::try_from(dice.between(10_000, 60_000)).unwrap());
    for probe in 0..30 {
        let to = if probe % 3 == 0 { (&*peer, port) } else { (&*relay, 3478) };
        traffic.datagram(EPOCH + S + probe * 50 * MS, (ME, own), to, 100, dice.chance(60).then_some(80));
    }
    for number in 0..5000 {
        let at = EPOCH + 4 * S + number * 20 * MS;
        traffic.datagram(at, (ME, own), (&peer, port), size(dice, 60, 180), Some(size(dice, 60, 1100)));
    }
    browse(&mut traffic, dice, ME, EPOCH + 100 * S);
    Drawn::honest(traffic)
}

fn television(dice: &mut Dice) -> Drawn {
    let (mut traffic, own) = (Traffic::default(), dice.port());
    let server = outside(dice);
    resolve(&mut traffic, dice, EPOCH, ME);
    traffic.tcp(EPOCH, (ME, own), (&server, 443), &[turn(0, 700, 5000)], End::Open);
    let period = dice.between(2, 10) * S;
    for beat in 1..80 {
        traffic.talk(
            EPOCH + beat * period + dice.below(300 * MS),
            (ME, own),
            (&server, 443),
            &[turn(0, size(dice, 300, 900), size(dice, 30_000, 200_000))],
        );
        // What the player tells of itself.
        if beat % 20 == 0 {
            if dice.chance(60) {
                resolve(&mut traffic, dice, EPOCH + beat * period, ME);
            }
            let turns = [turn(0, size(dice, 900, 4000), 200)];
            traffic.tcp(EPOCH + beat * period, (ME, dice.port()), (&server, 443), &turns, End::Fin);
        }
    }
    Drawn::honest(traffic)
}

/// Plugs tell everybody that they are there, keep a broker, and ask for a router that is not there.
fn plugs(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for plug in 0..dice.between(1, 5) {
        let me = format!("10.1.21.{}", 70 + plug);
        let (cloud, own) = (outside(dice), dice.port());
        let port = pick(dice, &[1883, 8883, 8886, 443, 50_443]);
        resolve(&mut traffic, dice, EPOCH, &me);
        traffic.tcp(EPOCH + S, (&me, own), (&cloud, port), &[turn(0, 250, 900)], End::Open);
        let period = dice.between(15, 60) * S;
        for beat in 1..100 {
            let at = EPOCH + beat * period + dice.below(300 * MS);
            let turns = if dice.chance(90) { [turn(0, 2, 2)] } else { [turn(0, size(dice, 90, 260), 40)] };
            traffic.talk(at, (&me, own), (&cloud, port), &turns);
            traffic.datagram(at, (&me, 49_154), ("255.255.255.255", 6667), 188, None);
            if beat % 10 == 0 {
                resolve(&mut traffic, dice, at, &me);
                traffic.datagram(at, (&me, dice.port()), (&outside(dice), 123), 48, Some(48));
            }
            if beat % 20 == 0 {
                traffic.unanswered(
                    at + S,
                    (&me, dice.port()),
                    (&outside(dice), pick(dice, &[443, 80, 8443])),
                    2,
                );
            }
        }
    }
    Drawn::honest(traffic)
}

/// A small device that was built with its servers' addresses, and reports to them: exact, alike each time.
fn device_by_address(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, port) = (outside(dice), pick(dice, &[80, 443, 8883, 443]));
    let period = dice.between(45, 300) * S;
    let (up, down) = (size(dice, 200, 600), size(dice, 150, 500));
    for beat in 0..60 {
        let at = EPOCH + beat * period + dice.below(100 * MS);
        traffic.tcp(at, (ME, dice.port()), (&server, port), &[turn(0, up, down)], End::Fin);
        if beat % 20 == 0 {
            resolve(&mut traffic, dice, at + 9 * S, ME);
        }
    }
    Drawn::honest(traffic)
}

/// Cameras, thermostats and gateways on the maker's own port, by name.
fn kept_device(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own) = (outside(dice), dice.port());
    let port = u16::try_from(dice.between(5000, 40_000)).unwrap();
    resolve(&mut traffic, dice, EPOCH, ME);
    traffic.tcp(EPOCH + 100 * MS, (ME, own), (&server, port), &[turn(0, 400, 800)], End::Open);
    let period = dice.between(10, 120) * S;
    let (up, down) = (size(dice, 8, 120), size(dice, 8, 120));
    for beat in 1..90 {
        let at = EPOCH + beat * period + dice.below(150 * MS);
        traffic.talk(at, (ME, own), (&server, port), &[turn(0, up, down)]);
        if beat % 15 == 0 {
            resolve(&mut traffic, dice, at, ME);
        }
    }
    Drawn::honest(traffic)
}

fn snmp(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (hosts, period) = (dice.between(1, 60), dice.between(30, 300) * S);
    for round in 0..12 {
        for host in 0..hosts {
            let to = format!("10.1.30.{}", host + 1);
            for walk in 0..dice.between(3, 40) {
                let at = EPOCH + round * period + host * 80 * MS + walk * 3 * MS;
                let is_there = host % 11 != 10;
                traffic.datagram(
                    at,
                    (ME, 40_000),
                    (&to, 161),
                    size(dice, 42, 60),
                    is_there.then_some(size(dice, 42, 300)),
                );
            }
        }
    }
    Drawn::honest(traffic)
}

/// A node asks its pods, and pods talk to services; some pods go away.
fn probes(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let node = "10.244.0.1";
    let pods = dice.between(8, 40);
    for round in 0..60 {
        for pod in 0..pods {
            let to = format!("10.244.0.{}", pod + 10);
            let at = EPOCH + round * 10 * S + pod * 37 * MS;
            let port = pick(dice, &[8080, 8181, 10_254, 9153]);
            if pod == 0 && round < 8 {
                traffic.refused(at, (node, dice.port()), (&to, 8080));
            } else {
                traffic.tcp(
                    at,
                    (node, dice.port()),
                    (&to, port),
                    &[turn(0, 110, size(dice, 75, 140))],
                    End::Fin,
                );
            }
            if dice.chance(10) {
                resolve(&mut traffic, dice, at, &to);
                let turns = [turn(0, size(dice, 200, 900), size(dice, 200, 9000))];
                traffic.tcp(
                    at + 50 * MS,
                    (&to, dice.port()),
                    (&format!("10.96.0.{}", pod % 9 + 1), 443),
                    &turns,
                    End::Fin,
                );
            }
        }
    }
    Drawn::honest(traffic)
}

fn sensors(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let broker = if dice.chance(50) { outside(dice) } else { "10.1.21.9".to_owned() };
    for sensor in 0..dice.between(1, 30) {
        let (me, own) = (format!("10.1.22.{}", sensor + 1), dice.port());
        let (begins, period) = (EPOCH + dice.below(20 * S), dice.between(5, 60) * S);
        traffic.tcp(begins, (&me, own), (&broker, 1883), &[turn(0, size(dice, 20, 60), 4)], End::Open);
        for beat in 1..60 {
            let at = begins + beat * period + dice.below(S);
            traffic.talk(
                at,
                (&me, own),
                (&broker, 1883),
                &[turn(0, size(dice, 30, 90), 4 * usize::from(dice.chance(50)))],
            );
        }
    }
    Drawn::honest(traffic)
}

/// A browser asks for names over one encrypted connection, in bursts as its user goes on.
fn names_over_https(dice: &mut Dice) -> Drawn {
    let (mut traffic, own) = (Traffic::default(), dice.port());
    let resolver = pick(dice, &["1.1.1.1", "8.8.8.8", "9.9.9.9"]);
    traffic.tcp(EPOCH, (ME, own), (resolver, 443), &[turn(0, 600, 3500)], End::Open);
    let mut at = EPOCH;
    for _ in 0..dice.between(40, 150) {
        at += dice.between(1, 40) * S;
        let turns: Vec<_> = (0..dice.between(1, 12))
            .map(|_| turn(20 * MS, size(dice, 100, 190), size(dice, 150, 600)))
            .collect();
        traffic.talk(at, (ME, own), (resolver, 443), &turns);
        let site = outside(dice);
        let turns = [turn(0, size(dice, 400, 900), size(dice, 2000, 90_000))];
        traffic.tcp(at + S, (ME, dice.port()), (&site, 443), &turns, End::Fin);
    }
    Drawn::honest(traffic)
}

/// VPN, remote desktops and shells of people, who type and wait.
fn tunnels_of_people(dice: &mut Dice) -> Drawn {
    let (mut traffic, own, server) = (Traffic::default(), dice.port(), outside(dice));
    let port = pick(dice, &[22, 3389, 1194, 443, 5900]);
    resolve(&mut traffic, dice, EPOCH, ME);
    traffic.tcp(EPOCH + 50 * MS, (ME, own), (&server, port), &[turn(0, 2200, 2900)], End::Open);
    let mut at = EPOCH;
    for _ in 0..dice.between(100, 300) {
        at += dice.below(20 * S) * dice.below(2) + dice.between(200, 4000) * MS;
        traffic.talk(at, (ME, own), (&server, port), &[turn(0, size(dice, 36, 120), size(dice, 36, 6000))]);
    }
    Drawn::honest(traffic)
}

/// Programs that ask a server by name each few seconds or minutes, over new connections: news, mail, weather, builds.
fn askers(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for _ in 0..dice.between(1, 3) {
        let (server, period) = (outside(dice), dice.between(15, 300) * S);
        let (up, down) = (size(dice, 400, 900), size(dice, 700, 9000));
        let mut at = EPOCH + dice.below(period);
        for _ in 0..50 {
            resolve(&mut traffic, dice, at, ME);
            let news = if dice.chance(20) { size(dice, 1000, 60_000) } else { 0 };
            traffic.tcp(at, (ME, dice.port()), (&server, 443), &[turn(0, up, down + news)], End::Fin);
            at += period + dice.below(S);
        }
    }
    browse(&mut traffic, dice, ME, EPOCH + 3000 * S);
    Drawn::honest(traffic)
}

fn windows(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for host in 0..dice.between(2, 12) {
        let me = format!("10.1.21.{}", 100 + host);
        let mut at = EPOCH + dice.below(120 * S);
        for _ in 0..dice.between(3, 12) {
            for port in [88, 389, 445, 135, 49_668, 3268, 464] {
                if dice.chance(70) {
                    resolve(&mut traffic, dice, at, &me);
                    let turns = [turn(0, size(dice, 200, 3500), size(dice, 200, 9000))];
                    traffic.tcp(at, (&me, dice.port()), ("10.1.21.2", port), &turns, End::Fin);
                }
                traffic.datagram(at + 9 * MS, (&me, dice.port()), ("10.1.21.2", 389), 180, Some(170));
                at += dice.below(400) * MS;
            }
            traffic.datagram(at, (&me, 137), ("10.1.21.255", 137), 50, None);
            traffic.datagram(at, (&me, 138), ("10.1.21.255", 138), 201, None);
            for server in 3..dice.between(4, 6) {
                let turns = [turn(0, 1800, 1400), turn(S, size(dice, 500, 60_000), size(dice, 500, 200_000))];
                traffic.tcp(at, (&me, dice.port()), (&format!("10.1.21.{server}"), 445), &turns, End::Fin);
            }
            at += dice.between(20, 400) * S;
        }
    }
    Drawn::honest(traffic)
}

fn updates(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let mut at = EPOCH;
    for _ in 0..dice.between(20, 80) {
        resolve(&mut traffic, dice, at, ME);
        let (mirror, port) = (outside(dice), pick(dice, &[443, 80]));
        for _ in 0..dice.between(1, 8) {
            let turns = [turn(0, size(dice, 200, 700), size(dice, 200, 250_000))];
            traffic.tcp(at + dice.below(3 * S), (ME, dice.port()), (&mirror, port), &turns, End::Fin);
        }
        at += dice.between(1, 40) * S;
    }
    Drawn::honest(traffic)
}

/// A developer measures a service of theirs, and a program fills its pool.
fn load(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(20, 120));
    for number in 0..rate * 20 {
        let turns = [turn(0, size(dice, 90, 500), size(dice, 300, 9000))];
        let at = EPOCH + number * S / rate;
        traffic.tcp(
            at,
            (ME, 10_000 + u16::try_from(number % 50_000).unwrap()),
            ("10.1.21.9", 8080),
            &turns,
            End::Fin,
        );
    }
    for number in 0..dice.between(50, 300) {
        let own = 60_000 + u16::try_from(number).unwrap();
        traffic.tcp(
            EPOCH + number * MS,
            (ME, own),
            ("10.1.21.8", 5432),
            &[turn(0, 90, 420), turn(0, 70, 30)],
            End::Open,
        );
        for beat in 1..4 {
            traffic.talk(EPOCH + beat * 20 * S, (ME, own), ("10.1.21.8", 5432), &[turn(0, 30, 60)]);
        }
    }
    let frame = packet().between(ME, "10.1.21.9").icmp(8, 0).payload_bytes(56);
    traffic.put(EPOCH, &frame);
    Drawn::honest(traffic)
}
