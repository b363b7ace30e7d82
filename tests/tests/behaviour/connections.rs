//! Open connections: what counts, when it ends, and what a client gets that holds all it may; and services that take encrypted
//! connections alone.

use std::sync::atomic::{AtomicU16, Ordering};

use datapath::{Capacities, Simulator};
use monitor_common::{
    flow::SourceKey,
    verdict::Reason::{self, *},
};
use monitor_tests::{
    harness::{
        packet::{Packet, flag::*, packet, packet6},
        rules::{self, SECOND, START},
    },
    or_skip,
};
mod live;

const LIMITED: &str = r#"
[access]
inside = []
[[service]]
name = "web"
protocol = "tcp"
ports = [80]
mode = "MODE"
limit = { concurrent = 3 }
AGGREGATE
"#;

const TLS_ONLY: &str = r#"
[access]
inside = []
[[service]]
name = "web"
protocol = "tcp"
ports = [80]
mode = "off"
encryption = "MODE"
"#;

/// The kernel program, to which both ends of connections come in as on a mirror port.
struct Bench {
    simulator: Simulator,
    service: u32,
    now: u64,
}

impl Bench {
    fn new(text: &str, mode: &str, aggregate: &str) -> anyhow::Result<Self> {
        let image = rules::compile(&text.replace("MODE", mode).replace("AGGREGATE", aggregate), None)?;
        let mut simulator = Simulator::open(Capacities::default(), Some(rules::HASH_KEY))?;
        simulator.apply(&image)?;
        Ok(Self { simulator, service: rules::number(&image, "web"), now: START })
    }
}

/// One connection: a client's end and the server's.
struct Connection {
    bare: Packet,
    ends: [String; 2],
    port: u16,
    /// Next sequence numbers of the client and of the server.
    next: [u32; 2],
}

static PORT: AtomicU16 = AtomicU16::new(10_000);

impl Connection {
    fn of(bare: Packet, client: &str, server: &str) -> Self {
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let ends = [client.to_owned(), server.to_owned()];
        Self { bare, ends, port, next: [u32::from(port) << 16, 0xffff_fff0] }
    }

    /// From `client` over IPv4.
    fn from(client: &str) -> Self {
        Self::of(packet(), client, "10.2.0.1")
    }

    /// A segment of one end (0 the client); its reason, and what an observing limit would have said.
    fn send(&mut self, bench: &mut Bench, end: usize, flags: u8, data: &[u8]) -> (Reason, Option<Reason>) {
        let (from, to) = (self.ends[end].clone(), self.ends[1 - end].clone());
        let ports = if end == 0 { (self.port, 80) } else { (80, self.port) };
        let mut frame =
            self.bare.clone().between(&from, &to).tcp(ports.0, ports.1, flags).payload(data).build();
        let header = if frame[12] == 0x86 { 54 } else { 34 };
        frame[header + 4..header + 8].copy_from_slice(&self.next[end].to_be_bytes());
        let acknowledged = if flags & ACK == 0 { 0 } else { self.next[1 - end] };
        frame[header + 8..header + 12].copy_from_slice(&acknowledged.to_be_bytes());
        let verdict = bench.simulator.run(&frame, bench.now).unwrap();
        if !matches!(verdict.reason, OpenConnections | AggregateOpenConnections | NotEncrypted) {
            let ends = u32::from(flags & (SYN | FIN) != 0);
            self.next[end] = self.next[end].wrapping_add(u32::try_from(data.len()).unwrap() + ends);
        }
        (verdict.reason, verdict.would_drop)
    }

    /// SYN and SYN-ACK; whether the SYN passed.
    fn ask(&mut self, bench: &mut Bench) -> bool {
        if matches!(self.send(bench, 0, SYN, &[]).0, OpenConnections | AggregateOpenConnections) {
            return false;
        }
        self.send(bench, 1, SYN | ACK, &[]);
        true
    }

    /// The whole handshake; whether it was let pass.
    fn open(&mut self, bench: &mut Bench) -> bool {
        self.ask(bench) && self.send(bench, 0, ACK, &[]).0 != OpenConnections
    }
}

fn held(bench: &Bench, client: &str) -> u32 {
    let (high, low) = rules::address(client);
    bench.simulator.open_connections().unwrap().held(&SourceKey::new(high, low, bench.service))
}

fn open(bench: &Bench) -> u64 {
    let counters = bench.simulator.counters().unwrap();
    counters.open.iter().find(|(service, _)| *service == bench.service).map_or(0, |(_, open)| open.open)
}

const CLIENT: &str = "10.1.0.1";

