use super::{
    Contact, MOST_ANSWERS, Way, Word, begins, ends, group_hash, hash, line, may_answer, may_be_reflected,
    to_group,
};
use crate::{
    flow::{mapped_halves, protocol, tcp},
    names::capacity::{CONTACTED, OWN_FLOWS},
    parse::{Fragment, Frame},
    sketch::CELLS_PER_LINE,
};

const KEY: [u64; 2] = [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321];
const SECOND: u64 = 16_000_000_000;
const LOWEST: u32 = 32_768;

fn question(remote: u8, port: u16, upper: u8) -> Frame {
    Frame {
        source: mapped_halves([10, 0, 0, 1]),
        destination: mapped_halves([192, 0, 2, remote]),
        source_port: port,
        destination_port: 53,
        protocol: upper,
        ..Frame::EMPTY
    }
}

fn turned(frame: &Frame) -> Frame {
    Frame {
        source: frame.destination,
        destination: frame.source,
        source_port: frame.destination_port,
        destination_port: frame.source_port,
        ..*frame
    }
}

#[test]
fn an_answer_has_the_hash_of_its_question_and_nothing_else_has() {
    let ask = question(53, 40_000, protocol::UDP);
    let of = hash(KEY, &ask, Way::Out);
    assert_eq!(of, hash(KEY, &turned(&ask), Way::In));
    for other in [
        question(54, 40_000, protocol::UDP),
        question(53, 40_001, protocol::UDP),
        question(53, 40_000, protocol::TCP),
        Frame { destination_port: 54, ..ask },
        Frame { source: mapped_halves([10, 0, 0, 2]), ..ask },
        Frame { destination: [ask.destination[0] + 1, ask.destination[1]], ..ask },
        // The same sums of ports.
        Frame { source_port: 39_999, destination_port: 54, ..ask },
    ] {
        assert_ne!(of, hash(KEY, &other, Way::Out), "{other:?}");
    }
    assert!(
        (0..2000).all(|port| line(hash(KEY, &question(1, port, 17), Way::Out)) < OWN_FLOWS / CELLS_PER_LINE)
    );
}

#[test]
fn flows_are_spread_over_the_lines() {
    let mut lines = std::collections::HashSet::new();
    for remote in 0..40 {
        for port in 0..100 {
            lines.insert(line(hash(KEY, &question(remote, 40_000 + port, protocol::TCP), Way::Out)));
        }
    }
    // 4,000 flows in 4,096 lines: about 2,550 different ones by chance.
    assert!(lines.len() > 2450, "{}", lines.len());
}

#[test]
fn a_word_holds_for_its_time_and_for_so_many_answers() {
    for now in [0, 5 * SECOND, u64::MAX - 10 * SECOND] {
        let word = Word::sent(77, now);
        let later = |seconds: u64| now.wrapping_add(seconds * SECOND);
        assert!(word.is_of(77) || word.0 == 0);
        assert!(!word.is_of(78));
        assert!(word.answered(protocol::UDP, later(29)).is_some());
        assert!(word.answered(protocol::UDP, later(35)).is_none());
        assert!(word.answered(protocol::TCP, later(7200)).is_some());
        assert!(word.answered(protocol::TCP, later(7600)).is_none());
        let mut answered = word;
        for number in 0..MOST_ANSWERS {
            answered = answered.answered(protocol::UDP, now).unwrap_or_else(|| panic!("answer {number}"));
            assert!(answered.is_of(77));
        }
        assert!(answered.answered(protocol::UDP, now).is_none());
        assert_eq!(answered.age(later(20)), word.age(later(20)), "counting moves no time");
    }
}

