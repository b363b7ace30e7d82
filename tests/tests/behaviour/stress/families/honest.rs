//! Honest programs that do what each attack does, for another reason.

use monitor_tests::harness::{
    packet::packet,
    timeline::{Dice, EPOCH, End, MS, S, Traffic, turn},
};

use super::{super::benign::outside, Drawn, Family, browse, family, pick, resolve, size};

const ME: &str = "192.168.1.30";

pub fn all() -> Vec<Family> {
    vec![
        family("honest, agent of a vendor", agent),
        family("honest, monitoring of one target", monitoring),
        family("honest, hub of small devices", hub),
        family("honest, push and chat", push),
        family("honest, consensus and gossip", consensus),
        family("honest, backup over smb", backup),
        family("honest, automation over ssh", automation),
        family("honest, domain client", domain_client),
        family("honest, mail server", mail_server),
        family("honest, application and database", application),
        family("honest, no way out", no_way_out),
        family("honest, files over udp", files_over_udp),
        family("honest, names and their resolver", names),
        family("honest, sip phones", phones),
        family("honest, games and calls", games),
        family("honest, a screen and its controller", control),
    ]
}

fn agent(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let until = EPOCH + 5400 * S;
    for _ in 0..dice.between(1, 3) {
        let (server, period) = (outside(dice), dice.between(60, 600) * S);
        let (up, down) = (size(dice, 300, 900), size(dice, 900, 6000));
        let mut at = EPOCH + dice.below(period);
        while at < until {
            if dice.chance(70) {
                resolve(&mut traffic, dice, at, ME);
            }
            let turns = [turn(0, up, down)];
            traffic.tcp(at + dice.below(30 * MS), (ME, dice.port()), (&server, 443), &turns, End::Fin);
            at += period;
        }
    }
    browse(&mut traffic, dice, ME, until);
    Drawn::honest(traffic)
}

fn monitoring(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (port, period) = (pick(dice, &[8080, 9100, 10_051, 8500, 443]), dice.between(5, 60) * S);
    let (up, down) = (dice.between(80, 600), dice.between(120, 40_000));
    for beat in 0..120 {
        let turns = [turn(0, size(dice, up, up + 3), size(dice, down, down + down / 20))];
        let at = EPOCH + beat * period + dice.below(20 * MS);
        traffic.tcp(at, (ME, dice.port()), ("192.168.1.8", port), &turns, End::Fin);
    }
    Drawn::honest(traffic)
}

/// A hub keeps one connection to its cloud, and asks its devices.
fn hub(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (cloud, own, port) = (outside(dice), dice.port(), pick(dice, &[8883, 1883, 443, 5223]));
    resolve(&mut traffic, dice, EPOCH, ME);
    traffic.tcp(EPOCH, (ME, own), (&cloud, port), &[turn(0, 700, 4000)], End::Open);
    let period = dice.between(20, 60) * S;
    for beat in 1..120 {
        traffic.talk(
            EPOCH + beat * period,
            (ME, own),
            (&cloud, port),
            &[turn(0, size(dice, 30, 60), size(dice, 30, 60))],
        );
        for device in 0..3 {
            let at = EPOCH + beat * period + device * S + dice.below(300 * MS);
            let to = format!("192.168.1.{}", 100 + device);
            let (up, down) = (size(dice, 60, 90), size(dice, 90, 140));
            traffic.datagram(at, (ME, dice.port()), (&to, 9999), up, Some(down));
        }
    }
    Drawn::honest(traffic)
}

fn push(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own, port) = (outside(dice), dice.port(), pick(dice, &[443, 5222, 5223, 5228]));
    resolve(&mut traffic, dice, EPOCH, ME);
    traffic.tcp(EPOCH, (ME, own), (&server, port), &[turn(0, 900, 4500)], End::Open);
    let period = dice.between(25, 240) * S;
    for beat in 1..60 {
        let at = EPOCH + beat * period + dice.below(S);
        traffic.talk(at, (ME, own), (&server, port), &[turn(0, size(dice, 30, 60), size(dice, 30, 60))]);
        if dice.chance(30) {
            let news = size(dice, 60, 4000);
            traffic.talk(
                at + 3 * S + dice.below(period / 2),
                (ME, own),
                (&server, port),
                &[turn(0, 0, news)],
            );
        }
    }
    browse(&mut traffic, dice, ME, EPOCH + 60 * period);
    Drawn::honest(traffic)
}

