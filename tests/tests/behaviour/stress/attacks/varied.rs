//! Attackers who take their time, hide among others, or do what few do.

use monitor_tests::harness::{
    packet::{flag, packet},
    timeline::{Dice, End, MS, S, Traffic, turn},
    verdicts::{Attack, Case},
};

use super::{BEGIN, HOST_SCANS, SCANS, case, probe};
use crate::stress::benign::outside;

const ANY_SCAN: &[&str] = &["port_scan", "host_scan", "slow_scan", "syn_flood"];
const SPREAD: &[&str] = &["fan_out", "new_edge", "brute_force", "host_scan", "slow_scan"];

pub fn all() -> Vec<Case> {
    let mut all = scans();
    all.extend(floods());
    all.extend(guesses());
    all.extend(leaks());
    all
}

fn scans() -> Vec<Case> {
    let mut all = Vec::new();
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(500));
    let ports = [21, 22, 23, 25, 80, 110, 135, 139, 143, 443, 445, 1433, 3306, 3389, 5432, 5900, 6379, 8080];
    for number in 0..3000u64 {
        let to = format!("192.168.{}.{}", 30 + dice.below(4), dice.below(256));
        let port = ports[usize::try_from(dice.below(18)).unwrap()];
        probe(&mut traffic, &mut dice, BEGIN + number * 10 * MS, "198.51.100.60", (&to, port), 4);
    }
    let attack = Attack::new("198.51.100.60", ANY_SCAN, BEGIN, BEGIN + 6 * S);
    all.push(case("scan in random order", traffic, vec![attack]));

    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(501));
    let sources: Vec<String> = (0..20).map(|number| format!("198.51.100.{}", number + 70)).collect();
    for number in 0..600u64 {
        let from = &sources[usize::try_from(number % 20).unwrap()];
        let to = format!("192.168.{}.{}", 40 + number / 250, number % 250 + 1);
        probe(&mut traffic, &mut dice, BEGIN + number * 3 * S, from, (&to, 3389), 10);
    }
    let each = |who: &String| Attack::new(who, HOST_SCANS, BEGIN, BEGIN + 9 * 60 * S);
    all.push(case("distributed slow scan", traffic, sources.iter().map(each).collect()));

    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(502));
    let decoys = ["198.51.100.91", "203.0.113.5", "203.0.113.77", "198.51.100.93", "203.0.113.201"];
    for number in 0..400u64 {
        let port = u16::try_from(1 + number * 53 % 9999).unwrap();
        for (place, from) in decoys.iter().enumerate() {
            let at = BEGIN + number * 60 * MS + u64::try_from(place).unwrap() * MS;
            probe(&mut traffic, &mut dice, at, from, ("192.168.5.20", port), 90);
        }
    }
    let each = |who: &&str| Attack::new(who, SCANS, BEGIN, BEGIN + 20 * 60 * MS);
    all.push(case("port scan among decoys", traffic, decoys.iter().map(each).collect()));

    let mut traffic = Traffic::default();
    for number in 0..150u64 {
        let (at, port) = (BEGIN + number * 2 * S, u16::try_from(100 + number * 31).unwrap());
        traffic.datagram(at, ("192.168.1.61", 45_000), ("192.168.5.21", port), 12, None);
    }
    let attack = Attack::new("192.168.1.61", &["udp_scan"], BEGIN, BEGIN + 27 * 2 * S);
    all.push(case("udp scan, one in two seconds", traffic, vec![attack]));

    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(503));
    for number in 0..120u64 {
        let to = format!("fd00:0:0:9::{:x}", number * 7 + 1);
        probe(&mut traffic, &mut dice, BEGIN + number * 300 * MS, "fd00:0:0:1::66", (&to, 22), 5);
    }
    let attack = Attack::new("fd00:0:0:1::66", HOST_SCANS, BEGIN, BEGIN + 28 * 300 * MS);
    all.push(case("host scan over ipv6", traffic, vec![attack]));
    all.push(behind_a_router());
    all
}

/// A scan over IPv6 of web servers, behind a router whose other clients browse over IPv4: one MAC for all of them.
fn behind_a_router() -> Case {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(504));
    for number in 0..200u64 {
        let to = format!("2001:db8:5::{:x}", number * 11 + 1);
        let at = BEGIN + number * 400 * MS;
        probe(&mut traffic, &mut dice, at, "2001:db8:66::7", (&to, 443), 5);
        let (client, server) = (format!("192.168.60.{}", dice.below(40) + 2), outside(&mut dice));
        let at = at + dice.below(350) * MS;
        let turns = [turn(0, 500, 9000)];
        traffic.tcp(at, (&client, dice.port()), (&server, 443), &turns, End::Fin);
    }
    let attack = Attack::new("2001:db8:66::7", HOST_SCANS, BEGIN, BEGIN + 60 * 400 * MS);
    case("v6 scan behind a router", traffic, vec![attack])
}

