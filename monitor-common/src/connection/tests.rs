use super::{Cell, Holder, IDLE, State, WAYS, Word, first, is_encrypted, is_free};
use crate::conversation::tracking::SECOND;

/// As the kernel reads them: what the segment does not have is 0.
fn judged(data: &[u8]) -> bool {
    let mut eight = [0; 8];
    let known = data.len().min(8);
    eight[..known].copy_from_slice(&data[..known]);
    is_encrypted(u64::from_be_bytes(eight), u32::try_from(data.len()).unwrap())
}

#[test]
fn the_first_data_of_encrypted_protocols_is_known_from_its_first_byte_on() {
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let ssl_request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let gss_request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
    for whole in [&hello[..], b"SSH-2.0-OpenSSH_9.2\r\n", &ssl_request, &gss_request] {
        for cut in 1..=whole.len() {
            assert!(judged(&whole[..cut]), "{:?}", &whole[..cut]);
        }
    }
    let mut mysql = [0; 36];
    mysql[..8].copy_from_slice(&[32, 0, 0, 1, 0x85, 0xae, 0xff, 0x19]);
    assert!(judged(&mysql));
    mysql[5] &= !8;
    assert!(!judged(&mysql), "a login without TLS");
}

#[test]
fn the_first_data_of_protocols_in_clear_is_not() {
    for clear in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"G",
        b"PRI * HTTP/2.0",
        b"EHLO a\r\n",
        b"STARTTLS\r\n",
        b"\0\0\0\x2a\0\x03\0\0user",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16GET / HTTP/1.1",
        b"\x16\x03\x09\x02\0\x01",
        b"\x17\x03\x03\0\x20\x01\x02\x03",
        b"SSH ",
    ] {
        assert!(!judged(clear), "{clear:?}");
    }
}

#[test]
fn a_word_is_of_its_connection_alone_and_keeps_the_holders_place() {
    for place in [0, 7, (1 << 20) - 1] {
        let hash = 0x1234_5678_9abc_def0;
        let word = Word::new(hash, place, Word::COUNTED | Word::FRESH);
        assert!(word.is_of(hash) && !word.is_of(hash ^ 1 << 30) && !Word(0).is_of(0));
        assert_eq!(word.place(), place);
        assert!(word.has(Word::FRESH) && !word.has(Word::CLEAR));
    }
    assert!(Word::new(0, 0, 0).is_of(0), "a tag of zeros is one too");
}

#[test]
fn a_connection_counts_until_nothing_was_seen_of_it_for_an_hour() {
    for start in [0, 100 * SECOND, u64::MAX - 100 * SECOND] {
        let (word, state) = (Word::new(9, 1, Word::COUNTED).0, State::new(7, start));
        let at = |seconds: u64| start.wrapping_add(seconds * SECOND);
        assert!(!is_free(word, state.0, at(0)) && !is_free(word, state.0, at(3590)));
        assert!(is_free(word, state.0, at(3605)));
        let later = state.seen(at(3000));
        assert!(!is_free(word, later.0, at(3605)) && later.number() == 7);
        assert!(!State::new(7, at(5)).is_idle(at(0)), "a later tick");
    }
    assert!(is_free(Word::new(9, 1, Word::ANSWERED).0, State::new(7, 5).0, 5), "it counts nothing");
    const { assert!(IDLE < u32::MAX >> 3) };
}

#[test]
fn a_reset_ends_what_its_server_takes_it_for() {
    let now = 9000 * SECOND;
    for number in [0, 5000, u32::MAX] {
        let state = State::new(number, now);
        assert_eq!(state.reset(number, now), 0, "exactly what the server expects");
        let doubtful = State(state.reset(number.wrapping_add(1460), now));
        assert!(!doubtful.is_idle(now + 5 * SECOND) && doubtful.is_idle(now + 15 * SECOND));
        assert!(!doubtful.seen(now + 5 * SECOND).is_idle(now + 15 * SECOND), "the server goes on");
        for outside in [number.wrapping_sub(1), number.wrapping_add(1 << 20)] {
            assert_eq!(state.reset(outside, now), state.0, "no server takes it");
        }
    }
}

#[test]
fn places_are_whole_sets_within_their_tables() {
    for hash in [0, 1, 0xdead_beef_0123_4567, u64::MAX] {
        let cell = first(hash, 1024);
        assert!(cell.is_multiple_of(WAYS) && cell + WAYS <= 1024);
        let holder = Holder::first(hash, 512);
        assert!(holder.is_multiple_of(Holder::WAYS) && holder + Holder::WAYS <= 512);
    }
    assert_eq!(Cell::default().word, 0);
    assert_eq!((Holder::service(Holder::none(9) + 3), Holder::count(Holder::none(9) + 3)), (9, 3));
}
