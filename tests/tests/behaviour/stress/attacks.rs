//! Attacks that were made up, each with who must be named, as what, and when its threshold could be reached.

mod varied;

use monitor_tests::harness::{
    packet::{flag, packet},
    timeline::{Dice, EPOCH, End, MS, S, Traffic, turn},
    verdicts::{Attack, Case},
};

use super::benign::outside;

/// Attacks begin after this much of other traffic.
const BEGIN: u64 = EPOCH + 600 * S;

pub fn all() -> Vec<Case> {
    let mut all = scans();
    all.extend(floods());
    all.extend(logins());
    all.extend(implants());
    all.extend(tunnels());
    all.extend(varied::all());
    all
}

fn case(name: &str, traffic: Traffic, attacks: Vec<Attack>) -> Case {
    Case::new(name, traffic, attacks)
}

const SCANS: &[&str] = &["port_scan", "slow_scan", "syn_flood", "out_of_state_scan"];
const HOST_SCANS: &[&str] = &["host_scan", "slow_scan"];

/// What came of one probe.
fn probe(traffic: &mut Traffic, dice: &mut Dice, at: u64, from: &str, to: (&str, u16), refused: u64) {
    if dice.chance(refused) {
        traffic.refused(at, (from, dice.port()), to);
    } else {
        traffic.unanswered(at, (from, dice.port()), to, 0);
    }
}

fn scans() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, from, gap, refused) in [
        ("port scan, fast and refused", "198.51.100.7", 5 * MS, 95),
        ("port scan, slow and dropped", "198.51.100.8", 900 * MS, 0),
        ("port scan from inside", "192.168.1.7", 50 * MS, 60),
    ] {
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(100));
        for number in 0..600u64 {
            let at = BEGIN + number * gap;
            let port = u16::try_from(1 + number * 37 % 9000).unwrap();
            if number % 200 == 50 {
                traffic.tcp(at, (from, dice.port()), ("192.168.5.5", port), &[], End::Reset);
            } else {
                probe(&mut traffic, &mut dice, at, from, ("192.168.5.5", port), refused);
            }
        }
        all.push(case(name, traffic, vec![Attack::new(from, SCANS, BEGIN, BEGIN + 16 * gap)]));
    }
    for (name, from, gap, refused) in [
        ("host scan from outside", "198.51.100.9", 200 * MS, 10),
        ("host scan from inside", "192.168.1.8", 500 * MS, 40),
        ("host scan, one every 10 s", "192.168.1.9", 10 * S, 10),
    ] {
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(101));
        for number in 0..60u64 {
            let (at, to) = (BEGIN + number * gap, format!("192.168.6.{}", number + 1));
            if number % 12 == 5 {
                traffic.tcp(at, (from, dice.port()), (&to, 445), &[turn(0, 100, 200)], End::Reset);
            } else {
                probe(&mut traffic, &mut dice, at, from, (&to, 445), refused);
            }
        }
        all.push(case(name, traffic, vec![Attack::new(from, HOST_SCANS, BEGIN, BEGIN + 28 * gap)]));
    }
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(102));
    for number in 0..10u64 {
        let to = format!("192.168.7.{}", number * 20 + 3);
        probe(&mut traffic, &mut dice, BEGIN + number * 1080 * S, "198.51.100.10", (&to, 22), 20);
    }
    let reachable = BEGIN + 9 * 1080 * S;
    all.push(case(
        "ten probes in three hours",
        traffic,
        vec![Attack::new("198.51.100.10", HOST_SCANS, BEGIN, reachable)],
    ));
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(103));
    let sources: Vec<String> = (0..30).map(|number| format!("198.51.100.{}", number + 20)).collect();
    for number in 0..900u64 {
        let (at, port) = (BEGIN + number * 100 * MS, u16::try_from(1 + number).unwrap());
        let from = &sources[usize::try_from(number % 30).unwrap()];
        probe(&mut traffic, &mut dice, at, from, ("192.168.5.6", port), 90);
    }
    let each = |who: &String| Attack::new(who, SCANS, BEGIN, BEGIN + 16 * 30 * 100 * MS);
    all.push(case("distributed port scan", traffic, sources.iter().map(each).collect()));
    all.extend(odd_scans());
    all
}

