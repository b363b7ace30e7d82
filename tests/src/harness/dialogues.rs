//! Conversations of every protocol that is recognised, as the data that each side sends.
//!
//! Out: segments with their direction, and what is to be recognised in the end.

use monitor_common::{
    application::{Recognition, lead::Lead},
    flow::protocol::{TCP, UDP},
};

/// One conversation.
#[derive(Clone, Debug)]
pub struct Dialogue {
    pub says: &'static str,
    pub upper: u8,
    /// Whether the initiator sends it, and the data.
    pub segments: Vec<(bool, Vec<u8>)>,
    /// Labels of protocol and encryption.
    pub speaks: (&'static str, &'static str),
}

impl Dialogue {
    fn new(
        says: &'static str,
        upper: u8,
        speaks: (&'static str, &'static str),
        both: &[(bool, &[u8])],
    ) -> Self {
        let segments = both.iter().map(|(forward, bytes)| (*forward, bytes.to_vec())).collect();
        Self { says, upper, segments, speaks }
    }

    /// What the host makes of it.
    pub fn recognised(&self) -> Recognition {
        follow(self.upper, self.segments.iter().map(|(forward, bytes)| (*forward, &bytes[..])))
    }
}

/// Follows segments as the kernel does: no more of a direction than it looks at.
pub fn follow<'a>(upper: u8, segments: impl IntoIterator<Item = (bool, &'a [u8])>) -> Recognition {
    segments.into_iter().fold(Recognition::default(), |known, (forward, bytes)| {
        if bytes.is_empty() || !known.is_open(forward) {
            return known;
        }
        known.see(&Lead::of(bytes), upper, forward)
    })
}

/// A `ClientHello` that is long enough to be looked at in pieces.
pub fn client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    hello.resize(205, 7);
    hello
}

/// A `ServerHello` of this legacy version that chooses this cipher suite.
pub fn server_hello(version: u8, suite: [u8; 2]) -> Vec<u8> {
    let mut hello = vec![0x16, 3, version, 0, 76, 2, 0, 0, 72, 3, version];
    hello.resize(43, 9);
    hello.push(32);
    hello.resize(76, 5);
    hello.extend([suite[0], suite[1], 0]);
    hello
}

fn query() -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(b"\x07example\x03org\0\0\x01\0\x01");
    query
}

fn filled(start: &[u8], length: usize, with: u8) -> Vec<u8> {
    let mut bytes = start.to_vec();
    bytes.resize(length, with);
    bytes
}

