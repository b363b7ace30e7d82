//! What innocent hosts do that looks like attacks. Every function is one class; none may raise a warning.

use monitor_tests::harness::{
    packet::{flag, packet},
    timeline::{Dice, EPOCH, End, MS, S, Traffic, turn},
    verdicts::Case,
};

const MINUTE: u64 = 60 * S;

/// An address outside.
pub fn outside(dice: &mut Dice) -> String {
    let (a, b, c) = (dice.between(20, 99), dice.below(256), dice.below(256));
    format!("{a}.{b}.{c}.{}", dice.between(1, 254))
}

fn inside(number: u64) -> String {
    format!("192.168.{}.{}", 10 + number / 200, 10 + number % 200)
}

/// A page: a few small questions and larger answers.
fn page(traffic: &mut Traffic, dice: &mut Dice, at: u64, client: &str, server: &str, port: u16) {
    let turns: Vec<_> = (0..dice.between(1, 5))
        .map(|_| {
            turn(
                dice.below(900) * MS,
                usize::try_from(dice.between(300, 900)).unwrap(),
                usize::try_from(dice.between(400, 30_000)).unwrap(),
            )
        })
        .collect();
    traffic.tcp(at, (client, dice.port()), (server, port), &turns, End::Fin);
}

pub fn all() -> Vec<Case> {
    let case = |name: &str, traffic: Traffic| Case::new(name, traffic, Vec::new());
    vec![
        case("peer to peer", peer_to_peer()),
        case("peer to peer, one port", peer_to_peer_on(51_413)),
        case("browser", browser()),
        case("browser without quic", browser_without_quic()),
        case("browser with dead ipv6", dead_ipv6()),
        case("resolver", resolver()),
        case("resolver is down", resolver_is_down()),
        case("mail server", mail_server()),
        case("crawler", crawler()),
        case("proxy", proxy()),
        case("nat gateway", nat_gateway()),
        case("monitoring", monitoring()),
        case("ntp", ntp()),
        case("broadcast chatter", chatter()),
        case("voip", voip()),
        case("websockets", websockets()),
        case("update checks", update_checks()),
        case("mail polling", mail_polling()),
        case("cloud sync", cloud_sync()),
        case("backup", backup()),
        case("ssh by hand", ssh_by_hand()),
        case("ansible", ansible()),
        case("liveness", liveness()),
        case("prometheus", prometheus()),
        case("load balancer", load_balancer()),
        case("port reuse", port_reuse()),
        case("backscatter of a day", backscatter()),
        case("traceroute", traceroute()),
        case("crashed server", crashed_server(false)),
        case("server that refuses", crashed_server(true)),
        case("return after sleep", after_sleep()),
        case("domain clients", domain_clients()),
        case("router asks for neighbours", router()),
        case("ice candidates", ice()),
        case("strangers knock", strangers()),
    ]
}

pub fn peer_to_peer() -> Traffic {
    peer_to_peer_on(0)
}

/// Hundreds of peers, a third of them away; `common` is the port of a third of them (0: nothing is common).
fn peer_to_peer_on(common: u16) -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(1 + u64::from(common)));
    let me = "192.168.1.50";
    let mut at = EPOCH;
    for peer in 0..700u64 {
        at += if peer < 250 { dice.below(200) * MS } else { dice.below(12 * S) };
        let (address, mut port) = (outside(&mut dice), u16::try_from(dice.between(1025, 65_000)).unwrap());
        if common > 0 && dice.chance(33) {
            port = common;
        } else if dice.chance(15) {
            port = 6881;
        }
        let to = (address.as_str(), port);
        match (peer % 3 == 0, dice.below(100)) {
            (true, 0..40) => traffic.unanswered(at, (me, dice.port()), to, 2),
            (true, 40..55) => traffic.refused(at, (me, dice.port()), to),
            (true, _) => {
                let turns: Vec<_> = (0..dice.between(2, 6))
                    .map(|_| turn(dice.below(20 * S), 400, usize::try_from(dice.below(16_000)).unwrap()))
                    .collect();
                traffic.tcp(at, (me, dice.port()), to, &turns, End::Fin);
            }
            (false, 0..35) => traffic.datagram(at, (me, 51_413), to, 100, None),
            (false, 35..38) => {
                traffic.datagram(at, (me, 51_413), to, 100, None);
                let quoted = packet().between(me, to.0).udp(51_413, to.1).payload_bytes(100);
                traffic.unreachable(at + 80 * MS, to.0, 3, &quoted, me);
            }
            _ => traffic.datagram(at, (me, 51_413), to, 100, Some(300)),
        }
        if dice.chance(30) {
            // Peers that found us.
            let stranger = outside(&mut dice);
            traffic.datagram(at + S, (&stranger, dice.port()), (me, 51_413), 100, Some(300));
        }
    }
    traffic
}

