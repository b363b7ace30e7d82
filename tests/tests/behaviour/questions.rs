//! DNS over UDP to a service that challenges: what a limit refuses of an unproven source is sent to TCP, and a resolver's client that
//! goes there is served in a flood.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use monitor_common::{rule::setting, verdict::Reason::*};
use monitor_tests::{
    harness::{
        daemon::Daemon,
        flood::{Flood, Plan, Sources},
        network::Space,
        packet::{Packet, packet, packet6},
        program::{DROP, Program, TX},
        rules::{self, START},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use rustix::net::{
    AddressFamily, SocketType,
    sockopt::{Timeout, set_socket_timeout},
};

const RULES: &str = r#"
[access]
inside = []
[flood]
new_sources = "1k/s"
burst = 100
known_after = "1s"
[[service]]
name = "dns"
protocol = ["udp", "tcp"]
ports = [53]
mode = "enforce"
aggregate = { packets = "2k/s", packets_burst = 200, reserve = 0.95 }
challenge = true
"#;

/// A question for an address of `name.example`, as `dig` asks: recursion desired, with EDNS and a cookie behind it.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in [name, "example"] {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    message
}

/// Bytes of a question up to the end of its class.
fn asked(message: &[u8]) -> usize {
    message.len() - 23
}

/// A program whose strangers' share is spent.
fn spent(bare: &Packet, text: &str, flags: u32) -> Result<(Program, u32)> {
    let program = Program::load()?;
    let mut image = rules::compile(text, None)?;
    image.settings.flags |= flags;
    program.install(&image);
    program.set_clock(START);
    let is_v6 = {
        let frame = bare.clone().build();
        frame[12 + 4 * usize::from(frame[12] == 0x81)] == 0x86
    };
    for number in 0..300u32 {
        let source = if is_v6 {
            format!("2001:db8:{number:x}::1")
        } else {
            format!("198.18.{}.{}", number / 200, number % 200)
        };
        program.judge(&bare.clone().source(&source).udp(1000, 53).payload(&question("a")).build(), 1);
    }
    Ok((program, rules::number(&image, "dns")))
}

/// The message of an answer, once its headers are found to be right.
fn read(question: &[u8], answer: &[u8]) -> Vec<u8> {
    assert!(answer.len() <= question.len(), "{} for {}", answer.len(), question.len());
    assert_eq!((&answer[..6], &answer[6..12]), (&question[6..12], &question[..6]));
    let (was, is) =
        (SlicedPacket::from_ethernet(question).unwrap(), SlicedPacket::from_ethernet(answer).unwrap());
    assert_eq!(was.link_exts.len(), is.link_exts.len());
    let (Some(TransportSlice::Udp(asked)), Some(TransportSlice::Udp(udp))) = (&was.transport, &is.transport)
    else {
        panic!("not UDP: {answer:?}")
    };
    assert_eq!((udp.source_port(), udp.destination_port()), (asked.destination_port(), asked.source_port()));
    let (header, message) = (udp.to_header(), udp.payload());
    let checksum = match (was.net.unwrap(), is.net.unwrap()) {
        (NetSlice::Ipv4(was), NetSlice::Ipv4(ip)) => {
            let (was, ip) = (was.header().to_header(), ip.header().to_header());
            assert_eq!((ip.source, ip.destination), (was.destination, was.source));
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            header.calc_checksum_ipv4(&ip, message).unwrap()
        }
        (NetSlice::Ipv6(was), NetSlice::Ipv6(ip)) => {
            let (was, ip) = (was.header().to_header(), ip.header().to_header());
            assert_eq!((ip.source, ip.destination), (was.destination, was.source));
            header.calc_checksum_ipv6(&ip, message).unwrap()
        }
        _ => panic!("another family"),
    };
    assert_eq!(header.checksum, checksum);
    assert_eq!(usize::from(header.length), 8 + message.len());
    message.to_vec()
}

#[test]
fn a_question_over_a_limit_is_answered_as_truncated() {
    let kinds =
        [("IPv4", packet()), ("IPv6", packet6()), ("a VLAN", packet().vlan(7)), ("both", packet6().vlan(7))];
    for (name, bare) in kinds {
        let (program, dns) = or_skip!("questions", spent(&bare, RULES, setting::COOKIES));
        let before = program.ended(dns, Challenged);
        let longest = "a".repeat(63);
        for label in ["a", "www", "four", &longest] {
            let message = question(label);
            let frame = bare.clone().udp(4000, 53).payload(&message).build();
            let (verdict, answer) = program.answer(&frame);
            assert_eq!(verdict, TX, "{name}: {label}");
            let said = read(&frame, &answer);
            let mut wanted = message[..asked(&message)].to_vec();
            (wanted[2], wanted[3], wanted[11]) = (0x83, 0, 0);
            assert_eq!(said, wanted, "{name}: {label}");
        }
        assert_eq!(program.ended(dns, Challenged), before + 4, "{name}");
    }
}

#[test]
fn only_whole_questions_to_a_service_that_challenges_are_answered() {
    let asking = |message: &[u8]| packet().udp(4000, 53).payload(message).build();
    let whole = question("www");
    let refused = |(program, dns): &(Program, u32), what: &str, frame: Vec<u8>| {
        let before = program.ended(*dns, Challenged);
        assert_eq!(program.judge(&frame, 1).verdict, DROP, "{what}");
        assert_eq!(program.ended(*dns, Challenged), before, "{what}");
    };
    let silent = RULES.replace("challenge = true", "");
    let silent = or_skip!("no answers", spent(&packet(), &silent, setting::COOKIES));
    refused(&silent, "no service asks for it", asking(&whole));
    let without = or_skip!("no answers", spent(&packet(), RULES, 0));
    refused(&without, "the host takes no cookies", asking(&whole));

    let asked_for = or_skip!("no answers", spent(&packet(), RULES, setting::COOKIES));
    for (what, at, byte) in [
        ("an answer", 2, 0x81),
        ("another kind of question", 2, 0x28),
        ("two questions", 5, 2),
        ("no question", 5, 0),
        ("a pointer for a name", 12, 0xc0),
        ("a name without an end", 12, 63),
    ] {
        let mut message = whole.clone();
        message[at] = byte;
        refused(&asked_for, what, asking(&message));
    }
    refused(&asked_for, "cut within the class", asking(&whole[..asked(&whole) - 1]));
    refused(&asked_for, "a bare header", asking(&whole[..12]));
    refused(&asked_for, "nothing", asking(&[]));
    let options = packet().options(&[1, 1, 1, 0]).udp(4000, 53).payload(&whole).build();
    refused(&asked_for, "IPv4 options", options);
    assert_eq!(asked_for.0.judge(&asking(&whole), 1).verdict, TX, "none of these is what hinders it");
}

/// Answers every question, over UDP and TCP, with one address.
fn serve(space: &Space, at: SocketAddr) -> Result<()> {
    let (ready, is_ready) = channel();
    space.enter(move || -> Result<()> {
        let (udp, tcp) = (UdpSocket::bind(at)?, TcpListener::bind(at)?);
        thread::spawn(move || {
            for stream in tcp.incoming() {
                thread::spawn(move || -> Result<()> {
                    let mut stream = stream?;
                    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                    let mut length = [0; 2];
                    stream.read_exact(&mut length)?;
                    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut message)?;
                    let answer = answered(&message);
                    stream.write_all(&u16::try_from(answer.len())?.to_be_bytes())?;
                    Ok(stream.write_all(&answer)?)
                });
            }
        });
        ready.send(())?;
        let mut message = [0; 512];
        loop {
            let (length, from) = udp.recv_from(&mut message)?;
            let _ = udp.send_to(&answered(&message[..length]), from);
        }
    })?;
    is_ready.recv().context("the server did not start")
}

