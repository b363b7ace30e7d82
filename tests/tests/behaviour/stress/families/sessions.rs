//! Attacks as laboratories record them: attacker and victim in one network, tries over UDP from ever new ports, many
//! connections at a time, few amplifiers.

use monitor_tests::harness::{
    packet::packet,
    timeline::{Dice, End, MS, S, Traffic, turn},
};

use super::{super::benign::outside, BEGIN, Drawn, Family, family, pick, size};

const GUESSING: &[&str] = &["brute_force"];
const FLOOD: &[&str] = &["syn_flood", "brute_force", "rate_shift", "outbound_flood"];
const ME: &str = "10.0.5.66";
const VICTIM: &str = "10.0.5.10";

pub fn all() -> Vec<Family> {
    vec![
        family("guessing, tickets over udp", tickets),
        family("guessing, many at a time", parallel),
        family("guessing, a console", console),
        family("flood, slow requests from inside", slow_requests),
        family("flood, connections from inside", connections),
        family("flood, a broker's clients", clients),
        family("flood, few amplifiers", few_amplifiers),
        family("flood, pieces from inside", pieces),
        family("flood, datagrams from inside", datagrams),
        family("flood, leases asked of a server", leases),
        family("scan, protocols", protocols),
    ]
}

fn tickets(dice: &mut Dice) -> Drawn {
    let (mut traffic, gap) = (Traffic::default(), dice.between(5, 400) * MS);
    let refusal = dice.between(90, 220);
    for number in 0..600 {
        let (up, down) = (size(dice, 160, 190), size(dice, refusal, refusal + 12));
        traffic.datagram(BEGIN + number * gap, (ME, dice.port()), (VICTIM, 88), up, Some(down));
    }
    Drawn::attack(ME, GUESSING, traffic)
}

fn parallel(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (port, tasks) = (pick(dice, &[22, 21, 3306, 110, 143, 5432, 445]), dice.between(4, 16));
    let greeting = size(dice, 20, 900);
    let lasts = dice.between(1, 5) * S;
    for number in 0..240 {
        let turns = [
            turn(0, 0, greeting),
            turn(30 * MS, size(dice, 320, 360), 60),
            turn(lasts, size(dice, 24, 40), size(dice, 20, 24)),
        ];
        let at = BEGIN + number / tasks * (lasts + S) + dice.below(300 * MS);
        traffic.tcp(at, (ME, dice.port()), (VICTIM, port), &turns, End::Fin);
    }
    Drawn::attack(ME, GUESSING, traffic)
}

fn console(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let port = pick(dice, &[23, 2323, 902, 5038]);
    let gap = dice.between(300, 4000) * MS;
    let mut at = BEGIN;
    for _ in 0..160 {
        let turns =
            [turn(0, 3, 40), turn(200 * MS, size(dice, 5, 12), 20), turn(200 * MS, size(dice, 5, 14), 24)];
        traffic.tcp(at, (ME, dice.port()), (VICTIM, port), &turns, End::Fin);
        at += gap + dice.below(gap);
    }
    Drawn::attack(ME, GUESSING, traffic)
}

/// Requests that never end, over connections that stay; the server says nothing.
fn slow_requests(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let (open, port) = (dice.between(140, 900), pick(dice, &[80, 443, 8080]));
    let (first, beat) = (size(dice, 40, 300), dice.between(5, 15) * S);
    for number in 0..open {
        let (at, own) = (BEGIN + number * dice.between(2, 20) * MS, 20_000 + u16::try_from(number).unwrap());
        traffic.tcp(at, (ME, own), (VICTIM, port), &[turn(0, first, 0)], End::Open);
        for number in 1..6 {
            traffic.talk(at + number * beat, (ME, own), (VICTIM, port), &[turn(0, size(dice, 1, 20), 0)]);
        }
    }
    Drawn::attack(ME, FLOOD, traffic)
}

fn connections(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(600, 3000));
    let bare = dice.chance(50);
    for number in 0..rate * 10 {
        let turns = if bare { vec![] } else { vec![turn(0, size(dice, 60, 90), 0)] };
        let own = 1024 + u16::try_from(number % 60_000).unwrap();
        traffic.tcp(BEGIN + number * S / rate, (ME, own), (VICTIM, 80), &turns, End::Reset);
    }
    Drawn::attack(ME, FLOOD, traffic)
}