pub fn browser() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(2));
    let mut at = EPOCH;
    for site in 0..100 {
        at += dice.below(if site % 10 == 0 { 40 * S } else { S });
        let server = outside(&mut dice);
        traffic.datagram(at - 30 * MS, ("192.168.1.20", dice.port()), ("192.168.1.1", 53), 40, Some(150));
        let (me6, server6) = ("2001:db8:1::20", format!("2001:db8:{}::{}", 100 + site, dice.below(9999)));
        match dice.below(100) {
            0..6 => traffic.unanswered(at, ("192.168.1.20", dice.port()), (&server, 443), 3),
            6..8 => traffic.refused(at, ("192.168.1.20", dice.port()), (&server, 443)),
            8..30 => {
                if dice.chance(50) {
                    traffic.unanswered(at, (me6, dice.port()), (&server6, 443), 1);
                } else {
                    page(&mut traffic, &mut dice, at, me6, &server6, 443);
                }
                page(&mut traffic, &mut dice, at + 250 * MS, "192.168.1.20", &server, 443);
            }
            _ => page(&mut traffic, &mut dice, at, "192.168.1.20", &server, 443),
        }
    }
    traffic
}

/// A firewall drops UDP 443: every site is tried over QUIC first, and reached over TCP.
fn browser_without_quic() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(3));
    let mut at = EPOCH;
    for _ in 0..80 {
        at += dice.below(4 * S);
        let server = outside(&mut dice);
        let port = dice.port();
        for again in 0..3 {
            traffic.datagram(at + again * 300 * MS, ("192.168.1.21", port), (&server, 443), 1250, None);
        }
        page(&mut traffic, &mut dice, at + 300 * MS, "192.168.1.21", &server, 443);
    }
    traffic
}

/// IPv6 leads nowhere: every site is tried over it, and reached over IPv4 a moment later (RFC 8305).
fn dead_ipv6() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(4));
    let mut at = EPOCH;
    for site in 0..80u64 {
        at += dice.below(5 * S);
        let (server, server6) = (outside(&mut dice), format!("2001:db8:{:x}::{:x}", 256 + site, site * 7));
        traffic.unanswered(at, ("2001:db8:1::22", dice.port()), (&server6, 443), 1);
        page(&mut traffic, &mut dice, at + 250 * MS, "192.168.1.22", &server, 443);
    }
    traffic
}

pub fn resolver() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(5));
    let servers: Vec<String> = (0..300).map(|_| outside(&mut dice)).collect();
    let mut at = EPOCH;
    for _ in 0..6000 {
        at += dice.below(250) * MS;
        let client = inside(dice.below(40));
        traffic.datagram(at, (&client, dice.port()), ("192.168.1.53", 53), 38, Some(120));
        if dice.chance(40) {
            let server = &servers[usize::try_from(dice.below(300)).unwrap()];
            let answer = if server.ends_with('7') { None } else { Some(300) };
            traffic.datagram(at + MS, ("192.168.1.53", dice.port()), (server, 53), 45, answer);
        }
    }
    traffic
}

fn resolver_is_down() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(6));
    for second in 0..600 {
        for _ in 0..8 {
            let (client, at) = (inside(dice.below(50)), EPOCH + second * S + dice.below(999) * MS);
            let answer = if (120..480).contains(&second) { None } else { Some(90) };
            let port = dice.port();
            traffic.datagram(at, (&client, port), ("192.168.1.53", 53), 40, answer);
            if answer.is_none() {
                traffic.datagram(at + 2 * S, (&client, port), ("192.168.1.54", 53), 40, None);
            }
        }
    }
    traffic
}

