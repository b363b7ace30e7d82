//! A list of crafted frames against a host with the program and without it: what a denied source sends reaches nothing, however
//! it is wrapped, and what Linux refuses is not counted as served.

use std::{net::UdpSocket, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use datapath::{Allowed, Datapath, Options};
use monitor_common::verdict::Reason;
use monitor_tests::{
    harness::{
        flood::send_each,
        network::{Network, Space},
        packet::{Packet, Wrong, flag::SYN, number::*, packet, packet6},
        pins::{PinDirectory, enter},
        rules,
    },
    or_skip,
};

const RULES: &str = r#"
[access]
inside = []
denied = ["198.51.100.0/24", "2001:db8:bad::/48"]
[default]
mode = "enforce"
limit = { packets = "1M/s" }
[fragments]
mode = "off"
"#;

/// A source of each family.
type Sources = (&'static str, &'static str);
const DENIED: Sources = ("198.51.100.66", "2001:db8:bad::66");
const OPEN: Sources = ("203.0.113.66", "2001:db8:aaaa::66");

/// Counts what comes in, before anything puts fragments together.
const COUNTERS: &str = "table inet crafted { chain first { type filter hook prerouting priority -450; \
    ip saddr 198.51.100.0/24 counter; ip6 saddr 2001:db8:bad::/48 counter; \
    ip saddr 203.0.113.0/24 counter; ip6 saddr 2001:db8:aaaa::/48 counter; }; }";

fn frames(sources: Sources) -> Vec<Vec<u8>> {
    let v4 = || packet().between(sources.0, "10.99.0.1");
    let v6 = || packet().between(sources.1, "fd99::1");
    let mut all = Vec::new();
    for bare in [v4(), v6()] {
        let uppers = [bare.clone().udp(4000, 9000), bare.clone().tcp(4000, 8080, SYN), bare.icmp(8, 0)];
        for upper in uppers {
            all.extend(behind_tags(&upper));
            all.extend(behind_shims(&upper));
        }
    }
    all.extend(extensions(&v6()));
    all.extend([v4(), v6()].iter().flat_map(fragments));
    all.extend(lengths(&v4(), &v6()));
    all
}

fn behind_tags(upper: &Packet) -> Vec<Vec<u8>> {
    let zeros = |count| (0..count).fold(upper.clone(), |packet, _| packet.vlan(0));
    let mut all: Vec<_> = [0, 1, 2, 3, 5, 8, 16, 17, 20, 60].map(|count| zeros(count).build()).into();
    // Real identifiers need VLAN devices, which not every kernel has; the fixtures hold them to the rules.
    all.push(upper.clone().provider(0).provider(0).provider(0).build());
    all
}

fn behind_shims(upper: &Packet) -> Vec<Vec<u8>> {
    let frame = upper.build();
    let v6 = frame[12] == 0x86;
    let protocol = if v6 { 0x57 } else { 0x21 };
    let session = [0x11, 0, 0, 1, 0, 40, 0, protocol];
    let short = [0x11, 0, 0, 1, 0, 39, protocol];
    let shims: [(u16, &[u8]); 4] = [
        (0x8864, &session),
        (0x8864, &short),
        (0x8847, &[0, 1, 1, 64]),
        (0x8848, &[0, 1, 0, 64, 0, 2, 1, 64]),
    ];
    let behind =
        |(kind, shim): (u16, &[u8])| [&frame[..12], &kind.to_be_bytes(), shim, &frame[14..]].concat();
    shims.map(behind).into()
}

fn extensions(bare: &Packet) -> Vec<Vec<u8>> {
    let chain = |first: u8, count: usize| {
        (1..count)
            .fold(bare.clone().extension(first, 1), |packet, _| packet.extension(DESTINATION_OPTIONS, 1))
    };
    let mut all = Vec::new();
    for count in [1, 2, 4, 7, 8, 9, 10, 20, 100] {
        for first in [HOP_BY_HOP, DESTINATION_OPTIONS] {
            all.push(chain(first, count).udp(4000, 9000).build());
            all.push(chain(first, count).tcp(4000, 8080, SYN).build());
        }
    }
    all
}

/// Datagrams in two pieces, cut at every eight bytes of the header and beyond, in both orders.
fn fragments(bare: &Packet) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (number, whole) in (0u16..).zip([bare.clone().udp(4000, 9000), bare.clone().tcp(4000, 8080, SYN)]) {
        let protocol = if number == 0 { UDP } else { TCP };
        let bytes = whole.payload_bytes(24).build();
        let header = if bytes[12] == 0x86 { 54 } else { 34 };
        let upper = &bytes[header..];
        for cut in (8..upper.len()).step_by(8) {
            let offset = u16::try_from(cut).unwrap_or_default();
            let piece = |offset, more| bare.clone().fragment(offset, more).protocol(protocol);
            let (first, later) =
                (piece(0, true).payload(&upper[..cut]), piece(offset, false).payload(&upper[cut..]));
            all.extend([first.build(), later.build(), later.build(), first.build()]);
        }
    }
    all
}