#[test]
fn a_source_holds_as_many_connections_as_its_limit_says_and_each_end_gives_a_place_back() {
    for (bare, client, server) in [(packet(), CLIENT, "10.2.0.1"), (packet6(), "fd00:1::1", "fd00:2::1")] {
        let mut bench = or_skip!("open connections", Bench::new(LIMITED, "enforce", ""));
        let bench = &mut bench;
        let connection = || Connection::of(bare.clone(), client, server);
        let mut three: Vec<_> = (0..3).map(|_| connection()).collect();
        assert!(three.iter_mut().all(|one| one.open(bench)));
        assert_eq!(open(bench), 3);
        assert_eq!(connection().send(bench, 0, SYN, &[]).0, OpenConnections);
        assert!(
            Connection::of(bare.clone(), if server.contains(':') { "fd00:9::1" } else { "10.1.0.9" }, server)
                .open(bench)
        );
        // What it holds goes on.
        assert_eq!(three[0].send(bench, 0, ACK | PSH, b"GET / HTTP/1.1\r\n").0, Accepted);
        three[0].send(bench, 1, ACK | PSH, b"HTTP/1.1 200 OK\r\n");
        // The client's FIN alone keeps its server busy; the server's is the end.
        three[0].send(bench, 0, ACK | FIN, &[]);
        assert!(!connection().open(bench), "half closed");
        three[0].send(bench, 1, ACK | FIN, &[]);
        three[0].send(bench, 0, ACK, &[]);
        let mut fourth = connection();
        assert!(fourth.open(bench) && !connection().open(bench));
        // A reset of the server, one of the client that fits.
        three[1].send(bench, 1, RST, &[]);
        three[2].send(bench, 0, RST, &[]);
        assert_eq!(open(bench), 2);
        let (mut fifth, mut sixth) = (connection(), connection());
        assert!(fifth.open(bench) && sixth.open(bench) && !connection().open(bench));
        for one in [&mut fourth, &mut fifth, &mut sixth] {
            one.send(bench, 1, ACK | FIN, &[]);
        }
        assert_eq!(open(bench), 1);
    }
}

#[test]
fn forged_packets_neither_count_nor_free_a_place() {
    let mut bench = or_skip!("forged packets", Bench::new(LIMITED, "enforce", ""));
    let bench = &mut bench;
    for _ in 0..50 {
        let mut forged = Connection::from(CLIENT);
        assert!(forged.ask(bench));
        // Nobody told the number that the server chose.
        forged.next[1] = forged.next[1].wrapping_add(77);
        forged.send(bench, 0, ACK, &[]);
        forged.send(bench, 0, ACK | PSH, b"data");
    }
    assert_eq!((open(bench), held(bench, CLIENT)), (0, 0));
    let mut three: Vec<_> = (0..3).map(|_| Connection::from(CLIENT)).collect();
    assert!(three.iter_mut().all(|one| one.open(bench)));
    assert_eq!(held(bench, CLIENT), 3);
    // Resets that no server takes, and SYNs on a connection that lives.
    for off in [0xffff_0000, 1 << 20] {
        let sequence = three[0].next[0];
        three[0].next[0] = sequence.wrapping_add(off);
        three[0].send(bench, 0, RST, &[]);
        three[0].send(bench, 0, SYN, &[]);
        three[0].next[0] = sequence;
    }
    assert_eq!(held(bench, CLIENT), 3);
    assert!(!Connection::from(CLIENT).open(bench));
}

#[test]
fn of_handshakes_side_by_side_no_more_than_the_limit_come_through() {
    let mut bench = or_skip!("handshakes side by side", Bench::new(LIMITED, "enforce", ""));
    let bench = &mut bench;
    let mut eight: Vec<_> = (0..8).map(|_| Connection::from(CLIENT)).collect();
    assert!(eight.iter_mut().all(|one| one.ask(bench)), "none is open yet");
    let through = |one: &mut Connection, bench: &mut Bench| one.send(bench, 0, ACK, &[]).0 != OpenConnections;
    assert_eq!(eight.iter_mut().filter_map(|one| through(one, bench).then_some(())).count(), 3);
    // Data does not complete what the ACK could not.
    assert_eq!(eight[7].send(bench, 0, ACK | PSH, b"GET /").0, OpenConnections);
    eight[0].send(bench, 1, ACK | FIN, &[]);
    assert_eq!(eight[7].send(bench, 0, ACK | PSH, b"GET /").0, Accepted, "there is room now");
    assert_eq!(held(bench, CLIENT), 3);
}

#[test]
fn what_began_unseen_counts_once_its_server_answers() {
    let mut bench = or_skip!("connections that began unseen", Bench::new(LIMITED, "enforce", ""));
    let bench = &mut bench;
    let mut three: Vec<_> = (0..4).map(|_| Connection::from(CLIENT)).collect();
    for one in &mut three {
        assert_eq!(one.send(bench, 0, ACK | PSH, b"more").0, Accepted);
        assert_eq!(one.send(bench, 0, ACK, &[]).0, Accepted);
    }
    assert_eq!(held(bench, CLIENT), 0, "it may be forged");
    for one in &mut three {
        one.send(bench, 1, ACK, &[]);
        assert_eq!(one.send(bench, 0, ACK, &[]).0, Accepted, "what is open is not cut");
    }
    assert_eq!(held(bench, CLIENT), 4);
    assert!(!Connection::from(CLIENT).open(bench));
}