pub fn mail_server() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(7));
    let me = "192.168.1.25";
    let mut at = EPOCH;
    for round in 0..400u64 {
        // A newsletter in the middle.
        at += if (100..250).contains(&round) { dice.below(2 * S) } else { dice.below(20 * S) };
        let other = outside(&mut dice);
        match dice.below(100) {
            0..15 => traffic.unanswered(at, (me, dice.port()), (&other, 25), 3),
            15..22 => traffic.refused(at, (me, dice.port()), (&other, 25)),
            _ => {
                let turns = [
                    turn(50 * MS, 0, 60),
                    turn(20 * MS, 30, 200),
                    turn(30 * MS, 6000, 80),
                    turn(10 * MS, 6, 30),
                ];
                traffic.tcp(at, (me, dice.port()), (&other, 25), &turns, End::Fin);
            }
        }
        let stranger = outside(&mut dice);
        let turns = [turn(50 * MS, 0, 60), turn(20 * MS, 300, 200), turn(30 * MS, 9000, 80)];
        traffic.tcp(at + 3 * S, (&stranger, dice.port()), (me, 25), &turns, End::Fin);
    }
    traffic
}

fn crawler() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(8));
    let mut at = EPOCH;
    for _ in 0..900 {
        at += dice.below(1200) * MS;
        let server = outside(&mut dice);
        let port = if dice.chance(30) { 80 } else { 443 };
        match dice.below(100) {
            0..14 => traffic.unanswered(at, ("192.168.1.80", dice.port()), (&server, port), 2),
            14..20 => traffic.refused(at, ("192.168.1.80", dice.port()), (&server, port)),
            _ => page(&mut traffic, &mut dice, at, "192.168.1.80", &server, port),
        }
    }
    traffic
}

fn proxy() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(9));
    let mut at = EPOCH;
    for _ in 0..1500 {
        at += dice.below(600) * MS;
        let (client, server) = (inside(dice.below(60)), outside(&mut dice));
        page(&mut traffic, &mut dice, at, &client, "192.168.1.31", 3128);
        if dice.chance(8) {
            traffic.unanswered(at, ("192.168.1.31", dice.port()), (&server, 443), 2);
        } else {
            page(&mut traffic, &mut dice, at + 5 * MS, "192.168.1.31", &server, 443);
        }
    }
    traffic
}

/// Forty people and one peer-to-peer program behind one address, timers of theirs included.
fn nat_gateway() -> Traffic {
    let (mut traffic, mut dice) = (peer_to_peer(), Dice::new(10));
    for _ in 0..1500 {
        let (at, server) = (EPOCH + dice.below(60 * MINUTE), outside(&mut dice));
        if dice.chance(6) {
            traffic.unanswered(at, ("192.168.1.50", dice.port()), (&server, 443), 2);
        } else {
            page(&mut traffic, &mut dice, at, "192.168.1.50", &server, 443);
        }
    }
    for service in 0..6u64 {
        let server = outside(&mut dice);
        for beat in 0..60 {
            let at = EPOCH + service * 7 * S + beat * MINUTE + dice.below(500) * MS;
            let turns = [turn(0, 250, 400)];
            traffic.tcp(at, ("192.168.1.50", dice.port()), (&server, 443), &turns, End::Fin);
        }
    }
    traffic
}

/// 200 hosts pinged every minute and asked on three ports; every tenth is down.
fn monitoring() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(11));
    let me = "192.168.1.60";
    for round in 0..12 {
        for host in 0..200u64 {
            let (at, target) = (EPOCH + round * MINUTE + host * 200 * MS, inside(host));
            let up = host % 10 != 3;
            traffic.ping(at, me, &target, 56, up);
            for port in [22, 80, 9100] {
                let at = at + u64::from(port) * MS / 4;
                match (up, (host + u64::from(port)) % 9) {
                    (false, _) => traffic.unanswered(at, (me, dice.port()), (&target, port), 1),
                    (true, 0) => traffic.refused(at, (me, dice.port()), (&target, port)),
                    _ => {
                        traffic.tcp(at, (me, dice.port()), (&target, port), &[turn(0, 80, 200)], End::Fin);
                    }
                }
            }
        }
    }
    traffic
}

