//! Where published captures stand, what a capture holds, and frames written as a capture.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use capture::Capture;

/// Ethernet's link type.
pub const ETHERNET: u16 = 1;

const SECOND: u64 = 1_000_000_000;

/// Where the captures stand that are not part of the project: `SLUICE_CAPTURES`, or beside the checkout's parent.
pub fn directory() -> Result<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures");
    let above = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/captures");
    let named = std::env::var_os("SLUICE_CAPTURES").map(PathBuf::from);
    let places = named.into_iter().chain([beside.into(), above.into()]);
    places
        .into_iter()
        .find(|place| place.join("INDEX.tsv").exists())
        .context("no captures beside the checkout")
}

/// The bytes of every packet, as they were captured, and whether the file was whole.
pub fn packets(file: &[u8]) -> Result<(Vec<Vec<u8>>, bool)> {
    let mut capture = Capture::new(file)?;
    let mut packets = Vec::new();
    loop {
        match capture.read() {
            Ok(Some(packet)) => packets.push(packet.data.to_vec()),
            Ok(None) => return Ok((packets, true)),
            Err(_) => return Ok((packets, false)),
        }
    }
}

/// How a capture is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub big_endian: bool,
    /// Otherwise microseconds, and what is finer is lost.
    pub nanoseconds: bool,
    pub link_type: u16,
    /// Bytes of each packet that are kept.
    pub snap_length: usize,
}

impl Default for Written {
    fn default() -> Self {
        Self { big_endian: false, nanoseconds: false, link_type: ETHERNET, snap_length: 65_535 }
    }
}

impl Written {
    /// Frames and their times, in nanoseconds since the epoch, as pcap.
    pub fn pcap(self, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let magic = if self.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let snap_length = u32::try_from(self.snap_length).expect("a snap length");
        let mut file = self.words(&[magic]);
        file.extend(self.halves(&[2, 4]));
        file.extend(self.words(&[0, 0, snap_length, u32::from(self.link_type)]));
        for (at, frame) in frames {
            let (kept, length) = self.kept(frame);
            let unit = if self.nanoseconds { 1 } else { 1000 };
            let seconds = u32::try_from(at / SECOND).expect("a time of this age");
            let fraction = u32::try_from(at % SECOND / unit).expect("less than a second");
            file.extend(self.words(&[seconds, fraction, size(kept), length]));
            file.extend(kept);
        }
        file
    }

    /// The same as pcapng, with one interface.
    pub fn pcapng(self, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut file = self.block(0x0a0d_0d0a, &self.words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
        let mut interface = self.halves(&[self.link_type, 0]);
        interface.extend(self.words(&[u32::try_from(self.snap_length).expect("a snap length")]));
        interface.extend(self.halves(&[9, 1]));
        interface.extend([if self.nanoseconds { 9 } else { 6 }, 0, 0, 0]);
        file.extend(self.block(1, &interface));
        for (at, frame) in frames {
            let (kept, length) = self.kept(frame);
            let ticks = if self.nanoseconds { *at } else { at / 1000 };
            let [high, low] =
                [ticks >> 32, ticks & 0xffff_ffff].map(|half| u32::try_from(half).expect("half"));
            let mut packet = self.words(&[0, high, low, size(kept), length]);
            packet.extend(kept);
            file.extend(self.block(6, &packet));
        }
        file
    }

    fn kept(self, frame: &[u8]) -> (&[u8], u32) {
        (&frame[..frame.len().min(self.snap_length)], size(frame))
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = u32::try_from(padded + 12).expect("a block");
        let mut block = self.words(&[kind, length]);
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(self.words(&[length]));
        block
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        let bytes = |word: &u32| if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() };
        words.iter().flat_map(bytes).collect()
    }

    fn halves(self, halves: &[u16]) -> Vec<u8> {
        let bytes = |half: &u16| if self.big_endian { half.to_be_bytes() } else { half.to_le_bytes() };
        halves.iter().flat_map(bytes).collect()
    }
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a frame")
}