#[test]
fn a_connection_that_falls_silent_gives_its_place_back() {
    let mut bench = or_skip!("silent connections", Bench::new(LIMITED, "enforce", ""));
    let bench = &mut bench;
    let mut three: Vec<_> = (0..3).map(|_| Connection::from(CLIENT)).collect();
    assert!(three.iter_mut().all(|one| one.open(bench)));
    let mut tables = bench.simulator.open_connections().unwrap();
    // Data in flight, and a reset behind it that may be one.
    three[2].next[0] = three[2].next[0].wrapping_add(500);
    three[2].send(bench, 0, RST, &[]);
    bench.now = START + 20 * SECOND;
    tables.sweep(bench.now);
    assert_eq!((held(bench, CLIENT), open(bench)), (2, 2));
    bench.now = START + 3000 * SECOND;
    three[0].send(bench, 1, ACK, &[]);
    bench.now = START + 3700 * SECOND;
    tables.sweep(bench.now);
    assert_eq!((held(bench, CLIENT), open(bench)), (1, 1), "the server kept one alive");
    for _ in 0..3 {
        tables.sweep(bench.now);
    }
    assert_eq!((held(bench, CLIENT), open(bench)), (1, 1), "nothing is taken off twice");
}

#[test]
fn all_sources_together_hold_no_more_than_the_service_takes_and_strangers_leave_the_reserve() {
    let aggregate = "aggregate = { concurrent = 10, reserve = 0.5, mode = \"enforce\" }";
    let mut bench = or_skip!("open connections of all", Bench::new(LIMITED, "off", aggregate));
    let bench = &mut bench;
    let passed =
        (0..20).filter(|host| Connection::from(&format!("10.1.1.{host}")).ask_and_open(bench)).count();
    assert_eq!((passed, open(bench)), (5, 5), "the other half is for known sources");
    assert_eq!(Connection::from("10.1.1.99").send(bench, 0, SYN, &[]).0, AggregateOpenConnections);
}

impl Connection {
    fn ask_and_open(mut self, bench: &mut Bench) -> bool {
        self.open(bench)
    }
}

#[test]
fn a_limit_that_observes_counts_each_connection_over_it_once() {
    let mut bench = or_skip!("observed connections", Bench::new(LIMITED, "observe", ""));
    let bench = &mut bench;
    let mut five: Vec<_> = (0..5).map(|_| Connection::from(CLIENT)).collect();
    let mut noted = 0;
    for one in &mut five {
        for (end, flags) in [(0, SYN), (1, SYN | ACK), (0, ACK)] {
            noted += u32::from(one.send(bench, end, flags, &[]).1 == Some(OpenConnections));
        }
    }
    assert_eq!((held(bench, CLIENT), noted), (5, 2));
}

#[test]
fn a_service_that_takes_tls_alone_refuses_data_in_clear_before_its_server_sees_any() {
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat();
    for (mode, refused) in [("enforce", true), ("observe", false)] {
        let mut bench = or_skip!("encryption", Bench::new(TLS_ONLY, mode, ""));
        let bench = &mut bench;
        let mut clear = Connection::from(CLIENT);
        assert!(clear.open(bench));
        let first = clear.send(bench, 0, ACK | PSH, b"GET / HTTP/1.1\r\n\r\n");
        let wanted = if refused { (NotEncrypted, None) } else { (Unlimited, Some(NotEncrypted)) };
        assert_eq!(first, wanted);
        let again = clear.send(bench, 0, ACK | PSH, b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(again, if refused { wanted } else { (Unlimited, None) });
        if refused {
            // Nothing behind it comes through either, whatever it looks like.
            assert_eq!(clear.send(bench, 0, ACK | PSH, &hello).0, NotEncrypted);
        }
        for cut in [1, 3, 5, 6, 100, hello.len()] {
            let mut tls = Connection::from(CLIENT);
            assert!(tls.open(bench));
            for part in [&hello[..cut], &hello[cut..]] {
                assert_eq!(tls.send(bench, 0, ACK | PSH, part), (Unlimited, None), "{cut}");
            }
        }
        for short in [&b"G"[..], b"GET", b"GET / ", b"\x16GET"] {
            let mut clear = Connection::from(CLIENT);
            assert!(clear.open(bench));
            assert_eq!(clear.send(bench, 0, ACK | PSH, short), wanted, "{short:?}");
        }
        // A connection that began unseen is in whatever state it is.
        let mut old = Connection::from(CLIENT);
        assert_eq!(old.send(bench, 0, ACK | PSH, b"GET / HTTP/1.1\r\n\r\n"), (Unlimited, None));
        let counters = bench.simulator.counters().unwrap();
        let (_, counted) = counters.open.iter().find(|(service, _)| *service == bench.service).unwrap();
        assert_eq!((counted.clear, counted.encrypted), (5, 6));
    }
}
