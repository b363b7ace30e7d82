//! Floods that are spread, slow, completed, cut into pieces or sent to everybody.

use monitor_tests::harness::{
    packet::{flag, packet},
    timeline::{Dice, End, MS, S, Traffic, turn},
};

use super::{super::benign::outside, BEGIN, Drawn, Family, family, pick, size};

const VICTIM: &str = "192.168.4.4";

pub fn all() -> Vec<Family> {
    vec![
        family("flood, carpet", carpet),
        family("flood, amplified at a low rate", amplified),
        family("flood, fragments of amplifiers", fragments),
        family("flood, completed connections", connections),
        family("flood, connections held open", held),
        family("flood, leases", leases),
        family("flood, echoes to everybody", smurf),
        family("flood, syn from many", syn),
    ]
}

fn sources(dice: &mut Dice, from: u64, to: u64) -> Vec<String> {
    (0..dice.between(from, to)).map(|_| outside(dice)).collect()
}

fn any<'a>(dice: &mut Dice, from: &'a [String]) -> &'a str {
    &from[usize::try_from(dice.below(from.len() as u64)).unwrap()]
}

fn carpet(dice: &mut Dice) -> Drawn {
    let (mut traffic, from) = (Traffic::default(), sources(dice, 60, 500));
    let (rate, hosts, bytes) = (dice.between(2000, 6000), dice.between(60, 250), size(dice, 100, 700));
    let is_syn = dice.chance(40);
    for number in 0..rate * 4 {
        let (at, to) = (BEGIN + number * S / rate, format!("192.168.9.{}", dice.below(hosts) + 1));
        if is_syn {
            traffic.segment(at, (any(dice, &from), dice.port()), (&to, 80), flag::SYN, 0);
        } else {
            let frame = packet().between(any(dice, &from), &to).udp(123, 4000).payload_bytes(bytes);
            traffic.put(at, &frame);
        }
    }
    let kinds = &["syn_flood", "udp_flood", "reflection"];
    let mut drawn = Drawn::attack("VICTIM:192.168.9.0/24", kinds, traffic);
    // Sources without number fall on the whole interface.
    drawn.also = Some("interface 1".to_owned());
    drawn
}

fn amplified(dice: &mut Dice) -> Drawn {
    let (mut traffic, from) = (Traffic::default(), sources(dice, 60, 300));
    let (rate, port, bytes) =
        (dice.between(80, 400), pick(dice, &[53, 123, 389, 11_211]), size(dice, 460, 1400));
    for number in 0..rate * 8 {
        let frame = packet().between(any(dice, &from), VICTIM).udp(port, 44_444).payload_bytes(bytes);
        traffic.put(BEGIN + number * S / rate, &frame);
    }
    Drawn::attack(&format!("VICTIM:{VICTIM}"), &["reflection", "udp_flood"], traffic)
}

fn fragments(dice: &mut Dice) -> Drawn {
    let (mut traffic, from, rate) = (Traffic::default(), sources(dice, 60, 300), dice.between(150, 900));
    for number in 0..rate * 8 {
        let piece =
            packet().between(any(dice, &from), VICTIM).protocol(17).payload_bytes(900).fragment(1480, false);
        traffic.put(BEGIN + number * S / rate, &piece);
    }
    Drawn::attack(&format!("VICTIM:{VICTIM}"), &["fragment_flood", "reflection"], traffic)
}

fn connections(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(150, 500));
    let from = "198.51.100.9";
    for number in 0..rate * 15 {
        let turns = [turn(0, size(dice, 100, 200), size(dice, 200, 1000))];
        traffic.tcp(BEGIN + number * S / rate, (from, dice.port()), (VICTIM, 80), &turns, End::Fin);
    }
    let mut drawn = Drawn::attack(from, &["syn_flood", "brute_force"], traffic);
    drawn.also = Some(VICTIM.to_owned());
    drawn
}

fn held(dice: &mut Dice) -> Drawn {
    let (mut traffic, open, from) = (Traffic::default(), dice.between(180, 500), "198.51.100.9");
    let port = pick(dice, &[80, 443, 1883, 8080]);
    for number in 0..open {
        let (at, own) = (BEGIN + number * 20 * MS, 20_000 + u16::try_from(number).unwrap());
        traffic.tcp(at, (from, own), (VICTIM, port), &[turn(0, size(dice, 20, 230), 0)], End::Open);
        for beat in 1..8 {
            traffic.talk(at + beat * 10 * S, (from, own), (VICTIM, port), &[turn(0, size(dice, 2, 20), 0)]);
        }
    }
    Drawn::attack(from, &["syn_flood", "brute_force"], traffic)
}

fn leases(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(400, 3000));
    for number in 0..rate * 5 {
        let frame = packet().between("0.0.0.0", "255.255.255.255").udp(68, 67).payload_bytes(244);
        traffic.put(BEGIN + number * S / rate, &frame);
    }
    Drawn::attack("VICTIM", &["udp_flood"], traffic)
}

fn smurf(dice: &mut Dice) -> Drawn {
    let (mut traffic, rate) = (Traffic::default(), dice.between(150, 2000));
    let victim = "fd00::4:4";
    for number in 0..rate * 5 {
        let frame = packet().between(victim, "ff02::1").icmp(128, 0).payload_bytes(56);
        traffic.put(BEGIN + number * S / rate, &frame);
    }
    Drawn::attack(&format!("VICTIM:{victim}"), &["icmp_flood"], traffic)
}

fn syn(dice: &mut Dice) -> Drawn {
    let (mut traffic, from, rate) = (Traffic::default(), sources(dice, 200, 3000), dice.between(150, 2000));
    for number in 0..rate * 5 {
        let client = (any(dice, &from), dice.port());
        traffic.segment(BEGIN + number * S / rate, client, (VICTIM, 443), flag::SYN, 0);
    }
    Drawn::attack(&format!("VICTIM:{VICTIM}"), &["syn_flood"], traffic)
}