fn answered(message: &[u8]) -> Vec<u8> {
    let mut answer = message[..asked(message).min(message.len())].to_vec();
    (answer[2], answer[3], answer[7], answer[11]) = (0x81, 0x80, 1, 0);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    answer
}

fn connect(from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &from)?;
    let stream = TcpStream::from(socket);
    set_socket_timeout(&stream, Timeout::Send, Some(Duration::from_secs(3)))?;
    rustix::net::connect(&stream, &to)?;
    Ok(stream)
}

/// What a resolver's client does: it asks over UDP, and over TCP what is truncated. Whether it went there.
fn resolve(from: SocketAddr, to: SocketAddr) -> Result<bool> {
    let message = question("www");
    let udp = UdpSocket::bind(from)?;
    udp.set_read_timeout(Some(Duration::from_secs(1)))?;
    udp.send_to(&message, to)?;
    let mut answer = [0; 512];
    let (length, _) = udp.recv_from(&mut answer).context("no answer over UDP")?;
    ensure!(answer[..2] == message[..2] && answer[2] & 0x80 != 0, "no answer to the question");
    let truncated = answer[2] & 2 != 0;
    let whole = if truncated {
        let mut stream = connect(from, to).context("connect")?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(&u16::try_from(message.len())?.to_be_bytes())?;
        stream.write_all(&message)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).context("no answer over TCP")?;
        let mut whole = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut whole)?;
        whole
    } else {
        answer[..length].to_vec()
    };
    ensure!(whole.ends_with(&[192, 0, 2, 1]), "not the address: {whole:?}");
    Ok(truncated)
}