/// All of them.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn all() -> Vec<Dialogue> {
    let (hello, answer) = (client_hello(), server_hello(3, [0x13, 1]));
    let greeting = filled(b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xf7", 78, 1);
    let login = filled(&[32, 0, 0, 1, 0x0d, 0xaa], 36, 0);
    let switch = [&[44, 0, 0, 2, 0xfe][..], b"mysql_clear_password\0abcdefgh"].concat();
    let smb = filled(&[0, 0, 0, 68, 0xfe, b'S', b'M', b'B', 64, 0], 72, 0);
    let sealed = filled(&[0, 0, 0, 68, 0xfd, b'S', b'M', b'B'], 72, 7);
    let quic = filled(&[0xc3, 0, 0, 0, 1, 8], 1200, 3);
    let guard = |kind, length| filled(&[kind, 0, 0, 0], length, 6);
    let mut reply = query();
    (reply[2], reply[7]) = (0x81, 1);
    let framed = [&[0, 29][..], &query()].concat();
    let message = filled(b"\x40\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0", 64, 0);
    let basic = b"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: b/1\r\nAuthorization: Basic YTpi\r\n\r\n";
    let bind = b"\x30\x24\x02\x01\x01\x60\x1f\x02\x01\x03\x04\x10cn=admin,dc=a,dc\x80\x08password";
    let startup = b"\0\0\0\x20\0\x03\0\0user\0app\0database\0app\0\0\0\0";
    let ssl = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let rdp = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0";
    let accept = b"\x03\0\0\x13\x0e\xd0\0\0\0\0\0\x02\x0f\x08\0\x02\0\0\0";
    let (out, back) = (true, false);
    let tcp = |says, speaks, both: &[(bool, &[u8])]| Dialogue::new(says, TCP, speaks, both);
    let udp = |says, speaks, both: &[(bool, &[u8])]| Dialogue::new(says, UDP, speaks, both);
    vec![
        tcp("tls 1.3", ("tls", "tls"), &[(out, &hello), (back, &answer)]),
        tcp("tls 1.0", ("tls", "tls"), &[(out, &hello), (back, &server_hello(1, [0, 0x2f]))]),
        tcp(
            "tls whose hello comes in two pieces",
            ("tls", "tls"),
            &[(out, &hello[..90]), (out, &hello[90..]), (back, &answer)],
        ),
        tcp(
            "tls whose pieces come in disorder",
            ("tls", "tls"),
            &[(out, &hello[90..]), (out, &hello[..90]), (back, &answer)],
        ),
        tcp("ssh", ("ssh", "native"), &[(back, b"SSH-2.0-a\r\n"), (out, b"SSH-2.0-b\r\n")]),
        tcp(
            "http",
            ("http", "clear"),
            &[(out, b"GET / HTTP/1.1\r\n\r\n"), (back, b"HTTP/1.1 200 OK\r\n\r\n")],
        ),
        tcp("http with a password", ("http", "clear"), &[(out, basic)]),
        tcp("http/2", ("http2", "clear"), &[(out, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]),
        tcp(
            "a proxy",
            ("http", "upgraded"),
            &[
                (out, b"CONNECT a:443 HTTP/1.1\r\n\r\n"),
                (back, b"HTTP/1.1 200 OK\r\n\r\n"),
                (out, &hello),
                (back, &answer),
            ],
        ),
        tcp(
            "postgresql",
            ("postgresql", "clear"),
            &[(out, startup), (back, b"R\0\0\0\x08\0\0\0\x03"), (out, b"p\0\0\0\x0bsecret\0")],
        ),
        tcp(
            "postgresql over tls",
            ("postgresql", "upgraded"),
            &[(out, ssl), (back, b"S"), (out, &hello), (back, &answer)],
        ),
        tcp(
            "mysql",
            ("mysql", "clear"),
            &[
                (back, &greeting),
                (out, b"\x50\0\0\x01\x85\xa6\x03\0"),
                (back, &switch),
                (out, b"\x07\0\0\x03secret\0"),
            ],
        ),
        tcp(
            "mysql over tls",
            ("mysql", "upgraded"),
            &[(back, &greeting), (out, &login), (out, &hello), (back, &answer)],
        ),
        tcp(
            "redis",
            ("redis", "clear"),
            &[(out, b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"), (back, b"+OK\r\n")],
        ),
        tcp("mongodb", ("mongodb", "clear"), &[(out, &message), (back, &message)]),
        tcp("kafka", ("kafka", "clear"), &[(out, b"\0\0\0\x13\0\x12\0\x03\0\0\0\x01\0\x07console\0\x00")]),
        tcp("amqp", ("amqp", "clear"), &[(out, b"AMQP\0\0\x09\x01")]),
        tcp(
            "mqtt",
            ("mqtt", "clear"),
            &[
                (out, b"\x10\x1a\0\x04MQTT\x04\xc2\0\x3c\0\x04abcd\0\x03bob\0\x03sec"),
                (back, b"\x20\x02\0\0"),
            ],
        ),
        tcp(
            "nats",
            ("nats", "clear"),
            &[
                (back, b"INFO {}\r\n"),
                (out, b"CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"b\"}\r\n"),
            ],
        ),
        tcp(
            "ldap",
            ("ldap", "clear"),
            &[(out, bind), (back, b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0")],
        ),
        tcp(
            "smtp",
            ("smtp", "clear"),
            &[
                (back, b"220 mx ESMTP\r\n"),
                (out, b"EHLO a\r\n"),
                (back, b"250 mx\r\n"),
                (out, b"AUTH LOGIN\r\n"),
                (back, b"334 VXNl\r\n"),
                (out, b"Ym9i\r\n"),
            ],
        ),
        tcp(
            "smtp over tls",
            ("smtp", "upgraded"),
            &[
                (back, b"220 mx\r\n"),
                (out, b"EHLO a\r\n"),
                (back, b"250 STARTTLS\r\n"),
                (out, b"STARTTLS\r\n"),
                (back, b"220 go\r\n"),
                (out, &hello),
                (back, &answer),
            ],
        ),
        tcp("imap", ("imap", "clear"), &[(back, b"* OK ready\r\n"), (out, b"a001 LOGIN bob secret\r\n")]),
        tcp(
            "pop3",
            ("pop3", "clear"),
            &[
                (back, b"+OK ready\r\n"),
                (out, b"USER bob\r\n"),
                (back, b"+OK\r\n"),
                (out, b"PASS secret\r\n"),
            ],
        ),
        tcp(
            "ftp",
            ("ftp", "clear"),
            &[
                (back, b"220 ready\r\n"),
                (out, b"USER bob\r\n"),
                (back, b"331 go\r\n"),
                (out, b"PASS secret\r\n"),
            ],
        ),
        tcp("rdp", ("rdp", "upgraded"), &[(out, rdp), (back, accept), (out, &hello), (back, &answer)]),
        tcp("smb", ("smb", "clear"), &[(out, &smb), (back, &smb)]),
        tcp("smb, encrypted", ("smb", "native"), &[(out, &smb), (back, &smb), (out, &sealed)]),
        tcp("telnet", ("telnet", "clear"), &[(back, b"\xff\xfd\x18\xff\xfd\x20")]),
        tcp("dns over tcp", ("dns", "clear"), &[(out, &framed)]),
        tcp("words", ("text", "clear"), &[(out, b"hello there\r\n"), (back, b"hello\r\n")]),
        tcp("numbers", ("binary", "unknown"), &[(out, b"\x01\x02\x03\x04 data"), (back, b"\x05\0\0")]),
        udp("dns", ("dns", "clear"), &[(out, &query()), (back, &reply)]),
        udp("quic", ("quic", "native"), &[(out, &quic), (back, &quic)]),
        udp("dtls", ("dtls", "tls"), &[(out, &filled(b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x10\x01", 60, 0))]),
        udp(
            "wireguard",
            ("wireguard", "native"),
            &[(out, &guard(1, 148)), (back, &guard(2, 92)), (out, &guard(4, 96))],
        ),
        udp("words in a datagram", ("text", "clear"), &[(out, b"M-SEARCH * HTTP/1.1\r\n")]),
    ]
}
