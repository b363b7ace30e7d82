//! Guessing where the port does not say what the service is, and guesses that are few, many at a time, or within one
//! conversation.

use monitor_tests::harness::timeline::{Dice, End, MS, S, Traffic, Turn, turn};

use super::{BEGIN, Drawn, Family, family, pick, size};

const GUESSING: &[&str] = &["brute_force"];
const VICTIM: &str = "192.168.7.20";

pub fn all() -> Vec<Family> {
    vec![
        family("logins, ssh on a port of its own", ssh),
        family("logins, remote desktop on a port of its own", desktop),
        family("logins, a broker on a port of its own", broker),
        family("logins, a page of the web", form),
        family("logins, a directory", directory),
        family("logins, management over http", management),
        family("logins, several guessers at once", several),
        family("logins, registrations of a phone", registrations),
        family("honest, shells on a port of their own", honest_ssh),
        family("honest, sensors on a port of their own", honest_broker),
    ]
}

fn from(dice: &mut Dice) -> &'static str {
    pick(dice, &["198.51.100.77", "192.168.7.66", "fd00:7::66"])
}

fn victim(me: &str) -> &'static str {
    if me.contains(':') { "fd00:7::20" } else { VICTIM }
}

/// One conversation as both ends say it, with the rest of it in sizes.
fn dialogue(
    traffic: &mut Traffic,
    at: u64,
    me: (&str, u16),
    to: (&str, u16),
    first: &[(bool, Vec<u8>)],
    then: &[Turn],
    end: End,
) {
    traffic.tcp(at, me, to, &[], End::Open);
    let mut now = at + 20 * MS;
    for (up, bytes) in first {
        let (one, other) = if *up { (me, to) } else { (to, me) };
        traffic.said(now, one, other, bytes);
        now += 12 * MS;
    }
    now = traffic.talk(now, me, to, then);
    if end == End::Fin {
        traffic.segment(now, me, to, 0x11, 0);
        traffic.segment(now + MS, to, me, 0x11, 0);
        traffic.segment(now + 2 * MS, me, to, 0x10, 0);
    }
}

fn banners() -> Vec<(bool, Vec<u8>)> {
    vec![(false, b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), (true, b"SSH-2.0-libssh_0.10\r\n".to_vec())]
}

