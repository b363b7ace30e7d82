//! Proof of address: the number that only who received this host's SYN-ACK can acknowledge.
//!
//! On the way out, a SYN-ACK leaves one word under its flow; the ACK that acknowledges it proves that the source is where it
//! says. A word that another flow has overwritten proves nothing, so at worst a proof is missed.

use crate::{names::capacity::PROOFS, parse::Frame, sketch};

/// What is waited for: the flow's tag above, the number to be acknowledged below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

const TAG: u64 = 0xffff_ffff << 32;

/// Who a packet is from: the remote end, as both ways must see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// The hash of a packet's flow under the hash key.
#[inline(always)]
pub const fn hash(key: [u64; 2], frame: &Frame, way: Way) -> u64 {
    let (remote, local, remote_port, local_port) = match way {
        Way::In => (frame.source, frame.destination, frame.source_port, frame.destination_port),
        Way::Out => (frame.destination, frame.source, frame.destination_port, frame.source_port),
    };
    let ports = (remote_port as u64) << 16 | local_port as u64;
    let far = sketch::source(key, remote[0], remote[1]);
    sketch::source([far, key[1]], local[0] ^ ports << 32, local[1])
}

/// The word of a flow with this hash.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
pub const fn place(hash: u64) -> u32 {
    hash as u32 & (PROOFS - 1)
}

impl Word {
    /// Of a SYN-ACK with this sequence number.
    #[inline(always)]
    pub const fn expecting(hash: u64, sequence: u32) -> Self {
        Self(hash & TAG | sequence.wrapping_add(1) as u64)
    }

    /// Whether a packet of the flow that acknowledges `number` is what was waited for.
    #[inline(always)]
    pub const fn is_proved_by(self, hash: u64, number: u32) -> bool {
        self.0 == hash & TAG | number as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Way, Word, hash, place};
    use crate::{names::capacity::PROOFS, parse::Frame};

    const KEY: [u64; 2] = [3, 5];

    fn syn_ack(port: u16) -> Frame {
        Frame { source: [0, 1], destination: [0, 2], source_port: 80, destination_port: port, ..Frame::EMPTY }
    }

    fn answer(port: u16) -> Frame {
        Frame { source: [0, 2], destination: [0, 1], source_port: port, destination_port: 80, ..Frame::EMPTY }
    }

    #[test]
    fn only_the_ack_of_the_same_flow_with_the_right_number_proves() {
        for sequence in [0, 7, u32::MAX] {
            let word = Word::expecting(hash(KEY, &syn_ack(4000), Way::Out), sequence);
            let of = |port| hash(KEY, &answer(port), Way::In);
            assert!(word.is_proved_by(of(4000), sequence.wrapping_add(1)));
            for off in [0, 2, 3, 1 << 16, u32::MAX] {
                assert!(!word.is_proved_by(of(4000), sequence.wrapping_add(off)));
            }
            assert!(!word.is_proved_by(of(4001), sequence.wrapping_add(1)));
        }
        assert!(place(hash(KEY, &answer(9), Way::In)) < PROOFS);
    }
}