#[test]
fn only_what_can_be_an_answer_is_looked_up() {
    let frame = |upper: u8, port: u16, flags: u8| Frame {
        protocol: upper,
        destination_port: port,
        tcp_flags: flags,
        ..Frame::EMPTY
    };
    let may = |frame: &Frame| may_answer(frame, LOWEST);
    assert!(may(&frame(protocol::TCP, 40_000, tcp::SYN | tcp::ACK)));
    assert!(may(&frame(protocol::UDP, 32_768, 0)));
    assert!(may(&frame(protocol::ICMP, 0, 0)) && may(&frame(protocol::ICMPV6, 129 << 8, 0)));
    assert!(!may(&frame(protocol::TCP, 40_000, tcp::SYN)));
    assert!(!may(&frame(protocol::UDP, 32_767, 0)));
    assert!(!may(&frame(protocol::ICMP, 8 << 8, 0)) && !may(&frame(protocol::GRE, 0, 0)));
    assert!(!may(&Frame { fragment: Fragment::Later, ..frame(protocol::UDP, 40_000, 0) }));
}

#[test]
fn a_service_that_answers_begins_nothing() {
    let frame = |upper: u8, from: u16, to: u16| Frame {
        protocol: upper,
        source_port: from,
        destination_port: to,
        ..Frame::EMPTY
    };
    assert!(begins(&frame(protocol::UDP, 40_000, 53), false, LOWEST));
    assert!(!begins(&frame(protocol::UDP, 40_000, 5000), false, LOWEST), "a game server on a high port");
    assert!(!begins(&frame(protocol::UDP, 123, 123), false, LOWEST));
    assert!(begins(&frame(protocol::UDP, 40_000, 5000), true, LOWEST), "connected to one peer");
    let syn = Frame { tcp_flags: tcp::SYN, ..frame(protocol::TCP, 40_000, 80) };
    assert!(begins(&syn, false, LOWEST) && !ends(&syn));
    assert!(!begins(&Frame { tcp_flags: tcp::SYN | tcp::ACK, ..syn }, true, LOWEST));
    assert!(ends(&Frame { tcp_flags: tcp::RST | tcp::ACK, ..syn }));
    assert!(begins(&frame(protocol::ICMP, 0, 8 << 8), false, LOWEST));
    assert!(!begins(&frame(protocol::ICMP, 0, 0), false, LOWEST));
}

#[test]
fn a_contact_is_of_its_source_for_an_hour() {
    let now = 9 * SECOND;
    for source in [1 << 40, u64::MAX, 0x0123_4567_89ab_cdef] {
        let word = Contact::made(source, now);
        assert!(word.is_of(source, now + 3590 * SECOND));
        assert!(!word.is_of(source, now + 3700 * SECOND));
        assert!(!word.is_of(source ^ 1 << 30, now));
        assert!(Contact::place(source) < CONTACTED);
    }
    assert!(!Contact(0).is_of(0, 0));
}

#[test]
fn a_question_to_a_group_is_answered_by_anybody_at_its_port() {
    let ask = Frame {
        destination: mapped_halves([224, 0, 0, 251]),
        destination_port: 5353,
        is_v4: true,
        ..question(1, 40_000, 17)
    };
    assert!(to_group(&ask) && !to_group(&question(1, 40_000, 17)));
    assert!(to_group(&Frame { destination: [0xff02 << 48, 0xfb], is_v4: false, ..ask }));
    let answer = |port: u16| {
        let mut frame = turned(&ask);
        frame.source = mapped_halves([10, 0, 0, 9]);
        frame.source_port = port;
        frame
    };
    assert_eq!(group_hash(KEY, &ask, Way::Out), group_hash(KEY, &answer(5353), Way::In));
    assert_ne!(group_hash(KEY, &ask, Way::Out), group_hash(KEY, &answer(1900), Way::In));
    assert_ne!(group_hash(KEY, &ask, Way::Out), hash(KEY, &ask, Way::Out));
}

#[test]
fn what_a_reflector_sends_is_told_by_its_port() {
    let from = |port: u16, to: u16| Frame {
        protocol: protocol::UDP,
        source_port: port,
        destination_port: to,
        ..Frame::EMPTY
    };
    for port in [17, 19, 53, 123, 161, 389, 1900, 11_211] {
        assert!(may_be_reflected(&from(port, 40_000)) && may_be_reflected(&from(port, 80)), "{port}");
        assert!(!may_be_reflected(&from(port, port)), "peers");
    }
    assert!(!may_be_reflected(&from(443, 40_000)));
    assert!(!may_be_reflected(&Frame { protocol: protocol::TCP, ..from(53, 40_000) }));
}
