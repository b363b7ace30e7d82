//! HTTP/2 in clear: frames of the client, walked within a bound (RFC 9113, 4.1).

use super::{Counted, REQUESTS, Word, is_after, kind};
use crate::{packet::Packet, parse::Frame};

/// Bytes of the connection preface.
pub const PREFACE: u32 = 24;
/// Frames of one segment that are walked; what comes behind them is not counted.
pub const MOST_FRAMES: u32 = 48;

const HEADER: u32 = 9;
const HEADERS: u8 = 1;
/// Types that a client sends: data to continuations, without a promise.
const HIGHEST_TYPE: u8 = 9;
/// The largest frame that a server allows unless it says otherwise (RFC 9113, 6.5.2).
const LONGEST: u32 = 1 << 14;

/// Whether a segment begins with the headers of a stream: what is taken for HTTP/2 where the beginning was not seen.
#[inline(always)]
pub fn begins_stream<P: Packet + ?Sized>(packet: &P, start: u32) -> bool {
    const FLAGS: u8 = 0x2d;
    match packet.read::<9>(start) {
        Some(bytes) => {
            let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
            let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
            let flags = bytes[4];
            let odd = stream & 1 == 1 && stream >> 31 == 0;
            bytes[3] == HEADERS && flags & !FLAGS == 0 && odd && length != 0 && length <= LONGEST
        }
        None => false,
    }
}

/// Where the walk over a segment begins. The word's number is where the next frame does; a segment that begins behind it is
/// walked if it begins with the headers of a stream.
#[inline(always)]
pub fn walk<P: Packet + ?Sized>(packet: &P, frame: &Frame, start: u32, word: Word) -> Counted {
    let next = word.number();
    let mut at = next.wrapping_sub(frame.sequence);
    if is_after(frame.sequence, next) {
        if !begins_stream(packet, start) {
            return Counted::keeping(word);
        }
        at = 0;
    }
    if at >= frame.payload {
        return Counted::keeping(word);
    }
    let passed = Word::new(kind::HTTP2, frame.sequence.wrapping_add(at));
    let refused = Word::refused(kind::HTTP2, frame.sequence.wrapping_add(at));
    Counted { walks: 1, start, at, ..Counted::of(REQUESTS, 0, passed, refused) }
}

/// Counts the stream that the next frame may open, and goes on to the one behind it.
#[inline(always)]
pub fn step<P: Packet + ?Sized>(packet: &P, frame: &Frame, counted: &mut Counted) {
    counted.walks = 0;
    let at = counted.at;
    if at >= frame.payload {
        return;
    }
    let Some(bytes) = packet.read::<9>(counted.start.wrapping_add(at)) else {
        return;
    };
    let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
    let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
    if bytes[3] > HIGHEST_TYPE || length > LONGEST || stream >> 31 != 0 {
        return;
    }
    counted.units += u32::from(bytes[3] == HEADERS) & stream & 1;
    counted.at = at + HEADER + length;
    counted.passed = Word::new(kind::HTTP2, frame.sequence.wrapping_add(counted.at)).0;
    counted.walks = 1;
}