fn odd_scans() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, from) in [("udp scan from outside", "198.51.100.11"), ("udp scan from inside", "192.168.1.11")]
    {
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(104));
        let mut last = 0;
        for number in 0..400u64 {
            let at = BEGIN + number * 100 * MS;
            let port = u16::try_from(1 + number * 53 % 10_000).unwrap();
            let frame = packet().between(from, "192.168.5.7").udp(dice.port(), port).payload_bytes(8);
            traffic.put(at, &frame);
            if at > last + S {
                last = at;
                traffic.unreachable(at + MS, "192.168.5.7", 3, &frame, from);
            }
        }
        let attack = Attack::new(from, &["udp_scan"], BEGIN, BEGIN + 30 * 100 * MS);
        all.push(case(name, traffic, vec![attack]));
    }
    for (name, flags, port) in [("fin", flag::FIN, 33_000), ("null", 0, 33_001), ("xmas", 0x29, 33_002)] {
        for (place, from) in [("outside", "198.51.100.12"), ("inside", "192.168.1.12")] {
            let mut traffic = Traffic::default();
            for number in 0..200u64 {
                let (at, to) = (BEGIN + number * 50 * MS, u16::try_from(1 + number * 7).unwrap());
                traffic.segment(at, (from, port), ("192.168.5.8", to), flags, 0);
                if number % 3 == 0 {
                    let answer = flag::RST | flag::ACK;
                    traffic.segment(at + MS, ("192.168.5.8", to), (from, port), answer, 0);
                }
            }
            let attack = Attack::new(from, &["out_of_state_scan"], BEGIN, BEGIN + 30 * 50 * MS);
            all.push(case(&format!("{name} scan from {place}"), traffic, vec![attack]));
        }
    }
    let mut traffic = Traffic::default();
    for number in 0..300u64 {
        let (at, to) = (BEGIN + number * 50 * MS, u16::try_from(1 + number * 3).unwrap());
        traffic.segment(at, ("198.51.100.13", 55_000), ("192.168.5.9", to), flag::ACK, 0);
        if number % 2 == 0 {
            traffic.segment(at + MS, ("192.168.5.9", to), ("198.51.100.13", 55_000), flag::RST, 0);
        }
    }
    let attack = Attack::new("198.51.100.13", &["out_of_state_scan"], BEGIN, BEGIN + 60 * 50 * MS);
    all.push(case("ack scan from outside", traffic, vec![attack]));

    for (name, gap, up) in [("icmp sweep", 30 * MS, 12), ("icmp sweep, one a second", S, 40)] {
        let mut traffic = Traffic::default();
        for number in 1..255u64 {
            let (at, to) = (BEGIN + number * gap, format!("192.168.8.{number}"));
            traffic.ping(at, "192.168.1.13", &to, 8, number % 100 < up);
            if number % 4 == 0 && number % 100 >= up {
                let quoted = packet().between("192.168.1.13", &to).icmp(8, 0).payload_bytes(8);
                traffic.unreachable(at + 900 * MS, "192.168.8.254", 1, &quoted, "192.168.1.13");
            }
        }
        let attack = Attack::new("192.168.1.13", &["icmp_sweep"], BEGIN, BEGIN + 45 * gap);
        all.push(case(name, traffic, vec![attack]));
    }
    let mut traffic = Traffic::default();
    for number in 0..200u16 {
        let target = std::net::Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, number + 1);
        traffic.solicitation(BEGIN + u64::from(number) * 100 * MS, "fd00:0:0:9::99", target);
    }
    let attack = Attack::new("fd00:0:0:9::99", &["nd_sweep"], BEGIN, BEGIN + 26 * 100 * MS);
    all.push(case("nd sweep", traffic, vec![attack]));
    let mut traffic = Traffic::default();
    for number in 0..254u8 {
        let at = BEGIN + u64::from(number) * 50 * MS;
        traffic.arp(at, [2, 0, 0, 0, 7, 7], [192, 168, 9, 77], [192, 168, 9, number]);
    }
    let attack = Attack::new("MAC", &["arp_sweep"], BEGIN, BEGIN + 100 * 50 * MS);
    all.push(case("arp sweep", traffic, vec![attack]));
    all
}

