//! Which segments carry a password in clear, and which only look like it.

use super::{STARTUP, Segment, back, follow, greeting, out, told};
use crate::{
    application::{encryption, flag},
    flow::protocol::TCP,
};

#[track_caller]
fn secrets(rows: Vec<(&str, Vec<Segment<'_>>, bool)>) {
    for (says, segments, sent) in rows {
        let known = follow(TCP, &segments);
        assert_eq!(known.has(flag::CREDENTIALS), sent, "{says}: {:?}", told(known));
        assert_eq!(known.encryption(), encryption::CLEAR, "{says}");
    }
}

#[test]
fn a_password_of_mail_or_files_in_clear_is_told_and_nothing_else_is() {
    let mail = back(b"220 mx ESMTP\r\n");
    let hello = out(b"EHLO a\r\n");
    let asks = back(b"334 \r\n");
    secrets(vec![
        (
            "ftp",
            vec![
                back(b"220 ready\r\n"),
                out(b"USER bob\r\n"),
                back(b"331 password\r\n"),
                out(b"PASS secret\r\n"),
            ],
            true,
        ),
        (
            "ftp by nobody",
            vec![
                back(b"220 ready\r\n"),
                out(b"USER anonymous\r\n"),
                back(b"331 any\r\n"),
                out(b"PASS a@b\r\n"),
            ],
            false,
        ),
        ("ftp, only a name", vec![back(b"220 ready\r\n"), out(b"USER bob\r\n")], false),
        (
            "pop3",
            vec![back(b"+OK ready\r\n"), out(b"USER bob\r\n"), back(b"+OK \r\n"), out(b"PASS secret\r\n")],
            true,
        ),
        ("pop3 by digest", vec![back(b"+OK ready <1@a>\r\n"), out(b"APOP bob c4c9334bac560ecc\r\n")], false),
        ("imap", vec![back(b"* OK ready\r\n"), out(b"a001 LOGIN bob secret\r\n")], true),
        (
            "imap by mechanism",
            vec![
                back(b"* OK ready\r\n"),
                out(b"a AUTHENTICATE PLAIN\r\n"),
                back(b"+ \r\n"),
                out(b"AGJvYgBz\r\n"),
            ],
            true,
        ),
        (
            "imap by challenge",
            vec![
                back(b"* OK ready\r\n"),
                out(b"a AUTHENTICATE CRAM-MD5\r\n"),
                back(b"+ PDE4\r\n"),
                out(b"dGlt\r\n"),
            ],
            false,
        ),
        ("imap looks", vec![back(b"* OK ready\r\n"), out(b"a CAPABILITY\r\n")], false),
        ("smtp in one line", vec![mail, hello, out(b"AUTH PLAIN AGJvYgBz\r\n")], true),
        ("smtp after a question", vec![mail, hello, out(b"AUTH LOGIN\r\n"), asks, out(b"Ym9i\r\n")], true),
        (
            "smtp refused",
            vec![
                mail,
                hello,
                out(b"AUTH LOGIN\r\n"),
                back(b"530 5.7.0 STARTTLS first\r\n"),
                out(b"QUIT\r\n"),
            ],
            false,
        ),
        ("smtp given up", vec![mail, hello, out(b"AUTH LOGIN\r\n"), asks, out(b"*\r\n")], false),
        ("smtp by challenge", vec![mail, hello, out(b"AUTH CRAM-MD5\r\n"), asks, out(b"dGlt\r\n")], false),
    ]);
}

#[test]
fn a_password_of_a_service_in_clear_is_told_and_nothing_else_is() {
    let greeting = greeting();
    let switch = [&[44, 0, 0, 2, 0xfe][..], b"mysql_clear_password\0abcdefgh"].concat();
    let basic = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: b/1\r\nAUTHORIZATION: Basic YTpi\r\n\r\n";
    let bind = b"\x30\x24\x02\x01\x01\x60\x1f\x02\x01\x03\x04\x10cn=admin,dc=a,dc\x80\x08password";
    let nameless = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
    let by_sasl = b"\x30\x24\x02\x01\x01\x60\x1f\x02\x01\x03\x04\x10cn=admin,dc=a,dc\xa3\x08password";
    secrets(vec![
        ("http", vec![out(basic)], true),
        (
            "http of the second request",
            vec![out(b"GET / HTTP/1.1\r\n\r\n"), back(b"HTTP/1.1 401 no\r\n\r\n"), out(basic)],
            true,
        ),
        ("http bearer", vec![out(b"GET / HTTP/1.1\r\nAuthorization: Bearer eyJ\r\n\r\n")], false),
        ("http about it", vec![out(b"GET /rization/basic/x: basic HTTP/1.1\r\n\r\n")], false),
        ("redis", vec![out(b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n")], true),
        ("redis of a user", vec![out(b"*3\r\n$4\r\nauth\r\n$3\r\nbob\r\n$6\r\nsecret\r\n")], true),
        (
            "redis hello",
            vec![out(b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$1\r\nx\r\n")],
            true,
        ),
        ("redis in a line", vec![out(b"AUTH secret\r\n"), back(b"+OK\r\n")], true),
        ("redis without", vec![out(b"*2\r\n$3\r\nGET\r\n$4\r\nAUTH\r\n")], false),
        ("ldap", vec![out(bind)], true),
        ("ldap by nobody", vec![out(nameless)], false),
        ("ldap by mechanism", vec![out(by_sasl)], false),
        ("mqtt", vec![out(b"\x10\x1a\0\x04MQTT\x04\xc2\0\x3c\0\x04abcd\0\x03bob\0\x03sec")], true),
        ("mqtt without", vec![out(b"\x10\x15\0\x04MQTT\x04\x82\0\x3c\0\x04abcd\0\x03bob")], false),
        ("old mqtt", vec![out(b"\x10\x1c\0\x06MQIsdp\x03\xc2\0\x3c\0\x04abcd\0\x03bob\0\x03sec")], true),
        (
            "nats",
            vec![back(b"INFO {}\r\n"), out(b"CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"b\"}\r\n")],
            true,
        ),
        ("postgresql", vec![out(STARTUP), back(b"R\0\0\0\x08\0\0\0\x03"), out(b"p\0\0\0\x0bsecret\0")], true),
        (
            "postgresql by scram",
            vec![out(STARTUP), back(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"), out(b"p\0\0\0\x0bsecret\0")],
            false,
        ),
        (
            "mysql",
            vec![
                back(&greeting),
                out(b"\x50\0\0\x01\x85\xa6\x03\0"),
                back(&switch),
                out(b"\x07\0\0\x03secret\0"),
            ],
            true,
        ),
        (
            "mysql by hash",
            vec![back(&greeting), out(b"\x50\0\0\x01\x85\xa6\x03\0"), back(b"\x07\0\0\x02\0\0\0\x02\0\0\0")],
            false,
        ),
    ]);
}
