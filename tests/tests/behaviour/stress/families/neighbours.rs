//! Honest hosts whose traffic lacks what is expected of honest hosts: names that were asked before, addresses that are
//! built in, ports of their own, timers that vary.

use monitor_tests::harness::timeline::{Dice, EPOCH, End, MS, S, Traffic, turn};

use super::{super::benign::outside, Drawn, Family, browse, family, pick, resolve, size};

const ME: &str = "192.168.33.7";

pub fn all() -> Vec<Family> {
    vec![
        family("honest, messenger with built-in addresses", messenger),
        family("honest, names that are remembered", remembered),
        family("honest, no names in the capture", nameless),
        family("honest, streaming of music and games", streaming),
        family("honest, a person's shells", shells),
        family("honest, tunnel to a provider", provider),
        family("honest, remote help", help),
        family("honest, peers over tcp and udp", peers),
        family("honest, chat of a server", chat),
    ]
}

/// One or two lasting connections to addresses that nobody resolves, a ping now and then, messages when there are some.
fn messenger(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let until = EPOCH + 3600 * S;
    for _ in 0..dice.between(1, 3) {
        let (server, own, port) = (outside(dice), dice.port(), pick(dice, &[443, 443, 80, 5222]));
        traffic.tcp(EPOCH + 9 * S, (ME, own), (&server, port), &[turn(0, 300, 400)], End::Open);
        let (period, mut at) = (dice.between(15, 70) * S, EPOCH + 10 * S);
        while at < until {
            at += period + dice.below(2 * S);
            traffic.talk(
                at,
                (ME, own),
                (&server, port),
                &[turn(0, size(dice, 80, 130), size(dice, 80, 110))],
            );
            if dice.chance(25) {
                let turns = [turn(0, 0, size(dice, 100, 3000)), turn(40 * MS, size(dice, 80, 120), 0)];
                traffic.talk(at + dice.below(period / 2), (ME, own), (&server, port), &turns);
            }
            if dice.chance(8) {
                let turns = [turn(0, size(dice, 400, 60_000), size(dice, 300, 90_000))];
                traffic.tcp(at + 3 * S, (ME, dice.port()), (&server, port), &turns, End::Fin);
            }
        }
    }
    browse(&mut traffic, dice, ME, until);
    Drawn::honest(traffic)
}

/// Agents, mail and news whose names were resolved before the capture and stay known for long.
fn remembered(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let until = EPOCH + dice.between(1200, 5400) * S;
    for _ in 0..dice.between(2, 6) {
        let (server, port) = (outside(dice), pick(dice, &[443, 443, 443, 993, 80]));
        let (period, mut at) = (dice.between(60, 600) * S, EPOCH + dice.below(60 * S));
        let (up, down) = (size(dice, 300, 1500), size(dice, 600, 9000));
        let (jitter, lifetime) = (pick(dice, &[0, 1, 10, 30]), dice.between(60, 1800) * S);
        let mut asked = at;
        while at < until {
            if at >= asked + lifetime {
                resolve(&mut traffic, dice, at, ME);
                asked = at;
            }
            let news = if dice.chance(15) { size(dice, 1000, 60_000) } else { 0 };
            traffic.tcp(at, (ME, dice.port()), (&server, port), &[turn(0, up, down + news)], End::Fin);
            at += dice.about(period, jitter);
        }
    }
    let mut at = EPOCH;
    while at < until {
        resolve(&mut traffic, dice, at, ME);
        traffic.tcp(at, (ME, dice.port()), (&outside(dice), 443), &[turn(0, 600, 9000)], End::Fin);
        at += dice.between(60, 400) * S;
    }
    Drawn::honest(traffic)
}

/// Names are asked over another way, or the capture leaves them out: nothing follows from what is not there.
fn nameless(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let until = EPOCH + 2400 * S;
    for _ in 0..dice.between(2, 5) {
        let (server, period) = (outside(dice), dice.between(30, 300) * S);
        let (up, down) = (size(dice, 300, 900), size(dice, 500, 5000));
        let mut at = EPOCH + dice.below(period);
        while at < until {
            traffic.tcp(
                at,
                (ME, dice.port()),
                (&server, 443),
                &[turn(0, up + size(dice, 0, 8), down)],
                End::Fin,
            );
            at += dice.about(period, 2);
        }
    }
    let mut at = EPOCH;
    while at < until {
        let turns = [turn(0, size(dice, 300, 900), size(dice, 500, 90_000))];
        traffic.tcp(at, (ME, dice.port()), (&outside(dice), 443), &turns, End::Fin);
        at += dice.between(1, 40) * S;
    }
    Drawn::honest(traffic)
}

fn streaming(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own, port) = (outside(dice), dice.port(), pick(dice, &[4070, 27_021, 27_036, 1935, 443]));
    resolve(&mut traffic, dice, EPOCH + S, ME);
    traffic.tcp(EPOCH + S, (ME, own), (&server, port), &[turn(0, 900, 3000)], End::Open);
    let (period, (up, down)) = (dice.between(10, 60) * S, (size(dice, 5, 90), size(dice, 5, 90)));
    for beat in 1..100 {
        let at = EPOCH + S + beat * period + dice.below(S / 5);
        traffic.talk(at, (ME, own), (&server, port), &[turn(0, up, down)]);
        if dice.chance(20) {
            let turns = [turn(0, size(dice, 100, 900), size(dice, 20_000, 900_000))];
            traffic.talk(at + 4 * S, (ME, own), (&server, port), &turns);
        }
    }
    browse(&mut traffic, dice, ME, EPOCH + 40 * period);
    Drawn::honest(traffic)
}

