//! Before the table of conversations stands a filter of bits, so that a flood from outside never looks into the table.
//!
//! In: a frame. Out: its bit, the same for both directions. A bit that is set means that the conversation may be in the
//! table; one that is not set, that it is not.

use crate::{conversation::ConversationKey, flow::protocol, names::capacity::PRESENCE_WORDS, parse::Frame};

/// The same word of both banks. A bit counts when it is set in either: while the daemon makes one anew, the other is whole.
pub type Banks = [u64; 2];

/// Whatever the key is, the multiplier has bits everywhere.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The word (within a bank) and the bit of the conversation that a frame would belong to.
#[inline(always)]
pub const fn place(key: [u64; 2], frame: &Frame) -> (u32, u64) {
    let ports = match frame.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => (frame.source_port, frame.destination_port),
        _ => (0, 0),
    };
    of(key, frame.source, frame.destination, ports, frame.protocol)
}

/// The same from a conversation's key.
#[expect(clippy::cast_possible_truncation, reason = "protocol numbers are bytes")]
pub const fn of_key(hash_key: [u64; 2], key: &ConversationKey) -> (u32, u64) {
    of(hash_key, key.lower, key.higher, (key.lower_port, key.higher_port), key.protocol as u8)
}

#[inline(always)]
const fn of(
    key: [u64; 2],
    source: [u64; 2],
    destination: [u64; 2],
    ports: (u16, u16),
    protocol: u8,
) -> (u32, u64) {
    // Sums are the same for both directions. One multiplication by a secret odd number spreads them over its upper bits
    // (multiply-shift hashing); who hits a bit in vain only costs a lookup.
    let high = source[0].wrapping_add(destination[0]).rotate_left(24);
    let low = source[1].wrapping_add(destination[1]);
    let ports = (ports.0 as u64 + ports.1 as u64) << 8 | protocol as u64;
    let sum = low.wrapping_add(high).wrapping_add(ports << 36) ^ key[0];
    let hash = sum.wrapping_mul(key[1] ^ SPREAD | 1);
    ((hash >> 46) as u32 & (PRESENCE_WORDS - 1), 1 << (hash >> 58))
}

#[cfg(test)]
mod tests {
    use super::{of_key, place};
    use crate::{
        conversation::tracking::key_of,
        flow::{mapped_halves, protocol},
        parse::Frame,
    };

    fn frame(source: u8, destination: u8, ports: (u16, u16), upper: u8) -> Frame {
        Frame {
            source: mapped_halves([10, 0, 0, source]),
            destination: mapped_halves([10, 0, 1, destination]),
            source_port: ports.0,
            destination_port: ports.1,
            protocol: upper,
            ..Frame::EMPTY
        }
    }

    #[test]
    fn both_directions_and_the_tables_key_have_the_same_bit() {
        for upper in [protocol::TCP, protocol::UDP, protocol::ICMP] {
            // Echo request and reply: the type stands where ports would.
            let (there, back) =
                if upper == protocol::ICMP { ((0, 8 << 8), (0, 0)) } else { ((4711, 80), (80, 4711)) };
            let there = frame(1, 2, there, upper);
            let mut back = frame(2, 1, back, upper);
            (back.source, back.destination) = (there.destination, there.source);
            let key = [7, 9];
            let (table, _) = key_of(&there).expect("a conversation");
            assert_eq!(place(key, &there), place(key, &back));
            assert_eq!(place(key, &there), of_key(key, &table));
        }
    }

    #[test]
    fn neighbours_are_spread_over_the_bank() {
        let mut words = std::collections::HashSet::new();
        for host in 0..200 {
            for port in 0..20 {
                words.insert(place([3, 5], &frame(host, 1, (40_000 + port, 443), protocol::TCP)));
            }
        }
        // 4,000 conversations in 262,144 bits: about 30 meet by chance.
        assert!(words.len() > 3_900, "{}", words.len());
    }
}
