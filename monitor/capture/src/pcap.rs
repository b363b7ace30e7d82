//! pcap: a head of 24 bytes, then packets with 16 bytes before each (draft-ietf-opsawg-pcap).

use std::io::Read;

use super::stream::Stream;
use super::{Broken, Found, LONGEST_PACKET, NoCapture, u32_at};

const HEAD: usize = 24;

/// What the head says.
#[derive(Debug)]
pub struct Pcap {
    big_endian: bool,
    /// Of the fraction of a second.
    nanoseconds_per_unit: u64,
    /// Bytes before each packet: 16, or 24 in a variant that older Linux kernels' patches wrote.
    packet_head: usize,
    pub link_type: u16,
}

impl Pcap {
    /// `None` when a file that begins so is none.
    pub fn new<R: Read>(magic: [u8; 4], stream: &mut Stream<R>) -> Result<Option<Self>, NoCapture> {
        let as_written = |big_endian| {
            let magic = if big_endian { u32::from_be_bytes(magic) } else { u32::from_le_bytes(magic) };
            let (nanoseconds_per_unit, packet_head) = match magic {
                0xa1b2_c3d4 => (1000, 16),
                0xa1b2_3c4d => (1, 16),
                0xa1b2_cd34 => (1000, 24),
                _ => return None,
            };
            Some(Self { big_endian, nanoseconds_per_unit, packet_head, link_type: 0 })
        };
        let Some(mut pcap) = as_written(false).or_else(|| as_written(true)) else { return Ok(None) };
        let cut = |_| NoCapture::Other("it ends within the head of a pcap file".to_owned());
        let head = stream.take(HEAD).map_err(cut)?;
        // The upper half may tell of frame check sequences.
        let link = u32_at(stream.taken(head), 20, pcap.big_endian) & 0xffff;
        pcap.link_type = u16::try_from(link).unwrap_or_default();
        Ok(Some(pcap))
    }

    pub fn read<R: Read>(&self, stream: &mut Stream<R>) -> Result<Option<Found>, Broken> {
        if stream.at_end()? {
            return Ok(None);
        }
        let head = stream.take(self.packet_head)?;
        let head = stream.taken(head);
        let word = |at| u32_at(head, at, self.big_endian);
        let (seconds, fraction, captured, length) = (word(0), word(4), word(8), word(12));
        let size = captured as usize;
        if size > LONGEST_PACKET {
            return Err(Broken::Damaged(format!("a packet of {captured} bytes")));
        }
        let at_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.nanoseconds_per_unit;
        Ok(Some(Found {
            at_ns,
            link_type: Some(self.link_type),
            big_endian: self.big_endian,
            length: length.max(captured),
            data: stream.take(size)?,
        }))
    }
}
