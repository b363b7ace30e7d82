//! What servers do, and those who look after them.

use monitor_tests::harness::timeline::{Dice, EPOCH, End, MS, S, Traffic, turn};

use super::{MINUTE, inside, outside, page, people::peer_to_peer};

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

pub fn resolver_is_down() -> Traffic {
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

pub fn crawler() -> Traffic {
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

pub fn proxy() -> Traffic {
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
pub fn nat_gateway() -> Traffic {
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
pub fn monitoring() -> Traffic {
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

/// A playbook: twenty hosts over SSH, four at a time, several connections each.
pub fn ansible() -> Traffic {
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
pub fn liveness() -> Traffic {
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
pub fn prometheus() -> Traffic {
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
pub fn load_balancer() -> Traffic {
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

/// Sixty clients of one server, which goes away for ten minutes.
pub fn crashed_server(refuses: bool) -> Traffic {
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

pub fn backup() -> Traffic {
    let mut traffic = Traffic::default();
    for host in 0..4u64 {
        let (me, at) = (inside(host), EPOCH + host * 20 * S);
        let turns: Vec<_> = (0..60).map(|_| turn(20 * MS, 250_000, 100)).collect();
        traffic.tcp(at, (&me, 41_000), ("192.168.1.95", 873), &turns, End::Fin);
    }
    traffic
}
