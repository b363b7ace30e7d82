//! Challenges through test runs: what is answered and with which bytes, and which proofs are taken.
//!
//! The answers are read by a parser that is not ours.

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use monitor_common::{
    challenge::{Heard, Listener, place},
    flow::BanKey,
    names::map,
    record::entry,
    rule::setting,
    verdict::Reason::{self, *},
};
use monitor_tests::{
    harness::{
        packet::{Packet, flag::*, packet, packet6},
        program::{DROP, PASS, Program, TX},
        rules::{self, SECOND, START},
    },
    or_skip,
};

const RULES: &str = r#"
[access]
inside = []
[flood]
new_sources = "1k/s"
burst = 100
[[service]]
name = "web"
protocol = "tcp"
ports = [80, 81]
mode = "enforce"
aggregate = { packets = "100/s", packets_burst = 20, reserve = 0.5 }
challenge = true
"#;

const COOKIES: u32 =
    setting::COOKIES | setting::COOKIE_STAMPS | setting::COOKIE_SACK | setting::COOKIE_WINDOWS;
/// As Linux opens a connection: segment size, SACK, timestamp, window scale.
const LINUX: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 9];

/// A program with a listener at port 80, whose strangers' share is spent.
struct Flooded {
    program: Program,
    web: u32,
    bare: Packet,
}

impl Flooded {
    fn new(bare: &Packet, text: &str, flags: u32) -> anyhow::Result<Self> {
        let program = Program::load()?;
        let mut image = rules::compile(text, None)?;
        image.settings.flags |= flags;
        program.install(&image);
        program.set_clock(START);
        let this = Self { program, web: rules::number(&image, "web"), bare: bare.clone() };
        for is_v4 in [true, false] {
            let listener = Listener::heard(80, 64_240, 63, 1440, 7, Listener(0));
            let heard = Heard::new(listener, START, 0, is_v4);
            this.program.write(map::LISTENERS, place(0, 80, is_v4), &heard);
        }
        this.spend();
        Ok(this)
    }

    fn is_v6(&self) -> bool {
        let frame = self.bare.clone().build();
        let tags = usize::from(frame[12] == 0x81);
        frame[12 + 4 * tags] == 0x86
    }

    /// Many strangers take their share, and flood mode begins.
    fn spend(&self) {
        for number in 0..300u32 {
            let source = if self.is_v6() {
                format!("2001:db8:{number:x}::1")
            } else {
                format!("198.18.{}.{}", number / 200, number % 200)
            };
            self.program.judge(&self.bare.clone().source(&source).tcp(1000, 80, ACK).build(), 1);
        }
    }

    fn ended(&self, reason: Reason) -> u64 {
        self.program.ended(self.web, reason)
    }

    fn flags(&self) -> u16 {
        let (high, low) = rules::address(if self.is_v6() { "fd00:1::1" } else { "10.1.0.1" });
        let key = BanKey { high, low: if self.is_v6() { 0 } else { low } };
        self.program.entry(key.high, key.low, self.web).map_or(0, |found| found.flags)
    }

    /// A packet that acknowledges a number as the next of a connection.
    fn acknowledge(&self, bare: Packet, cookie: u32) -> u32 {
        let mut frame = bare.tcp(4000, 80, ACK).build();
        let tcp = frame.len() - 20;
        frame[tcp + 4..tcp + 8].copy_from_slice(&sequence(&self.bare).wrapping_add(1).to_be_bytes());
        frame[tcp + 8..tcp + 12].copy_from_slice(&cookie.wrapping_add(1).to_be_bytes());
        self.program.judge(&frame, 1).verdict
    }
}

/// The first number of every SYN that the tests build.
fn sequence(bare: &Packet) -> u32 {
    let frame = bare.clone().tcp(4000, 80, SYN).build();
    let tcp = frame.len() - 20;
    u32::from_be_bytes(frame[tcp + 4..tcp + 8].try_into().unwrap())
}

/// What an answer says, once its checksums are found to be right.
struct Said {
    cookie: u32,
    acknowledges: u32,
    window: u16,
    hops: u8,
    tags: usize,
    options: Vec<TcpOptionElement>,
}

