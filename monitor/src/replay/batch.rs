//! Frames on their way to the kernel and what came of them: filled by the reader, judged by the judge, emptied by the watch.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use monitor_common::conversation::Record;

use datapath::Verdict;

/// Frames of a batch, and bytes from which on it is full.
const FRAMES: usize = 256;
const BYTES: usize = 256 * 1024;

/// Many frames at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// All frames behind each other.
    pub bytes: Vec<u8>,
    pub frames: Vec<Frame>,
    pub seen: Seen,
}

/// One frame of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Where it begins and ends.
    pub start: usize,
    pub end: usize,
    pub at_ns: u64,
    /// Who sent it, when it is IP.
    pub source: Option<IpAddr>,
    /// Once it is judged.
    pub verdict: Option<Verdict>,
}

/// What was seen while frames were judged.
#[derive(Debug, Default)]
pub struct Seen {
    /// Records that the kernel made, and when that was.
    pub records: Vec<Record>,
    pub times: Vec<u64>,
    pub moments: Vec<Moment>,
}

/// Something that happened behind so many of the records.
#[derive(Clone, Debug)]
pub struct Moment {
    pub records: usize,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// A source exceeds its limit, or would.
    Excess(IpAddr, u64),
    /// Seconds of the capture went by before the frame of this number.
    Passed { times: RangeInclusive<u64>, frame: usize },
}

impl Seen {
    pub fn note(&mut self, what: What) {
        self.moments.push(Moment { records: self.records.len(), what });
    }
}

impl Batch {
    pub fn is_full(&self) -> bool {
        self.frames.len() >= FRAMES || self.bytes.len() >= BYTES
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.seen.records.clear();
        self.seen.times.clear();
        self.seen.moments.clear();
    }
}

impl Frame {
    pub const fn length(&self) -> u64 {
        (self.end - self.start) as u64
    }
}