fn floods() -> Vec<Case> {
    let mut all = Vec::new();
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(510));
    for number in 0..4000u64 {
        let at = BEGIN + number * 2 * MS;
        traffic.segment(at, ("192.168.1.62", dice.port()), ("66.1.1.1", 80), flag::SYN, 0);
    }
    let as_one_of = &["syn_flood", "outbound_flood"];
    let attack = Attack::new("192.168.1.62", as_one_of, BEGIN, BEGIN + S);
    let mut flood = case("syn flood from inside", traffic, vec![attack]);
    flood.also.push("66.1.1.1".to_owned());
    all.push(flood);
    let mut traffic = Traffic::default();
    for number in 0..12_000u64 {
        traffic.ping(BEGIN + number * MS / 2, "192.168.1.63", "66.1.1.2", 1000, false);
    }
    let attack = Attack::new("192.168.1.63", &["icmp_flood", "outbound_flood"], BEGIN, BEGIN + S);
    let mut flood = case("icmp flood from inside", traffic, vec![attack]);
    flood.also.push("66.1.1.2".to_owned());
    all.push(flood);
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(511));
    for number in 0..48_000u64 {
        let frame =
            packet().between("192.168.1.64", "66.1.1.3").udp(dice.port(), dice.port()).payload_bytes(500);
        traffic.put(BEGIN + number * S / 16_000, &frame);
    }
    let as_one_of = &["udp_flood", "outbound_flood", "udp_scan"];
    let attack = Attack::new("192.168.1.64", as_one_of, BEGIN, BEGIN + S);
    let mut flood = case("udp flood from inside on many ports", traffic, vec![attack]);
    flood.also.push("66.1.1.3".to_owned());
    all.push(flood);
    all
}

fn guesses() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, from, port) in [
        ("spraying over ssh from outside", "198.51.100.61", 22),
        ("spraying over smb from inside", "192.168.1.65", 445),
        ("spraying over rdp from inside", "192.168.1.66", 3389),
    ] {
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(520));
        for round in 0..3u64 {
            for host in 0..40u64 {
                let at = BEGIN + round * 400 * S + host * 8 * S + dice.below(3 * S);
                let to = format!("192.168.50.{}", host + 2);
                let size = usize::try_from(dice.between(1750, 1850)).unwrap();
                let turns = [turn(0, 1200, size), turn(400 * MS, 300, 120), turn(S, 100, 90)];
                traffic.tcp(at, (from, dice.port()), (&to, port), &turns, End::Fin);
            }
        }
        let attack = Attack::new(from, SPREAD, BEGIN, BEGIN + 38 * 8 * S);
        all.push(case(name, traffic, vec![attack]));
    }
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(521));
    let mut at = BEGIN;
    let mut sixtieth = 0;
    for number in 0..200u64 {
        let turns = [turn(0, usize::try_from(dice.between(440, 470)).unwrap(), 2120)];
        traffic.tcp(at, ("198.51.100.62", dice.port()), ("192.168.1.41", 443), &turns, End::Fin);
        at += dice.between(2, 12) * S;
        if number == 65 {
            sixtieth = at;
        }
    }
    let attack = Attack::new("198.51.100.62", &["brute_force"], BEGIN, sixtieth);
    all.push(case("guessing over https, irregular", traffic, vec![attack]));
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(522));
    for host in 0..30u64 {
        let to = format!("192.168.51.{}", host + 2);
        let at = BEGIN + host * 4 * S;
        let turns = [turn(0, 900, 1100), turn(100 * MS, 2000, 900)];
        traffic.tcp(at, ("192.168.1.67", dice.port()), (&to, 445), &turns, End::Fin);
    }
    let attack = Attack::new("192.168.1.67", SPREAD, BEGIN, BEGIN + 10 * 4 * S);
    all.push(case("smb to thirty hosts", traffic, vec![attack]));
    all
}

fn leaks() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, gap, up, down, optional) in [
        ("dns leak over a and aaaa", 900, (150, 220), (90, 130), false),
        ("dns leak over cname", 600, (110, 160), (180, 260), false),
        ("dns leak over mx, short", 300, (70, 110), (110, 160), true),
        ("dns leak, one in five seconds", 5000, (130, 200), (90, 130), false),
    ] {
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(530));
        let (mut at, mut fortieth) = (BEGIN, 0);
        for number in 0..250 {
            at += dice.about(gap * MS, 60);
            let size = |dice: &mut Dice, (from, to)| usize::try_from(dice.between(from, to)).unwrap();
            let (asked, answered) = (size(&mut dice, up), size(&mut dice, down));
            let from = ("192.168.1.68", dice.port());
            traffic.datagram(at, from, ("192.168.1.53", 53), asked, Some(answered));
            if number == 40 {
                fortieth = at;
            }
        }
        let mut attack = Attack::new("192.168.1.68", &["dns_tunnel"], BEGIN, fortieth);
        attack.optional = optional;
        all.push(case(name, traffic, vec![attack]));
    }
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(531));
    for number in 0..400u64 {
        let at = BEGIN + number * 500 * MS;
        let sized = |bytes| usize::try_from(bytes).unwrap();
        let (ask, answer) = (sized(dice.between(16, 48)), sized(dice.between(16, 48)));
        traffic.put(at, &packet().between("192.168.1.69", "66.7.7.8").icmp(8, 0).payload_bytes(ask));
        let back = packet().between("66.7.7.8", "192.168.1.69").icmp(0, 0).payload_bytes(answer);
        traffic.put(at + 30 * MS, &back);
    }
    let attack = Attack::new("192.168.1.69", &["icmp_tunnel"], BEGIN, BEGIN + 150 * S);
    all.push(case("icmp tunnel of small echoes", traffic, vec![attack]));

    // Large segments, as a host with offload records itself: 600 MB in half an hour.
    let mut traffic = Traffic::default();
    let (me, drop) = (("192.168.1.75", 45_001), ("66.7.7.9", 443));
    traffic.tcp(BEGIN, me, drop, &[turn(0, 500, 3000)], End::Open);
    for number in 0..10_000u64 {
        let at = BEGIN + S + number * 180 * MS;
        traffic.segment(at, me, drop, flag::ACK, 60_000);
        traffic.segment(at + 20 * MS, drop, me, flag::ACK, 0);
    }
    let attack = Attack::new("192.168.1.75", &["exfiltration"], BEGIN, BEGIN + 8500 * 180 * MS);
    all.push(case("exfiltration over an hour", traffic, vec![attack]));
    all
}
