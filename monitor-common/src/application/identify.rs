//! The beginning of a segment in; the protocol that it can only belong to out. Each signature is the fixed part of a
//! protocol's first message either way, by its specification.

use super::{lead::Lead, protocol};

/// The eight characters of `text` as a number, the first one highest.
pub(super) const fn word(text: [u8; 8]) -> u64 {
    u64::from_be_bytes(text)
}

const LOWER: u64 = 0x2020_2020_2020_2020;

/// Letters in lower case. Digits, spaces and most signs are left as they are; a line's end becomes other signs.
#[inline(always)]
pub(super) const fn lower(word: u64) -> u64 {
    word | LOWER
}

/// Whether `found` begins with the first `length` characters of `wanted`.
#[inline(always)]
pub(super) const fn begins(found: u64, wanted: [u8; 8], length: u32) -> bool {
    (found ^ word(wanted)) >> (64 - 8 * length) == 0
}

/// Whether it begins so in letters of either case. `wanted` is in lower case.
#[inline(always)]
pub(super) const fn begins_any_case(found: u64, wanted: [u8; 8], length: u32) -> bool {
    (lower(found) ^ lower(word(wanted))) >> (64 - 8 * length) == 0
}

/// The protocol of a TCP segment; [`protocol::NONE`] when its beginning fits none.
#[inline(always)]
pub fn tcp(lead: &Lead) -> u32 {
    let first = lead.at(0);
    if is_tls(first, lead.available) {
        return protocol::TLS;
    }
    let of_text = text(first, lead.at(8), lead.available);
    if of_text != protocol::NONE {
        return of_text;
    }
    let of_login = database(first, lead);
    if of_login != protocol::NONE {
        return of_login;
    }
    binary(first, lead)
}

/// A record of TLS (RFC 8446, 5.1): a type, version 3.x, a length that is allowed.
#[inline(always)]
pub const fn is_tls(first: u64, available: u32) -> bool {
    let kind = first >> 56;
    let version = first >> 40 & 0xffff;
    let length = first >> 24 & 0xffff;
    available >= 6
        && kind >= 0x14
        && kind <= 0x17
        && version >= 0x0300
        && version <= 0x0304
        && length > 0
        && length <= 0x4100
}

/// Whether a record of TLS begins with the message of this number (1 `ClientHello`, 2 `ServerHello`).
#[inline(always)]
pub const fn is_handshake(first: u64, message: u64) -> bool {
    first >> 56 == 0x16 && first >> 16 & 0xff == message
}

/// What begins with words.
#[inline(always)]
fn text(first: u64, second: u64, available: u32) -> u32 {
    if begins(first, *b"SSH-    ", 4) {
        return protocol::SSH;
    }
    if first == word(*b"PRI * HT") {
        return protocol::HTTP2;
    }
    if is_http(first, second) {
        return protocol::HTTP;
    }
    if begins(first, *b"INFO {  ", 6) || first == word(*b"CONNECT{") || is_nats_connect(first, second) {
        return protocol::NATS;
    }
    if begins(first, *b"* OK    ", 4) || begins(first, *b"* PREAUT", 8) {
        return protocol::IMAP;
    }
    if begins(first, *b"+OK     ", 3) && available > 5 {
        return protocol::POP3;
    }
    if begins(first, *b"220     ", 3) && matches!(first >> 32 & 0xff, 0x20 | 0x2d) {
        return protocol::GREETING;
    }
    if begins_any_case(first, *b"ehlo    ", 5) || begins_any_case(first, *b"helo    ", 5) {
        return protocol::SMTP;
    }
    if begins(first, *b"AMQP    ", 4) {
        return protocol::AMQP;
    }
    redis(first)
}

#[inline(always)]
const fn is_nats_connect(first: u64, second: u64) -> bool {
    first == word(*b"CONNECT ") && second >> 56 == b'{' as u64
}

/// A method of HTTP (RFC 9110, RFC 4918) before a target, or a status line.
#[inline(always)]
fn is_http(first: u64, second: u64) -> bool {
    if begins(first, *b"HTTP/1. ", 7) {
        return true;
    }
    if first == word(*b"CONNECT ") {
        return second >> 56 != u64::from(b'{');
    }
    if first == word(*b"OPTIONS ") {
        // RTSP and SIP have this method as well, for targets of other schemes.
        return matches!((second >> 56) as u8, b'/' | b'*' | b'h');
    }
    begins(first, *b"GET     ", 4)
        || begins(first, *b"POST    ", 5)
        || begins(first, *b"PUT     ", 4)
        || begins(first, *b"HEAD    ", 5)
        || begins(first, *b"DELETE  ", 7)
        || begins(first, *b"PATCH   ", 6)
        || begins(first, *b"TRACE   ", 6)
        || first == word(*b"PROPFIND")
}