/// An administrator works on a few hosts, comes back, copies files.
fn shells(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let mut at = EPOCH;
    for _ in 0..dice.between(4, 12) {
        let to = format!("192.168.36.{}", dice.between(1, 7));
        let mut turns = vec![turn(0, 1500, 2400)];
        for _ in 0..dice.between(5, 40) {
            turns.push(turn(dice.below(6 * S), size(dice, 36, 300), size(dice, 36, 6000)));
        }
        traffic.tcp(at, (ME, dice.port()), (&to, 22), &turns, End::Fin);
        at += dice.between(10, 120) * S;
    }
    Drawn::honest(traffic)
}

fn provider(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own) = (outside(dice), dice.port());
    let port = pick(dice, &[51_820, 1194, 4500, 41_641, 500]);
    let period = pick(dice, &[10, 15, 20, 25]) * S;
    if matches!(port, 51_820 | 41_641) {
        for (from, to, kind, bytes) in
            [((ME, own), (&*server, port), 1, 148), ((&*server, port), (ME, own), 2, 92)]
        {
            let mut data = vec![7; bytes];
            data[..4].copy_from_slice(&[kind, 0, 0, 0]);
            let frame = monitor_tests::harness::packet::packet().between(from.0, to.0).udp(from.1, to.1);
            traffic.put(EPOCH - S + u64::from(kind) * MS, &frame.payload(&data));
        }
    }
    for beat in 0..120 {
        let at = EPOCH + beat * period + dice.below(S / 20);
        traffic.datagram(at, (ME, own), (&server, port), 32, dice.chance(50).then_some(32));
        if dice.chance(20) {
            for packet in 0..dice.between(3, 80) {
                let (up, down) = (size(dice, 80, 1400), size(dice, 80, 1400));
                traffic.datagram(at + packet * 20 * MS, (ME, own), (&server, port), up, Some(down));
            }
        }
    }
    browse(&mut traffic, dice, ME, EPOCH + 1200 * S);
    Drawn::honest(traffic)
}

/// A program for remote help keeps in touch with its maker, from a list of addresses or by name.
fn help(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own, port) = (outside(dice), dice.port(), pick(dice, &[5938, 443, 80]));
    resolve(&mut traffic, dice, EPOCH + 2 * S, ME);
    traffic.tcp(EPOCH + 2 * S, (ME, own), (&server, port), &[turn(0, 500, 700)], End::Open);
    let period = dice.between(15, 60) * S;
    for beat in 1..100 {
        let at = EPOCH + beat * period + dice.below(S / 4);
        let turns = if dice.chance(50) { [turn(0, 24, 24)] } else { [turn(0, 0, 24)] };
        traffic.talk(at, (ME, own), (&server, port), &turns);
    }
    browse(&mut traffic, dice, ME, EPOCH + 30 * period);
    Drawn::honest(traffic)
}

/// Peers that are met again and again, over both protocols, most of them there.
fn peers(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let all: Vec<(String, u16)> = (0..dice.between(8, 40))
        .map(|_| (outside(dice), pick(dice, &[6881, 8333, 30_303, 4001, 26_656, 51_413])))
        .collect();
    let until = EPOCH + 2400 * S;
    let mut at = EPOCH;
    for (peer, port) in &all {
        if dice.chance(60) {
            let own = dice.port();
            let begins = EPOCH + dice.below(300 * S);
            traffic.tcp(begins, (ME, own), (peer, *port), &[turn(0, 120, 150)], End::Open);
            let period = dice.between(20, 130) * S;
            let mut now = begins;
            while now < until {
                now += dice.about(period, 30);
                traffic.talk(
                    now,
                    (ME, own),
                    (peer, *port),
                    &[turn(0, size(dice, 4, 900), size(dice, 4, 4000))],
                );
            }
        }
    }
    while at < until {
        at += dice.below(6 * S);
        let (peer, port) = &all[usize::try_from(dice.below(all.len() as u64)).unwrap()];
        match dice.below(10) {
            0 => traffic.unanswered(at, (ME, dice.port()), (peer, *port), 2),
            1..=3 => {
                let turns = [turn(0, 68, 68), turn(S, size(dice, 20, 400), size(dice, 20, 40_000))];
                traffic.tcp(at, (ME, dice.port()), (peer, *port), &turns, End::Fin);
            }
            _ => traffic.datagram(
                at,
                (ME, *port),
                (peer, *port),
                size(dice, 90, 140),
                dice.chance(80).then_some(200),
            ),
        }
    }
    for _ in 0..20 {
        let then = EPOCH + dice.below(2400 * S);
        resolve(&mut traffic, dice, then, ME);
    }
    Drawn::honest(traffic)
}

/// A client of a chat or a game server on a port of its own: pings of both ends, lines of people.
fn chat(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (server, own, port) =
        (outside(dice), dice.port(), pick(dice, &[6667, 6697, 25_565, 9339, 64_738, 1119]));
    resolve(&mut traffic, dice, EPOCH + S, ME);
    traffic.tcp(EPOCH + S, (ME, own), (&server, port), &[turn(0, 200, 4000)], End::Open);
    let period = dice.between(15, 90) * S;
    for beat in 1..80 {
        let at = EPOCH + beat * period + dice.below(S / 2);
        traffic.talk(at, (ME, own), (&server, port), &[turn(0, 0, 26), turn(MS, 26, 0)]);
        for _ in 0..dice.below(4) {
            let turns = if dice.chance(20) {
                [turn(0, size(dice, 30, 200), 0)]
            } else {
                [turn(0, 0, size(dice, 40, 300))]
            };
            traffic.talk(at + dice.below(period), (ME, own), (&server, port), &turns);
        }
    }
    browse(&mut traffic, dice, ME, EPOCH + 30 * period);
    Drawn::honest(traffic)
}