fn ntp() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(12));
    let servers: Vec<String> = (0..8).map(|_| outside(&mut dice)).collect();
    for host in 0..30 {
        for beat in 0..80 {
            for server in 0..4 {
                let server = &servers[usize::try_from((host + server) % 8).unwrap()];
                let at = EPOCH + beat * 64 * S + host * 777 * MS;
                traffic.datagram(at, (&inside(host), 123), (server, 123), 48, Some(48));
            }
        }
    }
    traffic
}

fn chatter() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(13));
    for host in 0..60u64 {
        let me = format!("192.168.10.{}", host + 10);
        for beat in 0..30 {
            let at = EPOCH + beat * 30 * S + dice.below(20 * S);
            traffic.datagram(at, (&me, 5353), ("224.0.0.251", 5353), 120, None);
            traffic.datagram(at + S, (&me, dice.port()), ("239.255.255.250", 1900), 170, None);
            traffic.datagram(at + 2 * S, (&me, dice.port()), ("224.0.0.252", 5355), 40, None);
            traffic.datagram(at + 3 * S, (&me, 137), ("192.168.10.255", 137), 50, None);
            traffic.datagram(at + 3 * S, (&me, 17_500), ("255.255.255.255", 17_500), 140, None);
            traffic.datagram(at + 4 * S, ("0.0.0.0", 68), ("255.255.255.255", 67), 300, None);
            let mac = [2, 0, 0, 0, 1, u8::try_from(host).unwrap()];
            let own = [192, 168, 10, u8::try_from(host + 10).unwrap()];
            for target in 0..dice.below(4) {
                traffic.arp(at + target * MS, mac, own, [192, 168, 10, u8::try_from(dice.below(80)).unwrap()]);
            }
        }
    }
    traffic
}

fn voip() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(14));
    for phone in 0..3u64 {
        let me = inside(phone);
        for beat in 0..180 {
            let at = EPOCH + beat * 30 * S + phone * S;
            traffic.datagram(at, (&me, 5060), ("192.168.1.70", 5060), 4, None);
            if beat % 2 == 0 {
                traffic.datagram(at + MS, (&me, 5060), ("192.168.1.70", 5060), 600, Some(500));
            }
        }
        for call in 0..4 {
            let (at, mine, theirs) = (EPOCH + call * 900 * S, dice.port(), dice.port());
            let other = outside(&mut dice);
            for frame in 0..3000 {
                let at = at + frame * 20 * MS;
                traffic.put(at, &packet().between(&me, &other).udp(mine, theirs).payload_bytes(172));
                traffic.put(at + 7 * MS, &packet().between(&other, &me).udp(theirs, mine).payload_bytes(172));
            }
        }
    }
    traffic
}

/// Chat and push programs: one connection for hours, a ping every 30 s, news when there is some.
fn websockets() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(15));
    for (client, port, every) in [(0, 443, 30), (1, 443, 45), (2, 8443, 25), (3, 443, 60)] {
        let (me, server, own) = (inside(client), outside(&mut dice), dice.port());
        let me = (me.as_str(), own);
        traffic.tcp(EPOCH, me, (&server, port), &[turn(0, 900, 4000)], End::Open);
        for beat in 1..150 {
            let at = EPOCH + beat * every * S + dice.below(60) * MS;
            traffic.talk(at, me, (&server, port), &[turn(0, 36, 36)]);
            if dice.chance(25) {
                let news = usize::try_from(dice.between(60, 4000)).unwrap();
                traffic.talk(at + dice.below(every * S), me, (&server, port), &[turn(0, 0, news)]);
            }
        }
    }
    traffic
}

fn update_checks() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(16));
    let (update, check) = (outside(&mut dice), outside(&mut dice));
    for host in 0..5u64 {
        let me = inside(host);
        for beat in 0..18 {
            let at = EPOCH + beat * 300 * S + host * 13 * S + dice.below(200) * MS;
            traffic.tcp(at, (&me, dice.port()), (&update, 443), &[turn(0, 600, 5200)], End::Fin);
            traffic.tcp(at + S, (&me, dice.port()), (&check, 80), &[turn(0, 90, 190)], End::Fin);
        }
    }
    traffic
}

fn mail_polling() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(17));
    let server = outside(&mut dice);
    for beat in 0..60 {
        let at = EPOCH + beat * MINUTE + dice.below(300) * MS;
        let turns = [turn(0, 500, 4200), turn(30 * MS, 60, 120), turn(30 * MS, 60, 300)];
        traffic.tcp(at, ("192.168.1.90", dice.port()), (&server, 993), &turns, End::Fin);
    }
    traffic
}