/// RESP: a request is an array of strings; the errors and answers that only Redis has.
#[inline(always)]
fn redis(first: u64) -> u32 {
    // `*N\r\n$` or `*NN\r\n$`.
    let array = first >> 56 == 0x2a && is_digit(first >> 48);
    let short = first >> 24 & 0x00ff_ffff == 0x000d_0a24;
    let long = is_digit(first >> 40) && first >> 16 & 0x00ff_ffff == 0x000d_0a24;
    let known = begins(first, *b"+PONG\r\n ", 7)
        || begins(first, *b"-NOAUTH ", 8)
        || begins(first, *b"-WRONGPA", 8)
        || begins(first, *b"-NOPERM ", 8);
    if (array && (short || long)) || known { protocol::REDIS } else { protocol::NONE }
}

#[inline(always)]
const fn is_digit(word: u64) -> bool {
    (word & 0xff).wrapping_sub(0x30) < 10
}

/// `PostgreSQL` and `MySQL`.
#[inline(always)]
fn database(first: u64, lead: &Lead) -> u32 {
    let (length, code) = (first >> 32, first & 0xffff_ffff);
    // `SSLRequest`, `GSSENCRequest`, `CancelRequest`; or a startup message of version 3.
    let request = length == 8 && matches!(code, 80_877_103 | 80_877_104);
    let startup = (9..10_000).contains(&length) && matches!(code, 0x0003_0000 | 0x0003_0002);
    // `R`, a short length, a kind of authentication.
    let asks = first >> 56 == 0x52 && (first >> 24 & 0xffff_ffff).wrapping_sub(8) < 248;
    let kind = lead.at(5) >> 32;
    let asks = asks && kind <= 12 && lead.available >= 9;
    if request || startup || asks {
        return protocol::POSTGRESQL;
    }
    // A packet of this length with number 0: version 10 and a number as text.
    let own = first.swap_bytes() & 0x00ff_ffff;
    let greeting = first >> 24 & 0xffff == 0x0000_000a && is_digit(first >> 16);
    if greeting && own + 4 == u64::from(lead.payload) { protocol::MYSQL } else { protocol::NONE }
}

/// What has numbers at fixed places.
#[inline(always)]
fn binary(first: u64, lead: &Lead) -> u32 {
    // NetBIOS session message, then FE, FF, FD or FC and `SMB`.
    if first >> 56 == 0
        && first & 0x00ff_ffff == 0x0053_4d42
        && matches!((first >> 24 & 0xff) as u8, 0xfc..=0xff)
    {
        return protocol::SMB;
    }
    if is_mqtt(first, lead) {
        return protocol::MQTT;
    }
    if is_ldap(lead) {
        return protocol::LDAP;
    }
    // TPKT, then the connection request or confirm of X.224; ISO transport for other uses has parameters of its own.
    let tpkt = first >> 48 == 0x0300 && first >> 32 & 0xffff == u64::from(lead.payload);
    if tpkt && matches!((first >> 16 & 0xff) as u8, 0xe0 | 0xd0) {
        let next = lead.byte(11);
        if lead.payload == 11 || matches!(next, b'C' | 1 | 2 | 3) {
            return protocol::RDP;
        }
    }
    let length = lead.payload;
    if first >> 32 == u64::from(length.swap_bytes())
        && length >= 16
        && matches!(lead.at(12) >> 32, 0x0100_0000 | 0xd407_0000 | 0xdc07_0000 | 0xdd07_0000)
    {
        return protocol::MONGODB;
    }
    // IAC and a negotiation, each of which has three bytes.
    if first >> 56 == 0xff && matches!((first >> 48 & 0xff) as u8, 0xfb..=0xfe) && first >> 40 & 0xff < 0x40 {
        return protocol::TELNET;
    }
    if length > 2 && first >> 48 == u64::from(length - 2) && is_dns(lead, 2) {
        return protocol::DNS;
    }
    if is_kafka(first, lead) { protocol::KAFKA } else { protocol::NONE }
}

/// CONNECT of MQTT 3.1, 3.1.1 or 5, or the acknowledgement of 3.x.
#[inline(always)]
fn is_mqtt(first: u64, lead: &Lead) -> bool {
    let name = mqtt_name(first);
    if name != 0 {
        let found = lead.at(name);
        return begins(found, *b"\0\x04MQTT  ", 6) || found == word(*b"\0\x06MQIsdp");
    }
    lead.payload == 4 && first >> 48 == 0x2002 && first >> 40 & 0xff <= 1 && first >> 32 & 0xff <= 5
}

/// Where the name of the protocol stands in a CONNECT: behind a length of one byte or of two; 0 when it is no CONNECT.
#[inline(always)]
pub(super) const fn mqtt_name(first: u64) -> u32 {
    if first >> 56 != 0x10 {
        0
    } else if first >> 55 & 1 == 0 {
        2
    } else {
        3
    }
}