fn read(question: &[u8], answer: &[u8]) -> Said {
    assert!(answer.len() <= question.len(), "{} for {}", answer.len(), question.len());
    assert_eq!(answer[..6], question[6..12]);
    assert_eq!(answer[6..12], question[..6]);
    let (asked, sliced) =
        (SlicedPacket::from_ethernet(question).unwrap(), SlicedPacket::from_ethernet(answer).unwrap());
    let (Some(TransportSlice::Tcp(was)), Some(TransportSlice::Tcp(tcp))) =
        (&asked.transport, &sliced.transport)
    else {
        panic!("not TCP: {answer:?}")
    };
    assert_eq!((tcp.source_port(), tcp.destination_port()), (was.destination_port(), was.source_port()));
    assert!(tcp.syn() && tcp.ack() && !tcp.rst() && !tcp.fin() && !tcp.psh() && !tcp.urg() && !tcp.ece());
    assert!(tcp.payload().is_empty(), "{} bytes behind the header", tcp.payload().len());
    let header = tcp.to_header();
    let hops = match (asked.net.unwrap(), sliced.net.unwrap()) {
        (NetSlice::Ipv4(was), NetSlice::Ipv4(ip)) => {
            let (was, ip) = (was.header().to_header(), ip.header().to_header());
            assert_eq!((ip.source, ip.destination), (was.destination, was.source));
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(header.checksum, header.calc_checksum_ipv4(&ip, &[]).unwrap());
            assert!(ip.dont_fragment && !ip.more_fragments && ip.total_len <= was.total_len);
            ip.time_to_live
        }
        (NetSlice::Ipv6(was), NetSlice::Ipv6(ip)) => {
            let (was, ip) = (was.header().to_header(), ip.header().to_header());
            assert_eq!((ip.source, ip.destination), (was.destination, was.source));
            assert_eq!(header.checksum, header.calc_checksum_ipv6(&ip, &[]).unwrap());
            assert!(ip.payload_length <= was.payload_length);
            ip.hop_limit
        }
        _ => panic!("another family"),
    };
    Said {
        cookie: tcp.sequence_number(),
        acknowledges: tcp.acknowledgment_number(),
        window: tcp.window_size(),
        hops,
        tags: sliced.link_exts.len(),
        options: tcp.options_iterator().map(Result::unwrap).collect(),
    }
}