fn cloud_sync() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(18));
    let (store, notify) = (outside(&mut dice), outside(&mut dice));
    let mut at = EPOCH;
    // A long poll: the answer comes after a minute, the next question at once.
    let me = ("192.168.1.91", 40_001);
    traffic.tcp(EPOCH, me, (&notify, 443), &[turn(0, 700, 4500)], End::Open);
    for beat in 1..80 {
        let at = EPOCH + beat * MINUTE + dice.below(80) * MS;
        traffic.talk(at, me, (&notify, 443), &[turn(0, 0, 180), turn(5 * MS, 420, 0)]);
    }
    for _ in 0..60 {
        at += dice.below(2 * MINUTE);
        let bytes = usize::try_from(dice.between(2000, 900_000)).unwrap();
        traffic.tcp(at, ("192.168.1.91", dice.port()), (&store, 443), &[turn(0, bytes, 600)], End::Fin);
    }
    traffic
}

fn backup() -> Traffic {
    let mut traffic = Traffic::default();
    for host in 0..4u64 {
        let (me, at) = (inside(host), EPOCH + host * 20 * S);
        let turns: Vec<_> = (0..60).map(|_| turn(20 * MS, 250_000, 100)).collect();
        traffic.tcp(at, (&me, 41_000), ("192.168.1.95", 873), &turns, End::Fin);
    }
    traffic
}

fn ssh_by_hand() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(19));
    for session in 0..3u64 {
        let me = inside(session);
        let mut turns = vec![turn(0, 1500, 2500), turn(100 * MS, 500, 600)];
        for _ in 0..400 {
            let pause = if dice.chance(5) { dice.below(90 * S) } else { dice.between(60, 700) * MS };
            turns.push(turn(pause, 36, usize::try_from(dice.between(36, 900)).unwrap()));
        }
        let end = traffic.tcp(EPOCH, (&me, 50_000), ("192.168.1.96", 22), &turns, End::Open);
        // Then it is left open, and keeps itself alive.
        for beat in 1..40 {
            let at = end + beat * MINUTE;
            traffic.talk(at, (&me, 50_000), ("192.168.1.96", 22), &[turn(0, 64, 36)]);
        }
    }
    traffic
}

/// A playbook: twenty hosts over SSH, four at a time, several connections each.
fn ansible() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(20));
    for host in 0..20u64 {
        for task in 0..6 {
            let at = EPOCH + host / 4 * 20 * S + task * 3 * S + dice.below(400) * MS;
            let bytes = usize::try_from(dice.between(2000, 60_000)).unwrap();
            let turns = [turn(0, 1500, 2500), turn(50 * MS, 800, 700), turn(200 * MS, bytes, 3000)];
            traffic.tcp(at, ("192.168.1.97", dice.port()), (&inside(host), 22), &turns, End::Fin);
        }
    }
    traffic
}

/// A node asks each of its pods every ten seconds; one of them is down for a while.
fn liveness() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(21));
    for beat in 0..90 {
        for pod in 0..30u64 {
            let (target, at) = (format!("10.244.1.{}", pod + 2), EPOCH + beat * 10 * S + pod * 130 * MS);
            if pod == 7 && (20..50).contains(&beat) {
                traffic.refused(at, ("10.244.1.1", dice.port()), (&target, 8080));
            } else {
                traffic.tcp(at, ("10.244.1.1", dice.port()), (&target, 8080), &[turn(0, 110, 160)], End::Fin);
            }
        }
    }
    traffic
}

/// Scrapes every 15 s, each over a connection that stays open.
fn prometheus() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(22));
    for target in 0..12u64 {
        let (address, port) = (inside(target), dice.port());
        let me = ("192.168.1.98", port);
        let to = (address.as_str(), 9100);
        traffic.tcp(EPOCH + target * S, me, to, &[turn(0, 300, 9000)], End::Open);
        for beat in 1..120 {
            let size = usize::try_from(dice.between(8800, 9300)).unwrap();
            traffic.talk(EPOCH + target * S + beat * 15 * S, me, to, &[turn(0, 300, size)]);
        }
    }
    traffic
}

