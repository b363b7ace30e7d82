//! The bytes of a file in order, decompressed when they are gzip: a window that is filled as far as is asked for.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::ops::Range;

use flate2::bufread::MultiGzDecoder;

/// How gzip begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What is read at once, to begin with and at most; a longer packet makes the window longer.
const FIRST: usize = 4096;
const CHUNK: usize = 256 * 1024;

/// Why bytes that were asked for are not there.
#[derive(Debug)]
pub enum Missing {
    /// The file is over.
    End,
    Unreadable(io::Error),
}

/// A file, and what of it was read and not yet taken.
pub struct Stream<R> {
    source: Source<R>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A compressed file that was cut: it has no end of its own.
    cut: bool,
}

enum Source<R> {
    Plain(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
}

impl<R> fmt::Debug for Stream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("start", &self.start).field("end", &self.end).finish_non_exhaustive()
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(file) => file.read(buffer),
        }
    }
}

impl<R: Read> Stream<R> {
    pub fn new(file: R) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(64 * 1024, file);
        let source = if file.fill_buf()?.starts_with(&GZIP) {
            Source::Gzip(Box::new(MultiGzDecoder::new(file)))
        } else {
            Source::Plain(file)
        };
        Ok(Self { source, buffer: Vec::new(), start: 0, end: 0, cut: false })
    }

    /// The next `count` bytes, which stay to be taken.
    pub fn peek(&mut self, count: usize) -> Result<&[u8], Missing> {
        while self.end - self.start < count {
            self.fill(count)?;
        }
        self.buffer.get(self.start..self.start + count).ok_or(Missing::End)
    }

    /// Takes the next `count` bytes; [`Stream::taken`] has them until the next call.
    pub fn take(&mut self, count: usize) -> Result<Range<usize>, Missing> {
        self.peek(count)?;
        let taken = self.start..self.start + count;
        self.start += count;
        Ok(taken)
    }

    pub fn taken(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// What is there without reading on.
    pub fn available(&self) -> &[u8] {
        self.taken(self.start..self.end)
    }

    pub fn is_compressed(&self) -> bool {
        matches!(self.source, Source::Gzip(_))
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether the file is over and all of it was taken.
    pub fn at_end(&mut self) -> Result<bool, Missing> {
        match self.peek(1).map(drop) {
            Err(Missing::End) if !self.cut => Ok(true),
            other => other.map(|()| false),
        }
    }

    fn fill(&mut self, wanted: usize) -> Result<(), Missing> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let size = (2 * self.buffer.len()).clamp(FIRST, CHUNK).max(wanted);
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.source.read(room) {
            Ok(0) => Err(Missing::End),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.cut = true;
                Err(Missing::End)
            }
            Err(error) => Err(Missing::Unreadable(error)),
        }
    }
}