fn kinds() -> [(&'static str, Packet); 4] {
    [
        ("IPv4", packet()),
        ("IPv6", packet6()),
        ("IPv4 on a VLAN", packet().vlan(7)),
        ("IPv6 on a VLAN", packet6().vlan(7)),
    ]
}

#[test]
fn a_syn_over_a_limit_is_answered_with_a_cookie_that_proves_once() {
    for (name, bare) in kinds() {
        let flooded = or_skip!("challenges", Flooded::new(&bare, RULES, COOKIES));
        let question = bare.clone().tcp(4000, 80, SYN).tcp_options(LINUX).build();
        let (verdict, answer) = flooded.program.answer(&question);
        assert_eq!((verdict, flooded.ended(Challenged)), (TX, 1), "{name}");
        let said = read(&question, &answer);
        assert_eq!(said.acknowledges, sequence(&bare).wrapping_add(1));
        assert_eq!((said.window, said.hops), (64_240, 63));
        assert_eq!(said.tags, usize::from(name.contains("VLAN")));
        assert_eq!(
            said.options[..2],
            [TcpOptionElement::MaximumSegmentSize(1440), TcpOptionElement::SelectiveAcknowledgementPermitted]
        );
        let Some(TcpOptionElement::Timestamp(told, 7)) = said.options.get(2) else {
            panic!("{name}: {:?}", said.options)
        };
        assert_eq!(told & 63, 0x10 | 9);
        assert!(said.options.contains(&TcpOptionElement::WindowScale(7)), "{name}: {:?}", said.options);

        for wrong in [said.cookie.wrapping_add(1000), said.cookie ^ 1 << 31, 0] {
            assert_eq!(flooded.acknowledge(bare.clone(), wrong), DROP, "{name}: {wrong}");
        }
        assert_eq!(flooded.flags() & entry::PROVEN, 0);
        let elsewhere = bare.clone().source(if flooded.is_v6() { "fd00:1:0:1::2" } else { "10.1.0.2" });
        assert_eq!(flooded.acknowledge(elsewhere, said.cookie), DROP, "{name}: another's cookie");
        assert_eq!(flooded.acknowledge(bare.clone(), said.cookie), PASS, "{name}");
        assert_eq!((flooded.ended(CookieReturned), flooded.flags() & entry::PROVEN), (1, entry::PROVEN));
        // What is reserved is for it from now on, and there is no more of it than for all.
        let passed = (0..200).filter(|_| flooded.acknowledge(bare.clone(), said.cookie) == PASS).count();
        assert!((5..=20).contains(&passed), "{name}: {passed} passed");
        assert_eq!(flooded.ended(CookieReturned), 1, "{name}: nobody lives on one cookie");
        // A proven source is not asked again.
        assert_eq!(flooded.program.judge(&question, 1).verdict, DROP);
    }
}

#[test]
fn an_answer_is_never_longer_than_its_question() {
    for bare in [packet(), packet6(), packet().vlan(7)] {
        for (options, payload, kinds) in [
            (&[][..], 0, 0),
            (&[2, 4, 5, 180][..], 0, 1),
            (LINUX, 300, 5),
            (&[8, 10, 0, 0, 0, 7, 0, 0, 0, 0][..], 0, 0),
            (&[4, 2, 3, 3, 9][..], 60, 0),
            (&[1; 40][..], 0, 0),
        ] {
            let flooded = or_skip!("short answers", Flooded::new(&bare, RULES, COOKIES));
            let packet = bare.clone().tcp(4000, 80, SYN).tcp_options(options).payload_bytes(payload);
            let question = packet.build();
            let (verdict, answer) = flooded.program.answer(&question);
            assert_eq!(verdict, TX, "{options:?}");
            let said = read(&question, &answer);
            let told = said.options.iter().filter(|option| !matches!(option, TcpOptionElement::Noop)).count();
            assert_eq!(told, kinds.min(4), "{options:?}: {:?}", said.options);
            assert!(answer.len() <= 14 + 4 + 40 + 40);
        }
    }
}

#[test]
fn nothing_is_challenged_without_what_it_takes() {
    let syn = |port| packet().tcp(4000, port, SYN).tcp_options(LINUX);
    let check = |name: &str, text: &str, flags: u32, question: Packet| {
        let flooded = or_skip!("no challenges", Flooded::new(&packet(), text, flags));
        assert_eq!(flooded.program.judge(&question.build(), 1).verdict, DROP, "{name}");
        assert_eq!(flooded.ended(Challenged), 0, "{name}");
    };
    check("no service asks for it", &RULES.replace("challenge = true", ""), COOKIES, syn(80));
    check("the host takes no cookies", RULES, COOKIES & !setting::COOKIES, syn(80));
    check("nobody listens", RULES, COOKIES, syn(81));
    check("an answer, not a question", RULES, COOKIES, packet().tcp(4000, 80, SYN | ACK));
    check("a reset", RULES, COOKIES, packet().tcp(4000, 80, SYN | RST));
    check("IPv4 options", RULES, COOKIES, syn(80).options(&[1, 1, 1, 0]));
    check(
        "an extension header",
        RULES,
        COOKIES,
        packet6().extension(0, 1).tcp(4000, 80, SYN).tcp_options(LINUX),
    );
    let flooded = or_skip!("no challenges", Flooded::new(&packet(), RULES, COOKIES));
    flooded.program.set_clock(START + 61 * SECOND);
    flooded.spend();
    assert_eq!(flooded.program.judge(&syn(80).build(), 1).verdict, DROP, "silent for a minute");
}

#[test]
fn without_timestamps_only_the_segment_size_is_said() {
    let flooded =
        or_skip!("no timestamps", Flooded::new(&packet(), RULES, COOKIES & !setting::COOKIE_STAMPS));
    let question = packet().tcp(4000, 80, SYN).tcp_options(LINUX).build();
    let (verdict, answer) = flooded.program.answer(&question);
    assert_eq!(verdict, TX);
    assert_eq!(read(&question, &answer).options, [TcpOptionElement::MaximumSegmentSize(1440)]);
}
