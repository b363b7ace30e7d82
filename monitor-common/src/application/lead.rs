//! The beginning of a data segment, as the kernel copies it and everything else makes it from a slice.

use crate::{
    flow::protocol,
    packet::Packet,
    parse::{Fragment, Frame},
    plain,
};

/// Bytes of a segment that are looked at.
pub const LEAD_BYTES: u32 = 512;
/// The first bytes, which read as zero where a segment is shorter.
pub const ZEROED_BYTES: u32 = 64;
const WORDS: usize = LEAD_BYTES as usize / 8;

/// The first bytes of a segment. The eight behind [`Self::available`] are zero; what stands behind those and behind the first
/// [`ZEROED_BYTES`] may be left of another one, and is never read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// In the order of the wire.
    pub words: [u64; WORDS],
    /// Bytes of the segment that are here.
    pub available: u32,
    /// Bytes of the whole segment.
    pub payload: u32,
}
plain!(Lead { words: [u64; WORDS], available: u32, payload: u32 } = 520);

/// Where the data of a frame begins, and how many of its bytes are here; `None` for what has no data of its own (a later
/// fragment, neither TCP nor UDP). `words` are the TCP header's bytes 12 and 13.
#[inline(always)]
pub fn extent(frame: &Frame, words: [u8; 2]) -> Option<(u32, u32)> {
    if matches!(frame.fragment, Fragment::Later) || frame.payload == 0 {
        return None;
    }
    let header = match frame.protocol {
        protocol::TCP => (u32::from(words[0]) >> 4) * 4,
        protocol::UDP => 8,
        _ => return None,
    };
    let start = frame.transport_offset + header;
    let here = frame.length.saturating_sub(start);
    let available = if here < frame.payload { here } else { frame.payload };
    let available = if available > LEAD_BYTES { LEAD_BYTES } else { available };
    if available == 0 { None } else { Some((start, available)) }
}

impl Lead {
    /// Of a segment with these bytes.
    #[expect(clippy::cast_possible_truncation, reason = "no frame reaches 4 GiB")]
    pub fn of(payload: &[u8]) -> Self {
        let available = payload.len().min(LEAD_BYTES as usize);
        let mut bytes = [0; LEAD_BYTES as usize];
        bytes[..available].copy_from_slice(&payload[..available]);
        let mut words = [0; WORDS];
        for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut array = [0; 8];
            array.copy_from_slice(eight);
            *word = u64::from_ne_bytes(array);
        }
        Self { words, available: available as u32, payload: payload.len() as u32 }
    }

    /// Of a frame's data.
    pub fn of_frame(bytes: &[u8], frame: &Frame) -> Option<Self> {
        let (start, available) = extent(frame, bytes.read(frame.transport_offset + 12).unwrap_or_default())?;
        let data = bytes.get(start as usize..)?.get(..available as usize)?;
        Some(Self { payload: frame.payload, ..Self::of(data) })
    }

    /// Eight bytes from `offset` on, the first one highest; 0 when they are not all known.
    #[inline(always)]
    pub fn at(&self, offset: u32) -> u64 {
        if offset > ZEROED_BYTES - 8 && offset + 8 > self.available {
            return 0;
        }
        let index = (offset >> 3) as usize & (WORDS - 1);
        let word = u64::from_be(self.words[index]);
        let shift = (offset & 7) * 8;
        if shift == 0 {
            return word;
        }
        word << shift | u64::from_be(self.words[(index + 1) & (WORDS - 1)]) >> (64 - shift)
    }

    /// The byte at `offset`; 0 when it is not known.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves a byte")]
    pub fn byte(&self, offset: u32) -> u8 {
        if offset >= ZEROED_BYTES && offset >= self.available {
            return 0;
        }
        let word = u64::from_be(self.words[(offset >> 3) as usize & (WORDS - 1)]);
        (word >> (56 - (offset & 7) * 8)) as u8
    }

    /// Two bytes from `offset` on.
    #[inline(always)]
    pub fn short(&self, offset: u32) -> u32 {
        u32::from(self.byte(offset)) << 8 | u32::from(self.byte(offset + 1))
    }
}
