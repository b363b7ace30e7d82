//! What fleets of machines and their caretakers do: clusters, pools, collectors, mirrors, relays.

use monitor_tests::harness::timeline::{Dice, EPOCH, End, MS, S, Traffic, turn};

use super::{MINUTE, inside, outside, page};

/// Three hundred targets of a discovery that lags behind: some are gone, some are not there yet.
pub fn scrapes_of_many() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(400));
    for round in 0..20 {
        for target in 0..300u64 {
            let at = EPOCH + round * 30 * S + target * 97 * MS;
            let to = format!("10.244.{}.{}", target / 100, target % 100 + 2);
            let port = if target % 3 == 0 { 9090 } else { 9100 };
            match target % 25 {
                7 if round > 5 => traffic.unanswered(at, ("10.0.9.9", dice.port()), (&to, port), 1),
                13 => traffic.refused(at, ("10.0.9.9", dice.port()), (&to, port)),
                _ => {
                    traffic.tcp(at, ("10.0.9.9", dice.port()), (&to, port), &[turn(0, 300, 9000)], End::Fin);
                }
            }
        }
    }
    traffic
}

/// A node probes its pods; a deployment replaces them, and for a moment the old ones are asked for.
pub fn rolling_deployment() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(401));
    for beat in 0..120 {
        for pod in 0..40u64 {
            let gone = beat > 40 + pod;
            let (old, new) = (format!("10.244.7.{}", pod + 2), format!("10.244.7.{}", pod + 102));
            let at = EPOCH + beat * 10 * S + pod * 110 * MS;
            if beat == 41 + pod {
                traffic.unanswered(at, ("10.244.7.1", dice.port()), (&old, 8080), 1);
            }
            let to = if gone { &new } else { &old };
            traffic.tcp(at, ("10.244.7.1", dice.port()), (to, 8080), &[turn(0, 110, 160)], End::Fin);
        }
    }
    traffic
}

/// Application servers keep connections to databases and queues open and say little on most of them.
pub fn database_pools() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(402));
    for (server, port) in [("192.168.3.1", 27_017), ("192.168.3.2", 5433), ("192.168.3.3", 5672)] {
        for client in 0..4u64 {
            for _ in 0..6 {
                let (me, own) = (inside(client), dice.port());
                let mut at = EPOCH + dice.below(30 * S);
                traffic.tcp(at, (&me, own), (server, port), &[turn(0, 300, 400)], End::Open);
                for _ in 0..60 {
                    at += 10 * S + dice.below(400) * MS;
                    let turns = [turn(0, 40, 60)];
                    traffic.talk(at, (&me, own), (server, port), &turns);
                    if dice.chance(30) {
                        let down = usize::try_from(dice.between(100, 20_000)).unwrap();
                        traffic.talk(
                            at + dice.below(8 * S),
                            (&me, own),
                            (server, port),
                            &[turn(0, 400, down)],
                        );
                    }
                }
            }
        }
    }
    traffic
}

/// Two hundred clients of one server whose connections all broke at once; most of them are served again.
pub fn reconnect_storm(over_s: u64) -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(403));
    for client in 0..200u64 {
        let me = inside(client);
        let first = EPOCH + dice.below(120 * S);
        traffic.tcp(first, (&me, dice.port()), ("192.168.3.9", 8883), &[turn(0, 200, 300)], End::Open);
        // The server is away for ten seconds, then its queue of new connections overflows.
        let mut at = EPOCH + 300 * S + dice.below(over_s * S);
        for _ in 0..4 {
            let is_up = at > EPOCH + 310 * S;
            if is_up && dice.chance(70) {
                traffic.tcp(at, (&me, dice.port()), ("192.168.3.9", 8883), &[turn(0, 200, 300)], End::Open);
                break;
            }
            traffic.unanswered(at, (&me, dice.port()), ("192.168.3.9", 8883), 1);
            at += dice.between(3, 6) * S;
        }
    }
    traffic
}

/// The edge nodes of a delivery network fetch from the origin: few of them, many short connections.
pub fn delivery_network() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(404));
    let nodes: Vec<String> = (0..40).map(|_| outside(&mut dice)).collect();
    for number in 0..6000u64 {
        let at = EPOCH + number * 5 * MS + dice.below(20) * MS;
        let node = &nodes[usize::try_from(dice.below(40)).unwrap()];
        let down = usize::try_from(dice.between(300, 9000)).unwrap();
        traffic.tcp(at, (node, dice.port()), ("192.168.3.10", 443), &[turn(0, 500, down)], End::Fin);
    }
    traffic
}

/// A list of game servers is asked for their state: many hosts, one port and its neighbours, a third of them gone.
pub fn game_servers() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(405));
    for number in 0..400u64 {
        let (server, port) = (outside(&mut dice), 27_015 + u16::try_from(dice.below(5)).unwrap());
        let at = EPOCH + number * 40 * MS;
        let answer = if dice.chance(35) { None } else { Some(120) };
        traffic.datagram(at, ("192.168.1.70", 50_123), (&server, port), 25, answer);
    }
    // And then one is played on.
    let server = outside(&mut dice);
    for tick in 0..2000u64 {
        let at = EPOCH + 30 * S + tick * 33 * MS;
        traffic.datagram(at, ("192.168.1.70", 50_124), (&server, 27_015), 60, Some(180));
    }
    traffic
}

