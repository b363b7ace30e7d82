use super::{
    Abilities, Answer, Headers, Heard, IP, LISTENED, Listener, Options, TCP, answer, listener, place, stamp,
    tag,
};
use crate::rule::setting::{COOKIE_SACK, COOKIE_STAMPS, COOKIE_WINDOWS};

const ALL: u32 = COOKIE_STAMPS | COOKIE_SACK | COOKIE_WINDOWS;

/// A SYN from port 4000 to 80 with these options.
fn question(options: &[u8]) -> (Headers, u32) {
    let mut headers = Headers { ip: [0; IP], tcp: [0xee; TCP] };
    let padded = options.len().div_ceil(4) * 4;
    headers.tcp[..20].copy_from_slice(&[15, 160, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0, 2, 9, 9, 8, 8, 7, 7]);
    headers.tcp[12] = u8::try_from((20 + padded) << 2).unwrap();
    headers.tcp[20..20 + padded].fill(0);
    headers.tcp[20..20 + options.len()].copy_from_slice(options);
    headers.ip[32..].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    (headers, u32::try_from(20 + padded).unwrap())
}

fn answered(options: &[u8], abilities: u32, scale: u32) -> (Headers, u32, u32) {
    let (mut headers, length) = question(options);
    let listener = Listener::heard(80, 64_240, 64, 1460, scale, Listener(0));
    let with = Answer { cookie: 0xc00c_1e00, now: 1_000_000, listener, abilities: Abilities(abilities) };
    let options = Options::read(&headers.tcp, length);
    let answer = answer(&mut headers, &options, &with, true);
    (headers, length, answer)
}

const LINUX: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 9];

#[test]
fn an_answer_repeats_what_was_offered_and_the_host_takes() {
    let (headers, _, length) = answered(LINUX, ALL, 7);
    assert_eq!(length, 40);
    assert_eq!(headers.tcp[..14], [0, 80, 15, 160, 0xc0, 0x0c, 0x1e, 0, 1, 2, 3, 5, 160, 0x12]);
    assert_eq!(headers.tcp[20..28], [2, 4, 5, 180, 4, 2, 8, 10]);
    assert_eq!(headers.tcp[32..40], [0, 0, 0, 7, 1, 3, 3, 7]);
    let told = u32::from_be_bytes(headers.tcp[28..32].try_into().unwrap());
    assert!(told <= 1_000_000 && told > 1_000_000 - 128 && told & 63 == 0x10 | 9, "{told:x}");
    assert_eq!(headers.ip[20..24], [0x45, 0, 0, 60]);
    assert_eq!(headers.ip[32..], [10, 0, 0, 2, 10, 0, 0, 1]);
}

#[test]
fn without_what_the_host_takes_less_is_said() {
    for (abilities, scale, wanted) in [
        (0, 7, 24),
        (COOKIE_SACK | COOKIE_WINDOWS, 7, 24),
        (COOKIE_STAMPS, 7, 36),
        (ALL, Options::NO_SCALE, 36),
    ] {
        let (headers, _, length) = answered(LINUX, abilities, scale);
        assert_eq!(length, wanted, "{abilities:b}");
        if length > 24 {
            assert_eq!(headers.tcp[31] & 0xf, 0xf, "no window scale");
            assert_eq!(headers.tcp[31] & 0x10 != 0, abilities & COOKIE_SACK != 0);
        }
    }
}

#[test]
fn no_answer_is_longer_than_its_question() {
    let pieces: [&[u8]; 6] = [
        &[2, 4, 5, 180],
        &[4, 2],
        &[8, 10, 1, 2, 3, 4, 0, 0, 0, 0],
        &[3, 3, 200],
        &[1],
        &[254, 6, 1, 2, 3, 4],
    ];
    for mut choice in 0..6u32.pow(5) {
        let mut options = Vec::new();
        for _ in 0..5 {
            let piece = pieces[(choice % 6) as usize];
            choice /= 6;
            if options.len() + piece.len() <= 40 {
                options.extend_from_slice(piece);
            }
        }
        let (_, question, answer) = answered(&options, ALL, 7);
        assert!(answer <= question, "{options:?}: {answer} for {question}");
    }
}

#[test]
fn options_end_where_they_make_no_sense() {
    for (options, segment) in [
        (&[2, 4, 5, 180][..], 1460),
        (&[1, 1, 1, 2, 4, 5, 180, 0], 1460),
        (&[0, 2, 4, 5, 180], 0),
        (&[2, 0, 5, 180], 0),
        (&[2, 1, 5, 180], 0),
        (&[2, 40, 5, 180], 0),
        (&[2, 3, 5, 2], 0),
        (&[], 0),
    ] {
        let (headers, length) = question(options);
        assert_eq!(Options::read(&headers.tcp, length).segment, segment, "{options:?}");
    }
    let (headers, length) = question(&[1; 40]);
    assert_eq!(Options::read(&headers.tcp, length).segment, 0);
}

#[test]
fn a_stamp_is_never_of_the_future() {
    for now in [0u32, 5, 63, 64, 1_000_000, u32::MAX] {
        for options in 0..64 {
            let told = stamp(now, options);
            assert_eq!(told & 63, options);
            assert!(now.wrapping_sub(told) < 64, "{now} {options}");
        }
    }
}

#[test]
fn a_listener_speaks_for_its_port_for_a_minute() {
    let spoken = Listener::heard(80, 65_160, 63, 1440, 9, Listener(0));
    assert_eq!((spoken.port(), spoken.window(), spoken.hops()), (80, 65_160, 63));
    assert_eq!((spoken.segment(), spoken.scale()), (1440, 9));
    assert_eq!(Listener::heard(80, 1, 1, 1, Options::NO_SCALE, spoken).scale(), 9);
    assert_eq!(Listener::heard(81, 1, 1, 1, Options::NO_SCALE, spoken).scale(), 15);
    let now = 1 << 50;
    let heard = Heard::new(spoken, now, 3, true);
    assert!(heard.speaks_for(80, 3, true, now) && heard.speaks_for(80, 3, true, now + LISTENED - 256));
    assert!(!heard.speaks_for(80, 3, true, now + LISTENED));
    assert!(!heard.speaks_for(81, 3, true, now) && !heard.speaks_for(80, 2, true, now));
    assert!(!heard.speaks_for(80, 3, false, now) && !Heard { word: 0, at: 0 }.speaks_for(0, 0, false, 0));
    assert!(place(15, u16::MAX, true) < crate::names::capacity::LISTENERS);
    assert_ne!(listener::tag(1, true), tag(1, false));
}