/// Where the operation of an LDAP message stands (RFC 4511, 4.1.1: a sequence, a message number); 0 when it is none.
#[inline(always)]
pub(super) fn ldap_operation(lead: &Lead) -> u32 {
    if lead.byte(0) != 0x30 {
        return 0;
    }
    // The length in short form, or in as many bytes as the first one says.
    let length = u32::from(lead.byte(1));
    let start = match length {
        0..=0x7f => 2,
        0x81..=0x84 => 2 + (length & 7),
        _ => return 0,
    };
    if lead.byte(start) != 2 {
        return 0;
    }
    let number = u32::from(lead.byte(start + 1));
    if number == 0 || number > 4 { 0 } else { start + 2 + number }
}

#[inline(always)]
fn is_ldap(lead: &Lead) -> bool {
    let at = ldap_operation(lead);
    at != 0 && matches!(lead.byte(at), 0x42 | 0x60 | 0x61 | 0x63 | 0x64 | 0x65 | 0x77 | 0x78)
}

/// A request whose length, interface, version and client name agree.
#[inline(always)]
fn is_kafka(first: u64, lead: &Lead) -> bool {
    let (length, interface, version) = (first >> 32, first >> 16 & 0xffff, first & 0xffff);
    let name = lead.short(12);
    length + 4 == u64::from(lead.payload)
        && matches!(interface, 0..=3 | 8..=12 | 17 | 18 | 22)
        && version <= 20
        && lead.payload >= 14
        && (name == 0xffff || name + 14 <= lead.payload)
        && name != 0
}

/// The protocol of a datagram; [`protocol::NONE`] when its beginning fits none.
#[inline(always)]
pub fn udp(lead: &Lead) -> u32 {
    let first = lead.at(0);
    let kind = first >> 56;
    // A long header (RFC 8999) of version 1, 2, a draft, or of Google's own.
    if kind & 0xc0 == 0xc0 && is_quic_version(first >> 24 & 0xffff_ffff) && first >> 16 & 0xff <= 20 {
        return protocol::QUIC;
    }
    let dtls = matches!(first >> 40 & 0xffff, 0xfeff | 0xfefd | 0xfefc);
    if dtls && matches!(kind, 20..=26) && lead.available >= 13 {
        return protocol::DTLS;
    }
    // Each message of a handshake has one size, and data comes in blocks of sixteen.
    let own =
        matches!((first >> 32, lead.payload), (0x0100_0000, 148) | (0x0200_0000, 92) | (0x0300_0000, 64))
            || (first >> 32 == 0x0400_0000 && lead.payload >= 32 && lead.payload.is_multiple_of(16));
    if own {
        return protocol::WIREGUARD;
    }
    if is_dns(lead, 0) {
        return protocol::DNS;
    }
    if is_ldap(lead) { protocol::LDAP } else { protocol::NONE }
}

#[inline(always)]
const fn is_quic_version(version: u64) -> bool {
    version == 1
        || version == 0x6b33_43cf
        || version >> 8 == 0x00ff_0000
        || version >> 16 == 0x5130
        || version & 0x0f0f_0f0f == 0x0a0a_0a0a
}

/// A header of DNS at `start` (RFC 1035, 4.1.1): one question whose first label is short, and counts that fit a message.
#[inline(always)]
fn is_dns(lead: &Lead, start: u32) -> bool {
    if lead.available < start + 17 {
        return false;
    }
    let flags = lead.short(start + 2);
    let counts = lead.at(start + 4);
    let (questions, answers) = (counts >> 48, counts >> 32 & 0xffff);
    let (authorities, more) = (counts >> 16 & 0xffff, counts & 0xffff);
    let label = lead.byte(start + 12);
    let next = lead.byte(start + 13);
    // Query, notify or update; the reserved bit is zero.
    let operation = flags >> 11 & 15;
    matches!(operation, 0 | 4 | 5)
        && flags & 0x40 == 0
        && questions == 1
        && label <= 63
        && (label == 0 || next > 0x20)
        && more <= 64
        && authorities <= 64
        && answers <= 256
        && (flags >> 15 == 1 || answers == 0 || operation == 5)
}

/// Whether the first bytes are characters: none above 0x7f, none below a tab.
#[inline(always)]
pub fn is_text(lead: &Lead) -> bool {
    is_text_word(lead.at(0), lead.available)
        && (lead.available <= 8 || is_text_word(lead.at(8), lead.available - 8))
}

#[inline(always)]
const fn is_text_word(word: u64, known: u32) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let padding = if known >= 8 { 0 } else { LOWER >> (known * 8) };
    let word = word | padding;
    word & HIGHS == 0 && word.wrapping_sub(ONES * 9) & !word & HIGHS == 0
}