fn floods() -> Vec<Case> {
    let mut all = Vec::new();
    let mut dice = Dice::new(105);
    let victim = "192.168.4.4";
    for (name, sources, answered) in
        [("syn flood of one source", 1, 0), ("syn flood of many", 5000, 30), ("syn flood of 300", 300, 100)]
    {
        let mut traffic = Traffic::default();
        let from: Vec<String> = (0..sources).map(|_| outside(&mut dice)).collect();
        for number in 0..6000u64 {
            let source = &from[usize::try_from(dice.below(sources)).unwrap()];
            let (at, port) = (BEGIN + number * 2 * MS, dice.port());
            traffic.segment(at, (source, port), (victim, 443), flag::SYN, 0);
            if dice.chance(answered) {
                traffic.segment(at + MS, (victim, 443), (source, port), flag::SYN | flag::ACK, 0);
            }
        }
        let who = if sources == 1 { from[0].clone() } else { format!("VICTIM:{victim}") };
        let attack = Attack::new(&who, &["syn_flood"], BEGIN, BEGIN + S);
        all.push(case(name, traffic, vec![attack]));
    }
    for (name, port, bytes) in
        [("dns", 53, 1300), ("ntp", 123, 440), ("memcached", 11_211, 1400), ("ssdp", 1900, 300)]
    {
        let mut traffic = Traffic::default();
        let from: Vec<String> = (0..150).map(|_| outside(&mut dice)).collect();
        for number in 0..6000u64 {
            let source = &from[usize::try_from(dice.below(150)).unwrap()];
            let frame = packet().between(source, victim).udp(port, 44_444).payload_bytes(bytes);
            traffic.put(BEGIN + number * MS, &frame);
            if number % 3 == 0 && bytes > 1200 {
                let piece =
                    packet().between(source, victim).protocol(17).payload_bytes(900).fragment(1480, false);
                traffic.put(BEGIN + number * MS + 9000, &piece);
            }
        }
        let as_one_of = &["reflection", "udp_flood"];
        let attack = Attack::new(&format!("VICTIM:{victim}"), as_one_of, BEGIN, BEGIN + S);
        all.push(case(&format!("reflection over {name}"), traffic, vec![attack]));
    }
    let mut traffic = Traffic::default();
    for number in 0..9000u64 {
        let source = outside(&mut dice);
        let piece = packet().between(&source, victim).protocol(17).payload_bytes(512).fragment(1024, true);
        traffic.put(BEGIN + number * MS / 3, &piece);
    }
    let attack = Attack::new(&format!("VICTIM:{victim}"), &["fragment_flood"], BEGIN, BEGIN + S);
    all.push(case("fragment flood", traffic, vec![attack]));
    let mut traffic = Traffic::default();
    for number in 0..9000u64 {
        traffic.ping(BEGIN + number * MS / 3, "2001:db8:66::6", "fd00::4:4", 64, number % 2 == 0);
    }
    let attack = Attack::new("2001:db8:66::6", &["icmp_flood"], BEGIN, BEGIN + S);
    all.push(case("icmpv6 flood", traffic, vec![attack]));
    let mut traffic = Traffic::default();
    for number in 0..90_000u64 {
        let frame = packet().between("192.168.1.14", "66.6.6.6").udp(50_000, 80).payload_bytes(20);
        traffic.put(BEGIN + number * S / 30_000, &frame);
    }
    let as_one_of = &["outbound_flood", "udp_flood"];
    let attack = Attack::new("192.168.1.14", as_one_of, BEGIN, BEGIN + S);
    let mut flood = case("outbound flood", traffic, vec![attack]);
    flood.also.push("66.6.6.6".to_owned());
    all.push(flood);
    all
}

fn logins() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, port, gap, jitter) in [
        ("ssh guessing", 22, 6 * S, 30),
        ("ssh guessing, one every 20 s", 22, 20 * S, 20),
        ("rdp guessing", 3389, 5 * S, 30),
        ("smb guessing", 445, 2 * S, 50),
    ] {
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(106));
        let mut at = BEGIN;
        let mut thirtieth = 0;
        for number in 0..100u64 {
            let size = usize::try_from(dice.between(1700, 1900)).unwrap();
            let turns =
                [turn(0, 1200, size), turn(400 * MS, 300, 120), turn(dice.between(1, 3) * S, 100, 90)];
            let end =
                traffic.tcp(at, ("198.51.100.14", dice.port()), ("192.168.1.40", port), &turns, End::Fin);
            if number == 30 {
                thirtieth = end;
            }
            at += dice.about(gap, jitter);
        }
        let attack = Attack::new("198.51.100.14", &["brute_force"], BEGIN, thirtieth);
        all.push(case(name, traffic, vec![attack]));
    }
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(107));
    for number in 0..100u64 {
        let at = BEGIN + number * 6 * S + dice.below(S);
        let turns = [turn(0, 450, usize::try_from(dice.between(2100, 2140)).unwrap())];
        traffic.tcp(at, ("198.51.100.15", dice.port()), ("192.168.1.41", 80), &turns, End::Fin);
    }
    let attack = Attack::new("198.51.100.15", &["brute_force", "beacon"], BEGIN, BEGIN + 600 * S).optional();
    all.push(case("guessing over http", traffic, vec![attack]));
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(108));
    for host in 0..8u64 {
        let to = format!("192.168.1.{}", 100 + host);
        for (step, port) in [445, 135, 49_671, 5985].into_iter().enumerate() {
            let at = BEGIN + host * 20 * S + u64::try_from(step).unwrap() * 2 * S;
            let turns = [turn(0, 900, 1100), turn(100 * MS, 2000, 900)];
            traffic.tcp(at, ("192.168.1.15", dice.port()), (&to, port), &turns, End::Fin);
        }
    }
    let as_one_of = &["fan_out", "new_edge"];
    let attack = Attack::new("192.168.1.15", as_one_of, BEGIN, BEGIN + 160 * S);
    all.push(case("lateral movement to eight hosts", traffic, vec![attack]));
    all
}

