//! What networks do by themselves, and what comes in from outside.

use monitor_tests::harness::{
    packet::{flag, packet},
    timeline::{Dice, EPOCH, End, MS, S, Traffic, turn},
};

use super::{MINUTE, inside, outside};

pub fn ntp() -> Traffic {
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

pub fn chatter() -> Traffic {
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
                traffic.arp(
                    at + target * MS,
                    mac,
                    own,
                    [192, 168, 10, u8::try_from(dice.below(80)).unwrap()],
                );
            }
        }
    }
    traffic
}

pub fn port_reuse() -> Traffic {
    let mut traffic = Traffic::default();
    for round in 0..300u64 {
        let port = 40_000 + u16::try_from(round % 4).unwrap();
        let at = EPOCH + round * 900 * MS;
        traffic.tcp(at, ("192.168.1.99", port), ("192.168.2.9", 8080), &[turn(0, 200, 900)], End::Fin);
    }
    traffic
}

/// Flooded hosts elsewhere answer forged packets with our addresses in them, for a day.
pub fn backscatter() -> Traffic {
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

pub fn traceroute() -> Traffic {
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

pub fn domain_clients() -> Traffic {
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
pub fn router() -> Traffic {
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

/// What knocks at every public address: many strangers, a few ports each.
pub fn strangers() -> Traffic {
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