fn ssh(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let (port, gap) = (pick(dice, &[902, 2200, 22_022, 8022, 50_022]), dice.between(1, 12) * S);
    let mut at = BEGIN;
    for _ in 0..dice.between(45, 80) {
        let tries: Vec<_> = (0..dice.between(1, 3)).map(|_| turn(2 * S, size(dice, 64, 148), 80)).collect();
        let mut turns = vec![turn(0, 1100, 1500), turn(MS, 80, 600)];
        turns.extend(tries);
        dialogue(&mut traffic, at, (me, dice.port()), (victim(me), port), &banners(), &turns, End::Fin);
        at += dice.below(2 * gap) + 100 * MS;
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn desktop(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let (port, gap) = (pick(dice, &[3390, 33_890, 13_389, 4489]), dice.between(1, 8) * S);
    let hello = vec![
        (true, b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0".to_vec()),
        (false, b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x1f\x08\0\x02\0\0\0".to_vec()),
    ];
    let mut at = BEGIN;
    for _ in 0..dice.between(45, 90) {
        let turns =
            [turn(0, 230, 1200), turn(MS, size(dice, 420, 460), 200), turn(MS, size(dice, 500, 560), 90)];
        dialogue(&mut traffic, at, (me, dice.port()), (victim(me), port), &hello, &turns, End::Fin);
        at += dice.below(2 * gap) + 50 * MS;
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn connect(dice: &mut Dice) -> Vec<u8> {
    let mut connect = b"\x10\x1a\0\x04MQTT\x04\xc2\0\x3c\0\x04abcd\0\x05admin\0\x08".to_vec();
    connect.resize(connect.len() + size(dice, 4, 14), b'p');
    connect
}

fn broker(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let (port, gap) = (pick(dice, &[1883, 1884, 11_883, 2883]), dice.between(5, 800) * MS);
    let mut at = BEGIN;
    for _ in 0..dice.between(220, 500) {
        let first = [(true, connect(dice)), (false, vec![0x20, 2, 0, 5])];
        dialogue(&mut traffic, at, (me, dice.port()), (victim(me), port), &first, &[], End::Fin);
        at += dice.below(2 * gap) + 5 * MS;
    }
    Drawn::attack(me, GUESSING, traffic)
}

/// A form is sent again and again; the refusal carries a token of another length now and then, and some clients keep
/// their connection for several tries.
fn form(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let (port, gap) = (pick(dice, &[80, 443, 8000, 5000, 3000]), dice.between(20, 1500) * MS);
    let (ask, refusal, fetches) = (dice.between(250, 700), dice.between(200, 6000), dice.chance(40));
    let (each, tasks) = (pick(dice, &[1, 1, 1, 5]), dice.between(1, 16));
    let mut at = BEGIN;
    for number in 0..dice.between(150, 300) {
        let mut turns = Vec::new();
        if fetches {
            turns.push(turn(0, size(dice, 140, 141), size(dice, refusal, refusal + 3)));
        }
        for _ in 0..each {
            turns.push(turn(MS, size(dice, ask, ask + 12), size(dice, refusal, refusal + 6)));
        }
        traffic.tcp(at, (me, dice.port()), (victim(me), port), &turns, End::Fin);
        if number % tasks == 0 {
            at += dice.below(2 * gap) * tasks;
        }
        at += dice.below(3 * MS);
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn directory(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let gap = dice.between(20, 900) * MS;
    let one_by_one = dice.chance(70);
    let mut at = BEGIN;
    for _ in 0..dice.between(220, 400) {
        let turns = [turn(0, size(dice, 40, 58), 102)];
        let turns: Vec<_> = if one_by_one { turns.to_vec() } else { [turns[0], turn(0, 7, 0)].to_vec() };
        traffic.tcp(at, (me, dice.port()), (victim(me), 389), &turns, End::Fin);
        at += dice.below(2 * gap) + 2 * MS;
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn management(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let (port, gap) = (pick(dice, &[5985, 5985, 47_001]), dice.between(100, 3000) * MS);
    let many = if port == 5985 { dice.between(40, 90) } else { dice.between(130, 200) };
    let mut at = BEGIN;
    for _ in 0..many {
        let turns = [turn(0, 420, 350), turn(MS, size(dice, 900, 980), 350)];
        traffic.tcp(at, (me, dice.port()), (victim(me), port), &turns, End::Fin);
        at += dice.below(2 * gap) + 5 * MS;
    }
    Drawn::attack(me, GUESSING, traffic)
}

/// Each of several sources makes its share, and one of them is asked for.
fn several(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let mut at = BEGIN;
    let many = dice.between(2, 5);
    for number in 0..many * 50 {
        let me = format!("198.51.100.{}", 20 + number % many);
        let turns = [turn(0, size(dice, 1300, 1340), size(dice, 1800, 1900)), turn(2 * S, 100, 80)];
        traffic.tcp(at, (&me, dice.port()), (VICTIM, 22), &turns, End::Fin);
        at += dice.between(200, 5000) * MS;
    }
    let mut drawn = Drawn::attack("198.51.100.20", GUESSING, traffic);
    drawn.others = (1..many).map(|number| format!("198.51.100.{}", 20 + number)).collect();
    drawn
}

fn registrations(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let gap = dice.between(10, 900) * MS;
    for number in 0..dice.between(260, 500) {
        let (ask, refusal) = if number % 2 == 0 { (350, 480) } else { (560, 420) };
        let at = BEGIN + number * gap;
        traffic.datagram(at, (me, dice.port()), (victim(me), 5060), size(dice, ask, ask + 9), Some(refusal));
    }
    Drawn::attack(me, GUESSING, traffic)
}

fn honest_ssh(dice: &mut Dice) -> Drawn {
    let (mut traffic, me) = (Traffic::default(), from(dice));
    let port = pick(dice, &[22, 2200, 22_022]);
    let mut at = BEGIN;
    for _ in 0..dice.between(5, 25) {
        let turns: Vec<_> = (0..dice.between(5, 90))
            .map(|_| turn(dice.below(4 * S), size(dice, 36, 400), size(dice, 36, 9000)))
            .collect();
        dialogue(&mut traffic, at, (me, dice.port()), (victim(me), port), &banners(), &turns, End::Fin);
        at += dice.between(5, 300) * S;
    }
    Drawn::honest(traffic)
}

/// Sensors that wake up, say one thing to their broker, and sleep again.
fn honest_broker(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let port = pick(dice, &[1883, 1884]);
    for sensor in 0..dice.between(1, 20) {
        let me = format!("192.168.7.{}", 100 + sensor);
        let (mut at, period) = (BEGIN + dice.below(30 * S), dice.between(20, 120) * S);
        for _ in 0..40 {
            let first = [(true, connect(&mut Dice::new(sensor))), (false, vec![0x20, 2, 0, 0])];
            let turns = [turn(5 * MS, size(dice, 40, 60), 0)];
            dialogue(&mut traffic, at, (&me, dice.port()), (VICTIM, port), &first, &turns, End::Fin);
            at += period + dice.below(2 * S);
        }
    }
    Drawn::honest(traffic)
}
