//! What the recogniser promises: every protocol both ways, in pieces, twice, late, cut short, and at random.

mod secrets;

use super::{Recognition, encryption, flag, lead::Lead, protocol, version};
use crate::flow::protocol::{TCP, UDP};

/// A data segment: from the initiator or not, and its bytes.
type Segment<'a> = (bool, &'a [u8]);

fn out(bytes: &[u8]) -> Segment<'_> {
    (true, bytes)
}

fn back(bytes: &[u8]) -> Segment<'_> {
    (false, bytes)
}

/// Follows segments as the kernel does: no more of a direction than it looks at.
fn follow(upper: u8, segments: &[Segment<'_>]) -> Recognition {
    segments.iter().fold(Recognition::default(), |known, (forward, bytes)| {
        if bytes.is_empty() || !known.is_open(*forward) {
            return known;
        }
        known.see(&Lead::of(bytes), upper, *forward)
    })
}

fn told(known: Recognition) -> (&'static str, &'static str) {
    (protocol::label(known.protocol()), encryption::label(known.encryption()))
}

#[track_caller]
fn check(says: &str, upper: u8, segments: &[Segment<'_>], wanted: (&str, &str)) -> Recognition {
    let known = follow(upper, segments);
    assert_eq!(told(known), wanted, "{says}");
    // Whatever comes twice changes nothing.
    let twice: Vec<_> = segments.iter().flat_map(|segment| [*segment, *segment]).collect();
    if segments.len() <= 4 {
        assert_eq!(told(follow(upper, &twice)), wanted, "{says}, every segment twice");
    }
    known
}

fn client_hello(version: u8) -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, version];
    hello.resize(205, 7);
    hello
}

/// A `ServerHello` of this legacy version and cipher suite, with a session number of so many bytes.
fn server_hello(version: u8, suite: [u8; 2], session: u8) -> Vec<u8> {
    let body = 38 + session + 2;
    let mut hello = vec![0x16, 3, version, 0, body + 4, 2, 0, 0, body, 3, version];
    hello.resize(43, 9);
    hello.push(session);
    hello.resize(44 + usize::from(session), 5);
    hello.extend([suite[0], suite[1], 0]);
    hello
}

fn query() -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(b"\x07example\x03org\0\0\x01\0\x01");
    query
}

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const STARTUP: &[u8] = b"\0\0\0\x20\0\x03\0\0user\0app\0database\0app\0\0\0\0";

fn greeting() -> Vec<u8> {
    let mut body = b"\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xf7".to_vec();
    body.resize(74, 1);
    let mut packet = vec![74, 0, 0, 0];
    packet.append(&mut body);
    packet
}

fn transfer(kind: u8, flags: u8) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 68, kind, b'S', b'M', b'B', 64, 0, 0, 0];
    message.resize(72, 0);
    message[20] = flags;
    message
}

fn long_header(version: [u8; 4]) -> Vec<u8> {
    let mut datagram = vec![0xc3];
    datagram.extend(version);
    datagram.push(8);
    datagram.resize(1200, 3);
    datagram
}

#[test]
fn tls_is_known_with_the_version_that_the_server_chose() {
    let rows: [(u8, [u8; 2], u8, u32); 6] = [
        (3, [0x13, 0x01], 32, version::TLS13),
        (3, [0x13, 0x03], 0, version::TLS13),
        (3, [0xc0, 0x2f], 32, version::TLS12),
        (2, [0xc0, 0x13], 0, version::TLS11),
        (1, [0, 0x2f], 32, version::TLS10),
        (0, [0, 5], 16, version::SSL3),
    ];
    for (legacy, suite, session, wanted) in rows {
        let (hello, answer) = (client_hello(3), server_hello(legacy, suite, session));
        let known = check("tls", TCP, &[out(&hello), back(&answer)], ("tls", "tls"));
        assert_eq!(known.version(), wanted, "{}", version::label(wanted));
        assert!(known.is_settled() && known.is_encrypted());
        // The conversation entered with the server's first data.
        assert_eq!(follow(TCP, &[back(&answer)]).version(), wanted);
    }
    let alone = check("an offer without an answer", TCP, &[out(&client_hello(3))], ("tls", "tls"));
    assert_eq!(alone.version(), version::UNKNOWN);
    check("only its data", TCP, &[out(&[0x17, 3, 3, 0, 40, 1, 2, 3, 4])], ("tls", "tls"));
    check("no such length", TCP, &[out(&[0x17, 3, 3, 0xff, 0xff, 1, 2, 3, 4])], ("binary", "unknown"));
    check("no such version", TCP, &[out(&[0x16, 3, 9, 0, 40, 1, 2, 3, 4])], ("binary", "unknown"));
}