#[test]
fn a_resolver_is_served_over_tcp_in_a_flood_of_forged_questions() {
    let scene = or_skip!("a resolver in a flood", Scene::to_guard());
    let _passing = Program::passing(&scene.wire, "guarded").unwrap();
    let rules = format!("{RULES}[challenge]\nset_tcp_syncookies = true\n");
    // Everybody on the wire is of one /64, which the first connection proves; so the client has a network of its own too.
    scene.client.set("net/ipv6/ip_nonlocal_bind", "1").unwrap();
    scene.client.ip(&["-6", "route", "add", "local", "fd79::/64", "dev", "lo"]).unwrap();
    let via = scene.client_address(Over::Ipv6).to_string();
    scene.guarded.ip(&["-6", "route", "add", "fd79::/64", "via", &via, "dev", INTERFACE]).unwrap();
    for over in [Over::Ipv4, Over::Ipv6] {
        let to = scene.service(over, 53);
        serve(&scene.guarded, to).unwrap();
    }
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE], &rules).unwrap();
    for over in [Over::Ipv4, Over::Ipv6] {
        scene.warm_up(over).unwrap();
        // The listener speaks once before it is answered for.
        let to = scene.service(over, 53);
        let early = scene.attacker.enter(move || TcpStream::connect_timeout(&to, Duration::from_secs(3)));
        early.unwrap().join().unwrap().unwrap();
    }
    let frame = packet()
        .macs([2, 0, 0, 0, 0, 9], scene.guarded_mac().unwrap())
        .between("10.77.0.3", "10.77.0.1")
        .udp(4000, 53)
        .payload(&question("flood"))
        .build();
    let plan = Plan {
        interface: INTERFACE.to_owned(),
        frame,
        sources: Sources::Spoofed,
        per_second: 10_000,
        time: Duration::from_secs(30),
    };
    let flood = Flood::start(&scene.attacker, plan).unwrap();
    thread::sleep(Duration::from_secs(2));
    for over in [Over::Ipv4, Over::Ipv6] {
        let address =
            if over == Over::Ipv6 { "fd79::1".parse().unwrap() } else { scene.client_address(over) };
        let (from, to) = (SocketAddr::new(address, 0), scene.service(over, 53));
        let client = move || -> Vec<Result<bool>> {
            (0..10)
                .map(|_| {
                    thread::sleep(Duration::from_millis(20));
                    resolve(from, to)
                })
                .collect()
        };
        let resolved = scene.client.enter(client).unwrap().join().unwrap();
        let served = resolved.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(served >= 9, "{over:?}: {resolved:?}");
        // Going there proves the address; UDP is enough from then on.
        let went = resolved.iter().filter(|outcome| outcome.as_ref().is_ok_and(|truncated| *truncated));
        assert!((1..=2).contains(&went.count()), "{over:?}: {resolved:?}");
        assert!(resolved[9].as_ref().is_ok_and(|truncated| !truncated), "{over:?}: {resolved:?}");
    }
    flood.stop().unwrap();
    let challenged = guarded.metric("sluice_packets_total", &["reason=\"challenged\""]).unwrap();
    assert!(challenged > 1_000.0, "{challenged} answers");
}
