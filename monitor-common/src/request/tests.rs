use super::{COUNTED, Counted, HANDSHAKES, REQUESTS, Word, count, hash, kind, line, may_count, opens};
use crate::{
    flow::{protocol, tcp},
    parse::{Fragment, Frame},
};

/// Bytes of a header of TCP without options.
const HEADER: u32 = 20;

/// A connection as the kernel follows it: what passes moves its word.
struct Connection {
    word: Word,
    sequence: u32,
    acknowledged: u32,
    counts: [u32; COUNTED],
}

fn frame(sequence: u32, acknowledged: u32, payload: u32) -> Frame {
    Frame {
        protocol: protocol::TCP,
        tcp_flags: tcp::ACK | tcp::PSH,
        sequence,
        acknowledged,
        payload,
        length: HEADER + payload,
        ..Frame::EMPTY
    }
}

fn bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER as usize];
    bytes[12] = 5 << 4;
    bytes.extend_from_slice(payload);
    bytes
}

fn length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap()
}

impl Connection {
    fn new() -> Self {
        Self { word: Word::NONE, sequence: u32::MAX - 100, acknowledged: 7, counts: [0; COUNTED] }
    }

    fn judged(&self, sequence: u32, payload: &[u8]) -> Counted {
        let frame = frame(sequence, self.acknowledged, length(payload));
        assert!(may_count(&frame));
        count(bytes(payload).as_slice(), &frame, self.word)
    }

    fn take(&mut self, counted: Counted) -> u32 {
        self.counts[counted.what as usize] += counted.units;
        if counted.passed != 0 {
            self.word = Word(counted.passed);
        }
        counted.units
    }

    /// The client's next data, which passes.
    fn sends(&mut self, payload: &[u8]) -> u32 {
        let counted = self.judged(self.sequence, payload);
        assert_eq!(counted.follows, 0);
        self.sequence = self.sequence.wrapping_add(length(payload));
        self.take(counted)
    }

    /// The last data again.
    fn repeats(&mut self, payload: &[u8]) -> u32 {
        let counted = self.judged(self.sequence.wrapping_sub(length(payload)), payload);
        self.take(counted)
    }

    fn answers(&mut self, length: u32) {
        self.acknowledged = self.acknowledged.wrapping_add(length);
    }
}

fn record(kind: u8, length: u16) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend(length.to_be_bytes());
    record.resize(5 + usize::from(length), 0xee);
    if kind == 0x16 {
        record[5] = 1;
    }
    record
}

fn h2(kind: u8, stream: u32, length: u32) -> Vec<u8> {
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, 4]);
    frame.extend(stream.to_be_bytes());
    frame.resize(9 + length as usize, 0x82);
    frame
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn every_method_of_http_begins_a_request() {
    for method in ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"] {
        let mut one = Connection::new();
        assert_eq!(one.sends(format!("{method} / HTTP/1.1\r\n\r\n").as_bytes()), 1, "{method}");
        assert_eq!(one.word.kind(), kind::HTTP1, "{method}");
    }
}

#[test]
fn keep_alive_counts_each_request_once_and_bodies_not_at_all() {
    let mut one = Connection::new();
    for _ in 0..50 {
        assert_eq!(one.sends(b"POST / HTTP/1.1\r\n\r\n"), 1);
        assert_eq!(one.repeats(b"POST / HTTP/1.1\r\n\r\n"), 0);
        assert_eq!(one.sends(&[b'x'; 1400]), 0);
        assert_eq!(one.sends(&[b'y'; 300]), 0);
        one.answers(120);
    }
    assert_eq!(one.counts, [50, 0]);
}

#[test]
fn a_method_cut_in_two_is_a_request_all_the_same() {
    let mut one = Connection::new();
    one.sends(b"GET / HTTP/1.1\r\n\r\n");
    for _ in 0..5 {
        one.answers(99);
        assert_eq!(one.sends(b"G"), 1);
        assert_eq!(one.sends(b"ET / HTTP/1.1\r\n\r\n"), 0);
    }
}

#[test]
fn tls_counts_its_hello_as_a_handshake_and_exchanges_of_data_as_requests() {
    let mut one = Connection::new();
    assert_eq!(one.sends(&record(0x16, 300)), 1);
    assert_eq!(one.repeats(&record(0x16, 300)), 0);
    one.answers(3000);
    // Change cipher spec with Finished; then the first request, which acknowledges the same.
    assert_eq!(one.sends(&record(0x14, 1)), 0);
    for _ in 0..20 {
        assert_eq!(one.sends(&record(0x17, 200)), 1);
        assert_eq!(one.repeats(&record(0x17, 200)), 0);
        assert_eq!(one.sends(&record(0x17, 900)), 0, "a second record of the same request");
        one.answers(500);
    }
    assert_eq!(one.sends(&record(0x17, 19)), 0, "the alert that closes");
    assert_eq!(one.counts, [20, 1]);
}

#[test]
fn what_nobody_knows_is_counted_by_exchanges() {
    let mut one = Connection::new();
    for _ in 0..9 {
        assert_eq!(one.sends(b"*1\r\n$4\r\nPING\r\n"), 1);
        assert_eq!(one.sends(b"more of it"), 0);
        one.answers(7);
    }
}

#[test]
fn http2_counts_headers_of_client_streams_wherever_segments_are_cut() {
    let mut stream = [PREFACE.to_vec(), h2(4, 0, 18), h2(8, 0, 4)].concat();
    for number in 0..40 {
        stream.extend(h2(1, 2 * number + 1, 30));
        stream.extend(h2(0, 2 * number + 1, 700));
    }
    stream.extend(h2(0, 0, 5));
    // A header that is cut in two is lost, with what follows up to the next segment that begins with one.
    for (cut, least) in [(40_000, 23), (9_000, 30), (1_448, 10)] {
        let mut one = Connection::new();
        let mut counted = 0;
        for segment in stream.chunks(cut) {
            counted += one.sends(segment);
        }
        assert!(counted >= least && counted <= 40, "{counted} of 40 in segments of {cut}");
    }
}