/// Clients of a broker that nobody needs: each says who it is, is welcomed, and stays.
fn clients(dice: &mut Dice) -> Drawn {
    let (mut traffic, count) = (Traffic::default(), dice.between(500, 3000));
    let gap = dice.between(1, 20) * MS;
    for number in 0..count {
        let own = 10_000 + u16::try_from(number).unwrap();
        let end = if dice.chance(70) { End::Open } else { End::Fin };
        traffic.tcp(BEGIN + number * gap, (ME, own), (VICTIM, 1883), &[turn(0, size(dice, 20, 60), 4)], end);
    }
    // The capture goes on.
    for beat in 0..30 {
        traffic.ping(BEGIN + count * gap + beat * S, VICTIM, "10.0.5.1", 56, true);
    }
    Drawn::attack(ME, FLOOD, traffic)
}

fn few_amplifiers(dice: &mut Dice) -> Drawn {
    let mut traffic = Traffic::default();
    let from: Vec<String> = (0..dice.between(1, 12)).map(|_| outside(dice)).collect();
    let (rate, port) = (dice.between(300, 4000), pick(dice, &[53, 123, 389, 1900, 11_211, 19, 161, 47_808]));
    let bytes = size(dice, 300, 1400);
    for number in 0..rate * 6 {
        let amplifier = &from[usize::try_from(number % from.len() as u64).unwrap()];
        let at = BEGIN + number * S / rate;
        traffic.put(at, &packet().between(amplifier, VICTIM).udp(port, 33_333).payload_bytes(bytes));
    }
    let mut drawn = Drawn::attack(&format!("VICTIM:{VICTIM}"), &["reflection", "udp_flood"], traffic);
    if from.len() == 1 {
        drawn = Drawn::attack(&from[0], &["reflection", "udp_flood"], drawn.traffic);
        drawn.also = Some(VICTIM.to_owned());
    }
    drawn
}

fn pieces(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(1200, 6000));
    let protocol = pick(dice, &[1, 17, 6]);
    for number in 0..rate * 4 {
        let piece = packet().between(ME, VICTIM).protocol(protocol).payload_bytes(size(dice, 24, 1400));
        traffic.put(
            BEGIN + number * S / rate,
            &piece.fragment(1480 * u16::try_from(number % 8).unwrap(), number % 8 < 7),
        );
    }
    Drawn::attack(ME, &["fragment_flood", "outbound_flood"], traffic)
}

fn datagrams(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(12_000, 30_000));
    let port = pick(dice, &[80, 53, 5001, 9999]);
    for number in 0..rate * 3 {
        let frame = packet().between(ME, VICTIM).udp(dice.port(), port).payload_bytes(size(dice, 0, 60));
        traffic.put(BEGIN + number * S / rate, &frame);
    }
    Drawn::attack(ME, &["udp_flood", "outbound_flood"], traffic)
}

/// Leases asked for in the name of ever new hosts, from a tool that names none, at a gentle rate.
fn leases(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(60, 1500));
    for number in 0..rate * 20 {
        let [a, b, c, d] = u32::try_from(dice.below(1 << 32)).unwrap().to_be_bytes();
        let frame = packet()
            .macs([2, 9, a, b, c, d], [0xff; 6])
            .between("0.0.0.0", "255.255.255.255")
            .udp(68, 67)
            .payload_bytes(size(dice, 240, 300));
        traffic.put(BEGIN + number * S / rate, &frame);
    }
    Drawn::attack("VICTIM", &["udp_flood"], traffic)
}

fn protocols(dice: &mut Dice) -> Drawn {
    let (mut traffic, gap) = (Traffic::default(), dice.between(20, 1000) * MS);
    for protocol in 0..=255u8 {
        if [1, 6, 17].contains(&protocol) || dice.chance(20) {
            continue;
        }
        let at = BEGIN + u64::from(protocol) * gap;
        let probe = packet().between(ME, VICTIM).protocol(protocol);
        traffic.put(at, &probe);
        if dice.chance(30) {
            traffic.unreachable(at + MS, VICTIM, 2, &probe, ME);
        }
    }
    Drawn::attack(ME, &["port_scan"], traffic)
}
