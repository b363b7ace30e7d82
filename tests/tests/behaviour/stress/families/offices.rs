//! Honest networks: what servers, monitoring, files, phones, cameras and fifty desks do, where they look like movement or
//! like calls home.

use monitor_tests::harness::timeline::{Dice, EPOCH, End, MS, S, Traffic, turn};

use super::{super::benign::outside, Drawn, Family, browse, family, pick, resolve, size};

const ME: &str = "192.168.33.7";

pub fn all() -> Vec<Family> {
    vec![
        family("honest, replicas and subscribers", replicas),
        family("honest, logs to an outside collector", collector),
        family("honest, checks of many hosts", checks),
        family("honest, management of a domain", management),
        family("honest, cameras and a recorder", cameras),
        family("honest, files of a team", files),
        family("honest, phones and calls", phones),
        family("honest, robots that fetch pages", crawler),
        family("honest, an office of fifty", office),
    ]
}

/// Replicas, subscribers and workers keep lasting connections inside, and across sites by address.
fn replicas(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for one in 0..dice.between(1, 6) {
        let to = if dice.chance(70) {
            format!("192.168.33.{}", 20 + one)
        } else {
            format!("10.80.0.{}", 20 + one)
        };
        let (port, own) =
            (pick(dice, &[3306, 6379, 5432, 9092, 5672, 4222, 2379, 27_017, 11_211, 9300]), dice.port());
        traffic.tcp(EPOCH, (ME, own), (&to, port), &[turn(0, 300, 500)], End::Open);
        let (period, (up, down)) = (dice.between(1, 30) * S, (size(dice, 14, 120), size(dice, 7, 60)));
        for beat in 1..150 {
            let at = EPOCH + beat * period + dice.below(S / 10);
            let turns =
                if dice.chance(20) { [turn(0, 0, size(dice, 100, 30_000))] } else { [turn(0, up, down)] };
            traffic.talk(at, (ME, own), (&to, port), &turns);
        }
    }
    Drawn::honest(traffic)
}

/// Logs and metrics go to a collector of another site, by name or by a configured address, batch after batch.
fn collector(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own, port) =
        (outside(dice), dice.port(), pick(dice, &[5044, 443, 8086, 4317, 9997, 10_051]));
    resolve(&mut traffic, dice, EPOCH, ME);
    let period = pick(dice, &[5, 10, 15, 30, 60]) * S;
    let lasting = dice.chance(60);
    if lasting {
        traffic.tcp(EPOCH + 30 * MS, (ME, own), (&server, port), &[turn(0, 700, 3000)], End::Open);
    }
    for beat in 1..150 {
        let at = EPOCH + beat * period + dice.below(100 * MS);
        let turns = [turn(0, size(dice, 400, 9000), size(dice, 6, 12))];
        if lasting {
            traffic.talk(at, (ME, own), (&server, port), &turns);
        } else {
            if beat % 4 == 0 {
                resolve(&mut traffic, dice, at, ME);
            }
            traffic.tcp(at, (ME, dice.port()), (&server, port), &turns, End::Fin);
        }
    }
    browse(&mut traffic, dice, ME, EPOCH + 150 * period / 3);
    Drawn::honest(traffic)
}

/// Monitoring asks each service of each host in turn: ping, SSH banner, web, SMB, remote desktop, database.
fn checks(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (hosts, period) = (dice.between(5, 40), dice.between(30, 300) * S);
    for round in 0..10 {
        for host in 0..hosts {
            let to = format!("192.168.34.{}", host + 1);
            let at = EPOCH + round * period + host * dice.between(100, 700) * MS;
            let is_away = host % 13 == 12;
            traffic.ping(at, ME, &to, 56, !is_away);
            for port in [22, 80, 445, 3389, 5432, 5666] {
                if is_away {
                    traffic.unanswered(at, (ME, dice.port()), (&to, port), 1);
                } else if (host + u64::from(port)) % 3 != 0 {
                    let turns = [turn(0, size(dice, 20, 300), size(dice, 20, 500))];
                    traffic.tcp(at, (ME, dice.port()), (&to, port), &turns, End::Fin);
                }
            }
        }
    }
    Drawn::honest(traffic)
}

/// A management server asks its machines over RPC and SMB for their state, and sends some of them an update.
fn management(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let me = "192.168.33.4";
    let mut at = EPOCH;
    for _ in 0..dice.between(2, 5) {
        let host = format!("192.168.35.{}", dice.between(1, 4));
        traffic.tcp(at, (me, dice.port()), (&host, 135), &[turn(0, 500, 400)], End::Fin);
        let turns = [turn(0, size(dice, 1500, 5000), size(dice, 3000, 60_000))];
        traffic.tcp(at + S, (me, dice.port()), (&host, 49_670), &turns, End::Fin);
        if dice.chance(40) {
            let turns = [turn(0, 1500, 1200), turn(MS, size(dice, 500, 20_000), 300)];
            traffic.tcp(at + 2 * S, (me, dice.port()), (&host, 445), &turns, End::Fin);
        }
        at += dice.between(60, 600) * S;
    }
    // Clients print over RPC, and find their files on two servers.
    for client in 0..10 {
        let me = format!("192.168.33.{}", 100 + client);
        for server in ["192.168.33.5", "192.168.33.6"] {
            for port in [445, 135, 49_680] {
                let turns = [turn(0, size(dice, 800, 9000), size(dice, 800, 90_000))];
                traffic.tcp(at + dice.below(200 * S), (&me, dice.port()), (server, port), &turns, End::Fin);
            }
        }
    }
    Drawn::honest(traffic)
}