/// Two balancers ask three servers every five seconds, beside the real requests.
fn load_balancer() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(23));
    for balancer in ["192.168.1.5", "192.168.1.6"] {
        for server in ["192.168.2.1", "192.168.2.2", "192.168.2.3"] {
            for beat in 0..240 {
                let at = EPOCH + beat * 5 * S + dice.below(20) * MS;
                traffic.tcp(at, (balancer, dice.port()), (server, 8080), &[turn(0, 90, 130)], End::Fin);
                if dice.chance(40) {
                    page(&mut traffic, &mut dice, at + 2 * S, balancer, server, 8080);
                }
            }
        }
    }
    traffic
}

fn port_reuse() -> Traffic {
    let mut traffic = Traffic::default();
    for round in 0..300u64 {
        let port = 40_000 + u16::try_from(round % 4).unwrap();
        let at = EPOCH + round * 900 * MS;
        traffic.tcp(at, ("192.168.1.99", port), ("192.168.2.9", 8080), &[turn(0, 200, 900)], End::Fin);
    }
    traffic
}

/// Flooded hosts elsewhere answer forged packets with our addresses in them, for a day.
fn backscatter() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(24));
    let victims: Vec<String> = (0..12).map(|_| outside(&mut dice)).collect();
    for _ in 0..12_000 {
        let victim = usize::try_from(dice.below(12)).unwrap();
        // A victim's flood comes in waves.
        let at = EPOCH + dice.below(24) * 3600 * S + dice.below(900 * S);
        let ours = format!("192.168.{}.{}", dice.below(16), dice.below(256));
        let (from, port) = (&victims[victim], dice.port());
        match victim {
            0..6 => traffic.segment(at, (from, 80), (&ours, port), flag::SYN | flag::ACK, 0),
            6..9 => traffic.segment(at, (from, 22), (&ours, port), flag::RST | flag::ACK, 0),
            9 => traffic.ping(at, from, &ours, 32, false),
            10 => {
                let quoted = packet().between(&ours, from).udp(port, 7777).payload_bytes(20);
                traffic.unreachable(at, from, 3, &quoted, &ours);
            }
            _ => traffic.put(at, &packet().between(from, &ours).udp(53, port).payload_bytes(200)),
        }
        if victim < 6 && dice.chance(30) {
            traffic.segment(at + 2 * MS, (&ours, port), (from, 80), flag::RST, 0);
        }
    }
    // Echo *replies*, not requests, are what a flooded host sends.
    for (_, frame) in &mut traffic.frames {
        if frame.get(23) == Some(&1) && frame.get(34) == Some(&8) {
            frame[34] = 0;
        }
    }
    traffic
}

fn traceroute() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(25));
    let me = "192.168.1.33";
    for run in 0..8u64 {
        let (target, at) = (outside(&mut dice), EPOCH + run * 30 * S);
        for probe in 0..48u64 {
            let at = at + probe * 50 * MS;
            let frame = packet()
                .between(me, &target)
                .udp(40_000, 33_434 + u16::try_from(probe).unwrap())
                .payload_bytes(24);
            traffic.put(at, &frame);
            let hop = format!("20.0.{run}.{}", probe / 3 + 1);
            match probe {
                0..36 if probe % 7 != 3 => {
                    let answer = packet().between(&hop, me).icmp(11, 0).embed(&frame);
                    traffic.put(at + 20 * MS, &answer);
                }
                36.. => traffic.unreachable(at + 30 * MS, &target, 3, &frame, me),
                _ => {}
            }
        }
    }
    traffic
}

/// Sixty clients of one server, which goes away for ten minutes.
fn crashed_server(refuses: bool) -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(26));
    for client in 0..60u64 {
        let me = inside(client);
        let mut at = EPOCH + dice.below(10 * S);
        while at < EPOCH + 1200 * S {
            if (EPOCH + 300 * S..EPOCH + 900 * S).contains(&at) {
                if refuses {
                    traffic.refused(at, (&me, dice.port()), ("192.168.1.10", 8443));
                } else {
                    traffic.unanswered(at, (&me, dice.port()), ("192.168.1.10", 8443), 2);
                }
                at += dice.between(1000, 6000) * MS;
            } else {
                page(&mut traffic, &mut dice, at, &me, "192.168.1.10", 8443);
                at += dice.between(5, 40) * S;
            }
        }
    }
    traffic
}

