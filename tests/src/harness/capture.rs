//! A capture file -> its link type and frames. Reads pcap of either byte order and pcapng; for the tests only.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

/// Ethernet's link type.
pub const ETHERNET: u32 = 1;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Capture {
    /// Of the first interface.
    pub link_type: u32,
    pub frames: Vec<Vec<u8>>,
}

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

impl Capture {
    /// Reads a whole file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        match word(bytes, 0, false)? {
            0xa1b2_c3d4 | 0xa1b2_3c4d => pcap(bytes, false),
            0xd4c3_b2a1 | 0x4d3c_b2a1 => pcap(bytes, true),
            0x0a0d_0d0a => pcapng(bytes),
            other => bail!("no capture begins with {other:#x}"),
        }
    }
}

fn word(bytes: &[u8], at: usize, swapped: bool) -> Result<u32> {
    let four = bytes.get(at..at + 4).context("the file ends within a header")?;
    let word = u32::from_le_bytes(four.try_into()?);
    Ok(if swapped { word.swap_bytes() } else { word })
}

fn pcap(bytes: &[u8], swapped: bool) -> Result<Capture> {
    let mut capture = Capture { link_type: word(bytes, 20, swapped)? & 0x0fff_ffff, frames: Vec::new() };
    let mut at = 24;
    while at < bytes.len() {
        let length = word(bytes, at + 8, swapped)? as usize;
        let frame = bytes.get(at + 16..at + 16 + length).context("the file ends within a frame")?;
        capture.frames.push(frame.to_vec());
        at += 16 + length;
    }
    Ok(capture)
}

fn pcapng(bytes: &[u8]) -> Result<Capture> {
    let swapped = word(bytes, 8, false)? == 0x4d3c_2b1a;
    let mut capture = Capture::default();
    let mut interfaces = 0;
    let mut at = 0;
    while at + 12 <= bytes.len() {
        let (kind, length) = (word(bytes, at, swapped)?, word(bytes, at + 4, swapped)? as usize);
        ensure!(length >= 12 && length % 4 == 0, "a block of {length} bytes");
        let block = bytes.get(at..at + length).context("the file ends within a block")?;
        match kind {
            1 => {
                if interfaces == 0 {
                    let both = word(block, 8, swapped)?;
                    capture.link_type = if swapped { both >> 16 } else { both & 0xffff };
                }
                interfaces += 1;
            }
            6 => {
                let captured = word(block, 20, swapped)? as usize;
                let frame = block.get(28..28 + captured).context("a frame longer than its block")?;
                capture.frames.push(frame.to_vec());
            }
            3 => capture.frames.push(block[12..length - 4].to_vec()),
            _ => {}
        }
        at += length;
    }
    Ok(capture)
}
