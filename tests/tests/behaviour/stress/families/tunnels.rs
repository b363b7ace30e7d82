//! Data in what is meant to carry none.

use monitor_tests::harness::{
    packet::packet,
    timeline::{Dice, MS, S, Traffic},
};

use super::{super::benign::outside, BEGIN, Drawn, Family, browse, family, resolve, size};

const ME: &str = "192.168.1.18";

pub fn all() -> Vec<Family> {
    vec![
        family("tunnel, dns, many queries", dns_many),
        family("tunnel, dns, few queries", dns_few),
        family("tunnel, icmp", icmp),
        family("tunnel, icmp, answers of their own", icmp_surplus),
    ]
}

fn dns(dice: &mut Dice, count: u64, gap: u64, from: u64, to: u64) -> Drawn {
    let mut traffic = Traffic::default();
    let mut at = BEGIN;
    for _ in 0..count {
        at += dice.below(2 * gap) + MS;
        let (up, down) = (size(dice, from, to), size(dice, 80, 400));
        traffic.datagram(at, (ME, dice.port()), ("192.168.1.53", 53), up, Some(down));
    }
    browse(&mut traffic, dice, ME, at);
    Drawn::attack(ME, &["dns_tunnel"], traffic)
}

fn dns_many(dice: &mut Dice) -> Drawn {
    let (count, gap) = (dice.between(100, 3000), dice.between(20, 1500) * MS);
    dns(dice, count, gap, 90, 260)
}

fn dns_few(dice: &mut Dice) -> Drawn {
    let (count, gap) = (dice.between(12, 20), dice.between(100, 8000) * MS);
    dns(dice, count, gap, 120, 240)
}

fn icmp(dice: &mut Dice) -> Drawn {
    let (mut traffic, server, mut at) = (Traffic::default(), outside(dice), BEGIN);
    let gap = dice.between(50, 1500);
    for _ in 0..300 {
        at += dice.below(2 * gap) * MS;
        let (ask, answer) = (size(dice, 40, 1000), size(dice, 40, 1300));
        traffic.put(at, &packet().between(ME, &server).icmp(8, 0).payload_bytes(ask));
        traffic.put(at + 30 * MS, &packet().between(&server, ME).icmp(0, 0).payload_bytes(answer));
    }
    Drawn::attack(ME, &["icmp_tunnel"], traffic)
}

fn icmp_surplus(dice: &mut Dice) -> Drawn {
    let (mut traffic, server) = (Traffic::default(), outside(dice));
    let (gap, most) = (dice.between(100, 800) * MS, dice.between(200, 1300));
    resolve(&mut traffic, dice, BEGIN, ME);
    for number in 0..200 {
        let at = BEGIN + S + number * gap;
        traffic.put(at, &packet().between(ME, &server).icmp(8, 0).payload_bytes(28));
        traffic.put(at + 20 * MS, &packet().between(&server, ME).icmp(0, 0).payload_bytes(28));
        let carried = size(dice, 30, most);
        traffic.put(at + 25 * MS, &packet().between(&server, ME).icmp(0, 0).payload_bytes(carried));
    }
    Drawn::attack(ME, &["icmp_tunnel"], traffic)
}