#[test]
fn protocols_of_words_are_known_both_ways() {
    let clear = |name| (name, "clear");
    for (says, bytes, wanted) in [
        ("ssh", &b"SSH-2.0-OpenSSH_9.2\r\n"[..], ("ssh", "native")),
        ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", clear("http")),
        ("another", b"OPTIONS * HTTP/1.1\r\n\r\n", clear("http")),
        ("a status", b"HTTP/1.1 200 OK\r\n\r\n", clear("http")),
        ("a proxy's", b"CONNECT a:443 HTTP/1.1\r\n\r\n", clear("http")),
        ("webdav", b"PROPFIND /dav HTTP/1.1\r\n\r\n", clear("http")),
        ("http/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", clear("http2")),
        ("rtsp has its own OPTIONS", b"OPTIONS rtsp://a/b RTSP/1.0\r\n", clear("text")),
        ("nats, the server", b"INFO {\"server_id\":\"x\"}\r\n", clear("nats")),
        ("nats, the client", b"CONNECT {\"verbose\":false}\r\n", clear("nats")),
        ("imap", b"* OK [CAPABILITY IMAP4rev1] ready\r\n", clear("imap")),
        ("pop3", b"+OK POP3 ready\r\n", clear("pop3")),
        ("an answer of redis is only text", b"+OK\r\n", clear("text")),
        ("redis", b"*1\r\n$4\r\nPING\r\n", clear("redis")),
        ("redis, many", b"*12\r\n$4\r\nMSET\r\n", clear("redis")),
        ("redis refuses", b"-NOAUTH Authentication required.\r\n", clear("redis")),
        ("smtp, the client", b"EHLO client.example\r\n", clear("smtp")),
        ("in small letters", b"helo client\r\n", clear("smtp")),
        ("smtp or ftp", b"220 welcome\r\n", clear("greeting")),
        ("amqp 0.9.1", b"AMQP\0\0\x09\x01", clear("amqp")),
        ("amqp 1.0", b"AMQP\x03\x01\0\0", clear("amqp")),
        ("text", b"hello there\r\n", clear("text")),
        ("little text", b"a\n", clear("text")),
        ("not text", b"hello\0there", ("binary", "unknown")),
        ("nor that", b"\xff\xd8\xff\xe0 JFIF", ("binary", "unknown")),
    ] {
        check(says, TCP, &[out(bytes)], wanted);
        check(says, TCP, &[back(bytes)], wanted);
    }
}