/// Members of a cluster send each other heartbeats over connections that stay, and probe each other over UDP.
fn consensus(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (port, period) = (pick(dice, &[2380, 8300, 7000]), dice.between(1, 10) * S);
    for member in 1..5 {
        let (to, own) = (format!("192.168.1.{}", 30 + member), dice.port());
        traffic.tcp(EPOCH, (ME, own), (&to, port), &[turn(0, 300, 300)], End::Open);
        for beat in 1..200 {
            traffic.talk(EPOCH + beat * period, (ME, own), (&to, port), &[turn(0, 150, 90)]);
            let at = EPOCH + beat * period + dice.below(period);
            traffic.datagram(at, (ME, 7946), (&to, 7946), size(dice, 40, 90), Some(40));
        }
    }
    Drawn::honest(traffic)
}

fn backup(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (hosts, gap) = (dice.between(8, 15), dice.between(20, 45) * S);
    for host in 0..hosts {
        let turns = [turn(0, 2500, size(dice, 1_500_000, 4_000_000))];
        let at = EPOCH + host * gap;
        traffic.tcp(at, (ME, dice.port()), (&format!("192.168.2.{}", host + 20), 445), &turns, End::Fin);
    }
    Drawn::honest(traffic)
}

fn automation(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (hosts, forks) = (dice.between(12, 40), dice.between(4, 10));
    for host in 0..hosts {
        for task in 0..dice.between(4, 9) {
            let at = EPOCH + host / forks * 25 * S + task * 3 * S + dice.below(400) * MS;
            let turns = [
                turn(0, 1500, 2500),
                turn(50 * MS, 800, 700),
                turn(200 * MS, size(dice, 2000, 60_000), 3000),
            ];
            traffic.tcp(at, (ME, dice.port()), (&format!("192.168.2.{}", host + 20), 22), &turns, End::Fin);
        }
    }
    Drawn::honest(traffic)
}

fn domain_client(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for round in 0..6 {
        for dc in ["192.168.1.2", "192.168.1.3"] {
            let at = EPOCH + round * 600 * S + dice.below(30 * S);
            for (step, port) in [88u16, 389, 135, 49_670, 445].into_iter().enumerate() {
                let turns = [turn(0, size(dice, 300, 3000), size(dice, 300, 6000))];
                let at = at + u64::try_from(step).unwrap() * S / 4;
                traffic.tcp(at, (ME, dice.port()), (dc, port), &turns, End::Fin);
            }
        }
        let at = EPOCH + round * 600 * S + 60 * S;
        let turns = [turn(0, 2500, 900), turn(S, size(dice, 2000, 90_000), 1200)];
        traffic.tcp(at, (ME, dice.port()), ("192.168.1.9", 445), &turns, End::Fin);
    }
    Drawn::honest(traffic)
}

fn mail_server(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let mut at = EPOCH;
    for _ in 0..300 {
        at += dice.below(6 * S);
        let (other, bytes) = (outside(dice), size(dice, 1500, 60_000));
        if dice.chance(60) {
            traffic.tcp(at, (&other, dice.port()), (ME, 25), &[turn(0, bytes, 600)], End::Fin);
        } else {
            resolve(&mut traffic, dice, at, ME);
            traffic.tcp(at, (ME, dice.port()), (&other, 25), &[turn(0, bytes, 600)], End::Fin);
        }
    }
    Drawn::honest(traffic)
}