fn cameras(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for camera in 0..dice.between(1, 4) {
        let (to, own) = (format!("192.168.33.{}", 50 + camera), dice.port());
        traffic.tcp(EPOCH, (ME, own), (&to, 554), &[turn(0, 900, 1500)], End::Open);
        for beat in 1..40 {
            traffic.talk(EPOCH + beat * 25 * S, (ME, own), (&to, 554), &[turn(0, 130, 90)]);
        }
        for number in 0..3000 {
            let frame = monitor_tests::harness::packet::packet().between(&to, ME).udp(5004, 40_000);
            traffic.put(EPOCH + 2 * S + number * 30 * MS, &frame.payload_bytes(size(dice, 400, 1400)));
        }
        // The camera tells its maker where it is.
        let (cloud, period, port) =
            (outside(dice), dice.between(20, 60) * S, pick(dice, &[8800, 32_100, 10_001]));
        for beat in 0..60 {
            let at = EPOCH + beat * period + dice.below(S / 5);
            traffic.datagram(at, (&to, 12_345), (&cloud, port), 48, dice.chance(90).then_some(48));
        }
    }
    Drawn::honest(traffic)
}

/// A team's files: large ones are written to the server's share, and read.
fn files(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    for client in 0..dice.between(1, 8) {
        let (me, own) = (format!("192.168.33.{}", 100 + client), dice.port());
        let mut turns = vec![turn(0, 1600, 1900)];
        for _ in 0..dice.between(10, 40) {
            let write = dice.chance(30);
            let (up, down) =
                if write { (size(dice, 2000, 200_000), 200) } else { (300, size(dice, 200, 60_000)) };
            turns.push(turn(dice.below(10 * S), up, down));
        }
        traffic.tcp(EPOCH + dice.below(60 * S), (&me, own), ("192.168.33.5", 445), &turns, End::Fin);
        for port in [88, 389, 135, 49_667] {
            let turns = [turn(0, size(dice, 300, 2500), size(dice, 300, 3000))];
            traffic.tcp(
                EPOCH + dice.below(60 * S),
                (&me, dice.port()),
                ("192.168.33.2", port),
                &turns,
                End::Fin,
            );
        }
    }
    Drawn::honest(traffic)
}

fn phones(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let server = if dice.chance(50) { outside(dice) } else { "192.168.33.9".to_owned() };
    for phone in 0..dice.between(1, 30) {
        let me = format!("192.168.37.{}", phone + 1);
        let period = dice.between(20, 120) * S;
        for beat in 0..40 {
            let at = EPOCH + beat * period + dice.below(S);
            traffic.datagram(at, (&me, 5060), (&server, 5060), size(dice, 500, 520), Some(420));
            traffic.datagram(at + 20 * MS, (&me, 5060), (&server, 5060), size(dice, 700, 720), Some(500));
        }
        if dice.chance(30) {
            for number in 0..1500 {
                let at = EPOCH + 60 * S + number * 20 * MS;
                traffic.datagram(
                    at,
                    (&me, 16_384),
                    (&server, 10_000 + u16::try_from(phone).unwrap() * 2),
                    172,
                    Some(172),
                );
            }
        }
    }
    Drawn::honest(traffic)
}

fn crawler(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let mut at = EPOCH;
    let site = outside(dice);
    for _ in 0..dice.between(200, 500) {
        if dice.chance(10) {
            resolve(&mut traffic, dice, at, ME);
        }
        let other = outside(dice);
        let to = if dice.chance(60) { &site } else { &other };
        let turns = [turn(0, size(dice, 150, 260), size(dice, 2000, 60_000))];
        if dice.below(20) == 0 {
            traffic.unanswered(at, (ME, dice.port()), (to, 443), 3);
        } else {
            traffic.tcp(at, (ME, dice.port()), (to, 443), &turns, End::Fin);
        }
        at += dice.between(50, 3000) * MS;
    }
    Drawn::honest(traffic)
}

/// Fifty hosts for forty minutes, each with agents of its own.
fn office(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let until = EPOCH + 2400 * S;
    for host in 0..50 {
        let me = format!("10.9.15.{}", 20 + host);
        if dice.chance(40) {
            browse(&mut traffic, dice, &me, EPOCH + 700 * S);
        }
        for _ in 0..dice.between(1, 3) {
            let server = outside(dice);
            let (period, mut at) = (dice.between(30, 400) * S, EPOCH + dice.below(200 * S));
            let (up, down) = (size(dice, 300, 900), size(dice, 900, 5000));
            let jitter = pick(dice, &[0, 0, 0, 1, 5, 20]);
            while at < until {
                if dice.chance(50) {
                    resolve(&mut traffic, dice, at, &me);
                }
                let news = size(dice, 0, 200);
                traffic.tcp(at, (&me, dice.port()), (&server, 443), &[turn(0, up, down + news)], End::Fin);
                at += dice.about(period, jitter);
            }
        }
    }
    Drawn::honest(traffic)
}
