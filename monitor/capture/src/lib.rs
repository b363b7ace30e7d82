//! Capture files -> packets with their times, and Ethernet frames of them; and frames -> a file.
//!
//! In: the bytes of a pcap or pcapng file, plain or compressed with gzip, known by how they begin and never by a name.
//! Out: one [`Packet`] after the other, each with its link type and its time in nanoseconds since the epoch. A file that ends
//! within a packet, or is damaged, says so behind the packets that could be read. It keeps nothing but one buffer.
//!
//! It is our own because the crates for it guess where we must not: pcap-file 2 takes every tick of pcapng for a nanosecond,
//! pcap-parser 0.17 takes a packet that contradicts its block for the end of the file.

mod link;
mod pcap;
mod pcapng;
mod stream;
pub mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};

pub use link::{LONGEST_FRAME, Link, SHORTEST_FRAME, name_of};

use pcap::Pcap;
use pcapng::PcapNg;
use stream::{Missing, Stream};

/// Longest packet that a file is believed to hold; a length beyond it is damage (libpcap's bound is a quarter of it).
const LONGEST_PACKET: usize = 1 << 20;

/// A packet as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured, in nanoseconds since the epoch; times before it are 0.
    pub at_ns: u64,
    /// Its number among the registered link types (`LINKTYPE_..`); `None` when the file does not say.
    pub link_type: Option<u16>,
    /// What headers in the capturing machine's own order are in.
    pub big_endian: bool,
    /// Bytes on the wire; at least as many as were captured.
    pub length: u32,
    pub data: &'a [u8],
}

/// Why reading ended before the end of the file.
#[derive(Debug)]
pub enum Broken {
    /// The file ends within a packet or a header.
    Cut,
    /// What it says of itself cannot be.
    Damaged(String),
    /// The system could not read on.
    Unreadable(io::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the file ends within a packet"),
            Self::Damaged(how) => write!(f, "the file is damaged: {how}"),
            Self::Unreadable(error) => write!(f, "the file cannot be read on: {error}"),
        }
    }
}

impl From<Missing> for Broken {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::End => Self::Cut,
            Missing::Unreadable(error) => Self::Unreadable(error),
        }
    }
}

/// Why there is nothing to read at all.
#[derive(Debug)]
pub enum NoCapture {
    Unreadable(io::Error),
    /// What it is instead, or what it lacks.
    Other(String),
}

impl fmt::Display for NoCapture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for NoCapture {}

/// A capture that is being read.
#[derive(Debug)]
pub struct Capture<R> {
    stream: Stream<R>,
    format: Format,
    over: bool,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// How files begin that are no captures we read, and what to say of them.
const OTHERS: [(&[u8], &str); 5] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "it is compressed with zstd: decompress it first"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "it is compressed with xz: decompress it first"),
    (b"BZh", "it is compressed with bzip2: decompress it first"),
    (b"PK\x03\x04", "it is a zip archive: unpack it first"),
    (b"snoop\0", "it is a snoop file: convert it to pcap first"),
];

impl<R: Read> Capture<R> {
    /// Reads the head of a file.
    pub fn new(file: R) -> Result<Self, NoCapture> {
        let mut stream = Stream::new(file).map_err(NoCapture::Unreadable)?;
        let magic = match stream.peek(4).map(|four| number(four, 0)) {
            Ok(magic) => magic,
            Err(Missing::Unreadable(error)) => return Err(NoCapture::Unreadable(error)),
            Err(Missing::End) if stream.is_empty() => return Err(NoCapture::Other("it is empty".to_owned())),
            Err(Missing::End) => return Err(NoCapture::Other("it is too short for a capture".to_owned())),
        };
        let format = if magic == pcapng::SECTION {
            PcapNg::new(&mut stream).map(Format::PcapNg)?
        } else if let Some(pcap) = Pcap::new(magic, &mut stream)? {
            Format::Pcap(pcap)
        } else {
            let beginning = stream.available();
            let known = OTHERS.iter().find(|(magic, _)| beginning.starts_with(magic));
            let what = known.map_or("it is neither pcap nor pcapng", |(_, what)| what);
            return Err(NoCapture::Other(what.to_owned()));
        };
        Ok(Self { stream, format, over: false })
    }

    /// The next packet; `None` at the end. After an error there is nothing more.
    pub fn read(&mut self) -> Result<Option<Packet<'_>>, Broken> {
        if self.over {
            return Ok(None);
        }
        let found = match &mut self.format {
            Format::Pcap(pcap) => pcap.read(&mut self.stream),
            Format::PcapNg(pcapng) => pcapng.read(&mut self.stream),
        };
        self.over = !matches!(found, Ok(Some(_)));
        Ok(found?.map(|found| Packet {
            at_ns: found.at_ns,
            link_type: found.link_type,
            big_endian: found.big_endian,
            length: found.length,
            data: self.stream.taken(found.data),
        }))
    }

    /// Whether the file is compressed.
    pub fn is_compressed(&self) -> bool {
        self.stream.is_compressed()
    }

    /// Link types that the file has named so far, in the order of its interfaces.
    pub fn link_types(&self) -> Vec<u16> {
        match &self.format {
            Format::Pcap(pcap) => vec![pcap.link_type],
            Format::PcapNg(pcapng) => pcapng.link_types().to_vec(),
        }
    }
}

/// A packet within the stream's buffer.
#[derive(Debug)]
struct Found {
    at_ns: u64,
    link_type: Option<u16>,
    big_endian: bool,
    length: u32,
    data: std::ops::Range<usize>,
}

/// Reads a number in the file's order.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        number.copy_from_slice(found);
    }
    number
}

fn u16_at(bytes: &[u8], at: usize, big_endian: bool) -> u16 {
    if big_endian { u16::from_be_bytes(number(bytes, at)) } else { u16::from_le_bytes(number(bytes, at)) }
}

fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    if big_endian { u32::from_be_bytes(number(bytes, at)) } else { u32::from_le_bytes(number(bytes, at)) }
}

fn u64_at(bytes: &[u8], at: usize, big_endian: bool) -> u64 {
    if big_endian { u64::from_be_bytes(number(bytes, at)) } else { u64::from_le_bytes(number(bytes, at)) }
}