fn after_sleep() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(27));
    let me = "192.168.1.34";
    let servers: Vec<String> = (0..40).map(|_| outside(&mut dice)).collect();
    for (number, server) in (0u64..).zip(&servers) {
        // Connections from before: their first segments meet servers that have forgotten them.
        let port = dice.port();
        let at = EPOCH + number * 30 * MS;
        traffic.segment(at, (me, port), (server, 443), flag::ACK | flag::PSH, 60);
        if dice.chance(70) {
            traffic.segment(at + 30 * MS, (server, 443), (me, port), flag::RST, 0);
        }
        traffic.segment(at + 40 * MS, (me, dice.port()), (server, 443), flag::FIN | flag::ACK, 0);
        // The network is not up yet: the first tries are lost.
        traffic.unanswered(at + 100 * MS, (me, dice.port()), (server, 443), 1);
        page(&mut traffic, &mut dice, at + 6 * S, me, server, 443);
    }
    traffic
}

fn domain_clients() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(28));
    for client in 0..25u64 {
        let me = inside(client);
        for round in 0..5 {
            let at = EPOCH + round * 600 * S + dice.below(300 * S);
            for (dc, port) in [(1, 88), (1, 389), (1, 445), (2, 135), (2, 49_670), (1, 88), (3, 445)] {
                let server = format!("192.168.1.{}", 200 + dc);
                let at = at + dice.below(5 * S);
                traffic.tcp(at, (&me, dice.port()), (&server, port), &[turn(0, 900, 1400)], End::Fin);
            }
        }
    }
    traffic
}

/// A router after its start: it asks for everybody, and for addresses that strangers knock at.
fn router() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(29));
    let mac = [2, 0, 0, 0, 0, 0xfe];
    for host in 0..200u8 {
        let at = EPOCH + u64::from(host) * 150 * MS;
        let ours = format!("192.168.20.{host}");
        let stranger = outside(&mut dice);
        let knock = packet().between(&stranger, &ours).udp(40_000, 5060).payload_bytes(100);
        traffic.put(at, &knock.macs(mac, [2, 0, 0, 0, 9, host]));
        traffic.arp(at, mac, [192, 168, 20, 254], [192, 168, 20, host]);
        let target = std::net::Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, u16::from(host) + 1);
        let ask = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, u16::from(host) + 1);
        let frame = packet().between("fe80::1", &ask.to_string()).icmp(135, 0).payload(&target.octets());
        traffic.put(at, &frame.macs(mac, [0x33, 0x33, 0xff, 0, 0, host]));
        let answer = packet().between(&target.to_string(), "fe80::1").icmp(136, 0).payload(&target.octets());
        traffic.put(at + 2 * MS, &answer.macs([2, 0, 0, 0, 9, host], mac));
    }
    traffic
}

/// A conference looks for ways to its other end: candidates on many ports, most of them behind walls (RFC 8445).
fn ice() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(30));
    for call in 0..6u64 {
        let (peer, at) = (outside(&mut dice), EPOCH + call * 240 * S);
        for candidate in 0..14u64 {
            let target = if candidate % 3 == 0 { format!("10.9.{call}.{candidate}") } else { peer.clone() };
            let answer = if candidate == 4 { Some(100) } else { None };
            for again in 0..6 {
                let at = at + candidate * 50 * MS + again * 500 * MS;
                let to = (target.as_str(), 50_000 + u16::try_from(candidate * 13).unwrap());
                traffic.datagram(at, ("192.168.1.35", 45_000), to, 100, answer);
            }
        }
    }
    traffic
}

/// What knocks at every public address: many strangers, a few ports each.
fn strangers() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(31));
    for _ in 0..3000 {
        let (stranger, at) = (outside(&mut dice), EPOCH + dice.below(90 * MINUTE));
        let port = [22, 23, 80, 445, 3389, 8080][usize::try_from(dice.below(6)).unwrap()];
        for try_ in 0..dice.between(1, 3) {
            let ours = format!("192.168.3.{}", dice.between(1, 250));
            traffic.refused(at + try_ * S, (&stranger, dice.port()), (&ours, port));
        }
    }
    traffic
}