/// An application opens a connection per request to its database, and another to an interface over HTTP.
fn application(dice: &mut Dice) -> Drawn {
    let (mut traffic, mut at) = (Traffic::default(), EPOCH);
    for _ in 0..600 {
        at += dice.below(3 * S);
        let turns = [turn(0, size(dice, 200, 2500), size(dice, 200, 9000))];
        let to = if dice.chance(50) { ("192.168.1.20", 5432) } else { ("192.168.1.21", 8080) };
        traffic.tcp(at, (ME, dice.port()), to, &turns, End::Fin);
    }
    Drawn::honest(traffic)
}

fn no_way_out(dice: &mut Dice) -> Drawn {
    let (mut traffic, mut at) = (Traffic::default(), EPOCH);
    let sites: Vec<String> = (0..dice.between(8, 40)).map(|_| outside(dice)).collect();
    for site in &sites {
        at += dice.between(2, 15) * S;
        traffic.unanswered(at, (ME, dice.port()), (site, pick(dice, &[443, 443, 80])), 3);
    }
    Drawn::honest(traffic)
}

fn files_over_udp(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(200, 600));
    for number in 0..rate * 6 {
        let at = EPOCH + number * S / rate;
        let server = "192.168.1.10";
        traffic.datagram(at, (ME, 800), (server, 2049), 140, Some(1472));
        for piece in 1..6 {
            let frame = packet().between(server, ME).protocol(17).payload_bytes(1480);
            traffic.put(at + 13 * MS, &frame.fragment(1480 * piece, piece < 5));
        }
    }
    Drawn::honest(traffic)
}

fn names(dice: &mut Dice) -> Drawn {
    let (mut traffic, mut at) = (Traffic::default(), EPOCH);
    for _ in 0..2000 {
        at += dice.below(600) * MS;
        let up = if dice.chance(3) { size(dice, 70, 105) } else { size(dice, 28, 60) };
        traffic.datagram(at, (ME, dice.port()), ("192.168.1.53", 53), up, Some(size(dice, 50, 400)));
    }
    Drawn::honest(traffic)
}

fn phones(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for phone in 0..4 {
        let (me, period) = (format!("192.168.1.{}", 60 + phone), dice.between(20, 60) * S);
        for beat in 0..80 {
            let at = EPOCH + beat * period + dice.below(S);
            traffic.datagram(at, (&me, 5060), ("192.168.1.70", 5060), 600, Some(500));
        }
    }
    Drawn::honest(traffic)
}

fn games(dice: &mut Dice) -> Drawn {
    let (mut traffic, server) = (Traffic::default(), outside(dice));
    let port = u16::try_from(dice.between(7000, 30_000)).unwrap();
    let own = dice.port();
    resolve(&mut traffic, dice, EPOCH, ME);
    for tick in 0..4000 {
        let at = EPOCH + tick * 33 * MS;
        traffic.datagram(at, (ME, own), (&server, port), size(dice, 40, 120), Some(size(dice, 60, 500)));
    }
    Drawn::honest(traffic)
}

/// A screen and a controller, or two peers of a session, that keep in touch over one connection: whose timer runs out
/// first speaks, and both timers begin anew. Neither, one or both of them are inside.
fn control(dice: &mut Dice) -> Drawn {
    let (mut traffic, own) = (Traffic::default(), dice.port());
    let (screen, controller) = match dice.below(3) {
        0 => (outside(dice), outside(dice)),
        1 => (ME.to_owned(), outside(dice)),
        _ => (ME.to_owned(), "192.168.7.9".to_owned()),
    };
    let port = pick(dice, &[2010, 502, 2404, 20_000, 44_818, 179, 4840]);
    let (from, to) = (dice.between(5, 20), dice.between(0, 10));
    let (up, down) = (size(dice, 19, 400), size(dice, 19, 400));
    let (client, server) = ((screen.as_str(), own), (controller.as_str(), port));
    let mut at = EPOCH;
    for _ in 0..dice.between(100, 400) {
        at += from * S + dice.below(to * S + 1) + dice.below(S / 4);
        let turns = if dice.chance(50) { [turn(0, up, 0)] } else { [turn(0, 0, down)] };
        traffic.talk(at, client, server, &turns);
    }
    Drawn::honest(traffic)
}
