//! Frames -> a pcapng file (draft-ietf-opsawg-pcapng), block by block, so that it can be read while it grows.
//!
//! Times are in nanoseconds. Every interface has its name; every frame its original length and a comment.

use std::io::{self, Write};

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Numbers of options.
mod option {
    pub const END: u16 = 0;
    pub const COMMENT: u16 = 1;
    /// Of a section: the program that writes.
    pub const APPLICATION: u16 = 4;
    /// Of an interface.
    pub const NAME: u16 = 2;
    pub const RESOLUTION: u16 = 9;
    /// Of a packet.
    pub const FLAGS: u16 = 2;
    /// Of statistics: frames that were dropped by what captures.
    pub const NOT_CAPTURED: u16 = 5;
    /// Of statistics: frames that the filter let through.
    pub const ACCEPTED: u16 = 6;
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What [`Writer::interface`] gave.
    pub interface: u32,
    /// Nanoseconds since the epoch.
    pub at_ns: u64,
    /// Bytes on the wire.
    pub length: u32,
    pub data: &'a [u8],
    /// On its way out.
    pub outbound: bool,
    pub comment: &'a str,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    interfaces: u32,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file; `application` is what it says it was written by.
    ///
    /// # Errors
    /// As the output; so for all below.
    pub fn new(out: W, application: &str) -> io::Result<Self> {
        let mut writer = Self { out, interfaces: 0, written: 0 };
        let mut body = Vec::new();
        // In the order of this machine, which the magic shows; version 1.0; a length that is not known yet.
        body.extend(0x1a2b_3c4d_u32.to_ne_bytes());
        body.extend(1_u16.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        body.extend((-1_i64).to_ne_bytes());
        add(&mut body, option::APPLICATION, application.as_bytes());
        add(&mut body, option::END, &[]);
        writer.block(SECTION, &body)?;
        Ok(writer)
    }

    /// An Ethernet interface, of whose frames at most `snap` bytes are kept. Returns its number.
    pub fn interface(&mut self, name: &str, snap: u32) -> io::Result<u32> {
        let mut body = Vec::new();
        body.extend(ETHERNET.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        body.extend(snap.to_ne_bytes());
        add(&mut body, option::NAME, name.as_bytes());
        add(&mut body, option::RESOLUTION, &[9]);
        add(&mut body, option::END, &[]);
        self.block(INTERFACE, &body)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    pub fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let mut body = Vec::with_capacity(frame.data.len() + frame.comment.len() + 48);
        body.extend(frame.interface.to_ne_bytes());
        moment(&mut body, frame.at_ns);
        body.extend(count(frame.data.len()).to_ne_bytes());
        body.extend(frame.length.max(count(frame.data.len())).to_ne_bytes());
        body.extend(frame.data);
        pad(&mut body);
        add(&mut body, option::COMMENT, frame.comment.as_bytes());
        add(&mut body, option::FLAGS, &if frame.outbound { 2_u32 } else { 1 }.to_ne_bytes());
        add(&mut body, option::END, &[]);
        self.block(ENHANCED_PACKET, &body)
    }

    /// How many frames of an interface the filter selected, and how many of those are not in the file.
    pub fn statistics(&mut self, interface: u32, at_ns: u64, selected: u64, missing: u64) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(interface.to_ne_bytes());
        moment(&mut body, at_ns);
        add(&mut body, option::NOT_CAPTURED, &missing.to_ne_bytes());
        add(&mut body, option::ACCEPTED, &selected.to_ne_bytes());
        add(&mut body, option::END, &[]);
        self.block(STATISTICS, &body)
    }

    /// Hands over what is buffered: the file ends behind a whole block.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = count(body.len() + 12);
        self.out.write_all(&kind.to_ne_bytes())?;
        self.out.write_all(&length.to_ne_bytes())?;
        self.out.write_all(body)?;
        self.out.write_all(&length.to_ne_bytes())?;
        self.written += u64::from(length);
        Ok(())
    }
}

fn moment(body: &mut Vec<u8>, at_ns: u64) {
    let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    body.extend(half(at_ns >> 32).to_ne_bytes());
    body.extend(half(at_ns).to_ne_bytes());
}

/// Appends an option. A value that does not fit its length is cut.
fn add(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_ne_bytes());
    body.extend(length.to_ne_bytes());
    body.extend(&value[..usize::from(length)]);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Frame, Writer};
    use crate::Capture;

    #[test]
    fn what_is_written_reads_back() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, "sluice").unwrap();
        let first = writer.interface("eth0", 64).unwrap();
        let data: Vec<u8> = (0..61).collect();
        let frame = |interface, at_ns, length| Frame {
            interface,
            at_ns,
            length,
            data: &data,
            outbound: false,
            comment: "dropped: packet_rate",
        };
        writer.frame(&frame(first, 1_800_000_000_123_456_789, 1500)).unwrap();
        // An interface may be met later.
        let second = writer.interface("eth0.7", 64).unwrap();
        writer.frame(&frame(second, 1_800_000_001_000_000_000, 7)).unwrap();
        writer.statistics(first, 1_800_000_002_000_000_000, 9, 7).unwrap();
        let written = writer.written();
        assert_eq!(usize::try_from(written).unwrap(), file.len());
        let mut capture = Capture::new(file.as_slice()).unwrap();
        let packet = capture.read().unwrap().unwrap();
        assert_eq!((packet.at_ns, packet.length), (1_800_000_000_123_456_789, 1500));
        assert_eq!(packet.data, data);
        let packet = capture.read().unwrap().unwrap();
        assert_eq!((packet.at_ns, packet.length), (1_800_000_001_000_000_000, 61));
        assert!(capture.read().unwrap().is_none());
        assert_eq!(capture.link_types(), [1, 1]);
    }
}