fn implants() -> Vec<Case> {
    let mut all = Vec::new();
    let mut seed = 200;
    // Beats within one connection, and as connections.
    for (period, jitter, port, loose) in [
        (5, 0, 80, false),
        (5, 10, 443, false),
        (5, 30, 4444, false),
        (10, 20, 8080, false),
        (30, 10, 443, false),
        (60, 0, 80, false),
        (60, 30, 8443, false),
        (10, 0, 80, true),
        (30, 20, 443, true),
        (60, 10, 80, true),
        (60, 30, 443, true),
        (120, 20, 8080, true),
        (300, 10, 443, true),
    ] {
        seed += 1;
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(seed));
        let (me, server, own) = ("192.168.1.16", outside(&mut dice), dice.port());
        let mut at = BEGIN;
        let (mut tenth, mut last) = (0, 0);
        if !loose {
            traffic.tcp(at, (me, own), (&server, port), &[turn(0, 400, 900)], End::Open);
        }
        for beat in 0..60 {
            at += dice.about(period * S, jitter);
            // Now and then there is something to do.
            let (up, down) = if beat % 15 == 9 { (6000, 1200) } else { (310, 180) };
            let turns = [turn(0, up, down)];
            if loose {
                traffic.tcp(at, (me, dice.port()), (&server, port), &turns, End::Fin);
            } else {
                traffic.talk(at, (me, own), (&server, port), &turns);
            }
            let needed = if period < 6 && loose { 30 } else { 12 };
            if beat == needed {
                tenth = at;
            }
            last = at;
        }
        let kind = if loose { "connections" } else { "one connection" };
        let name = format!("implant, {kind}, {period} s, {jitter} % on {port}");
        let who = format!("{me}->{server}:{port}");
        // Jitter takes more beats to tell from chance; the documents promise up to 30 % and sixty beats.
        let reachable = if jitter > 10 { tenth.midpoint(last) } else { tenth };
        let mut attack = Attack::new(&who, &["beacon"], BEGIN, reachable);
        attack.optional = jitter >= 30;
        all.push(case(&name, traffic, vec![attack]));
    }
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(300));
    let server = outside(&mut dice);
    for beat in 0..40 {
        let at = BEGIN + beat * 45 * S + dice.below(2 * S);
        traffic.datagram(at, ("192.168.1.17", dice.port()), (&server, 7011), 80, Some(60));
    }
    let who = format!("192.168.1.17->{server}:7011");
    let attack = Attack::new(&who, &["beacon"], BEGIN, BEGIN + 12 * 45 * S);
    all.push(case("implant over udp", traffic, vec![attack]));
    all
}

fn tunnels() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, gap, up, down, optional) in [
        ("dns tunnel, iodine", 150, (90, 260), (100, 1200), false),
        ("dns tunnel, slow", 2500, (110, 190), (90, 220), false),
        ("dns tunnel, txt commands", 700, (80, 90), (90, 340), true),
    ] {
        let (mut traffic, mut dice) = (Traffic::default(), Dice::new(109));
        let mut at = BEGIN;
        let mut thirtieth = 0;
        for number in 0..300 {
            at += dice.about(gap * MS, 50);
            let size = |dice: &mut Dice, (from, to)| usize::try_from(dice.between(from, to)).unwrap();
            let (asked, answered) = (size(&mut dice, up), size(&mut dice, down));
            let resolver = ("192.168.1.53", 53);
            traffic.datagram(at, ("192.168.1.18", dice.port()), resolver, asked, Some(answered));
            if number == 30 {
                thirtieth = at;
            }
        }
        let mut attack = Attack::new("192.168.1.18", &["dns_tunnel"], BEGIN, thirtieth);
        attack.optional = optional;
        all.push(case(name, traffic, vec![attack]));
    }
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(110));
    let mut at = BEGIN;
    for _ in 0..400 {
        at += dice.below(2000) * MS;
        let (ask, answer) = (dice.between(40, 1000), dice.between(40, 1000));
        let sized = |bytes| usize::try_from(bytes).unwrap();
        traffic.put(at, &packet().between("192.168.1.19", "66.7.7.7").icmp(8, 0).payload_bytes(sized(ask)));
        let back = packet().between("66.7.7.7", "192.168.1.19").icmp(0, 0).payload_bytes(sized(answer));
        traffic.put(at + 30 * MS, &back);
    }
    let attack = Attack::new("192.168.1.19", &["icmp_tunnel"], BEGIN, BEGIN + 30 * S);
    all.push(case("icmp tunnel", traffic, vec![attack]));
    all
}
