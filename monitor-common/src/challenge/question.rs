//! DNS over UDP: a question becomes an answer that is cut short, so that its client asks again over TCP (RFC 1035, 4.2.1), where
//! it can prove its address.
//!
//! In: a UDP header and a message behind it. Out: the same question with "answer" and "truncated" set and nothing else, never longer.

use super::{folded, fresh, put_half, swap};

/// Room for the message: what masked reads of names may reach.
pub const MESSAGE: usize = 512;
const UDP: usize = 8;
const MASK: u32 = 0x1ff;
const _: () = assert!(MESSAGE == MASK as usize + 1);
/// Where the name of the question begins: behind the headers of UDP and DNS.
pub const NAME: u32 = 20;
const _: () = assert!(NAME as usize == UDP + 12);
/// The last place of a name's end.
const LAST: u32 = NAME + 254;
/// Bytes up to the end of the longest question: its type and class are behind the name.
pub const LONGEST: u32 = LAST + 1 + 4;
/// Labels of the longest name, its end, and one more to notice a longer one.
pub const MOST_LABELS: u32 = 129;

/// Bits of the two bytes of flags: an answer, its kind, cut short, recursion desired; checking disabled.
const ANSWER_OR_KIND: u8 = 0xf8;
const ANSWER: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const RECURSION: u8 = 0x01;
const UNCHECKED: u8 = 0x10;
/// The first two bits of a length say that it is none.
const POINTER: u32 = 0xc0;

/// Whether the headers are those of one question. An answer to an answer would never end.
#[inline(always)]
pub const fn is_question(message: &[u8; MESSAGE]) -> bool {
    message[UDP + 2] & ANSWER_OR_KIND == 0 && message[UDP + 4] == 0 && message[UDP + 5] == 1
}

/// Bytes of the UDP datagram, by its header.
#[inline(always)]
pub const fn length(message: &[u8; MESSAGE]) -> u32 {
    u16::from_be_bytes([message[4], message[5]]) as u32
}

/// One label of the name further. False at the end: then `at` is where the question ends, or 0 when it has none.
#[inline(always)]
pub fn step(message: &[u8; MESSAGE], at: &mut u32) -> bool {
    let place = fresh(at);
    let label = u32::from(message[(place & MASK) as usize]);
    if label & POINTER != 0 || place > LAST {
        *at = 0;
        return false;
    }
    *at = place + 1 + if label == 0 { 4 } else { label };
    label != 0
}

/// Turns the question into its answer, which ends at `end`, without a checksum and with zeros behind.
#[inline(always)]
pub fn truncate(message: &mut [u8; MESSAGE], end: u32) {
    swap(message, 0, 2, 2);
    let [.., high, low] = end.to_be_bytes();
    [message[4], message[5]] = [high, low];
    put_half(message, 6, 0);
    message[UDP + 2] = message[UDP + 2] & RECURSION | ANSWER | TRUNCATED;
    message[UDP + 3] &= UNCHECKED;
    let mut at = UDP + 6;
    while at < NAME as usize {
        message[at] = 0;
        at += 1;
    }
    let mut behind = 0;
    while behind < 3 {
        message[((end + behind) & MASK) as usize] = 0;
        behind += 1;
    }
}

/// Writes the checksum: `pseudo` is the sum of the pseudo header, `sum` the kernel's sum of the message in its own byte order.
#[inline(always)]
pub fn seal(message: &mut [u8; MESSAGE], pseudo: u32, sum: u32) {
    let checksum = folded(pseudo + u32::from(u16::from_be(!folded(sum))));
    // 0 says that there is none (RFC 768).
    put_half(message, 6, if checksum == 0 { 0xffff } else { checksum });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &[u8], more: &[u8]) -> [u8; MESSAGE] {
        let mut message = [0xee; MESSAGE];
        let parts =
            [&[0x0f, 0xa0, 0, 53, 0, 0, 0, 0][..], &[7, 7, 1, 0x30, 0, 1, 0, 0, 0, 0, 0, 1], name, more];
        let all = parts.concat();
        message[..all.len()].copy_from_slice(&all);
        message[4..6].copy_from_slice(&u16::try_from(all.len()).unwrap().to_be_bytes());
        message
    }

    fn end(message: &[u8; MESSAGE]) -> u32 {
        let (mut at, mut turn) = (NAME, 0);
        while turn < MOST_LABELS && step(message, &mut at) {
            turn += 1;
        }
        at
    }

    #[test]
    fn a_name_is_walked_to_its_end() {
        assert_eq!(end(&message(b"\x03www\x07example\x00", &[0, 1, 0, 1, 0xaa])), NAME + 13 + 4);
        assert_eq!(end(&message(b"\x00", &[0, 2, 0, 1])), NAME + 1 + 4);
        assert_eq!(end(&message(b"\x03www\xc0\x0c", &[0, 1, 0, 1])), 0, "a pointer");
        let longest = [[&b"\x01a"[..]; 127].concat(), vec![0]].concat();
        assert_eq!(end(&message(&longest, &[0, 1, 0, 1])), LONGEST);
        let longer = [[&b"\x01a"[..]; 128].concat(), vec![0]].concat();
        assert_eq!(end(&message(&longer, &[0, 1, 0, 1])), 0);
    }

    #[test]
    fn any_bytes_have_an_end_within_the_longest_or_none() {
        let mut state = 7u64;
        for _ in 0..20_000 {
            let random = [0; MESSAGE].map(|_: u8| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let [kind, .., byte] = (state >> 33 | state & 0xf << 60).to_be_bytes();
                // Short labels, so that names are long.
                byte & if kind == 0 { 0xff } else { 0x0f }
            });
            assert!(end(&random) <= LONGEST);
        }
    }

    #[test]
    fn an_answer_repeats_the_question_and_says_that_it_is_cut_short() {
        let mut asked = message(b"\x01a\x00", &[0, 1, 0, 1, 0, 0, 41, 4, 208]);
        assert!(is_question(&asked));
        let end = end(&asked);
        truncate(&mut asked, end);
        assert_eq!(asked[..8], [0, 53, 0x0f, 0xa0, 0, 27, 0, 0]);
        assert_eq!(asked[8..20], [7, 7, 0x83, 0x10, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(asked[20..30], *b"\x01a\x00\x00\x01\x00\x01\x00\x00\x00");
        assert_eq!(length(&asked), end);
        assert!(!is_question(&asked), "an answer is not answered");
    }
}