fn lengths(v4: &Packet, v6: &Packet) -> Vec<Vec<u8>> {
    let (short, long) = (v4.clone().udp(4000, 9000), v6.clone().udp(4000, 9000));
    let mut all: Vec<_> = (0..=10).map(|words| short.clone().options(&vec![1; words * 4]).build()).collect();
    all.extend((34..42).map(|length| short.clone().cut(length).build()));
    all.extend((54..62).map(|length| long.clone().cut(length).build()));
    for wrong in [
        Wrong::HeaderWords(4),
        Wrong::HeaderWords(15),
        Wrong::TotalLength(19),
        Wrong::TotalLength(60_000),
        Wrong::TotalLength(27),
        Wrong::UdpLength(3),
        Wrong::UdpLength(2000),
    ] {
        all.push(short.clone().wrong(wrong).build());
    }
    for wrong in
        [Wrong::PayloadLength(0), Wrong::PayloadLength(9), Wrong::PayloadLength(7), Wrong::UdpLength(3)]
    {
        all.push(long.clone().wrong(wrong).build());
    }
    all.push(packet6().between("::ffff:198.51.100.66", "fd99::1").udp(4000, 9000).build());
    all
}

/// A host whose frames are counted, and a peer that sends them.
struct Place {
    _network: Network,
    host: Space,
    peer: Space,
    socket: UdpSocket,
    pins: PinDirectory,
}

/// What arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Arrived {
    denied: u64,
    open: u64,
    datagrams: u64,
}

impl Place {
    /// The thread of the test moves into the host.
    fn new() -> Result<Self> {
        let mut network = Network::new()?;
        let (host, peer) = (network.space()?, network.space()?);
        let ends: [(&str, &[&str]); 2] =
            [("guard0", &["10.99.0.1/24", "fd99::1/64"]), ("peer0", &["10.99.0.2/24", "fd99::2/64"])];
        network.link(&host, &peer, ends)?;
        host.ip(&["link", "set", "guard0", "address", "02:00:00:00:00:02"])?;
        for interface in ["all", "default", "guard0"] {
            host.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        }
        host.ip(&["route", "add", "default", "via", "10.99.0.2"])?;
        host.run("nft", &[COUNTERS]).context("the test needs nftables")?;
        enter(&host)?;
        let socket = UdpSocket::bind("[::]:9000")?;
        socket.set_nonblocking(true)?;
        Ok(Self { _network: network, host, peer, socket, pins: PinDirectory::new()? })
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> Result<Arrived> {
        let before = self.counted()?;
        let sender = self.peer.enter(move || {
            // Few at a time: the host's queues are short.
            frames.chunks(20).try_for_each(|some| {
                thread::sleep(Duration::from_millis(2));
                send_each("peer0", some)
            })
        })?;
        let sent = sender.join();
        ensure!(matches!(sent, Ok(Ok(()))), "the frames were not sent: {sent:?}");
        thread::sleep(Duration::from_millis(200));
        let mut datagrams = 0;
        while self.socket.recv(&mut [0; 2048]).is_ok() {
            datagrams += 1;
        }
        let after = self.counted()?;
        Ok(Arrived { denied: after.0 - before.0, open: after.1 - before.1, datagrams })
    }

    /// Frames of denied and of open sources that came as far as the IP layer's hooks.
    fn counted(&self) -> Result<(u64, u64)> {
        let text = self.host.run("nft", &["-j", "list", "table", "inet", "crafted"])?;
        let text: serde_json::Value = serde_json::from_str(&text)?;
        let rules = text["nftables"].as_array().context("a list")?.iter();
        let expressions = rules.filter_map(|entry| entry["rule"]["expr"].as_array()).flatten();
        let counts: Vec<u64> =
            expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).collect();
        let [denied, denied6, open, open6] = counts[..] else { anyhow::bail!("counters: {counts:?}") };
        Ok((denied + denied6, open + open6))
    }
}

fn guarded(place: &Place) -> Result<Datapath> {
    let options = Options { pin_directory: place.pins.path().to_owned(), ..Options::default() };
    let mut datapath = Datapath::open(&options)?;
    rules::apply(&mut datapath, RULES)?;
    datapath.attach("guard0", Allowed::Native)?;
    Ok(datapath)
}

fn ended(datapath: &Datapath, reason: Reason) -> Result<u64> {
    let totals = datapath.counters()?.totals;
    Ok(totals.iter().map(|row| row.totals.ended[reason as usize].packets).sum())
}

#[test]
fn of_two_hundred_crafted_frames_none_of_a_denied_source_arrives_and_none_that_linux_refuses_is_served() {
    let place = or_skip!("crafted frames", Place::new());
    let (denied, open) = (frames(DENIED), frames(OPEN));
    assert!(denied.len() >= 200, "{} frames", denied.len());
    let bare = [place.send(denied.clone()).unwrap(), place.send(open.clone()).unwrap()];
    // Linux takes most of them, or the list proves nothing.
    assert!(bare[0].denied > 150 && bare[0].datagrams > 40, "{bare:?}");
    assert_eq!((bare[1].open, bare[1].datagrams), (bare[0].denied, bare[0].datagrams), "{bare:?}");

    let datapath = guarded(&place).unwrap();
    assert_eq!(place.send(denied.clone()).unwrap(), Arrived::default());
    let refused = ended(&datapath, Reason::Denied).unwrap();
    assert!(refused >= bare[0].denied, "{refused} denied of {} that Linux takes", bare[0].denied);

    let before = ended(&datapath, Reason::Accepted).unwrap();
    let arrived = place.send(open).unwrap();
    let served = ended(&datapath, Reason::Accepted).unwrap() - before;
    println!("{} frames; without {bare:?}; with the program {arrived:?}, {served} served", denied.len());
    assert!(served <= bare[1].open, "{served} served, and Linux takes {}", bare[1].open);
    assert!(served > 100 && arrived.open >= served && arrived.datagrams > 20, "{served} served, {arrived:?}");
}
