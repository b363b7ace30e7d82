//! What people and their programs do.

use monitor_tests::harness::{
    packet::{flag, packet},
    timeline::{Dice, EPOCH, End, MS, S, Traffic, turn},
};

use super::{MINUTE, inside, outside, page};

pub fn peer_to_peer() -> Traffic {
    peer_to_peer_on(0)
}

/// Hundreds of peers, a third of them away; `common` is the port of a third of them (0: nothing is common).
pub fn peer_to_peer_on(common: u16) -> Traffic {
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
pub fn browser_without_quic() -> Traffic {
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
pub fn dead_ipv6() -> Traffic {
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

pub fn ssh_by_hand() -> Traffic {
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

pub fn after_sleep() -> Traffic {
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

/// A conference looks for ways to its other end: candidates on many ports, most of them behind walls (RFC 8445).
pub fn ice() -> Traffic {
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

pub fn voip() -> Traffic {
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
pub fn websockets() -> Traffic {
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

pub fn cloud_sync() -> Traffic {
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

pub fn mail_polling() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(17));
    let server = outside(&mut dice);
    for beat in 0..60 {
        let at = EPOCH + beat * MINUTE + dice.below(300) * MS;
        let turns = [turn(0, 500, 4200), turn(30 * MS, 60, 120), turn(30 * MS, 60, 300)];
        traffic.tcp(at, ("192.168.1.90", dice.port()), (&server, 993), &turns, End::Fin);
    }
    traffic
}

pub fn update_checks() -> Traffic {
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