#[test]
fn protocols_of_numbers_are_known_both_ways() {
    let bind = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
    let (own, plain) = (transfer(0xfe, 0), transfer(0xff, 0));
    let mut message = b"\x40\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0".to_vec();
    message.resize(64, 0);
    let kafka = b"\0\0\0\x13\0\x12\0\x03\0\0\0\x01\0\x07console\0\x00";
    let framed = [&[0, 29][..], &query()].concat();
    let clear = |name| (name, "clear");
    for (says, bytes, wanted) in [
        ("postgresql", STARTUP, clear("postgresql")),
        ("that asks for tls", SSL_REQUEST, clear("postgresql")),
        ("that asks for a password", b"R\0\0\0\x08\0\0\0\x05salt", clear("postgresql")),
        ("mysql", &greeting(), clear("mysql")),
        ("mongodb", &message, clear("mongodb")),
        ("kafka", kafka, clear("kafka")),
        ("mqtt 3.1.1", b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04abcd", clear("mqtt")),
        ("mqtt 3.1", b"\x10\x12\0\x06MQIsdp\x03\x02\0\x3c\0\x04abcd", clear("mqtt")),
        ("mqtt of a long name", b"\x10\x90\x01\0\x04MQTT\x05\x02\0\x3c\0", clear("mqtt")),
        ("mqtt answers", b"\x20\x02\0\0", clear("mqtt")),
        ("ldap", bind, clear("ldap")),
        ("rdp", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0", clear("rdp")),
        ("rdp with a cookie", b"\x03\0\0\x11\x0c\xe0\0\0\0\0\0Cookie", clear("rdp")),
        (
            "iso transport of a plant",
            b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc1\x02\x01\0\xc2\x02\x01\x02\xc0\x01\x0a",
            ("binary", "unknown"),
        ),
        ("smb 2", &own, clear("smb")),
        ("smb 1", &plain, clear("smb")),
        ("telnet", b"\xff\xfd\x18\xff\xfd\x20", clear("telnet")),
        ("dns over tcp", &framed, clear("dns")),
    ] {
        let bytes = if says == "rdp with a cookie" { &bytes[..17] } else { bytes };
        check(says, TCP, &[out(bytes)], wanted);
        check(says, TCP, &[back(bytes)], wanted);
    }
    check("encrypted smb", TCP, &[out(&own), back(&own), out(&transfer(0xfd, 0))], ("smb", "native"));
    let signed = follow(TCP, &[out(&own), back(&transfer(0xfe, 8))]);
    assert!(signed.has(flag::SIGNED) && !signed.is_encrypted());
}

#[test]
fn datagrams_are_known() {
    let mut dtls = b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x10\x01".to_vec();
    dtls.resize(60, 0);
    let guard = |kind, length: usize| {
        let mut datagram = vec![kind, 0, 0, 0];
        datagram.resize(length, 6);
        datagram
    };
    let answer = {
        let mut answer = query();
        answer[2] = 0x81;
        answer[7] = 1;
        answer
    };
    for (says, bytes, wanted) in [
        ("quic 1", long_header([0, 0, 0, 1]), ("quic", "native")),
        ("quic 2", long_header([0x6b, 0x33, 0x43, 0xcf]), ("quic", "native")),
        ("a greased version", long_header([0x1a, 0x2a, 0x3a, 0x4a]), ("quic", "native")),
        ("another long header", long_header([9, 9, 9, 9]), ("binary", "unknown")),
        ("dtls", dtls, ("dtls", "tls")),
        ("wireguard begins", guard(1, 148), ("wireguard", "native")),
        ("wireguard answers", guard(2, 92), ("wireguard", "native")),
        ("wireguard's data", guard(4, 96), ("wireguard", "native")),
        ("of another size", guard(1, 149), ("binary", "unknown")),
        ("a question", query(), ("dns", "clear")),
        ("an answer", answer, ("dns", "clear")),
        ("words", b"M-SEARCH * HTTP/1.1\r\n".to_vec(), ("text", "clear")),
    ] {
        check(says, UDP, &[out(&bytes)], wanted);
        check(says, UDP, &[back(&bytes)], wanted);
    }
}

#[test]
fn what_begins_in_clear_and_goes_over_to_tls_is_upgraded() {
    let (hello, answer) = (client_hello(3), server_hello(3, [0x13, 2], 32));
    let login = {
        let mut login = vec![32, 0, 0, 1, 0x0d, 0xaa];
        login.resize(36, 0);
        login
    };
    let greeting = greeting();
    let rdp = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0";
    let start_tls = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    for (name, before) in [
        ("postgresql", vec![out(SSL_REQUEST), back(b"S")]),
        ("mysql", vec![back(&greeting), out(&login)]),
        (
            "smtp",
            vec![
                back(b"220 mx ESMTP\r\n"),
                out(b"EHLO a\r\n"),
                back(b"250-mx\r\n250 STARTTLS\r\n"),
                out(b"STARTTLS\r\n"),
                back(b"220 go\r\n"),
            ],
        ),
        ("imap", vec![back(b"* OK ready\r\n"), out(b"a STARTTLS\r\n"), back(b"a OK begin\r\n")]),
        ("pop3", vec![back(b"+OK ready\r\n"), out(b"STLS\r\n"), back(b"+OK begin\r\n")]),
        ("ftp", vec![back(b"220 ready\r\n"), out(b"AUTH TLS\r\n"), back(b"234 go\r\n")]),
        ("ldap", vec![out(start_tls), back(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0")]),
        ("rdp", vec![out(rdp), back(b"\x03\0\0\x13\x0e\xd0\0\0\0\0\0\x02\x0f\x08\0\x02\0\0\0")]),
        ("nats", vec![back(b"INFO {\"tls_required\":true}\r\n")]),
        ("http", vec![out(b"CONNECT a:443 HTTP/1.1\r\n\r\n"), back(b"HTTP/1.1 200 OK\r\n\r\n")]),
    ] {
        let known = follow(TCP, &before);
        assert_eq!(told(known), (name, "clear"), "before");
        let after: Vec<_> = before.iter().copied().chain([out(&hello), back(&answer)]).collect();
        let known = check(name, TCP, &after, (name, "upgraded"));
        assert!(!known.has(flag::CREDENTIALS), "{name}");
        // What a proxy hands on is the client's own affair; of the others, the server's choice is seen.
        assert_eq!(known.version(), if name == "http" { version::UNKNOWN } else { version::TLS13 }, "{name}");
    }
}

#[test]
fn a_password_within_tls_is_nobodys_to_see() {
    let (hello, answer) = (client_hello(3), server_hello(3, [0x13, 1], 32));
    let inside = [&[0x17, 3, 3, 0, 60][..], b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"].concat();
    let known =
        follow(TCP, &[out(&hello), back(&answer), out(&inside), back(b"334 \r\n"), out(b"PASS x\r\n")]);
    assert_eq!(told(known), ("tls", "tls"));
    assert!(!known.has(flag::CREDENTIALS));
}

#[test]
fn pieces_that_come_late_or_in_disorder_lead_to_the_same() {
    let (hello, answer) = (client_hello(3), server_hello(3, [0x13, 1], 32));
    let whole = follow(TCP, &[out(&hello), back(&answer)]);
    // The second piece of the offer comes first; the first one is lost and sent again.
    let late = follow(TCP, &[out(&hello[100..]), out(&hello[..100]), back(&answer)]);
    assert_eq!(late.summary(), whole.summary());
    assert_eq!(told(late), ("tls", "tls"));
    let answered_first = follow(TCP, &[back(&answer), out(&hello[100..]), out(&hello[..100])]);
    assert_eq!(answered_first.summary(), whole.summary());
    // A greeting that overtakes the client's command, and a command in two pieces.
    let mail = follow(TCP, &[out(b"EHLO a\r\n"), back(b"220 mx\r\n"), out(b"AUTH PLAIN AGJvYgBz\r\n")]);
    assert!(told(mail) == ("smtp", "clear") && mail.has(flag::CREDENTIALS));
}

#[test]
fn a_look_ends_after_some_segments_and_a_word_that_is_settled_stays() {
    let mut known = Recognition::default();
    let mut looks = 0;
    for _ in 0..100 {
        for forward in [true, false] {
            if known.is_open(forward) {
                known = known.see(&Lead::of(b"\x01\x02\x03\x04 data"), TCP, forward);
                looks += 1;
            }
        }
    }
    assert_eq!((looks, told(known)), (16, ("binary", "unknown")));
    assert!(known.is_settled());
    let web = (0..100).fold(Recognition::default(), |known, _| {
        if known.is_open(true) { known.see(&Lead::of(b"GET / HTTP/1.1\r\n\r\n"), TCP, true) } else { known }
    });
    assert!(!web.is_open(true) && web.is_open(false));
    assert_eq!(web.0 >> super::FORWARD_SHIFT & 15, 4);
}

#[test]
fn every_cut_of_a_message_is_read_without_its_rest() {
    let (hello, answer) = (client_hello(3), server_hello(3, [0x13, 1], 32));
    let bind = b"\x30\x24\x02\x01\x01\x60\x1f\x02\x01\x03\x04\x10cn=admin,dc=a,dc\x80\x08password";
    for whole in [&hello[..], &answer, &query(), SSL_REQUEST, STARTUP, &greeting(), bind] {
        for length in 1..=whole.len() {
            let cut = &whole[..length];
            // What stands behind the end is another segment's, and must not be read.
            let mut bytes = [0xff; 512];
            bytes[..64].fill(0);
            bytes[length..length + 8].fill(0);
            bytes[..length].copy_from_slice(cut);
            let exact = Lead::of(cut);
            let stale = Lead { available: exact.available, payload: exact.payload, ..Lead::of(&bytes) };
            for upper in [TCP, UDP] {
                let seen = Recognition::default().see(&exact, upper, true);
                assert_eq!(seen, Recognition::default().see(&stale, upper, true), "{length} of {cut:02x?}");
            }
        }
    }
}

#[test]
fn codes_are_positions_and_summaries_keep_what_is_known() {
    for codes in [protocol::ALL, encryption::ALL, version::ALL] {
        for (position, (code, label)) in codes.iter().enumerate() {
            assert_eq!(*code as usize, position, "{label}");
        }
    }
    assert!(protocol::ALL.len() <= 64);
    assert_eq!(protocol::label(63), "none");
    let known = Recognition::new(protocol::FTP, encryption::UPGRADED)
        .with_version(version::TLS12)
        .with(flag::CREDENTIALS | flag::SETTLED | flag::ASKED);
    let kept = known.summary();
    assert_eq!((kept.protocol(), kept.encryption(), kept.version()), (20, 4, 4));
    assert!(kept.has(flag::CREDENTIALS) && !kept.has(flag::ASKED | flag::SETTLED));
}