#[test]
fn frames_that_open_no_stream_of_the_client_do_not_count() {
    let mut one = Connection::new();
    assert_eq!(one.sends(PREFACE), 0);
    for (kind, stream) in [(0, 1), (1, 2), (4, 0), (6, 0), (8, 3), (9, 3)] {
        assert_eq!(one.sends(&h2(kind, stream, 8)), 0, "type {kind} of stream {stream}");
    }
    assert_eq!(one.sends(&h2(1, 5, 8)), 1);
    assert_eq!(one.repeats(&h2(1, 5, 8)), 0);
}

#[test]
fn what_follows_a_refused_request_waits_until_it_is_sent_again() {
    let requests: [Vec<u8>; 3] =
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), record(0x17, 80), [PREFACE.to_vec(), h2(1, 1, 20)].concat()];
    for payload in requests {
        let mut one = Connection::new();
        let refused = one.judged(one.sequence, &payload);
        assert_eq!(refused.units, 1);
        one.word = Word(refused.refused);
        let behind = one.judged(one.sequence.wrapping_add(length(&payload)), b"behind it");
        assert_eq!((behind.follows, behind.units), (1, 0));
        assert_eq!(one.judged(one.sequence.wrapping_sub(10), b"before it").units, 0);
        assert_eq!(one.sends(&payload), 1, "charged when it passes");
        assert_eq!(one.repeats(&payload), 0, "and once");
        one.answers(50);
        assert_eq!(one.judged(one.sequence, b"behind it").follows, 0);
    }
}

#[test]
fn a_refused_hello_is_a_handshake_when_it_comes_again() {
    let mut one = Connection::new();
    let refused = one.judged(one.sequence, &record(0x16, 200));
    assert_eq!((refused.what as usize, refused.units), (HANDSHAKES, 1));
    one.word = Word(refused.refused);
    assert_eq!(one.sends(&record(0x16, 200)), 1);
    assert_eq!(one.counts, [0, 1]);
}

#[test]
fn datagrams_are_requests_but_those_of_quic() {
    let udp = |payload: &[u8], word: Word| {
        let frame = Frame { protocol: protocol::UDP, payload: length(payload), ..Frame::EMPTY };
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(payload);
        count(bytes.as_slice(), &frame, word)
    };
    let query = udp(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", Word::NONE);
    assert_eq!((query.what as usize, query.units), (REQUESTS, 1));
    for initial in [b"\xc3\x00\x00\x00\x01\x08abcdefgh", b"\xd3\x6b\x33\x43\xcf\x08abcdefgh"] {
        let initial = udp(initial, Word::NONE);
        assert_eq!((initial.what as usize, initial.units), (HANDSHAKES, 1));
        assert_eq!(udp(b"\x41abcdefghijkl", Word(initial.passed)).units, 0);
    }
    assert_eq!(udp(b"\xe3\x00\x00\x00\x01\x08abcdefgh", Word::NONE).units, 0, "a later long header");
}

#[test]
fn a_packet_that_carries_nothing_is_not_asked() {
    let data = frame(1, 1, 10);
    assert!(may_count(&data) && !opens(&data));
    assert!(!may_count(&Frame { payload: 0, ..data }));
    assert!(!may_count(&Frame { tcp_flags: tcp::RST | tcp::ACK, ..data }));
    assert!(!may_count(&Frame { fragment: Fragment::First, ..data }));
    let syn = Frame { tcp_flags: tcp::SYN, ..data };
    assert!(opens(&syn) && !may_count(&syn));
}

#[test]
fn any_truncation_is_read_within_its_bounds() {
    let whole = [PREFACE.to_vec(), h2(1, 1, 20), record(0x16, 60), record(0x17, 60)];
    for payload in whole {
        for end in 1..payload.len() {
            let mut one = Connection::new();
            assert!(one.sends(&payload[..end]) <= 1, "{end} bytes");
            // A header that promises more than the frame holds.
            let promised = frame(1, 1, 60_000);
            assert!(count(bytes(&payload[..end]).as_slice(), &promised, Word::NONE).units <= 1);
        }
    }
}

#[test]
fn without_room_for_a_word_parts_of_a_message_do_not_count() {
    let part = Frame { tcp_flags: tcp::ACK, ..frame(1, 1, 100) };
    let end = Frame { tcp_flags: tcp::ACK | tcp::PSH, ..part };
    let payload = bytes(&[0x55; 100]);
    let counted = count(payload.as_slice(), &part, Word::NONE);
    assert_eq!((counted.untracked(&part).units, counted.untracked(&end).units), (0, 1));
    let method = bytes(b"GET / HTTP/1.1\r\n");
    assert_eq!(count(method.as_slice(), &part, Word::NONE).untracked(&part).units, 1);
}

#[test]
fn a_word_is_of_its_connection_until_it_was_long_unused() {
    let one = Word::new(kind::TLS, 5).stamped(1 << 50, 0);
    assert!(one.is_of(1 << 50 | 0x4d) && !one.is_of(1 << 51) && !Word::NONE.is_of(0));
    assert!(!one.is_free(2 << 36) && one.is_free(3 << 36) && Word::NONE.is_free(0));
    assert_eq!((one.kind(), one.number()), (kind::TLS, 5));
    let key = [3, 9];
    let ends = frame(0, 0, 1);
    assert_ne!(hash(key, &ends), hash(key, &Frame { source_port: 9, ..ends }));
    assert!(line(u64::MAX, 4096) < 512);
}