/// A resolver that asks everybody itself, over both families, where IPv6 leads nowhere.
pub fn resolver_without_ipv6() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(406));
    for number in 0..600u64 {
        let at = EPOCH + number * 700 * MS + dice.below(300) * MS;
        let (four, six) = (outside(&mut dice), format!("2001:db8:{:x}::53", dice.below(60_000)));
        if dice.chance(60) {
            traffic.datagram(at, ("fd00::53", dice.port()), (&six, 53), 50, None);
        }
        traffic.datagram(at + 400 * MS, ("192.168.1.53", dice.port()), (&four, 53), 50, Some(200));
    }
    traffic
}

/// Routers tell a collector what they carry, and hosts their logs: nobody answers.
pub fn collectors() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(407));
    for beat in 0..120 {
        for (from, to, port, every) in
            [("192.168.1.1", "192.168.3.11", 2055, 10), ("192.168.1.2", "192.168.3.12", 6343, 5)]
        {
            let at = EPOCH + beat * every * S;
            for piece in 0..dice.between(2, 5) {
                traffic.datagram(at + piece * MS, (from, 40_000), (to, port), 1400, None);
            }
        }
        let at = EPOCH + beat * 10 * S + dice.below(S);
        traffic.datagram(at, ("192.168.1.3", 41_000), ("192.168.3.13", 8125), 300, None);
        traffic.datagram(at, ("192.168.1.4", 41_001), ("192.168.3.14", 5140), 300, None);
    }
    traffic
}

/// A trunk asks its provider whether it is there; a phone registers again and again.
pub fn sip_keeps_in_touch() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(408));
    for (me, every) in [("192.168.1.71", 30), ("192.168.1.72", 55)] {
        let provider = outside(&mut dice);
        for beat in 0..80 {
            let at = EPOCH + beat * every * S + dice.below(30) * MS;
            traffic.datagram(at, (me, 5060), (&provider, 5060), 420, Some(380));
        }
    }
    traffic
}

/// Sixty machines fetch their updates from one mirror in the same hour, each by many short connections.
pub fn package_mirror() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(409));
    for client in 0..60u64 {
        let mut at = EPOCH + dice.below(20 * MINUTE);
        for _ in 0..dice.between(20, 60) {
            at += dice.between(50, 1500) * MS;
            let down = usize::try_from(dice.between(2000, 90_000)).unwrap();
            let me = inside(client);
            traffic.tcp(at, (&me, dice.port()), ("192.168.3.15", 80), &[turn(0, 250, down)], End::Fin);
        }
    }
    traffic
}

/// A manager asks two hundred devices over SNMP; every tenth has been switched off.
pub fn snmp_manager() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(410));
    for round in 0..10 {
        for device in 0..200u64 {
            let at = EPOCH + round * MINUTE + device * 50 * MS;
            let answer = if device % 10 == 4 { None } else { Some(200) };
            traffic.datagram(at, ("192.168.3.16", dice.port()), (&inside(device), 161), 80, answer);
        }
    }
    traffic
}

/// A conference over UDP: media both ways, reports between, a relay beside the direct way.
pub fn conference() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(411));
    let (relay, server) = (outside(&mut dice), outside(&mut dice));
    for port in 3478..3482 {
        traffic.datagram(
            EPOCH + u64::from(port) * MS,
            ("192.168.1.73", 50_003),
            (&relay, port),
            28,
            Some(60),
        );
    }
    for tick in 0..3000u64 {
        let at = EPOCH + S + tick * 20 * MS;
        let bytes = usize::try_from(dice.between(160, 1100)).unwrap();
        traffic.datagram(at, ("192.168.1.73", 50_003), (&server, 3480), bytes, Some(900));
        if tick % 250 == 0 {
            traffic.datagram(at, ("192.168.1.73", 50_004), (&server, 3481), 90, Some(80));
        }
    }
    traffic
}

/// A tunnel between two sites: echoes of its own size, and a monitor that pings through large and small.
pub fn path_discovery() -> Traffic {
    let mut traffic = Traffic::default();
    let mut at = EPOCH;
    for round in 0..4 {
        for size in [56, 500, 1000, 1200, 1400, 1472] {
            at += S;
            traffic.ping(at, "192.168.1.74", "192.168.3.17", size, size < 1472 || round % 5 == 0);
        }
    }
    traffic
}

/// A web server in the open: people, crawlers, and the noise of the net at closed ports.
pub fn public_server() -> Traffic {
    let (mut traffic, mut dice) = (Traffic::default(), Dice::new(412));
    for _ in 0..800 {
        let (at, who) = (EPOCH + dice.below(30 * MINUTE), outside(&mut dice));
        for _ in 0..dice.between(1, 4) {
            let at = at + dice.below(3 * S);
            page(&mut traffic, &mut dice, at, &who, "192.168.3.18", 443);
        }
    }
    for _ in 0..1500 {
        let (at, who) = (EPOCH + dice.below(30 * MINUTE), outside(&mut dice));
        let port = u16::try_from(dice.between(1, 9000)).unwrap();
        traffic.refused(at, (&who, dice.port()), ("192.168.3.18", port));
    }
    traffic
}
